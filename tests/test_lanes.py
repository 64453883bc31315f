"The two lanes to a model, directly and through LiteLLM: the same replies, errors, figures and keys."

import json
import os
import socket
import subprocess
import sys
import warnings

import pytest

from rlm import Limits, LM
from rlm.base.errors import BadInput, ModelError
from rlm.models import Ledger, run_sync
from rlm.models.lane.address import find_address, is_chat_request, known_providers, OPENAI_LIKE
from rlm.models.lane.model_map import find_facts, package_map
from tests.mock_server import mock_server
from tests.run import ROOT
from tests.scripted_server import completion, problem, ScriptedServer, streamed

LANES = (None, 'litellm')


CALL = dict(id='c1', type='function', function=dict(name='look', arguments='{"a": 1}'))
DETAILS = dict(
    prompt_tokens=11,
    completion_tokens=5,
    total_tokens=16,
    prompt_tokens_details=dict(cached_tokens=7),
    completion_tokens_details=dict(reasoning_tokens=2),
)
TABLE = dict(
    text=(200, {}, completion()),
    unicode=(200, {}, completion(dict(content='漢字 🦭 \x00 é'))),
    cut=(200, {}, completion(reason='length')),
    tools=(200, {}, completion(dict(content=None, tool_calls=[CALL]), 'tool_calls')),
    thinking=(200, {}, completion(dict(content=None, tool_calls=[CALL], reasoning_content='hm'), 'tool_calls')),
    details=(200, {}, completion(usage=DETAILS)),
    empty=(200, {}, completion(dict(content=None))),
    no_choices=(200, {}, completion(choices=[])),
    refusal=(200, {}, completion(dict(content=None, refusal='I will not'))),
    filtered=(200, {}, completion(dict(content=None), 'content_filter')),
    not_json=(200, {}, 'certainly not'),
    wrong_key=(401, {}, problem('Incorrect API key provided.')),
    unknown=(404, {}, problem('The model `m` does not exist.')),
    bad=(400, {}, problem('I do not like this.')),
    too_long=(
        400,
        {},
        problem(
            "This model's maximum context length is 4097 tokens.",
        ),
    ),
    crowded=(429, {'retry-after': '7'}, problem('Slow down.')),
    poor=(429, {}, problem('You exceeded your current quota, please check your plan and billing details.')),
    broken=(500, {}, problem('The server had an error.')),
    busy=(503, {'retry-after': '2'}, problem('Loading model')),
    gateway=(502, {'Content-Type': 'text/html'}, '<html><body><h1>Bad gateway</h1></body></html>'),
)


@pytest.mark.parametrize('provider', ['openai', 'hosted_vllm'])
def test_both_lanes_say_the_same(provider):
    with ScriptedServer(lambda path, body, headers: TABLE[body['model']]) as server:
        for name, (status, _, _) in TABLE.items():
            said = []
            for lane in LANES:
                lm = LM(f'{provider}/{name}', f'{server.url}/v1', 'sk-0123456789', num_retries=0, lane=lane)
                assert lm.lane == (lane or 'http')
                try:
                    reply = lm('hello')
                    said.append((reply.text, reply.tool_calls, reply.usage, reply.finish_reason, reply.thinking))
                except ModelError as error:
                    words = str(error)
                    assert '\n' not in words and lm.name in words
                    said.append((type(error), error.status, error.retry_after, error.exceeds_window, error.usage))
                    if status >= 400 and name != 'gateway':
                        assert json.loads(TABLE[name][2])['error']['message'][:12] in words, (lane, words)
            assert said[0] == said[1], name


def test_both_lanes_send_the_same():
    form = dict(type='json_schema', json_schema=dict(name='a', schema=dict(type='object', properties={})))
    tool = dict(type='function', function=dict(name='look', parameters=dict(type='object', properties={})))
    image = [dict(type='text', text='what?'), dict(type='image_url', image_url=dict(url='data:image/png;base64,AAAA'))]
    calls = [
        dict(temperature=0.3, seed=7, extra_body=dict(top_k=3), extra_headers={'X-Mine': 'yes'}),
        dict(response_format=form, stop=['\n'], max_tokens=5),
        dict(tools=[tool], tool_choice='none'),
    ]
    with ScriptedServer(lambda path, body, headers: (200, {}, completion())) as server:
        for lane in LANES:
            lm = LM('openai/m', f'{server.url}/v1/', 'sk-0123456789', lane=lane, top_p=0.5)
            for params in calls:
                tools = params.get('tools')
                rest = {name: value for name, value in params.items() if name != 'tools'}
                lm([dict(role='system', content='be brief'), dict(role='user', content=image)], tools=tools, **rest)
    half = len(calls)
    for ours, theirs in zip(server.seen[:half], server.seen[half:]):
        assert ours[0] == theirs[0] == '/v1/chat/completions'
        assert ours[1] == theirs[1]
        for header in ('authorization', 'content-type', 'x-mine'):
            assert ours[2].get(header) == theirs[2].get(header)
    assert len(server.connections) <= 1 + half  # ours were sent over one connection


# --- names, keys, addresses ---


def test_names_keys_and_addresses_are_resolved_as_litellm_does_it(monkeypatch):
    "Each variable of each provider, alone and together, against LiteLLM's own answer."
    import litellm

    known = [name for one in OPENAI_LIKE.values() for name in (*one.base_variables, *one.key_variables)]
    for name in known:
        monkeypatch.delenv(name, raising=False)
    for provider, about in OPENAI_LIKE.items():
        for base in (None, *about.base_variables):
            for key in about.key_variables:
                with monkeypatch.context() as here:
                    here.setenv(key, 'key-of-' + key)
                    if base:
                        here.setenv(base, 'http://set.invalid/v1')
                    ours = find_address(f'{provider}/some-model')
                    model, _, their_key, their_base = litellm.get_llm_provider(f'{provider}/some-model')
                    if provider in ('openai', 'openrouter'):  # resolved later, in litellm.main
                        their_key = os.environ[key]
                        their_base = os.environ.get(base or '') or about.base
                    if not their_base:
                        assert ours is None
                        continue
                    assert (ours.model, ours.base) == (model, their_base)
                    assert ours.headers['Authorization'] == f'Bearer {their_key}'


def test_a_key_of_the_environment_goes_to_no_unnamed_address(monkeypatch):
    for provider in OPENAI_LIKE.values():
        for name in provider.key_variables:
            monkeypatch.setenv(name, 'key-of-the-environment')
    for name in ('my-model', 'Qwen/Qwen3-8B'):
        assert 'Authorization' not in find_address(name, 'http://somewhere.invalid/v1').headers
        assert find_address(name, 'https://somewhere.invalid/v1') is None
    with ScriptedServer(lambda path, body, headers: (307, {'Location': 'http://127.0.0.1:9/v1'}, '')) as server:
        with pytest.raises(ModelError, match='redirects to http://127.0.0.1:9'):
            LM('openai/m', f'{server.url}/v1', num_retries=0)('hello')


def test_every_provider_of_litellm_is_known_without_it():
    import litellm

    names = {getattr(one, 'value', one) for one in litellm.provider_list}
    assert names <= known_providers()


def test_what_is_meant_for_litellm_goes_through_litellm():
    from litellm.types.utils import all_litellm_params

    chat = {name for name in all_litellm_params if is_chat_request({name: 1})}
    assert not chat
    assert not is_chat_request(dict(response_format=BadInput))  # a class, which LiteLLM turns into a schema
    assert LM('openai/m', 'http://localhost:1/v1', drop_params=True).lane == 'litellm'
    assert LM('anthropic/claude-sonnet-4-5').lane == LM('gemini/gemini-2.5-flash').lane == 'litellm'
    with pytest.raises(BadInput, match='lane='):
        LM('openai/m', lane='fast')


# --- prices and windows ---


def test_figures_are_those_of_litellm():
    "All chat models of the map. LiteLLM counts a missing price as zero; here it is unknown."
    import litellm

    names = [name for name, entry in package_map().items() if entry.get('mode') == 'chat']
    different = []
    for name in names:
        if name.startswith('lemonade/'):  # LiteLLM asks the server
            continue
        try:
            theirs = litellm.get_model_info(name)
        except Exception:  # LiteLLM finds no provider for a few names of its own map
            continue
        ours = find_facts(name)
        prices = theirs['input_cost_per_token'], theirs['output_cost_per_token']
        same = (ours.window, ours.max_output) == (theirs['max_input_tokens'], theirs['max_output_tokens'])
        same &= ours.prices == prices if ours.prices else 0 in prices
        if not same:
            different.append(name)
    assert len(names) > 1000 and not different


def test_costs_are_those_of_litellm():
    import litellm

    names = [
        'gpt-4o-mini',
        'openai/gpt-4.1',
        'gpt-5-mini',
        'deepseek/deepseek-chat',
        'groq/openai/gpt-oss-120b',
        'o3-mini',
    ]
    for name in names:
        for prompt, cached, written in ((100, 0, 10), (300_000, 0, 50), (5000, 4096, 7)):
            usage = litellm.Usage(
                prompt_tokens=prompt,
                completion_tokens=written,
                total_tokens=prompt + written,
                prompt_tokens_details=dict(cached_tokens=cached),
            )
            theirs = sum(litellm.cost_per_token(model=name, usage_object=usage))
            assert find_facts(name).cost(prompt, written, cached) == pytest.approx(theirs), (name, prompt)


# --- what a model accepts ---


def picky(path, body, headers):
    "A server that refuses a temperature, a system message and the name max_tokens, one after the other."
    if body is None or not path.endswith('/chat/completions'):
        return 404, {}, '{}'
    if 'temperature' in body:
        return 400, {}, problem("Unsupported value: 'temperature' does not support 0.7 with this model.")
    if any(message['role'] == 'system' for message in body['messages']):
        return 500, {}, json.dumps(dict(message='System role not supported'))
    if 'max_tokens' in body:
        return 400, {}, problem("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
    return 200, {}, completion()


@pytest.mark.parametrize('lane', LANES)
def test_what_is_refused_is_learned_once(lane):
    prompt = [dict(role='system', content='be brief'), dict(role='user', content='who?')]
    with ScriptedServer(picky) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        lm = LM('openai/picky', f'{server.url}/v1', 'none', temperature=0.7, num_retries=0, lane=lane)
        ledger = Ledger(Limits(max_tokens=5000))
        assert run_sync(lm.acall(prompt, ledger=ledger)).text == 'there'
        first = len([one for one in server.seen if one[0].endswith('completions')])
        replies = run_sync(lm.abatch([prompt] * 5))
        assert [str(reply) for reply in replies] == ['there'] * 5
        asked = [body for path, body, _ in server.seen if path.endswith('completions')]
        assert (first, len(asked)) == (4, 9)
        assert asked[-1]['messages'] == [dict(role='user', content='be brief\n\nwho?')]
    words = [str(one.message) for one in told if one.category is RuntimeWarning and 'picky' in str(one.message)]
    assert len(words) == 3 and 'takes no temperature' in words[0]


def test_a_model_that_only_streams_is_joined():
    def stream(path, body, headers):
        if not body.get('stream'):
            return 400, {}, problem('This model only support stream mode, please enable the stream parameter.')
        pieces = dict(role='assistant', content='the'), dict(content='re')
        text = streamed(*pieces, usage=dict(prompt_tokens=4, completion_tokens=2))
        return 200, {'Content-Type': 'text/event-stream'}, text

    with ScriptedServer(stream) as server, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        reply = LM('openai/streams', f'{server.url}/v1', 'none')('hello')
        assert (reply.text, reply.usage.input, reply.usage.output, reply.usage.calls) == ('there', 4, 2, 2)


def test_the_server_is_asked_for_its_window_and_it_holds():
    def small(path, body, headers):
        assert headers['authorization'] == 'Bearer key-0123'
        if path == '/props':
            return 200, {}, json.dumps(dict(default_generation_settings=dict(n_ctx=2048)))
        return 200, {}, completion()

    with ScriptedServer(small) as server:
        lm = LM('openai/small', f'{server.url}/v1', 'key-0123')
        assert (lm.window, lm.find_window(), lm.window) == (None, 2048, 2048)
        run_sync(lm.acall('word ' * 500, ledger=Ledger(Limits(max_tokens=100_000))))
        assert server.seen[-1][1]['max_tokens'] < 2048 - 500
        with pytest.raises(
            ModelError, match='more than the 2,048 that openai/small reads: split the text into'
        ) as caught:
            lm('word ' * 9000)
        assert caught.value.exceeds_window and [path for path, *_ in server.seen] == ['/props', '/v1/chat/completions']


def test_a_window_in_a_refusal_is_taken_and_less_is_asked_for():
    def full(path, body, headers):
        if not path.endswith('completions'):
            return 404, {}, '{}'
        if body['max_tokens'] > 900:
            return (
                400,
                {},
                problem("This model's maximum context length is 1000 tokens and your request has 100 input tokens"),
            )
        return 200, {}, completion()

    with ScriptedServer(full) as server:
        lm = LM('openai/full', f'{server.url}/v1', 'none', num_retries=0)
        assert lm('hello', max_tokens=5000).text == 'there'
        assert (server.seen[-1][1]['max_tokens'], lm.window) == (900, 1000)


def test_a_reply_without_usage_is_counted_by_its_characters():
    with ScriptedServer(lambda *_: (200, {}, completion(usage=None))) as server:
        usage = LM('openai/silent', f'{server.url}/v1', 'none')('x' * 40).usage
        assert (usage.calls, usage.input, usage.output) == (1, 10, 2)


# --- the connection ---


@pytest.mark.parametrize('variable', ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY'])
def test_a_proxy_that_does_not_reach_this_machine_is_named(monkeypatch, variable):
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv(variable, f'http://user:hidden-word@127.0.0.1:{port}')
    monkeypatch.delenv('NO_PROXY', raising=False)
    monkeypatch.delenv('no_proxy', raising=False)
    with ScriptedServer(lambda *_: (200, {}, completion())) as server:
        lm = LM('openai/m', f'{server.url}/v1', 'none', num_retries=0)
        with pytest.raises(
            ModelError, match='went through the proxy http://127.0.0.1:.* set NO_PROXY=127.0.0.1'
        ) as caught:
            lm('hello')
        assert 'hidden-word' not in str(caught.value)
        monkeypatch.setenv('NO_PROXY', '127.0.0.1')
        assert lm('hello').text == 'there'


def test_a_reply_without_end_is_not_read_to_the_end(monkeypatch):
    from rlm.models.lane import chat_completions

    monkeypatch.setattr(chat_completions, '_MOST_BYTES', 1000)
    with ScriptedServer(lambda *_: (200, {}, completion(dict(content='x' * 5000)))) as server:
        with pytest.raises(ModelError, match='is not read further'):
            LM('openai/m', f'{server.url}/v1', 'none', num_retries=0)('hello')


QUIET = '''
import sys
def guard(event, args):
    if event == 'socket.connect' and args[1][0] not in ('127.0.0.1', '::1'):
        raise RuntimeError(f'NETWORK: connect {args[1]}')
    if event == 'socket.getaddrinfo' and args[0] not in ('127.0.0.1', 'localhost', b'127.0.0.1'):
        raise RuntimeError(f'NETWORK: look up {args[0]}')
sys.addaudithook(guard)
from rlm import Direct, LambdaRLM, LM, RLM, SRLM
lm = LM('openai/rules', sys.argv[1], 'none', lane=None if sys.argv[2] == 'http' else sys.argv[2])
assert lm.count_tokens('some text about Troy') and LM('hosted_vllm/meta-llama/Llama-3-8B').count_tokens('x ' * 50) > 40
most = dict(max_tokens=200_000)
strategies = [RLM(lm, env='local', **most), SRLM(lm, k=2, env='local', **most), Direct(lm, **most)]
strategies += [LambdaRLM(lm, task='summarise', **most)]
for strategy in strategies:
    print(strategy('A short context.', 'How many?').answer)
print('litellm' in sys.modules)
'''


@pytest.mark.parametrize('lane', ['http', 'litellm'])
def test_whole_runs_contact_the_model_and_nobody_else_and_print_nothing(lane):
    with mock_server() as server:
        server.script(rules=[['.', 'FINAL(four)']])
        done = subprocess.run(
            [sys.executable, '-c', QUIET, server.api_base, lane], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
    answers = done.stdout.splitlines()
    assert (len(answers), *answers[-1:], done.stderr) == (5, str(lane == 'litellm'), ''), (done.stdout, done.stderr)
    assert all('four' in answer for answer in answers[:-1])
