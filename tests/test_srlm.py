"SRLM as a whole: candidates side by side with one ledger; what happens if they fail, disagree, or take too long."

import asyncio
import threading
from collections import Counter

import pytest

from rlm.base import prompts
from rlm.core import Direct
from rlm.base.errors import BadInput, BudgetExceeded, CallsExceeded, Cancelled, IterationsExceeded, ModelError
from rlm.base.errors import TimeExceeded
from rlm.models import LM, Usage
from rlm.offline import ScriptedLM, SimulatedLM
from rlm.runs.settings import Settings
from rlm.runs.strategy import Strategy
from rlm.srlm import SRLM
from rlm.trace import Journal, usage_of

TEXT, QUESTION = 'Q1: 9.1M. Q2: 12.4M. Q3: 8.8M.', 'What changed between Q3 and Q4?'
HOPEFULLY = 30  # seconds until a test that waits for something that never comes fails


def answering(*answers):
    "A model that answers at once: the candidate's number picks the answer."
    return ScriptedLM(lambda messages, sample=1: answers[(sample - 1) % len(answers)])


def code(lines):
    return f'```repl\n{lines}\n```'


def total(result):
    return sum((candidate.usage for candidate in result.candidates), Usage())


# --- at once and apart ---


def test_candidates_run_at_once_turn_by_turn():
    together = threading.Barrier(8)

    def model(messages, sample):
        together.wait(HOPEFULLY)  # opens only when all eight are here
        return 'FINAL(42)' if len(messages) > 8 else code(f'{sample}')

    result = SRLM(model, env='local', first_look=False, k=8, early_stop=False)(TEXT, QUESTION)
    assert [candidate.votes for candidate in result.candidates] == [True] * 8 and result.usage.calls == 40


@pytest.mark.parametrize('parallel', [1, 3])
def test_candidate_parallel_bounds_how_many_run(parallel):
    lock, running, most = threading.Lock(), set(), []

    def model(messages, sample):
        with lock:
            running.add(sample)
            most.append(len(running))
        if len(messages) < 5:
            return code('1')
        with lock:
            running.discard(sample)
        return 'FINAL(42)'

    SRLM(model, env='local', first_look=False, k=8, candidate_parallel=parallel, early_stop=False)(TEXT, QUESTION)
    assert max(most) <= parallel and len(most) == 24


def test_each_cell_has_its_own_output_when_all_print_at_once():
    together = threading.Barrier(8)
    lines = 'for number in range(40):\n    meet()\n    print(me, number)'

    def model(messages, sample):
        return 'FINAL(42)' if len(messages) > 8 else code(f'me = {sample}\n{lines}')

    result = SRLM(
        model, env='local', first_look=False, k=8, early_stop=False, tools=dict(meet=lambda: together.wait(HOPEFULLY))
    )(TEXT, QUESTION)
    cells = [event for event in result.trace.events if event['type'] == 'cell']
    expected = lambda run: ''.join(f'{run.rpartition(".")[2]} {number}\n' for number in range(40))
    assert len(cells) == 32 and [cell['stdout'] for cell in cells] == [expected(cell['run']) for cell in cells]


def test_variables_are_apart_and_so_are_the_contexts():
    context = ['a long text']
    first, last = code('assert "mine" not in globals()\nmine = 1'), code('context.append(mine)\nFINAL(str(context))')
    result = SRLM(
        ScriptedLM(lambda messages: last if len(messages) > 2 else first), k=4, early_stop=False, first_look=False
    )(context, QUESTION)
    assert {candidate.answer for candidate in result.candidates} == {"['a long text', 1]"}
    assert context == ['a long text']


def test_the_model_has_one_limit_for_all_candidates():
    lock, active, most = threading.Lock(), [0], [0]

    def model(messages, sample):
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        try:
            return (
                code('answers = llm_query_batched(["a", "b", "c"])\nFINAL(len(answers))')
                if len(messages) > 1
                else 'fine'
            )
        finally:
            with lock:
                active[0] -= 1

    result = SRLM(LM(model, max_concurrency=2), env='local', k=6, early_stop=False)(TEXT, QUESTION)
    assert result.answer == '3' and result.usage.calls == 24 and result.sub_calls == 18 and most[0] <= 2


def test_a_cache_keeps_candidates_apart_and_answers_the_second_run(tmp_path):
    asked = Counter()

    def model(messages, sample):
        asked[sample] += 1
        return f'FINAL({40 + sample % 2})\n{{"confidence": {90 - sample}}}'

    first = SRLM(LM(model, cache=tmp_path), env='local', k=3, early_stop=False)(TEXT, QUESTION)
    again = SRLM(LM(model, cache=tmp_path), env='local', k=3, early_stop=False)(TEXT, QUESTION)
    assert asked == {1: 1, 2: 1, 3: 1} and again.usage.calls == 0
    assert (first.answer, first.choice.winner.number) == (again.answer, again.choice.winner.number) == ('41', 1)
    assert again.choice.unit == 'tokens' and again.choice.winner.tokens


# --- the account ---


@pytest.mark.parametrize('early_stop', [True, False])
def test_usage_and_cost_are_the_sum_over_all_candidates(early_stop):
    def model(messages, sample, temperature=None):
        if len(messages) == 1:
            return dict(text='fine', usage=dict(input=11, output=7, reasoning=3), cost=0.25)
        text = (
            code('x = llm_query("?")')
            if len(messages) < 3 + 2 * (sample > 5)
            else f'FINAL({42 if sample != 2 else 43})'
        )
        return dict(text=text, usage=dict(input=1000 + sample, output=100 * sample, cached=sample), cost=0.5)

    result = SRLM(model, env='local', first_look=False, k=8, early_stop=early_stop, confidence_elicitation=False)(
        TEXT, QUESTION
    )
    events = usage_of(result.trace.events)
    assert total(result) == result.usage and result.answer == '42'
    assert result.by_model[result.model] == result.usage
    cancelled = [candidate for candidate in result.candidates if candidate.state == 'cancelled']
    if not early_stop:
        assert (
            not cancelled
            and {**vars(result.usage)}.items()
            >= {key: events[key] for key in ('calls', 'input', 'output', 'cached', 'reasoning', 'cost')}.items()
        )
    assert (result.usage.input, result.usage.output, result.usage.cached) == tuple(
        events[key] for key in ('input', 'output', 'cached')
    )


def test_what_a_cancelled_candidate_spent_is_counted():
    started = threading.Event()

    async def model(messages, sample):
        if sample < 3:
            return (
                dict(text='FINAL(42)', usage=dict(input=10, output=1), cost=1.0)
                if started.is_set()
                else code('wait(), context')
            )
        if len(messages) < 3:
            return dict(text=code('1'), usage=dict(input=500, output=50), cost=5.0)
        started.set()
        await asyncio.Event().wait()  # for ever

    result = SRLM(
        model,
        env='local',
        k=3,
        first_look=False,
        confidence_elicitation=False,
        tools=dict(wait=lambda: started.wait(HOPEFULLY)),
    )(TEXT, QUESTION)
    third = result.candidates[2]
    assert (result.answer, third.state, third.usage.input, third.usage.calls) == ('42', 'cancelled', 500, 2)
    assert total(result) == result.usage
    ends = {event['run']: event['stop_reason'] for event in result.trace.events if event['type'] == 'run_end'}
    assert ends[third.run] == 'cancelled' and ends['r1'] == 'final'


def test_limits_hold_for_all_candidates_together():
    with pytest.raises(CallsExceeded) as caught:
        SRLM(answering(code('1')), k=4, max_calls=10)(TEXT, QUESTION)
    assert caught.value.result.usage.calls == 10 and 'None of the 4 candidates' in str(caught.value)


def test_a_limit_carries_the_best_answer_so_far():
    def model(messages, sample):
        return 'FINAL(42)\n{"confidence": 90}' if sample == 1 else code('1')

    with pytest.raises(CallsExceeded, match='3 of 4 candidates were stopped') as caught:
        SRLM(model, env='local', first_look=False, k=4, max_calls=10)(TEXT, QUESTION)
    assert (caught.value.partial_answer, caught.value.result.stop_reason) == ('42', 'calls')
    returned = SRLM(model, env='local', first_look=False, k=4, max_calls=10, on_limit='return')(TEXT, QUESTION)
    assert (returned.answer, len(returned.choice.candidates)) == ('42', 4)


def test_a_limit_that_stops_only_those_who_do_not_matter_is_none():
    def model(messages, sample):
        return code('1') if sample == 4 else code('FINAL(len(context) and 42)')

    result = SRLM(
        model, env='local', first_look=False, k=4, max_calls=8, early_stop=False, confidence_elicitation=False
    )(TEXT, QUESTION)
    assert (result.answer, result.stop_reason, result.candidates[3].state) == ('42', 'final', 'failed')


def test_money_is_reserved_before_it_is_spent():
    lm = SimulatedLM('FINAL(42)', a0=1, rho=1, price_in=1e-5, price_out=1e-5)
    with pytest.raises(BudgetExceeded) as caught:
        SRLM(LM(lm, max_tokens=10), k=8, max_cost=0.03, early_stop=False)(TEXT, QUESTION)
    assert caught.value.result.usage.cost <= 0.03 and caught.value.partial_answer == '42'


def test_a_run_that_takes_too_long_carries_the_best_answer_so_far():
    async def model(messages, sample):
        if sample > 1:
            await asyncio.Event().wait()  # for ever
        return 'FINAL(42)'

    with pytest.raises(TimeExceeded) as caught:
        SRLM(model, env='local', first_look=False, k=3, max_seconds=0.5)(TEXT, QUESTION)
    assert (caught.value.partial_answer, caught.value.result.stop_reason) == ('42', 'time')
    assert [candidate.state for candidate in caught.value.result.candidates] == ['answered', 'cancelled', 'cancelled']


def test_a_run_that_is_cancelled_cancels_its_candidates():
    waiting, ended = threading.Barrier(3), []

    async def model(messages, sample):
        try:  # the cancellation may come while the barrier is just being left
            await asyncio.to_thread(waiting.wait, HOPEFULLY)
            await asyncio.Event().wait()
        finally:
            ended.append(sample)

    async def main():
        task = asyncio.ensure_future(SRLM(model, env='local', first_look=False, k=2).acall(TEXT, QUESTION))
        await asyncio.to_thread(waiting.wait, HOPEFULLY)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, Cancelled)):
            await task

    asyncio.run(main())
    wait_until(lambda: sorted(ended) == [1, 2])


def wait_until(condition):
    "Look again until the engine's thread has done what is expected of it."
    pause = threading.Event()
    for _ in range(HOPEFULLY * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError('It did not happen.')


# --- failures ---


def test_failed_candidates_are_dropped_and_reported():
    def model(messages, sample):
        if sample == 1:
            raise ModelError('the server is on fire', 'busy', 400)
        if sample == 2:
            return 'FINAL(NameError: name x is not defined)'
        if sample == 3:
            return code('FINAL("  ")')
        return code('FINAL(None)') if sample == 4 else 'FINAL(42)'

    result = SRLM(model, env='local', first_look=False, k=6, early_stop=False)(TEXT, QUESTION)
    problems = [candidate.problem for candidate in result.candidates]
    assert result.answer == '42' and result.agreement == 2 / 6
    assert (
        'on fire' in problems[0]
        and 'text of an error' in problems[1]
        and 'empty' in problems[2]
        and 'empty' in problems[3]
        and problems[4:] == [None, None]
    )
    notices = [event['text'] for event in result.trace.events if event['type'] == 'notice']
    assert len(notices) == 5 and notices[0].startswith('Candidate ') and notices[-1] == result.choice.reason


def test_all_failed_raises_with_every_reason():
    def model(messages, sample):
        raise ModelError(f'reason {sample % 2}', 'busy', 400)

    with pytest.raises(
        ModelError,
        match=r'None of the 4 candidates gave an answer: candidates 1, 3: reason 1; candidates 2, 4: reason 0\.',
    ) as caught:
        SRLM(model, env='local', first_look=False, k=4)(TEXT, QUESTION)
    assert (
        caught.value.result.answer is None and len(caught.value.result.candidates) == 4 and caught.value.status == 400
    )


def test_a_refused_temperature_is_said_in_the_models_words():
    def model(messages, temperature):
        raise ModelError('temperature must be 1 for this model', 'strict', 400)

    with pytest.raises(ModelError, match='temperature must be 1'):
        SRLM(model, env='local', first_look=False, k=3)(TEXT, QUESTION)

    def relaxed(messages, **params):
        return f'FINAL({"temperature" in params})'

    assert SRLM(relaxed, env='local', k=2, candidate_temperature=None)(TEXT, QUESTION).answer == 'False'


def test_nobody_came_to_an_end_in_time():
    with pytest.raises(IterationsExceeded, match='None of the 2 candidates') as caught:
        SRLM(ScriptedLM(lambda messages: code('answer["content"] = "perhaps 42"')), k=2, max_iterations=2)(
            TEXT, QUESTION
        )
    assert caught.value.partial_answer == 'perhaps 42'


def test_the_text_of_an_error_votes_where_it_stands_in_the_context():
    said = 'TimeoutError: no reply from 10.0.0.1'
    for context in (f'log\n{said}\n', [said], dict(log=said)):
        assert SRLM(answering(f'FINAL({said})'), k=2)(context, 'Which error occurred?').answer == said
    with pytest.raises(ModelError, match='text of an error'):
        SRLM(answering(f'FINAL({said})'), k=2)('log', 'Which error occurred?')


def test_huge_answers_are_voted_on_like_others():
    lm = ScriptedLM(lambda messages, sample: code(f'FINAL("{"ab"[sample % 3 == 0]}" * 300_000)'))
    result = SRLM(lm, k=3, early_stop=False)(TEXT, QUESTION)
    assert len(result.answer) == 300_000 and result.answer[0] == 'a' and result.agreement == 2 / 3
    assert max(map(len, str(result.choice).splitlines())) < 200


def test_a_strategy_with_a_bug_is_a_failed_candidate():
    class Odd(Strategy):
        async def solve(self, tree, context, query):
            raise KeyError('a bug')

    with pytest.raises(ModelError, match='a bug') as caught:
        SRLM(strategy=Odd(answering('x'), Settings()), k=2)(TEXT, QUESTION)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(k=0),
        dict(k=-1),
        dict(k=True),
        dict(k='8'),
        dict(n_candidates=0),
        dict(candidate_temperature='hot'),
        dict(candidate_parallel=-2),
        dict(abstain_below=1.5),
        dict(direct_threshold=-1),
        dict(equivalent='exact'),
        dict(persistent=True),
        dict(nonsense=1),
        dict(strategy=Direct, recursion=False),
    ],
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(BadInput):
        SRLM('gpt-4o-mini', **wrong)


# --- the vote ---


def test_it_stops_as_soon_as_the_plurality_is_certain():
    async def model(messages, sample):
        if sample > 5:
            await asyncio.Event().wait()  # for ever
        return code('FINAL(len(context) and 42)') + '\n{"confidence": 90}'

    result = SRLM(model, env='local', first_look=False, k=8)(TEXT, QUESTION)
    assert (
        result.answer == '42'
        and [candidate.state for candidate in result.candidates] == ['answered'] * 5 + ['cancelled'] * 3
    )


def test_typed_answers_vote_by_value():
    lm = answering(code('FINAL([1, 2.0])'), code('FINAL("[1, 2]")'), code('FINAL([2, 1])'))
    result = SRLM(lm, k=3, early_stop=False)(TEXT, QUESTION)
    assert result.value in ([1, 2.0], '[1, 2]') and result.agreement == 2 / 3


def test_reports_of_confidence_are_no_part_of_an_answer():
    plain = SRLM(answering('42\n{"confidence": 90}'), strategy=Direct, k=2)(TEXT, QUESTION)
    tools = SRLM(answering('42\n\n{ "confidence": 90 }'), k=2, tool_calls=True)(TEXT, QUESTION)
    assert [result.answer for result in (plain, tools)] == ['42', '42'] and plain.candidates[0].confidences == (90.0,)
    kept = SRLM(answering('{"confidence": 90}'), strategy=Direct, k=2, confidence_elicitation=False)(
        TEXT, 'What does line 3 of the log say?'
    )
    assert kept.answer == '{"confidence": 90}'


def test_without_confidence_the_shortest_trace_wins_and_nothing_is_asked():
    lm = answering('I think long and hard about this.\nFINAL(42)', 'FINAL(42)', 'Hm.\nFINAL(42)')
    result = SRLM(lm, k=3, confidence_elicitation=False, early_stop=False)(TEXT, QUESTION)
    assert result.choice.winner.number == 2 and 'confidence' not in lm.requests[0]['messages'][0]['content']


def test_a_judge_joins_clusters_and_is_asked_once_a_pair():
    lm = answering(
        'FINAL(Paris)',
        'FINAL(the city of Paris)',
        'FINAL(Rome)',
        'FINAL(paris)',
        'FINAL(Rome!)',
        'FINAL(The {query} city)',
    )
    judge = ScriptedLM(lambda messages: '**Yes.**' if messages[0]['content'].count('aris') == 2 else 'No: Paris')
    result = SRLM(lm, k=6, judge=judge, early_stop=False)(TEXT, 'Where {one}?')
    assert len(judge.requests) == 6 and result.agreement == 1 / 2 and 'aris' in result.answer
    assert any(
        'The {query} city' in request['messages'][0]['content'] and 'Where {one}?' in request['messages'][0]['content']
        for request in judge.requests
    )
    assert result.usage.calls == 12 and result.by_model[judge.name].calls == 6


def test_a_judge_that_fails_joins_nothing():
    result = SRLM(answering('FINAL(a)', 'FINAL(b)', 'FINAL(a)'), k=3, judge=ScriptedLM([]), early_stop=False)(
        TEXT, QUESTION
    )
    assert result.answer == 'a' and any(
        'judge failed' in event['text'] for event in result.trace.events if event['type'] == 'notice'
    )


def test_a_relation_of_ones_own():
    close = lambda one, other: abs(float(one) - float(other)) < 1
    result = SRLM(
        answering('FINAL(10)', 'FINAL(30)', 'FINAL(10.5)'), k=3, equivalent=close, early_stop=False, first_look=False
    )(TEXT, QUESTION)
    assert result.agreement == 2 / 3 and result.answer in ('10', '10.5')


def test_abstaining_waits_until_agreement_is_certain():
    sure = code('FINAL(len(context) and 42)') + '\n{"confidence": 90}'
    lm = answering(*[sure] * 5, *[code('FINAL(len(context) and 7)')] * 3)
    assert SRLM(lm, k=8, candidate_parallel=1)(TEXT, QUESTION).usage.calls == 5
    abstained = SRLM(lm, k=8, candidate_parallel=1, abstain_below=0.7)(TEXT, QUESTION)
    assert (abstained.answer, abstained.stop_reason, abstained.usage.calls, abstained.agreement) == (
        None,
        'abstained',
        8,
        5 / 8,
    )


def test_candidates_that_never_looked_do_not_outvote_those_that_did():
    lm = answering('FINAL(42)', 'FINAL(42)', 'FINAL(42)', code('print(context)\nFINAL(7)'), 'FINAL(42)')
    result = SRLM(lm, k=5)(TEXT, QUESTION)
    assert (result.answer, result.choice.excluded, result.agreement) == ('7', [1, 2, 3, 5], 1 / 5)
    assert [candidate.looked for candidate in result.candidates] == [False, False, False, True, False]
    assert 'Candidates 1, 2, 3, 5 do not vote: they did not look at the context.' in result.choice.reason
    choice = next(event for event in result.trace.events if event['type'] == 'choice')
    assert [row[2] for row in choice['scoreboard']] == ['no', 'no', 'no', 'yes', 'no']
    assert SRLM(lm, k=5, only_looked=False)(TEXT, QUESTION).answer == '42'


def test_a_cell_that_fails_and_a_text_of_the_models_own_are_no_look():
    lm = ScriptedLM(
        lambda messages, sample: {
            1: 'FINAL(42)' if len(messages) > 3 else code('context.nonsense()'),
            2: code('llm_query("What is it?")\nFINAL(42)') if messages[0]['role'] == 'system' else '42',
            3: code('FINAL(search("Q1") and 7)'),
        }[sample]
    )
    result = SRLM(lm, k=3, tools=dict(search=lambda query: [query]))(TEXT, QUESTION)
    assert [candidate.looked for candidate in result.candidates] == [False, False, True] and result.answer == '7'


def test_only_strategies_with_cells_have_to_look():
    result = SRLM(answering('7', '42', '42'), strategy=Direct, k=3, early_stop=False)(TEXT, QUESTION)
    assert [candidate.looked for candidate in result.candidates] == [None] * 3 and result.answer == '42'


# --- other spellings, other strategies ---


def test_the_engines_spellings():
    server = answering('The answer is 42')
    backend = dict(
        backend='openai', backend_kwargs=dict(model_name=server), max_depth=1, max_budget=None, environment='local'
    )
    srlm = SRLM(
        direct_threshold=30,
        n_candidates=4,
        candidate_parallel=2,
        candidate_temperature=0.7,
        confidence_elicitation=True,
        **backend,
    )
    long = SRLM(
        direct_threshold=30,
        n_candidates=4,
        candidate_parallel=2,
        candidate_temperature=0.7,
        confidence_elicitation=True,
        **backend | dict(backend_kwargs=dict(model_name=answering('FINAL(42)'))),
    )
    assert srlm.completion('short', QUESTION).response == 'The answer is 42'
    completion = long.completion(TEXT * 10, QUESTION)
    assert (
        completion.response == '42'
        and completion.usage_summary.model_usage_summaries[completion.root_model].total_calls
        == completion.usage.calls
        >= 3
    )
    assert QUESTION in server.requests[0]['messages'][0]['content'] and len(server.requests) == 1


def test_the_question_may_stand_in_the_context():
    lm = answering('42\n{"confidence": 90}')
    result = SRLM(lm, strategy=Direct, k=2).completion('Context: ...\n\nQuestion: how many?')
    assert (
        result.answer == '42'
        and result.candidates[0].confidences == (90.0,)
        and prompts.CONFIDENCE_PROMPT in lm.requests[0]['messages'][0]['content']
    )
    assert SRLM(answering('42'), direct_threshold=1000, k=2).completion('Question: how many?').answer == '42'


def test_children_of_a_candidate_are_one_level_below_it():
    def model(messages, sample):
        system = messages[0]['content']
        if messages[-1]['content'].startswith('Question: The request') and 'leaf' in messages[-1]['content']:
            return 'FINAL(leaf)' if messages[0]['role'] == 'system' else 'leaf'
        assert 'confidence' in system
        return code('FINAL(rlm_query("leaf"))')

    result = SRLM(model, env='local', first_look=False, k=2, max_depth=2, early_stop=False)(TEXT, QUESTION)
    starts = [
        (event['run'].count('.'), event['depth']) for event in result.trace.events if event['type'] == 'run_start'
    ]
    assert Counter(starts) == {(0, 0): 1, (1, 0): 2, (2, 1): 2} and result.answer == 'leaf'
    children = [
        event['content']
        for event in result.trace.events
        if event['type'] == 'message' and event['role'] == 'system' and event['run'].count('.') == 2
    ]
    assert children and not any('confidence' in text for text in children)


def test_without_recursion_no_other_model_is_asked():
    lm = ScriptedLM(lambda messages: 'FINAL(42)' if len(messages) > 2 else code('llm_query("what?")'))
    result = SRLM(lm, k=2, recursion=False, max_depth=3, first_look=False)(TEXT, QUESTION)
    errors = [event['error'] for event in result.trace.events if event['type'] == 'cell']
    assert result.answer == '42' and all('no sub-calls in this run' in error for error in errors)
    assert not any(event['kind'] == 'subcall' for event in result.trace.events if event['type'] == 'call_start')
    assert 'llm_query' not in lm.requests[0]['messages'][0]['content']


def test_any_strategy_can_be_a_candidate():
    class Twice(Strategy):
        method = 'twice'

        async def solve(self, tree, context, query):
            run, answers = tree.journal.new_run(), []
            tree.journal.write(
                'run_start',
                run,
                parent=None,
                depth=0,
                method=self.method,
                model=self.lm.name,
                query=query,
                context=dict(type='str', chars=1, preview=''),
                settings={},
            )
            for _ in range(2):
                answers.append(
                    (await tree.ask(run, self.lm, [dict(role='user', content=query)], 'subcall', prompt=query)).text
                )
            return tree.finish(run, self.lm.name, query, 'final', answers[-1], 0.0)

    lm = answering('a', 'b', 'a')
    result = SRLM(strategy=Twice(lm, Settings()), k=3, early_stop=False)(TEXT, QUESTION)
    assert (result.answer, result.usage.calls, result.agreement) == ('a', 6, 2 / 3) and total(result) == result.usage
    assert sorted(request['params']['sample'] for request in lm.requests) == [1, 1, 2, 2, 3, 3]
    assert [one.run for one in result.candidates] == ['r1.1', 'r1.2', 'r1.3']


def test_srlm_can_be_a_candidate_of_srlm():
    result = SRLM(strategy=SRLM(answering('FINAL(42)'), k=2, early_stop=False), k=2, early_stop=False)(TEXT, QUESTION)
    assert (result.answer, result.usage.calls) == ('42', 4) and total(result) == result.usage
    assert {event['run'] for event in result.trace.events} == {
        'r1',
        'r1.1',
        'r1.2',
        'r1.1.1',
        'r1.1.2',
        'r1.2.1',
        'r1.2.2',
    }


def test_temperatures_one_for_each():
    lm = answering('FINAL(42)')
    SRLM(lm, k=3, candidate_temperature=[0, 0.5, 1.0], early_stop=False)(TEXT, QUESTION)
    assert sorted((request['params']['sample'], request['params']['temperature']) for request in lm.requests) == [
        (1, 0),
        (2, 0.5),
        (3, 1.0),
    ]


def test_prompts_of_ones_own_keep_their_braces():
    lm = answering('FINAL(42)')
    SRLM(lm, k=2, first_look=False, system_prompt='As JSON: {"a": {0}} {}', user_prologue='{confidence}')(
        TEXT, 'What is {x}?'
    )
    system, *_, user = (message['content'] for message in lm.requests[0]['messages'])
    assert (
        system == f'As JSON: {{"a": {{0}}}} {{}}\n\n{prompts.CONFIDENCE_PROMPT}'
        and '{confidence}' in user
        and 'What is {x}?' in user
    )


# --- the doors and the trace ---


def test_a_journal_file_holds_the_whole_vote(tmp_path):
    SRLM(answering('FINAL(42)\n{"confidence": 90}'), k=3, trace=tmp_path / 'vote.jsonl')(TEXT, QUESTION)
    events = Journal.read(tmp_path / 'vote.jsonl')
    choice = next(event for event in events if event['type'] == 'choice')
    assert (
        choice['winner'] == 1
        and len(choice['scoreboard']) == 3
        and events[-1]['type'] == 'run_end'
        and events[-1]['run'] == 'r1'
    )


def test_stream_and_coroutine_twins():
    srlm = SRLM(answering('FINAL(42)'), k=2)
    assert [event['answer'] for event in srlm.stream(TEXT, QUESTION) if event['type'] == 'run_end'][-1] == '42'
    assert asyncio.run(srlm.acall(TEXT, QUESTION)).answer == '42'


def test_it_shows_as_it_runs(capfd):
    SRLM(answering('FINAL(42)', 'FINAL(TypeError: no)'), k=3, verbose=True, early_stop=False)(TEXT, QUESTION)
    assert 'Candidate 2 does not vote' in capfd.readouterr().err


@pytest.mark.parametrize('as_instance', [False, True])
def test_a_planned_run_can_be_a_candidate(as_instance):
    from rlm.lambda_rlm import LambdaRLM

    def leaf(messages):
        return 'the code is 7' if 'code is 7' in messages[-1]['content'] else 'not found'

    text = 'Hay is dry. ' * 2000 + 'The code is 7.'
    settings = dict(task='general', context_window_chars=20_000)
    if as_instance:
        vote = SRLM(strategy=LambdaRLM(leaf, **settings), k=3)
    else:
        vote = SRLM(leaf, engine=LambdaRLM, k=3, **settings)
    result = vote(text, 'What is the code?')
    single = LambdaRLM(leaf, **settings)(text, 'What is the code?')
    assert (result.answer, result.agreement, single.usage.calls > 1) == (single.answer, 1.0, True)
    assert (
        2 * single.usage.calls <= result.usage.calls <= 3 * single.usage.calls
    )  # two that agree settle a vote of three; the third may be under way
