"""Files that are damaged, or made by somebody who means harm: each is one sentence and an exit status, no traceback.

Journals, logs, profiles, settings and caches come from disks that fail and from other people. Each kind of damage is
tried with each command that reads such a file, in this process, so that an exception that nobody expected fails a test.
"""

import contextlib
import gzip
import io
import json
import os

import pytest

from rlm import RLM
from rlm.cli import main
from rlm.models.offline import ScriptedLM

REPLIES = ['```repl\nprint(llm_query("Who?"), rlm_query("Which?"))\n```', '```repl\nFINAL("1887")\n```']
DEEP = '[' * 100_000 + ']' * 100_000
HUGE = '9' * 5000
# Values of a wrong kind, as JSON, for a field of an event; '' leaves the field out.
# `RLM_ALL_DAMAGES=1` tries each with each field of each event, which takes ten minutes.
ALL = ['', 'null', '3', '-1', '1e999', '9' * 400, '"x"', '"\\ud800"', '[]', '[1]', '{}', '{"$": 1}', 'true']
WRONG = ALL if os.environ.get('RLM_ALL_DAMAGES') else ['', '[1]']


@pytest.fixture(scope='module')
def lines(tmp_path_factory):
    "The lines of a journal with cells, sub-calls and a child."
    path = tmp_path_factory.mktemp('run') / 'run.jsonl'
    lm = ScriptedLM([REPLIES[0], 'Anna', '```repl\nFINAL("a child")\n```', REPLIES[1]])
    with contextlib.redirect_stderr(io.StringIO()):
        RLM(lm, env='local', max_depth=2, trace=path)('In 1887 the bridge was finished.', 'When?')
    return path.read_text().splitlines()


COMMANDS = {
    'replay': ['replay', 'FILE', '--env', 'local', '--quiet'],
    'resume': ['resume', 'FILE', '--env', 'local', '--quiet'],
    'export': ['export', 'FILE', '-o', 'OUT'],
    'view': ['view', 'FILE', '-o', 'OUT', '--no-open'],
}
# The file's bytes, made of the lines of a good journal.
DAMAGES = {
    'empty': lambda lines: b'',
    'binary': lambda lines: bytes(range(256)) * 100,
    'nulls': lambda lines: bytes(10_000),
    'gzip': lambda lines: gzip.compress('\n'.join(lines).encode()),
    'half_a_gzip': lambda lines: gzip.compress('\n'.join(lines).encode())[:200],
    'utf16': lambda lines: '\n'.join(lines).encode('utf-16'),
    'text': lambda lines: b'Dear reader,\nthis is a letter.\n',
    'html': lambda lines: b'<!doctype html><html></html>',
    'number': lambda lines: b'3\n',
    'list': lambda lines: b'[1, 2]\n[3]\n',
    'null': lambda lines: b'null\n',
    'text_of_json': lambda lines: b'"run_start"\n',
    'empty_objects': lambda lines: b'{}\n' * 5,
    'one_document': lambda lines: ('[' + ',\n'.join(lines) + ']').encode(),
    'no_start': lambda lines: '\n'.join(lines[1:]).encode(),
    'start_twice': lambda lines: '\n'.join([lines[0], *lines]).encode(),
    'backwards': lambda lines: '\n'.join(reversed(lines)).encode(),
    'torn_in_the_middle': lambda lines: '\n'.join([*lines[:3], lines[3][:20], *lines[4:]]).encode(),
    'deep': lambda lines: '\n'.join([*lines[:3], '{"type":"x","seq":3,"time":1,"run":"r1","x":' + DEEP + '}']).encode(),
    'deep_start': lambda lines: changed(lines, 0, 'query', DEEP),
    'huge_number': lambda lines: changed(lines, 2, 'seq', HUGE),
    'newer_version': lambda lines: changed(lines, 0, 'version', '"99.0.0"'),
    'newer_format': lambda lines: changed(lines, 0, 'format', '99'),
    'other_strategy': lambda lines: changed(lines, 0, 'strategy', '"os.system"'),
    'not_a_strategy': lambda lines: changed(lines, 0, 'strategy', '{"name": 3}'),
    'settings_of_text': lambda lines: changed(lines, 0, 'settings', '"all"'),
    'unknown_setting': lambda lines: changed(lines, 0, 'settings', '{"nonesuch": 1}'),
    'recipe_of_text': lambda lines: with_recipe(lines, '"all"'),
    'recipe_without_settings': lambda lines: with_recipe(lines, '{"strategy": "RLM"}'),
    'recipe_with_itself': lambda lines: with_recipe(lines, '{"strategy": "SRLM", "settings": {"engine": 3}}'),
    'model_of_a_number': lambda lines: with_recipe(lines, '{"strategy": "RLM", "settings": {"model": 3}}'),
    'model_without_name': lambda lines: with_recipe(lines, '{"strategy": "RLM", "settings": {"model": {"lm": {}}}}'),
    'limits_of_text': lambda lines: with_recipe(lines, '{"strategy": "RLM", "settings": {"limits": "none"}}'),
    'deep_recipe': lambda lines: with_recipe(
        lines, '{"strategy": "RLM", "settings": {"engine": {"strategy": ' * 300 + '3' + '}}}' * 300
    ),
}


def with_recipe(lines, recipe):
    "The journal with another recipe of its strategy."
    return changed(lines, 0, 'settings', f'{{"recipe": {recipe}}}')


def changed(lines, place, name, value):
    "The journal with one field of one event replaced by a piece of JSON, or left out."
    event = json.loads(lines[place])
    event.pop(name, None)
    text = json.dumps(event)
    if value:
        text = f'{text[:-1]}{", " if event else ""}{json.dumps(name)}: {value}}}'
    return '\n'.join([*lines[:place], text, *lines[place + 1 :]]).encode()


def run(words):  # exit status and what was printed on standard error
    "Run a command in this process; an exception is that of the test."
    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        status = main(words)
    return status, errors.getvalue()


def check_refusal(status, errors, may_work=True):
    "A status of the list, and at most a sentence or two."
    assert status in ((0, 1, 2, 3, 4) if may_work else (1, 2, 4)), (status, errors)
    assert not errors.startswith('Traceback') and '\nTraceback' not in errors
    assert len(errors) < 3000 and (status == 1 or errors.count('\n') <= 12), errors
    assert status in (0, 1) or errors.startswith('rlm: '), errors


def words_for(command, path, folder):
    return [dict(FILE=str(path), OUT=str(folder / 'out')).get(word, word) for word in COMMANDS[command]]


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('command', COMMANDS)
def test_a_damaged_journal_is_one_sentence(command, damage, lines, tmp_path):
    path = tmp_path / 'damaged.jsonl'
    path.write_bytes(DAMAGES[damage](lines))
    check_refusal(*run(words_for(command, path, tmp_path)))


@pytest.mark.parametrize('command', COMMANDS)
def test_any_field_of_a_journal_may_be_of_a_wrong_kind(command, lines, tmp_path):
    "Each field of each kind of event is left out or replaced; what fails is told with the field."
    path, seen, failed = tmp_path / 'damaged.jsonl', set(), []
    for place, line in enumerate(lines):
        event = json.loads(line)
        for name in event:
            if (event['type'], name) in seen:
                continue
            seen.add((event['type'], name))
            for value in WRONG:
                path.write_bytes(changed(lines, place, name, value))
                try:
                    check_refusal(*run(words_for(command, path, tmp_path)))
                except Exception as error:
                    failed.append(f'{event["type"]}.{name} = {value!r:.20}: {type(error).__name__}: {str(error)[:200]}')
    assert not failed, f'{len(failed)} fail:\n' + '\n'.join(failed)


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('kind', ['folder', 'pipe', 'missing', 'dangling', 'device'])
def test_what_is_no_file_is_one_sentence(command, kind, tmp_path):
    "A pipe that nobody writes to is not waited for: the test would not end."
    path = tmp_path / 'run.jsonl'
    if kind == 'folder':
        (path / 'more').mkdir(parents=True)
    elif kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'dangling':
        path.symlink_to(tmp_path / 'nowhere')
    elif kind == 'device':
        path = '/dev/zero'
    status, errors = run(words_for(command, path, tmp_path))
    check_refusal(status, errors)
    assert status == 2, (status, errors)


# Another file that a command reads, and the words that read it; CONFIG is RLM_CONFIG's file.
CONTENTS = {
    'empty': b'',
    'binary': bytes(range(256)) * 100,
    'gzip': gzip.compress(b'{}')[:10],
    'text': b'Dear reader,\n',
    'number': b'3',
    'list': b'[1, 2]',
    'null': b'null',
    'deep': DEEP.encode(),
    'deep_objects': b'{"a":' * 50_000 + b'1' + b'}' * 50_000,
    'huge_number': b'{"format": ' + HUGE.encode() + b'}',
    'newer': b'{"format": 99, "model": "x"}',
    'endless': b'{"format": 1e999, "window": 1e999, "model": "x"}',
}


@pytest.mark.parametrize('content', CONTENTS)
def test_a_damaged_profile_is_one_sentence(content, tmp_path):
    from rlm.base.errors import BadInput
    from rlm.plan.profile import Profile

    path = tmp_path / 'profile.json'
    path.write_bytes(CONTENTS[content])
    with pytest.raises(BadInput) as error:
        Profile.load(path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize('kind', ['folder', 'pipe'])
def test_a_profile_that_is_no_file_is_one_sentence(kind, tmp_path):
    from rlm.base.errors import BadInput
    from rlm.plan.profile import Profile

    path = tmp_path / 'profile.json'
    path.mkdir() if kind == 'folder' else os.mkfifo(path)
    with pytest.raises(BadInput):
        Profile.load(path)


@pytest.mark.parametrize('content', [*CONTENTS, 'pipe', 'folder'])
def test_a_damaged_settings_file_is_one_sentence(content, tmp_path, monkeypatch):
    path = tmp_path / 'rlm' / 'config.toml'
    path.parent.mkdir()
    if content == 'pipe':
        os.mkfifo(path)
    elif content == 'folder':
        path.mkdir()
    else:
        path.write_bytes(CONTENTS[content])
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    status, errors = run(['config'])
    check_refusal(status, errors)
    assert status == (0 if content in ('empty', 'folder', 'pipe') else 2), (status, errors)


@pytest.mark.parametrize('content', [*CONTENTS, 'folder'])
def test_a_damaged_cache_is_one_sentence(content, tmp_path):
    from rlm.base.errors import BadInput
    from rlm.models.reply_cache import open_cache

    path = tmp_path / 'cache.db'
    path.mkdir() if content == 'folder' else path.write_bytes(CONTENTS[content])
    if content in ('empty', 'number'):  # SQLite begins anew with a file of one byte
        open_cache(tmp_path).close()
        return
    with pytest.raises(BadInput, match='give another folder'):
        open_cache(tmp_path)


def test_the_page_of_a_hostile_log_is_bounded(lines, tmp_path):
    "Texts share a room, whatever they hold; files and events beyond what a page can show are refused."
    from rlm.trace import viewer

    events = [json.loads(line) for line in lines]
    place = next(place for place, event in enumerate(events) if event['type'] == 'cell')
    empty = len(viewer.view_page(events, room=100_000))
    for text in ('<&"' * 3_000_000, '\x1b\u202e' * 3_000_000, '\n' * 9_000_000, '\U0001f600' * 9_000_000):
        hostile = [*events[:place], dict(events[place], stdout=text), *events[place + 1 :]]
        assert len(viewer.view_page(hostile, room=100_000)) < empty + 12 * 100_000  # an emoji is 12 characters of JSON
    for number, size in enumerate((viewer._MAX_LOG + 1, 0)):
        path = tmp_path / f'{number}.jsonl'
        path.write_text('\n'.join(lines) + '\n')
        if size:
            os.truncate(path, size)  # a file with a hole takes no room on the disk
        else:
            last = events[-1]['seq']
            notice = '{"type": "notice", "seq": %d, "time": 1, "run": "r1", "text": ""}\n'
            with open(path, 'a') as file:
                file.writelines(notice % (last + more) for more in range(1, viewer._MAX_EVENTS + 1))
        status, errors = run(words_for('view', path, tmp_path))
        assert status == 2 and 'a page can show' in errors, errors
