# `make help` lists the targets. The first one that needs it makes .venv, with nothing but python3 and make at hand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MADE   := $(VENV)/.made
CORE   := $(VENV)/.installed-core
DEV    := $(VENV)/.installed-dev

Q     ?= What happens when the pass statement is executed?
FILE  ?= build/python-topics.txt
MODEL ?= offline/extractive

.DEFAULT_GOAL := help
.PHONY: help ask test bench bench-smoke docs readme export clean distclean

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

bench: $(DEV) ## measure the speed next to a bare HTTP client, and of each environment, and print the tables
	@$(BIN)/python -m bench.speed
	@$(BIN)/python -m bench.envs
	@cd nbs/studies && ../../$(BIN)/exec_nb speed.ipynb --dest speed.ipynb && ../../$(BIN)/nbdev_clean --fname speed.ipynb

bench-smoke: $(DEV) ## a small sweep of four methods; its files and plots go to build/bench-smoke
	@rm -rf build/bench-smoke
	@RLM_BENCH_SMOKE="$(CURDIR)/build/bench-smoke" $(BIN)/python -m pytest -q -p no:cacheprovider tests/test_bench.py -k four_methods
	@ls build/bench-smoke/sweep build/bench-smoke/sweep/plots

readme: $(DEV) ## write README.md and nbs/llms.txt from the pages
	@$(BIN)/python -m tests.readme

export: $(DEV) ## write rlm/ from nbs/ and strip the notebooks of noise
	@$(BIN)/nbdev_export && $(BIN)/nbdev_clean

# Pages that only draw say so in a cell: `make docs` runs them, `make test` need not.
DRAWN = $(shell grep -rl 'draws: true' nbs --include=*.ipynb)

docs: $(DEV) ## run the pages that only draw, and render the documentation site into _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo "Quarto is not installed: get it from https://quarto.org/docs/get-started and make docs again."; exit 1; }
	@for page in $(DRAWN); do (cd $$(dirname $$page) && page=$$(basename $$page) \
		&& $(CURDIR)/$(BIN)/exec_nb $$page --dest $$page --exc_stop && $(CURDIR)/$(BIN)/nbdev_clean --fname $$page) || exit 1; done
	@touch README.md # else nbdev_docs makes it anew by way of Quarto, which words it differently from make readme
	@PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_docs

clean: ## remove what the other targets wrote, but for .venv
	rm -rf build dist _docs _proc _preview .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf $(VENV)

# A long text that every Python ships: the reference manual behind help().
build/python-topics.txt:
	@mkdir -p $(@D)
	@$(PYTHON) -c "from pydoc_data.topics import topics; print('\n\n'.join(topics[name] for name in sorted(topics)))" > $@.part
	@mv $@.part $@

# A stamp is written only after its installation succeeded, so an interrupted one starts again.
$(CORE): settings.ini setup.py | $(MADE)
	@echo 'Installing rlm into $(VENV), once: about a minute.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): settings.ini setup.py | $(MADE)
	@echo 'Installing rlm and what its tests need into $(VENV), once: about a minute.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(CORE) $@

# A virtual environment whose making was interrupted has no working pip, and is made again.
$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: rlm needs Python 3.10 or newer (make PYTHON=/path/to/python3 uses another)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$$($(PYTHON) --version) is too old: rlm needs Python 3.10 or newer (make PYTHON=/path/to/python3 uses another)."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian and Ubuntu: sudo apt install python3-venv)."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@
