"What models reply, and what users bring, by kind: none of it ends a run that costs money, or becomes its answer."

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from rlm import Direct, LambdaRLM, LimitExceeded, ModelError, RLM, SRLM
from rlm.offline import ScriptedLM

CUT = 'length'


def cell(code):
    return f'```repl\n{code}\n```'


def play(*replies, context='The cat sat on the mat.', **settings):
    "A run with these replies; the last is repeated. Its result and the requests."
    left = list(replies)
    script = ScriptedLM(lambda messages, **_: left.pop(0) if len(left) > 1 else left[0])
    settings = dict(env='local', first_look=False, max_iterations=9) | settings
    return RLM(script, **settings)(context, 'Who sat?'), script.requests


def told(request):
    "The last message that a request brings to the model."
    return request['messages'][-1]['content']


# --- cut replies ---


@pytest.mark.parametrize(
    'text',
    [
        'FINAL(The answer is long and',
        'FINAL("""The answer is long and',
        'The final answer: the',
        cell('total = 1')[:-4] + '\nprint(tot',
        cell('print(1)') + '\nFINAL_VAR(tot',
        'answer["content"] = "the answer is long and',
        '<answer>The answer is',
    ],
)
def test_a_cut_reply_is_no_answer_and_no_syntax_error(text):
    patterns = '<answer>(.*?)(?:</answer>|$)'
    result, requests = play(dict(text=text, finish_reason=CUT), 'FINAL(the cat)', final_patterns=patterns)
    assert (result.answer, result.iterations) == ('the cat', 2)
    assert 'too long' in told(requests[1]) and 'SyntaxError' not in told(requests[1])


def test_a_cut_tool_call_is_told():
    call = dict(id='c1', name='run_repl', arguments='{"python_code": "print(len(con')
    cut = dict(text='', tool_calls=[call], finish_reason=CUT)
    result, requests = play(cut, 'The cat.', tool_calls=True)
    said = ' '.join(str(message['content']) for message in requests[1]['messages'][2:])
    assert result.answer == 'The cat.' and 'no JSON' in said and 'too long' in said


# --- tools ---


@pytest.mark.parametrize(
    'written',
    [
        '<tool_call>{"name": "run_repl", "arguments": {"python_code": "seen = 6 * 7"}}</tool_call>',
        '<tool_call>{"name": "functions.run_repl", "arguments": "{\\"python_code\\": \\"seen = 6 * 7\\"}"}</tool_call>',
        '[TOOL_CALLS][{"name": "run_repl", "arguments": {"python_code": "seen = 6 * 7"}}]',
        '<function=run_repl><parameter=python_code>\nseen = 6 * 7\n</parameter></function>',
        '<|tool_call>call:run_repl{python_code:<|"|>seen = 6 * 7<|"|>}<tool_call|>',
    ],
)
def test_a_call_in_the_text_is_made_and_is_no_answer(written):
    result, _ = play(f'I compute.\n{written}', cell('FINAL(seen)'), tool_calls=True)
    assert (result.value, result.iterations) == (42, 2)


@pytest.mark.parametrize(
    'name, arguments',
    [
        ('functions.run_repl', '{"python_code": "FINAL(6 * 7)"}'),
        ('run_repl', json.dumps(json.dumps(dict(python_code='FINAL(6 * 7)')))),
        ('default_api.run_repl:0', '{"code": "FINAL(6 * 7)"}'),
        ('run_repl', '```json\n{"python_code": "FINAL(6 * 7)"}\n```'),
        ('tools.run_repl', "{'python_code': 'FINAL(6 * 7)'}"),
    ],
)
def test_a_call_in_other_words_costs_no_turn(name, arguments):
    result, _ = play(dict(text='', tool_calls=[dict(id='c1', name=name, arguments=arguments)]), tool_calls=True)
    assert (result.value, result.iterations) == (42, 1)


# --- thinking in the text ---

TAGS = {
    'Magistral': ('[THINK]', '[/THINK]'),
    'EXAONE': ('<thought>', '</thought>'),
    'Command': ('<|START_THINKING|>', '<|END_THINKING|>'),
    'Gemma': ('<|channel>thought\n', '<channel|>'),
    'Seed-OSS': ('<seed:think>', '</seed:think>'),
    'Kimi-VL': ('◁think▷', '◁/think▷'),
}


@pytest.mark.parametrize('who', TAGS)
def test_thinking_is_no_code_no_answer_and_reaches_no_sub_call(who):
    first, last = TAGS[who]
    thought = f'{first}Perhaps\n{cell("FINAL(1)")}\nFINAL(2)\n{last}\n'
    left = [thought + cell('part = llm_query("Who?")'), f'{first}A dog? No.{last}the cat', cell('FINAL(part)')]
    result = RLM(lambda messages: left.pop(0), env='local')('The cat sat on the mat.', 'Who sat?')
    assert (result.answer, result.sub_calls) == ('the cat', 1)
    assert Direct(lambda messages: f'{first}A dog?{last}the cat')('text', 'Who?').answer == 'the cat'


# --- the same again ---


@pytest.mark.parametrize(
    'replies',
    [
        [cell('print(1)')] * 3,
        [cell('print(1)'), 'Once more:\n' + cell('print(1)'), cell('print(1)\n\n')],
        [cell('1 / 0')] * 3,
        [cell('missing')] * 3,
    ],
    ids=['code', 'in other words', 'an error', 'a name'],
)
def test_the_same_code_is_told_at_the_second_time_and_changed_at_the_third(replies):
    result, requests = play(*replies, 'FINAL(the cat)')
    texts = [told(request) for request in requests[1:]]
    assert ['code of your last reply again' in text for text in texts] == [False, True, True]
    assert [request['params'].get('temperature') for request in requests] == [None, None, None, 1.0]
    assert result.answer == 'the cat'


@pytest.mark.parametrize('texts', [['It was the cat.'] * 2, ['It was the cat.', 'it was  the cat.\n'], ['cat'] * 2])
def test_a_plain_answer_that_comes_again_is_the_answer(texts):
    result, requests = play(*texts)
    assert (result.answer, result.stop_reason, len(requests)) == (texts[1].strip(), 'final', 2)


HUGE = {
    'a loop': 'Users:\n' + 'user_1 and user_2\n' * 10_000,
    'one line': 'user_1 ' * 27_000,
    'no repetition': ' '.join(map(str, range(40_000))),
    'code': cell('rows = [\n' + '    "a",\n' * 20_000 + ']'),
}


@pytest.mark.parametrize('what', HUGE)
def test_a_huge_reply_stays_in_the_trace_and_out_of_the_requests(what):
    result, requests = play(HUGE[what], cell('x = 1'), 'FINAL(the cat)')
    assert max(sum(len(str(one['content'])) for one in request['messages']) for request in requests) < 40_000
    kept = [event['text'] for event in result.trace.events if event['type'] == 'reply']
    assert kept[0] == HUGE[what] and result.answer == 'the cat'


# --- half characters ---


class Strict:
    "A model that refuses what UTF-8 cannot hold, as every server does."

    def __init__(self, *replies):
        self.left = list(replies)

    def __call__(self, messages):
        json.dumps(messages, ensure_ascii=False).encode()
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


HALVES = ['\ud83d', '\ude00', 'caf\udce9', '\ude00\ud83d']


@pytest.mark.parametrize('half', HALVES, ids=ascii)
def test_half_a_character_ends_nothing(half):
    printed = cell(f'print({half!r})\npart = llm_query("Who? " + {half!r})')
    text = f'The cat {half} sat. ' * 50
    for env in ('local', 'process'):
        left = Strict(printed, 'the cat', cell('FINAL(part)'))
        assert RLM(left, env=env)(text, f'Who {half} sat?').answer == 'the cat'
    assert Direct(Strict('the cat'))(text, f'Who {half}?').answer == 'the cat'
    assert LambdaRLM(Strict('the cat'), task='summarise')(text, f'Who {half}?').answer == 'the cat'
    assert SRLM(Strict('FINAL(the cat)'), k=2, env='local')(text, f'Who {half}?').answer == 'the cat'


# --- text that comes in ---

WORDS = {
    'latin-1': 'Wer aß die Käsespätzle? Größe, Maß und Übermut; è già così.',
    'utf-16': 'Wer aß die Käsespätzle?',
    'koi8-r': 'Кто сидел на коврике? Кошка сидела на коврике, а собака лежала у двери.',
    'shift_jis': '猫はマットの上に座っていた。犬はどこにいましたか。',
    'utf-8-sig': 'id,text\n1,Maß',
}


def ask(text, *options):
    command = [sys.executable, '-m', 'rlm', 'ask', 'What is the dish of the house?', '-', '--json', '--quiet', *options]
    return subprocess.run(command, input=text, capture_output=True, timeout=600)


@pytest.mark.parametrize('encoding', WORDS)
def test_standard_input_in_any_encoding(encoding, tmp_path, monkeypatch):
    from rlm.base.inputs import read_context

    data = WORDS[encoding].encode(encoding)
    marked = encoding.startswith('utf')  # a byte order mark says what it is
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    with os.fdopen(read, encoding='ascii') as stream:
        monkeypatch.setattr(sys, 'stdin', stream)
        assert read_context(['-'], 'utf-8' if marked else encoding)[0] == WORDS[encoding]
    file = tmp_path / 'words.csv'
    file.write_bytes(data)
    assert read_context([str(file)], 'utf-8' if marked else encoding)[0] == WORDS[encoding]


def test_the_command_reads_a_pipe_in_the_encoding_that_is_named():
    dish = ('The dish of the house is Käsespätzle, with onions. ' * 40).encode('latin-1')
    wrong = ask(dish)
    assert (wrong.returncode, wrong.stdout) == (2, b'') and len(wrong.stderr.splitlines()) == 1
    assert b'Standard input is not utf-8' in wrong.stderr and b'it is probably' in wrong.stderr
    right = ask(dish, '--encoding', 'latin-1')
    assert right.returncode == 0 and 'Käsespätzle' in json.loads(right.stdout)['answer']


# --- Ctrl-C ---


def pressing(started):
    "Press Ctrl-C in the main thread once the model is asked."

    def press():
        started.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize('caught', [(LimitExceeded, ModelError), (Exception,), (RuntimeError, ValueError)], ids=str)
@pytest.mark.parametrize('kind', [RLM, Direct, LambdaRLM, SRLM])
def test_ctrl_c_leaves_the_users_loop(kind, caught):
    started, done = threading.Event(), threading.Event()

    def model(messages):
        started.set()
        done.wait(60)
        return 'FINAL(x)'

    settings = dict(env='local') if kind in (RLM, SRLM) else {}
    run = kind(model, **settings)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = pressing(started)
    documents = []
    try:
        with pytest.raises(KeyboardInterrupt) as stopped:
            for text in ('one', 'two'):
                documents.append(text)
                try:
                    run(text, 'Who?')
                except caught:
                    pass
    finally:
        thread.join()
        done.set()
        signal.signal(signal.SIGINT, handler)
    assert documents == ['one']
    assert stopped.value.result.stop_reason == 'cancelled'
