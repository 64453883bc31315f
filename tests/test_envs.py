"One set of tests for every environment; one that does not run on this machine is skipped, with the reason."

import asyncio
import functools
import json
import sys
import threading

import pytest

from rlm import RLM
from rlm.shell.environments import AUTO, choose_env, open_shell, why_not
from rlm.base.errors import BadInput, LimitExceeded, ModelError, RLMError
from rlm.models import LM
from rlm.offline import ReplayLM, ScriptedLM
from rlm.shell.assignments import NOT_RUN
from rlm.shell.search import Passage, SearchIndex
from rlm.tools import Answer, show, UnknownVariable, view
from tests.conftest import HERE

NASTY = 'caf\u00e9 \U0001f600\r\n\ud800 \udc00\x00\u2028'


async def echo(kind, prompts, model, contexts):
    "Replies that repeat what was asked."
    return [f'{kind} {prompt} {model} {contexts and contexts[number]!r}' for number, prompt in enumerate(prompts)]


@pytest.fixture
def sh(env):
    "A shell with a context, an answerer of sub-calls, functions and a value."

    def double(number: float) -> float:
        "Twice as much."
        return 2 * number

    async def later(text: str = 'later') -> str:
        return text

    with open_shell(
        env, 'Sing, goddess', subcalls=echo, tools=dict(double=double, later=later, limits={1: ('a', 2)}), timeout=30
    ) as shell:
        yield shell


def last_line(cell):
    return cell.error.splitlines()[-1]


def test_the_last_value_and_what_was_printed(sh):
    cell = sh.run('print("out")\nimport sys\nprint("err", file=sys.stderr)\n1 + 1')
    assert (cell.stdout, cell.stderr, cell.value, cell.error, cell.final, cell.calls) == (
        'out\n',
        'err\n',
        '2',
        None,
        None,
        0,
    )
    assert sh.run('1 + 1;').value is None
    assert sh.last.code == '1 + 1;'


def test_an_error_is_a_short_traceback_and_ends_only_its_cell(sh):
    cell = sh.run('kept = 1\nprint("before")\n1/0')
    assert cell.error == 'Traceback:\n  cell 1, line 3\n    1/0\nZeroDivisionError: division by zero'
    assert cell.stdout == 'before\n' and sh.run('kept').value == '1'
    assert last_line(sh.run('def half(:')).startswith('SyntaxError')
    assert 'SystemExit' in sh.run('import sys; sys.exit(3)').error
    assert sh.run('raise KeyboardInterrupt').error and sh.run('kept').value == '1'
    assert last_line(sh.run('nothing')) == "NameError: name 'nothing' is not defined"


def test_state_stays_between_cells(sh):
    sh.run('def area(side): return side * scale\nscale = 2')
    sh.run('scale = 3')
    assert sh.run('area(2)').value == '6'
    assert sh.run('class Row:\n    pass\nRow().__class__.__module__').value == "'__main__'"
    assert sh.run('%%capture captured\nprint(1)').error is None and sh.run('captured.stdout').value == "'1\\n'"


def test_await_works_at_the_top_of_a_cell(sh):
    assert (
        sh.run('import asyncio\nsum(await asyncio.gather(*[asyncio.sleep(0.01, one) for one in range(4)]))').value
        == '6'
    )
    assert sh.run('await later("x")').value == "'x'"


def test_what_threads_print_belongs_to_their_cell(sh):
    cell = sh.run(
        'import threading\nthreads = [threading.Thread(target=print, args=(n,)) for n in range(8)]\n'
        'for thread in threads: thread.start()\nfor thread in threads: thread.join()'
    )
    assert sorted(cell.stdout.split()) == list('01234567')


def test_two_shells_do_not_mix(env):
    with open_shell(env, timeout=30) as one, open_shell(env, timeout=30) as other:
        cells = {}

        def work(shell, word):
            cells[word] = [shell.run(f'mine = "{word}"\nfor _ in range(200): print(mine)') for _ in range(3)]

        threads = [threading.Thread(target=work, args=pair) for pair in ((one, 'a'), (other, 'b'))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(set(cell.stdout.split()) == {word} for word, run in cells.items() for cell in run)


@pytest.mark.parametrize(
    'code',
    [
        'import time\ntime.sleep(60)',
        'while True: pass',
        'import asyncio\nawait asyncio.sleep(60)',
        'import threading\nthreading.Event().wait(60)',
    ],
)
def test_a_cell_that_takes_too_long_is_stopped_and_variables_stay(sh, env, code):
    sh.run('kept = 1')
    cell = sh.run(code, timeout=0.3)
    assert 'TimeoutError: the cell ran longer than its limit of 0.3 s' in cell.error
    assert sh.run('1 + 1').value == '2'
    if env == 'local' or 'variables are kept' in cell.error:
        assert sh.run('kept').value == '1'


def test_a_cell_that_swallows_interrupts_is_stopped_too(sh):
    cell = sh.run('while True:\n    try:\n        while True: pass\n    except BaseException: pass', timeout=0.3)
    assert 'TimeoutError' in cell.error + ' '.join(cell.notes)
    assert sh.run('context').value == "'Sing, goddess'"


def test_the_wait_for_sub_calls_is_not_counted(env):
    async def slow(kind, prompts, model, contexts):
        await asyncio.sleep(4)
        return prompts

    with open_shell(env, subcalls=slow, timeout=30) as shell:
        shell.run('1')
        cell = shell.run('llm_query("a")', timeout=3)
        assert cell.value == "'a'" and cell.seconds > 3 and cell.calls == 1


def test_interrupt_from_another_thread(sh):
    sh.run('kept = 1')
    sh.grace = 60  # of a busy machine
    inside = threading.Event()

    async def waits(kind, prompts, model, contexts):
        inside.set()
        await asyncio.sleep(60)

    sh.subcalls = waits
    done = []
    thread = threading.Thread(target=lambda: done.append(sh.run('llm_query("x")')))
    thread.start()
    assert inside.wait(30)
    sh.interrupt()
    thread.join(30)
    assert last_line(done[0]) == 'KeyboardInterrupt: the cell was interrupted; variables are kept.'
    assert sh.run('kept').value == '1'


def test_a_cell_that_assigns_to_our_names_does_not_run(sh):
    cell = sh.run('print("begun")\ncontext = "mine"')
    assert (
        cell.was_refused
        and cell.stdout == ''
        and cell.error
        == (
            NOT_RUN + 'it assigns to `context`, which already holds the input (str, 13 chars). '
            'Read it, and use another name for your own variables.'
        )
    )
    for code in ('def llm_query(prompt): pass', 'import os as search', 'limits += 1', 'for double in "ab": pass'):
        assert sh.run(code).was_refused, code
    assert sh.run('[context for context in "ab"], len(limits)').value == "(['a', 'b'], 1)"


def test_our_names_are_restored(sh):
    names = ('llm_query', 'context', 'double', 'limits', 'search')
    cell = sh.run(f'globals().update(dict.fromkeys({names}))\ndel globals()["FINAL"]')
    assert 'restored' in cell.notes[0] and all(name in cell.notes[0] for name in (*names, 'FINAL'))
    assert (
        sh.run('llm_query("a"), context, double(2), limits, FINAL(1)').value
        == "('llm a None None', 'Sing, goddess', 4, {1: ('a', 2)}, 1)"
    )
    assert 'answer stays a dict' in sh.run('answer = 3').notes[0]


FILES = {
    'notes.md': '# Numbers\n\nThe magic number is 4127.\n\n# Names\n\nThe owner is Anna.\n' * 30,
    'src/user.py': 'def get_user_name(row):\n    return row[0]\n',
    'strange.txt': '\u6771\u4eac\u306e\u5929\u6c17 ' + NASTY,
}


def test_search_is_the_same_everywhere(sh):
    here = SearchIndex(FILES)
    sh.add_context(FILES)
    for query in (
        'Who is the owner?',
        'magic number 4127',
        'get_user_name',
        '\u5929\u6c17',
        'nothing of it',
        '?',
        NASTY,
    ):
        wanted = here.search(query, 3)
        cell = sh.run(f'hits = search({query!r}, k=3)\n[(str(hit), *vars(hit).values()) for hit in hits]')
        assert (cell.error, cell.calls) == (None, 0)
        assert cell.value == show([(str(hit), *vars(hit).values()) for hit in wanted])
        found = sh.search(query, 3)
        assert [(type(hit), hit, vars(hit)) for hit in found] == [(Passage, hit, vars(hit)) for hit in wanted]
    cell = sh.run('print(search("owner")[:1])\nFINAL(search("get_user_name")[0])')
    assert cell.stdout.startswith('[[notes.md, characters ')
    assert (cell.final.value, cell.final.value.source) == (FILES['src/user.py'].rstrip(), 'src/user.py')


def test_search_reads_the_newest_context_and_says_what_is_wrong(sh):
    assert sh.run('search("goddess")').value == '[characters 0 to 13] Sing, goddess'
    sh.add_context(['Troy'])
    assert sh.run('search("troy")').value == '[item 0, characters 0 to 4] Troy'
    assert sh.run('len(search("goddess"))').value == '0'
    assert last_line(sh.run('search(["a"])')).startswith('TypeError: The query is a list, 1 items')
    assert last_line(sh.run('search("a", 0)')) == 'BadInput: k=0: give a whole number from 1 to 1000.'


def test_a_tool_named_search_replaces_ours(env):
    with open_shell(env, 'Sing', tools=dict(search=lambda word: f'found {word}')) as shell:
        assert shell.run('search("a")').value == "'found a'"
    with open_shell(env) as shell:
        assert 'There is no context to search' in shell.run('search("a")').error
    with pytest.raises(BadInput, match='used by the shell'):
        open_shell(env, tools=dict(llm_query=len))


def test_long_output_is_offloaded_into_a_variable(sh):
    text = view(sh, sh.run('print("x" * 9_999)'), 1000, 100)
    assert len(text) < 300 and '_result_0 holds all' in text
    assert sh.run('len(_result_0)').value == '9999'
    assert '_result_1' in view(sh, sh.run('"y" * 5000'), 1000, 100)
    assert '_result_0' in sh and '_result_0' in sh.variables()


def test_sub_calls_arrive_with_all_that_was_said(sh):
    assert sh.run('llm_query("a", model="m")').value == "'llm a m None'"
    assert sh.run('rlm_query("a", context=(1, {2: "b"}))').value == repr('rlm a None ' + repr((1, {2: 'b'})))
    assert sh.run('rlm_query_batched(["a", "b"], contexts=["x", context])').value == repr(
        ["rlm a None 'x'", "rlm b None 'Sing, goddess'"]
    )
    assert "'role': 'user'" in sh.run('llm_query([{"role": "user", "content": "hi"}])').value
    assert last_line(sh.run('llm_query(3)')).startswith('TypeError: The prompt is a int')


def test_a_batch_is_one_question_in_order(env):
    asked = []

    async def answers(kind, prompts, model, contexts):
        asked.append(len(prompts))
        return [prompt.upper() for prompt in prompts]

    with open_shell(env, subcalls=answers, timeout=30) as shell:
        cell = shell.run(
            'replies = llm_query_batched([f"p{n}" for n in range(300)])\n'
            'replies[0], replies[299], llm_query_batched([])'
        )
        assert (cell.value, cell.calls, asked) == ("('P0', 'P299', [])", 300, [300])


def test_failed_sub_calls_are_errors_of_the_cell(env):
    async def answers(kind, prompts, model, contexts):
        if model == 'all':
            raise RLMError('There is no model of that name.')
        return [
            LimitExceeded('The budget is used up.')
            if prompt == 'limit'
            else ModelError('refused')
            if prompt == 'bad'
            else 'good'
            for prompt in prompts
        ]

    with open_shell(env, subcalls=answers, timeout=30) as shell:
        cell = shell.run('llm_query_batched(["good", "bad"])')
        assert cell.value == "['good', None]" and '1 of 2 sub-calls failed' in cell.stderr
        assert last_line(shell.run('llm_query("bad")')) == 'ModelError: refused'
        assert last_line(shell.run('llm_query_batched(["good", "limit"])')) == 'LimitExceeded: The budget is used up.'
        assert last_line(shell.run('llm_query("x", model="all")')) == 'RLMError: There is no model of that name.'
    with open_shell(env, timeout=30) as shell:
        assert 'no model to ask' in shell.run('llm_query("x")').error


def test_sub_calls_from_many_threads_at_once(env):
    with open_shell(env, subcalls=echo, timeout=30) as shell:
        cell = shell.run(
            'from concurrent.futures import ThreadPoolExecutor\n'
            'with ThreadPoolExecutor(16) as pool: replies = list(pool.map(llm_query, map(str, range(64))))\n'
            'replies == [f"llm {n} None None" for n in range(64)]'
        )
        assert cell.value == 'True' and cell.calls == 64


@pytest.mark.parametrize(
    'code, value, source',
    [
        ('FINAL("done")', 'done', 'FINAL'),
        ('rows = [(1, "a")]\nFINAL_VAR("rows")', [(1, 'a')], 'FINAL_VAR'),
        ('rows = {1: {2}}\nFINAL_VAR(rows)', {1: {2}}, 'FINAL_VAR'),
        ('answer["content"] = "x"\nanswer["ready"] = True', 'x', 'answer'),
        ('answer.update(ready=True, content=3)', 3, 'answer'),
        ('answer = {"ready": True, "content": None}', None, 'answer'),
        ('print(FINAL(""))', '', 'FINAL'),
        ('FINAL(b"\\xff")', b'\xff', 'FINAL'),
        ('FINAL(1.5)', 1.5, 'FINAL'),
        ('FINAL("' + '\\U0001F600\\r\\n\\ud800' + '")', '\U0001f600\r\n\ud800', 'FINAL'),
    ],
)
def test_final_in_all_its_forms(sh, code, value, source):
    cell = sh.run(code)
    assert cell.error is None and cell.final == Answer(value, source) and type(cell.final.value) is type(value)
    assert sh.run('1').final is None or source == 'answer'


def test_an_answer_marked_ready_stays_until_it_is_not(sh):
    sh.run('answer["content"] = "draft"')
    assert sh['answer'] == {'content': 'draft', 'ready': False} and sh.lookup('answer') == 'draft'
    assert 'empty' in sh.run('answer.update(content=" ", ready=True)').notes[0]


def test_a_nasty_context_arrives_as_it_is(env):
    text = (NASTY + 'x' * 990) * 10_000
    with open_shell(env, text, timeout=60) as shell:
        cell = shell.run(
            'import hashlib\nshort = hashlib.sha256(context.encode("utf-8", "surrogatepass")).hexdigest()[:8]\n'
            f'len(context), short, context[:{len(NASTY)}] == {NASTY!r}, context is context_0'
        )
        import hashlib

        assert cell.value == repr(
            (len(text), hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8], True, True)
        )
        assert shell['context'] is text


@pytest.mark.parametrize(
    'context',
    [('a', {1: 'b', ('x', 2): [None]}), {3: {'y'}, 'z': b'\xff'}, ['\ud800'], b'\r\n', 7, {'part': ('\U0001f600',)}],
    ids=repr,
)
def test_any_plain_object_arrives_as_it_is(env, context):
    with open_shell(env, context, timeout=30) as shell:
        assert shell.run(f'context == {context!r}, type(context).__name__').value == repr(
            (True, type(context).__name__)
        )


def test_variables_cross_both_ways(sh):
    sh['rows'] = [(1, {2: 'x'}), NASTY]
    assert sh.run(f'rows == {[(1, {2: "x"}), NASTY]!r}').value == 'True'
    sh.run('found = {(1, 2): {"a"}, "text": "\\ud800\\r\\n"}\n_private = 5\nimport math')
    assert sh['found'] == sh.lookup(' "found" ') == {(1, 2): {'a'}, 'text': '\ud800\r\n'}
    assert asyncio.run(sh.alookup('_private')) == 5
    assert 'found' in sh and '_private' in sh and 'math' in sh and 'lost' not in sh
    described = sh.variables()
    assert (
        described['found'] == 'dict, 2 items'
        and described['context'] == 'str, 13 chars'
        and not {'_private', 'math', 'FINAL', 'answer'} & set(described)
    )
    with pytest.raises(UnknownVariable, match='found'):
        sh.lookup('lost')
    with pytest.raises(KeyError):
        sh['lost']


def test_more_contexts(sh):
    assert sh.add_context(['second']) == 1
    assert sh.run('context, context_0, context_1').value == "(['second'], 'Sing, goddess', ['second'])"
    assert sh['context'] == ['second'] and set(sh.variables()) >= {'context', 'context_0', 'context_1'}


def test_functions_of_the_users_run_on_the_host(sh):
    assert sh.run('double(1.5), limits[1]').value == "(3.0, ('a', 2))"
    assert last_line(sh.run('double()')).startswith('TypeError')
    assert 'double' not in sh.variables() or sh.variables()['double'] != 'function'
    assert sh.run('double(number="ab")').value == "'abab'"


class Finder:
    "An object that is called, and has to be awaited."

    def __init__(self, text):
        self.text = text

    async def __call__(self, word):
        return word in self.text


async def repeat(text, times=1):
    if text is None:
        raise KeyError('nothing')
    return text * times


def test_partials_and_callable_objects_are_functions_too(env):
    tools = dict(
        half=functools.partial(int, base=2),
        twice=functools.partial(repeat, times=2),
        find=Finder('a b'),
        method=Finder('a b').__call__,
        size=len,
        number=int,
        bound='a-b'.split,
    )
    with open_shell(env, 'text', tools=tools, timeout=30) as shell:
        cell = shell.run(
            'half("101"), await twice("x"), await find("b"), await method("c"), size(context), number("7")'
        )
        assert (cell.value, cell.error) == ("(5, 'xx', True, False, 4, 7)", None)
        assert shell.run('bound("-")').value == "['a', 'b']"
        assert last_line(shell.run('await twice(None)')) == "KeyError: 'nothing'"
        assert shell.run('await twice("y")').value == "'yy'"


def test_a_class_works_or_is_refused(env):
    if env != 'local':
        with pytest.raises(BadInput, match='Finder.*is a class.*give a function'):
            open_shell(env, tools=dict(Finder=Finder))
        return
    with open_shell(env, tools=dict(Finder=Finder), timeout=30) as shell:
        assert shell.run('await Finder("a b")("b")').value == 'True'


@pytest.mark.parametrize('error', [StopIteration(), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_function_may_raise_anything(env, error):
    def fail():
        raise error

    async def fail_later():
        raise error

    with open_shell(env, tools=dict(fail=fail, fail_later=fail_later), timeout=30) as shell:
        assert shell.run('fail()').error and shell.run('await fail_later()').error
        assert shell.run('1').value == '1'


def test_errors_of_the_users_functions_keep_their_kind(env):
    def fail(kind):
        raise {'key': KeyError('apple'), 'own': RLMError('That is none.')}[kind]

    with open_shell(env, tools=dict(fail=fail), timeout=30) as shell:
        assert last_line(shell.run('fail("key")')) == "KeyError: 'apple'"
        assert last_line(shell.run('fail("own")')) == 'RLMError: That is none.'


def test_setup_code_runs_first(env):
    with open_shell(env, 'x', setup_code='import math\nbase = context * 2', timeout=30) as shell:
        assert shell.run('math.floor(2.5), base').value == "(2, 'xx')"
    with open_shell(env, setup_code='1/0', timeout=30) as shell:
        for _ in range(2):
            with pytest.raises(RLMError, match='setup code failed'):
                shell.run('1')


def test_awaiting_a_cell_does_not_block_the_loop(sh):
    enough = threading.Event()

    async def answers(kind, prompts, model, contexts):
        await asyncio.to_thread(enough.wait, 60)
        return prompts

    async def both():
        ticks, task = 0, asyncio.ensure_future(sh.arun('llm_query("5")'))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
            if ticks > 5:
                enough.set()  # the cell ends only after the loop has turned
        return (await task).value, ticks

    sh.subcalls = answers
    value, ticks = asyncio.run(both())
    assert value == "'5'" and ticks > 5


def test_a_cancelled_cell_leaves_a_shell_that_works(sh):
    async def cancel():
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def answers(kind, prompts, model, contexts):
            loop.call_soon_threadsafe(started.set)
            await asyncio.sleep(60)

        sh.subcalls = answers
        task = asyncio.ensure_future(sh.arun('llm_query("x")'))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert sh.run('context').value == "'Sing, goddess'"


def test_a_closed_shell_says_so(env):
    shell = open_shell(env, 'x', timeout=30)
    assert shell.run('1').value == '1'
    shell.close()
    shell.close()
    with pytest.raises(RLMError, match='closed'):
        shell.run('1')
    assert shell['context'] == 'x'


def test_a_huge_output_is_cut_and_counted(sh):
    cell = sh.run('for _ in range(30): print("x" * 1_000_000)')
    assert 9_000_000 < len(cell.stdout) <= 20_000_100 and 'were printed and not kept' in cell.notes[0]
    assert 'shown in part' in sh.run('list(range(10**6))').value


def test_code_that_is_no_text_is_refused(sh):
    with pytest.raises(BadInput, match='give a str'):
        sh.run(3)


def test_a_run_in_every_environment(env):
    replies = [
        '```repl\nparts = [context[i:i + 30] for i in range(0, len(context), 30)]\n'
        'found = llm_query_batched([f"gift? {part}" for part in parts])\nprint(found)\n```',
        '```repl\nbest = [one for one in found if one != "no"]\n```\nFINAL_VAR(best)',
    ]
    sub = ScriptedLM(lambda messages: 'tripods' if 'tripods' in messages[-1]['content'] else 'no')
    result = RLM(ScriptedLM(replies), sub, env=env)(
        'He offers seven tripods and twenty cauldrons.' + NASTY, 'Which gifts?'
    )
    assert result.value == ['tripods'] and result.sub_calls == 2 and result.stop_reason == 'final'
    assert result.trace.events[0]['settings']['environment_type'] == env


def test_children_get_a_shell_of_the_same_kind(env):
    root = ScriptedLM(['```repl\nFINAL(rlm_query("How long is it?", context=(context, 1)))\n```'])
    child = ScriptedLM(['```repl\nFINAL(f"{len(context[0])} in {context[1]}")\n```'])
    result = RLM(root, child, env=env, max_depth=2)('x' * 1000, 'How long?')
    assert result.answer == '1000 in 1'
    assert {event['settings']['environment_type'] for event in result.trace.events if event['type'] == 'run_start'} == {
        env
    }


def test_a_session_that_persists(env):
    with RLM(
        ScriptedLM(['```repl\nseen = context\nFINAL(1)\n```', '```repl\nFINAL((seen, context, len(history)))\n```']),
        env=env,
        persistent=True,
    ) as session:
        session('first', 'a?')
        assert session('second', 'b?').value == ('first', 'second', 2)


@pytest.fixture(params=[name for name in HERE if name != 'local'])
def apart(request):
    "An environment whose worker can die without the host."
    if request.param == 'docker':
        request.getfixturevalue('docker_settings')
    if problem := why_not(request.param):
        pytest.skip(problem)
    return request.param


@pytest.mark.parametrize(
    'code',
    [
        'import os\nos._exit(3)',
        'import re\nre.match(r"(a+)+$", "a" * 60 + "b")',
    ],
)
def test_a_killed_cell_loses_variables_and_not_the_run(apart, code):
    with open_shell(apart, 'kept', setup_code='import math', tools=dict(limits={1: 2}), timeout=30) as shell:
        shell.run('gone = 1')
        shell['given'] = (1,)
        cell = shell.run(code, timeout=1 if 'match' in code else 60)  # the one that ends only when its time is over
        assert 'All variables, functions and imports are lost; context is loaded again' in cell.error
        assert 'gone' not in shell and 'gone' not in shell.variables()
        assert (
            shell.run('context, limits, math.pi > 3, given, "gone" in globals()').value
            == "('kept', {1: 2}, True, (1,), False)"
        )


def test_a_run_goes_on_after_its_worker_died(apart):
    heard = []

    def root(messages):
        heard.append(messages[-1]['content'])
        return ['```repl\nfound = 1\nimport os; os._exit(1)\n```', '```repl\nFINAL(len(context))\n```'][len(heard) - 1]

    result = RLM(ScriptedLM(root), env=apart)('x' * 100, 'How long?')
    assert result.value == 100 and 'variables, functions and imports are lost' in heard[1]


def test_what_cannot_be_sent_is_said(apart):
    with open_shell(apart, threading.Lock(), timeout=30) as shell:
        with pytest.raises(BadInput, match='cannot be sent'):
            shell.run('1')
    with open_shell(apart, 'x', tools=dict(opened=lambda: threading.Lock()), timeout=30) as shell:
        assert 'lock' in shell.run('opened()').value  # of an object its text
        assert 'More than' in shell.run('deep = []\nfor _ in range(300): deep = [deep]\nFINAL(deep)').error


def test_the_number_of_sub_calls_of_a_cell_is_bounded(apart):
    with open_shell(apart, subcalls=echo, max_subcalls=5, timeout=30) as shell:
        assert 'max_subcalls' in shell.run('for n in range(9): last = llm_query(str(n))').error
        assert shell.run('last, len(llm_query_batched(["a"] * 5))').value == "('llm 4 None None', 5)"


def test_the_choice_of_an_environment(monkeypatch):
    import rlm.shell.environments

    assert choose_env('process') == 'process'
    assert choose_env('auto', LM('offline/extractive'), LM(ScriptedLM(['x']))) == 'local'
    unknown = LM(lambda messages: 'x')
    for working in AUTO:
        monkeypatch.setattr(
            rlm.shell.environments, 'why_not', lambda name: None if name == working else f'{name} is missing.'
        )
        assert (
            choose_env('auto', unknown)
            == choose_env('auto', LM('offline/extractive'), unknown)
            == choose_env('auto', LM('gpt-4o-mini'))
            == choose_env('auto')
            == working
        )
    monkeypatch.setattr(rlm.shell.environments, 'why_not', lambda name: f'{name} is missing.')
    with pytest.raises(BadInput, match='apt install bubblewrap.*env="process" or env="local"'):
        choose_env('auto', unknown)
    with pytest.raises(BadInput, match='auto, local'):
        RLM('offline/extractive', env='cellar')


def test_settings_of_an_environment_are_checked():
    with pytest.raises(BadInput, match='has no setting'):
        open_shell('process', image='x')
    with pytest.raises(BadInput, match='memory'):
        open_shell('sandbox', memory='much')


def test_a_stopped_run_keeps_its_draft(env):
    ended, ends = threading.Event(), []

    def note(event):
        if event['type'] == 'run_end':
            ends.append((event['stop_reason'], event['answer']))
            ended.set()

    async def stop():
        loop, asked = asyncio.get_running_loop(), asyncio.Event()

        async def hangs(messages):
            loop.call_soon_threadsafe(asked.set)
            await asyncio.sleep(600)

        root = ScriptedLM(['```repl\nanswer["content"] = "so far"\nllm_query("never answered")\n```'])
        run = asyncio.ensure_future(RLM(root, LM(hangs), env=env, on_event=note).acall('text', 'What?'))
        await asked.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(stop())
    assert ended.wait(30) and ends == [('cancelled', 'so far')]


def test_a_draft_outlives_its_worker(apart):
    with open_shell(apart, timeout=30) as shell:
        shell.run('answer["content"] = ("a", 1)')
        shell.run('import os; os._exit(1)')
        assert (
            shell['answer'] == {'content': ('a', 1), 'ready': False}
            and shell.run('answer').value == "{'content': ('a', 1), 'ready': False}"
        )


def test_a_model_that_nobody_knows_runs_contained():
    if all(map(why_not, AUTO)):
        pytest.skip(why_not(AUTO[0]))

    def root(messages):
        return '```repl\nFINAL(len(context))\n```'

    started = lambda model: RLM(model)('x' * 100, 'How long?').trace.events[0]['settings']['environment_type']
    assert started(root) in AUTO and started(ScriptedLM(root)) == 'local'


def test_a_sub_call_may_take_so_long():
    async def hangs(messages):
        await asyncio.sleep(600)

    root = ScriptedLM(['```repl\ntry: llm_query("never answered")\nexcept Exception as error: FINAL(str(error))\n```'])
    assert (
        RLM(root, LM(hangs), env='local', subcall_timeout=0.2)('text', 'What?').answer
        == 'No reply after subcall_timeout=0.2 s.'
    )


def test_the_command_takes_an_environment(tmp_path, capsys):
    from rlm.cli import main
    from rlm.trace import Journal

    text, trace = tmp_path / 'log.txt', tmp_path / 'run.jsonl'
    text.write_text('The ship left in June.')
    assert (
        main(['ask', 'When did the ship leave?', str(text), '--env', 'process', '--quiet', '--trace', str(trace)]) == 0
    )
    assert next(iter(Journal.read(trace)))['settings']['environment_type'] == 'process'
    assert (
        main(['ask', 'When?', str(text), '--env', 'cellar', '--quiet']) == 2
        and 'there are: auto, local' in capsys.readouterr().err
    )


# --- a journal may be a stranger's ---


def journal_of_a_stranger(folder, **lies):
    "A journal whose code writes a file, and which says that it may run here: it was an offline model's, in `local`."

    def root(messages):
        touch = f'open({str(folder / "touched")!r}, "a").write("here")'
        return f'```repl\n{touch}; import sys; sys.modules["rlm"].touched = True\n```'

    path = folder / 'theirs.jsonl'
    RLM(ScriptedLM(root), env='process', max_iterations=1, on_limit='return', trace=path)('text', 'What?')
    (folder / 'touched').unlink()
    text = (
        path.read_text()
        .replace('"environment_type": "process"', '"environment_type": "local"')
        .replace('offline/scripted', 'offline/extractive')
    )
    events = [json.loads(line) for line in text.splitlines()]
    settings = events[0]['settings']['recipe']['settings']
    settings.update(env='local', model=dict(lm=dict(name='offline/extractive', kind='offline')), **lies)
    last = max(place for place, event in enumerate(events) if event['type'] == 'cell')
    told = dict(
        type='resume',
        seq=events[last]['seq'],
        time=0,
        run='r1',
        text='',
        replies=0,
        changes=dict(env='local', environment='local'),
    )
    path.write_text(''.join(json.dumps(event) + '\n' for event in [*events[:last], told]))
    return path


def ways_to_tell_it_again(path):
    from rlm.replay import replay

    yield lambda: replay(path).result
    yield lambda: RLM.resume(path, max_seconds=60)
    yield lambda: RLM(ReplayLM(path), max_iterations=1, on_limit='return')('text', 'What?')


@pytest.mark.parametrize(
    'lies',
    [
        {},
        dict(environment='local'),
        dict(environment_kwargs=dict(kernel_mode='subprocess')),
        dict(env_kwargs=dict(memory=10**6)),
    ],
)
def test_the_journal_of_a_stranger_touches_nothing(tmp_path, lies):
    if all(map(why_not, AUTO)):
        pytest.skip(why_not(AUTO[0]))
    for again in ways_to_tell_it_again(journal_of_a_stranger(tmp_path, **lies)):
        try:
            again()
        except BadInput as error:
            assert 'give env_kwargs= again' in str(error)
        assert not (tmp_path / 'touched').exists() and not hasattr(sys.modules['rlm'], 'touched')
    if 'env_kwargs' not in lies:
        from rlm.replay import replay

        assert (
            replay(tmp_path / 'theirs.jsonl', env='process').result and (tmp_path / 'touched').exists()
        )  # it would have, where it is let


def test_without_a_sandbox_the_journal_of_a_stranger_is_refused(tmp_path, monkeypatch):
    import rlm.shell.environments

    path = journal_of_a_stranger(tmp_path)
    monkeypatch.setattr(rlm.shell.environments, 'why_not', lambda name: f'{name} is missing.')
    for again in ways_to_tell_it_again(path):
        with pytest.raises(BadInput, match='apt install bubblewrap.*env="process" or env="local"'):
            again()
        assert not (tmp_path / 'touched').exists()


def test_the_journal_of_a_stranger_names_no_file(tmp_path):
    from rlm.replay import replay

    (tmp_path / 'secret.txt').write_text('The key.')
    path = journal_of_a_stranger(tmp_path)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    events[0]['context'] = dict(type='str', sources=dict(files=[str(tmp_path / 'secret.txt')]))
    path.write_text(''.join(json.dumps(event) + '\n' for event in events if event['type'] != 'context'))
    with pytest.raises(BadInput, match='does not hold the context'):
        replay(path)
