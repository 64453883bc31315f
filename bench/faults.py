"""What faults cost in time, and how soon a time limit ends a run: `python -m bench.faults` prints both.

The models are behind the mock server of the tests, with a latency. One request in five fails: 429, 500, an invalid
body, an empty reply, or nothing until the timeout. Each run is made with and without faults. Printed are the ratio of
their wall times, and whether answer and usage were right.
Every figure is measured; none is a test.
"""

from __future__ import annotations

import argparse
import statistics
import time

from rlm import Direct, LM, RLM, SRLM
from rlm.lambda_rlm import LambdaRLM
from tests.mock_server import mock_server

FAULTS = {
    '429': 0.05,
    '500': 0.05,
    'malformed': 0.03,
    'truncated': 0.02,
    'no_choices': 0.01,
    'null': 0.02,
    'hung': 0.02,
}
LETTERS = '\n\n'.join(
    f'Letter {number}. ' + 'The weather is fine here, and nothing happens. ' * 20 for number in range(100)
)


def cell(code):
    return f'I will look.\n\n```repl\n{code}\n```'


BATCHES = '''numbers = [None]*48
for attempt in range(3):
    missing = [n for n, one in enumerate(numbers) if one != f"number {n}"]
    for n, one in zip(missing, llm_query_batched([f"number {n}" for n in missing])): numbers[n] = one
children = rlm_query_batched([f"child {n}" for n in range(8)])
print("all there:", numbers == [f"number {n}" for n in range(48)] and children == [f"sub {n}" for n in range(8)])'''
TURNS = (
    [('Go on', cell('print("step 1")'))]
    + [(rf'step {number}\b', cell(f'print("step {number + 1}")')) for number in range(1, 29)]
    + [('step 29', 'FINAL(29)')]
)
CASES = {
    'RLM, 30 turns': (lambda lm: RLM(lm), 'Go on', '29', TURNS),
    'RLM, a batch of 48 and 8 children': (
        lambda lm: RLM(lm, max_depth=2),
        'Ask many',
        'all right',
        [
            ('all there: True', 'FINAL(all right)'),
            ('child [0-9]', cell('FINAL(llm_query("sub " + context.split()[-1]))')),
            ('Ask many', cell(BATCHES)),
        ],
    ),
    'LambdaRLM, 98 calls': (
        lambda lm: LambdaRLM(lm, task='summarise', window=1500),
        'What do they say?',
        'All is well.',
        [('.', 'All is well.')],
    ),
    'SRLM, 8 candidates': (lambda lm: SRLM(lm, k=8, early_stop=False), 'Go on', '29', TURNS),
    'Direct, 16 one after another': (lambda lm: Direct(lm), 'Say it', 'clams', [('.', 'clams')]),
}


def measure(name: str, faults: dict, seed: int, latency: float) -> tuple[float, bool, bool]:
    "Wall time in seconds, whether the answer was right, and whether the usage was what the server told."
    make, query, answer, rules = CASES[name]
    with mock_server(latency=latency, faults=faults, seed=seed, retry_after=latency) as server:
        server.script(rules=rules)
        strategy = make(
            LM('openai/rules', api_base=server.api_base, api_key='none', timeout=4 * latency, num_retries=20)
        )
        started = time.perf_counter()
        results = [strategy(LETTERS, query) for _ in range(16 if 'Direct' in name else 1)]
        seconds = time.perf_counter() - started
        seen = server.stats()
    used = [sum(getattr(result.usage, part) for result in results) for part in ('calls', 'input', 'output')]
    told = [seen['requests'], seen['told'].get('prompt_tokens', 0), seen['told'].get('completion_tokens', 0)]
    return seconds, all(result.answer == answer for result in results), used == told


def wall_times(repeats: int, latency: float) -> None:
    measure('Direct, 16 one after another', {}, 0, latency)  # imports are nobody's
    print(f'{"":36} undisturbed  with faults   ratio (each)')
    for name in CASES:
        calm = statistics.median(measure(name, {}, 0, latency)[0] for _ in range(2))
        runs = [measure(name, FAULTS, seed, latency) for seed in range(1, repeats + 1)]
        stormy = statistics.median(seconds for seconds, _, _ in runs)
        ratios = ' '.join(f'{seconds / calm:.2f}' for seconds, _, _ in runs)
        print(
            f'{name:36} {calm:8.2f} s {stormy:10.2f} s  {stormy / calm:5.2f} x ({ratios}); '
            f'answers {sum(right for _, right, _ in runs)}/{repeats}, '
            f'usage exact {sum(exact for *_, exact in runs)}/{repeats}',
            flush=True,
        )


def time_limits() -> None:
    "How long a run with `max_seconds=1` takes whose cell would take 8 s."
    codes = dict(
        steps='import time\nfor step in range(800): time.sleep(0.01)',
        one_sleep='import time\ntime.sleep(8)',
        works='import time\nuntil = time.monotonic() + 8\nwhile time.monotonic() < until: sum(range(1000))',
        child='rlm_query("a young walrus")',
    )
    for name, code, env in ((name, code, env) for env in ('local', 'auto') for name, code in codes.items()):
        model = lambda messages: cell(codes['one_sleep'] if 'young walrus' in messages[1]['content'] else code)
        strategies = dict(
            RLM=RLM(model, max_seconds=1, max_depth=2, on_limit='return', env=env),
            SRLM=SRLM(model, k=4, max_seconds=1, max_depth=2, on_limit='return', env=env),
        )
        for which, strategy in strategies.items():
            started = time.perf_counter()
            result = strategy('text', 'What?')
            print(
                f'max_seconds=1, a cell of 8 s ({name:9}, env={env}), {which:4}: '
                f'{time.perf_counter() - started:.2f} s, stop_reason {result.stop_reason}'
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m bench.faults', description=__doc__)
    parser.add_argument('--repeats', type=int, default=3, help='seeds of each strategy')
    parser.add_argument('--latency', type=float, default=0.3, help='seconds of a reply')
    options = parser.parse_args()
    time_limits()
    wall_times(options.repeats, options.latency)


if __name__ == '__main__':
    main()
