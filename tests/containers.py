"""A container image for tests, made without a network: empty folders, into which this machine's Python is mounted.

`container_settings()` gives what `open_shell("docker", ...)` needs to use it, or raises where no container runs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rlm import RLMError
from rlm.shell.isolation.docker import find_container_command

if TYPE_CHECKING:
    from tests.containment import User

IMAGE = f'rlm-test-{os.getpid()}'  # one for each process, so that none removes another's
# For a machine without systemd, such as a container itself: tried where podman's own settings do not work.
SIMPLE = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def empty_image() -> bytes:
    "A tar of the folders that a container needs, and of the links that every Linux has."
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as tar:
        for name in ('usr', 'etc', 'dev', 'proc', 'sys', 'tmp', 'var', 'var/tmp', 'run', 'python', 'rlm'):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = (
                tarfile.DIRTYPE,
                0o1777 if name.endswith('tmp') else 0o755,
            )  # podman gives a folder in memory the rights of the one below it
            tar.addfile(folder)
        for name in ('bin', 'sbin', 'lib', 'lib64'):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f'usr/{name}'
            tar.addfile(link)
    return data.getvalue()


def settings(interpreter: str = sys.executable) -> dict:
    "The arguments of `open_shell('docker', ...)` that put this machine's Python into the empty image."
    ask = 'import os, sys; print(os.path.realpath(sys._base_executable)); print(os.path.realpath(sys.base_prefix))'
    python, prefix = subprocess.run(
        [interpreter, '-I', '-c', ask], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    return dict(
        image=IMAGE,
        python=f'/python/{Path(python).relative_to(prefix)}',
        container_args=['--volume=/usr:/usr:ro', f'--volume={prefix}:/python:ro', '--env=LD_LIBRARY_PATH=/python/lib'],
    )  # its own library of Python, and not one of the same name in /usr


def remove(engine: str, **rights) -> None:
    subprocess.run(
        [engine, 'rmi', '--force', IMAGE], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **rights
    )


def trial(engine: str, used: dict, **rights) -> str:
    "Make the empty image and run it once; what went wrong, or nothing."
    remove(engine, **rights)
    subprocess.run([engine, 'import', '-', IMAGE], input=empty_image(), capture_output=True, timeout=60, **rights)
    command = [
        engine,
        'run',
        '--rm',
        '--network=none',
        '--read-only',
        '--memory=512m',
        *used['container_args'],
        IMAGE,
        used['python'],
        '-I',
        '-c',
        '',
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', timeout=60, **rights
    )
    return '' if done.returncode == 0 else ' '.join(done.stderr.split())[-300:] or f'exit status {done.returncode}'


def storage(engine: str, folder: Path, user: User) -> dict:  # variables for podman
    "Variables that name the folder of a user's images, whatever its home is; `folder` where root acts for the user."
    if Path(engine).name != 'podman' or not user.number:
        return {}
    if user.number == os.getuid():
        told = json.loads(
            subprocess.run(
                [engine, 'info', '--format=json'], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
            ).stdout
            or b'{}'
        ).get('store', {})
        images, runs, more, driver = told.get('graphRoot'), told.get('runRoot'), {}, told.get('graphDriverName')
    else:
        for name in ('home', 'run'):
            (folder / name).mkdir(mode=0o700), os.chown(folder / name, user.number, user.group)
        images, runs, more, driver = (
            folder / 'home' / 'storage',
            folder / 'run' / 'containers',
            dict(HOME=str(folder / 'home'), XDG_RUNTIME_DIR=str(folder / 'run')),
            'vfs',
        )
    (folder / 'storage.conf').write_text(
        f'[storage]\ndriver = "{driver}"\ngraphroot = "{images}"\n'
        f'rootless_storage_path = "{images}"\nrunroot = "{runs}"\n'
    )
    return more | dict(CONTAINERS_STORAGE_CONF=str(folder / 'storage.conf'))


@contextlib.contextmanager
def container_settings(everywhere: bool = False, user: User | None = None):
    """Gives the arguments of `open_shell('docker', ...)`; raises `RLMError` with the reason why there is no container.

    With `everywhere`, plain `open_shell('docker')` uses them too, by way of RLM_CONTAINER_IMAGE and the like.
    Another `user` gets the variables that it needs."""
    if platform.system() != 'Linux' or not Path('/usr/bin').is_dir() or not Path('/lib').is_symlink():
        raise RLMError('The empty image fits a Linux with /lib in /usr.')
    command, used = find_container_command(), settings(*([user.python] if user else []))
    before = {
        name: os.environ.get(name)
        for name in ('CONTAINERS_CONF', 'RLM_CONTAINER_IMAGE', 'RLM_CONTAINER_PYTHON', 'RLM_CONTAINER_ARGS')
    }
    with tempfile.TemporaryDirectory(dir='/var/tmp') as name:
        folder = Path(name)
        folder.chmod(0o755)
        if user:
            user.environment |= storage(command, folder, user)

        def rights() -> dict:
            return dict(user.rights(), env=os.environ | user.environment) if user else {}

        try:
            problem = trial(command, used, **rights())
            if problem and Path(command).name == 'podman' and not before['CONTAINERS_CONF'] and shutil.which('runc'):
                (folder / 'containers.conf').write_text(SIMPLE)
                os.environ['CONTAINERS_CONF'] = str(folder / 'containers.conf')
                problem = trial(command, used, **rights())
            if problem:
                raise RLMError(f'{command} runs no container here: {problem}')
            if everywhere:
                os.environ |= dict(
                    RLM_CONTAINER_IMAGE=IMAGE,
                    RLM_CONTAINER_PYTHON=used['python'],
                    RLM_CONTAINER_ARGS=shlex.join(used['container_args']),
                )
            yield used
        finally:
            remove(command, **rights())
            if (
                user and user.number != os.getuid() and Path(command).name == 'podman'
            ):  # ends the process that podman keeps for a user
                subprocess.run(
                    [command, 'system', 'migrate'],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=60,
                    cwd='/',
                    **rights(),
                )
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
