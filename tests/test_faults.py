"One request in five fails: every strategy still gives the right answer, and its usage equals the server's exactly."

import asyncio
import json
import subprocess
import sys

import pytest

from rlm import Direct, LM, RLM, SRLM
from rlm.lambda_rlm import LambdaRLM
from tests.mock_server import ROOT, Settings, mock_server

# Shares that sum up to a fifth. An attempt that hangs is left after the time limit, so few do: a test need not wait.
FAULTS = {
    '429': 0.06,
    '500': 0.05,
    'malformed': 0.03,
    'truncated': 0.02,
    'no_choices': 0.01,
    'null': 0.01,
    'hung': 0.02,
}
TIMEOUT = 5.0  # seconds, at least
USELESS = {'no_choices', 'null'}  # paid for and asked for once more only
CONTEXT = 'The walrus eats clams.'
LETTERS = '\n\n'.join(
    f'Letter {number}. ' + 'The weather is fine here, and nothing happens. ' * 20 for number in range(100)
)


def seeds(surely, count=1, most=160):
    """Seeds by which the first `surely` requests meet most kinds of faults.

    Of the first `most` requests one hangs and one gets a useless reply. A second useless one might reach the same call,
    which then fails, by design; a second hung request only takes time."""
    found = []
    for seed in range(100_000):
        met = [Settings(faults=FAULTS, seed=seed).fault(number) for number in range(surely)]
        if (
            not {'429', '500', 'malformed'} <= set(met)
            or sum(kind in USELESS for kind in met) != 1
            or met.count('hung') != 1
        ):
            continue
        rest = [Settings(faults=FAULTS, seed=seed).fault(number) for number in range(surely, most)]
        if 'hung' in rest or USELESS & set(rest):
            continue
        found.append(seed)
        if len(found) == count:
            return found


@pytest.fixture(autouse=True)
def patience(shared_server, monkeypatch):
    "Only what hangs may meet the time limit: seconds enough for an answer, however busy this machine is."
    lm = LM('openai/echo', api_base=shared_server.api_base, api_key='none')
    lm('the first call takes longer')
    slowest = max(reply.seconds for reply in lm.batch(['hello'] * 16))
    monkeypatch.setitem(globals(), 'TIMEOUT', max(5.0, 10 * slowest))


def model(server, mode='rules', **settings):
    return LM(
        f'openai/{mode}', api_base=server.api_base, api_key='none', **dict(num_retries=20, timeout=TIMEOUT) | settings
    )


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


def told(server):
    seen = server.stats()
    return seen['requests'], *(
        seen['told'].get(name, 0) for name in ('prompt_tokens', 'completion_tokens', 'cached_tokens')
    )


def used(usage):
    return usage.calls, usage.input, usage.output, usage.cached


def in_trace(result):
    "The usage that the journal's replies add up to."
    replies = [event['usage'] for event in result.trace.events if event['type'] == 'reply']
    return tuple(sum(usage[name] for usage in replies) for name in ('calls', 'input', 'output', 'cached'))


def faulty(seed):
    return mock_server(faults=FAULTS, seed=seed, retry_after=0.05)


def is_exact(server, *results):
    "Whether usage, that of the models, and that of the trace agree with what the server told."
    totals = [
        tuple(map(sum, zip(*(used(result.usage) for result in results)))),
        tuple(map(sum, zip(*(used(sum(result.by_model.values(), type(result.usage)())) for result in results)))),
        tuple(map(sum, zip(*map(in_trace, results)))),
    ]
    assert totals == [told(server)] * 3
    assert server.stats()['statuses'].get('429') and server.stats()['requests'] > server.stats()['statuses']['200']


CODE = '''numbers = llm_query_batched([f"number {n:02}" for n in range(50)])
children = rlm_query_batched([f"child {n}" for n in range(6)])
print("all there:", numbers == [f"number {n:02}" for n in range(50)] and children == [f"sub {n}" for n in range(6)])'''
CHILD = cell('FINAL(llm_query("sub " + context.split()[-1]))')


@pytest.mark.parametrize('seed', seeds(64))
def test_rlm_with_batches_and_children(seed):
    with faulty(seed) as server:
        # What matches no rule comes back as it is.
        server.script(
            rules=[('all there: True', 'FINAL(all right)'), ('child [0-9]', CHILD), ('Ask many times', cell(CODE))]
        )
        result = RLM(model(server), sub_lm=model(server), max_depth=2, env='local')(CONTEXT, 'Ask many times.')
        assert (result.answer, result.stop_reason) == ('all right', 'final')
        assert server.stats()['statuses']['200'] >= 2 + 50 + 6 * 2
        is_exact(server, result)


@pytest.mark.parametrize('seed', seeds(40))
def test_a_planned_run(seed):
    with faulty(seed) as server:
        server.script(rules=[('.', 'All is well.')])
        strategy = LambdaRLM(model(server), task='summarise', window=1500)
        plan = strategy.plan(LETTERS, 'What do the letters say?')
        result = plan.run()
        assert (result.answer, result.stop_reason) == ('All is well.', 'final')
        assert plan.calls == sum(event['type'] == 'reply' and event['error'] is None for event in result.trace.events)
        is_exact(server, result)


@pytest.mark.parametrize('seed', seeds(24))
def test_a_vote(seed):
    with faulty(seed) as server:
        server.script(
            rules=[
                ('five words', cell('FINAL(llm_query("sub 42").split()[-1])')),
                ('How many', cell('print("five words")')),
            ]
        )
        result = SRLM(model(server), k=8, early_stop=False, env='local')(CONTEXT, 'How many?')
        assert (result.answer, result.stop_reason, result.agreement) == ('42', 'final', 1.0)
        is_exact(server, result)


def test_plain_calls():
    (seed,) = seeds(32)
    with faulty(seed) as server:
        server.script(rules=[('.', 'clams')])
        strategy = Direct(model(server))

        async def many():
            return await asyncio.gather(
                *[strategy.acall(CONTEXT, f'What does walrus {number} eat?') for number in range(32)]
            )

        results = asyncio.run(many())
        assert {result.answer for result in results} == {'clams'}
        is_exact(server, *results)


def test_a_storm_of_429s_uses_up_nobody_s_retries():
    "The server answers one request in four: with its three retries alone, every third call would fail."
    with mock_server(crowded=4, retry_after=0.02) as server:
        lm = model(server, num_retries=3)
        replies = lm.batch([f'number {n}' for n in range(60)])
        assert [str(reply) for reply in replies] == [f'number {n}' for n in range(60)]
        seen = server.stats()
        assert seen['statuses']['200'] == 60 and seen['statuses']['429'] > 60
        assert sum(reply.usage.calls for reply in replies) == seen['requests']


def test_a_server_that_refuses_everybody_is_reported(server):
    lm = model(server, '429', num_retries=2)
    replies = lm.batch(['one', 'two'])
    assert [(reply.status, reply.usage.calls) for reply in replies] == [(429, 3)] * 2
    assert server.stats()['requests'] == 6


@pytest.mark.parametrize(
    'words',
    [
        'You exceeded your current quota, please check your plan and billing details.',
        'Request too large for gpt-4o on tokens per min.',
    ],
)
def test_what_no_waiting_helps_is_not_waited_for(server, words):
    server.script(rules=[['.', {'status': 429, 'content': words}]])
    lm = model(server)
    (reply,) = lm.batch(['hello'])
    assert reply.status == 429 and words[:20] in str(reply) and server.stats()['requests'] == 1
    assert lm.concurrency == lm.max_concurrency


# --- replies that were paid for before ---

WORKER = '''
import json, sys
from rlm import LM
address, folder = sys.argv[1:]
lm = LM('openai/rules', api_base=address, api_key='none', cache=folder)
sys.stdin.readline()  # all begin at once
replies = lm.batch([f'number {n}' for n in range(20)]*2) + lm.batch(['number 0']*2, sample=1)
usages = [reply.usage for reply in replies]
print(json.dumps([[reply.text, used.calls, used.hits, used.tokens, used.cost] for reply, used in zip(replies, usages)]))
'''


def test_several_processes_share_a_cache(server, tmp_path):
    pytest.importorskip('diskcache')
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', WORKER, server.api_base, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            process.stdin.write('go\n'), process.stdin.flush()
        told = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(
        [text for text, *_ in replies] == [f'number {n}' for n in range(20)] * 2 + ['number 0'] * 2 for replies in told
    )
    hits = [one for replies in told for one in replies if one[2]]
    assert all((calls, tokens, cost) == (0, 0, 0) for _, calls, _, tokens, cost in hits)
    # What was paid is what the server served, and afterwards every reply is in the cache, for another sample too.
    paid = server.stats()['requests']
    assert sum(one[1] for replies in told for one in replies) == paid and len(hits) == 2 * 42 - paid
    again = LM('openai/rules', api_base=server.api_base, api_key='none', cache=tmp_path)
    assert (
        {reply.usage.hits for reply in again.batch([f'number {n}' for n in range(20)])}
        == {1}
        == {again('number 0', sample=1).usage.hits}
    )
    assert server.stats()['requests'] == paid
    assert again('number 0', sample=2).usage.calls == 1


def test_a_run_from_the_cache_costs_nothing_and_says_so(server, tmp_path):
    pytest.importorskip('diskcache')
    server.script(
        rules=[('all there: True', 'FINAL(all right)'), ('child [0-9]', CHILD), ('Ask many times', cell(CODE))]
    )
    strategy = RLM(
        model(server, cache=tmp_path, input_cost_per_token=1e-3, output_cost_per_token=1e-3), max_depth=2, env='local'
    )
    first, again = (strategy(CONTEXT, 'Ask many times.') for _ in range(2))
    assert first.answer == again.answer == 'all right'
    assert first.usage.calls == server.stats()['requests'] > 50 and first.usage.hits == 0 and first.usage.cost > 0
    assert (again.usage.calls, again.usage.tokens, again.usage.cost, again.usage.hits) == (0, 0, 0, first.usage.calls)
    assert sum(event['usage']['hits'] for event in again.trace.events if event['type'] == 'reply') == again.usage.hits
