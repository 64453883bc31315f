"The mock server does what its page says, seen by plain aiohttp and by LiteLLM, which is how the library sees it."

import asyncio
import json
import subprocess
import sys

import aiohttp
import pytest

from tests.mock_server import ROOT, Settings, mock_server

QUESTION = [{'role': 'user', 'content': 'What is the walrus operator?'}]
TOOL = {
    'type': 'function',
    'function': {
        'name': 'run_repl',
        'description': 'Run Python.',
        'parameters': {'type': 'object', 'properties': {'code': {'type': 'string'}}, 'required': ['code']},
    },
}


def post(server, model='echo', messages=QUESTION, key='test', timeout=10, **params):
    "One plain request: its status, headers and text."

    async def request():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout)) as session:
            async with session.post(
                f'{server.api_base}/chat/completions',
                json=dict(model=model, messages=messages, **params),
                headers={'Authorization': f'Bearer {key}'},
            ) as response:
                return response.status, response.headers, await response.text()

    return asyncio.run(request())


def answer(server, *args, **params):
    "The parsed body of a request that went well."
    status, _, text = post(server, *args, **params)
    assert status == 200, text
    return json.loads(text)


def ask_litellm(server, model='echo', messages=QUESTION, key='test', **params):
    "The same request through LiteLLM, without its retries."
    import litellm

    # Without the private switch some versions of LiteLLM want the package mcp as soon as any tool is offered.
    settings = dict(max_retries=0, timeout=10, _skip_mcp_handler=True) | params
    return asyncio.run(
        litellm.acompletion(
            model=f'openai/{model}', messages=messages, api_base=server.api_base, api_key=key, **settings
        )
    )


def test_echo_and_usage(server):
    body = answer(server, messages=[{'role': 'system', 'content': 'x' * 9}, {'role': 'user', 'content': 'hello'}])
    assert body['choices'][0]['message'] == {'role': 'assistant', 'content': 'hello'}
    assert (
        body['usage']['prompt_tokens'] == 3 + 2
        and body['usage']['completion_tokens'] == 2
        and body['usage']['total_tokens'] == 7
    )


def test_content_in_parts_is_one_text(server):
    parts = [{'type': 'text', 'text': 'one '}, {'type': 'text', 'text': 'two'}]
    assert (
        answer(server, messages=[{'role': 'user', 'content': parts}])['choices'][0]['message']['content'] == 'one two'
    )


def test_a_prompt_that_begins_with_an_earlier_one_is_cached(server):
    def cached(messages):
        return answer(server, messages=messages)['usage']['prompt_tokens_details']['cached_tokens']

    longer = QUESTION + [{'role': 'assistant', 'content': 'It is :=.'}, {'role': 'user', 'content': 'Since when?'}]
    other = [{'role': 'user', 'content': 'Something else'}]
    assert [cached(QUESTION), cached(longer), cached(other)] == [0, 7, 0]


def test_script_replies_go_first_then_rules_then_echo(server):
    server.script('one', {'content': 'two', 'finish_reason': 'length'}, rules=[('wal.us', 'ruled')])
    assert answer(server, 'rules')['choices'][0]['message']['content'] == 'ruled'
    bodies = [answer(server, 'x') for _ in range(3)] + [
        answer(server, 'script-a', [{'role': 'user', 'content': 'other'}])
    ]
    choices = [body['choices'][0] for body in bodies]
    assert [choice['message']['content'] for choice in choices] == ['one', 'two', 'ruled', 'other']
    assert [choice['finish_reason'] for choice in choices] == ['stop', 'length', 'stop', 'stop']


def test_scripted_tool_calls_status_and_fault(server):
    server.script(
        {'content': None, 'tool_calls': [{'name': 'run_repl', 'arguments': 'no JSON'}]},
        {'status': 503, 'content': 'Overloaded.'},
        {'fault': 'null'},
    )
    calls = answer(server, 'x')['choices'][0]['message']['tool_calls']
    assert calls[0]['function'] == {'name': 'run_repl', 'arguments': 'no JSON'}
    assert post(server, 'x')[0] == 503
    assert answer(server, 'x')['choices'][0]['message']['content'] is None


def test_tool_mode_calls_once_and_then_answers(server):
    message = answer(server, 'tool', tools=[TOOL])['choices'][0]['message']
    call = message['tool_calls'][0]
    assert call['function'] == {'name': 'run_repl', 'arguments': json.dumps({'code': QUESTION[0]['content']})}
    after = QUESTION + [message, {'role': 'tool', 'tool_call_id': call['id'], 'content': '42'}]
    assert answer(server, 'tool', after, tools=[TOOL])['choices'][0]['message']['content'] == '42'


def test_429_says_when_to_come_back(server):
    status, headers, _ = post(server, '429')
    assert (status, headers['Retry-After']) == (429, '1')


@pytest.mark.parametrize(
    'model, sign', [('malformed', '<html>'), ('no_choices', '"choices": []'), ('null', '"content": null')]
)
def test_malformed_bodies(server, model, sign):
    status, _, text = post(server, model)
    assert status == 200 and sign in text


def test_truncated_body_is_no_json(server):
    with pytest.raises(json.JSONDecodeError):
        json.loads(post(server, 'truncated')[2])


def test_hung_waits_until_the_client_leaves(server):
    with pytest.raises(asyncio.TimeoutError):
        post(server, 'hung', timeout=0.2)
    assert answer(server)['choices']
    stats = server.stats()
    assert (stats['in_flight'], stats['left'], stats['statuses']) == (0, 1, {'200': 1})


def test_unknown_model_and_bad_request(server):
    status, _, text = post(server, 'gpt-9')
    assert status == 404 and '`gpt-9`' in text
    assert post(server, messages=[])[0] == 400


def test_faults_are_a_function_of_seed_and_number():
    settings = Settings(seed=3, faults={'429': 0.2, '500': 0.1})
    drawn = [settings.fault(number) for number in range(1000)]
    assert drawn == [Settings(seed=3, faults={'429': 0.2, '500': 0.1}).fault(number) for number in range(1000)]
    assert drawn != [Settings(seed=4, faults={'429': 0.2, '500': 0.1}).fault(number) for number in range(1000)]
    assert 150 < drawn.count('429') < 250 and 60 < drawn.count('500') < 140 and set(drawn) == {None, '429', '500'}


def test_settings_reach_the_server():
    faults = {'429': 0.3, '500': 0.2}
    with mock_server(key='right', seed=5, faults=faults, retry_after=7) as server:
        status, _, text = post(server, key='wrong-key')
        assert status == 401 and 'wrong-key' in text
        answers = [post(server, key='right') for _ in range(20)]
        expected = [Settings(seed=5, faults=faults).fault(number) or '200' for number in range(1, 21)]
        assert [str(status) for status, _, _ in answers] == expected
        assert {headers.get('Retry-After') for status, headers, _ in answers if status == 429} == {'7'}


def test_256_requests_at_once_and_the_counters():
    async def all_at_once(server):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def request(number):
                body = dict(model='echo', messages=[{'role': 'user', 'content': str(number)}])
                async with session.post(f'{server.api_base}/chat/completions', json=body) as response:
                    return (await response.json())['choices'][0]

            return await asyncio.gather(*(request(number) for number in range(256)))

    with mock_server(latency=1.0) as server:
        choices = asyncio.run(all_at_once(server))
        assert [choice['message']['content'] for choice in choices] == [str(number) for number in range(256)]
        stats = server.stats()
        assert (stats['requests'], stats['statuses'], stats['in_flight'], stats['peak']) == (256, {'200': 256}, 0, 256)
        assert sorted(int(prompt[0]['content']) for prompt in stats['prompts']) == list(range(256))
        server.reset()
        assert server.stats()['requests'] == 0


def test_the_command_prints_where_it_listens_and_lists_models():
    process = subprocess.Popen(
        [sys.executable, '-m', 'tests.mock_server', '--port', '0'],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()

        async def models():
            async with aiohttp.ClientSession() as session, session.get(f'{url}/v1/models') as response:
                return await response.json()

        assert {'id': 'echo', 'object': 'model', 'owned_by': 'mock'} in asyncio.run(models())['data']
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def test_litellm_reads_text_usage_and_tool_calls(server):
    reply = ask_litellm(server)
    assert reply.choices[0].message.content == QUESTION[0]['content']
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 7)
    assert ask_litellm(server, messages=QUESTION * 2).usage.prompt_tokens_details.cached_tokens == 7
    call = ask_litellm(server, 'tool', tools=[TOOL]).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {'code': QUESTION[0]['content']}


@pytest.mark.parametrize(
    'model, error',
    [('429', 'RateLimitError'), ('500', 'InternalServerError'), ('gpt-9', 'NotFoundError'), ('hung', 'Timeout')],
)
def test_litellm_names_each_failure(server, model, error):
    import litellm

    with pytest.raises(getattr(litellm, error)):
        ask_litellm(server, model, timeout=1)


@pytest.mark.parametrize('model', ['malformed', 'truncated'])
def test_litellm_refuses_what_is_no_json(server, model):
    import openai

    with pytest.raises(openai.APIError):
        ask_litellm(server, model)


def test_litellm_passes_empty_answers_on(server):
    assert ask_litellm(server, 'no_choices').choices == []
    assert ask_litellm(server, 'null').choices[0].message.content is None


def test_litellm_quotes_a_wrong_key_back():
    import litellm

    with mock_server(key='right') as server:
        with pytest.raises(litellm.AuthenticationError, match='sk-wrong'):
            ask_litellm(server, key='sk-wrong')
        assert ask_litellm(server, key='right').choices


def test_extractive_mode_answers_as_the_library_does(server):
    offline = pytest.importorskip('rlm.offline')
    reply = offline.ExtractiveLM()(QUESTION)
    assert answer(server, 'extractive')['choices'][0]['message']['content'] == (
        reply if isinstance(reply, str) else reply['text']
    )
