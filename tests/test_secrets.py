"A key is shown nowhere: not in traces, logs, displays, pages, results, reprs or exceptions, whoever says it."

import functools
import json
import logging
import os
import subprocess
import sys
import traceback

import pytest

from rlm import Direct, LM, RLM
from rlm.core import advanced_toolloop
from rlm.base.errors import ModelError
from rlm.logger import RLMLogger
from rlm.tools import make_run_repl, prep_shell
from tests.mock_server import mock_server
from tests.run import ROOT

# No prefix that gives them away: only being told of them, or the name of the variable, helps.
GIVEN, IN_ENVIRONMENT, IN_HEADER, WRONG = 'Zx81given0Q7w', 'Qy92environ1R8e', 'Wm54header6T3k', 'Pk37wrong5U9y'
SECRETS = (GIVEN, IN_ENVIRONMENT, IN_HEADER, WRONG)
CONTEXT = 'The walrus eats clams.'


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


@pytest.fixture(scope='module')
def locked():
    with mock_server(key=GIVEN) as server:
        yield server


@pytest.fixture
def server(locked, monkeypatch):
    "A server with a key, whose models know every secret."
    monkeypatch.setenv('OPENAI_API_KEY', IN_ENVIRONMENT)
    locked.reset()
    return locked


def lm(server, api_key=GIVEN, **settings):
    return LM(
        'openai/script',
        api_base=server.api_base,
        api_key=api_key,
        extra_headers={'X-Gateway-Token': IN_HEADER},
        **settings,
    )


def shown(*texts):
    "The secrets that occur in `texts`."
    return {secret for secret in SECRETS if any(secret in text for text in texts)}


def files_in(folder):
    return [path.read_text() for path in folder.rglob('*') if path.is_file()]


LEAKS = f'''
import os, sys
key = os.environ["OPENAI_API_KEY"]
print("stdout", key, "{GIVEN}")
print("stderr", key, file=sys.stderr)
sub = llm_query("What is " + key + "?")
answer["content"] = key
variable = dict(os.environ)
key
'''


@pytest.fixture
def everything(server, tmp_path, capfd):
    "A run whose code, model and prompts are full of keys, with all that it left behind."
    server.script(
        cell(LEAKS),
        f'It says {GIVEN} and {IN_HEADER}.',
        cell('raise ValueError("no " + key)'),
        cell('FINAL("the key is " + key)'),
        cell('FINAL(key)'),
    )
    events, turns = [], []
    strategy = RLM(
        lm(server),
        env='local',
        sub_lm=LM('openai/echo', api_base=server.api_base, api_key=GIVEN),
        trace=tmp_path / 'trace.jsonl',
        logger=RLMLogger(log_dir=tmp_path / 'logs'),
        verbose=True,
        on_event=events.append,
        on_iteration=lambda turn, event: turns.append(event),
    )
    result = strategy(CONTEXT, f'Is {GIVEN} the key?')
    return strategy, result, events, turns, tmp_path, capfd.readouterr()


def test_the_run_did_meet_the_keys(everything, server):
    strategy, result, events, *_ = everything
    sent = json.dumps(server.stats()['prompts'])
    assert shown(sent) >= {GIVEN, IN_ENVIRONMENT}  # the model itself is told what its code printed
    assert result.iterations >= 3 and any(
        event['type'] == 'cell' and 'stdout [secret] [secret]' in event['stdout'] for event in events
    )


def test_files_hold_no_key(everything):
    *_, folder, _ = everything
    written = files_in(folder)
    assert len(written) == 2 and all(written) and '[secret]' in written[0]
    assert not shown(*written)


def test_the_display_shows_no_key(everything):
    *_, output = everything
    assert output.err and not shown(output.out, output.err)


def test_events_and_callbacks_hold_no_key(everything):
    _, result, events, turns, *_ = everything
    assert events and turns
    assert not shown(
        *map(str, events),
        *map(str, turns),
        *map(str, result.trace.events),
        str(result.metadata),
        json.dumps(result.history),
    )


def test_reprs_and_pages_hold_no_key(everything):
    strategy, result, *_ = everything
    assert not shown(
        repr(strategy),
        repr(strategy.lm),
        str(strategy.lm),
        repr(result.trace),
        result._repr_html_(),
        result._repr_markdown_(),
    )
    assert not shown(repr(strategy.settings), str(result.usage_summary))


def exception_of(action):
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


def texts_of(error):
    "All that is commonly printed of an exception, and of those that it came from."
    seen, texts = set(), []
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts += [
            str(error),
            repr(error),
            repr(error.args),
            ''.join(traceback.format_exception(type(error), error, error.__traceback__)),
        ]
        texts += [str(vars(error))]
        error = error.__cause__ or error.__context__
    return texts


def test_replies_and_addresses_are_shown_without_keys(server):
    server.script(f'The key is {GIVEN}.')
    reply = lm(server)('hello')
    assert GIVEN in reply.text and '[secret]' in repr(reply) and not shown(repr(reply))
    assert not shown(repr(LM('openai/x', api_base=f'http://me:{WRONG}@127.0.0.1:1/v1')))


@pytest.mark.parametrize('num_retries', [0, 2])
def test_a_wrong_key_that_the_server_quotes_is_not_passed_on(server, num_retries):
    wrong = LM('openai/echo', api_base=server.api_base, api_key=WRONG, num_retries=num_retries)
    error = exception_of(lambda: wrong('hello'))
    assert isinstance(error, ModelError) and 'Incorrect API key provided: [secret]' in str(error)
    assert not shown(*texts_of(error), *map(repr, wrong.batch(['x'])))


def test_a_wrong_key_of_the_environment_is_not_passed_on(server):
    error = exception_of(lambda: LM('openai/echo', api_base=server.api_base)('hello'))
    assert '[secret]' in str(error) and not shown(*texts_of(error))


def test_what_the_server_repeats_from_a_prompt_is_not_passed_on(server):
    server.script({'content': f'Your header {IN_HEADER} and key {GIVEN} are odd.', 'status': 400})
    error = exception_of(lambda: lm(server)('hello'))
    assert 'are odd' in str(error) and not shown(*texts_of(error))


@pytest.mark.parametrize('mode', ['malformed', 'no_choices', 'null', 'truncated', 'hung', '500', '429', 'nonesuch'])
def test_no_failure_shows_the_key(server, mode):
    error = exception_of(
        lambda: LM(f'openai/{mode}', api_base=server.api_base, api_key=GIVEN, num_retries=0, timeout=0.3)(
            f'My key is {GIVEN}'
        )
    )
    assert not shown(*texts_of(error))


@pytest.mark.parametrize('strategy', [functools.partial(RLM, env='local'), Direct], ids=['RLM', 'Direct'])
def test_a_run_that_fails_leaves_no_key_behind(server, tmp_path, capfd, strategy):
    runner = strategy(
        LM('openai/script', api_base=server.api_base, api_key=WRONG),
        trace=tmp_path / 'trace.jsonl',
        logger=RLMLogger(log_dir=tmp_path / 'logs'),
        verbose=True,
    )
    error = exception_of(lambda: runner(CONTEXT, f'Is {WRONG} the key?'))
    assert error.result.stop_reason == 'model'
    output = capfd.readouterr()
    assert not shown(
        *texts_of(error),
        *files_in(tmp_path),
        output.out,
        output.err,
        str(error.result.trace.events),
        error.result._repr_html_(),
        error.result._repr_markdown_(),
    )


def test_the_engine_s_spelling_hides_its_key(server, tmp_path):
    server.script(cell(f'print("{GIVEN}")\nFINAL("done")'))
    runner = RLM(
        backend='openai',
        environment='local',
        backend_kwargs=dict(model_name='script', base_url=server.api_base, api_key=GIVEN),
        logger=RLMLogger(log_dir=tmp_path),
        trace=tmp_path / 'trace.jsonl',
    )
    result = runner.completion(CONTEXT)
    assert result.response == 'done'
    assert not shown(*files_in(tmp_path), repr(runner), repr(runner.settings), str(result.metadata))


def test_a_shell_hides_the_key_of_its_model(server, tmp_path, capfd):
    sh = prep_shell(CONTEXT, model='openai/echo', base_url=server.api_base, api_key=WRONG)
    server.script('never asked')
    error = sh.run('llm_query("hello")').error
    assert '[secret]' in error and not shown(error, repr(sh))
    server.script(
        {
            'content': None,
            'tool_calls': [{'name': 'run_repl', 'arguments': json.dumps({'python_code': f'print("{GIVEN}")'})}],
        },
        'done',
    )
    items = list(
        advanced_toolloop(
            'What?', tools=[make_run_repl(sh)], sh=sh, model=lm(server), trace=tmp_path / 'trace.jsonl', verbose=True
        )
    )
    output = capfd.readouterr()
    assert items[-1]['answer'] == 'done' and not shown(*files_in(tmp_path), output.out, output.err)


def test_litellm_s_own_logging_shows_no_key(server, caplog):
    "Also for somebody who wants to see warnings."
    with caplog.at_level(logging.INFO):
        for api_key in (GIVEN, WRONG):
            LM('openai/echo', api_base=server.api_base, api_key=api_key, num_retries=0).batch(['hello'])
    assert not shown(caplog.text)


def test_the_reply_cache_holds_no_key(server, tmp_path):
    pytest.importorskip('diskcache')
    server.script('cached')
    model = lm(server, cache=tmp_path)
    assert [model('hello').text, model('hello').usage.hits] == ['cached', 1]
    kept = b''.join(path.read_bytes() for path in tmp_path.rglob('*') if path.is_file())
    assert b'cached' in kept and not [secret for secret in SECRETS if secret.encode() in kept]


# --- what is made of traces ---


def test_the_viewer_shows_no_key(everything):
    from rlm.trace.viewer import view_page, write_view

    _, result, *_, folder, _ = everything
    assert '[secret]' in view_page(result.trace.events)
    write_view(result.trace.events, folder / 'run.html')
    assert not shown(*files_in(folder))


def test_a_replay_shows_no_key(everything, server):
    from rlm.replay import replay

    *_, folder, _ = everything
    again = replay(folder / 'trace.jsonl', context=CONTEXT, model=lm(server), env='local')
    assert not shown(
        repr(again), str(again), repr(again.result), str(again.result.trace.events), *map(str, again.differences)
    )


@pytest.mark.parametrize('method', ['srlm', 'lambda'])
def test_votes_and_plans_leave_no_key_behind(server, tmp_path, capfd, method):
    from rlm import SRLM
    from rlm.lambda_rlm import LambdaRLM
    from rlm.trace.viewer import view_page

    says = f'It says {GIVEN} and {IN_ENVIRONMENT} of {IN_HEADER}.'
    server.script(rules=[('.', f'FINAL({says})' if method == 'srlm' else says)])
    settings = dict(trace=tmp_path / 'trace.jsonl', logger=RLMLogger(log_dir=tmp_path / 'logs'), verbose=True)
    strategy = (
        SRLM(lm(server), k=3, **settings)
        if method == 'srlm'
        else LambdaRLM(lm(server), task='summarise', window=600, **settings)
    )
    result = strategy(f'{CONTEXT} ' * 100, f'Is {GIVEN} the key?')
    output = capfd.readouterr()
    assert GIVEN in result.answer and '[secret]' in repr(result)
    assert not shown(
        *files_in(tmp_path),
        output.out,
        output.err,
        repr(strategy),
        repr(result),
        result._repr_html_(),
        result._repr_markdown_(),
        view_page(result.trace.events),
    )
    if method == 'srlm':
        assert not shown(repr(result.choice), str(result.choice))


def test_a_sweep_leaves_no_key_behind(server, tmp_path, capfd):
    from rlm.bench.data.samples import Sample
    from rlm.bench.sweep import Sweep

    server.script(
        rules=[
            ('fail', {'content': f'{GIVEN} is a bad key', 'status': 400}),
            ('.', f'FINAL(It says {GIVEN} and {IN_HEADER}.)'),
        ]
    )
    samples = [
        Sample(f's{number}', 'letters', CONTEXT, query, 'clams', 'contains', 10)
        for number, query in enumerate([f'Is {GIVEN} the key?', 'Will it fail?'])
    ]
    done = Sweep(
        samples,
        ['direct', 'rlm:env=local'],
        lm(server),
        folder=tmp_path,
        traces=True,
        progress=False,
        score=lambda sample, answer: 0.0,
    ).run()
    output = capfd.readouterr()
    written = files_in(tmp_path)
    assert any('[secret]' in text for text in written) and len(done.rows) == 4
    assert not shown(*written, output.out, output.err, repr(done))


def test_reprs_of_parts_hold_no_key(server):
    from rlm.lambda_rlm import LambdaRLM
    from rlm.tools import Shell

    plan = LambdaRLM(lm(server), task='summarise', window=600).plan(f'It is {GIVEN}. ' * 300, f'Is {GIVEN} the key?')
    assert not shown(repr(plan), str(plan), plan._repr_markdown_())
    cell = Shell().run(f'key = "{GIVEN}"\nprint(key)\nkey')
    assert GIVEN in cell.stdout and not shown(repr(cell))


# --- one key under many names: a run that fails leaves it nowhere ---

MARK = 'Hk77marker4P2z'  # no shape of a key: only the place where it stands says what it is

SPELLINGS = dict(
    api_key=dict(api_key=MARK),
    user_of_the_address=dict(address=f'http://{MARK}@'),
    password_of_the_address=dict(address=f'http://me:{MARK}@'),
    user_and_password=dict(address=f'http://{MARK}:{MARK}@'),
    **{
        f'query {name}': dict(query=f'?{name}={MARK}')
        for name in ('key', 'code', 'sig', 'subscription-key', 'token', 'api-key', 'access_token', 'zz', 'sv=1&q')
    },
    bare_query=dict(query=f'?{MARK}'),
    **{
        f'header {name}': {where: {name: f'{before}{MARK}'}}
        for where, name, before in (
            ('extra_headers', 'Authorization', 'Bearer '),
            ('extra_headers', 'Authorization-2', 'Basic '),
            ('extra_headers', 'Cookie', 'session='),
            ('extra_headers', 'X-Auth', ''),
            ('extra_headers', 'X-Anything', ''),
            ('extra_headers', 'Ocp-Apim-Subscription-Key', ''),
            ('headers', 'X-Gateway', ''),
            ('headers', 'Proxy-Authorization', 'Bearer '),
        )
    },
    body_credential=dict(extra_body=dict(credential=MARK)),
    body_auth_pass=dict(extra_body=dict(auth={'pass': MARK})),
    body_list=dict(extra_body=dict(keys=[dict(secret=MARK)])),
    body_address=dict(extra_body=dict(callback=f'https://host/hook?sig={MARK}')),
    body_user_address=dict(extra_body=dict(store=f'redis://{MARK}@host')),
    metadata_database=dict(metadata=dict(database=f'postgres://me:{MARK}@host/db')),
    metadata_token=dict(metadata=dict(session_token=MARK)),
    **{
        name: {name: MARK}
        for name in (
            'vertex_credentials',
            'aws_secret_access_key',
            'aws_session_token',
            'azure_ad_token',
            'client_secret',
            'azure_password',
            'watsonx_token',
            'user_auth',
        )
    },
    **{
        f'variable {name}': dict(variable=name)
        for name in ('OPENAI_API_KEY', 'HF_TOKEN', 'AWS_SECRET_ACCESS_KEY', 'GATEWAY_SECRET', 'DB_PASSWORD')
    },
)


def of_spelling(server, api_key=GIVEN, address='http://', query='', variable=None, **params):
    return LM(
        'openai/script',
        api_base=server.api_base.replace('http://', address) + query,
        api_key=api_key,
        num_retries=0,
        **params,
    )


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_no_spelling_of_a_key_is_left_behind(server, tmp_path, capfd, caplog, monkeypatch, spelling):
    from rlm.trace.viewer import view_page

    given = SPELLINGS[spelling]
    if 'variable' in given:
        monkeypatch.setenv(given['variable'], MARK)
    # The server repeats everything that it was sent, in an error.
    server.script({'content': f'{MARK} is a bad key (see http://host/x?key={MARK})', 'status': 400})
    runner = Direct(
        of_spelling(server, **given),
        trace=tmp_path / 'trace.jsonl',
        logger=RLMLogger(log_dir=tmp_path / 'logs'),
        verbose=True,
    )
    error = exception_of(lambda: runner(CONTEXT, 'Who eats clams?'))
    output = capfd.readouterr()
    events = error.result.trace.events
    left = dict(
        files='\n'.join(files_in(tmp_path)),
        terminal=output.out + output.err,
        log=caplog.text,
        exceptions='\n'.join(texts_of(error)),
        reprs=repr(runner) + repr(runner.lm) + repr(error.result) + str(events),
        pages=view_page(events) + error.result._repr_html_() + error.result._repr_markdown_(),
    )
    assert 'trace' not in left and not [where for where, text in left.items() if MARK in text]


def test_there_are_forty_spellings():
    assert len(SPELLINGS) >= 40


# --- nothing in the working folder leads a key elsewhere ---

ASK = '''
import os, sys
sys.path.insert(0, {root!r})  # and not the working folder
from rlm.models.lm import load_litellm
load_litellm()
print(os.environ.get('OPENAI_API_BASE'), os.environ.get('OPENAI_API_KEY'), os.environ.get('WALRUS'))
'''


def test_a_file_of_the_working_folder_leads_no_key_elsewhere(tmp_path):
    "Interactive sessions are where LiteLLM would look for a .env in the working folder."
    (tmp_path / '.env').write_text('OPENAI_API_BASE=http://127.0.0.1:9/elsewhere\nWALRUS=1\n')
    (tmp_path / 'litellm_config.yaml').write_text('model_list: []\n')
    done = subprocess.run(
        [sys.executable, '-i', '-c', ASK.format(root=str(ROOT))],
        cwd=tmp_path,
        env=dict(
            PATH=os.environ['PATH'],
            OPENAI_API_KEY=GIVEN,
            HOME=str(tmp_path / 'home'),
            LITELLM_LOCAL_MODEL_COST_MAP='True',
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.split() == ['None', GIVEN, 'None'], done.stdout + done.stderr
