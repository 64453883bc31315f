"`LambdaRLM` through LiteLLM against a server that answers from a key, and that misbehaves as providers do."

import asyncio
import json
import random
import re

import pytest

from rlm import BadInput, LM
from rlm.lambda_rlm import LambdaRLM
from rlm.plan.builder import LeafFailed
from tests.mock_server import mock_server

KINDS = ['entity', 'location', 'human being', 'numeric value']
TEXT = '\n\n'.join(
    f'Letter {number}. ' + 'The weather is fine here, and nothing happens. ' * 20 for number in range(40)
)
PRICES = dict(input_cost_per_token=1e-6, output_cost_per_token=2e-6)


def model(server, **settings):
    return LM('openai/script', api_base=server.api_base, api_key='test', **PRICES | settings)


def dated_rows(count, users, seed):
    "Rows in the form of a known benchmark of pairs, and the label of each."
    dice = random.Random(seed)
    rows = [
        (
            f'Date: Mar {dice.randrange(1, 29):02}, {dice.randrange(2022, 2026)} || '
            f'User: {dice.randrange(10_000, 10_000 + users)} || Instance: Why {number} ?',
            dice.choice(KINDS),
        )
        for number in range(count)
    ]
    return 'The following lines contain questions, one per line.\n\n' + '\n'.join(
        line for line, _ in rows
    ) + '\nRecall: there are four kinds.\n', rows


def test_pairs_from_labelled_rows_with_calls_by_the_chunk(server):
    text, rows = dated_rows(500, 60, seed=3)
    rule = dict(
        labels=KINDS,
        one=dict(counts=[['entity', 'at least', 2]]),
        other=dict(any_of=['location'], dates=[['location', 'after', '2023-06-01']]),
    )
    strategy = LambdaRLM(model(server), task='pairwise', window=6000)
    plan = strategy.plan(
        text, 'List all pairs of users such that ... The labels: entity, location, human being, numeric value.'
    )
    rules = [('^The question asks for pairs', json.dumps(rule))]
    for chunk in plan.chunks:
        inside = [(line, label) for line, label in rows if line in chunk]
        first = inside[0][0].partition('Instance: ')[2]
        reply = '\n'.join(f'{number}: {label}' for number, (_, label) in enumerate(inside, 1))
        rules.append((rf'(?m)^1\. {re.escape(first)}$', reply))
    server.script(rules=rules)
    result = plan.run()

    by_user = {}
    for line, label in rows:
        by_user.setdefault(int(line.split('User: ')[1].split()[0]), []).append((label, line[6:18]))
    entities = lambda user: sum(label == 'entity' for label, _ in by_user[user]) >= 2
    late = lambda user: (
        (places := [day for label, day in by_user[user] if label == 'location'])
        and all(int(day[-4:]) >= 2024 for day in places)
    )
    wanted = {
        (one, other)
        for one in by_user
        for other in by_user
        if one < other and (entities(one) and late(other) or entities(other) and late(one))
    }
    assert wanted and set(result.value) == wanted
    assert result.usage.calls == len(plan.chunks) + 1 == server.stats()["requests"]
    assert result.usage.calls in plan.calls
    assert result.usage.cost <= plan.max_cost


def test_faults_are_retried_and_paid_from_the_same_dollars():
    with mock_server(faults={'429': 0.15, '500': 0.15}, retry_after=0.01, seed=2) as server:
        server.script(rules=[('.', 'All is well.')])
        strategy = LambdaRLM(model(server, num_retries=8), task='summarise', window=1500)
        plan = strategy.plan(TEXT, 'What do the letters say?')
        result = plan.run()
        stats = server.stats()
    assert result.answer == 'All is well.'
    assert stats['statuses']['200'] == plan.calls and result.usage.calls == stats['requests'] > plan.calls
    assert result.usage.cost <= plan.max_cost


def test_a_leaf_that_fails_for_good_says_which_and_keeps_the_others(server):
    server.script(rules=[(r'Letter 30\.', dict(status=400)), ('.', 'All is well.')])
    with pytest.raises(LeafFailed) as caught:
        LambdaRLM(model(server, max_concurrency=2), task='summarise', window=1500)(TEXT, 'What do the letters say?')
    failure = caught.value
    start, end = map(int, re.search(r'characters ([\d,]+) to ([\d,]+)', failure.place.replace(',', '')).groups())
    assert start <= TEXT.index('Letter 30.') < end
    assert 0 < failure.answered == len(failure.replies) < failure.planned
    assert set(failure.replies.values()) == {'All is well.'} and failure.result.stop_reason == 'model'
    prompts = [prompt[-1]['content'] for prompt in server.stats()['prompts']]
    assert not any('numbered parts' in prompt for prompt in prompts), 'a reduction was asked although a leaf had failed'


def test_siblings_are_on_the_way_together_and_come_back_in_the_order_of_the_text():
    waiting, everybody = [], asyncio.Event()

    async def answer(messages):
        "Wait until every leaf has been asked: one after another, none would ever be answered."
        number = re.search(r'Letter (\d+)\.', messages[0]['content'])[1]
        waiting.append(number)
        if len(waiting) == planned:
            everybody.set()
        await everybody.wait()
        return number

    strategy = LambdaRLM(
        LM(answer, max_concurrency=64, timeout=30, num_retries=0), task='classify', vote=False, window=1500
    )
    plan = strategy.plan(TEXT, 'Which letter is it?')
    planned = len(plan.chunks)
    numbers = [int(number) for number in plan.run().answer.split()]
    assert len(numbers) == planned > 8 and numbers == sorted(numbers)


def test_a_plan_for_a_paid_model_needs_no_key_and_no_network(monkeypatch):
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    plan = LambdaRLM('gpt-4o-mini').plan(TEXT * 20, 'Summarise the letters.')
    assert isinstance(plan.calls, int) and 0 < plan.max_cost < 1
    assert all(call.input + call.output <= 128_000 for call in plan.estimate.all_calls)
    assert f'{plan.calls} exactly' in plan.explain() and 'λx.' in plan.explain()


def test_the_limit_of_dollars_is_looked_at_before_a_call(server):
    with pytest.raises(BadInput, match='dollars for prompts alone'):
        LambdaRLM(model(server), task='summarise', window=1500, max_cost=0.001)(TEXT, 'What do the letters say?')
    assert server.stats()['requests'] == 0
