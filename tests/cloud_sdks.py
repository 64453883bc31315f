"""The calls of the cloud SDKs that `rlm.shell.isolation.clouds` makes: recorded signatures, and stand-ins for the SDKs.

`python -m tests.cloud_sdks` writes the signatures of the installed SDKs to tests/cloud_sdks.json; e2b and prime need
separate virtual environments. The stand-ins run programs of this machine.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import json
import shlex
import sys
import types
from pathlib import Path

SNAPSHOT = Path(__file__).with_name('cloud_sdks.json')
PACKAGES = dict(modal='modal', e2b='e2b', daytona='daytona', prime='prime-sandboxes')
CALLS = dict(
    modal=[
        'modal:App.lookup',
        'modal:Image.from_registry',
        'modal:Image.debian_slim',
        'modal:Sandbox.create',
        'modal:Sandbox.exec',
        'modal:Sandbox.terminate',
        'modal.sandbox._filesystem:_SandboxFilesystem.write_bytes',
        'modal.io_streams:StreamWriter.write',
        'modal.io_streams:StreamWriter.drain',
    ],
    e2b=[
        'e2b:AsyncSandbox.create',
        'e2b:AsyncSandbox.kill',
        'e2b.sandbox_async.filesystem.filesystem:Filesystem.write',
        'e2b.sandbox_async.commands.command:Commands.run',
        'e2b.sandbox_async.commands.command:Commands.send_stdin',
        'e2b.sandbox_async.commands.command_handle:AsyncCommandHandle.wait',
    ],
    daytona=[
        'daytona:AsyncDaytona.create',
        'daytona:AsyncDaytona.close',
        'daytona:CreateSandboxFromImageParams',
        'daytona:CreateSandboxFromSnapshotParams',
        'daytona:SessionExecuteRequest',
        'daytona:AsyncSandbox.delete',
        'daytona._async.filesystem:AsyncFileSystem.upload_file',
        'daytona._async.process:AsyncProcess.create_session',
        'daytona._async.process:AsyncProcess.execute_session_command',
        'daytona._async.process:AsyncProcess.get_session_command_logs_async',
        'daytona._async.process:AsyncProcess.send_session_command_input',
    ],
    prime=[
        'prime_sandboxes:AsyncSandboxClient.create',
        'prime_sandboxes:CreateSandboxRequest',
        'prime_sandboxes:AsyncSandboxClient.wait_for_creation',
        'prime_sandboxes:AsyncSandboxClient.upload_bytes',
        'prime_sandboxes:AsyncSandboxClient.open_process',
        'prime_sandboxes:AsyncSandboxClient.delete',
        'prime_sandboxes:AsyncSandboxClient.aclose',
        'prime_sandboxes.process:AsyncSandboxProcess.write_stdin',
    ],
)


def parameters(call: str) -> list[list]:
    "Name, kind and whether it has a default, of each parameter of an installed SDK's call."
    module, _, path = call.partition(':')
    found = importlib.import_module(module)
    for name in path.split('.'):
        found = getattr(found, name)
    known = inspect.signature(found).parameters.values()
    return [[each.name, each.kind.name, each.default is not each.empty] for each in known]


def installed(name: str) -> dict:
    "The signatures of one SDK; raises `PackageNotFoundError` or `ImportError`."
    return dict(
        version=importlib.metadata.version(PACKAGES[name]), calls={call: parameters(call) for call in CALLS[name]}
    )


def signature(listed: list[list]) -> inspect.Signature:
    "What `parameters` wrote down, to bind calls to."
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect._ParameterKind[kind], **(dict(default=None) if optional else {}))
            for name, kind, optional in listed
        ]
    )


class StandIn:
    "What the stand-ins share: programs of this machine, and a list of what was called."

    def __init__(self):
        self.calls, self.processes, self.removed, self.fail = [], [], 0, None

    def note(self, call: str, *args, **kwargs) -> None:
        self.calls.append((call, args, kwargs))
        if self.fail and call.endswith(self.fail):
            raise RuntimeError(f'{self.fail} failed: the quota is used up')

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, limit=2**26)
        self.processes.append(process)
        return process

    def remove(self) -> None:
        self.removed += 1
        for process in self.processes:
            if process.returncode is None:
                process.kill()


async def pieces(stream, cut: int = 5000):
    while data := await stream.read(cut):
        yield data


async def to_callback(stream, take):
    async for data in pieces(stream):
        take(data.decode())


def aio(function):
    return types.SimpleNamespace(aio=function)


def modal_stand_in(standing: StandIn) -> types.ModuleType:
    async def lookup(*args, **kwargs):
        standing.note('modal:App.lookup', *args, **kwargs)

    async def create(*args, **kwargs):
        standing.note('modal:Sandbox.create', *args, **kwargs)
        return types.SimpleNamespace(
            exec=aio(execute), terminate=aio(terminate), filesystem=types.SimpleNamespace(write_bytes=aio(write_bytes))
        )

    async def write_bytes(*args, **kwargs):
        standing.note('modal.sandbox._filesystem:_SandboxFilesystem.write_bytes', None, *args, **kwargs)
        Path(args[1]).write_bytes(args[0])

    async def execute(*args, **kwargs):
        standing.note('modal:Sandbox.exec', None, *args, **kwargs)
        process = await standing.start(*args)

        def write(data):
            standing.note('modal.io_streams:StreamWriter.write', None, data)
            process.stdin.write(data)

        return types.SimpleNamespace(
            stdin=types.SimpleNamespace(write=write, drain=aio(process.stdin.drain)),
            stdout=pieces(process.stdout),
            stderr=pieces(process.stderr),
        )

    async def terminate(*args, **kwargs):
        standing.note('modal:Sandbox.terminate', None, *args, **kwargs)
        standing.remove()

    module = types.ModuleType('modal')
    module.App, module.Sandbox = types.SimpleNamespace(lookup=aio(lookup)), types.SimpleNamespace(create=aio(create))
    module.Image = types.SimpleNamespace(
        from_registry=lambda *args, **kwargs: standing.note('modal:Image.from_registry', *args, **kwargs),
        debian_slim=lambda *args, **kwargs: standing.note('modal:Image.debian_slim', *args, **kwargs),
    )
    return module


def e2b_stand_in(standing: StandIn) -> types.ModuleType:
    class Files:
        async def write(self, *args, **kwargs):
            standing.note('e2b.sandbox_async.filesystem.filesystem:Filesystem.write', self, *args, **kwargs)
            Path(args[0]).write_bytes(args[1])

    class Commands:
        async def run(self, *args, **kwargs):
            standing.note('e2b.sandbox_async.commands.command:Commands.run', self, *args, **kwargs)
            self.process = await standing.start(*shlex.split(args[0]))

            async def wait():
                await asyncio.gather(
                    to_callback(self.process.stdout, kwargs['on_stdout']),
                    to_callback(self.process.stderr, kwargs['on_stderr']),
                )

            return types.SimpleNamespace(pid=self.process.pid, wait=wait)

        async def send_stdin(self, *args, **kwargs):
            standing.note('e2b.sandbox_async.commands.command:Commands.send_stdin', self, *args, **kwargs)
            self.process.stdin.write(args[1].encode())
            await self.process.stdin.drain()

    class AsyncSandbox:
        def __init__(self):
            self.files, self.commands = Files(), Commands()

        @classmethod
        async def create(cls, *args, **kwargs):
            standing.note('e2b:AsyncSandbox.create', *args, **kwargs)
            return cls()

        async def kill(self, *args, **kwargs):
            standing.note('e2b:AsyncSandbox.kill', self, *args, **kwargs)
            standing.remove()

    module = types.ModuleType('e2b')
    module.AsyncSandbox = AsyncSandbox
    return module


def daytona_stand_in(standing: StandIn) -> types.ModuleType:
    prefix = 'daytona._async.process:AsyncProcess.'

    class Process:
        async def create_session(self, *args, **kwargs):
            standing.note(f'{prefix}create_session', self, *args, **kwargs)

        async def execute_session_command(self, *args, **kwargs):
            standing.note(f'{prefix}execute_session_command', self, *args, **kwargs)
            self.process, self.echo = await standing.start(*shlex.split(args[1].command)), asyncio.Queue()
            return types.SimpleNamespace(cmd_id='c1')

        async def get_session_command_logs_async(self, *args, **kwargs):
            standing.note(f'{prefix}get_session_command_logs_async', self, *args, **kwargs)
            self.take = args[2]
            await asyncio.gather(to_callback(self.process.stdout, args[2]), to_callback(self.process.stderr, args[3]))

        async def send_session_command_input(self, *args, **kwargs):
            standing.note(f'{prefix}send_session_command_input', self, *args, **kwargs)
            self.process.stdin.write(args[2].encode())
            await self.process.stdin.drain()

    class Sandbox:
        def __init__(self):
            self.process, self.fs = Process(), types.SimpleNamespace(upload_file=self.upload_file)

        async def upload_file(self, *args, **kwargs):
            standing.note('daytona._async.filesystem:AsyncFileSystem.upload_file', self, *args, **kwargs)
            Path(args[1]).write_bytes(args[0])

        async def delete(self, *args, **kwargs):
            standing.note('daytona:AsyncSandbox.delete', self, *args, **kwargs)
            standing.remove()

    class AsyncDaytona:
        async def create(self, *args, **kwargs):
            standing.note('daytona:AsyncDaytona.create', self, *args, **kwargs)
            return Sandbox()

        async def close(self, *args, **kwargs):
            standing.note('daytona:AsyncDaytona.close', self, *args, **kwargs)

    def made(name):
        def make(*args, **kwargs):
            standing.note(f'daytona:{name}', *args, **kwargs)
            return types.SimpleNamespace(**kwargs)

        return make

    module = types.ModuleType('daytona')
    module.AsyncDaytona = AsyncDaytona
    for name in ('CreateSandboxFromImageParams', 'CreateSandboxFromSnapshotParams', 'SessionExecuteRequest'):
        setattr(module, name, made(name))
    return module


def prime_stand_in(standing: StandIn) -> types.ModuleType:
    class AsyncSandboxClient:
        async def create(self, *args, **kwargs):
            standing.note('prime_sandboxes:AsyncSandboxClient.create', self, *args, **kwargs)
            return types.SimpleNamespace(id='s1')

        async def wait_for_creation(self, *args, **kwargs):
            standing.note('prime_sandboxes:AsyncSandboxClient.wait_for_creation', self, *args, **kwargs)

        async def aclose(self, *args, **kwargs):
            standing.note('prime_sandboxes:AsyncSandboxClient.aclose', self, *args, **kwargs)

        async def upload_bytes(self, *args, **kwargs):
            standing.note('prime_sandboxes:AsyncSandboxClient.upload_bytes', self, *args, **kwargs)
            Path(args[1]).write_bytes(args[2])

        async def open_process(self, *args, **kwargs):
            standing.note('prime_sandboxes:AsyncSandboxClient.open_process', self, *args, **kwargs)
            process = await standing.start(*shlex.split(args[1]))

            async def write_stdin(data):
                standing.note('prime_sandboxes.process:AsyncSandboxProcess.write_stdin', None, data)
                process.stdin.write(data)
                await process.stdin.drain()

            return types.SimpleNamespace(
                stdout=pieces(process.stdout), stderr=pieces(process.stderr), write_stdin=write_stdin
            )

        async def delete(self, *args, **kwargs):
            standing.note('prime_sandboxes:AsyncSandboxClient.delete', self, *args, **kwargs)
            standing.remove()

    module = types.ModuleType('prime_sandboxes')
    module.AsyncSandboxClient = AsyncSandboxClient

    def request(*args, **kwargs):
        standing.note('prime_sandboxes:CreateSandboxRequest', *args, **kwargs)
        return types.SimpleNamespace(**kwargs)

    module.CreateSandboxRequest = request
    return module


STAND_INS = dict(modal=modal_stand_in, e2b=e2b_stand_in, daytona=daytona_stand_in, prime=prime_stand_in)

if __name__ == '__main__':
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    for sdk in CALLS:
        try:
            known[sdk] = installed(sdk)
        except (importlib.metadata.PackageNotFoundError, ImportError) as error:
            print(f'{sdk}: {error}', file=sys.stderr)
    lines = [
        f' {json.dumps(sdk)}: {{"version": {json.dumps(known[sdk]["version"])}, "calls": {{\n'
        + ',\n'.join(f'  {json.dumps(call)}: {json.dumps(listed)}' for call, listed in known[sdk]['calls'].items())
        + '}}'
        for sdk in sorted(known)
    ]
    SNAPSHOT.write_text('{\n' + ',\n'.join(lines) + '\n}\n')
