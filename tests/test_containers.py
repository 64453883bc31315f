"""`env="docker"` in real containers: how they start and end, and how the limits work.

Attacks are tried in tests/test_attacks.py, leftovers are looked for in tests/test_leaks.py.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlm.shell.isolation.docker import find_container_command, DockerTransport
from rlm.base.errors import BadInput, RLMError
from rlm.shell.remote.remote_shell import RemoteShell
from tests.run import ROOT

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='the test image is of Linux')
STUCK = (
    'import re; re.match(r"(a|aa)+$", "a" * 60 + "b")'  # holds the interpreter: no thread of the worker runs any more
)


@pytest.fixture(scope='module')
def shell(docker_settings):
    with RemoteShell(DockerTransport(), 'Sing, \U0001f600\r\n\ud800', timeout=60) as opened:
        yield opened


def containers():
    "The names of ours that exist."
    listed = subprocess.run(
        [find_container_command(), 'ps', '--all', '--filter', 'label=rlm', '--format', '{{.Names}}'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(listed.stdout.split())


def wait_until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not happen'
        time.sleep(0.05)


def test_cells_run_in_a_container(shell):
    assert shell.run('context').value == repr('Sing, \U0001f600\r\n\ud800')
    assert shell.run('import os; os.getuid(), os.getcwd()').value == "(65534, '/work')"
    assert shell.transport.container in containers()


def test_a_large_context_arrives_and_leaves_no_file(docker_settings):
    context = 'one line, \u00e9\r\n' * 400_000
    with RemoteShell(DockerTransport(), context, timeout=60) as shell:
        assert (
            shell.run('len(context), hash(context[-9:]) == hash("line, \u00e9\\r\\n")').value
            == f'({len(context)}, True)'
        )
        folder = Path(shell.transport._shared.folder)
        assert not list(folder.glob('files/*'))
        shell.add_context(list(range(500_000)))
        assert shell.run('context[-1], context_0[:3]').value == "(499999, 'one')"
        assert not list(folder.glob('files/*'))
        name = shell.transport.container
    assert not folder.exists() and name not in containers()


def test_the_first_process_of_the_container_cannot_be_ended_or_traced(shell):
    shell.run('import ctypes, os; os.kill(1, 9); os.kill(1, 19); os.kill(1, 2)')
    assert shell.run('ctypes.CDLL(None).ptrace(16, 1, 0, 0)').value == '-1'  # PTRACE_ATTACH
    assert shell.run('len(context)').value == '10'


def test_where_no_control_group_bounds_it_the_worker_bounds_itself(docker_settings):
    "As with podman without root's rights on control groups of version 1, which ignores the limits and starts."
    transport = DockerTransport(memory=256, container_args=['--memory=0', '--memory-swap=-1', '--pids-limit=-1'])
    with RemoteShell(transport, 'abc', timeout=60) as shell:
        assert 'MemoryError' in shell.run('block = bytearray(700 * 2**20)').error
        assert 'PermissionError' in shell.run('import os; os.fork()').error
        assert shell.run('import resource; resource.getrlimit(resource.RLIMIT_NPROC)').value == '(512, 512)'
        assert (
            shell.run(
                'import threading; done = []; thread = threading.Thread(target=done.append, args=[1])\n'
                'thread.start(); thread.join(); context, done'
            ).value
            == "('abc', [1])"
        )
    with RemoteShell(DockerTransport(memory=0), 'abc', timeout=60) as shell:  # nobody asked for a cap
        assert (
            shell.run('import os; kept = bytearray(700 * 2**20); os.waitpid(os.fork() or os._exit(0), 0)[1]').value
            == '0'
        )


def test_files_without_number_end_the_worker(shell):
    cell = shell.run('import os, itertools\nfor number in itertools.count(): os.mknod(f"/work/{number}")')
    assert 'more than 20,000 files' in cell.error and 'lost' in cell.error
    assert shell.run('len(context)').value == '10'


def test_when_the_host_is_killed_the_container_goes(docker_settings):
    host = f'''
from rlm.shell.isolation.docker import DockerTransport
from rlm.shell.remote.remote_shell import RemoteShell
shell = RemoteShell(DockerTransport(), "abc")
shell.run("1")
print(shell.transport.container, flush=True)
shell.run({STUCK!r})
'''
    process = subprocess.Popen([sys.executable, '-c', host], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        name = process.stdout.readline().strip()
        assert name in containers()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    wait_until(lambda: name not in containers())


def test_an_image_that_is_not_there_is_one_sentence(docker_settings):
    transport = DockerTransport(image='localhost/rlm-no-such-image:latest')
    with (
        RemoteShell(transport, 'abc') as shell,
        pytest.raises(RLMError, match='did not start.*rlm-no-such-image') as error,
    ):
        shell.run('1')
    assert '\n' not in str(error.value)


def test_an_image_without_python_is_one_sentence(docker_settings):
    transport = DockerTransport(python='/no/python')
    with RemoteShell(transport, 'abc') as shell, pytest.raises(RLMError, match='did not start'):
        shell.run('1')


def test_no_engine_is_one_sentence(monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    with pytest.raises(BadInput, match='docker is not installed; podman is not installed'):
        find_container_command()
    assert 'install docker or podman' in DockerTransport.why_not()
