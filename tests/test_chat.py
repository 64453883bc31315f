"`rlm chat` as a person at a terminal has it: typed questions, slash commands, Ctrl-C, and a session that comes back."

import contextlib
import os
import re
import sys

import pytest

from rlm.trace.journal import Journal
from tests.mock_server import mock_server

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no pseudo-terminals')
pexpect = pytest.importorskip('pexpect')

# prompt_toolkit draws the prompt, then shows the cursor.
PROMPT = r'\x1b\[\?2004h.*?\x1b\[\?25h'
SLOW = (
    '```repl\nimport pathlib, time\nprint("now " + "sleeping")\n'
    'while not pathlib.Path("alarm").exists():\n    time.sleep(0.05)\n```'
)
RULES = [
    ('How many.*', 'I count.\n```repl\nwords = context.split()\nFINAL(len(words))\n```'),
    ('last one', '```repl\nFINAL(words[-1])\n```'),
    ('first one', '```repl\nFINAL(words[0])\n```'),
    ('Say it', 'FINAL(It is a wheelbarrow of a red colour.)'),
    ('Sleep', SLOW),
]


class Talk:
    "A person who talks to `rlm chat`."

    def __init__(self, folder, *words):
        environment = {name: value for name, value in os.environ.items() if name != 'NO_COLOR'}
        environment |= dict(
            TERM='xterm',
            PYTHONUTF8='1',
            PROMPT_TOOLKIT_NO_CPR='1',
            OPENAI_API_KEY='none',
            PYTHONPATH=os.getcwd(),
            HOME=str(folder),
            XDG_STATE_HOME=str(folder / 'state'),
            XDG_CONFIG_HOME=str(folder / 'config'),
        )
        self.child = pexpect.spawn(
            sys.executable,
            ['-m', 'rlm', 'chat', *words],
            env=environment,
            cwd=folder,
            dimensions=(40, 150),
            timeout=120,
            encoding='utf-8',
        )

    def say(self, line, expected):
        "Type a line at the prompt; what the terminal was sent up to the expected text."
        self.child.expect(PROMPT)
        self.child.send(line + '\r')
        self.child.expect(expected)
        return self.child.before + self.child.after

    def leave(self):
        "Press Ctrl-D; the last line that is printed."
        self.child.expect(PROMPT)
        self.child.sendeof()
        self.child.expect('To go on: rlm chat --resume .*\n')
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0


@pytest.fixture
def place(tmp_path):
    (tmp_path / 'book.txt').write_text('so much depends upon a red wheelbarrow')
    with mock_server() as server:
        server.script(rules=RULES)
        model = ['--model', 'openai/script', '--api-base', server.api_base, '--env', 'local']
        talks = []

        def talk(*words):
            talks.append(Talk(tmp_path, *words))
            return talks[-1]

        yield (
            tmp_path,
            server,
            lambda: talk('book.txt', *model, '--folder', 'session'),
            lambda: talk('--resume', 'session', *model),
        )
        for one in talks:
            with contextlib.suppress(OSError):
                one.child.close(force=True)


def test_a_conversation(place):
    folder, server, begin, _ = place
    talk = begin()
    # Alt+Enter begins a new line of the same question.
    shown = talk.say('How many\x1b\rwords are there?', r'\r\n7\r')
    assert '│ words = context.split()' in shown
    talk.say('And the last one?', '\nwheelbarrow\r')
    # The answer is printed once, while it is written.
    shown = talk.say('Say it.', 'of a red colour.(?s:.*)final · 1 turn')
    assert shown.count('It is a wheelbarrow of a red colour.') == 1
    assert 'all  3 calls' in talk.say('/cost', 'all  .*\r')
    assert re.search(r'words +list, 7 items', talk.say('/vars', r'history_2.*\r'))
    talk.say('/trace', r'rlm view \S*003.jsonl')
    talk.say('/model openai/mock', 'The model is openai/mock.')
    talk.say('/undo', 'Undone: Say it.')
    talk.say('/cots', r'did you mean /cost\?')
    talk.say('/save notes.md', '2 questions are written to notes.md.')
    # The other model is at the same server.
    talk.say('And the first one?', '\nso\r')
    talk.leave()
    assert '## And the last one?\n\nwheelbarrow\n' in (folder / 'notes.md').read_text()
    starts = [Journal.read(path)[0] for path in sorted((folder / 'session').glob('00?.jsonl'))]
    assert [start['query'] for start in starts] == [
        'How many\nwords are there?',
        'And the last one?',
        'And the first one?',
    ]
    assert [start['model'] for start in starts] == ['openai/script', 'openai/script', 'openai/mock']


def test_ctrl_c_keeps_the_session_and_another_process_goes_on(place):
    folder, server, begin, go_on = place
    talk = begin()
    talk.say('How many words are there?', r'\r\n7\r')
    # What the cell prints is seen while it runs.
    talk.say('Sleep, then answer.', 'now sleeping')
    talk.child.sendintr()
    talk.child.expect('the session goes on, and /resume continues the question')
    server.script(rules=[('', '```repl\nFINAL(f"{len(words)} after all")\n```')])
    (folder / 'alarm').touch()
    talk.say('/resume', '7 after all\r')
    (folder / 'alarm').unlink()
    server.script(rules=RULES)
    talk.say('Sleep, then answer.', 'now sleeping')
    talk.child.sendintr()
    talk.child.expect('the session goes on')
    talk.leave()
    (folder / 'alarm').touch()
    # The question that was stopped is continued by the process that brings the session back.
    server.script(
        rules=[
            ('', 'FINAL(I have slept.)'),
        ]
    )
    talk = go_on()
    talk.child.expect('The session is back, with 3 questions')
    talk.child.expect('I have slept.')
    server.script(rules=RULES)
    asked = server.stats()['requests']
    talk.say('And the last one?', '\nwheelbarrow\r')
    assert server.stats()['requests'] == asked + 1
    talk.leave()
