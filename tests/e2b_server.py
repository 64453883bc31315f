"""A stand-in for the e2b service on loopback, for tests: its sandboxes are folders and processes of this machine.

It answers the requests that the SDK makes for `AsyncSandbox.create`, `files.write`, `commands.run(..., stdin=True)`,
`send_stdin` and `kill`. It isolates nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import struct
import threading
import uuid
from pathlib import Path

from aiohttp import web


class E2BServer:
    "Sandboxes by id, and what was asked for."

    def __init__(self):
        self.sandboxes: dict[str, dict] = {}
        self.processes: dict[int, asyncio.subprocess.Process] = {}
        self.killed: list[str] = []
        self.application = web.Application(client_max_size=2**30)
        self.application.add_routes(
            [
                web.post('/v2/sandboxes', self.create),
                web.delete('/sandboxes/{id}', self.delete),
                web.get('/health', self.health),
                web.post('/files', self.write_file),
                web.post('/process.Process/Start', self.start),
                web.post('/process.Process/SendInput', self.send_input),
                web.post('/process.Process/CloseStdin', self.close_input),
                web.post('/process.Process/SendSignal', self.send_signal),
            ]
        )

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def create(self, request: web.Request) -> web.Response:
        if request.headers.get('X-API-Key') != 'test':
            return web.json_response(dict(code=401, message='The key is not known.'), status=401)
        asked, sandbox = await request.json(), f'i{uuid.uuid4().hex[:12]}'
        self.sandboxes[sandbox] = asked
        return web.json_response(
            dict(
                sandboxID=sandbox,
                templateID=asked['templateID'],
                clientID='client',
                envdVersion='0.6.4',
                envdAccessToken='token',
            ),
            status=201,
        )

    async def delete(self, request: web.Request) -> web.Response:
        sandbox = request.match_info['id']
        if self.sandboxes.pop(sandbox, None) is None:
            return web.json_response(dict(code=404, message='There is no such sandbox.'), status=404)
        self.killed.append(sandbox)
        for process in self.processes.values():
            self.end(process)
        return web.Response(status=204)

    async def write_file(self, request: web.Request) -> web.Response:
        if request.content_type == 'application/octet-stream':
            data = await request.read()
        else:
            data = await (await (await request.multipart()).next()).read()
        path = Path(request.query['path'])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return web.json_response([dict(name=path.name, type='file', path=str(path))])

    async def start(self, request: web.Request) -> web.StreamResponse:
        "A command's life as a stream of messages, each after a byte of flags and its length."
        asked = json.loads((await request.read())[5:])
        response = web.StreamResponse(headers={'Content-Type': 'application/connect+json'})
        await response.prepare(request)

        async def say(message: dict, flags: int = 0) -> None:
            data = json.dumps(message).encode()
            await response.write(struct.pack('>BI', flags, len(data)) + data)

        config, pipe = asked['process'], asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            config['cmd'], *config['args'], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self.processes[process.pid] = process
        with contextlib.suppress(ConnectionError):
            await say(dict(event=dict(start=dict(pid=process.pid))))

            async def pass_on(stream: asyncio.StreamReader, name: str) -> None:
                while data := await stream.read(32768):
                    await say(dict(event=dict(data={name: base64.b64encode(data).decode()})))

            await asyncio.gather(pass_on(process.stdout, 'stdout'), pass_on(process.stderr, 'stderr'))
            await say(dict(event=dict(end=dict(exitCode=await process.wait(), exited=True, status='exited'))))
            await say({}, flags=2)
        return response

    def named(self, asked: dict) -> asyncio.subprocess.Process | None:
        return self.processes.get(asked['process'].get('pid'))

    async def send_input(self, request: web.Request) -> web.Response:
        asked = await request.json()
        stdin = self.named(asked).stdin
        stdin.write(base64.b64decode(asked['input']['stdin']))
        with contextlib.suppress(ConnectionError):
            await stdin.drain()
        return web.json_response({})

    async def close_input(self, request: web.Request) -> web.Response:
        self.named(await request.json()).stdin.close()
        return web.json_response({})

    async def send_signal(self, request: web.Request) -> web.Response:
        self.end(self.named(await request.json()))
        return web.json_response({})

    def end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def e2b_server():
    "A server in a thread of this process; gives it and its address."
    server, loop, started, address = E2BServer(), asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        runner = web.AppRunner(server.application)
        await runner.setup()
        site = web.TCPSite(runner, '127.0.0.1', 0)
        await site.start()
        address.append(f'http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}')
        started.set()
        await stopped.wait()
        for process in server.processes.values():
            server.end(process)
        await runner.cleanup()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.close()

    stopped = asyncio.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield server, address[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(timeout=10)
