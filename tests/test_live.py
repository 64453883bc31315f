"The display of a run on a terminal and in a Jupyter kernel, as a person would see it."

import os
import re
import subprocess
import sys

import pytest

RUN = '''
import asyncio
from rlm import LambdaRLM, LM, RLM, SRLM
text = '\\n\\n'.join(f'# Letter {number}\\n\\nThe ship of Anna {number} left in May.' for number in range(300))
async def model(messages):
    await asyncio.sleep(0.15)
    if messages[0]['role'] != 'system': return 'YES' if 'YES or NO' in messages[-1]['content'] else 'Anna 3'
    if len(messages) < 4:
        return (
            '```repl\\nsaid = llm_query_batched([context[:500], context[500:1000]])\\n'
            'print("last line:", said[1])\\n```'
        )
    return '```repl\\nFINAL("Anna 3")\\n```'
lm = LM(model, input_cost_per_token=1e-6, output_cost_per_token=4e-6)
strategies = dict(
    rlm=lambda: RLM(lm, env='local', first_look=False, max_iterations=9, max_cost=2, verbose=True),
    srlm=lambda: SRLM(lm, env='local', first_look=False, k=2, early_stop=False, verbose=True),
    planned=lambda: LambdaRLM(lm, task='search', filter='model', context_window_chars=4000, verbose=True),
)
def go(name): return strategies[name]()(text, 'Who left?').answer
'''
# What the status line says at some moment, and lines that stay.
SEEN = dict(
    rlm=(
        r'turn 1 of 9 · waiting for the model · 0:0',
        r'turn 1 of 9 · \d/\d sub-calls?, \d in flight · [\d,]+ tokens · \$0\.\d+ of \$2\.00 · 0:0',
        r'turn 2 of 9 .* last line: Anna 3',
        r'\n  │ print\("last line:", said\[1\]\)',
        r'\nfinal · 2 turns · 4 calls',
    ),
    srlm=(r'candidates 0/2 · \d in flight', r'candidate [12] · "Anna 3" · final · 2 turns', r'\nfinal · 8 calls'),
    planned=(
        r'filter 0?\d*/\d+ · \d+ in flight',
        r'leaf \d+/\d+',
        r'\n  plan search · ',
        r'\n  filter (\d+)/\1 · ',
        r'\nfinal · ',
    ),
)


def on_a_terminal(name: str) -> str:
    "Everything that a terminal of 160 columns was sent."
    pexpect = pytest.importorskip('pexpect')
    environment = {name: value for name, value in os.environ.items() if name != 'NO_COLOR'} | dict(
        TERM='xterm', PYTHONUTF8='1'
    )
    child = pexpect.spawn(
        sys.executable,
        ['-c', f'{RUN}\ngo({name!r})'],
        env=environment,
        dimensions=(30, 160),
        timeout=60,
        encoding='utf-8',
    )
    child.expect(pexpect.EOF)
    return child.before.replace('\r\n', '\n')


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no pseudo-terminals')
@pytest.mark.parametrize('name', SEEN)
def test_a_terminal_shows_where_the_run_is(name):
    sent = on_a_terminal(name)
    plain = re.sub('\x1b\\[[0-9;]*m', '', sent)
    for pattern in SEEN[name]:
        assert re.search(pattern, plain.replace('\r\x1b[2K', '\n')), (pattern, plain)
    # What stays when all is rewritten has no status line and no code of a terminal in it.
    left = [line.rpartition('\x1b[2K')[2] for line in plain.split('\n')]
    assert not any('in flight' in line or '\x1b' in line or '\r' in line for line in left), left
    assert '\x1b[31m' not in sent or 'failed' in sent


@pytest.mark.parametrize('name', SEEN)
def test_a_notebook_shows_it_in_one_output_that_folds(name):
    manager = pytest.importorskip('jupyter_client.manager')
    kernels, client = manager.start_new_kernel(kernel_name='python3', startup_timeout=60)
    drawn, others = [], []

    def heard(message):
        if message['msg_type'] in ('display_data', 'update_display_data'):
            drawn.append((message['msg_type'], message['content']))
        elif message['msg_type'] in ('stream', 'error'):
            others.append(message['content'])

    try:
        client.execute_interactive(f'import os, sys; sys.path[:0] = {sys.path!r}\n{RUN}', output_hook=heard, timeout=60)
        client.execute_interactive(f'go({name!r})', output_hook=heard, timeout=60)
    finally:
        client.stop_channels()
        kernels.shutdown_kernel(now=True)
    assert (
        others == []
        and [kind for kind, _ in drawn].count('display_data') == 1
        and len({content['transient']['display_id'] for _, content in drawn}) == 1
    )
    last = drawn[-1][1]['data']
    assert (
        last['text/plain'].startswith('final · ')
        and last['text/html'].startswith('<details><summary>')
        and any('in flight' in content['data']['text/plain'] for _, content in drawn)
    )


def test_a_log_file_gets_lines_and_nothing_that_rewrites(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', f'{RUN}\ngo("rlm")'],
        env=os.environ | dict(PYTHONUTF8='1', TERM='xterm'),
        capture_output=True,
        text=True,
        encoding='utf-8',
        timeout=60,
    )
    assert (
        done.stdout == ''
        and '\x1b' not in done.stderr
        and '\r' not in done.stderr
        and 'in flight' not in done.stderr
        and '\nfinal · 2 turns' in done.stderr
    )
