"""A tree never spends more than its limits allow: threads, batches, children, leaves, candidates and retries together.

Simulated models, no server.
"""

import asyncio
import math
import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlm import Limits, LM, RLM, SRLM
from rlm.models import lm as models, retries
from rlm.base.errors import BadInput, BudgetExceeded, CallsExceeded, ErrorsExceeded, LimitExceeded, ModelError
from rlm.base.errors import TimeExceeded, TokensExceeded
from rlm.lambda_rlm import LambdaRLM
from rlm.models import Ledger, run_sync, Usage

THREADS = 64
TREES = int(os.environ.get('RLM_TREES', 50))  # of each kind of limit
STRATEGIES = TREES // 6  # random trees of each strategy, for each kind of limit
PRICES = dict(input_cost_per_token=1e-3, output_cost_per_token=2e-3)
TEXT = '\n\n'.join(f'Letter {number}. ' + 'The weather is fine here. ' * 12 for number in range(30))


class Busy(Exception):
    status_code = 500


class Simulated:
    "A simulated model that counts its calls and tokens itself. Some calls fail, some replies are empty."

    def __init__(self, seed, reply=lambda prompt: 'word'):
        self.dice, self.reply, self.calls, self.input, self.output, self.at = random.Random(seed), reply, 0, 0, 0, []

    async def __call__(self, messages, max_tokens=None):
        self.calls += 1
        await asyncio.sleep(0)
        luck, wanted = self.dice.random(), self.dice.randint(1, 60)
        if luck < 0.1:
            raise Busy('too much to do')
        read = math.ceil(sum(len(message['content']) for message in messages) / 4)
        written = min(wanted, max_tokens or wanted)
        self.input, self.output = self.input + read, self.output + written
        text = '' if luck < 0.15 else self.reply(messages[-1]['content'])
        return dict(text=text, usage=dict(input=read, output=written))

    @property
    def cost(self):
        return self.input * PRICES['input_cost_per_token'] + self.output * PRICES['output_cost_per_token']


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    "Between attempts; how long that is has no part in what is tested here."
    monkeypatch.setattr(retries, 'wait_seconds', lambda error, failures: 0)


@pytest.fixture(scope='module')
def threads():
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def check(account, model, limits, usage=None):
    "The model's own account, the ledger's and the limits agree."
    spent = usage or account.spent
    assert (spent.calls, spent.input, spent.output) == (model.calls, model.input, model.output)
    assert spent.cost == pytest.approx(model.cost)
    assert spent.calls <= (limits.max_calls or math.inf) and spent.tokens <= (limits.max_tokens or math.inf)
    assert spent.cost <= (limits.max_cost or math.inf) * (1 + 1e-9)


KINDS = dict(
    calls=(lambda dice: dict(max_calls=dice.randint(1, 90)), CallsExceeded),
    tokens=(lambda dice: dict(max_tokens=dice.randint(20, 4000)), TokensExceeded),
    dollars=(lambda dice: dict(max_cost=dice.uniform(0.02, 6)), BudgetExceeded),
    several=(
        lambda dice: dict(
            max_calls=dice.randint(20, 90), max_tokens=dice.randint(500, 4000), max_cost=dice.uniform(1, 6)
        ),
        LimitExceeded,
    ),
)


@pytest.mark.parametrize('kind', KINDS)
def test_random_trees_of_calls(kind, threads):
    make, exceeded = KINDS[kind]
    stopped = 0
    for number in range(TREES):
        dice = random.Random(f'{kind} {number}')
        limits, model = Limits(**make(dice)), Simulated(number)
        lm, account = LM(model, max_concurrency=dice.choice([1, 4, 64]), num_retries=3, **PRICES), Ledger(limits)

        def node(size):
            "A thread's part of the tree: one call, or a batch."
            return run_sync(lm.abatch(['Is it so? ' * (1 + part) for part in range(size)], ledger=account))

        sizes = [dice.choice([1, 1, 1, 2, 3]) for _ in range(dice.randint(1, THREADS))]
        replies = [reply for batch in threads.map(node, sizes) for reply in batch]
        refused = [reply for reply in replies if isinstance(reply, LimitExceeded)]
        assert all(isinstance(reply, exceeded) for reply in refused)
        assert not account._held and all(
            isinstance(reply, (models.Reply, LimitExceeded, ModelError)) for reply in replies
        )
        check(account, model, limits)
        stopped += bool(refused)
    assert 0 < stopped < TREES  # both ways were met


def test_no_call_begins_when_the_time_is_over(threads):
    for number in range(TREES):
        dice, now, begun = random.Random(number), [0.0], []
        limit, wide = dice.uniform(1, 30), dice.choice([1, 4, 64])

        async def model(messages):
            begun.append(now[0])
            await asyncio.sleep(0)
            now[0] += dice.random()
            return 'word'

        account, lm = Ledger(Limits(max_seconds=limit), clock=lambda: now[0]), LM(model, max_concurrency=wide)
        replies = [
            reply
            for batch in threads.map(
                lambda size: run_sync(lm.abatch(['x'] * size, ledger=account)), [2] * dice.randint(1, 32)
            )
            for reply in batch
        ]
        assert sum(start >= limit for start in begun) < wide  # those that were let through before
        assert all(isinstance(reply, (models.Reply, TimeExceeded)) for reply in replies) and sum(
            isinstance(reply, models.Reply) for reply in replies
        ) == len(begun)


def test_no_more_errors_are_counted_than_end_the_run(threads):
    for number in range(TREES):
        limit = random.Random(number).randint(1, 80)
        account = Ledger(Limits(max_errors=limit))
        list(threads.map(lambda _: account.count_error(), range(THREADS)))
        assert account.errors == min(limit, THREADS)
        assert isinstance(account.exceeded, ErrorsExceeded) == (limit <= THREADS)


# --- the same for whole strategies ---


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


class Rambling(Simulated):
    "A simulated model that writes random cells: batches, children, failures; it never ends by itself."

    def __init__(self, seed):
        super().__init__(seed, self.write)
        self.wild = random.Random(seed)

    def write(self, prompt):
        if prompt.startswith('leaf'):
            return 'word'
        return cell(
            self.wild.choice(
                [
                    'print(len(context))',
                    'print(llm_query("leaf"))',
                    f'print(len(llm_query_batched(["leaf"]*{self.wild.randint(1, 12)})))',
                    'rlm_query("a child has its own context")',
                    f'rlm_query_batched(["a child"]*{self.wild.randint(2, 3)})',
                    '1/0',
                    'answer["content"] = "so far"',
                ]
            )
        )


LIMITS = dict(
    calls=lambda dice: dict(max_calls=dice.randint(2, 60)),
    tokens=lambda dice: dict(max_tokens=dice.randint(3_000, 60_000)),
    dollars=lambda dice: dict(max_cost=dice.uniform(3, 60)),
    errors=lambda dice: dict(max_errors=dice.randint(1, 5)),
)


def outcome(strategy, model, limits):
    "Run to the limit; what it raises carries the result."
    try:
        result = strategy(TEXT, 'What do the letters say?')
    except LimitExceeded as error:
        result = error.result
        assert result.stop_reason == error.stop_reason
    except ModelError as error:
        result = error.result
    check(None, model, limits, result.usage)
    assert sum(result.by_model.values(), Usage()) == result.usage
    replies = [event['usage'] for event in result.trace.events if event['type'] == 'reply']
    assert [sum(usage[name] for usage in replies) for name in ('calls', 'input', 'output')] == [
        result.usage.calls,
        result.usage.input,
        result.usage.output,
    ]
    return result


@pytest.mark.parametrize('kind', LIMITS)
@pytest.mark.parametrize('seed', range(STRATEGIES))
def test_random_trees_of_rlm(kind, seed):
    dice, model = random.Random(f'{kind} {seed}'), Rambling(seed)
    limits, depth = Limits(**LIMITS[kind](dice), max_iterations=5), dice.randint(1, 3)
    result = outcome(
        RLM(LM(model, num_retries=3, **PRICES), limits=limits, max_depth=depth, env='local'), model, limits
    )
    assert max(event['depth'] for event in result.trace.events if event['type'] == 'run_start') < depth
    if limits.max_errors:
        failed = sum(event['type'] == 'cell' and bool(event['error']) for event in result.trace.events)
        assert failed < limits.max_errors or result.stop_reason == 'errors'


@pytest.mark.parametrize('kind', ['calls', 'tokens', 'dollars'])
@pytest.mark.parametrize('seed', range(STRATEGIES))
def test_random_votes(kind, seed):
    dice, model = random.Random(f'{kind} {seed}'), Rambling(seed)
    limits = Limits(**LIMITS[kind](dice), max_iterations=3)
    outcome(
        SRLM(LM(model, num_retries=3, **PRICES), k=dice.randint(2, 8), limits=limits, max_depth=2, env='local'),
        model,
        limits,
    )


@pytest.mark.parametrize('kind', ['calls', 'tokens', 'dollars'])
@pytest.mark.parametrize('seed', range(STRATEGIES))
def test_random_plans(kind, seed):
    dice, model = random.Random(f'{kind} {seed}'), Simulated(seed, lambda prompt: 'All is well.')
    strategy = LambdaRLM(
        LM(model, num_retries=3, **PRICES), task='summarise', window=dice.choice([600, 900, 1500]), reply_tokens=60
    )
    plan = strategy.plan(TEXT, 'What do the letters say?')
    most = dict(calls=plan.calls, tokens=plan.estimate.input + plan.estimate.output, dollars=plan.max_cost)[kind]
    share = dice.uniform(0.9, 1.5)
    name = dict(calls='max_calls', tokens='max_tokens', dollars='max_cost')[kind]
    limits = Limits(**{name: most * share if kind == 'dollars' else int(most * share)})
    strategy.settings.limits = limits
    try:
        outcome(strategy, model, limits)
    except BadInput:
        assert model.calls == 0  # the plan was too dear from the start


# --- seconds ---

STEPS = '''import time
note("begun")
for step in range(800): time.sleep(0.01)
note("ended")'''
ONE_SLEEP = 'import time\nnote("begun")\ntime.sleep(8)\nnote("ended")'
WORKS = (
    'import time\nnote("begun")\nuntil = time.monotonic() + 8\n'
    'while time.monotonic() < until: sum(range(1000))\nnote("ended")'
)
CAUGHT = f'try:\n    {STEPS.replace(chr(10), chr(10) + "    ")}\nexcept Exception: note("ended")'
CHILD = 'rlm_query("a young walrus")'


@pytest.mark.parametrize('code', [STEPS, WORKS, CAUGHT, ONE_SLEEP], ids=['steps', 'works', 'caught', 'one_sleep'])
@pytest.mark.parametrize('how', ['rlm', 'child', 'vote'])
def test_time_ends_a_cell_before_its_end(how, code):
    notes = []

    def model(messages):
        return cell(CHILD if how == 'child' and 'young walrus' not in messages[1]['content'] else code)

    settings = dict(env='local', first_look=False, max_seconds=1, max_depth=2, tools=dict(note=notes.append))
    strategy = SRLM(model, k=2, **settings) if how == 'vote' else RLM(model, **settings)
    with pytest.raises(TimeExceeded) as caught:
        strategy(TEXT, 'What do the letters say?')
    assert caught.value.result.stop_reason == 'time'
    assert set(notes) == {'begun'}
    ends = [event['run'] for event in caught.value.result.trace.events if event['type'] == 'run_end']
    assert len(ends) == dict(rlm=1, child=2, vote=3)[how] and ends[-1] == 'r1'


def test_time_ends_leaves_that_hang():
    async def model(messages):
        await asyncio.Event().wait()

    with pytest.raises(TimeExceeded) as caught:
        LambdaRLM(model, task='summarise', window=900, max_seconds=0.5)(TEXT, 'What do the letters say?')
    assert caught.value.result.stop_reason == 'time'


@pytest.mark.parametrize('how', ['rlm', 'vote', 'plan'])
def test_what_was_on_its_way_when_time_ended_is_counted(how):
    asked = []

    async def model(messages):
        asked.append(messages)
        if how != 'plan' and not any(word in messages[-1]['content'] for word in ('young walrus', 'leaf')):
            return (
                cell('rlm_query_batched(["a young walrus"]*3)')
                if len(asked) % 2
                else cell('llm_query_batched(["leaf"]*5)')
            )
        await asyncio.Event().wait()

    settings = dict(max_seconds=0.5, on_limit='return')
    strategy = dict(
        rlm=lambda: RLM(model, max_depth=2, env='local', **settings),
        vote=lambda: SRLM(model, k=4, max_depth=2, env='local', **settings),
        plan=lambda: LambdaRLM(model, task='summarise', window=900, **settings),
    )[how]()
    result = strategy(TEXT, 'What do the letters say?')
    told = [event['usage']['calls'] for event in result.trace.events if event['type'] == 'reply']
    assert (result.stop_reason, result.usage.calls, sum(told)) == ('time', len(asked), len(asked))
    runs = [event['run'] for event in result.trace.events if event['type'] == 'run_start']
    assert sorted(event['run'] for event in result.trace.events if event['type'] == 'run_end') == sorted(runs)
