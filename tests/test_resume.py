"Replay and resume in hard cases: stopped and failed runs, code that is not deterministic, what must be given again."

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from rlm import Direct, LambdaRLM, Limits, LM, RLM, SRLM
from rlm.shell.environments import why_not
from rlm.base.errors import BadInput, BudgetExceeded, CallsExceeded, Cancelled, IterationsExceeded
from rlm.base.errors import LimitExceeded, ModelError, TimeExceeded
from rlm.models import Usage
from rlm.base.fingerprint import take_fingerprint
from rlm.replay import replay as rlm_replay
from rlm.runs.settings import Settings
from rlm.runs.strategy import Strategy
from rlm.trace import Journal, messages_of

TEXT, QUESTION = 'The walrus eats clams.\nThe seal eats fish.', 'What does the walrus eat?'


def cell(code):
    return f'```repl\n{code}\n```'


class Model:
    "Turns from a list, by the number of replies in the transcript; repeats any other question. Keeps what it is asked."

    __name__ = 'model'

    def __init__(self, *turns):
        self.turns, self.asked, self.lock = turns, [], threading.Lock()

    def __call__(self, messages, sample=0):
        with self.lock:
            self.asked.append(messages)
        if messages[0]['role'] != 'system':
            return self.repeat(messages[-1]['content'])
        return self.turns[sum(message['role'] == 'assistant' for message in messages)]

    def repeat(self, prompt):
        return f'Read: {prompt}'


def written(path):
    return Path(path).read_bytes().splitlines(keepends=True)


def cut_after(path, kind, count=1, **what):
    "A copy of a journal that ends after the n-th event of that kind."
    lines = written(path)
    places = [
        place
        for place, event in enumerate(map(json.loads, lines))
        if event['type'] == kind and all(event.get(name) == value for name, value in what.items())
    ]
    cut = Path(path).with_name(f'cut_{kind}_{count}_{len(lines)}.jsonl')
    cut.write_bytes(b''.join(lines[: places[count - 1] + 1]))
    return cut


def wait_for(path):
    "Wait until the run that was left has given its journal free."
    for _ in range(1000):
        try:
            return Journal(path, append=True).close()
        except BadInput:
            threading.Event().wait(0.02)


def rlm(model, path, **settings):
    # The scripts here count the model's turns by the messages.
    return RLM(model, **dict(env='local', first_look=False, trace=path) | settings)


# These journals are our own: their cells may run where no journal could let them run by itself.
def resume(strategy, path, *context, **changes):
    return strategy.resume(path, *context, **dict(env='local') | changes)


def replay(path, *context, **given):
    return rlm_replay(path, *context, **(dict(env='local') if ran_cells(path) else {}) | given)


def ran_cells(path):
    return any(
        (event.get('settings') or {}).get('environment_type')
        for event in (path.events if isinstance(path, Journal) else Journal.read(path))
    )


# --- limits: what was spent counts, and nothing is paid twice ---

THREE = (
    cell('a = llm_query_batched(["one", "two", "three"])\nprint(a)'),
    cell('b = llm_query("four")\nprint(b)'),
    cell('FINAL(f"{len(a)} {b}")'),
)


@pytest.mark.parametrize(
    'limit, raised, kind',
    [
        (dict(max_calls=1), dict(max_calls=9), CallsExceeded),
        (dict(max_calls=3), dict(max_calls=9), CallsExceeded),
        (dict(max_calls=5), dict(max_calls=None), CallsExceeded),
        (dict(max_calls=6), dict(max_calls=7), CallsExceeded),
        (dict(max_tokens=1500), dict(max_tokens=100_000), LimitExceeded),
    ],
)
def test_a_limit_that_is_raised(tmp_path, limit, raised, kind):
    whole = rlm(Model(*THREE), tmp_path / 'whole.jsonl')(TEXT, QUESTION)
    with pytest.raises(kind):
        rlm(Model(*THREE), tmp_path / 'run.jsonl', **limit)(TEXT, QUESTION)
    known = sum(event['type'] == 'reply' and not event['error'] for event in Journal.read(tmp_path / 'run.jsonl'))
    model = Model(*THREE)
    result = resume(RLM, tmp_path / 'run.jsonl', model=model, **raised)
    assert (result.answer, result.usage, result.differences) == (whole.answer, whole.usage, ())
    assert len(model.asked) == whole.usage.calls - known
    assert not replay(tmp_path / 'run.jsonl').differences
    assert resume(RLM, tmp_path / 'run.jsonl').answer == whole.answer


def test_a_limit_that_is_not_raised_ends_it_again(tmp_path):
    with pytest.raises(CallsExceeded):
        rlm(Model(*THREE), tmp_path / 'run.jsonl', max_calls=3)(TEXT, QUESTION)
    for _ in range(2):
        model = Model(*THREE)
        with pytest.raises(CallsExceeded) as caught:
            resume(RLM, tmp_path / 'run.jsonl', model=model)
        assert model.asked == [] and caught.value.result.usage.calls == 3
    assert resume(RLM, tmp_path / 'run.jsonl', model=Model(*THREE), max_calls=7).answer == '3 Read: four'


def test_a_changed_limit_holds_for_the_resumption_after_it(tmp_path):
    with pytest.raises(CallsExceeded):
        rlm(Model(*THREE), tmp_path / 'run.jsonl', max_calls=1)(TEXT, QUESTION)
    with pytest.raises(CallsExceeded, match='max_calls=5'):
        resume(RLM, tmp_path / 'run.jsonl', model=Model(*THREE), max_calls=5)
    with pytest.raises(CallsExceeded, match='max_calls=5'):
        resume(RLM, tmp_path / 'run.jsonl', model=Model(*THREE))


def test_money_counts_from_the_start(tmp_path):
    priced = lambda model: LM(model, input_cost_per_token=1e-6, output_cost_per_token=1e-6)
    whole = rlm(
        priced(Model(*THREE)),
        tmp_path / 'whole.jsonl',
        sampling_args=dict(max_tokens=100),
        sub_sampling_args=dict(max_tokens=100),
    )(TEXT, QUESTION)
    limit = whole.usage.cost * 0.6
    with pytest.raises(BudgetExceeded):
        rlm(
            priced(Model(*THREE)),
            tmp_path / 'run.jsonl',
            max_cost=limit,
            sampling_args=dict(max_tokens=100),
            sub_sampling_args=dict(max_tokens=100),
        )(TEXT, QUESTION)
    with pytest.raises(BudgetExceeded):
        resume(RLM, tmp_path / 'run.jsonl', model=priced(Model(*THREE)))
    result = resume(RLM, tmp_path / 'run.jsonl', model=priced(Model(*THREE)), max_cost=1.0)
    assert result.answer == whole.answer and result.usage.cost == pytest.approx(whole.usage.cost)


def test_seconds_count_from_the_start(tmp_path):
    waiting = Model(*THREE)
    waiting.repeat = lambda prompt: threading.Event().wait(20)
    with pytest.raises(TimeExceeded):
        rlm(waiting, tmp_path / 'run.jsonl', max_seconds=0.5)(TEXT, QUESTION)
    with pytest.raises(TimeExceeded):
        resume(RLM, tmp_path / 'run.jsonl', model=Model(*THREE))
    model = Model(*THREE)
    result = resume(RLM, tmp_path / 'run.jsonl', model=model, max_seconds=600)
    assert result.answer == '3 Read: four' and len(model.asked) == 7 - 1 and result.seconds > 0.5


def test_more_turns(tmp_path):
    slow = (cell('print("one")'), cell('print("two")'), cell('print("three")'), 'FINAL(done)')
    with pytest.raises(IterationsExceeded):
        rlm(Model(*slow), tmp_path / 'run.jsonl', max_iterations=2)(TEXT, QUESTION)
    model = Model(*slow)
    result = resume(RLM, tmp_path / 'run.jsonl', model=model, max_iterations=8)
    # The last turn is not the last any more, so the run leaves the record there: the transcript is that of more turns.
    assert result.answer == 'done' and len(model.asked) == 3
    assert result.history == rlm(Model(*slow), tmp_path / 'whole.jsonl')(TEXT, QUESTION).history
    assert messages_of(Journal.read(tmp_path / 'run.jsonl')) == result.history
    assert Strategy.resume(tmp_path / 'run.jsonl').answer == 'done'


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(max_output_chars=60),
        dict(preview_chars=30),
        dict(system_prompt='Be brief.'),
        dict(sub_sampling_args=dict(max_tokens=9)),
        dict(limits=Limits(max_calls=9, max_iterations=8)),
    ],
)
def test_changed_settings_of_a_resumption_hold_in_a_replay(tmp_path, changes):
    slow = (
        cell('print("one " * 99)'),
        cell('print(llm_query("two") * 99)'),
        cell('print("three " * 99)'),
        'FINAL(done)',
    )
    path = tmp_path / 'run.jsonl'
    with pytest.raises(IterationsExceeded):
        rlm(Model(*slow), path, max_iterations=2)(TEXT, QUESTION)
    more = {} if 'limits' in changes else dict(max_iterations=8)
    result = resume(RLM, path, model=Model(*slow), **changes | more)
    again = replay(path)
    assert (again.differences, again.result.answer, again.result.usage) == ([], 'done', result.usage)
    assert again.result.by_model == result.by_model
    # A journal of an older version did not hold the changes: it is read, and says where it differs.
    lines = [json.loads(line) for line in written(path)]
    for event in lines:
        event.pop('changes', None)
    path.write_text(''.join(json.dumps(event) + '\n' for event in lines))
    assert replay(path).differences and resume(RLM, path).answer == 'done'


def test_a_larger_vote_of_a_resumption_holds_in_a_replay(tmp_path):
    whole = SRLM(voting, k=3, env='local', first_look=False, early_stop=False, trace=tmp_path / 'run.jsonl')(
        TEXT, QUESTION
    )
    cut = cut_after(tmp_path / 'run.jsonl', 'reply', 3)
    result = resume(SRLM, cut, model=voting, k=5)
    again = replay(cut)
    assert (len(result.candidates), len(again.result.candidates), again.differences) == (5, 5, [])
    assert len(replay(tmp_path / 'run.jsonl').result.candidates) == len(whole.candidates) == 3


def test_a_run_that_left_its_record_and_was_killed_then(tmp_path):
    slow = (cell('print("one")'), cell('print("two")'), cell('print("three")'), 'FINAL(done)')
    with pytest.raises(IterationsExceeded):
        rlm(Model(*slow), tmp_path / 'run.jsonl', max_iterations=2)(TEXT, QUESTION)
    resume(RLM, tmp_path / 'run.jsonl', model=Model(*slow), max_iterations=8)
    lines, begun = (
        written(tmp_path / 'run.jsonl'),
        next(event['seq'] for event in Journal.read(tmp_path / 'run.jsonl') if event['type'] == 'resume'),
    )
    for end in range(begun + 4, len(lines) + 1, 3):
        (tmp_path / 'again.jsonl').write_bytes(b''.join(lines[:end]))
        known = sum(json.loads(line)['type'] == 'reply' for line in lines[begun:end])
        model = Model(*slow)
        assert resume(RLM, tmp_path / 'again.jsonl', model=model).answer == 'done'
        assert len(model.asked) == 3 - known, end


def test_ctrl_c_and_on_again(tmp_path):
    running, model = threading.Event(), Model(*THREE)

    def wait(prompt):
        running.set()
        threading.Event().wait(20)

    model.repeat = wait

    async def stopped():
        task = asyncio.ensure_future(rlm(model, tmp_path / 'run.jsonl').acall(TEXT, QUESTION))
        await asyncio.to_thread(running.wait, 20)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, Cancelled)):
            await task

    asyncio.run(stopped())
    wait_for(tmp_path / 'run.jsonl')
    second = Model(*THREE)
    result = asyncio.run(RLM.aresume(tmp_path / 'run.jsonl', model=second))
    assert result.answer == '3 Read: four' and len(second.asked) == 6
    assert not replay(tmp_path / 'run.jsonl').differences


# --- replays of what was stopped ---


def stopped_by(path, **settings):
    "A run of THREE that was stopped; the exception."
    with pytest.raises((LimitExceeded, ModelError)) as caught:
        rlm(settings.pop('model', Model(*THREE)), path, **settings)(TEXT, QUESTION)
    return caught.value


@pytest.mark.parametrize(
    'limit',
    [
        dict(max_calls=0),
        dict(max_calls=1),
        dict(max_calls=3),
        dict(max_calls=5),
        dict(max_tokens=1500),
        dict(max_iterations=2),
        dict(max_errors=1),
    ],
)
def test_a_run_that_a_limit_stopped_is_told_up_to_there(tmp_path, limit):
    turns = (cell('1/0'), *THREE) if 'max_errors' in limit else THREE
    error = stopped_by(tmp_path / 'run.jsonl', model=Model(*turns), **limit)
    told = replay(tmp_path / 'run.jsonl')
    assert told.differences == [] and told.is_finished
    assert (told.result.stop_reason, told.result.answer, told.result.usage) == (
        error.result.stop_reason,
        error.result.answer,
        error.result.usage,
    )


def test_a_run_whose_time_was_over_is_told_up_to_there(tmp_path):
    waiting = Model(*THREE)
    waiting.repeat = lambda prompt: threading.Event().wait(20)
    for path, model, settings in (
        ('call', waiting, dict(max_seconds=0.4)),
        ('cell', Model(cell('while True: pass')), dict(max_seconds=0.4)),
        ('none', Model(*THREE), dict(max_seconds=0)),
    ):
        stopped_by(tmp_path / f'{path}.jsonl', model=model, **settings)
        told = replay(tmp_path / f'{path}.jsonl')
        assert (told.differences, told.result.stop_reason) == ([], 'time'), path


def test_a_journal_in_memory_can_be_replayed():
    result = RLM(Model(*THREE), env='local', first_look=False)(TEXT, QUESTION)
    told = replay(result.trace, TEXT)
    assert told.differences == [] and told.result.answer == result.answer
    with pytest.raises(BadInput, match='does not hold the context'):
        replay(result.trace)


def test_a_vote_is_told_with_its_choice(tmp_path):
    def model(messages, sample):
        return (
            f'FINAL({42 if sample != 2 else 41})' if len(messages) > 3 else cell(f'print({sample})')
        ) + f'\n{{"confidence": {50 + sample}}}'

    whole = SRLM(model, k=5, env='local', first_look=False, trace=tmp_path / 'run.jsonl')(TEXT, QUESTION)
    told = replay(tmp_path / 'run.jsonl')
    assert told.differences == [] and told.result.choice.winner.number == whole.choice.winner.number


# --- failures ---


def test_calls_that_failed_are_told_as_they_were(tmp_path):
    class Stumbling(Model):
        def repeat(self, prompt):
            if prompt == 'two':
                raise ModelError('No.', 'model', 400)
            return super().repeat(prompt)

    whole = rlm(Stumbling(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    path, model = cut_after(tmp_path / 'run.jsonl', 'cell'), Stumbling(*THREE)
    result = resume(RLM, path, model=model)
    assert (result.answer, result.differences, len(model.asked)) == (whole.answer, (), 3)
    assert not replay(tmp_path / 'run.jsonl').differences


def test_empty_replies_are_told_as_they_were(tmp_path):
    turns = ('', cell('print("after all")'), 'FINAL(done)')

    class Silent(Model):
        def __call__(self, messages):
            self.asked.append(messages)
            return turns[
                sum('Your reply was empty' in message['content'] for message in messages)
                + sum(message['role'] == 'assistant' for message in messages)
            ]

    whole = rlm(Silent(), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    assert not replay(tmp_path / 'run.jsonl').differences
    model = Silent()
    result = resume(RLM, cut_after(tmp_path / 'run.jsonl', 'cell'), model=model)
    assert (result.answer, result.usage, len(model.asked)) == (whole.answer, whole.usage, 1)


def test_a_run_that_failed_by_its_model_is_tried_again(tmp_path):
    class Broken(Model):
        def __call__(self, messages):
            if len(messages) > 4:
                raise ModelError('The server is gone.', 'model', 401)
            return super().__call__(messages)

    with pytest.raises(ModelError):
        rlm(Broken(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    model = Model(*THREE)
    assert resume(RLM, tmp_path / 'run.jsonl', model=model).answer == '3 Read: four' and len(model.asked) == 1
    assert not replay(tmp_path / 'run.jsonl').differences


def test_a_leaf_that_failed_is_asked_again(tmp_path):
    text = '\n\n'.join(f'Letter {number}. ' + 'The weather is fine here. ' * 20 for number in range(20))

    class Reader(Model):
        broken = False

        def __call__(self, messages):
            self.asked.append(messages)
            if self.broken and 'Letter 19.' in messages[-1]['content']:
                raise ModelError('Refused.', 'model', 400)
            return 'All is well.'

    reader, whole = Reader(), None
    whole = LambdaRLM(reader, task='summarise', window=900, trace=tmp_path / 'whole.jsonl')(text, 'What happens?')
    reader.broken = True
    with pytest.raises(ModelError):
        LambdaRLM(reader, task='summarise', window=900, trace=tmp_path / 'run.jsonl')(text, 'What happens?')
    known, model = (
        sum(event['type'] == 'reply' and not event['error'] for event in Journal.read(tmp_path / 'run.jsonl')),
        Reader(),
    )
    assert LambdaRLM.resume(tmp_path / 'run.jsonl', model=model).answer == whole.answer
    assert len(model.asked) == whole.usage.calls - known


# --- code that is not the same each time ---


def test_other_output_is_named_and_the_record_stays(tmp_path):
    turns = (
        cell('import time\nnow = time.perf_counter_ns()\nprint(now)'),
        cell('said = llm_query(f"At {now}")\nprint(said)'),
        cell('FINAL("done")'),
        'FINAL(done)',
    )
    rlm(Model(*turns), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    path, model = cut_after(tmp_path / 'run.jsonl', 'cell', 2), Model(*turns)
    recorded = [event['stdout'] for event in Journal.read(path) if event['type'] == 'cell']
    result = resume(RLM, path, model=model)
    # The prompt has another time in it, and is answered from the record all the same.
    assert len(model.asked) == 1 and recorded[0].strip() in model.asked[0][3]['content']
    assert [one.place for one in result.differences] == ['cell 1, stdout', 'cell 2, prompt of a sub-call']
    assert [event['text'] for event in Journal.read(path) if event.get('difference')] == [
        f'Not as recorded: {one}' for one in result.differences
    ]
    assert 'cell 1, stdout' in str(replay(tmp_path / 'run.jsonl'))


def test_sets_come_in_any_order(tmp_path):
    turns = (
        cell(
            'names = {"Ada", "Bob", "Cem", "Dov", "Eli"}\n'
            'said = dict(zip(names, llm_query_batched([f"Who is {name}?" for name in names])))'
        ),
        cell('FINAL(said["Cem"])'),
    )
    script = f'''
import sys
from tests.test_resume import Model, RLM, TEXT, QUESTION
print(RLM(Model(*{turns!r}), env='local', first_look=False, trace=sys.argv[1])(TEXT, QUESTION).answer)
'''
    # Another process has another order of sets.
    for seed in ('1', '2'):
        path = tmp_path / f'{seed}.jsonl'
        subprocess.run(
            [sys.executable, '-c', script, path],
            check=True,
            timeout=600,
            cwd=Path(__file__).parent.parent,
            env=dict(os.environ, PYTHONHASHSEED=seed),
        )
        model = Model(*turns)
        assert resume(RLM, cut_after(path, 'cell'), model=model).answer == 'Read: Who is Cem?' and len(model.asked) == 1


def test_children_are_found_by_what_they_are_asked(tmp_path):
    turns = (
        cell(
            'import random\nparts = ["one", "two", "three"]\nrandom.shuffle(parts)\n'
            'told = dict(zip(parts, rlm_query_batched(parts)))\nprint(len(told))'
        ),
        cell('FINAL(told["two"])'),
    )

    class Family(Model):
        def __call__(self, messages):
            if len(messages) > 1 and 'Question: The request' in messages[1]['content']:
                self.asked.append(messages)
                return 'FINAL_VAR(context)' if len(messages) > 3 else cell('print(llm_query(context))')
            return super().__call__(messages)

    whole = rlm(Family(*turns), tmp_path / 'run.jsonl', max_depth=2)(TEXT, QUESTION)
    assert whole.answer == 'two'
    for count, kind in ((1, 'cell'), (3, 'cell'), (4, 'cell'), (4, 'reply'), (6, 'reply'), (9, 'reply')):
        path, model = cut_after(tmp_path / 'run.jsonl', kind, count), Family(*turns)
        known = sum(event['type'] == 'reply' for event in Journal.read(path))
        result = resume(RLM, path, model=model)
        assert (result.answer, result.usage) == ('two', whole.usage) and len(model.asked) == whole.usage.calls - known


# --- the ways of working ---


def act(code, name='run_repl', number=1):
    return dict(
        text='', tool_calls=[dict(id=f'call_{number}', name=name, arguments=json.dumps(dict(python_code=code)))]
    )


def test_tool_calls(tmp_path):
    turns = (act('a = llm_query_batched(["one", "two"])\na', number=1), act('len(a)', number=2), 'Two were read.')
    whole = rlm(Model(*turns), tmp_path / 'run.jsonl', tool_calls=True)(TEXT, QUESTION)
    for lines in range(2, len(written(tmp_path / 'run.jsonl'))):
        path, model = tmp_path / f'cut_{lines}.jsonl', Model(*turns)
        path.write_bytes(b''.join(written(tmp_path / 'run.jsonl')[:lines]))
        known = sum(event['type'] == 'reply' for event in Journal.read(path))
        result = resume(RLM, path, model=model)
        assert (result.answer, result.usage, result.history, len(model.asked)) == (
            whole.answer,
            whole.usage,
            whole.history,
            whole.usage.calls - known,
        )
    assert not replay(tmp_path / 'run.jsonl').differences


def test_thinking_goes_back_with_the_tool_calls_after_a_resumption(tmp_path):
    asked = []

    def model(messages, tools=None):
        asked.append(messages)
        done = sum(message['role'] == 'tool' for message in messages)
        call = dict(id=f'c{done}', name='run_repl', arguments='{"python_code": "1 + 1"}')
        return 'Two.' if done > 1 else dict(tool_calls=[call], reasoning_content=f'Thought {done}.')

    path = tmp_path / 'a.jsonl'
    rlm(model, path, tool_calls=True)(TEXT, QUESTION)
    told = [message.get('reasoning_content') for message in asked[-1]]
    assert [thought for thought in told if thought] == ['Thought 0.', 'Thought 1.']
    RLM.resume(cut_after(path, 'reply', 2), model=model)
    assert [message.get('reasoning_content') for message in asked[-1]] == told
    assert rlm_replay(path).result.answer == 'Two.'


def test_compaction(tmp_path):
    class Long(Model):
        def __call__(self, messages):
            self.asked.append(messages)
            if 'about to be shortened' in messages[-1]['content']:
                return 'So far: one thing.'
            if 'Earlier turns were' in messages[-1]['content']:
                return 'FINAL(short)'
            return cell(f'print("{"much " * 120}")')

    whole = rlm(Long(), tmp_path / 'run.jsonl', compaction=True, context_window=3000, compaction_threshold_pct=0.5)(
        TEXT, QUESTION
    )
    assert any(event.get('reset') for event in whole.trace.events)
    for lines in range(2, len(written(tmp_path / 'run.jsonl')), 2):
        path, model = tmp_path / f'cut_{lines}.jsonl', Long()
        path.write_bytes(b''.join(written(tmp_path / 'run.jsonl')[:lines]))
        known = sum(event['type'] == 'reply' for event in Journal.read(path))
        result = resume(RLM, path, model=model)
        assert (result.answer, result.history, len(model.asked)) == (
            whole.answer,
            whole.history,
            whole.usage.calls - known,
        )
    assert not replay(tmp_path / 'run.jsonl').differences


def test_direct(tmp_path):
    model = lambda messages: 'clams'
    whole = Direct(model, trace=tmp_path / 'run.jsonl', sampling_args=dict(temperature=0.1))(TEXT, QUESTION)
    path = cut_after(tmp_path / 'run.jsonl', 'reply')
    refusing = lambda messages: pytest.fail('asked again')
    assert Direct.resume(path, model=refusing).answer == whole.answer
    assert Direct.resume(cut_after(tmp_path / 'run.jsonl', 'call_start'), model=model).answer == whole.answer
    assert not replay(tmp_path / 'run.jsonl').differences
    assert [event['sampling'] for event in Journal.read(path) if event['type'] == 'reply'] == [dict(temperature=0.1)]


def test_a_vote_that_was_over_is_not_asked_for_more(tmp_path):
    "Killed after the vote had stopped its last candidates: they ask nobody any more."
    held = threading.Event()

    def model(messages, sample):
        if sample == 4:
            held.wait(20)
        return ('FINAL(42)' if len(messages) > 3 else cell('print(context)')) + '\n{"confidence": 90}'

    whole = SRLM(model, k=4, env='local', first_look=False, trace=tmp_path / 'run.jsonl')(TEXT, QUESTION)
    held.set()
    assert whole.answer == '42' and whole.candidates[3].state == 'cancelled'
    for kind in ('notice', 'choice'):
        refusing = lambda messages, sample: pytest.fail(f'candidate {sample} asked again')
        result = resume(SRLM, cut_after(tmp_path / 'run.jsonl', kind), model=refusing)
        assert (result.answer, result.choice.winner.number) == ('42', whole.choice.winner.number)
    assert not replay(tmp_path / 'run.jsonl').differences


def test_candidates_keep_their_numbers_and_temperatures(tmp_path):
    def model(messages, sample, temperature):
        return f'FINAL({sample} at {temperature})' if len(messages) > 3 else cell('print(1)')

    made = lambda path: SRLM(
        model,
        k=3,
        env='local',
        first_look=False,
        candidate_temperature=[0.1, 0.5, 0.9],
        early_stop=False,
        trace=path,
    )
    whole = made(tmp_path / 'run.jsonl')(TEXT, QUESTION)
    asked = Counter()

    def counting(messages, sample, temperature):
        asked[sample] += 1
        return model(messages, sample, temperature)

    path = cut_after(tmp_path / 'run.jsonl', 'reply', 4)
    known = Counter(event['sampling']['sample'] for event in Journal.read(path) if event['type'] == 'reply')
    result = resume(SRLM, path, model=counting)
    assert [candidate.answer for candidate in result.candidates] == [candidate.answer for candidate in whole.candidates]
    assert [candidate.usage for candidate in result.candidates] == [candidate.usage for candidate in whole.candidates]
    assert asked == Counter({1: 2, 2: 2, 3: 2}) - known


# --- what must be given, and what is refused ---


def test_another_context_is_refused(tmp_path):
    rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    path = cut_after(tmp_path / 'run.jsonl', 'cell')
    before = path.read_bytes()
    with pytest.raises(BadInput, match='is not what the run was about'):
        resume(RLM, path, TEXT + ' ', model=Model(*THREE))
    with pytest.raises(BadInput, match='is not what the run was about'):
        replay(path, [TEXT])
    assert path.read_bytes() == before


def test_a_context_that_is_long_or_no_data_must_be_given(tmp_path):
    class Zoo:
        def __str__(self):
            return 'walrus, seal'

        def __len__(self):
            return 2

    for context, about in (('long ' * 300_000, 'a str of 1,500,000 characters'), (Zoo(), 'a Zoo')):
        path = tmp_path / f'{type(context).__name__}.jsonl'
        whole = rlm(Model(*THREE), path)(context, QUESTION)
        assert path.stat().st_size < 100_000
        path = cut_after(path, 'cell')
        with pytest.raises(BadInput, match=f'does not hold the context \\({about}'):
            resume(RLM, path, model=Model(*THREE))
        assert resume(RLM, path, context, model=Model(*THREE)).answer == whole.answer


@pytest.mark.parametrize('context', ['a\r\nb\ud800c', ['a', 'b'], dict(a=[1, 2.5, None, True]), dict(a='text')])
def test_a_short_context_is_in_the_journal(tmp_path, context):
    turns = (cell('print(1)'), cell('FINAL(repr(context))'))
    whole = rlm(Model(*turns), tmp_path / 'run.jsonl')(context, QUESTION)
    assert (
        resume(RLM, cut_after(tmp_path / 'run.jsonl', 'cell'), model=Model(*turns)).answer
        == whole.answer
        == repr(context)
    )


@pytest.mark.parametrize('context', [('a', 'b'), {1: 'a'}, dict(key='sk-0123456789abcdef0123')])
def test_a_context_that_json_would_change_is_not(tmp_path, context):
    rlm(Model('FINAL(1)'), tmp_path / 'run.jsonl')(context, QUESTION)
    assert not any(event['type'] == 'context' for event in Journal.read(tmp_path / 'run.jsonl'))
    assert '0123456789abcdef' not in (tmp_path / 'run.jsonl').read_text()


def changed_start(path, change):
    "The journal, with other settings at its start."
    start, *rest = written(path)
    event = json.loads(start)
    change(event['settings'])
    path.write_bytes(json.dumps(event).encode() + b'\n' + b''.join(rest))


def test_a_journal_of_another_version_says_so(tmp_path):
    turns = (cell('import time\nprint(time.perf_counter_ns())'), 'FINAL(1)')
    for name in ('clock', 'strange'):
        rlm(Model(*turns), tmp_path / f'{name}.jsonl')(TEXT, QUESTION)
    changed_start(tmp_path / 'clock.jsonl', lambda settings: settings.update(version='99.1'))
    assert 'rlm 99.1 wrote the journal, and this is rlm' in str(replay(tmp_path / 'clock.jsonl'))
    assert 'rlm 99.1' not in str(replay(tmp_path / 'strange.jsonl'))
    changed_start(
        tmp_path / 'strange.jsonl',
        lambda settings: settings.update(version='99.1') or settings['recipe']['settings'].update(telepathy=True),
    )
    with pytest.raises(BadInput, match=r'telepathy= is not a setting.*rlm 99\.1 wrote the journal'):
        replay(tmp_path / 'strange.jsonl')


def test_what_is_no_journal(tmp_path):
    rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    lines, path = written(tmp_path / 'run.jsonl'), tmp_path / 'bad.jsonl'
    cases = {
        b'Dear diary,\nnothing.\n': 'is not a journal of a run',
        b'': 'holds no run',
        b'\x00\xff' * 100: 'is not a journal of a run',
        b'{"a": 1}\n': 'is not a journal of a run',
        b''.join(lines[:5])
        + lines[5][:30]
        + b'\n'
        + b''.join(lines[6:]): 'line 6 is not an event of a journal.*cut it before that line',
        b''.join(lines + lines): 'more than one journal',
    }
    for content, problem in cases.items():
        for act in (replay, RLM.resume):
            path.write_bytes(content)
            with pytest.raises(BadInput, match=problem):
                act(path)
            assert path.read_bytes() == content


def test_keys_are_never_written(tmp_path):
    key = 'never-to-be-seen-9876543210'
    model = LM(
        Model(*THREE),
        api_key=key,
        extra_headers=dict(Authorization=f'Bearer {key}'),
        api_base=f'http://user:{key}@localhost',
    )
    rlm(model, tmp_path / 'run.jsonl', sampling_args=dict(extra_headers={'X-Api-Key': key}))(TEXT, QUESTION)
    assert key not in (tmp_path / 'run.jsonl').read_text()


def test_a_persistent_session(tmp_path):
    "Its first question is a run like any other; for a later one the shell is gone."
    whole = rlm(Model(*THREE), None)(TEXT, QUESTION)
    with rlm(Model(*THREE), tmp_path / 'runs', persistent=True) as session:
        first = session(TEXT, QUESTION).trace.path
        session.lm = LM(Model(cell('print(len(a))'), 'FINAL(0)'))
        second = session.completion(None, 'How many were read?').trace.path
    model = Model(*THREE)
    assert (
        RLM.resume(cut_after(first, 'cell', 2), model=model, env='local').answer == whole.answer
        and len(model.asked) == 1
    )
    assert str(rlm_replay(first, env='local')) == 'the same as recorded'
    for act in (lambda: RLM.resume(cut_after(second, 'cell'), model=Model(*THREE)), lambda: replay(second)):
        with pytest.raises(BadInput, match='question 2 of a persistent session; .* ask again in a new session'):
            act()
    assert RLM.resume(second).answer == '0'


def test_tools_must_be_given_again(tmp_path):
    turns = (cell('found = look("walrus")\nprint(found)'), cell('FINAL(found)'))
    tools = dict(look=lambda name: f'{name}: 12')
    rlm(Model(*turns), tmp_path / 'run.jsonl', tools=tools)(TEXT, QUESTION)
    with pytest.raises(BadInput, match='setting tools held the function'):
        resume(RLM, cut_after(tmp_path / 'run.jsonl', 'cell'), model=Model(*turns))
    assert (
        resume(RLM, cut_after(tmp_path / 'run.jsonl', 'cell'), model=Model(*turns), tools=tools).answer == 'walrus: 12'
    )
    assert not replay(tmp_path / 'run.jsonl', tools=tools).differences


def test_another_model_goes_on(tmp_path):
    rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)

    def other(messages):
        return 'FINAL(from another one)'

    result = resume(RLM, cut_after(tmp_path / 'run.jsonl', 'turn_end', 1), model=other)
    assert result.answer == 'from another one' and {name: used.calls for name, used in result.by_model.items()} == dict(
        model=4, other=1
    )


def test_words_that_changed_do_not_pay_again(tmp_path):
    rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    model = Model(*THREE)
    result = resume(RLM, cut_after(tmp_path / 'run.jsonl', 'turn_end', 2), model=model, system_prompt='Be brief.')
    assert result.answer == '3 Read: four' and len(model.asked) == 1 and model.asked[0][0]['content'] != 'Be brief.'
    assert [one.place for one in result.differences] == ['message 1 (system)']


def test_a_journal_of_two_runs_goes_on_with_the_last(tmp_path):
    with Journal(tmp_path / 'run.jsonl') as journal:
        first = RLM(Model('FINAL(first)'), env='local', first_look=False, trace=journal)(TEXT, QUESTION)
        RLM(Model(*THREE), env='local', first_look=False, trace=journal, keep_context=10_000)('Another text.', QUESTION)
    assert first.answer == 'first'
    model = Model(*THREE)
    result = resume(RLM, cut_after(tmp_path / 'run.jsonl', 'turn_end', 2), model=model)
    assert (result.answer, result.usage.calls, len(model.asked)) == ('3 Read: four', 7, 3)


def test_what_is_told_again_reaches_those_who_listen(tmp_path):
    rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    events, turns, calls = [], [], []
    resume(
        RLM,
        cut_after(tmp_path / 'run.jsonl', 'turn_end', 2),
        model=Model(*THREE),
        on_event=events.append,
        on_iteration=lambda turn, event: turns.append(turn),
        on_subcall_complete=lambda *told: calls.append(told),
    )
    assert turns == [1, 2, 3] and len(calls) == 4
    assert [event['type'] for event in events].count('run_start') == 1 and events[-1]['type'] == 'run_end'


def voting(messages, sample, temperature=None):
    "Two of three say the same; the answers are objects."
    if messages[0]['role'] != 'system':
        return 'NO'
    return (
        cell('FINAL({"walrus": 3})' if sample == 2 else 'FINAL([42, (1, "clams")])') + f'\n{{"confidence": 9{sample}}}'
    )


def same_result(first, second):
    "Whether two results are the same in all but the objects that they refer to."
    assert type(first) is type(second)
    for part in fields(first):
        one, other = getattr(first, part.name), getattr(second, part.name)
        if part.name == 'choice':
            assert (str(one), vars(one)) == (str(other), vars(other))
        elif part.name not in ('trace', 'differences', 'plan'):
            assert one == other, part.name
    assert first.history == second.history and second.differences == ()


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(early_stop=False, judge=voting),
        dict(abstain_below=0.9, early_stop=False),
        dict(direct_threshold=1000),
        dict(engine=Direct),
        dict(confidence_elicitation=False, k=4),
    ],
)
def test_a_finished_vote_is_read_back_whole(tmp_path, settings):
    model = Model() if settings.keys() & {'engine', 'direct_threshold'} else voting
    engine = {} if 'engine' in settings else dict(env='local')
    whole = SRLM(model, **dict(k=3) | settings | engine, trace=tmp_path / 'run.jsonl')(TEXT, QUESTION)
    written_then = (tmp_path / 'run.jsonl').read_bytes()
    for kind in (SRLM, Strategy):
        same_result(whole, kind.resume(tmp_path / 'run.jsonl'))
    assert (tmp_path / 'run.jsonl').read_bytes() == written_then
    if model is voting and whole.answer:
        assert whole.value == [42, (1, 'clams')]


def guessing(messages, sample, temperature=None):
    "Candidates 1 to 3 agree and never look, 4 and 5 do."
    return 'FINAL(42)' if sample < 4 else cell('FINAL(len(context) and 7)')


def as_written_before(path, old):
    "Write a journal anew as a version without `only_looked` and with one temperature for all wrote it."
    events = Journal.read(path)
    for event in events:
        if event['type'] == 'run_start' and event['run'] == 'r1':
            event['settings'].pop('only_looked')
            event['settings']['candidate_temperature'] = 0.7
            for name in ('only_looked', 'candidate_temperature'):
                event['settings']['recipe']['settings'].pop(name)
        if event['type'] == 'choice':
            event['scoreboard'] = [row[:2] + row[3:] for row in event['scoreboard']]
            for candidate in event['candidates']:
                candidate.pop('looked')
        if event['type'] == 'reply':
            event['sampling']['temperature'] = 0.7
    old.write_text(''.join(json.dumps(event) + '\n' for event in events))
    return old


def test_a_vote_is_replayed_and_resumed_by_its_own_rule(tmp_path):
    made = lambda path, **settings: SRLM(
        guessing, k=5, env='local', first_look=False, early_stop=False, trace=path, **settings
    )
    whole = made(tmp_path / 'run.jsonl')(TEXT, QUESTION)
    assert (whole.answer, whole.choice.excluded) == ('7', [1, 2, 3])
    same_result(whole, SRLM.resume(tmp_path / 'run.jsonl'))
    told = replay(tmp_path / 'run.jsonl')
    assert not told.differences and told.result.choice.excluded == [1, 2, 3]
    assert [one.temperature for one in told.result.candidates] == [one.temperature for one in whole.candidates]
    for kind in ('reply', 'run_end', 'choice'):
        result = resume(SRLM, cut_after(tmp_path / 'run.jsonl', kind), model=guessing)
        assert (result.answer, result.choice.reason) == ('7', whole.choice.reason)


def test_a_vote_of_an_earlier_version_keeps_the_rule_of_the_paper(tmp_path):
    whole = SRLM(
        guessing, k=5, env='local', first_look=False, early_stop=False, only_looked=False, trace=tmp_path / 'run.jsonl'
    )(TEXT, QUESTION)
    assert whole.answer == '42'
    old = as_written_before(tmp_path / 'run.jsonl', tmp_path / 'old.jsonl')
    finished = SRLM.resume(old)
    assert (finished.answer, finished.choice.reason) == ('42', whole.choice.reason)
    told = replay(old)
    assert not told.differences and told.result.answer == '42'
    asked = []

    def recording(messages, sample, temperature=None):
        asked.append(temperature)
        return guessing(messages, sample)

    result = resume(SRLM, cut_after(old, 'reply', 2), model=recording)
    assert result.answer == '42' and set(asked) == {0.7}
    asked.clear()
    result = resume(SRLM, cut_after(old, 'reply', 2), model=recording, only_looked=True, temperature=0.5)
    assert result.answer == '7' and set(asked) == {0.5}


def test_a_finished_plan_is_read_back_whole(tmp_path):
    model = lambda messages: 'sunny: 3\nrainy: 1'
    made = lambda path, **settings: LambdaRLM(
        model, task='aggregate', labels=['sunny', 'rainy'], window=800, trace=path, **settings
    )
    whole = made(tmp_path / 'run.jsonl')(LETTERS, QUESTION)
    again = Strategy.resume(tmp_path / 'run.jsonl', max_calls=1)
    same_result(whole, again)
    assert again.value == whole.value != whole.answer and again.plan.explain() == whole.plan.explain()
    # Without the context there is no plan, and still the answer that was paid for.
    made(tmp_path / 'long.jsonl', keep_context=10)(LETTERS, QUESTION)
    assert (LambdaRLM.resume(tmp_path / 'long.jsonl').plan, LambdaRLM.resume(tmp_path / 'long.jsonl').answer) == (
        None,
        whole.answer,
    )
    assert LambdaRLM.resume(tmp_path / 'long.jsonl', LETTERS).plan.explain() == whole.plan.explain()


def test_a_context_is_read_through_only_for_a_journal_that_lasts(tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr(
        'rlm.runs.call_tree.take_fingerprint', lambda context: looked_at.append(context) or take_fingerprint(context)
    )
    RLM(Model(*THREE), env='local', first_look=False)(TEXT, QUESTION)
    assert looked_at == []
    told = replay(rlm(Model(*THREE), Journal())(TEXT, QUESTION).trace, TEXT)
    assert (looked_at, told.differences) == ([], []) and 'has no fingerprint of the context' in str(told)
    rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    assert looked_at == [TEXT] and str(replay(tmp_path / 'run.jsonl')) == 'the same as recorded'


@pytest.mark.parametrize('library', ['pandas', 'polars'])
def test_a_table_that_differs_in_its_middle_is_another_one(tmp_path, library):
    frame = pytest.importorskip(library).DataFrame
    table = lambda middle: frame(
        dict(sender=['Ada', 'Max', 'Eve'] * 2000, words=[12.5] * 3000 + [middle] + [12.5] * 2999)
    )
    assert str(table(1.0)) == str(table(2.0))
    rlm(Model(cell('print(len(context))'), 'FINAL(6000)'), tmp_path / 'run.jsonl')(table(1.0), QUESTION)
    with pytest.raises(BadInput, match='is not what the run was about'):
        replay(tmp_path / 'run.jsonl', table(2.0))
    assert str(replay(tmp_path / 'run.jsonl', table(1.0))) == 'the same as recorded'


def test_what_cannot_be_told_apart_is_said(tmp_path):
    class Zoo:
        def __init__(self, *animals):
            self.animals = animals

    rlm(Model(*THREE), tmp_path / 'run.jsonl')([Zoo('walrus')], QUESTION)
    assert Journal.read(tmp_path / 'run.jsonl')[0]['context']['unread'] == ['Zoo']
    assert str(replay(tmp_path / 'run.jsonl', [Zoo('seal')], env='local')).startswith(
        'the same as recorded; the context holds objects that cannot be compared (Zoo)'
    )
    path = cut_after(tmp_path / 'run.jsonl', 'cell')
    result = RLM.resume(path, [Zoo('seal')], model=Model(*THREE), env='local')
    assert 'objects that cannot be compared (Zoo)' in next(
        event['text'] for event in result.trace.events if event['type'] == 'resume'
    )


def test_usage_of_a_finished_run_is_in_its_result(tmp_path):
    whole = rlm(Model(*THREE), tmp_path / 'run.jsonl')(TEXT, QUESTION)
    result = resume(RLM, tmp_path / 'run.jsonl')
    assert (result.answer, result.usage, result.by_model, result.stop_reason) == (
        whole.answer,
        whole.usage,
        whole.by_model,
        'final',
    )
    assert isinstance(result.usage, Usage) and result.history == whole.history


# --- other strategies, other places ---


@pytest.mark.parametrize('env', ['process', 'sandbox'])
def test_cells_run_again_where_they_ran(tmp_path, env):
    if problem := why_not(env):
        pytest.skip(f'env={env!r} cannot be used here: {problem}')
    whole = RLM(Model(*THREE), env=env, first_look=False, trace=tmp_path / 'run.jsonl')(TEXT, QUESTION)
    model = Model(*THREE)
    said = {} if env == 'sandbox' else dict(env=env)  # what contains them needs no word of ours
    result = RLM.resume(cut_after(tmp_path / 'run.jsonl', 'cell', 2), model=model, **said)
    assert (result.answer, result.differences, len(model.asked)) == (whole.answer, (), 1)
    assert [event['settings']['environment_type'] for event in result.trace.events if event['type'] == 'run_start'] == [
        env
    ]
    assert not rlm_replay(tmp_path / 'run.jsonl', **said).differences


LETTERS = '\n\n'.join(f'Letter {number}. ' + 'The weather is fine here. ' * 20 for number in range(12))


@pytest.mark.parametrize('engine, settings', [(LambdaRLM, dict(task='summarise', window=800)), (Direct, {})])
def test_candidates_of_other_strategies(tmp_path, engine, settings):
    model = lambda messages, sample: 'All is well.'
    whole = SRLM(model, k=3, engine=engine, early_stop=False, trace=tmp_path / 'run.jsonl', **settings)(
        LETTERS, QUESTION
    )
    for number in (1, 3):
        result = SRLM.resume(cut_after(tmp_path / 'run.jsonl', 'reply', number), model=model)
        assert (result.answer, result.usage, result.differences) == (whole.answer, whole.usage, ())
    assert not replay(tmp_path / 'run.jsonl').differences
    assert len(SRLM.resume(cut_after(tmp_path / 'run.jsonl', 'reply', 2), model=model, k=5).candidates) == 5


def test_a_plan_that_was_made_before(tmp_path):
    class Brief(Model):
        def repeat(self, prompt):
            return 'All is well.'

    plan = LambdaRLM(Brief(), window=800, trace=tmp_path / 'run.jsonl').plan(
        dict(one=LETTERS, two=LETTERS), QUESTION, task='extract'
    )
    whole = plan.run()
    known, model = 5, Brief()
    result = LambdaRLM.resume(cut_after(tmp_path / 'run.jsonl', 'reply', known), model=model)
    assert (result.answer, result.differences, len(model.asked)) == (whole.answer, (), whole.usage.calls - known)


def test_a_strategy_of_the_user_s(tmp_path):
    class Twice(Strategy):
        method = 'twice'

        async def solve(self, tree, context, query):
            run = tree.new_run(None, context, query)
            tree.start(run, self.method, self.lm, context, query, {})
            first, second = await asyncio.gather(
                *(
                    tree.ask(
                        run, self.lm, [dict(role='user', content=f'{context} {n}')], 'subcall', prompt=f'{context} {n}'
                    )
                    for n in (1, 2)
                )
            )
            return tree.finish(run, self.lm.name, query, 'final', first.text + second.text, 0.0)

        def __init__(self, model, **settings):
            super().__init__(model, Settings(**settings))

    whole = Twice(Model(), trace=tmp_path / 'run.jsonl')(TEXT, QUESTION)
    path, model = cut_after(tmp_path / 'run.jsonl', 'reply'), Model()
    assert Twice.resume(path, model=model).answer == whole.answer and len(model.asked) == 1
    with pytest.raises(BadInput, match='use Twice.resume'):
        Strategy.resume(cut_after(tmp_path / 'run.jsonl', 'call_start'), model=model)


def test_threads_and_tasks_inside_of_cells(tmp_path):
    turns = (
        cell(
            'from concurrent.futures import ThreadPoolExecutor\n'
            'def go(n): return rlm_query(f"Sub {n}", context=[n]) + llm_query(f"leaf {n}")\n'
            'with ThreadPoolExecutor(4) as pool: told = list(pool.map(go, range(4)))\nprint(told)'
        ),
        cell(
            'import asyncio\n'
            'more = await asyncio.gather(*[asyncio.to_thread(llm_query, f"look {n % 2}") for n in range(5)])\n'
            'print(more)'
        ),
        cell('FINAL(told + more)'),
    )

    class Family(Model):
        def __call__(self, messages):
            if len(messages) == 2 and 'Sub' in messages[1]['content']:
                with self.lock:
                    self.asked.append(messages)
                return cell('FINAL(llm_query(f"child {context[0]}"))')
            return super().__call__(messages)

    whole = rlm(Family(*turns), tmp_path / 'run.jsonl', max_depth=2)(TEXT, QUESTION)
    for count in range(2, whole.usage.calls, 3):
        path, model = cut_after(tmp_path / 'run.jsonl', 'reply', count), Family(*turns)
        result = resume(RLM, path, model=model)
        assert (result.answer, result.usage, result.differences, len(model.asked)) == (
            whole.answer,
            whole.usage,
            (),
            whole.usage.calls - count,
        )


# --- the commands ---


def command(*words, **settings):
    return subprocess.run(
        [Path(sys.executable).with_name('rlm'), *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        **settings,
    )


def test_the_commands_find_the_files(tmp_path):
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'a.txt').write_text(
        'The spare key lies under the blue pot.\n' + 'Nothing else happens here. ' * 60_000
    )
    asked = command('ask', 'Where does the spare key lie?', 'docs', '--trace', 'run.jsonl', '--quiet', cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    told = command('replay', 'run.jsonl', '--env', 'local', cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, asked.stdout, 'rlm: the same as recorded\n')
    cut = cut_after(tmp_path / 'run.jsonl', 'cell', 2)
    resumed = command('resume', cut.name, '--env', 'local', '--quiet', cwd=tmp_path)
    assert (resumed.returncode, resumed.stdout) == (0, asked.stdout), resumed.stderr
    (tmp_path / 'docs' / 'a.txt').write_text('Another text.')
    refused = command('replay', 'run.jsonl', cwd=tmp_path)
    assert refused.returncode == 2 and 'What stands in docs now' in refused.stderr and refused.stderr.count('\n') == 1
