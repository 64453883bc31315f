"One request in five fails: every strategy still ends with the right answer, and its usage is what the server told, to the token."
import asyncio
import json
import threading

import pytest

from rlm import LM, RLM, SRLM, Direct
from rlm.lambda_rlm import LambdaRLM
from rlm.models import EmptyReply, UselessReply
from tests.mock_server import Settings, mock_server

# Shares that sum up to a fifth. An attempt that hangs is left after the timeout, so few do: a test need not wait.
FAULTS = {'429': 0.06, '500': 0.05, 'malformed': 0.03, 'truncated': 0.02, 'no_choices': 0.01, 'null': 0.01, 'hung': 0.02}
TIMEOUT = 3.0  # seconds
USELESS = {'no_choices', 'null'}  # paid for and asked for once more only
CONTEXT = 'The walrus eats clams.'
LETTERS = '\n\n'.join(f'Letter {number}. ' + 'The weather is fine here, and nothing happens. ' * 20 for number in range(100))


def seeds(surely, count=1, most=300):
    """Seeds by which the first `surely` requests meet most kinds of faults, and of the first `most` one hangs and one gets a useless reply.

    A second useless one might meet the same call, which is then reported, by design; a second hung one only takes time."""
    found = []
    for seed in range(100_000):
        met = [Settings(faults=FAULTS, seed=seed).fault(number) for number in range(surely)]
        if not {'429', '500', 'malformed'} <= set(met) or sum(kind in USELESS for kind in met) != 1 or met.count('hung') != 1: continue
        rest = [Settings(faults=FAULTS, seed=seed).fault(number) for number in range(surely, most)]
        if 'hung' in rest or USELESS & set(rest): continue
        found.append(seed)
        if len(found) == count: return found


def model(server, mode='rules', **settings):
    return LM(f'openai/{mode}', api_base=server.api_base, api_key='none', **dict(num_retries=20, timeout=TIMEOUT) | settings)


def cell(code): return f'I will look.\n\n```repl\n{code}\n```'


def told(server):
    seen = server.stats()
    return seen['requests'], *(seen['told'].get(name, 0) for name in ('prompt_tokens', 'completion_tokens', 'cached_tokens'))


def used(usage): return usage.calls, usage.input, usage.output, usage.cached


def in_trace(result):
    "The usage that the journal's replies add up to."
    replies = [event['usage'] for event in result.trace.events if event['type'] == 'reply']
    return tuple(sum(usage[name] for usage in replies) for name in ('calls', 'input', 'output', 'cached'))


def faulty(seed): return mock_server(faults=FAULTS, seed=seed, retry_after=0.05)


def is_exact(server, *results):
    "Whether usage, that of the models, and that of the trace agree with what the server told."
    totals = [tuple(map(sum, zip(*(used(result.usage) for result in results)))),
              tuple(map(sum, zip(*(used(sum(result.by_model.values(), type(result.usage)())) for result in results)))),
              tuple(map(sum, zip(*map(in_trace, results))))]
    assert totals == [told(server)] * 3
    assert server.stats()['statuses'].get('429') and server.stats()['requests'] > server.stats()['statuses']['200']


CODE = '''numbers = llm_query_batched([f"number {n:02}" for n in range(50)])
children = rlm_query_batched([f"child {n}" for n in range(6)])
print("all there:", numbers == [f"number {n:02}" for n in range(50)] and children == [f"sub {n}" for n in range(6)])'''
CHILD = cell('FINAL(llm_query("sub " + context.split()[-1]))')


@pytest.mark.parametrize('seed', seeds(64, 2, 160))
def test_rlm_with_batches_and_children(seed):
    with faulty(seed) as server:
        # What matches no rule comes back as it is.
        server.script(rules=[('all there: True', 'FINAL(all right)'), ('child [0-9]', CHILD), ('Ask many times', cell(CODE))])
        result = RLM(model(server), sub_lm=model(server), max_depth=2)(CONTEXT, 'Ask many times.')
        assert (result.answer, result.stop_reason) == ('all right', 'final')
        assert server.stats()['statuses']['200'] >= 2 + 50 + 6 * 2
        is_exact(server, result)


@pytest.mark.parametrize('seed', seeds(40, 2, 120))
def test_a_planned_run(seed):
    with faulty(seed) as server:
        server.script(rules=[('.', 'All is well.')])
        strategy = LambdaRLM(model(server), task='summarise', window=1500)
        plan = strategy.plan(LETTERS, 'What do the letters say?')
        result = plan.run()
        assert (result.answer, result.stop_reason) == ('All is well.', 'final')
        assert plan.calls == sum(event['type'] == 'reply' and event['error'] is None for event in result.trace.events)
        is_exact(server, result)


@pytest.mark.parametrize('seed', seeds(24, 2, 80))
def test_a_vote(seed):
    with faulty(seed) as server:
        server.script(rules=[('five words', cell('FINAL(llm_query("sub 42").split()[-1])')), ('How many', cell('print("five words")'))])
        result = SRLM(model(server), k=8, early_stop=False)(CONTEXT, 'How many?')
        assert (result.answer, result.stop_reason, result.agreement) == ('42', 'final', 1.0)
        is_exact(server, result)


def test_plain_calls():
    seed, = seeds(32, 1, 100)
    with faulty(seed) as server:
        server.script(rules=[('.', 'clams')])
        strategy = Direct(model(server))
        async def many(): return await asyncio.gather(*[strategy.acall(CONTEXT, f'What does walrus {number} eat?') for number in range(32)])
        results = asyncio.run(many())
        assert {result.answer for result in results} == {'clams'}
        is_exact(server, *results)
