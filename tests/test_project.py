"The project's own machinery: the runner counts right, the pages' links lead somewhere, README is made as it should be."

import ast
import json
import re
import subprocess
import sys

import pytest

from tests import readme, run
from tests.run import ROOT

NOTEBOOKS = sorted((ROOT / 'nbs').rglob('*.ipynb'))


def notebook(path, *sources):
    "Write a notebook of code cells."
    cells = [
        dict(
            cell_type='code',
            execution_count=None,
            id=f'cell{place}',
            metadata={},
            outputs=[],
            source=source.splitlines(True),
        )
        for place, source in enumerate(sources)
    ]
    kernel = dict(display_name='python3', language='python', name='python3')
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))
    return path


def test_cells_with_checks_are_counted(tmp_path, capfd):
    path = notebook(
        tmp_path / 'good.ipynb',
        'from fastcore.test import test_eq',
        'test_eq(1, 1)\ntest_eq(2, 2)',
        'value = 3',
        'assert value == 3',
        '#| eval: false\nassert False',
        '#| notest\nassert False',
    )
    assert run.notebook_counts(path) == (2, 0)


def test_a_failing_cell_is_shown_in_full_and_counted(tmp_path, capfd):
    path = notebook(tmp_path / 'bad.ipynb', 'assert True', 'assert False, "the reason"', 'assert True')
    assert run.notebook_counts(path) == (1, 1)
    assert 'the reason' in capfd.readouterr().out


@pytest.mark.parametrize('source', ['import os; os._exit(3)', 'import os; os._exit(0)'])
def test_a_process_that_dies_is_a_failure(tmp_path, capfd, source):
    assert run.notebook_counts(notebook(tmp_path / 'dead.ipynb', source)) == (0, 1)


def test_a_notebook_that_hangs_is_a_failure(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(run, 'TIMEOUT', 3)
    assert run.notebook_counts(notebook(tmp_path / 'hung.ipynb', 'while True: pass')) == (0, 1)


def test_a_notebook_that_needs_a_sandbox_is_not_run_without_one(tmp_path, capfd, monkeypatch):
    path = notebook(tmp_path / 'walls.ipynb', '#| needs: sandbox\nassert False')
    monkeypatch.setattr('rlm.shell.environments.why_not', lambda env: f'there is no {env}')
    assert run.notebook_counts(path) == (0, 0) and 'not run, since there is no sandbox' in capfd.readouterr().out


def test_no_test_at_all_is_a_failure(capsys):
    assert run.main(['no-such-notebook']) == 1
    assert capsys.readouterr().out.splitlines()[-1] == '0 passed, 0 failed'


def test_keys_do_not_reach_the_tests(monkeypatch, tmp_path):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-real')
    monkeypatch.setenv('OPENAI_API_BASE', 'https://gateway')
    assert not {'OPENAI_API_KEY', 'OPENAI_API_BASE'} & run.clean_environment(str(tmp_path)).keys()


def test_readme_drops_directives_and_hidden_cells_and_keeps_outputs(tmp_path, monkeypatch):
    path = notebook(tmp_path / 'nbs.ipynb', '#| hide\nsecret = 1', '#| eval: false\nprint("shown")')
    pages = json.loads(path.read_text())
    pages['cells'][1]['outputs'] = [dict(output_type='stream', name='stdout', text=['shown\n'])]
    pages['cells'].append(
        dict(cell_type='markdown', id='text', metadata={}, source=['See [the loop](00_core.ipynb#stream).'])
    )
    (tmp_path / 'nbs').mkdir()
    (tmp_path / 'nbs' / 'index.ipynb').write_text(json.dumps(pages))
    (tmp_path / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    monkeypatch.setattr(readme, 'ROOT', tmp_path)
    text = readme.readme()
    assert 'secret' not in text and '```python\nprint("shown")\n```\n\n```text\nshown\n```' in text
    assert re.search(r'\[the loop\]\(https://\S+/core\.html#stream\)', text)


def test_the_sidebar_lists_every_page_once():
    listed = re.findall(r'^ *- ([\w/]+\.ipynb)$', (ROOT / 'nbs' / 'sidebar.yml').read_text(), re.M)
    assert sorted(listed) == sorted(path.relative_to(ROOT / 'nbs').as_posix() for path in NOTEBOOKS)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_pages_lead_somewhere(path):
    linked = re.findall(r'\]\(([\w./-]+\.(?:ipynb|png|svg))', path.read_text(encoding='utf-8'))
    assert not [target for target in linked if not (path.parent / target).exists()]


def test_importing_rlm_loads_nothing_heavy():
    heavy = ('litellm', 'IPython', 'datasets', 'matplotlib')
    code = f'import rlm, sys; print([name for name in {heavy} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cell_with_the_title_holds_nothing_else(path):
    "nbdev makes the head of the page of it and drops the rest, so an introduction needs a cell of its own."
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    title = next(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
    assert re.fullmatch(r'# [^\n]+(\n\n> [^\n]+)?\s*', title), title


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_with_imports_holds_nothing_else(path):
    "The site runs every cell that imports something, with whatever else is in it."
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        if cell['cell_type'] != 'code':
            continue
        lines = [line for line in ''.join(cell['source']).splitlines() if not line.startswith(('#|', '%', '!'))]
        try:
            body = ast.parse('\n'.join(lines)).body
        except SyntaxError:
            continue  # `await` at the top of a cell, or a magic
        imports = [isinstance(node, (ast.Import, ast.ImportFrom)) for node in body]
        assert all(imports) or not any(imports), '\n'.join(lines)
