"""A container image for tests, made in a moment and without a network: nothing but empty folders, into which this machine's own Python is mounted.

`container_settings()` gives what `open_shell("docker", ...)` needs to use it, or raises where no container runs.
"""
from __future__ import annotations

import contextlib
import io
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from rlm import RLMError
from rlm.containers import container_engine

IMAGE = 'rlm-test-empty'
# For a machine without systemd, such as a container itself: tried where podman's own settings do not work.
SIMPLE = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'


def empty_image() -> bytes:
    "A tar of the folders that a container needs, and of the links that every Linux has."
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as tar:
        for name in ('usr', 'etc', 'work', 'dev', 'proc', 'sys', 'tmp', 'run', 'python', 'rlm'):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name in ('bin', 'sbin', 'lib', 'lib64'):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f'usr/{name}'
            tar.addfile(link)
    return data.getvalue()


def settings() -> dict:
    "The arguments of `open_shell('docker', ...)` that put this machine's Python into the empty image."
    python = Path(os.path.realpath(sys._base_executable))
    return dict(image=IMAGE, python=f'/python/{python.relative_to(os.path.realpath(sys.base_prefix))}',
                container_args=['--volume=/usr:/usr:ro', f'--volume={os.path.realpath(sys.base_prefix)}:/python:ro'])


def remove(engine: str) -> None: subprocess.run([engine, 'rmi', '--force', IMAGE], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def trial(engine: str) -> str:
    "Make the empty image and run it once; what went wrong, or nothing."
    remove(engine)
    subprocess.run([engine, 'import', '-', IMAGE], input=empty_image(), capture_output=True, timeout=60)
    used = settings()
    command = [engine, 'run', '--rm', '--network=none', '--read-only', '--memory=512m', *used['container_args'], IMAGE, used['python'], '-I', '-c', '']
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', timeout=60)
    return '' if done.returncode == 0 else ' '.join(done.stderr.split())[-300:] or f'exit status {done.returncode}'


@contextlib.contextmanager
def container_settings(everywhere: bool = False):
    """Gives the arguments of `open_shell('docker', ...)`; raises `RLMError` with the reason why there is no container.

    With `everywhere` plain `open_shell('docker')` uses them too, by way of RLM_CONTAINER_IMAGE and its kin."""
    if platform.system() != 'Linux' or not Path('/usr/bin').is_dir() or not Path('/lib').is_symlink(): raise RLMError('The empty image fits a Linux with /lib in /usr.')
    engine, used = container_engine(), settings()
    before = {name: os.environ.get(name) for name in ('CONTAINERS_CONF', 'RLM_CONTAINER_IMAGE', 'RLM_CONTAINER_PYTHON', 'RLM_CONTAINER_ARGS')}
    with tempfile.TemporaryDirectory() as folder:
        try:
            problem = trial(engine)
            if problem and Path(engine).name == 'podman' and not before['CONTAINERS_CONF'] and shutil.which('runc'):
                (Path(folder)/'containers.conf').write_text(SIMPLE)
                os.environ['CONTAINERS_CONF'] = f'{folder}/containers.conf'
                problem = trial(engine)
            if problem: raise RLMError(f'{engine} runs no container here: {problem}')
            if everywhere: os.environ |= dict(RLM_CONTAINER_IMAGE=IMAGE, RLM_CONTAINER_PYTHON=used['python'], RLM_CONTAINER_ARGS=shlex.join(used['container_args']))
            yield used
        finally:
            remove(engine)
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None: os.environ[name] = value
