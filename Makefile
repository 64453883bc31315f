# `make help` lists the targets. The first one that needs it makes .venv, with nothing but python3 and make at hand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MADE   := $(VENV)/.made
CORE   := $(VENV)/.installed-core
DEV    := $(VENV)/.installed-dev
# nbdev needs an older fastcore than the library's users get, so it has an environment of its own, on top of the first.
NBDEV  := .venv-nbdev
TOOL   := $(NBDEV)/.installed

Q     ?= What happens when the pass statement is executed?
FILE  ?= build/python-topics.txt
MODEL ?= offline/extractive

.DEFAULT_GOAL := help
.PHONY: help ask test check bench bench-smoke docs draw readme export format clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "make %-11s %s\n", $$1, $$2}'

ask: $(CORE) $(filter build/%,$(FILE)) ## ask a question about a text; Q="..." FILE=... MODEL=... change what is asked
	@$(BIN)/rlm ask "$$RLM_QUESTION" "$$RLM_FILE" --model "$$RLM_MODEL"

# By way of the environment, so that a quote or a dollar sign in a question is not shell syntax.
ask: export RLM_QUESTION := $(value Q)
ask: export RLM_FILE := $(value FILE)
ask: export RLM_MODEL := $(value MODEL)

test: $(DEV) ## run every notebook and every test; the last line is the count
	@$(BIN)/python -m tests.run

check: $(DEV) $(TOOL) ## check style, imports between rooms, wording, and that rlm/ is what the notebooks make; the last line is the count
	@$(BIN)/python -m tests.checks

bench: $(DEV) $(TOOL) ## measure the speed next to a bare HTTP client, and of each environment, and print the tables
	@$(BIN)/python -m bench.speed
	@$(BIN)/python -m bench.envs
	@$(BIN)/python -m bench.frames
	@cd nbs/studies && ../../$(BIN)/exec_nb speed.ipynb --dest speed.ipynb && ../../$(NBDEV)/bin/nbdev_clean --fname speed.ipynb

bench-smoke: $(DEV) ## a small sweep of four methods; its files and plots go to build/bench-smoke
	@rm -rf build/bench-smoke
	@RLM_BENCH_SMOKE="$(CURDIR)/build/bench-smoke" $(BIN)/python -m pytest -q -p no:cacheprovider tests/test_bench.py -k four_methods
	@ls build/bench-smoke/sweep build/bench-smoke/sweep/plots

readme: $(DEV) ## write README.md and nbs/llms.txt from the pages
	@$(BIN)/python -m tests.readme

export: $(DEV) $(TOOL) ## format the notebooks, write rlm/ from them and strip them of noise
	@$(BIN)/ruff format --quiet nbs tests bench setup.py
	@$(NBDEV)/bin/nbdev_export && $(NBDEV)/bin/nbdev_clean

draw: $(DEV) $(TOOL) ## run the pages that only draw or measure, which make test leaves out, and keep their outputs
	@$(BIN)/python -m tests.draw
	@$(NBDEV)/bin/nbdev_clean

docs: draw ## render the documentation site into _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo "Quarto is not installed: get it from https://quarto.org/docs/get-started and make docs again."; exit 1; }
	@touch README.md # else nbdev_docs makes it anew by way of Quarto, which words it differently from make readme
	@PATH="$(CURDIR)/$(NBDEV)/bin:$$PATH" nbdev_docs

clean: ## remove what the other targets wrote, but for the virtual environments
	rm -rf build dist _docs _proc _preview .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)*/*' -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environments as well
	rm -rf $(VENV) $(NBDEV)

# A long text that every Python ships: the reference manual behind help().
build/python-topics.txt:
	@mkdir -p $(@D)
	@$(PYTHON) -c "from pydoc_data.topics import topics; print('\n\n'.join(topics[name] for name in sorted(topics)))" > $@.part
	@mv $@.part $@

# Without --no-compile, pip would compile 35,000 files of which the tests import a few thousand.
# A stamp is written only after its installation succeeded, so an interrupted one starts again.
$(CORE): settings.ini setup.py | $(MADE)
	@echo 'Installing rlm into $(VENV), once: about a minute.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): settings.ini setup.py | $(MADE)
	@echo 'Installing rlm and what its tests need into $(VENV), once: some minutes.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@touch $(CORE) $@

# Its own packages come first on the path; for all others it uses those of the first environment.
$(TOOL): settings.ini | $(DEV)
	@echo 'Installing nbdev into $(NBDEV), once.'
	@$(PYTHON) -m venv --clear $(NBDEV)
	@sed -n 's/^nbdev_requirements = //p' settings.ini | tr ' ' '\n' > $(NBDEV)/requirements.txt
	@$(NBDEV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(NBDEV)/requirements.txt
	@$(NBDEV)/bin/python -m tests.join_environments $(VENV)
	@touch $@

# A virtual environment whose making was interrupted has no working pip, and is made again.
$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: rlm needs Python 3.10 or newer (make PYTHON=/path/to/python3 uses another)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$$($(PYTHON) --version) is too old: rlm needs Python 3.10 or newer (make PYTHON=/path/to/python3 uses another)."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian and Ubuntu: sudo apt install python3-venv)."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@
