"""How fast each environment is. `make bench` prints the table and writes nbs/shell/envs.json for the docs.

Every figure is measured, none is a test. Each environment is measured in a separate process; an environment that
does not work on this machine is listed with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.speed import ROOT, machine

ENVIRONMENTS = ('local', 'process', 'sandbox', 'landlock', 'docker', 'kernel')
FIGURES = {  # name -> what the page calls it, the goal for `sandbox`, how it is written
    'start': ('start, with IPython', 0.35, '{:.2f} s'),
    'cell': ('one cell', 0.001, '{:.2f} ms'),
    'subcall': ('one sub-call', 0.0004, '{:.2f} ms'),
    'batch': ('64 sub-calls of 50 ms at once', 0.070, '{:.0f} ms'),
    'seconds_100': ('100 MB of context: time', 0.3, '{:.2f} s'),
    'memory_100': ('100 MB of context: memory besides the text itself, at its peak', 2.2, '{:.2f} x'),
    'seconds_1000': ('1 GB of context: time', None, '{:.2f} s'),
    'memory_1000': ('1 GB of context: memory besides the text itself, at its peak', None, '{:.2f} x'),
}
SCALE = {'cell': 1000, 'subcall': 1000, 'batch': 1000}

PEAK = """
try: peak = int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(context), peak)
"""


async def at_once(kind: str, prompts: list, model: str | None, contexts: list | None) -> list:
    "Answers sub-calls at once."
    return ['reply'] * len(prompts)


async def slowly(kind: str, prompts: list, model: str | None, contexts: list | None) -> list:
    "Answers each sub-call after 50 ms."
    return await asyncio.gather(*(asyncio.sleep(0.05, 'reply') for _ in prompts))


def peak_memory() -> int:  # KB
    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])


def measure(env: str, settings: dict, repeats: int) -> dict[str, float]:  # seconds
    "Start, cell, sub-call and batch; medians."
    from rlm.shell.environments import open_shell

    starts, cells, subcalls, batches = [], [], [], []

    def timed(times: list[float], shell, code: str, count: int = 1) -> str:
        started = time.perf_counter()
        cell = shell.run(code)
        times.append((time.perf_counter() - started) / count)
        assert cell.error is None, cell.error
        return cell.value

    for number in range(repeats + 1):
        with open_shell(env, 'context', subcalls=at_once, timeout=60, **settings) as shell:
            timed(starts, shell, '1')
            for _ in range(50):
                timed(cells, shell, 'x = 1')
            for _ in range(4):
                timed(subcalls, shell, 'for _ in range(50): llm_query("x")', 50)
            shell.subcalls = slowly
            for _ in range(2):
                assert timed(batches, shell, 'len(llm_query_batched(["x"] * 64))') == '64'
    return dict(
        start=statistics.median(starts[1:]),
        cell=statistics.median(cells),
        subcall=statistics.median(subcalls),
        batch=statistics.median(batches),
    )


def measure_context(env: str, settings: dict, megabytes: int, seconds_of_start: float) -> dict[str, float]:
    "A long context: seconds beyond a bare start, and the growth of both processes' peak memory, in sizes of the text."
    from rlm.shell.environments import open_shell

    def first_cell(context: str) -> tuple[float, int]:  # seconds, KB of the worker at its peak
        started = time.perf_counter()
        with open_shell(env, context, timeout=120, **settings) as shell:
            cell = shell.run(PEAK)
            seconds = time.perf_counter() - started
        assert cell.error is None, cell.error
        length, peak = map(int, cell.stdout.split())
        assert length == len(context)
        return seconds, peak

    _, worker_before = first_cell('short')
    size = megabytes * 10**6
    context, host_before = '0123456789abcde\n' * (size // 16), peak_memory()  # which holds the text already
    seconds, worker = first_cell(context)
    grown = peak_memory() - host_before + (worker - worker_before if env != 'local' else 0)
    return {f'seconds_{megabytes}': max(seconds - seconds_of_start, 0.0), f'memory_{megabytes}': grown * 1024 / size}


def in_own_process(env: str, settings: dict, *arguments: object) -> dict:
    "What one measurement says."
    command = [sys.executable, '-m', 'bench.envs', '--measure', env, json.dumps(settings), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f'{env}: {done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def figures_of(env: str, repeats: int) -> dict[str, float]:
    "All of one environment; raises `RLMError` with the reason where it is not here."
    from rlm.shell.environments import why_not
    from rlm.base.errors import RLMError
    from tests.containers import container_settings

    if problem := why_not(env):
        raise RLMError(problem)
    with container_settings() if env == 'docker' else contextlib.nullcontext({}) as settings:
        found = in_own_process(env, settings, 'quick', repeats)
        for megabytes, times in ((100, 3), (1000, 1)):
            runs = [in_own_process(env, settings, 'context', megabytes, found['start']) for _ in range(times)]
            found |= {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return found


def as_markdown(report: dict) -> str:
    "The table, with a column for each environment."
    found = report['environments']
    lines = [
        '| | goal for `sandbox` | ' + ' | '.join(f'`{env}`' for env in found) + ' |',
        '|---' * (len(found) + 2) + '|',
    ]
    for name, (title, goal, form) in FIGURES.items():
        scale = SCALE.get(name, 1)
        shown = [form.format(figures[name] * scale) for figures in found.values()]
        lines.append(f"| {title} | {'' if goal is None else form.format(goal * scale)} | {' | '.join(shown)} |")
    about = report['machine']
    lines += [
        '',
        f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}, {about['date']}.",
    ]
    return '\n'.join(lines + [f'`{env}` is not measured here: {reason}' for env, reason in report['missing'].items()])


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m bench.envs', description=__doc__.splitlines()[0])
    parser.add_argument('environments', nargs='*', default=ENVIRONMENTS, help='only these, and nothing is written')
    parser.add_argument('--repeats', type=int, default=7, help='shells that are started for the medians')
    parser.add_argument('--measure', nargs='+', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        env, settings, what, *numbers = options.measure
        measured = (
            measure(env, json.loads(settings), int(numbers[0]))
            if what == 'quick'
            else measure_context(env, json.loads(settings), int(numbers[0]), float(numbers[1]))
        )
        print(json.dumps(measured))
        return
    from rlm.base.errors import RLMError

    found, missing = {}, {}
    for env in options.environments:
        print(f'{env} ...', file=sys.stderr, flush=True)
        try:
            found[env] = figures_of(env, options.repeats)
        except RLMError as error:
            missing[env] = str(error)
    report = dict(machine=machine(), environments=found, missing=missing)
    report['markdown'] = as_markdown(report)
    print(report['markdown'])
    if options.environments == ENVIRONMENTS:
        (ROOT / 'nbs' / 'shell' / 'envs.json').write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
