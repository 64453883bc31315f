"""The answer as it is written: streamed and unstreamed runs have equal answers, journals and ledgers."""

import asyncio
import contextlib
import warnings
from dataclasses import replace

import pytest

from rlm import RLM, Direct, LM
from tests.mock_server import mock_server

CODE = 'I count the words.\n```repl\nwords = len(context.split())\nprint(words)\n```'
ANSWER = 'FINAL(There are four words.)'
KINDS = ('usage', 'no usage', 'never', 'refuses', 'refuses options')


def run(server, strategy, *replies, model='openai/script', **settings):
    "The result of a run, and what came by that is not recorded."
    server.reset()
    server.script(*replies)
    lm = LM(model, api_base=server.api_base, api_key='none', num_retries=2)
    passing = []
    follow = lambda event: passing.append(event) if 'seq' not in event else None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # what the server refuses is said once
        result = strategy(lm, on_event=follow, **settings)('sing goddess the anger', 'How many words?')
    return result, passing


def joined(passing, part):
    return ''.join(event['text'] for event in passing if event['type'] == 'delta' and event['part'] == part)


def types_of(result):
    return [event['type'] for event in result.trace.events]


@pytest.mark.parametrize('kind, lane', [*((kind, None) for kind in KINDS), ('usage', 'litellm')])
def test_ledgers_are_equal(kind, lane):
    with mock_server(streams=kind) as server:
        rlm = lambda lm, **settings: RLM(LM(lm.name, api_base=server.api_base, api_key='none', lane=lane), **settings)
        plain, nothing = run(server, rlm, CODE, ANSWER, env='local')
        streamed, passing = run(server, rlm, CODE, ANSWER, env='local', stream=True)
        told = server.stats()['told']
    assert nothing == []
    assert plain.answer == streamed.answer == 'There are four words.'
    assert types_of(plain) == types_of(streamed)
    used = streamed.usage
    # A request that the server refused counts as a call, once for the process.
    assert used.calls - kind.startswith('refuses') == plain.usage.calls == 2
    assert vars(used) == streamed.trace.events[-1]['usage']
    if kind in ('usage', 'never', 'refuses'):
        assert (used.input, used.output) == (told['prompt_tokens'], told['completion_tokens'])
        assert replace(used, calls=2) == plain.usage
    else:  # the server does not count the tokens of a stream: they are estimated
        assert used.input == pytest.approx(told['prompt_tokens'], rel=0.02)
        assert used.output == pytest.approx(told['completion_tokens'], rel=0.2)
    assert joined(passing, 'code') == 'words = len(context.split())\nprint(words)\n'
    assert joined(passing, 'answer') == 'There are four words.'
    assert joined(passing, 'text') == 'I count the words.\n'
    deltas = [event for event in passing if event['type'] == 'delta']
    assert (len(deltas) > 6) == (kind not in ('never', 'refuses')), 'the pieces come one by one'


def test_tool_calls_are_shown_as_code():
    call = dict(content=None, tool_calls=[dict(name='run_repl', arguments='{"python_code": "FINAL(\\"four\\")"}')])
    with mock_server() as server:
        result, passing = run(server, RLM, call, env='local', tool_calls=True, stream=True)
    assert result.answer == 'four'
    assert joined(passing, 'code') == 'FINAL("four")'


def test_a_broken_stream_is_written_again():
    with mock_server(streams='broken') as server:
        said = 'There are four words in it.'
        result, passing = run(server, Direct, said, said, stream=True)
    assert result.answer == 'There are four words in it.'
    assert result.usage.calls == 2
    assert {event['attempt'] for event in passing} == {1, 2}
    second = [event for event in passing if event['attempt'] == 2]
    assert joined(second, 'answer') == result.answer


def test_a_plain_call_streams_its_answer():
    with mock_server() as server:
        lm = LM('openai/script', api_base=server.api_base, api_key='none')
        server.script('<think>One, two, three, four.</think>There are four words.')
        stream, events = Direct(lm, stream=True).stream('sing goddess the anger', 'How many?'), []
        with pytest.raises(StopIteration) as ended:
            while True:
                events.append(next(stream))
    deltas = [event for event in events if event['type'] == 'delta']
    assert joined(deltas, 'answer') == ended.value.value.answer == 'There are four words.'
    assert joined(deltas, 'thinking') == 'One, two, three, four.'
    # Tokens come between the announcement of the call and its reply.
    types = [event['type'] for event in events]
    assert types.index('call_start') < types.index('delta') < types.index('reply')


def test_a_stream_that_is_left_ends_the_run():
    async def leave_at_first_token(lm):
        events = RLM(lm, env='local', stream=True).astream('sing goddess', 'How many?')
        async with contextlib.aclosing(events):
            async for event in events:
                if event['type'] == 'delta':
                    return event['text']

    with mock_server() as server:
        server.script('one two three', dict(fault='hung'))
        lm = LM('openai/script', api_base=server.api_base, api_key='none')
        assert asyncio.run(leave_at_first_token(lm)) == 'one'


def test_callables_are_followed_whole():
    passing = []
    Direct(lambda messages: 'four', stream=True, on_event=passing.append)('sing goddess', 'How many?')
    assert joined(passing, 'answer') == 'four'
