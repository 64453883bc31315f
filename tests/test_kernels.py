"`env=\"kernel\"`: a second client at the model's REPL, time limits, and the command that attaches."

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlm.base.errors import BadInput
from rlm import RLM
from rlm.shell.isolation.kernel import find_connection, kernel_client, KernelTransport
from rlm.models import LM
from rlm.offline import ScriptedLM
from rlm.shell.remote.remote_shell import RemoteShell
from tests.run import ROOT

STUCK = 'import re; re.match(r"(a|aa)+$", "a" * 60 + "b")'  # holds the interpreter


@pytest.fixture
def shell():
    with RemoteShell(KernelTransport(), 'Sing, goddess', timeout=60) as opened:
        yield opened


def wait_until(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not happen'
        time.sleep(0.05)


def seen(client, code):
    "What a person is shown who runs `code`: [(kind, text)]."
    messages = []
    client.execute_interactive(
        code, timeout=60, output_hook=lambda message: messages.append((message['msg_type'], message['content']))
    )
    texts = [
        (kind, content.get('text') or content.get('data', {}).get('text/plain') or content.get('ename'))
        for kind, content in messages
    ]
    return [(kind, text) for kind, text in texts if kind in ('stream', 'execute_result', 'error')]


def test_a_second_client_sees_the_variables_of_the_model(shell):
    shell.run('heroes = {"Achilles": 1}')
    with kernel_client(shell.connection_file) as client:
        assert seen(client, 'heroes') == [('execute_result', "{'Achilles': 1}")]
        assert seen(client, 'len(context), len(context_0)') == [('execute_result', '(13, 13)')]
        assert seen(client, 'print("a person")') == [('stream', 'a person\n')]
        assert seen(client, 'heroes["Hector"] = 2; mine = 1') == []
        assert seen(client, '1 / 0')[-1] == ('error', 'ZeroDivisionError')
    cell = shell.run('print(heroes, mine)')
    assert (cell.stdout, cell.stderr, cell.error) == ("{'Achilles': 1, 'Hector': 2} 1\n", '', None)
    assert {'heroes', 'mine'} <= set(shell.variables())


def test_a_second_client_sees_the_cells_of_the_model_as_they_come(shell):
    shell.run('1')
    with kernel_client(shell.connection_file) as client:
        shell.run('print("from the model"); 6 * 7')
        shell.run('1 / 0')
        said = []
        while len(said) < 4:
            message = client.get_iopub_msg(timeout=20)
            content = message['content']
            if message['msg_type'] in ('execute_input', 'stream', 'execute_result', 'error'):
                said.append(
                    (
                        message['msg_type'],
                        content.get('code')
                        or content.get('text')
                        or content.get('data', {}).get('text/plain')
                        or content.get('ename'),
                    )
                )
    assert said == [
        ('execute_input', 'print("from the model"); 6 * 7'),
        ('stream', 'from the model\n'),
        ('execute_result', '42'),
        ('execute_input', '1 / 0'),
    ]


def test_what_a_person_does_is_not_taken_for_the_model(shell):
    shell.run('1')
    with kernel_client(shell.connection_file) as client:
        seen(client, 'print("typed by a person")')
        seen(client, 'llm_query = None')
        cell = shell.run('print("by the model")')
    assert cell.stdout == 'by the model\n'
    assert shell.run('callable(llm_query)').value == 'True'


def test_after_a_restart_whoever_was_attached_is_still(shell):
    shell.run('old = 1')
    with kernel_client(shell.connection_file) as client:
        assert 'lost' in shell.run(STUCK, timeout=0.5).error
        assert shell.run('new = 2; len(context)').value == '13'
        client.wait_for_ready(timeout=60)
        assert seen(client, '"old" in globals(), new')[-1] == ('execute_result', '(False, 2)')


def test_the_way_in_is_for_its_owner_alone(shell):
    shell.run('1')
    file = Path(shell.connection_file)
    assert file.stat().st_mode & 0o077 == 0 and file.parent.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())['transport'] == 'ipc'
    shell.close()
    assert not file.parent.exists()


def test_attach_opens_a_console_on_the_run(shell, tmp_path):
    pytest.importorskip('jupyter_console', reason='jupyter-console is not installed')
    shell.run('heroes = ["Achilles"]')
    journal = tmp_path / 'run.jsonl'
    journal.write_text(json.dumps(dict(type='notice', text=shell.notice)) + '\n')
    command = [
        sys.executable,
        '-c',
        'import argparse, sys; from rlm.shell.isolation.kernel import add_command; parser = argparse.ArgumentParser();'
        'add_command("attach", parser.add_subparsers()); found = parser.parse_args(sys.argv[1:]);'
        'sys.exit(found.run(found))',
        'attach',
        str(journal),
        '--',
        '--simple-prompt',
    ]
    done = subprocess.run(command, cwd=ROOT, input='heroes * 2\n', capture_output=True, text=True, timeout=150)
    assert "['Achilles', 'Achilles']" in done.stdout
    assert shell.run('len(heroes)').value == '1'


def test_the_journal_of_a_run_says_where_its_kernel_is(tmp_path):
    journal, found = tmp_path / 'run.jsonl', []

    def look():
        "Called by the cell, while the run is under way."
        found.append(find_connection(str(journal)))
        with kernel_client(found[0], timeout=60) as client:
            found.append(client.kernel_info(reply=True, timeout=60)['content']['status'])

    model = LM(ScriptedLM(['```repl\nlook()\n```', '```repl\nFINAL(6 * 7)\n```']))
    result = RLM(model, env='kernel', tools=dict(look=look), trace=str(journal))('abc', 'How much?')
    assert (result.answer, found[1]) == ('42', 'ok')
    wait_until(lambda: not os.path.exists(found[0]))  # a run does not wait for it
    with pytest.raises(BadInput, match='runs now'):
        find_connection(str(journal))


def test_a_kernel_that_is_gone_is_one_sentence(shell, tmp_path):
    shell.run('1')
    stale = tmp_path / 'kernel.json'
    stale.write_text(Path(shell.connection_file).read_text())
    shell.close()
    with pytest.raises(BadInput, match='run is over, or was killed'), kernel_client(str(stale), timeout=1):
        pass
