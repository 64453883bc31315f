"The command from end to end, in processes of its own: what it prints where, and the exit codes."

import json
import os
import re
import signal
import subprocess
import sys

import pytest

TEXT = 'The ship left at dawn.\r\nIts master was Anna Brand.\n' + 'The sea was calm. ' * 5000
LOOK = '```repl\nwhere = context.find("master")\nprint(context[where:where + 30])\n```'


@pytest.fixture
def book(tmp_path):
    path = tmp_path / 'book.txt'
    path.write_bytes(TEXT.encode())
    return path


def rlm(*words, server=None, stdin=None, **environment):
    "Run `rlm` with these words; the model is the mock server's where one is given."
    if server and words[0] == 'ask':
        words += ('--env', 'local')  # what is tested here is the command
    address = {'OPENAI_API_BASE': server.api_base, 'OPENAI_API_KEY': 'sk-of-this-test-0123456789'} if server else {}
    return subprocess.run(
        [sys.executable, '-c', 'import sys; from rlm.cli import main; sys.exit(main())', *map(str, words)],
        env=os.environ | address | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_answer_alone_is_on_standard_output(server, book):
    server.script(*[LOOK, 'FINAL(Anna Brand)'])
    done = rlm('ask', 'Who was master?', book, '--model', 'openai/x', server=server)
    assert (done.returncode, done.stdout) == (0, 'Anna Brand\n')
    assert 'context.find' in done.stderr and 'turn 2' in done.stderr and '\x1b' not in done.stderr


def test_quiet_is_quiet_and_json_is_json(server, book):
    server.script(*[LOOK, 'FINAL(Anna Brand)'])
    done = rlm('ask', 'Who was master?', book, '--model', 'openai/x', '--quiet', '--json', server=server)
    told = json.loads(done.stdout)
    assert (done.stderr, told['answer'], told['calls'], told['stop_reason']) == ('', 'Anna Brand', 2, 'final')


def test_direct_is_one_call(server, book):
    server.script(*['Anna Brand'])
    done = rlm('ask', 'Who was master?', book, '--model', 'openai/x', '--method', 'direct', server=server)
    assert (done.returncode, done.stdout, server.stats()['requests']) == (0, 'Anna Brand\n', 1)


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no pseudo-terminals')
def test_tokens_are_shown_as_they_come_and_the_answer_once(server, book):
    # A pipe gets the answer alone, when it is certain; the tokens go to standard error.
    asked = 'ask', 'Who was master?', book, '--model', 'openai/x', '--stream'
    replies = f'I look.\n{LOOK}', 'FINAL(Anna Brand)'
    server.script(*replies)
    done = rlm(*asked, server=server)
    assert (done.returncode, done.stdout) == (0, 'Anna Brand\n')
    shown = done.stderr.splitlines()
    places = [next(place for place, line in enumerate(shown) if start in line) for start in ('I look.', 'turn 1')]
    assert places == sorted(places) and '  master was Anna Brand.' in done.stderr
    # A terminal gets it while it is written, and not a second time.
    pexpect = pytest.importorskip('pexpect')
    server.script(*replies)
    address = {'OPENAI_API_BASE': server.api_base, 'OPENAI_API_KEY': 'none', 'TERM': 'xterm'}
    words = ['-c', 'import sys; from rlm.cli import main; sys.exit(main())', *map(str, asked), '--env', 'local']
    about = dict(env=os.environ | address, timeout=120, encoding='utf-8', dimensions=(40, 150))
    terminal = pexpect.spawn(sys.executable, words, **about)
    terminal.expect(pexpect.EOF)
    assert terminal.before.count('Anna Brand\r') == 1, terminal.before
    assert terminal.before.index('Anna Brand\r') < re.search(r'turn 2 · \d', terminal.before).start()


def test_the_sub_model_answers_sub_calls(server, book):
    server.script(*['```repl\nFINAL(llm_query("say hello"))\n```'])
    done = rlm(
        'ask', 'Say hello', book, '--model', 'openai/script', '--sub-model', 'openai/echo', '--quiet', server=server
    )
    assert (done.returncode, done.stdout) == (0, 'say hello\n')


def test_standard_input_folders_and_patterns(server, book, tmp_path):
    (tmp_path / 'notes.md').write_text('A second file.')
    (tmp_path / '.hidden').write_text('Not for reading.')
    for files, stdin, kind in (
        (['-'], 'from a pipe', 'str'),
        ([tmp_path], None, 'dict'),
        ([f'{tmp_path}/*.md'], None, 'dict'),
        ([book, tmp_path / 'notes.md'], None, 'dict'),
    ):
        server.script(*['```repl\nFINAL(f"{type(context).__name__} {len(context)}")\n```'])
        done = rlm('ask', 'What is it?', *files, '--model', 'openai/x', '--quiet', server=server, stdin=stdin)
        assert done.returncode == 0 and done.stdout.startswith(kind), (files, done)


@pytest.mark.parametrize(
    'words, sentence',
    [
        (['missing.txt'], 'does not exist'),
        (['{old}'], 'is not utf-8'),
        (['{image}'], 'is a binary file'),
        (['{empty}'], 'There is no text'),
        (['{book}', '--max-cost', '-1'], 'max_cost=-1.0: give a number of at least 0'),
        (['{book}', '--encoding', 'klingon'], "Unknown encoding 'klingon'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(book, tmp_path, words, sentence):
    (tmp_path / 'old').write_bytes(b'caf\xe9')
    (tmp_path / 'image').write_bytes(b'\x89PNG\0\0')
    (tmp_path / 'empty').mkdir()
    done = rlm(
        'ask',
        'What?',
        *(
            word.format(book=book, old=tmp_path / 'old', image=tmp_path / 'image', empty=tmp_path / 'empty')
            for word in words
        ),
        '--quiet',
    )
    assert (done.returncode, done.stdout) == (2, '') and sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_wrong_words_are_exit_2(book):
    assert rlm('ask', 'What?').returncode == 2
    assert rlm('ask', 'What?', book, '--method', 'magic').returncode == 2
    assert 'examples:' in rlm('ask', '--help').stdout


def test_a_limit_prints_what_there_is_and_exit_3(server, book):
    server.script(*['```repl\nanswer["content"] = "perhaps Anna"\n```'] * 5)
    done = rlm('ask', 'Who was master?', book, '--model', 'openai/x', '--max-calls', '2', '--quiet', server=server)
    assert (done.returncode, done.stdout) == (3, 'perhaps Anna\n') and 'max_calls=2' in done.stderr


def test_a_model_that_fails_is_exit_4_without_the_key(server, book):
    for model in ('openai/no-such-model', 'openai/500', 'no-provider'):
        done = rlm('ask', 'Who?', book, '--model', model, '--quiet', '--max-seconds', '60', server=server)
        assert (done.returncode, done.stdout) == (4, ''), done
        assert (
            'Traceback' not in done.stderr
            and 'sk-of-this-test' not in done.stderr
            and len(done.stderr.splitlines()) == 1
        )


def cell_started(trace, number):
    "Whether the journal has the start of that cell."
    events = [json.loads(line) for line in trace.read_text().split('\n')[:-1]] if trace.exists() else []
    return any(event['type'] == 'cell_start' and event['cell'] == number for event in events)


def test_ctrl_c_ends_with_what_there_is(server, book, tmp_path):
    server.script(
        *[
            '```repl\nanswer["content"] = "perhaps Anna"\n```',
            '```repl\nprint("still at it")\nimport time\nwhile True: time.sleep(0.01)\n```',
        ]
    )
    trace = tmp_path / 'run.jsonl'
    process = subprocess.Popen(
        [
            sys.executable,
            '-c',
            'import sys; from rlm.cli import main; sys.exit(main())',
            'ask',
            'Who?',
            str(book),
            '--model',
            'openai/x',
            '--env',
            'local',
            '--trace',
            str(trace),
        ],
        env=os.environ | {'OPENAI_API_BASE': server.api_base, 'OPENAI_API_KEY': 'k'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if 'while True' in line:
            break
    while not cell_started(trace, 2):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (3, 'perhaps Anna\n')
    assert 'Traceback (most recent call last)' not in err
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    assert (events[-1]['type'], events[-1]['stop_reason']) == ('run_end', 'cancelled')


@pytest.mark.parametrize('presses', [1, 2])
def test_ctrl_c_while_something_is_imported(book, tmp_path, presses):
    # The import ends only when it is allowed to; the command has to end before.
    (tmp_path / 'litellm.py').write_text(
        'import pathlib, sys, time\n'
        f'there = pathlib.Path({str(tmp_path)!r})\n'
        '(there / "begun").touch()\n'
        'while not (there / "go on").exists(): time.sleep(0.01)\n'
    )
    command = [sys.executable, '-m', 'rlm', 'ask', 'Who?', str(book), '--model', 'openai/x', '--env', 'local']
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', ''), os.getcwd()])
    process = subprocess.Popen(
        command, env=os.environ | {'PYTHONPATH': path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / 'begun').exists():
        assert process.poll() is None, process.communicate()
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    (tmp_path / 'go on').touch()
    assert (process.returncode, out, 'Traceback' in err) == (3, '', False), err


def test_a_reader_that_leaves_gets_no_traceback(book):
    command = [
        sys.executable,
        '-m',
        'rlm',
        'ask',
        'Who was the master?',
        str(book),
        '--json',
        '--quiet',
        '--env',
        'local',
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ''
    assert process.wait() == 1


def test_the_embedded_model_needs_no_key_and_no_network(book):
    done = rlm('ask', 'Who was the master of the ship?', book)
    assert done.returncode == 0 and 'Anna Brand' in done.stdout and 'is not a language model' in done.stderr


def test_the_best_of_several_trajectories(server, book):
    server.script(rules=[['master', 'FINAL(Anna Brand)']])
    done = rlm('ask', 'Who was master?', book, '--model', 'openai/rules', '--method', 'srlm', '-k', '3', server=server)
    assert (done.returncode, done.stdout) == (0, 'Anna Brand\n') and 'winner' in done.stderr
    assert rlm('ask', 'Who was master?', book, '--method', 'srlm', '-k', '0', '--quiet').returncode == 2


def test_a_plan_spends_nothing_and_its_run_keeps_to_it(server, book):
    server.script(rules=[['', 'Anna Brand']])
    planned = rlm('plan', 'Who was master?', book, '--model', 'openai/rules', '--task', 'search', server=server)
    assert planned.returncode == 0 and 'calls' in planned.stdout and server.stats()['requests'] == 0
    done = rlm(
        'ask',
        'Who was master?',
        book,
        '--model',
        'openai/rules',
        '--method',
        'lambda',
        '--task',
        'general',
        server=server,
    )
    assert (done.returncode, done.stdout) == (0, 'Anna Brand\n')
    assert rlm('plan', 'Who?', book, '--task', 'juggle').returncode == 2
