"""What several candidates cost in time and memory, next to one: `python -m bench.srlm` prints both.

The model is scripted: it answers after 200 ms, in five turns, four of which run a cell.
Every figure is measured; none is a test.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import time

from rlm.core import RLM
from rlm.srlm import SRLM

LATENCY, TURNS, CANDIDATES = 0.2, 5, 8  # seconds a call, turns and candidates a run


async def model(messages: list[dict]) -> str:
    "A scripted model: cells that read the context, then an answer."
    await asyncio.sleep(LATENCY)
    turn = sum(message['role'] == 'assistant' for message in messages) + 1
    return (
        'FINAL(42)'
        if turn == TURNS
        else f'```repl\nprint({turn}, len(context), context[:200].count("a"))\n```\n{{"confidence": 90}}'
    )


def seconds(strategy, context: str) -> float:
    "Wall time of one run."
    started = time.perf_counter()
    strategy(context, 'How many?')
    return time.perf_counter() - started


def wall_times(repeats: int) -> None:
    "One trajectory, eight at once, and eight one after another: the fastest of `repeats`."
    several = dict(k=CANDIDATES, early_stop=False)
    strategies = {
        'one trajectory': RLM(model, env='local'),
        f'{CANDIDATES} candidates at once': SRLM(model, env='local', **several),
        f'{CANDIDATES} candidates, candidate_parallel=1': SRLM(model, env='local', **several, candidate_parallel=1),
    }
    seconds(RLM(model, env='local'), 'text')  # not measured: it imports modules and starts the first shell
    measured = {
        name: min(seconds(strategy, 'text') for _ in range(repeats if 'parallel' not in name else 1))
        for name, strategy in strategies.items()
    }
    one = measured['one trajectory']
    for name, took in measured.items():
        print(f'{name:36} {took:6.2f} s  {took / one:5.2f} x')


def peak_memory(candidates: int, megabytes: int) -> float:
    "Peak memory of a process that runs so many candidates over so large a context, in MB."
    command = [sys.executable, '-m', 'bench.srlm', '--peak', str(candidates), '--megabytes', str(megabytes)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m bench.srlm', description=__doc__)
    parser.add_argument('--megabytes', type=int, default=200, help='size of the context')
    parser.add_argument('--repeats', type=int, default=3, help='runs of which the fastest counts')
    parser.add_argument('--peak', type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        SRLM(model, env='local', k=options.peak, early_stop=False)('a' * options.megabytes * 1_000_000, 'How many?')
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == 'darwin' else 1024))
        return
    wall_times(options.repeats)
    one, many = (peak_memory(candidates, options.megabytes) for candidates in (1, CANDIDATES))
    print(
        f'peak memory over {options.megabytes} MB: {one:.0f} MB for one candidate, '
        f'{many:.0f} MB for {CANDIDATES}: {many / one:.2f} x'
    )


if __name__ == '__main__':
    main()
