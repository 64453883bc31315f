"""Runs the attempts of tests/attacks.py and sees what comes of them.

A `Range` sets traps (secrets, listeners, a process, folders to write to) and starts a host process, in which one
shell after the other runs one attack each. What a cell does to its host, the range sees from outside.

`python -m tests.containment [environment ...]` runs all attacks in every environment that works here, and lists where
the outcome differs from tests/attacks.py. `--write` puts the outcome into nbs/shell/attacks.json, which the docs show.
`python -m tests.containment --only name sandbox` runs one attack and prints all that was seen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import pwd
import queue
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks import ATTACKS, PRELUDE, Attack, Seen, escape, goes_on, unfinished

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = 'The context of this run. 🙂\r\n' * 1000
PATIENCE = 45  # seconds beyond the cell's own limit: to start a shell, run two cells more and close it
CONTAINED = ('sandbox', 'docker', 'landlock')
ENVIRONMENTS = ('local', 'process', 'kernel', 'sandbox', 'docker', 'landlock')


# --- the host: it runs in a process of its own ---


class SubcallCounter:
    "Answers sub-calls, and counts them."

    def __init__(self):
        self.asked = self.open = self.at_once = 0

    async def __call__(self, kind: str, prompts: list, model: str | None, contexts: list | None) -> list:
        self.asked += len(prompts)
        self.open += len(prompts)
        self.at_once = max(self.at_once, self.open)
        self.open -= len(prompts)
        return ['reply'] * len(prompts)


class Host:
    "Runs attacks in one environment, and tells what it sees of them."

    def __init__(self, env: str, settings: dict):
        self.env, self.settings, self.subcalls, self.shell = env, settings, SubcallCounter(), None

    def open(self, context: str) -> Any:
        from rlm.shell.environments import open_shell

        return open_shell(self.env, context, subcalls=self.subcalls, timeout=20, **self.settings)

    def perform(self, job: dict) -> dict:
        "One attack, in a shell of its own unless the shell before is as good as new."
        descriptors, self.subcalls.asked, self.subcalls.at_once = len(os.listdir('/proc/self/fd')), 0, 0
        Path('/proc/self/clear_refs').write_text('5')  # the peak of memory starts anew
        before, threads, fresh = peak_memory(), own_threads(), self.shell is None
        if fresh:
            self.shell = self.open(CONTEXT)
        ready = self.shell.run(f"trap = {job['trap']!r}\n{PRELUDE}")
        if ready.error:
            return dict(unready=ready.error)
        other = self.open(job['other']) if job['other'] else None
        if other:
            other.run('len(context)')
        cells = self.cells(job)
        if other:
            other.close()
        told = dict(
            cells=cells,
            asked=self.subcalls.asked,
            at_once=self.subcalls.at_once,
            memory=(peak_memory() - before) / 1024,
            descriptors=0,
            threads=0,
        )
        if job['last'] or cells[-1].get('raised') or not AS_NEW <= set(cells[-1]['said'].split('\n')):
            self.close()
            if fresh:
                told |= dict(
                    descriptors=len(os.listdir('/proc/self/fd')) - descriptors, threads=own_threads() - threads
                )
        return told | dict(closed=self.shell is None)

    def cells(self, job: dict) -> list[dict]:
        "The attack's cell and those that look whether the run can go on."
        cells = [run_cell(self.shell, job['code'], job['timeout'])]
        for name in job['fetch']:
            with contextlib.suppress(Exception):
                self.shell[name]
        if job['give']:
            self.shell['given'] = 'x' * 20_000_000
        for _ in range(2):  # where a process dies between two cells, the next tells it
            cells.append(run_cell(self.shell, job['after'], 10))
            if 'lost' not in cells[-1]['said']:
                break
        return cells

    def close(self) -> None:
        if self.shell:
            self.shell.close()
        self.shell = None


AS_NEW = {'kept is there', 'context is there'}


def run_cell(shell: Any, code: str, timeout: float) -> dict:
    started = time.monotonic()
    try:
        cell = shell.run(code, timeout)
    except BaseException as error:
        return dict(said='', raised=f'{type(error).__name__}: {error}', seconds=time.monotonic() - started)
    texts = [
        cell.stdout,
        cell.stderr,
        cell.value or '',
        cell.error or '',
        *cell.notes,
        str(cell.final.value) if cell.final else '',
    ]
    if not all(isinstance(text, str) for text in texts):
        return dict(said='', raised=f'a cell with wrong types: {texts!r:.200}', seconds=0.0)
    return dict(
        said='\n'.join(text if len(text) < 4_000_000 else text[:2_000_000] + text[-2_000_000:] for text in texts),
        chars=sum(map(len, texts)),
        seconds=time.monotonic() - started,
    )


def own_threads() -> int:
    return sum(
        not thread.name.startswith(('asyncio', 'rlm-loop_')) for thread in threading.enumerate()
    )  # without the pools of the event loops


def peak_memory() -> int:  # KB
    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])


def be_host(env: str, settings: dict, terminal: str, secret_file: str, key_name: str, key: str) -> None:
    "Take jobs from stdin until it ends."
    import ctypes

    os.open(terminal, os.O_RDWR)  # a session without a terminal makes the first that it opens its own
    os.set_inheritable(os.open(secret_file, os.O_RDONLY), True)
    room = ctypes.create_string_buffer(b'secret', 64)
    numbers = dict(x86_64=(248, 250), aarch64=(217, 219))[os.uname().machine]
    libc = ctypes.CDLL(None)
    libc.syscall(numbers[1], ctypes.c_long(1), None)  # a keyring of our own, which our children share
    libc.syscall(numbers[0], b'user', key_name.encode(), key.encode(), ctypes.c_size_t(len(key)), ctypes.c_long(-3))
    results = os.fdopen(int(sys.stdin.readline()), 'w')
    from rlm.base.errors import BadInput
    from rlm.shell.environments import open_shell

    try:
        with open_shell(env, 'x', timeout=20, **settings) as shell:
            cell = shell.run('1 + 1')  # what is made once is made now
        print(
            json.dumps(dict(ready=cell.value == '2', error=cell.error, address=str(ctypes.addressof(room)))),
            file=results,
            flush=True,
        )
    except BadInput as error:
        print(json.dumps(dict(ready=False, missing=str(error))), file=results, flush=True)
    host = Host(env, settings)
    for line in sys.stdin:
        try:
            told = host.perform(json.loads(line))
        except Exception as error:
            told = dict(cells=[dict(said='', raised=f'{type(error).__name__}: {error}', seconds=0.0)] * 2, closed=True)
            host.close()
        print(json.dumps(told), file=results, flush=True)


# --- the range: it watches from outside ---


class Missing(Exception):
    "The environment cannot be had here; says why."


@dataclass
class User:
    "Who runs the host."

    name: str
    number: int
    group: int
    python: str  # an interpreter that this user can run
    environment: dict[str, str] = field(default_factory=dict)  # variables of its own

    def rights(self) -> dict:
        "Arguments of `subprocess.Popen`."
        return dict(user=self.number, group=self.group, extra_groups=[]) if self.number != os.getuid() else {}


def this_user() -> User:
    return User(pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.getgid(), sys.executable)


def account_with_containers() -> str:  # its name; '' where there is none
    "An account besides root that may have containers: users get numbers in /etc/subuid when `useradd` makes them."
    try:
        named = [line.partition(':')[0] for line in Path('/etc/subuid').read_text().splitlines()]
    except OSError:
        return ''
    accounts = {account.pw_name for account in pwd.getpwall() if account.pw_uid}
    return next((name for name in named if name in accounts), '')


@contextlib.contextmanager
def ordinary_user(name: str = 'nobody') -> Iterator[User]:
    "An account with an interpreter that it can read; raises `Missing`."
    account = pwd.getpwnam(name)
    with tempfile.TemporaryDirectory(prefix='rlm-ordinary-', dir='/var/tmp') as folder:
        os.chmod(folder, 0o755)
        user = User(name, account.pw_uid, account.pw_gid, sys.executable)
        if not can_run(user):
            user.python = copied_python(Path(folder) / 'venv')
        if not can_run(user):
            raise Missing(f'{user.name} cannot run this Python or a copy of it')
        yield user


def can_run(user: User) -> bool:
    command = [user.python, '-c', 'import IPython, rlm.shell.remote.remote_shell, tests.containment']
    try:
        return (
            subprocess.run(
                command,
                cwd='/',
                env=dict(PYTHONPATH=str(ROOT), PATH=os.environ['PATH']),
                user=user.number,
                group=user.group,
                extra_groups=[],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
            ).returncode
            == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False


def copied_python(folder: Path) -> str:  # path of its interpreter
    "A virtual environment with this one's packages over the Python of the system, if it is the same version."
    version = f'python{sys.version_info[0]}.{sys.version_info[1]}'
    system = f'/usr/bin/{version}'
    if not os.path.exists(system):
        raise Missing(f'there is no {system}, and other users cannot read {sys.base_prefix}')
    subprocess.run([system, '-m', 'venv', '--without-pip', folder], check=True, timeout=60)
    packages = sysconfig.get_path('purelib')
    target = folder / 'lib' / version / 'site-packages'
    shutil.rmtree(target)

    def link(source: str, destination: str) -> None:
        try:
            os.link(source, destination)
        except OSError:
            shutil.copy2(source, destination)

    shutil.copytree(packages, target, copy_function=link)
    return str(folder / 'bin' / 'python')


class Listeners:
    "Servers on loopback that note who comes."

    def __init__(self, folder: Path, number: str):
        self.abstract = f'rlm-attack-{number}'
        self.paths = [str(folder / 'listener.sock'), f'/tmp/rlm-attack-{number}.sock']
        self.sockets = dict(
            tcp=self.listen(socket.AF_INET, ('127.0.0.1', 0)),
            tcp6=self.listen(socket.AF_INET6, ('::1', 0)),
            udp=socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            abstract=self.listen(socket.AF_UNIX, '\0' + self.abstract),
            **{f'unix {place}': self.listen(socket.AF_UNIX, path) for place, path in enumerate(self.paths)},
        )
        self.sockets['udp'].bind(('127.0.0.1', 0))
        self.datagram = str(folder / 'datagram.sock')
        for name, address in (('datagram', self.datagram), ('abstract datagram', f'\0{self.abstract}-datagram')):
            self.sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.sockets[name].bind(address)
        os.chmod(self.datagram, 0o777)
        for path in self.paths:
            os.chmod(path, 0o777)
        for each in self.sockets.values():
            if each:
                each.setblocking(False)

    @staticmethod
    def listen(family: int, address: Any) -> socket.socket | None:  # None: this kind does not exist here
        listener = socket.socket(family)
        try:
            listener.bind(address)
        except OSError:
            return None
        listener.listen(64)
        return listener

    def port(self, name: str) -> int:
        return self.sockets[name].getsockname()[1] if self.sockets[name] else 9

    def visitors(self) -> list[str]:
        "Who came since the last time."
        came = []
        for name, each in self.sockets.items():
            with contextlib.suppress(BlockingIOError):
                while each:
                    each.recv(100) if each.type == socket.SOCK_DGRAM else each.accept()[0].close()
                    came.append(name)
        return sorted(set(came))

    def close(self) -> None:
        for each in self.sockets.values():
            if each:
                each.close()
        for path in (*self.paths, self.datagram):
            Path(path).unlink(missing_ok=True)


class Range:
    "Traps and a host for one environment and one user; a context manager."

    def __init__(self, env: str, settings: dict | None = None, user: User | None = None):
        self.env, self.settings, self.user, self.number = env, settings or {}, user or this_user(), secrets.token_hex(4)
        self.tokens = {
            name: f'token-{secrets.token_hex(12)}'
            for name in (
                'environment',
                'home',
                'temporary file',
                'working folder',
                'open file',
                'keyring',
                'context of another run',
            )
        }
        self.host: subprocess.Popen | None = None
        self.closing = contextlib.ExitStack()

    def __enter__(self) -> Range:
        try:
            self.set_traps()
            self.start_host()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self.end_host()
        self.closing.close()

    def folder(self, parent: str) -> Path:
        "A folder of the user's that is gone at the end."
        made = Path(tempfile.mkdtemp(prefix=f'.rlm-attack-{self.number}-', dir=parent))
        self.closing.callback(shutil.rmtree, made, ignore_errors=True)
        self.own(made)
        return made

    def own(self, path: Path) -> Path:
        if os.getuid() == 0:
            os.chown(path, self.user.number, self.user.group)
        return path

    def secret(self, path: Path, name: str) -> str:
        path.write_text(f'{self.tokens[name]}\n')
        return str(self.own(path))

    def set_traps(self) -> None:
        "Everything that an attack may aim at."
        real_home = pwd.getpwuid(self.user.number).pw_dir
        own_home = self.user.number == os.getuid() and os.access(real_home, os.W_OK)
        self.home, self.temporary, self.cwd = (
            self.folder(real_home if own_home else '/var/tmp'),
            self.folder('/tmp'),
            self.folder('/var/tmp'),
        )
        self.scratch = self.folder('/tmp')
        self.own(self.home / '.ssh') if (self.home / '.ssh').mkdir() else self.own(self.home / '.ssh')
        self.secret_files = [
            self.secret(self.home / 'canary.txt', 'home'),
            self.secret(self.home / '.ssh' / 'id_ed25519', 'home'),
            self.secret(self.temporary / 'canary.txt', 'temporary file'),
        ]
        self.secret(self.cwd / '.env', 'working folder')
        self.open_file = self.secret(self.home / 'open-canary', 'open file')
        self.secrets_before = {path: Path(path).read_text() for path in self.secret_files}
        self.listeners = Listeners(self.temporary, self.number)
        self.closing.callback(self.listeners.close)
        ours, self.terminal = pty.openpty()
        self.closing.callback(os.close, ours)
        self.closing.callback(os.close, self.terminal)
        if os.getuid() == 0:
            os.chown(os.ttyname(self.terminal), self.user.number, self.user.group)
        self.start_victim()
        self.closing.callback(lambda: (self.victim.kill(), self.victim.wait()))
        venv = Path(self.user.python).parent.parent
        site = str(venv / 'lib' / f'python{sys.version_info[0]}.{sys.version_info[1]}' / 'site-packages')
        self.libraries = [
            folder
            for folder in (str(ROOT / 'rlm'), str(venv), site, os.path.dirname(json.__file__))
            if os.path.isdir(folder)
        ]
        self.folders = [
            str(self.home),
            str(self.scratch),
            str(self.temporary),
            '/etc',
            '/usr',
            '/usr/local',
            '/var/tmp',
            '/tmp',
            '/dev/shm',
            '/',
            str(self.cwd),
            real_home,
        ]
        self.new_file = f'rlm-attack-{self.number}.txt'

    def start_victim(self) -> None:
        "A process of the user's that only sleeps."
        self.victim = subprocess.Popen(
            [f'rlm-victim-{self.number}', '100000'],
            executable=shutil.which('sleep'),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **self.user.rights(),
        )

    def start_host(self) -> None:
        "Start the host and wait until it has opened its first shell; raises `Missing`."
        self.results, theirs = os.pipe()
        environment = dict(
            os.environ,
            PYTHONPATH=str(ROOT),
            RLM_TEST_API_KEY=self.tokens['environment'],
            HOME=str(self.home),
            PYTHONDONTWRITEBYTECODE='1',
        )
        if self.user.number != os.getuid():
            environment.pop('XDG_RUNTIME_DIR', None)
        environment |= self.user.environment
        command = [
            self.user.python,
            '-m',
            'tests.containment',
            '--host',
            self.env,
            json.dumps(self.settings),
            os.ttyname(self.terminal),
            self.open_file,
            f'rlm-{self.number}',
            self.tokens['keyring'],
        ]
        self.log = tempfile.TemporaryFile()
        self.host = subprocess.Popen(
            command,
            cwd=self.cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            pass_fds=[theirs],
            start_new_session=True,
            text=True,
            **self.user.rights(),
        )
        os.close(theirs)
        self.buffer = b''
        told, fate = self.ask(str(theirs), 120)
        if fate:
            raise RuntimeError(f'the host {fate}: {self.complaint()}')
        if told.get('missing'):
            raise Missing(told['missing'])
        if not told['ready']:
            raise RuntimeError(f"the host is not ready: {told}")
        self.address = told['address']

    def complaint(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors='replace')[-3000:]

    def end_host(self) -> None:
        if self.host is None:
            return
        for number in [*descendants(self.host.pid), self.host.pid]:
            kill(number)
        self.host.wait()
        self.host.stdin.close()
        os.close(self.results)
        self.host = None

    def ask(
        self, line: str, seconds: float
    ) -> tuple[dict, str]:  # the host's answer, and what became of the host: '' where it is well
        "Send one line and wait for one."
        deadline, stopped = time.monotonic() + seconds, 0
        try:
            self.host.stdin.write(line + '\n')
            self.host.stdin.flush()
        except OSError:
            return {}, 'died'
        while b'\n' not in self.buffer:
            if time.monotonic() > deadline:
                return {}, f'did not answer for {seconds:.0f} s'
            stopped = stopped + 1 if state(self.host.pid) in 'Tt' else 0
            if stopped > 2:
                return {}, 'was stopped'
            if not select.select([self.results], [], [], 0.2)[0]:
                continue
            data = os.read(self.results, 2**20)
            if not data:
                return {}, 'died'
            self.buffer += data
        told, _, self.buffer = self.buffer.partition(b'\n')
        try:
            return json.loads(told), ''
        except ValueError:
            return {}, 'speaks in tongues'  # the cell wrote into its words

    def trap(self, mark: str) -> dict:
        "What an attack is told of its aims."
        return dict(
            mark=mark,
            number=self.number,
            host=self.host.pid,
            victim=self.victim.pid,
            victim_word=f'rlm-victim-{self.number}',
            key='RLM_TEST_API_KEY',
            key_name=f'rlm-{self.number}',
            secret_files=self.secret_files,
            home=str(self.home),
            cwd=str(self.cwd),
            scratch=str(self.scratch),
            folders=self.folders,
            libraries=self.libraries,
            new_file=self.new_file,
            real_home=str(self.home),
            address=self.address,
            other_size=self.other_size(),
            terminal=os.ttyname(self.terminal),
            contained=self.env in CONTAINED,
            tcp=self.listeners.port('tcp'),
            tcp6=self.listeners.port('tcp6'),
            udp=self.listeners.port('udp'),
            unix=self.listeners.paths,
            datagram=self.listeners.datagram,
            key_start='token-',
            abstract=self.listeners.abstract,
            interfaces=[name for _, name in socket.if_nameindex() if name != 'lo'],
            host_name=socket.gethostname(),
            namespaces={kind: os.readlink(f'/proc/self/ns/{kind}') for kind in ('net', 'mnt', 'pid', 'user')},
            ipc=os.readlink('/proc/self/ns/ipc'),
        )

    def other_size(self) -> int:
        return 50_000 + int(self.number, 16) % 9973

    def run(self, attack: Attack) -> Seen:
        "One attack, and what came of it; a host that suffered is replaced."
        mark = 'rlmx' + secrets.token_hex(4)
        listings = self.listings()
        other = self.tokens['context of another run'].ljust(self.other_size(), '.') if attack.other else ''
        job = dict(
            code=attack.code,
            timeout=attack.timeout,
            trap=self.trap(mark),
            fetch=attack.fetch,
            give=attack.give,
            other=other,
            after=attack.after,
            last=not attack.gentle,
        )
        told, fate = self.ask(json.dumps(job), attack.timeout + PATIENCE)
        if told.get('unready'):
            raise RuntimeError(f"{attack.name}: the cell before the attack failed: {told['unready']}")
        seen = Seen(
            cells=told.get('cells', []),
            host=fate,
            asked=told.get('asked', 0),
            at_once=told.get('at_once', 0),
            memory=told.get('memory', 0.0),
        )
        if seen.cells:
            seen.said, seen.seconds = seen.cells[0]['said'], seen.cells[0]['seconds']
        seen.found = [name for name, token in self.tokens.items() if token in seen.said]
        seen.visitors, seen.written, seen.harmed = (
            self.listeners.visitors(),
            self.new_files(listings),
            self.harm(0.1 if attack.kind == 'processes' else 0.0),
        )
        if told.get('descriptors', 0) > 0:
            seen.left.append(f"{told['descriptors']} open files in the host")
        if told.get('threads', 0) > 0:
            seen.left.append(f"{told['threads']} threads in the host")
        if fate or told['closed']:
            seen.left += self.left_processes(mark)
        if fate or goes_on(seen) or seen.left:
            self.end_host()
            self.start_host()
        return seen

    def listings(self) -> dict[Path, set[str]]:
        return {folder: set(os.listdir(folder)) for folder in (self.cwd, self.home, self.temporary)}

    def new_files(self, before: dict[Path, set[str]]) -> list[str]:
        "What is new or changed; all of it is put back."
        new = []
        for folder in {*self.folders, *self.libraries}:
            path = Path(folder) / self.new_file
            if path.exists():
                path.unlink()
                new.append(f'{generic(folder)}/...')
        for folder, names in before.items():
            for name in set(os.listdir(folder)) - names:
                new.append(f'{name} into a folder of the host')
                (shutil.rmtree if (folder / name).is_dir() else os.unlink)(folder / name)
        for path, text in self.secrets_before.items():
            if not os.path.exists(path) or Path(path).read_text() != text:
                new.append(generic(path))
        for name in os.listdir(self.scratch):
            shutil.rmtree(self.scratch / name) if (self.scratch / name).is_dir() else (self.scratch / name).unlink()
        return sorted(set(new))

    def harm(self, patience: float) -> list[str]:  # `patience`: seconds within which it would die
        "What was done to the other process of the user."
        fate = ''
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.victim.wait(patience)
        if self.victim.poll() is not None:
            fate = 'killed'
        elif state(self.victim.pid) in 'Tt':
            fate = 'stopped'
        elif 'TracerPid:\t0' not in Path(f'/proc/{self.victim.pid}/status').read_text():
            fate = 'traced'
        if not fate:
            return []
        self.victim.kill()
        self.victim.wait()
        self.start_victim()
        return [f'another process ({fate})']

    def left_processes(self, mark: str) -> list[str]:
        "What still runs some seconds after the shell was closed; it is ended."
        deadline = time.monotonic() + 5
        while (
            left := [
                *marked(mark, '60.' + self.number),
                *(descendants(self.host.pid) if self.host.poll() is None else []),
            ]
        ) and time.monotonic() < deadline:
            time.sleep(0.05)
        for number in left:
            kill(number)
        return [f'{len(left)} processes'] if left else []


def generic(path: str) -> str:
    "Without what differs from run to run."
    return '/'.join('(folder)' if part.startswith('.rlm-attack-') else part for part in path.split('/'))


def state(number: int) -> str:  # 'R', 'S', 'T', ...; '' where there is none
    try:
        return Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return 'X'


def processes() -> Iterator[int]:
    return (int(name) for name in os.listdir('/proc') if name.isdigit())


def marked(*marks: str) -> list[int]:
    "Processes that carry a mark in their name or their command line."
    found = []
    for number in processes():
        with contextlib.suppress(OSError):
            words = Path(f'/proc/{number}/comm').read_bytes() + Path(f'/proc/{number}/cmdline').read_bytes()
            if any(mark.encode() in words for mark in marks) and state(number) not in 'ZX':
                found.append(number)
    return found


def descendants(ancestor: int) -> list[int]:
    "All processes that come from one, without those that have ended."
    parents = {}
    for number in processes():
        with contextlib.suppress(OSError):
            parents[number] = int(Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[1])
    found, new = [], [ancestor]
    while new:
        new = [number for number, parent in parents.items() if parent in new]
        found += new
    return [number for number in found if state(number) not in 'ZX']


def kill(number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(number, signal.SIGKILL)


# --- many attacks ---


def run_all(
    env: str, settings: dict | None = None, user: User | None = None, attacks: list[Attack] = ATTACKS, at_once: int = 4
) -> dict[str, Seen]:
    "All attacks in one environment, a few at a time; bombs last, one by one, after others have shown that limits hold."
    seen: dict[str, Seen | Exception] = {}
    quiet, bombs = ([each for each in attacks if each.bomb == bomb] for bomb in (False, True))
    waiting = queue.SimpleQueue()
    for each in sorted(quiet, key=lambda each: (each.gentle, each.kind != 'hangs')):
        waiting.put(each)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with Range(env, settings, user) as place:
                while not failed:
                    try:
                        each = waiting.get_nowait()
                    except queue.Empty:
                        return
                    seen[each.name] = place.run(each)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(at_once, len(quiet)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    if bombs:
        with Range(env, settings, user) as place:
            for each in bombs:
                seen[each.name] = place.run(each)
    return seen


@contextlib.contextmanager
def settings_for(env: str, user: User) -> Iterator[dict]:
    "What `open_shell` needs for an environment besides its name; raises `Missing`."
    if env == 'landlock':
        yield dict(version=settings_version())
        return
    if env != 'docker':
        yield {}
        return
    from rlm.base.errors import RLMError
    from tests import containers

    before, containers.IMAGE = containers.IMAGE, f'rlm-attack-{os.getpid()}'
    try:
        with containers.container_settings(user=user) as settings:
            yield settings
    except RLMError as error:
        raise Missing(str(error)) from None
    finally:
        containers.IMAGE = before


TABLE = ROOT / 'nbs' / 'shell' / 'attacks.json'


def write_table(env: str, user: User, out: dict[str, list[str]]) -> None:
    "Put what came of one environment and one user into the table of the docs; what others came to stays."
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    who = 'an ordinary user' if user.number else 'root'
    run = dict(
        env=env,
        user=who,
        date=time.strftime('%Y-%m-%d'),
        system=system(env),
        held=[name for name, ways in out.items() if not ways],
        out=[name for name, ways in out.items() if ways],
    )
    others = [each for each in table.get('runs', []) if (each['env'], each['user']) != (env, who)]
    for before in table.get('runs', []):  # attacks that were not tried again keep their outcome
        if before not in others:
            for field in ('held', 'out'):
                run[field] += [name for name in before[field] if name not in out]
    runs = sorted([*others, run], key=lambda each: (ENVIRONMENTS.index(each['env']), each['user']))
    rows = [dict(name=each.name, kind=each.kind, tries=each.tries) for each in ATTACKS]
    TABLE.write_text(json.dumps(dict(runs=runs, rows=rows), indent=1, ensure_ascii=False) + '\n')


def system(env: str) -> str:
    "The kernel, and what contains the environment."
    from rlm.shell.isolation.docker import find_container_command
    from rlm.shell.remote.locks import landlock_version

    more = ''
    if env == 'sandbox':
        more = version_of('bwrap')
    elif env == 'docker':
        more = version_of(find_container_command())
    elif env == 'landlock':
        asked = settings_version()
        more = f'Landlock {landlock_version()}, of which version {asked} is used'
    return ', '.join(filter(None, [f'Linux {".".join(os.uname().release.split(".")[:2])}', more]))


def version_of(program: str) -> str:
    done = subprocess.run([program, '--version'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def settings_version() -> int:
    "The first version of Landlock refuses least: what is held with it is held with every other one."
    return int(os.environ.get('RLM_TEST_LANDLOCK', 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('environments', nargs='*', default=ENVIRONMENTS)
    parser.add_argument('--only', nargs='*', help='names of attacks')
    parser.add_argument('--user', help='as another account, such as nobody, or one that may have containers')
    parser.add_argument('--write', action='store_true', help='put the outcome into nbs/shell/attacks.json')
    parser.add_argument('--host', nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        env, settings, *rest = options.host
        be_host(env, json.loads(settings), *rest)
        return 0
    wanted = [each for each in ATTACKS if not options.only or each.name in options.only]
    table: dict[str, dict[str, list[str]]] = {}
    with ordinary_user(options.user) if options.user else contextlib.nullcontext(this_user()) as user:
        for env in options.environments:
            started = time.monotonic()
            attacks = [each for each in wanted if not each.bomb or env in each.contained_in]  # else nothing stops it
            try:
                with settings_for(env, user) as settings:
                    seen = run_all(env, settings, user, attacks)
            except Missing as error:
                print(f'{env}: not here: {error}')
                continue
            table[env] = {each.name: escape(seen[each.name], each) for each in attacks}
            if options.write:
                write_table(env, user, table[env])
            held = sum(not out for out in table[env].values())
            print(f'{env} as {user.name}: {held} of {len(attacks)} held, {time.monotonic() - started:.0f} s')
            for each in attacks:
                out = table[env][each.name]
                if bool(out) != (env in each.open_in):
                    outcome = 'GOT OUT' if out else 'held, although it is expected to get out'
                    print(f"  {outcome}: {each.name}: {'; '.join(out)[:600]}")
                if unfinished(seen[each.name], each):
                    print(f'  NOT FINISHED: {each.name}')
                if options.only:
                    print(json.dumps({**asdict(seen[each.name]), 'out': out}, indent=1)[:6000])
    return 0


if __name__ == '__main__':
    sys.exit(main())
