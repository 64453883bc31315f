"`LM` through LiteLLM against the mock server: what is sent, what comes back, and what happens after failures."

import asyncio
import contextlib
import gc
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from rlm import Limits, LM, RLM
from rlm.base.errors import BadInput, CallsExceeded, ModelError, TokensExceeded
from rlm.models import EmptyReply, Ledger, run_sync, Unreachable, Usage, UselessReply
from rlm.offline import ScriptedLM
from tests.mock_server import mock_server
from tests.run import ROOT

KEY = 'sk-0123456789-right-key'
TOOL = {
    'type': 'function',
    'function': {
        'name': 'look_up',
        'description': 'Look a word up.',
        'parameters': {'type': 'object', 'properties': {'word': {'type': 'string'}}, 'required': ['word']},
    },
}


def model(server, mode='echo', **settings):
    return LM(f'openai/{mode}', api_base=server.api_base, **{'api_key': KEY} | settings)


def ask(lm, prompt='hello', ledger=None, **params):
    return run_sync(lm.acall(prompt, ledger=ledger, **params))


def failure(lm, prompt='hello', kind=ModelError, **params):
    "The exception that a call ends with: one sentence about the model, without a stack."
    with pytest.raises(kind) as caught:
        ask(lm, prompt, **params)
    message = str(caught.value)
    assert lm.name in message and '\n' not in message and 'Traceback' not in message and 'litellm.' not in message
    return caught.value


# --- what a reply says ---


def test_usage_is_what_the_server_counted(server):
    lm = model(server)
    first = [dict(role='system', content='s' * 400), dict(role='user', content='u' * 41)]
    assert lm(first).usage == Usage(1, input=100 + 11, output=11, cost=None)
    longer = first + [dict(role='assistant', content='a' * 8), dict(role='user', content='v' * 4)]
    assert lm(longer).usage == Usage(1, input=114, output=1, cached=111, cost=None)
    seen = server.stats()['usage']
    assert (seen['prompt_tokens'], seen['completion_tokens'], seen['cached_tokens']) == (225, 12, 111)


def test_cost_is_usage_times_price(server):
    reply = ask(model(server, input_cost_per_token=1e-3, output_cost_per_token=1e-2), 'x' * 40)
    assert reply.cost == pytest.approx(10 * 1e-3 + 10 * 1e-2)
    assert ask(model(server)).cost is None


def test_a_price_alone_is_refused(server):
    with pytest.raises(BadInput, match='both prices'):
        model(server, input_cost_per_token=1e-3)


def test_tool_calls_come_back_and_their_results_go_out(server):
    lm = model(server, 'tool')
    reply = lm('walrus', tools=[TOOL])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [('look_up', '{"word": "walrus"}')]
    result = dict(role='tool', tool_call_id=reply.tool_calls[0].id, content='a large seal')
    assert lm([dict(role='user', content='walrus'), reply.message, result], tools=[TOOL]).text == 'a large seal'
    sent = server.stats()['prompts'][-1]
    assert sent[1]['tool_calls'][0]['id'] == sent[2]['tool_call_id'] == reply.tool_calls[0].id


def test_a_reply_cut_at_its_limit_says_so(server):
    server.script({'content': 'half a sen', 'finish_reason': 'length'})
    assert ask(model(server, 'script')).finish_reason == 'length'


# --- what goes over the wire ---


@pytest.fixture
def bodies():
    "A list that gets the JSON body of every request to the server behind `bodies.api_base`, which echoes."

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            if not self.path.endswith('/chat/completions'):
                return self.send_error(404)
            seen.append(dict(body=body, headers={name.lower(): value for name, value in self.headers.items()}))
            message = {'role': 'assistant', 'content': 'ok'}
            answer = json.dumps(
                {
                    'id': '1',
                    'object': 'chat.completion',
                    'created': 0,
                    'model': body['model'],
                    'choices': [{'index': 0, 'finish_reason': 'stop', 'message': message}],
                    'usage': {'prompt_tokens': 1, 'completion_tokens': 1, 'total_tokens': 2},
                }
            ).encode()
            self.send_response(200)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    class Seen(list):
        pass

    seen, server = Seen(), http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    seen.api_base = f'http://127.0.0.1:{server.server_port}/v1'
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield seen
    server.shutdown()
    server.server_close()


def test_parameters_pass_untouched(bodies):
    form = {'type': 'json_schema', 'json_schema': {'name': 'answer', 'schema': {'type': 'object', 'properties': {}}}}
    lm = LM(
        'openai/x', api_base=bodies.api_base, extra_body={'chat_template_kwargs': {'thinking': False}}, temperature=0.3
    )
    lm('hello', response_format=form, seed=7)
    lm('hello', temperature=0.9)
    first, second = (one['body'] for one in bodies)
    assert first == dict(
        model='x',
        messages=[dict(role='user', content='hello')],
        chat_template_kwargs={'thinking': False},
        temperature=0.3,
        response_format=form,
        seed=7,
    )
    assert second == dict(
        model='x',
        messages=[dict(role='user', content='hello')],
        chat_template_kwargs={'thinking': False},
        temperature=0.9,
    )


def test_tools_go_out_as_they_are(bodies):
    LM('openai/x', api_base=bodies.api_base)('hello', tools=[TOOL])
    assert bodies[0]['body']['tools'] == [TOOL]
    assert set(bodies[0]['body']) == {'model', 'messages', 'tools'}


@pytest.mark.parametrize('name', ['OPENAI_API_BASE', 'OPENAI_BASE_URL'])
def test_the_address_may_stand_in_the_environment_and_needs_no_key(bodies, monkeypatch, name):
    for other in ('OPENAI_API_KEY', 'OPENAI_API_BASE', 'OPENAI_BASE_URL'):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, bodies.api_base)
    assert LM('openai/x')('hello').text == 'ok'


def test_a_key_of_the_environment_is_used(bodies, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', KEY)
    LM('openai/x', api_base=bodies.api_base)('hello')
    LM('openai/x', api_base=bodies.api_base, api_key='sk-another-0123456789')('hello')
    assert [one['headers']['authorization'] for one in bodies] == [f'Bearer {KEY}', 'Bearer sk-another-0123456789']


def test_neighbours_of_one_role_are_merged(server):
    model(server)(
        [
            dict(role='user', content='one'),
            dict(role='user', content='two'),
            dict(role='assistant', content='three'),
            dict(role='user', content='four'),
        ]
    )
    assert server.stats()['prompts'] == [
        [
            dict(role='user', content='one\n\ntwo'),
            dict(role='assistant', content='three'),
            dict(role='user', content='four'),
        ]
    ]


def test_text_goes_there_and_back_unchanged(server):
    text = '\r\n tabs\tand "quotes" \\ {braces} naïve 漢字 🦭 \x00 end'
    assert ask(model(server), text).text == text


# --- limits ---


def test_a_token_limit_is_sent_along_and_holds(bodies):
    lm, ledger = LM('openai/x', api_base=bodies.api_base), Ledger(Limits(max_tokens=500))
    ask(lm, 'word ' * 100, ledger)
    sent = bodies[0]['body']['max_tokens']
    assert 300 < sent < 500  # what is left beside about 100 tokens of prompt
    ask(lm, 'hello', ledger, max_tokens=20)
    assert bodies[1]['body']['max_tokens'] == 20
    ask(LM('openai/x', api_base=bodies.api_base, max_completion_tokens=10_000), 'hello', ledger)
    assert bodies[2]['body']['max_completion_tokens'] < 500 and 'max_tokens' not in bodies[2]['body']
    ask(lm, 'hello')
    assert 'max_tokens' not in bodies[3]['body']


def test_calls_that_wait_for_tokens_get_what_is_left(server):
    "Each of four calls may need nearly all, and uses little: one after the other, none is refused."
    lm, ledger = model(server), Ledger(Limits(max_tokens=1000))
    replies = run_sync(lm.abatch(['hello'] * 4, ledger=ledger))
    assert [str(reply) for reply in replies] == ['hello'] * 4 and server.stats()['peak'] == 1


def test_a_cost_limit_bounds_the_reply(bodies):
    lm = LM('openai/x', api_base=bodies.api_base, input_cost_per_token=0.0, output_cost_per_token=0.01)
    ask(lm, 'hello', Ledger(Limits(max_cost=1)))
    assert bodies[0]['body']['max_tokens'] == 100


def test_a_cost_limit_needs_a_price(server):
    with pytest.raises(BadInput, match='price of openai/echo is not known'):
        ask(model(server), ledger=Ledger(Limits(max_cost=1)))
    assert server.stats()['requests'] == 0


def test_retries_count_as_calls(server):
    ledger = Ledger(Limits(max_calls=2))
    with pytest.raises(CallsExceeded, match='max_calls=2 is reached'):
        ask(model(server, '500', num_retries=5), ledger=ledger)
    assert server.stats()['requests'] == ledger.spent.calls == 2


@pytest.mark.parametrize('limits', [Limits(max_calls=10), Limits(max_tokens=600)], ids=str)
def test_what_a_batch_spends_stays_within_the_limit(server, limits):
    ledger = Ledger(limits)
    replies = run_sync(model(server).abatch([f'Is {number} odd? ' * 5 for number in range(40)], ledger=ledger))
    seen = server.stats()
    refused = [reply for reply in replies if isinstance(reply, (CallsExceeded, TokensExceeded))]
    assert refused and len(refused) + seen['statuses']['200'] == 40
    assert ledger.spent.calls == seen['requests'] <= (limits.max_calls or 40)
    assert (
        ledger.spent.tokens
        == seen['usage']['prompt_tokens'] + seen['usage']['completion_tokens']
        <= (limits.max_tokens or 10**6)
    )


# --- batches ---


def test_a_batch_keeps_its_order_and_its_width(server):
    server.script(
        rules=[['^5$', {'content': 'five, late', 'latency': 0.2}], ['.', {'content': 'early', 'latency': 0.02}]]
    )
    replies = model(server, 'rules').batch([str(number) for number in range(10)])
    assert [reply.text for reply in replies] == ['early'] * 5 + ['five, late'] + ['early'] * 4
    server.reset()
    server.script(rules=[['.', {'content': 'ok', 'latency': 0.05}]])
    assert all(reply.text == 'ok' for reply in model(server, 'rules', max_concurrency=4).batch(['x'] * 20))
    assert server.stats()['peak'] == 4


def test_a_failure_in_a_batch_is_its_own(server):
    server.script(
        rules=[
            ['bad', {'content': 'I do not like it', 'status': 400}],
            ['garbage', {'fault': 'malformed'}],
            ['.', 'good'],
        ]
    )
    replies = model(server, 'rules', num_retries=0).batch(['one', 'bad', 'two', 'garbage', 'three'])
    assert [type(reply).__name__ for reply in replies] == ['Reply', 'ModelError', 'Reply', 'ModelError', 'Reply']
    assert replies[1].status == 400 and 'I do not like it' in str(replies[1])


def test_a_hung_call_does_not_hold_up_the_batch(server):
    server.script(rules=[['hang', {'fault': 'hung'}], ['.', 'good']])
    replies = model(server, 'rules', timeout=1, num_retries=0, max_concurrency=2).batch(['hang', *'abcdefgh', 'hang'])
    assert [str(reply) for reply in replies[1:-1]] == ['good'] * 8
    assert [(reply.status, 'no reply within the timeout' in str(reply)) for reply in (replies[0], replies[-1])] == [
        (408, True)
    ] * 2
    seen = server.stats()
    assert (seen['left'], seen['in_flight']) == (2, 0)  # the connections were closed, not left open


def test_one_text_is_no_batch(server):
    with pytest.raises(BadInput, match='into a list'):
        model(server).batch('hello')


# --- what goes wrong ---


def test_retry_after_is_waited_for():
    with mock_server(retry_after=0.6) as server:
        server.script({'fault': '429'}, 'there')
        assert ask(model(server, 'script')).text == 'there'
        refused, served = sorted(server.stats()['times'])
    assert served[0] - refused[1] >= 0.6


def test_a_wait_longer_than_an_attempt_is_not_waited_for():
    with mock_server(retry_after=3600) as server:
        error = failure(model(server, '429'))
        assert (error.status, error.retry_after, server.stats()['requests']) == (429, 3600, 1)


class Crowded(Exception):
    status_code, litellm_response_headers = 429, {'retry-after': '0.01'}


def test_fewer_at_once_after_a_429_and_more_again_after_answers():
    inside, most, refuses = 0, 0, True

    async def busy(messages):
        nonlocal inside, most
        inside, most = inside + 1, max(most, inside + 1)
        for _ in range(50):
            await asyncio.sleep(0)  # all that may come in are in by then
        inside -= 1
        if refuses:
            raise Crowded('Slow down')
        return 'ok'

    lm = LM(busy, max_concurrency=8, num_retries=0)
    assert (lm.concurrency, lm.max_concurrency) == (8, 8)
    assert {reply.status for reply in lm.batch(['x'] * 8)} == {429}
    assert (lm.concurrency, most) == (4, 8)  # half of 8: one storm is one complaint
    refuses, most = False, 0
    lm.batch(['x'] * 4)
    assert most == 4
    for _ in range(4):
        lm.batch(['x'] * 2)
    assert lm.concurrency == 8
    most = 0
    lm.batch(['x'] * 16)
    assert most == 8


def test_errors_of_the_server_are_tried_again_and_counted(server):
    server.script({'fault': '500'}, {'fault': '500'}, 'there')
    ledger = Ledger()
    reply = ask(model(server, 'script'), ledger=ledger)
    assert (reply.text, reply.usage.calls, ledger.spent.calls, server.stats()['statuses']) == (
        'there',
        3,
        3,
        {'500': 2, '200': 1},
    )


def test_errors_that_stay_are_an_error(server):
    error = failure(model(server, '500', num_retries=1))
    assert (error.status, error.usage.calls, server.stats()['statuses']) == (500, 2, {'500': 2})
    assert 'The server had an error while processing your request.' in str(error)


def test_a_wrong_key_is_said_once_and_never_shown():
    with mock_server(key=KEY) as server:
        error = failure(model(server, api_key='sk-wrong-0123456789'))
        assert (error.status, server.stats()['statuses']) == (401, {'401': 1})
    assert 'Incorrect API key' in str(error) and 'sk-wrong' not in str(error)


def test_an_unknown_model_is_named(server):
    error = failure(model(server, 'nonesuch'))
    assert (error.status, error.model, server.stats()['statuses']) == (404, 'openai/nonesuch', {'404': 1})
    assert '`nonesuch` does not exist' in str(error)


@pytest.mark.parametrize(
    'mode, came_back',
    [
        ('malformed', "a web page came instead of a reply ('Bad gateway')"),
        ('no_choices', 'a malformed reply without choices'),
        ('truncated', 'chatcmpl-1'),
    ],
)
def test_what_is_no_reply_is_tried_again_and_shown(server, mode, came_back):
    error = failure(model(server, mode, num_retries=1))
    assert came_back in str(error) and server.stats()['requests'] == 2
    server.script({'fault': mode}, 'there')
    assert ask(model(server, 'script')).text == 'there'


def test_an_empty_reply_is_tried_again_once(server):
    ledger = Ledger()
    error = failure(model(server, 'null', num_retries=5), 'x' * 40, EmptyReply, ledger=ledger)
    assert 'empty reply' in str(error) and server.stats()['requests'] == 2
    assert (ledger.spent.calls, ledger.spent.input) == (2, 20)  # what it read was paid for
    assert (error.usage.calls, error.usage.input) == (2, 20)


def test_a_reply_without_choices_is_tried_again_once(server):
    ledger = Ledger()
    error = failure(model(server, 'no_choices', num_retries=5), 'x' * 40, UselessReply, ledger=ledger)
    assert 'malformed reply' in str(error) and server.stats()['requests'] == 2
    told = server.stats()['told']
    assert (ledger.spent.calls, ledger.spent.input, ledger.spent.output) == (
        2,
        told['prompt_tokens'],
        told['completion_tokens'],
    )  # it was paid for, too


def test_a_hung_server_is_abandoned(server):
    error = failure(model(server, 'hung', timeout=0.3, num_retries=1))
    assert error.status == 408 and '0.3 s' in str(error)
    assert server.stats()['left'] == 2


def test_no_server_is_one_clear_sentence():
    lm = LM('openai/x', api_base='http://127.0.0.1:9/v1', api_key=KEY, num_retries=1)
    ledger = Ledger()
    error = failure(lm, kind=Unreachable, ledger=ledger)
    assert re.fullmatch(
        r'openai/x cannot be reached at http://127\.0\.0\.1:9/v1 \(.*\): check the address and the network\.',
        str(error),
    )
    assert ledger.spent.calls == error.usage.calls == 0  # nothing was sent


@pytest.fixture
def line():
    "A function that starts a server which reads a request, sends some bytes and hangs up; it gives the port."
    opened = []

    def start(answer):
        listener = socket.create_server(('127.0.0.1', 0))
        opened.append(listener)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(2**16)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in opened:
        listener.close()


@pytest.mark.parametrize(
    'scheme, answer, calls, said',
    [
        ('http', b'', 1, 'was lost before a reply arrived'),
        ('http', b'SSH-2.0-OpenSSH\r\n', 1, 'was lost before a reply arrived'),
        (
            'http',
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"id"',
            1,
            'was lost before a reply arrived',
        ),
        ('https', b'HTTP/1.1 400 Bad Request\r\n\r\n', 0, 'does not speak TLS'),
    ],
    ids=['hangs up', 'no HTTP', 'half a reply', 'no TLS'],
)
def test_a_request_that_was_sent_is_a_call_and_one_that_was_not_is_none(line, scheme, answer, calls, said):
    lm, ledger = (
        LM('openai/x', api_base=f'{scheme}://127.0.0.1:{line(answer)}/v1', api_key=KEY, num_retries=0),
        Ledger(),
    )
    error = failure(lm, kind=Unreachable, ledger=ledger)
    assert said in str(error) and ledger.spent == error.usage == Usage(calls)


@pytest.mark.parametrize('address', ['localhost:8000/v1', 'http://localhost:99999/v1', 'ftp://files'])
def test_an_invalid_address_is_refused(address):
    with pytest.raises(BadInput, match='is not a valid address'):
        LM('openai/x', api_base=address)
    with pytest.raises(BadInput) as caught:
        LM('openai/x', api_base=f'user:very-secret@{address}')
    assert 'very-secret' not in str(caught.value)


def test_a_cache_that_fails_costs_no_reply(tmp_path):
    pytest.importorskip('diskcache')
    with pytest.raises(BadInput, match='cannot be opened for writing'):
        LM(str.upper, cache=os.devnull)
    lm = LM(lambda messages: 'paid for', cache=tmp_path)

    def broken(*_):
        raise OSError('disk full')

    lm._cache.get = lm._cache.set = broken
    with pytest.warns(RuntimeWarning, match='disk full'):
        assert lm('hello').text == 'paid for'


@pytest.mark.parametrize(
    'name, said',
    [('nonesuch/x', 'provider/model'), ('justaname', 'provider/model'), ('openai/x', 'no API key was found')],
)
def test_what_cannot_be_sent_says_what_is_missing(monkeypatch, name, said):
    for variable in ('OPENAI_API_KEY', 'OPENAI_API_BASE', 'OPENAI_BASE_URL'):
        monkeypatch.delenv(variable, raising=False)
    ledger = Ledger()
    assert said in str(failure(LM(name), ledger=ledger))
    assert ledger.spent.calls == 0


@pytest.mark.parametrize(
    'params, said',
    [
        (dict(max_concurency=3), 'did you mean max_concurrency='),
        (dict(base_url='http://x'), 'api_base='),
        (dict(max_retries=1), 'num_retries='),
        (dict(stream=True), 'replies come whole'),
        (dict(timeout='soon'), 'seconds'),
        (dict(timeout=True), 'seconds'),
        (dict(num_retries=1.5), 'whole number of at least 0'),
        (dict(max_concurrency=True), 'whole number of at least 1'),
        (dict(max_concurrency=0), 'of at least 1'),
        (dict(num_retries=-1), 'of at least 0'),
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(params, said):
    with pytest.raises(BadInput, match=said):
        LM('openai/x', **params)


@pytest.mark.parametrize(
    'params, said',
    [
        (dict(timeout=3), 'give it to LM'),
        (dict(api_key=KEY), 'give it to LM'),
        (dict(stream=True), 'replies come whole'),
    ],
    ids=['timeout', 'api_key', 'stream'],
)
def test_parameters_that_cannot_change_from_call_to_call_are_refused(server, params, said):
    with pytest.raises(BadInput, match=said):
        model(server)('hello', **params)
    assert server.stats()['requests'] == 0


# --- offline models by name ---


@pytest.mark.parametrize('setting', ['lm', 'sub_lm', 'other_lms'])
def test_a_strategy_keeps_the_model_that_it_was_given_by_name(setting):
    script = ScriptedLM(['kept alive'])
    name = script.name
    given = dict(lm='offline/extractive') | {setting: [name] if setting == 'other_lms' else name}
    strategy = RLM(given.pop('lm'), **given)
    del script
    gc.collect()
    held = dict(lm=strategy.lm, sub_lm=strategy.sub_lm, other_lms=(*strategy.settings.other_lms, None)[0])
    assert held[setting].kind == 'offline' and held[setting]('hello').text == 'kept alive'


# --- threads, loops, and leaving early ---


def test_one_lm_from_threads_and_loops_at_once(server):
    lm, answers = model(server, max_concurrency=3), {}

    async def many(name):
        return await asyncio.gather(*[lm.acall(f'{name} {number}') for number in range(8)])

    def coroutines(name):
        answers[name] = [reply.text for reply in asyncio.run(many(name))]

    def blocking(name):
        answers[name] = [lm(f'{name} {number}').text for number in range(8)]

    def batch(name):
        answers[name] = [reply.text for reply in lm.batch([f'{name} {number}' for number in range(8)])]

    threads = [
        threading.Thread(target=work, args=(f'{work.__name__}-{copy}',), daemon=True)
        for work in (coroutines, blocking, batch)
        for copy in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {name: [f'{name} {number}' for number in range(8)] for name in answers} and len(answers) == 9
    assert server.stats()['peak'] <= 3


def test_calls_inside_a_running_loop(server):
    lm = model(server)

    async def inside():
        return (await lm.acall('one')).text, lm('two').text, [reply.text for reply in await lm.abatch(['three'])]

    assert asyncio.run(inside()) == ('one', 'two', ['three'])


def test_who_cancels_leaves_and_gives_the_place_back(server):
    server.script(rules=[['hang', {'fault': 'hung'}], ['.', 'good']])
    lm, ledger = model(server, 'rules', max_concurrency=1), Ledger()

    async def give_up():
        first, second = (asyncio.ensure_future(lm.acall(text, ledger=ledger)) for text in ('hang', 'hang, too'))
        while server.stats()['in_flight'] < 1:
            await asyncio.sleep(0.01)
        for task in (second, first):
            task.cancel()
        return await asyncio.gather(first, second, return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(give_up())] == [asyncio.CancelledError] * 2
    assert ask(lm, 'hello').text == 'good'
    assert ledger.spent.calls == 1  # the second was never sent
    assert server.stats()['left'] == 1


def test_a_callable_that_exits_fails_alone(server):
    def leaves(messages):
        sys.exit(3)

    with pytest.raises(ModelError, match='SystemExit 3'):
        LM(leaves)('hello')

    async def leaves_too(messages):
        raise SystemExit('bye')

    with pytest.raises(ModelError, match='SystemExit bye'):
        LM(leaves_too)('hello')
    with pytest.raises(ModelError, match='SystemExit 4'):
        LM(ScriptedLM(lambda messages: sys.exit(4)), num_retries=0)('hello')
    with pytest.raises(ModelError, match='StopIteration'):
        LM(lambda messages: next(iter(())), num_retries=0)('hello')
    assert ask(model(server)).text == 'hello'


def test_more_blocked_callables_than_threads():
    "A callable may ask another model and wait for it."
    inner = LM(lambda messages: 'inner ' + messages[-1]['content'], max_concurrency=400)
    outer = LM(lambda messages: inner(messages).text, max_concurrency=400)
    assert [str(reply) for reply in outer.batch([str(number) for number in range(300)])] == [
        f'inner {number}' for number in range(300)
    ]


# --- the process around it ---


def in_a_process(code, *arguments, env=None):
    "Run `code` in a fresh python that may speak with loopback alone; its stdout and stderr."
    guard = '''
import sys
def guard(event, args):
    if event == 'socket.connect' and args[1][0] not in ('127.0.0.1', '::1'):
        raise RuntimeError(f'NETWORK: connect {args[1]}')
    if event == 'socket.getaddrinfo' and args[0] not in ('127.0.0.1', 'localhost', b'127.0.0.1'):
        raise RuntimeError(f'NETWORK: look up {args[0]}')
    if event in ('socket.connect', 'socket.getaddrinfo'): touched.append(event)
touched = []
sys.addaudithook(guard)
'''
    kept = {name: value for name, value in os.environ.items() if name != 'LITELLM_LOCAL_MODEL_COST_MAP'}
    done = subprocess.run(
        [sys.executable, '-W', 'default::ResourceWarning', '-c', guard + code, *arguments],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_importing_and_calling_reach_for_no_network_and_print_nothing(server):
    stdout, stderr = in_a_process(
        '''
import rlm
from rlm import LM, RLM
assert not touched and 'litellm' not in sys.modules
lm = LM('openai/echo', api_base=sys.argv[1], api_key='none')
lm.window, LM('openai/a/very:odd name').window
answers = [lm('hello').text, *map(str, lm.batch(['one', 'two']))]
hung = LM('openai/hung', api_base=sys.argv[1], api_key='none', timeout=0.5, num_retries=0)
answers += [type(reply).__name__ for reply in hung.batch(['x'])]
print(answers)
''',
        server.api_base,
    )
    assert stdout == "['hello', 'one', 'two', 'ModelError']\n"
    assert stderr == ''


def test_a_stuck_callable_does_not_hold_up_the_end_of_the_process():
    stdout, _ = in_a_process('''
import threading
from rlm import LM
from rlm.base.errors import ModelError
try: LM(lambda messages: threading.Event().wait(), timeout=0.1, num_retries=0)('hello')
except ModelError as error: print(error.status)
''')
    assert stdout == '408\n'


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
def test_a_forked_process_has_an_engine_of_its_own():
    stdout, _ = in_a_process('''
import os
from rlm import LM
lm = LM(lambda messages: 'hello')
lm('x')
child = os.fork()
if not child:
    print(lm('x').text, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print('parent', lm('x').text)
''')
    assert stdout == 'hello\nparent hello\n'


def test_ctrl_c_ends_a_call(server):
    "The call is cancelled, the server sees its client leave, and the next call works."
    stdout, _ = in_a_process(
        '''
import json, signal, threading, time, urllib.request
from rlm import LM
url = sys.argv[1]
stats = lambda: json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + '/stats'))
lm = LM('openai/hung', api_base=url + '/v1', api_key='none')
def press():
    while not stats()['in_flight']: time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=press, daemon=True).start()
try: lm('hello')
except KeyboardInterrupt: print('interrupted')
print(LM('openai/echo', api_base=url + '/v1', api_key='none')('still here').text)
''',
        server.url,
    )
    assert stdout == 'interrupted\nstill here\n'
    assert server.stats()['left'] == 1
