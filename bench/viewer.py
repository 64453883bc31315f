"""How long a browser takes to show a long run.

`python -m bench.viewer` writes the page of a run of 10,000 steps (200 turns, each with a cell and 48 sub-calls, some of
which fail; no model produced it) and opens it in headless Chromium. It measures the time from the request to the first
paint with rows, then a search and a hundred key strokes, and prints the least of several runs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rlm.trace.journal import Journal
from rlm.trace.viewer import view_page
from tests.browser import Browser

TURNS, CALLS, RUNS = 200, 48, 5


def long_run(turns: int = TURNS, calls: int = CALLS) -> list[dict]:
    "Events of a run with `turns * (calls + 1)` rows below it."
    clock = iter(range(1_760_000_000, 1_760_000_000 + 100 * turns * calls))
    journal, count = Journal(clock=lambda: next(clock)), 0
    usage = dict(calls=1, input=9_000, output=120, cached=0, reasoning=0, cost=0.0015)
    journal.write(
        'run_start',
        'r1',
        parent=None,
        depth=0,
        method='rlm',
        model='gpt-4o-mini',
        query='Which of the letters mention the storm?',
        context=dict(type='list', chars=40_000_000, preview='Letter 1 ...'),
        settings=dict(limits=dict(max_cost=50)),
    )
    for turn in range(1, turns + 1):
        journal.write('turn_start', 'r1', turn=turn)
        code = (
            f'letters = context[{turn * calls}:{(turn + 1) * calls}]\n'
            'asked = [f"Does this letter mention the storm?\\n\\n{letter}" for letter in letters]\n'
            'replies = llm_query_batched(asked)\n'
            'print(replies[:3])'
        )
        journal.write(
            'reply',
            'r1',
            call=(count := count + 1),
            kind='turn',
            turn=turn,
            model='gpt-4o-mini',
            text=f'Batch {turn}.\n\n```repl\n{code}\n```',
            tool_calls=[],
            usage=usage,
            seconds=2.0,
            error=None,
        )
        journal.write('cell_start', 'r1', turn=turn, cell=turn, code=code)
        for letter in range(calls):
            failed = letter == 7 and turn % 10 == 0
            journal.write(
                'reply',
                'r1',
                call=(count := count + 1),
                kind='subcall',
                turn=turn,
                cell=turn,
                model='gpt-4o-nano',
                prompt=f'Does this letter mention the storm?\n\nLetter {turn * calls + letter}. '
                + 'The wind came from the sea, and we did not sail. ' * 20,
                text='' if failed else f'Letter {turn * calls + letter} does.',
                tool_calls=[],
                usage=usage,
                seconds=1.5,
                error='the request timed out after 3 tries' if failed else None,
            )
        journal.write(
            'cell',
            'r1',
            turn=turn,
            cell=turn,
            code=code,
            stdout="['Letter 1 does.', ...]\n",
            stderr='',
            value=None,
            error=None,
            seconds=40.0,
            calls=calls,
            variables={},
        )
        journal.write('turn_end', 'r1', turn=turn, seconds=42.0)
    journal.write('run_end', 'r1', answer='All of them.', stop_reason='final', usage=usage, seconds=9_000.0, error=None)
    return journal.events


def timed(script: str) -> str:  # JavaScript that returns milliseconds
    "A script that measures another one."
    return f'(() => {{ const start = performance.now(); {script} return performance.now() - start; }})()'


def main() -> None:
    events = long_run()
    started = time.perf_counter()
    page = view_page(events)
    written, figures = time.perf_counter() - started, []
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        path = Path(folder) / 'run.html'
        path.write_text(page)
        for _ in range(RUNS):
            view = browser.open(path)
            view.settle()
            first = view.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            ready = view.run('performance.getEntriesByName("ready")[0].startTime')
            search = view.run(timed("search('letter 4321'); document.body.offsetHeight;"))
            view.run("search('')")
            view.run('all(true)')
            keys = view.run(timed('for (let n = 0; n < 100; n++) { move(1); document.body.offsetHeight; }'))
            figures.append((first, ready, search, keys / 100))
            assert not view.problems, view.problems
        rows = view.run('nodes.length')
    first, ready, search, key = map(min, zip(*figures))
    print(
        f'{rows:,} rows, {len(page) / 1e6:.1f} MB, written in {written:.2f} s; first paint after {first:.0f} ms, '
        f'ready after {ready:.0f} ms, a search {search:.0f} ms, a key {key:.1f} ms'
    )


if __name__ == '__main__':
    main()
