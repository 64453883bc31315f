"Every code block in the text of the index and the tutorials runs; a paid model is replaced by the mock server."

import json
import re
import shlex

import pytest

from rlm.cli import main
from rlm.shell.environments import choose_env
from rlm.base.errors import BadInput
from rlm.models import LM
from tests.mock_server import mock_server
from tests.run import ROOT

PAGES = [ROOT / 'nbs' / 'index.ipynb', *sorted((ROOT / 'nbs' / 'tutorials').glob('*.ipynb'))]
PAID = ('gpt-4o', 'gpt-4o-mini')
NOT_OURS = (
    'git',
    'pip',
    'export',
    'cd',
    'vllm',
    'ollama',
    'llama-server',
    'litellm',
    'sudo',
    'apt',
    'cat',
    '#',
)  # commands that belong to others


def cells_of(page):
    return [
        (cell['cell_type'], ''.join(cell['source'])) for cell in json.loads(page.read_text(encoding='utf-8'))['cells']
    ]


def blocks_of(page, language):
    "The fenced blocks of a page's text."
    text = '\n'.join(source for kind, source in cells_of(page) if kind == 'markdown')
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.M | re.S)


COMMANDS = [
    (page.stem, line.strip())
    for page in PAGES
    for block in blocks_of(page, 'sh')
    for line in block.splitlines()
    if line.strip()
]


@pytest.fixture(scope='module')
def paid():
    "A server that answers to the names of paid models."
    with mock_server(serves=dict.fromkeys(PAID, 'rules')) as server:
        yield server


@pytest.fixture
def desk(paid, tmp_path, monkeypatch):
    "A folder with the files that the pages speak of, and the server's address."
    try:
        choose_env('auto', LM('gpt-4o'))
    except BadInput as error:
        pytest.skip(str(error))
    for name in ('book.txt', 'iliad.txt', 'contract.txt', 'src/main.py', 'src/more/part.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('What happens when the pass statement is executed? Nothing happens. ' * 40)
    paid.script(rules=[('.', '```repl\nFINAL("an answer")\n```')])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-of-this-test-0123456789')
    monkeypatch.setenv('OPENAI_API_BASE', paid.api_base)
    return tmp_path


@pytest.mark.parametrize('page', [page for page in PAGES if blocks_of(page, 'python')], ids=lambda page: page.stem)
def test_python_blocks_run_after_the_cells_above_them(page, desk):
    names = {}
    for kind, source in cells_of(page):
        parts = [source] if kind == 'code' else re.findall(r'^```python\n(.*?)^```', source, re.M | re.S)
        for part in parts:
            exec(compile(part, page.stem, 'exec'), names)


@pytest.mark.parametrize('command', [line for _, line in COMMANDS if line.startswith('rlm ')])
def test_commands_of_ours_end_well(command, desk, capsys):
    if 'run.jsonl' in command and '--trace' not in command:
        assert main(['ask', 'What happens?', 'book.txt', '--quiet', '--trace', 'run.jsonl']) == 0
    words = shlex.split(command, comments=True)[1:]
    if words[0] == 'view':
        words += ['--no-open']
    assert main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize('command', [line for _, line in COMMANDS if not line.startswith('rlm ')])
def test_other_commands_are_known(command):
    first, *words = shlex.split(command, comments=True) or ['#']
    if first == 'make':
        assert re.search(rf'^{words[0]}:', (ROOT / 'Makefile').read_text(), re.M)
    else:
        assert first in NOT_OURS
