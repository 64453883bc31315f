"""A mock of an OpenAI-compatible server on loopback, for tests and benchmarks.

It is not a language model: every reply is scripted. `python -m tests.mock_server --port 0` prints its address and
serves until it is stopped; `mock_server(**settings)` does the same from a test.

The model's name selects its replies (`mode` or `mode-anything`):

| mode         | reply                                                                              |
|--------------|------------------------------------------------------------------------------------|
| `echo`       | the last message, as it came                                                       |
| `script`     | the next of the replies posted to `/script`, or the first rule that matches        |
| `rules`      | the first rule that matches, leaving the replies to others                         |
| `tool`       | one call of the first tool offered; the tool's result once there is one            |
| `extractive` | what `offline/extractive` of the library answers to the same messages              |
| `429`, `500` | always that status (`429` with `Retry-After`)                                      |
| `hung`       | nothing, until the client leaves                                                   |
| `malformed`, `no_choices`, `null`, `truncated` | a body that is not JSON, has no choices, null content or ends early |
| `x`, `mock`  | a script where one was posted, else echo                                           |

Any other name is an unknown model (404), unless the setting `serves` gives it a mode: `{"gpt-4o": "rules"}`.

Settings, which are also options on the command line:

- `latency`: seconds before every reply.
- `key`: the only API key that is accepted; others get 401.
- `retry_after`: seconds, sent with each 429.
- `faults`: maps a fault (`429`, `500`, `hung`, `malformed`, `no_choices`, `null`, `truncated`) to the share of requests
  that get it: `{"429": 0.1}`.
- `seed`: with the number of a request, it alone decides which fault the request gets, so a run can be repeated.
- `streams`: `usage` (default): a request with `stream` gets pieces, and the usage where it asks for it; `no usage`: the
  usage never comes; `refuses options`: `stream_options` gets 400; `never`: replies come whole; `refuses`: `stream` gets
  400; `broken`: the first stream ends in the middle.
- `crowded`: of so many requests only the first is answered; the others get 429.

Usage: a message has `ceil(characters / 4)` tokens. A prompt has the sum of its messages' tokens; a reply is counted in
the same way. Cached tokens are those of the longest earlier prompt that this prompt begins with.

`/script` takes `{"replies": [...], "rules": [[pattern, reply], ...]}`. Replies go first, in order, then the first rule
whose pattern is found in the last message. A reply is a text or a dict with some of `content`,
`tool_calls` (`[{"name", "arguments"}]`), `status`, `latency`, `fault` and `finish_reason`.

`GET /stats` returns what the server has seen: among others `times` (seconds of arrival and of leaving, in order of
leaving), `usage` (of good answers) and `told` (of all bodies that report a usage, also those without choices or
content).
`POST /reset` clears it, and the script too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from aiohttp import web

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ('429', '500', 'hung', 'malformed', 'no_choices', 'null', 'truncated')
MODES = ('echo', 'script', 'rules', 'tool', 'extractive', 'x', 'mock', *FAULTS)


@dataclass
class Settings:
    "What the server was started with."

    latency: float = 0.0
    key: str | None = None
    seed: int = 0
    retry_after: float = 1.0
    faults: dict[str, float] = field(default_factory=dict)
    streams: str = 'usage'
    crowded: int = 1
    serves: dict[str, str] = field(default_factory=dict)

    def mode(self, model: str) -> str:
        "What `model` answers."
        return self.serves.get(model, model.split('-')[0])

    def fault(self, number: int) -> str | None:
        "The fault that request `number` gets: a pure function of the seed and that number."
        if number % self.crowded:
            return '429'
        draw = random.Random(f'{self.seed}:{number}').random()
        for kind, share in self.faults.items():
            draw -= share
            if draw < 0:
                return kind


@dataclass
class State:
    "What the server has seen, and what it is still to say."

    numbers: Iterator[int] = field(default_factory=itertools.count)
    replies: list = field(default_factory=list)
    rules: list = field(default_factory=list)
    requests: int = 0
    in_flight: int = 0
    peak: int = 0
    left: int = 0
    statuses: Counter = field(default_factory=Counter)
    prompts: list = field(default_factory=list)
    seen: dict = field(default_factory=dict)
    usage: Counter = field(default_factory=Counter)
    told: Counter = field(default_factory=Counter)
    times: list = field(default_factory=list)
    fields: set = field(default_factory=set)  # of the bodies of all requests
    broken: bool = False  # whether a stream was broken off

    def stats(self) -> dict:
        "The answer to `GET /stats`."
        return dict(
            requests=self.requests,
            in_flight=self.in_flight,
            peak=self.peak,
            left=self.left,
            statuses=dict(self.statuses),
            prompts=self.prompts,
            fields=sorted(self.fields),
            usage=dict(self.usage),
            told=dict(self.told),
            times=self.times,
            unused_replies=len(self.replies),
        )


def text_of(message: dict) -> str:
    "A message's content as one text, whichever of the two ways it was sent."
    content = message.get('content') or ''
    return content if isinstance(content, str) else ''.join(part.get('text', '') for part in content)


def tokens_in(text: str) -> int:
    return math.ceil(len(text) / 4)


def cached_tokens(state: State, messages: list[dict]) -> int:
    "Tokens of the longest earlier prompt that `messages` begins with; remembers this prompt."
    # One dictionary lookup a message, not a comparison with every prompt seen: hundreds arrive at once.
    cached, total, prefix = 0, 0, 0
    for message in messages:
        prefix = hash((prefix, message.get('role'), text_of(message)))
        total += tokens_in(text_of(message))
        if prefix in state.seen:
            cached = total
    state.seen[prefix] = True
    return cached


def next_reply(state: State, messages: list[dict], mode: str) -> dict:
    "The script's reply to `messages`; echo where no script says otherwise."
    last = text_of(messages[-1])
    if state.replies and mode != 'rules':
        reply = state.replies.pop(0)
    else:
        reply = next((reply for pattern, reply in state.rules if re.search(pattern, last)), last)
    return {'content': reply} if isinstance(reply, str) else dict(reply)


def tool_reply(messages: list[dict], tools: list[dict]) -> dict:
    "Call the first tool once, filling each required parameter with the last message; then say what the tool returned."
    last = messages[-1]
    if last['role'] == 'tool' or not tools:
        return {'content': text_of(last)}
    function = tools[0]['function']
    arguments = {name: text_of(last) for name in function.get('parameters', {}).get('required', [])}
    return {'content': None, 'tool_calls': [{'name': function['name'], 'arguments': json.dumps(arguments)}]}


def extractive_reply(messages: list[dict], tools: list[dict]) -> dict:
    "What the library's extractive reader answers."
    from rlm.offline import ExtractiveLM

    reply = ExtractiveLM()(messages, tools=tools or None)
    if isinstance(reply, str):
        return {'content': reply}
    return {'content': reply.get('text'), 'tool_calls': reply.get('tool_calls') or []}


async def plan(state: State, mode: str, body: dict) -> dict:
    "What a model of that mode answers, before any fault."
    messages, tools = body['messages'], body.get('tools') or []
    if mode in FAULTS:
        return {'fault': mode}
    if mode == 'echo':
        return {'content': text_of(messages[-1])}
    if mode == 'tool':
        return tool_reply(messages, tools)
    if mode == 'extractive':
        return await asyncio.to_thread(extractive_reply, messages, tools)
    return next_reply(state, messages, mode)


def completion(number: int, body: dict, reply: dict, cached: int) -> dict:
    "The body of a good answer."
    calls = [
        {
            'id': f'call_{number}_{place}',
            'type': 'function',
            'function': {'name': call['name'], 'arguments': call['arguments']},
        }
        for place, call in enumerate(reply.get('tool_calls') or [])
    ]
    content = reply.get('content')
    prompt_tokens = sum(tokens_in(text_of(message)) for message in body['messages'])
    output_tokens = tokens_in(content or '') + sum(tokens_in(call['function']['arguments']) for call in calls)
    return {
        'id': f'chatcmpl-{number}',
        'object': 'chat.completion',
        'created': 0,
        'model': body['model'],
        'choices': [
            {
                'index': 0,
                'finish_reason': reply.get('finish_reason') or ('tool_calls' if calls else 'stop'),
                'message': {'role': 'assistant', 'content': content, **({'tool_calls': calls} if calls else {})},
            }
        ],
        'usage': {
            'prompt_tokens': prompt_tokens,
            'completion_tokens': output_tokens,
            'total_tokens': prompt_tokens + output_tokens,
            'prompt_tokens_details': {'cached_tokens': cached},
        },
    }


def refusal(status: int, message: str, code: str, **headers) -> web.Response:
    "An error as OpenAI words it."
    kind = 'server_error' if status >= 500 else 'requests' if status == 429 else 'invalid_request_error'
    return web.json_response(
        {'error': {'message': message, 'type': kind, 'param': None, 'code': code}}, status=status, headers=headers
    )


def checked(settings: Settings, request: web.Request, body: object) -> web.Response | None:
    "The refusal that a request gets for its key, its form or its model; None where it is in order."
    key = request.headers.get('Authorization', '').removeprefix('Bearer ')
    if settings.key is not None and key != settings.key:
        return refusal(
            401,
            f'Incorrect API key provided: {key}. You can find your API key on the settings page.',
            'invalid_api_key',
        )
    if not isinstance(body, dict) or not isinstance(body.get('model'), str) or not body.get('messages'):
        return refusal(400, 'The request needs a model and messages.', 'invalid_request')
    if settings.streams == 'refuses' and 'stream' in body:
        return refusal(400, 'Streaming is not supported for this deployment.', 'invalid_request')
    if settings.streams == 'refuses options' and 'stream_options' in body:
        return refusal(400, 'stream_options: Extra inputs are not permitted', 'invalid_request')
    if settings.mode(body['model']) not in MODES:
        return refusal(
            404, f"The model `{body['model']}` does not exist or you do not have access to it.", 'model_not_found'
        )


def faulty(kind: str, settings: Settings, answer: dict) -> web.Response:
    "The answer with a fault in it."
    if kind == '429':
        return refusal(
            429,
            'Rate limit reached for requests.',
            'rate_limit_exceeded',
            **{'Retry-After': f'{settings.retry_after:g}'},
        )
    if kind == '500':
        return refusal(500, 'The server had an error while processing your request.', 'server_error')
    if kind == 'malformed':
        return web.Response(text='<html>Bad gateway</html>', content_type='text/html')
    if kind == 'no_choices':
        answer['choices'] = []
    if kind == 'null':
        answer['choices'][0]['message'] = {'role': 'assistant', 'content': None}
    text = json.dumps(answer)
    return web.Response(text=text[: len(text) // 2] if kind == 'truncated' else text, content_type='application/json')


def pieces_of(answer: dict) -> Iterator[dict]:
    "A good answer as the pieces of a stream, without its usage."
    about = dict(id=answer['id'], object='chat.completion.chunk', created=0, model=answer['model'])
    choice = answer['choices'][0]
    message = choice['message']

    def piece(delta: dict, reason: str | None = None) -> dict:
        return dict(about, choices=[dict(index=0, delta=delta, finish_reason=reason)])

    yield piece(dict(role='assistant', content=''))
    for word in re.findall(r'\s*\S+|\s+', message['content'] or ''):
        yield piece(dict(content=word))
    for place, call in enumerate(message.get('tool_calls') or ()):
        arguments = call['function']['arguments']
        yield piece(dict(tool_calls=[dict(call, index=place, function=dict(call['function'], arguments=''))]))
        for start in range(0, len(arguments), 5):
            part = dict(index=place, function=dict(arguments=arguments[start : start + 5]))
            yield piece(dict(tool_calls=[part]))
    yield piece({}, choice['finish_reason'])


class Server:
    "The routes, over one `Settings` and one `State`."

    def __init__(self, settings: Settings):
        self.settings, self.state = settings, State()

    async def chat(self, request: web.Request) -> web.Response:
        state = self.state
        number, state.requests, state.in_flight = next(state.numbers), state.requests + 1, state.in_flight + 1
        state.peak = max(state.peak, state.in_flight)
        status, arrived = 'left', time.perf_counter()
        try:
            response = await self.answer(request, number)
            status = str(response.status)
            return response
        finally:
            state.in_flight -= 1
            state.times.append((arrived, time.perf_counter()))
            if status == 'left':
                state.left += 1
            else:
                state.statuses[status] += 1

    async def answer(self, request: web.Request, number: int) -> web.Response:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = None
        refused = checked(self.settings, request, body)
        self.state.prompts.append(body.get('messages') if isinstance(body, dict) else None)
        if refused is not None:
            return refused
        self.state.fields.update(body)
        reply = await plan(self.state, self.settings.mode(body['model']), body)
        kind = reply.get('fault') or self.settings.fault(number)
        if kind == 'hung':
            await asyncio.Event().wait()
        if delay := reply.get('latency', self.settings.latency):
            await asyncio.sleep(delay)
        if reply.get('status'):
            return refusal(reply['status'], reply.get('content') or 'Scripted error.', 'scripted')
        answer = completion(number, body, reply, cached_tokens(self.state, body['messages']))
        used = dict(
            prompt_tokens=answer['usage']['prompt_tokens'],
            completion_tokens=answer['usage']['completion_tokens'],
            cached_tokens=answer['usage']['prompt_tokens_details']['cached_tokens'],
        )
        if kind in (None, 'no_choices', 'null'):
            self.state.told.update(used)
        if kind:
            return faulty(kind, self.settings, answer)
        self.state.usage.update(used)
        if body.get('stream') and self.settings.streams != 'never':
            return await self.stream(request, answer, body)
        return web.json_response(answer)

    async def stream(self, request: web.Request, answer: dict, body: dict) -> web.StreamResponse:
        "Send an answer in pieces; they end in the middle of bytes, as those of a network do."
        pieces = list(pieces_of(answer))
        options = body.get('stream_options') or {}
        if options.get('include_usage') and self.settings.streams != 'no usage':
            pieces.append(dict(answer, object='chat.completion.chunk', choices=[]))
        data = ''.join(f'data: {json.dumps(piece)}\n\n' for piece in pieces) + 'data: [DONE]\n\n'
        response = web.StreamResponse(headers={'Content-Type': 'text/event-stream'})
        await response.prepare(request)
        if self.settings.streams == 'broken' and not self.state.broken:
            self.state.broken = True
            await response.write(data[: len(data) // 2].encode())
            request.transport.close()
            return response
        for start in range(0, len(data), 50):
            await response.write(data[start : start + 50].encode())
        return response

    async def script(self, request: web.Request) -> web.Response:
        posted = await request.json()
        self.state.replies, self.state.rules = list(posted.get('replies', [])), list(posted.get('rules', []))
        return web.json_response({'replies': len(self.state.replies), 'rules': len(self.state.rules)})

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.state.stats())

    async def reset(self, request: web.Request) -> web.Response:
        # Requests still in flight leave by the counters of the state that they came in by.
        self.state = State()
        return web.json_response({})

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response(
            {'object': 'list', 'data': [{'id': mode, 'object': 'model', 'owned_by': 'mock'} for mode in MODES]}
        )


async def serve(settings: Settings, port: int, until_eof: bool) -> None:
    "Serve on loopback until cancelled (or until standard input ends), after one line that says where."
    server = Server(settings)
    # 64 MB: contexts in tests are long. Cancelling the handler is how a hung reply learns that its client left.
    app = web.Application(client_max_size=64 * 2**20)
    app.add_routes(
        [
            web.post('/v1/chat/completions', server.chat),
            web.get('/v1/models', server.models),
            web.post('/script', server.script),
            web.get('/stats', server.stats),
            web.post('/reset', server.reset),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', port, backlog=1024)
    await site.start()
    print(f'http://127.0.0.1:{runner.addresses[0][1]}', flush=True)
    try:
        # A parent's end of the pipe closes however the parent ends, so no server outlives its test.
        if until_eof:
            await asyncio.to_thread(sys.stdin.read)
        else:
            await asyncio.Event().wait()
    finally:
        await runner.cleanup()


class Client(SimpleNamespace):
    "A running mock server: `url`, `api_base` (for LiteLLM), and its three control calls."

    def _call(self, path: str, data: object = None) -> dict:
        body = None if data is None else json.dumps(data).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, data=body), timeout=30) as response:
            return json.load(response)

    def stats(self) -> dict:
        return self._call('/stats')

    def reset(self) -> None:
        self._call('/reset', {})

    def script(self, *replies: str | dict, rules: list[tuple[str, str | dict]] | None = None) -> None:
        "Say `replies` in order, then by `rules` (pattern, reply)."
        self._call('/script', {'replies': replies, 'rules': rules or []})


@contextmanager
def mock_server(**settings) -> Iterator[Client]:
    "Run the server with `settings` (see `Settings`) in a process of its own while the block runs."
    command = [sys.executable, '-m', 'tests.mock_server', '--settings', json.dumps(vars(Settings(**settings)))]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(
                f'The mock server ended with status {process.wait()} before it was up; see its error above.'
            )
        yield Client(url=url, api_base=url + '/v1')
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m tests.mock_server', description='A mock OpenAI-compatible server on loopback; Ctrl-C stops it.'
    )
    parser.add_argument('--port', type=int, default=0, help='0: any free one')
    parser.add_argument('--latency', type=float, default=0.0, help='seconds before every reply')
    parser.add_argument('--key', help='the only API key let in')
    parser.add_argument('--seed', type=int, default=0, help='of the faults')
    parser.add_argument('--retry-after', type=float, default=1.0, help='seconds, told with each 429')
    parser.add_argument(
        '--faults', type=json.loads, default={}, help='shares of requests, such as {"429": 0.1, "hung": 0.01}'
    )
    parser.add_argument('--streams', default='usage', help='how replies are streamed; see above')
    parser.add_argument('--crowded', type=int, default=1, help='of so many requests only the first is answered')
    parser.add_argument(
        '--serves', type=json.loads, default={}, help='further names and their modes, such as {"gpt-4o": "extractive"}'
    )
    parser.add_argument(
        '--settings',
        type=json.loads,
        help='all of these as one JSON object, instead; the server then ends when its standard input does',
    )
    options = vars(parser.parse_args())
    port, given = options.pop('port'), options.pop('settings')
    try:
        asyncio.run(serve(Settings(**(options if given is None else given)), port, until_eof=given is not None))
    except KeyboardInterrupt:
        pass


if __name__ == '__main__':
    main()
