"Type checkers and editors see the library as users do: classes, their keywords, their methods."

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

ROOT = Path(__file__).resolve().parent.parent


FILES = ['types_good.py', 'types_bad.py']


@functools.cache
def errors_of_mypy() -> list[tuple[str, int]]:
    "The files and lines in which mypy reports an error."
    command = [sys.executable, '-m', 'mypy', '--output', 'json', *(f'tests/{name}' for name in FILES)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode in (0, 1), process.stdout + process.stderr
    reports = [json.loads(line) for line in process.stdout.splitlines() if line.startswith('{')]
    return [(Path(report['file']).name, report['line']) for report in reports if report['severity'] == 'error']


@functools.cache
def errors_of_basedpyright() -> list[tuple[str, int]]:
    "The files and lines in which basedpyright reports an error."
    files = [f'tests/{name}' for name in FILES]
    command = [sys.executable, '-m', 'basedpyright', '--outputjson', '--pythonpath', sys.executable, *files]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode in (0, 1), process.stdout + process.stderr
    found = []
    for report in json.loads(process.stdout)['generalDiagnostics']:
        if report['severity'] == 'error':
            found.append((Path(report['file']).name, report['range']['start']['line'] + 1))
    return found


CHECKERS = [errors_of_mypy, errors_of_basedpyright]


@pytest.mark.parametrize('errors_of', CHECKERS)
def test_what_users_write_has_no_errors(errors_of):
    assert [line for name, line in errors_of() if name == 'types_good.py'] == []


@pytest.mark.parametrize('errors_of', CHECKERS)
def test_every_mistake_is_reported(errors_of):
    lines = (ROOT / 'tests' / 'types_bad.py').read_text(encoding='utf-8').splitlines()
    mistakes = {number for number, line in enumerate(lines, 1) if line and not line.startswith(('"', 'from '))}
    assert {line for name, line in errors_of() if name == 'types_bad.py'} == mistakes


@pytest.mark.parametrize(
    'code, names',
    [
        (
            'RLM("x").',
            ['__call__', 'acall', 'acompletion', 'close', 'completion', 'lm', 'resume', 'settings', 'stream'],
        ),
        ('Direct("x").', ['acall', 'astream', 'completion', 'resume', 'stream']),
        ('LambdaRLM("x").', ['acall', 'completion', 'resume', 'stream']),
        ('SRLM("x").', ['acall', 'completion', 'resume', 'stream']),
        ('RLM("x")("c", "q").', ['answer', 'cost', 'history', 'metadata', 'response', 'usage', 'usage_summary']),
    ],
)
def test_editors_complete(code, names):
    source = f'from rlm import RLM, SRLM, Direct, LambdaRLM\n{code}'
    script = jedi.Script(source, project=jedi.Project(ROOT))
    offered = {found.name for found in script.complete(2, len(code))}
    assert set(names) <= offered
