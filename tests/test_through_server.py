"The library through LiteLLM against a server that behaves and misbehaves as providers do."

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlm import Direct, LM, ModelError, RLM
from tests.mock_server import mock_server

PASSAGE = 'The lamp stands in the hall. The spare key lies under the blue pot in the garden. The gate is green.'
QUESTION = 'Where does the spare key lie?'
TOOL = {
    'type': 'function',
    'function': {
        'name': 'run_repl',
        'description': 'Run Python.',
        'parameters': {'type': 'object', 'properties': {'code': {'type': 'string'}}, 'required': ['code']},
    },
}


def model(server, mode, **settings):
    return LM(f'openai/{mode}', api_base=server.api_base, api_key='test', **settings)


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


def rlm_command(*arguments, **environment):
    "The installed command, in a process of its own."
    command = [Path(sys.executable).with_name('rlm'), *arguments]
    return subprocess.run(
        command,
        env=dict(os.environ, **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_run_with_a_cell_and_a_sub_call(server):
    server.script(
        cell('found = llm_query("Copy this line.")\nprint(found)'),
        'The line, copied.',
        cell('FINAL(found + " " + str(len(context)))'),
    )
    result = RLM(model(server, 'x'), env='local')(PASSAGE, QUESTION)
    assert (result.answer, result.stop_reason) == (f'The line, copied. {len(PASSAGE)}', 'final')
    stats = server.stats()
    assert (result.usage.calls, result.usage.input, result.usage.output) == (
        3,
        stats['usage']['prompt_tokens'],
        stats['usage']['completion_tokens'],
    )
    assert result.usage.cached == stats['usage']['cached_tokens'] > 0


def test_every_request_begins_with_the_one_before(server):
    server.script(*(cell(f'print({number} * "long line ")') for number in range(12)), 'FINAL(done)')
    RLM(model(server, 'x'), env='local', max_iterations=13)(PASSAGE, QUESTION)
    prompts = server.stats()['prompts']
    assert len(prompts) == 13
    assert all(later[: len(earlier)] == earlier for earlier, later in zip(prompts, prompts[1:]))


def test_no_two_neighbouring_messages_have_one_role(server):
    server.script(cell('print(1)'), '', cell('print(2)'), 'Just prose.', 'FINAL(done)')
    RLM(model(server, 'x'), env='local')(PASSAGE, QUESTION)
    for prompt in server.stats()['prompts']:
        roles = [message['role'] for message in prompt]
        assert all(earlier != later for earlier, later in zip(roles, roles[1:])), roles


def test_the_context_never_goes_out_with_rlm_and_does_with_direct(server):
    text = PASSAGE + ' filler' * 5000 + ' the last words'
    server.script('FINAL(done)')
    RLM(model(server, 'x'), env='local')(text, QUESTION)
    assert not any('the last words' in message['content'] for prompt in server.stats()['prompts'] for message in prompt)
    server.reset()
    server.script('under the pot')
    assert Direct(model(server, 'x'))(text, QUESTION).answer == 'under the pot'
    assert 'the last words' in server.stats()['prompts'][0][-1]['content']


def test_tool_calls_come_back(server):
    reply = model(server, 'tool')('print(1)', tools=[TOOL])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [('run_repl', '{"code": "print(1)"}')]


def test_nothing_is_lost_where_the_server_refuses_and_fails():
    prompts = [f'Question {number}' for number in range(60)]
    with mock_server(
        seed=1, faults={'429': 0.15, '500': 0.1, 'null': 0.05, 'truncated': 0.05}, retry_after=0.05
    ) as server:
        replies = model(server, 'echo', num_retries=8).batch(prompts)
        assert [getattr(reply, 'text', reply) for reply in replies] == prompts
        assert server.stats()['statuses'].keys() == {'200', '429', '500'}


def test_one_failed_item_leaves_the_others(server):
    server.script(rules=[('Question 3$', {'status': 400, 'content': 'This one is refused.'}), ('', 'fine')])
    replies = model(server, 'x').batch([f'Question {number}' for number in range(6)])
    assert [isinstance(reply, ModelError) for reply in replies] == [False, False, False, True, False, False]
    assert 'This one is refused.' in str(replies[3]) and 'openai/x' in str(replies[3])


@pytest.mark.parametrize(
    'mode, sign',
    [
        ('malformed', 'openai/malformed'),
        ('no_choices', 'openai/no_choices'),
        ('null', 'empty'),
        ('truncated', 'openai/truncated'),
        ('500', '500'),
        ('429', '429'),
        ('unknown', 'does not exist'),
    ],
)
def test_what_cannot_be_used_is_one_sentence_with_the_model(server, mode, sign):
    with pytest.raises(ModelError) as caught:
        model(server, mode, num_retries=0)(QUESTION)
    assert sign in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert caught.value.model == f'openai/{mode}'


def test_a_hung_request_is_given_up_and_hangs_up(server):
    with pytest.raises(ModelError):
        model(server, 'hung', timeout=0.3, num_retries=0)(QUESTION)
    model(server, 'echo')('afterwards')
    assert server.stats()['left'] == 1 and server.stats()['in_flight'] == 0


def test_a_cancelled_run_hangs_up(server):
    async def cancelled():
        run = asyncio.create_task(RLM(model(server, 'hung'), env='local').acall(PASSAGE, QUESTION))
        while not server.stats()['in_flight']:
            await asyncio.sleep(0.01)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(asyncio.wait_for(cancelled(), 30))
    model(server, 'echo')('afterwards')
    assert server.stats()['left'] == 1


def test_at_most_max_concurrency_in_flight():
    with mock_server(latency=0.05) as server:
        model(server, 'echo', max_concurrency=5).batch([str(number) for number in range(30)])
        assert server.stats()['peak'] == 5


def test_a_wrong_key_is_not_repeated():
    with mock_server(key='right') as server:
        with pytest.raises(ModelError) as caught:
            LM('openai/x', api_base=server.api_base, api_key='sk-wrong-key-123')(QUESTION)
        assert 'sk-wrong-key-123' not in str(caught.value) and caught.value.status == 401
        assert server.stats()['requests'] == 1


def test_the_command_answers_through_the_server_as_it_does_offline(server, tmp_path):
    text = tmp_path / 'house.txt'
    text.write_text(PASSAGE * 50)
    offline = rlm_command('ask', QUESTION, str(text))
    served = rlm_command(
        'ask',
        QUESTION,
        str(text),
        '--model',
        'openai/extractive',
        '--env',
        'local',
        OPENAI_API_BASE=server.api_base,
        OPENAI_API_KEY='test',
    )
    assert offline.returncode == served.returncode == 0, served.stderr
    assert 'under the blue pot' in offline.stdout and served.stdout == offline.stdout
    assert server.stats()['requests'] > 1


@pytest.mark.parametrize('mode, key', [('x', 'sk-wrong-key-123'), ('unknown', 'right')])
def test_the_command_says_in_one_line_what_the_model_refused(tmp_path, mode, key):
    text = tmp_path / 'house.txt'
    text.write_text(PASSAGE)
    with mock_server(key='right') as server:
        done = rlm_command(
            'ask',
            QUESTION,
            str(text),
            '--quiet',
            '--model',
            f'openai/{mode}',
            '--env',
            'local',
            OPENAI_API_BASE=server.api_base,
            OPENAI_API_KEY=key,
        )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (4, '', 1), done.stderr
    assert 'sk-wrong-key-123' not in done.stderr and f'openai/{mode}' in done.stderr
