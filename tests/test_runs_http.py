"Whole runs through LiteLLM against the mock server: answers, limits over the tree, faults, many runs at once."

import asyncio
import functools
import json
import queue
import threading

import pytest

from rlm import Direct, LM, RLM, run
from rlm.core import advanced_toolloop
from rlm.base.errors import CallsExceeded, ErrorsExceeded, IterationsExceeded, LimitExceeded, ModelError
from rlm.base.errors import TimeExceeded, TokensExceeded
from rlm.prompts import REPL_SYSTEM_PROMPT
from rlm.tools import make_run_repl, prep_shell
from tests.mock_server import Settings, mock_server

CONTEXT = 'The walrus eats clams.\nThe seal eats fish.'


def model(server, mode='script', **settings):
    return LM(f'openai/{mode}', api_base=server.api_base, **{'api_key': 'none'} | settings)


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


def call(code, name='run_repl'):
    return {'content': None, 'tool_calls': [{'name': name, 'arguments': json.dumps({'python_code': code})}]}


def spent(server):
    "What the server counted for the replies that it served."
    seen = server.stats()['usage']
    return seen.get('prompt_tokens', 0), seen.get('completion_tokens', 0), seen.get('cached_tokens', 0)


def used(result):
    return result.usage.input, result.usage.output, result.usage.cached


# --- the same answers ---


@pytest.mark.parametrize('tool_calls', [False, True], ids=['fenced', 'tools'])
def test_a_run_finds_its_answer(server, tool_calls):
    act = call if tool_calls else cell
    server.script(act('words = context.split()\nprint(len(words))'), act('FINAL(f"{len(words)} words")'))
    result = RLM(model(server), env='local', tool_calls=tool_calls)(CONTEXT, 'How many words?')
    assert (result.answer, result.stop_reason, result.iterations, result.code_executions) == ('8 words', 'final', 2, 2)
    assert used(result) == spent(server) and result.usage.calls == server.stats()['requests'] == 2
    told = server.stats()['prompts'][1][-1]
    assert told['role'] == ('tool' if tool_calls else 'user') and '8' in told['content']


def test_a_long_context_is_never_sent(server):
    server.script(cell('print(context[-9:])'), 'FINAL(done)')
    RLM(model(server), env='local')('x' * 1_000_000 + 'the end.', 'How does it end?')
    seen = server.stats()
    assert sum(len(message['content']) for message in seen['prompts'][-1]) < 20_000
    assert 'the end.' in seen['prompts'][-1][-1]['content']


def test_sub_calls_go_out_side_by_side_in_order(server):
    server.script(cell('answers = llm_query_batched([f"number {n}" for n in range(64)])\nFINAL(answers)'))
    result = RLM(model(server), env='local', sub_lm=model(server, 'echo'))(CONTEXT, 'Count.')
    assert result.value == [f'number {number}' for number in range(64)]
    assert (result.sub_calls, result.usage.calls, server.stats()['requests']) == (64, 65, 65)
    assert used(result) == spent(server)
    assert set(result.by_model) == {'openai/script', 'openai/echo'}


def test_sixteen_sub_calls_at_once_unless_told_otherwise():
    code = cell('llm_query_batched([f"number {n}" for n in range(64)])\nFINAL("done")')
    with mock_server(latency=0.3) as server:
        for settings, width in ((dict(), 16), (dict(max_concurrent_subcalls=4), 4)):
            server.reset()
            server.script(code)
            RLM(model(server), env='local', sub_lm=model(server, 'echo'), **settings)(CONTEXT, 'Count.')
            assert server.stats()['peak'] == width


def test_children_have_contexts_of_their_own(server):
    server.script(cell('FINAL(rlm_query_batched(["aaa", "bbbbb"]))'), rules=[['.', cell('FINAL(len(context))')]])
    answer = RLM(model(server), env='local', max_depth=2)(CONTEXT, 'How long are the parts?')
    assert answer.value == ['3', '5']
    assert used(answer) == spent(server) and answer.usage.calls == server.stats()['requests'] == 3


def test_direct_is_one_call_with_the_text_in_it(server):
    server.script('clams')
    result = Direct(model(server))(CONTEXT, 'What does the walrus eat?')
    assert (result.answer, result.usage.calls) == ('clams', 1)
    (sent,) = server.stats()['prompts']
    assert CONTEXT in sent[-1]['content'] and 'What does the walrus eat?' in sent[-1]['content']
    assert used(result) == spent(server)


def test_run_and_its_names(server):
    server.script(cell('print(llm_query("sub"))'), 'FINAL(clams)')
    turns = []
    result = run(
        query='What does the walrus eat?',
        context=CONTEXT,
        model=model(server),
        sub_model=model(server, 'echo'),
        max_iterations=20,
        max_output_chars=30000,
        verbose=False,
        env='local',
        on_iteration=lambda turn, event: turns.append(turn),
    )
    assert (result.answer, result.iterations, result.code_executions, result.sub_calls, turns) == (
        'clams',
        2,
        1,
        1,
        [1, 2],
    )
    assert (result.total_input_tokens, result.total_output_tokens) == spent(server)[:2]
    prompts = server.stats()['prompts']
    assert result.history[:-1] == prompts[-1] and result.history[-1]['role'] == 'assistant'


def test_the_notebook_library_s_lines(server):
    sh = prep_shell(CONTEXT, model='openai/echo', base_url=server.api_base, api_key='none')
    run_repl = make_run_repl(sh)
    server.script(call('found = llm_query("clams?")\nfound'), 'The walrus eats clams.')
    responses = advanced_toolloop(
        'What does the walrus eat?',
        sp=REPL_SYSTEM_PROMPT,
        tools=[run_repl],
        sh=sh,
        model=model(server),
        max_steps=50,
        final_prompt=None,
        verbose=False,
    )
    items = list(responses)
    final = [item for item in items if isinstance(item, dict) and item.get('type') == 'final']
    assert [item['answer'] for item in final] == ['The walrus eats clams.'] and items[-1] is final[0]
    assert sh['found'] == 'clams?'
    assert [item['content'] for item in items if isinstance(item, dict) and item.get('role') == 'tool'] == ["'clams?'"]
    assert items[0].choices[0].message.tool_calls


def test_model_and_address_by_name(server, monkeypatch):
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    server.script('FINAL(clams)')
    *_, final = advanced_toolloop('What?', model='openai/script', base_url=server.api_base)
    assert final['answer'] == 'clams'
    monkeypatch.setenv('OPENAI_API_BASE', server.api_base)
    server.script('FINAL(clams)')
    assert run('What does the walrus eat?', CONTEXT, 'openai/script', env='local').answer == 'clams'


def test_the_engine_s_spelling(server):
    server.script(cell('FINAL(len(context))'))
    engine = RLM(
        backend='openai',
        backend_kwargs=dict(model_name='script', base_url=server.api_base, api_key='none', default_extra_body={}),
        environment='local',
        max_iterations=3,
    )
    done = engine.completion(CONTEXT, root_prompt='How long?')
    assert done.response == str(len(CONTEXT))
    summary = done.usage_summary.to_dict()['model_usage_summaries']['openai/script']
    assert (summary['total_calls'], summary['total_input_tokens']) == (1, spent(server)[0])


# --- every request begins with the one before it ---


def begins_with(later, earlier):
    "Whether a provider's prompt cache holds `later` up to the end of `earlier`."
    *same, last = earlier
    return (
        later[: len(same)] == same
        and later[len(same)]['role'] == last['role']
        and later[len(same)]['content'].startswith(last['content'])
    )


@pytest.mark.parametrize('tool_calls', [False, True], ids=['fenced', 'tools'])
def test_every_request_begins_with_the_one_before(server, tool_calls):
    act = call if tool_calls else cell
    server.script(
        act('print("x" * 9000)'),
        act('1/0'),
        {'content': 'thinking', 'tool_calls': [{'name': 'nonesuch', 'arguments': 'no json'}]}
        if tool_calls
        else 'I am thinking.',
        {'fault': 'null'},
        {'fault': 'null'},
        cell('a = 1') + '\nFINAL(not yet)' if not tool_calls else act('a = 1'),
        act('print(a)'),
        'FINAL(late)',
    )
    result = RLM(model(server), env='local', tool_calls=tool_calls, max_iterations=8)(CONTEXT, 'Go on.')
    prompts = server.stats()['prompts']
    assert result.answer == 'late' and len(prompts) == 8
    assert all(begins_with(later, earlier) for earlier, later in zip(prompts, prompts[1:]))


# --- limits over the whole tree ---

BATCH = cell('print(len(llm_query_batched(["word " * 20] * 10)))')
CHILDREN = cell('print(rlm_query_batched(["word " * 20] * 3))')


@pytest.mark.parametrize('code', [BATCH, CHILDREN], ids=['batch', 'children'])
@pytest.mark.parametrize(
    'limits, kind',
    [(dict(max_calls=9), CallsExceeded), (dict(max_tokens=9000), TokensExceeded), (dict(max_cost=9.0), LimitExceeded)],
    ids=str,
)
def test_limits_hold_for_the_tree(server, code, limits, kind):
    prices = dict(input_cost_per_token=1e-3, output_cost_per_token=1e-3)
    server.script(rules=[['word', BATCH], ['.', code]])
    runner = RLM(model(server, 'rules', **prices), env='local', max_depth=2, max_iterations=50, **limits)
    with pytest.raises(kind) as caught:
        runner(CONTEXT, 'Never end.')
    result, seen = caught.value.result, server.stats()
    assert result.usage.calls == seen['requests'] > 2
    assert used(result) == spent(server)
    assert result.usage.calls <= limits.get('max_calls', 10**6)
    assert result.usage.tokens <= limits.get('max_tokens', 10**9)
    assert result.usage.cost <= limits.get('max_cost', 1e9) * (1 + 1e-9)
    assert result.stop_reason == caught.value.stop_reason
    assert str(list(limits)[0]) in str(caught.value)


def test_a_limit_that_returns_gives_the_answer_so_far(server):
    server.script(rules=[['.', cell('answer["content"] = f"{len(context)} so far"')]])
    result = RLM(model(server, 'rules'), env='local', max_calls=3, on_limit='return')(CONTEXT, 'Never end.')
    assert (result.answer, result.stop_reason, result.usage.calls) == (f'{len(CONTEXT)} so far', 'calls', 3)


def test_time_ends_a_call_that_hangs(server):
    server.script(cell('answer["content"] = "so far"'), rules=[['.', {'fault': 'hung'}]])
    with pytest.raises(TimeExceeded) as caught:
        RLM(model(server), env='local', max_seconds=3)(CONTEXT, 'Never end.')
    assert (caught.value.partial_answer, caught.value.result.stop_reason) == ('so far', 'time')
    seen = server.stats()
    assert (seen['left'], seen['in_flight']) == (1, 0)


def test_time_ends_sub_calls_that_hang(server):
    server.script(
        cell('answer["content"] = "so far"\nllm_query_batched(["hang"] * 20)'), rules=[['.', {'fault': 'hung'}]]
    )
    with pytest.raises(TimeExceeded) as caught:
        RLM(model(server), env='local', sub_lm=model(server, 'rules'), max_seconds=3)(CONTEXT, 'Never end.')
    assert caught.value.partial_answer == 'so far'
    assert server.stats()['in_flight'] == 0


def test_errors_are_counted_over_the_tree(server):
    server.script(cell('print([str(one) for one in llm_query_batched(["x"] * 5)])'), rules=[['.', cell('1')]])
    with pytest.raises(ErrorsExceeded):
        RLM(model(server), env='local', sub_lm=model(server, 'nonesuch'), max_errors=5)(CONTEXT, 'Go on.')


def test_no_answer_within_the_turns(server):
    server.script(rules=[['.', cell('print(1)')]])
    with pytest.raises(IterationsExceeded) as caught:
        RLM(model(server, 'rules'), env='local', max_iterations=3)(CONTEXT, 'Never end.')
    assert (caught.value.result.iterations, server.stats()['requests']) == (3, 3)


@pytest.mark.parametrize('how', ['rlm', 'direct'])
def test_a_model_that_fails_carries_what_was_reached(server, how):
    server.script(
        *([cell('answer["content"] = "so far"')] if how == 'rlm' else []),
        {'content': 'No more for you.', 'status': 400},
    )
    strategy = functools.partial(RLM, env='local') if how == 'rlm' else Direct
    with pytest.raises(ModelError, match='No more for you') as caught:
        strategy(model(server))(CONTEXT, 'Go on.')
    result = caught.value.result
    assert (caught.value.status, result.stop_reason, result.answer) == (
        400,
        'model',
        'so far' if how == 'rlm' else None,
    )
    assert result.usage.calls == server.stats()['requests']
    assert [event['type'] for event in result.trace.events][-1] == 'run_end'


# --- faults ---

SEED = 0  # fails one request in five, each fault at least once, an empty body once
FAULTS = {'429': 0.05, '500': 0.05, 'malformed': 0.04, 'no_choices': 0.02, 'null': 0.02, 'truncated': 0.02}


def test_one_request_in_five_failing_changes_nothing_but_the_count():
    code = cell(
        'answers = llm_query_batched([f"number {n:02}" for n in range(60)])\n'
        'print([n for n, one in enumerate(answers) if one != f"number {n:02}"])'
    )
    faults = Settings(faults=FAULTS, seed=SEED)
    with mock_server(faults=FAULTS, seed=SEED, retry_after=0.05) as server:
        server.script(rules=[['^number', 'never asked'], [r'\[\]', 'FINAL(all right)'], ['.', code]])
        result = RLM(model(server, 'rules', num_retries=30), env='local', sub_lm=model(server, 'echo', num_retries=30))(
            CONTEXT, 'Ask sixty times.'
        )
        seen = server.stats()
    met = [kind for number in range(seen['requests']) if (kind := faults.fault(number))]
    assert result.answer == 'all right'
    assert result.usage.calls == seen['requests'] == 62 + len(met) and set(met) == set(FAULTS)
    # Bodies without choices or content report a usage of three tokens each way, which was paid.
    # The server counts good replies only.
    hollow = met.count('no_choices') + met.count('null')
    assert (result.usage.input, result.usage.output) == (
        seen['usage']['prompt_tokens'] + 3 * hollow,
        seen['usage']['completion_tokens'] + 3 * hollow,
    )
    told = [event['usage'] for event in result.trace.events if event['type'] == 'reply']
    assert [sum(usage[name] for usage in told) for name in ('calls', 'input', 'output')] == [
        result.usage.calls,
        result.usage.input,
        result.usage.output,
    ]


# --- many runs at once ---


def test_ten_runs_of_one_object_keep_apart(server):
    server.script(
        rules=[
            ['^sub', 'ok'],
            [
                'walrus (\\d)',
                cell(
                    'import time\nnumber = context.split()[-1]\n'
                    'for step in range(5):\n    print("output of", number)\n    time.sleep(0.01)\n'
                    'llm_query(f"sub {number}")\nFINAL(number)'
                ),
            ],
        ]
    )
    runner, results = RLM(model(server, 'rules'), env='local', sub_lm=model(server, 'echo')), {}

    def blocking(number):
        results[number] = runner(f'This is walrus {number}', f'Which walrus {number}')

    async def coroutines(numbers):
        for number, result in zip(
            numbers,
            await asyncio.gather(
                *[runner.acall(f'This is walrus {number}', f'Which walrus {number}') for number in numbers]
            ),
        ):
            results[number] = result

    threads = [threading.Thread(target=blocking, args=(number,), daemon=True) for number in range(5)]
    threads.append(threading.Thread(target=lambda: asyncio.run(coroutines(range(5, 10))), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {number: result.answer for number, result in results.items()} == {
        number: str(number) for number in range(10)
    }
    for number, result in results.items():
        (output,) = (event['stdout'] for event in result.trace.events if event['type'] == 'cell' and event['cell'])
        assert output == f'output of {number}\n' * 5
        assert (result.usage.calls, result.sub_calls, result.iterations) == (2, 1, 1)
    assert sum(result.usage.input for result in results.values()) == spent(server)[0]


def test_more_tool_loops_at_once_than_threads_in_python_s_pool(server):
    "A tool that waits for a sub-call occupies a thread; the sub-call must not need one of the same few."
    server.script(rules=[['start', call('found = llm_query("sub")\nfound')], ['.', 'done']])
    answers = {}

    def loop(number):
        sh = prep_shell(CONTEXT, sub_lm=model(server, 'echo', max_concurrency=64))
        *_, final = advanced_toolloop('start', tools=[make_run_repl(sh)], sh=sh, model=model(server, 'rules'))
        answers[number] = final['answer'], sh['found']

    threads = [threading.Thread(target=loop, args=(number,), daemon=True) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: ('done', 'sub') for number in range(40)}


def test_a_stream_that_is_left_stops_its_run_wherever_it_is():
    for _ in range(20):
        reasons = queue.SimpleQueue()

        def note(event):
            if event['type'] == 'run_end':
                reasons.put(event['stop_reason'])

        for event in RLM(lambda messages: cell('1'), env='local', max_iterations=200, on_event=note).stream(
            CONTEXT, 'Go on.'
        ):
            if event['type'] == 'cell':
                break
        assert reasons.get(timeout=30) == 'cancelled'
