"`rlm serve` and `rlm mcp` as their clients see them: many at once, one that leaves, one that is hostile."

import asyncio
import contextlib
import re
import sys
import threading
import time

import pytest

from rlm.models.lm import LM
from tests.mock_server import mock_server

httpx = pytest.importorskip('httpx')
uvicorn = pytest.importorskip('uvicorn')
pytest.importorskip('starlette')


class Model:
    "Answers with the number in the text; a text about waiting is never answered."

    def __init__(self):
        self.waits, self.cancelled, self.calls = threading.Event(), threading.Event(), 0

    async def __call__(self, messages):
        self.calls += 1
        text = str(messages)
        if 'wait for ever' in text:
            self.waits.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return re.search(r'number (\d+)', text)[1]


@contextlib.contextmanager
def serving(model, **settings):
    from rlm.commands.serve import make_app, Owner
    from rlm.provider import Service

    lm = model if isinstance(model, LM) else LM(model, max_concurrency=100)
    run = dict(strategy='direct', max_calls=5) | settings.pop('run', {})
    service = Service(open_to_requests=False, **run)
    about = dict(make_lm=lambda **sampling: lm, service=service, shares={}, key='the key', max_bytes=10_000)
    app = make_app(Owner(**about | settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level='error'))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def request(text, **more):
    return dict(model='rlm', messages=[dict(role='user', content=f'{text}\n\nQuestion: Which number?')]) | more


async def ask(client, number):
    answer = await client.post('/chat/completions', json=request(f'This is number {number}.'))
    return answer.status_code, answer.json()['choices'][0]['message']['content']


async def leave(client, model, **more):
    "Ask, and close the connection while the model is at work."
    asking = asyncio.ensure_future(client.post('/chat/completions', json=request('wait for ever', **more)))
    await asyncio.to_thread(model.waits.wait, 60)
    asking.cancel()
    return await asyncio.to_thread(model.cancelled.wait, 60)


async def attack(client, port):
    "Requests that are refused, and a connection that sends half of one."
    found = []
    for about in (
        dict(content=b'{"model": "rlm", "messages": [' + b'[' * 5000),
        dict(content=b'x' * 20_000),
        dict(json=[]),
        dict(json=request('number 1', model='gpt-4o')),
        dict(json=request('number 1', api_base='http://elsewhere')),
        dict(json=request('number 1', metadata=dict(rlm=dict(env='local')), rlm=dict(env='local'))),
        dict(json=request('number 1', rlm=dict(context='../../etc/passwd'))),
        dict(json=request('number 1', rlm=dict(max_calls='many'))),
        dict(json=request('number 1'), headers={'Authorization': 'Bearer wrong'}),
        dict(json=request('number 1'), headers={'Authorization': b'Bearer \xff'}),
    ):
        answer = await client.post('/chat/completions', **about)
        assert set(answer.json()) == {'error'} and 'Traceback' not in answer.text
        found.append(answer.status_code)
    _, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')
    await writer.drain()
    writer.close()
    return found


@pytest.mark.parametrize('stream', [False, True])
def test_fifty_clients_one_leaves_and_one_is_hostile(stream):
    model = Model()

    async def all_at_once(port):
        limits = httpx.Limits(max_connections=None)
        about = dict(base_url=f'http://127.0.0.1:{port}/v1', headers={'Authorization': 'Bearer the key'}, timeout=300)
        async with httpx.AsyncClient(**about, limits=limits, trust_env=False) as client:
            return await asyncio.gather(
                leave(client, model, stream=stream), attack(client, port), *[ask(client, n) for n in range(50)]
            )

    with serving(model) as port:
        began = time.perf_counter()
        left, refused, *answers = asyncio.run(all_at_once(port))
        print(f'50 answers in {time.perf_counter() - began:.2f} s')
    assert answers == [(200, str(number)) for number in range(50)]
    assert left and refused == [400, 400, 400, 404, 400, 400, 400, 400, 401, 401]
    assert model.calls == 51


def test_more_requests_than_places_wait_and_too_many_are_refused():
    model = Model()

    async def asking(port):
        about = dict(base_url=f'http://127.0.0.1:{port}/v1', headers={'Authorization': 'Bearer the key'}, timeout=300)
        async with httpx.AsyncClient(**about, trust_env=False) as client:
            first = asyncio.ensure_future(client.post('/chat/completions', json=request('wait for ever')))
            await asyncio.to_thread(model.waits.wait, 60)
            refused = await client.post('/chat/completions', json=request('This is number 2.'))
            first.cancel()
            await asyncio.to_thread(model.cancelled.wait, 60)
            while (
                answer := await client.post('/chat/completions', json=request('This is number 3.'))
            ).status_code == 429:
                await asyncio.sleep(0)  # the server is about to free the place
            return refused.status_code, answer.json()['choices'][0]['message']['content']

    with serving(model, max_runs=1, max_waiting=0) as port:
        assert asyncio.run(asking(port)) == (429, '3')


def streamed(port, **more):
    "What a client of a stream gets: the pieces of the answer, the progress as one text, the usage."
    openai = pytest.importorskip('openai')
    client = openai.OpenAI(base_url=f'http://127.0.0.1:{port}/v1', api_key='the key', max_retries=0)
    asked = request('so much depends', **more)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=dict(include_usage=True)))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    progress = ''.join(getattr(delta, 'reasoning_content', None) or '' for delta in deltas)
    return [delta.content for delta in deltas if delta.content], progress, chunks[-1].usage


def test_tokens_of_the_answer_and_of_turns_are_streamed():
    said = 'There are three words in this text.'
    code = 'I count.\n```repl\nprint("words:", len(context.split()))\n```'
    with mock_server() as behind:
        lm = LM('openai/script', api_base=behind.api_base, api_key='none')
        behind.script(said)
        with serving(lm) as port:
            pieces, _, usage = streamed(port)
        # Each piece of the model's server is a piece of the answer.
        assert pieces == ['There', ' are', ' three', ' words', ' in', ' this', ' text.']
        told = behind.stats()['told']
        assert (usage.prompt_tokens, usage.completion_tokens) == (told['prompt_tokens'], told['completion_tokens'])
        behind.reset()
        behind.script(code, f'FINAL({said})')
        with serving(lm, run=dict(strategy='rlm', env='local')) as port:
            pieces, progress, usage = streamed(port)
        assert pieces == [said]
        for line in ('  I count.\n', '  │ print("words:", len(context.split()))\n', '  words: 3\n'):
            assert line in progress
        told = behind.stats()['told']
        assert (usage.prompt_tokens, usage.completion_tokens) == (told['prompt_tokens'], told['completion_tokens'])


def test_a_stream_that_broke_behind_the_server_ends_with_the_whole_answer():
    said = 'There are three words in this text.'
    with mock_server(streams='broken') as behind:
        behind.script(said, said)
        with serving(LM('openai/script', api_base=behind.api_base, api_key='none')) as port:
            pieces, _, _ = streamed(port)
    sent, _, whole = ''.join(pieces).rpartition('\n\n')
    assert whole == said and said.startswith(sent)


def test_an_mcp_client_starts_the_command_and_asks(tmp_path):
    mcp = pytest.importorskip('mcp')
    from mcp.client.stdio import stdio_client

    (tmp_path / 'ships').mkdir()
    (tmp_path / 'ships' / 'a.txt').write_text('The ship of Anna left in May.\n\nThe ship of Olaf left in June.')
    words = ['-m', 'rlm', 'mcp', str(tmp_path / 'ships')]
    state = dict(XDG_STATE_HOME=str(tmp_path / 'state'), PYTHONPATH=':'.join(filter(None, sys.path)))
    command = mcp.StdioServerParameters(command=sys.executable, args=words, env=state)

    async def use():
        async with mcp.Client(stdio_client(command)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            asked = await client.call_tool('ask', dict(question='When did the ship of Olaf leave?', folder='ships'))
            return tools, asked.structured_content

    tools, answer = asyncio.run(use())
    assert tools == ['ask', 'plan', 'search', 'resume'] and 'June' in answer['answer']
    assert (tmp_path / 'state' / 'rlm' / 'mcp' / f'{answer["run"]}.jsonl').is_file()
