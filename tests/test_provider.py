"An RLM as a model, against the mock server: through LiteLLM in this process, and through its proxy with `openai`."

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.mock_server import ROOT

CONTEXT = 'The walrus eats clams. ' * 1000
QUESTION = 'What does the walrus eat?'
PRICES = dict(input_cost_per_token=1e-6, output_cost_per_token=2e-6)
KEY = 'sk-inner-0123456789-key'


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


def user(text):
    return dict(role='user', content=text)


SCRIPT = [
    ('five subs', 'FINAL(clams, says the walrus)'),
    (
        'walrus eat',
        cell(
            'answer["content"] = "so far"\nprint(len(llm_query_batched([f"sub {n}" for n in range(5)])), "five subs")'
        ),
    ),
]
MESSAGES = [dict(role='system', content='Be short.'), user(CONTEXT), user(QUESTION)]


@pytest.fixture
def litellm(server):
    "LiteLLM with the provider registered, and a mock server that plays a run of seven calls."
    import litellm
    from rlm.provider import register

    register(env='local')
    server.script(rules=SCRIPT)
    return litellm


def asked(server, **more):
    return dict(model='rlm/openai/rules', messages=MESSAGES, api_base=server.api_base, api_key=KEY) | more


def told(server):
    seen = server.stats()
    return (
        seen['requests'],
        seen['usage']['prompt_tokens'],
        seen['usage']['completion_tokens'],
        seen['usage']['cached_tokens'],
    )


def is_the_run(response, server):
    "Whether a response is that of the whole run."
    assert (
        response.choices[0].message.content == 'clams, says the walrus' and response.choices[0].finish_reason == 'stop'
    )
    usage = response.usage
    assert told(server) == (7, usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)
    prompts = server.stats()['prompts']
    assert 'Be short.\n\nWhat does the walrus eat?' in prompts[0][1]['content'] and not any(
        CONTEXT in message['content'] for prompt in prompts for message in prompt
    )


def test_importing_it_changes_nothing():
    code = "import sys, rlm.provider; print('litellm' in sys.modules)"
    assert (
        subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=120).stdout
        == 'False\n'
    )


def test_a_run_is_a_completion(litellm, server):
    response = litellm.completion(**asked(server))
    is_the_run(response, server)
    assert (
        response.model == 'rlm/openai/rules' and response.rlm['calls'] == 7 and response.rlm['stop_reason'] == 'final'
    )


def test_a_run_is_a_completion_on_any_loop(litellm, server):
    async def several():
        return await asyncio.gather(*[litellm.acompletion(**asked(server)) for _ in range(10)])

    responses = asyncio.run(several())
    assert {response.choices[0].message.content for response in responses} == {'clams, says the walrus'}
    totals = [
        sum(getattr(response.usage, name) for response in responses) for name in ('prompt_tokens', 'completion_tokens')
    ]
    assert totals == list(told(server)[1:3]) and told(server)[0] == 70


def streamed(litellm, sync, **request):
    "All chunks of a stream, by way of either door."

    async def chunks():
        return [chunk async for chunk in await litellm.acompletion(**request, stream=True)]

    return list(litellm.completion(**request, stream=True)) if sync else asyncio.run(chunks())


def reasoning_of(chunks):
    return [getattr(chunk.choices[0].delta, 'reasoning_content', None) or '' for chunk in chunks if chunk.choices]


@pytest.mark.parametrize('sync', [True, False])
def test_a_run_is_a_stream(litellm, server, sync):
    got = streamed(litellm, sync, **asked(server), stream_options=dict(include_usage=True))
    assert len({chunk.id for chunk in got}) == 1
    assert ''.join(chunk.choices[0].delta.content or '' for chunk in got if chunk.choices) == 'clams, says the walrus'
    assert [chunk.choices[0].finish_reason for chunk in got if chunk.choices and chunk.choices[0].finish_reason] == [
        'stop'
    ]
    assert [chunk.usage.prompt_tokens for chunk in got if getattr(chunk, 'usage', None)] == [told(server)[1]]


@pytest.mark.parametrize('sync', [True, False])
def test_a_stream_shows_the_run_before_its_answer(litellm, server, sync):
    got = streamed(litellm, sync, **asked(server))
    thought = reasoning_of(got)
    answered = next(place for place, chunk in enumerate(got) if chunk.choices[0].delta.content)
    assert got[0].choices[0].delta.role == 'assistant' and answered > 3 and not any(thought[answered:])
    shown = ''.join(thought)
    # The code is shown while the model writes it, what it prints while it runs, and the turn's line once it is known.
    places = {
        text: shown.index(text) for text in ('llm_query_batched', '5 five subs', '5 sub-calls', 'turn 1', 'turn 2')
    }
    assert places['llm_query_batched'] < min(places['5 five subs'], places['5 sub-calls'], places['turn 1'])
    assert max(places.values()) == places['turn 2']


@pytest.mark.parametrize('sync', [True, False])
def test_a_stream_may_hold_the_answer_alone(litellm, server, sync):
    from rlm.provider import register

    register(env='local', progress=False)
    got = streamed(litellm, sync, **asked(server))
    assert (
        not any(reasoning_of(got))
        and ''.join(chunk.choices[0].delta.content or '' for chunk in got) == 'clams, says the walrus'
    )


@pytest.mark.parametrize('sync', [True, False])
def test_a_stream_that_is_silent_is_kept_alive(litellm, server, sync, monkeypatch):
    from rlm import provider

    monkeypatch.setattr(provider, 'KEEP_ALIVE', 0.02)
    server.script(rules=[('five subs', dict(content='FINAL(clams, says the walrus)', latency=0.5)), SCRIPT[1]])
    got = streamed(litellm, sync, **asked(server))
    empty = [
        chunk
        for chunk in got
        if not (chunk.choices[0].delta.content or reasoning_of([chunk])[0] or chunk.choices[0].finish_reason)
    ]
    assert len(empty) > 2 and ''.join(chunk.choices[0].delta.content or '' for chunk in got) == 'clams, says the walrus'


def until(server, holds):
    "Wait until what the server saw is so."
    give_up = time.monotonic() + 60
    while not holds(seen := server.stats()):
        assert time.monotonic() < give_up, seen
        time.sleep(0.02)


HANGS = [
    ('five subs', dict(content='', fault='hung')),
    SCRIPT[1],
]  # its seventh call, which only the client's leaving ends


def hangs(seen):
    return seen['requests'] == 7 and seen['in_flight'] == 1


def was_left(seen):
    return seen['left'] == 1 and seen['in_flight'] == 0


@pytest.mark.parametrize('sync', [True, False])
def test_who_leaves_a_stream_stops_the_run(litellm, server, sync):
    server.script(rules=HANGS)

    async def leave():
        stream = await litellm.acompletion(**asked(server), stream=True)
        await anext(stream)
        await asyncio.to_thread(until, server, hangs)
        await stream.aclose()
        await asyncio.to_thread(until, server, was_left)

    if sync:
        stream = litellm.completion(**asked(server), stream=True)
        next(stream)
        until(server, hangs)
        stream.completion_stream.close()
        until(server, was_left)
    else:
        asyncio.run(leave())


@pytest.mark.parametrize('sync', [True, False])
@pytest.mark.parametrize(
    'more, kind, says',
    [
        (dict(model='rlm/openai/nonesuch'), 'NotFoundError', '`nonesuch` does not exist'),
        (dict(n=2), 'BadRequestError', 'ask for one'),
    ],
)
def test_a_stream_that_cannot_begin_is_an_error_with_its_status(litellm, server, sync, more, kind, says):
    with pytest.raises(getattr(litellm, kind), match=says):
        streamed(litellm, sync, **asked(server) | more)


def test_cost_is_that_of_the_tree(litellm, server):
    from rlm import LM
    from rlm.provider import prepare, Service

    service = Service(env='local')
    strategy, context, question = prepare(service, 'openai/rules', MESSAGES, PRICES, None, None, server.api_base, KEY)
    assert strategy(context, question).usage.cost == pytest.approx(told(server)[1] * 1e-6 + told(server)[2] * 2e-6)
    server.reset()
    server.script(rules=SCRIPT)
    response = litellm.completion(**asked(server), **PRICES)
    assert response._hidden_params['response_cost'] == pytest.approx(told(server)[1] * 1e-6 + told(server)[2] * 2e-6)
    server.reset()
    server.script(rules=SCRIPT)
    reply = LM('rlm/openai/rules', api_base=server.api_base, api_key=KEY, **PRICES)(MESSAGES)
    assert (reply.usage.input, reply.usage.output) == told(server)[1:3] and reply.cost == pytest.approx(
        told(server)[1] * 1e-6 + told(server)[2] * 2e-6
    )


@pytest.mark.parametrize('where', ['alone', 'rlm', 'extra_body', 'metadata'])
def test_settings_come_along(litellm, server, where):
    settings = dict(max_iterations=1)
    more = {
        'alone': settings,
        'rlm': dict(rlm=settings),
        'extra_body': dict(extra_body=dict(rlm=settings)),
        'metadata': dict(metadata=dict(rlm=settings)),
    }[where]
    response = litellm.completion(**asked(server), **more)
    assert (response.rlm['stop_reason'], response.choices[0].finish_reason, response.rlm['iterations']) == (
        'max_iterations',
        'length',
        1,
    )


def test_sampling_goes_to_the_calls_inside_and_max_tokens_does_not(litellm, server, monkeypatch):
    from rlm.models import lm as models

    seen, attempt = [], models.LM._attempt

    async def spy(self, call):
        seen.append(call.request)
        return await attempt(self, call)

    monkeypatch.setattr(models.LM, '_attempt', spy)
    litellm.completion(**asked(server), temperature=0.25, seed=7, max_tokens=5)
    assert [{name: one.get(name) for name in ('temperature', 'seed', 'max_tokens')} for one in seen] == [
        dict(temperature=0.25, seed=7, max_tokens=None)
    ] * 7


@pytest.mark.parametrize(
    'more, kind, says',
    [
        (dict(model='rlm/openai/nonesuch'), 'NotFoundError', '`nonesuch` does not exist'),
        (dict(messages=[user('   ')]), 'BadRequestError', 'no user message'),
        (dict(max_iteration=3, rlm=dict(max_iteration=3)), 'BadRequestError', 'did you mean max_iterations='),
        (dict(n=2), 'BadRequestError', 'ask for one'),
        (dict(max_calls=0), 'BadRequestError', 'reached a limit (calls)'),
    ],
)
def test_failures_are_litellm_s(litellm, server, more, kind, says):
    with pytest.raises(getattr(litellm, kind)) as caught:
        litellm.completion(**asked(server) | more)
    assert says in str(caught.value) and KEY not in str(caught.value)


# --- behind the proxy ---

HANDLER = '''
from rlm.provider import make_handler
from rlm.models.ledger import Limits
handler = make_handler(env='local', limits=Limits(max_calls=50), max_iterations=8)
'''
CONFIG = '''
model_list:
  - model_name: reader
    litellm_params:
      model: rlm/openai/rules
      api_base: {address}
      api_key: {key}
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000002
litellm_settings:
  custom_provider_map:
    - {{provider: rlm, custom_handler: rlm_handler.handler}}
router_settings: {{disable_cooldowns: true}}  # else one test's refused key is the next one's answer
general_settings: {{master_key: sk-proxy-1234}}
'''


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def is_up(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture(scope='module')
def proxy(shared_server, tmp_path_factory):
    "The address of a LiteLLM proxy that serves an RLM as the model `reader`."
    if not importlib.util.find_spec('fastapi') or not importlib.util.find_spec('orjson'):
        pytest.skip("the LiteLLM proxy is not installed: pip install 'litellm[proxy]'")
    folder, port = tmp_path_factory.mktemp('proxy'), free_port()
    (folder / 'rlm_handler.py').write_text(HANDLER)
    (folder / 'config.yaml').write_text(CONFIG.format(address=shared_server.api_base, key=KEY))
    environment = os.environ | dict(
        PYTHONPATH=str(ROOT), LITELLM_LOCAL_MODEL_COST_MAP='True', NO_PROXY='127.0.0.1', DISABLE_ADMIN_UI='True'
    )
    command = [
        sys.executable,
        '-c',
        'from litellm import run_server; run_server()',
        '--config',
        'config.yaml',
        '--host',
        '127.0.0.1',
        '--port',
        str(port),
        '--num_workers',
        '1',
    ]
    with (
        open(folder / 'proxy.log', 'w') as log,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            until = time.monotonic() + 120
            while not is_up(f'http://127.0.0.1:{port}/health/liveliness'):
                if process.poll() is not None or time.monotonic() > until:
                    pytest.fail(f'The proxy did not come up: {(folder / "proxy.log").read_text()[-2000:]}')
                time.sleep(0.2)
            yield f'http://127.0.0.1:{port}', folder / 'proxy.log'
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def client(proxy, server):
    openai = pytest.importorskip('openai')
    server.script(rules=SCRIPT)
    with openai.OpenAI(base_url=proxy[0], api_key='sk-proxy-1234', max_retries=0, timeout=60) as one:
        yield one


def test_any_openai_client_can_ask(client, server):
    raw = client.chat.completions.with_raw_response.create(model='reader', messages=MESSAGES)
    response = raw.parse()
    is_the_run(response, server)
    assert [model.id for model in client.models.list().data] == ['reader']
    told_cost = told(server)[1] * 1e-6 + told(server)[2] * 2e-6
    assert float(raw.headers['x-litellm-response-cost']) == pytest.approx(told_cost)


def test_any_openai_client_can_stream(client, server):
    chunks = list(
        client.chat.completions.create(
            model='reader', messages=MESSAGES, stream=True, stream_options=dict(include_usage=True)
        )
    )
    assert (
        ''.join(chunk.choices[0].delta.content or '' for chunk in chunks if chunk.choices) == 'clams, says the walrus'
    )
    assert [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage] == [told(server)[1]]
    shown = ''.join(reasoning_of(chunks))
    assert shown.index('turn 1') < shown.index('five subs') < shown.index('turn 2')


def test_a_client_that_goes_away_stops_the_run(client, server):
    server.script(rules=HANGS)
    with client.chat.completions.create(model='reader', messages=MESSAGES, stream=True) as stream:
        next(iter(stream))
        until(server, hangs)
    until(server, was_left)


def test_a_stream_that_cannot_begin_tells_the_client_why(client, server):
    import openai

    with pytest.raises(openai.BadRequestError, match='cannot be set by clients'):
        client.chat.completions.create(
            model='reader', messages=MESSAGES, stream=True, extra_body=dict(rlm=dict(env='process'))
        )
    server.script(rules=[('.', dict(content='', status=401))])
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model='reader', messages=MESSAGES, stream=True)


def test_a_client_may_lower_limits(client, server):
    response = client.chat.completions.create(
        model='reader', messages=MESSAGES, extra_body=dict(rlm=dict(max_iterations=1))
    )
    assert response.choices[0].finish_reason == 'length'


@pytest.mark.parametrize(
    'settings, says',
    [
        (dict(env='process'), 'cannot be set by clients'),
        (dict(trace='/tmp/x'), 'cannot be set by clients'),
        (dict(sub_model='openai/echo'), 'cannot be set by clients'),
    ],
)
def test_a_client_may_not_say_where_code_runs(client, server, settings, says):
    import openai

    with pytest.raises(openai.BadRequestError, match=says):
        client.chat.completions.create(model='reader', messages=MESSAGES, extra_body=dict(rlm=settings))
    assert server.stats()['requests'] == 0


def test_no_limit_can_be_raised_by_a_client(client, server):
    server.script(rules=[('.', cell('print(llm_query_batched(["x"]*20))'))])
    import openai

    with pytest.raises(openai.BadRequestError, match='stopped by a limit'):
        client.chat.completions.create(model='reader', messages=MESSAGES, extra_body=dict(rlm=dict(max_calls=5000)))
    assert server.stats()['requests'] <= 50


@pytest.mark.parametrize(
    'hostile',
    [
        dict(rlm=dict(max_calls=[1])),
        dict(rlm=dict(max_cost='9')),
        dict(rlm=dict(strategy=['rlm'])),
        dict(rlm=dict(limits=dict(max_calls=9999))),
        dict(rlm='x'),
        dict(rlm=dict(k='many', strategy='srlm')),
        dict(extra_headers={'X-Elsewhere': 'x'}),
        dict(fallbacks=[dict(model='elsewhere')]),
        dict(no_such_parameter=1),
        dict(temperature='hot stuff'),
    ],
    ids=lambda hostile: next(iter(hostile)) + ' ' + str(hostile)[:40],
)
def test_a_hostile_client_is_refused_with_400(client, server, hostile):
    import openai

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model='reader', messages=MESSAGES, extra_body=hostile)
    assert caught.value.status_code == 400 and server.stats()['requests'] == 0


def test_the_proxy_shows_no_key(client, server, proxy):
    import openai

    server.script(rules=[('.', dict(content=f'Your key {KEY} is odd.', status=400))])
    with pytest.raises(openai.OpenAIError) as caught:
        client.chat.completions.create(model='reader', messages=MESSAGES)
    assert 'is odd' in str(caught.value) and KEY not in str(caught.value) and KEY not in proxy[1].read_text()
