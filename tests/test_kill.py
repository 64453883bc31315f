"""Runs whose process is killed (SIGKILL), over real HTTP against the mock server.

After `resume` the answer is that of an undisturbed run, and no reply that is in the journal is asked for again.

A driver process imports everything once and forks for each run, since importing LiteLLM takes seconds. The moment of a
kill is chosen with a seed: before, within or after the n-th line of the journal (the process kills itself there), or
when the server has seen its n-th request (the driver kills it).
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.mock_server import ROOT, mock_server

CALLS = 30  # of each undisturbed run
PARTS = [f'Part {number}: the lamp of house {number} is {"lit" if number % 3 else "dark"}.' for number in range(12)]
LETTERS = '\n\n'.join(
    f'Letter {number}. ' + 'The weather is fine here, and nothing happens. ' * 12 for number in range(93)
)


def cell(code):
    return f'```repl\n{code}\n```'


# What the server says, by what it is asked last, which it repeats where no pattern fits: the same in any order.
TURNS = [
    ('^Question: Which house', cell('print("begun", len(context))')),
    ('begun', cell('read = llm_query_batched([f"Read. {part}" for part in context])\nprint("batch of", len(read))')),
    (
        'batch of',
        cell('told = rlm_query_batched([f"Sub {n}" for n in range(3)], contexts=context[:3])\nprint("children", told)'),
    ),
    (
        'children',
        cell(
            'last = llm_query("Last. " + read[-1])\nonce = llm_query("Once more. " + last)\n'
            'FINAL(" | ".join([*told, once]))'
        ),
    ),
    (
        '^Question: Sub',
        cell('pair = [llm_query("Look. " + context), llm_query("Look again. " + context)]\nprint("looked")'),
    ),
    ('looked', cell('FINAL(pair[1])')),
]
VOTES = [
    ('^Question: Which house', cell('print("begun", len(context))') + '\n{"confidence": 80}'),
    (
        'begun',
        cell('read = llm_query_batched([f"Read. {part}" for part in context[:7]])\nprint("batch of", len(read))')
        + '\n{"confidence": 90}',
    ),
    ('batch of', cell('FINAL(read[2])') + '\n{"confidence": 95}'),
]
READ = [(f'Letter {number}\\.', f'Fact {number}.') for number in range(93)] + [('.', 'All is well.')]


def strategy(name: str, api_base: str, **settings):
    "What is run under that name."
    from rlm import LambdaRLM, LM, RLM, SRLM

    model = LM('openai/rules', api_base=api_base)
    if name == 'rlm':
        return RLM(model, env='local', first_look=False, max_depth=2, **settings), PARTS, 'Which houses have light?'
    if name == 'srlm':
        return (
            SRLM(model, env='local', first_look=False, k=3, early_stop=False, **settings),
            PARTS,
            'Which house is it?',
        )
    return LambdaRLM(model, task='summarise', window=800, **settings), LETTERS, 'What happens?'


# --- the driver: one process that forks ---


def kill_at_line(number: int, step: str) -> None:
    "Have this process killed at the journal's line of that number, counted from 1: before it, within it, or after it."
    from rlm.trace import Journal

    put, lines = Journal._put, itertools.count(1)

    def put_and_die(self, line: bytes) -> None:
        if next(lines) != number:
            return put(self, line)
        if step == 'torn':
            self._file.seek(self._end)
            self._file.write(line[: len(line) // 2])
        if step == 'after':
            put(self, line)
        os.kill(os.getpid(), signal.SIGKILL)

    Journal._put = put_and_die


def run_job(job: dict) -> dict:
    "Run or resume; what came of it."
    from rlm.runs.strategy import Strategy

    if job['resume']:
        result = Strategy.resume(job['journal'], **({} if job['strategy'] == 'lambda' else dict(env='local')))
    else:
        made, context, question = strategy(job['strategy'], job['api_base'], trace=job['journal'])
        result = made(context, question)
    return dict(
        answer=result.answer,
        calls=result.usage.calls,
        tokens=result.usage.tokens,
        differences=list(map(str, result.differences)),
    )


def requests_seen(api_base: str) -> int:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        api_base.removesuffix('/v1') + '/stats', timeout=30
    ) as response:
        return json.load(response)['requests']


def perform(job: dict) -> dict:
    "Fork, run, and kill where the job says so."
    outcome = Path(job['journal'] + '.outcome')
    outcome.unlink(missing_ok=True)
    process = os.fork()
    if process == 0:
        try:
            if 'line' in job:
                kill_at_line(job['line'], job['step'])
            outcome.write_text(json.dumps(run_job(job)))
        except BaseException as error:
            outcome.write_text(json.dumps(dict(error=f'{type(error).__name__}: {error}')))
        finally:
            os._exit(0)
    ended = 0
    while 'requests' in job and not ended and requests_seen(job['api_base']) < job['requests']:
        ended, status = os.waitpid(process, os.WNOHANG)
    if not ended:
        if 'requests' in job:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return dict(killed=os.WTERMSIG(status))
    return json.loads(outcome.read_text())


def learn_imports(api_base: str) -> dict:
    "Import what a first run imports. A forked process makes the run, so threads and connections stay there."
    from rlm import LM, RLM

    LM('openai/rules', api_base=api_base).count_tokens('hello')  # reads the tokenizer's file, once for all runs
    receiving, sending = os.pipe()
    if os.fork() == 0:
        before = set(sys.modules)
        LM('openai/echo', api_base=api_base)('hello')
        RLM(lambda messages: cell('FINAL(len(context))'), env='local')('hello', 'How long is it?')
        os.write(sending, ' '.join(sys.modules.keys() - before).encode())
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as told:
        names = told.read().split()
    os.wait()
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return dict(imported=len(names))


def serve_jobs() -> None:
    "Read jobs from standard input, one JSON line each, and answer each with a line."
    from rlm import LambdaRLM, RLM, SRLM  # noqa: F401 (imported before the first fork)
    from rlm.replay import resume  # noqa: F401 (imported before the first fork)
    from rlm.models.lm import load_litellm
    from rlm.shell import ipython

    load_litellm()
    ipython._ipython_class()
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(perform(job) if 'strategy' in job else learn_imports(**job)), flush=True)


# --- the test ---


@pytest.fixture(scope='module')
def driver():
    environment = dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP='True', OPENAI_API_KEY='none')
    process = subprocess.Popen(
        [sys.executable, '-m', 'tests.test_kill'],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(**job):
        process.stdin.write(json.dumps(job) + '\n')
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def asked_in(path: Path) -> Counter:
    "The prompts whose replies stand in a journal."
    from rlm.models import merge_roles
    from rlm.trace import Journal, messages_of

    events, found = Journal.read(path), Counter()
    for place, event in enumerate(events):
        if event['type'] != 'reply':
            continue
        if event['kind'] == 'turn':
            messages = merge_roles(messages_of(events[:place], event['run']))
        else:
            messages = [dict(role='user', content=event['prompt'])]
        found[json.dumps(messages)] += 1
    return found


def quiet(server) -> list:
    "All prompts that the server has seen, once it has done with what was in flight."
    while (seen := server.stats())['in_flight']:
        time.sleep(0.005)
    return [json.dumps(messages) for messages in seen['prompts']]


def moments(name: str, trials: int, lines: int) -> list[dict]:
    "Where the kills strike."
    dice = random.Random(f'kill {name}')
    chosen = []
    for number in range(trials):
        if number % 5 < 3:
            chosen.append(dict(line=dice.randint(2, lines), step=('before', 'torn', 'after')[number % 5]))
        else:
            chosen.append(dict(requests=dice.randint(1, CALLS)))
    return chosen


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the driver forks')
@pytest.mark.parametrize('name, trials, rules', [('rlm', 20, TURNS), ('lambda', 15, READ), ('srlm', 15, VOTES)])
def test_a_killed_run_goes_on(driver, tmp_path, name, trials, rules):
    with mock_server(latency=0.01) as server:

        def fresh():
            server.reset()
            server.script(rules=rules)

        def run(path, resume=False, **kill):
            return driver(strategy=name, api_base=server.api_base, journal=str(path), resume=resume, **kill)

        driver(api_base=server.api_base)
        fresh()
        undisturbed = run(tmp_path / 'whole.jsonl')
        prompts = Counter(quiet(server))
        assert undisturbed.get('calls') == prompts.total() == CALLS, undisturbed
        killed = 0
        for number, moment in enumerate(
            moments(name, trials, len((tmp_path / 'whole.jsonl').read_bytes().splitlines()))
        ):
            fresh()
            path, place = tmp_path / f'{number}.jsonl', (name, number, moment)
            outcome, seen = run(path, **moment), 0
            # One in four is killed a second time, soon after it was resumed.
            for again in range(2 if number % 4 == 0 else 1):
                killed += outcome.get('killed') == signal.SIGKILL
                seen = len(quiet(server))
                known = asked_in(path) if path.exists() and path.stat().st_size else Counter()
                second = (
                    dict(line=random.Random(number).randint(1, 12), step='torn')
                    if number % 4 == 0 and again == 0
                    else {}
                )
                if not (path.exists() and b'\n' in path.read_bytes()):
                    second = {}
                outcome = run(path, resume=True, **second)
                paid = Counter(quiet(server)[seen:])
                assert not (paid + known) - prompts, (place, 'a reply that was journalled was asked for again')
            assert outcome == undisturbed, place
            assert paid + known == prompts, place
        assert killed >= trials * 0.8, 'the kills came too late'


if __name__ == '__main__':
    serve_jobs()
