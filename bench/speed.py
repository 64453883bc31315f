"""How fast `rlm` is, next to bare HTTP clients that send the same requests to the same mock server in the same run.

`make bench` prints the table and writes nbs/studies/speed.json, which nbs/studies/speed.ipynb shows.
Every figure is measured; none is a test. The server sleeps for the latency that a row names and answers with a fixed
text: what is left is the clients' own time.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import logging
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import date
from functools import partial
from pathlib import Path

os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'

from tests.mock_server import Client, mock_server

ROOT = Path(__file__).resolve().parent.parent
LATENCY = 0.2  # seconds: what the server takes for a sub-call
# LiteLLM's two ways to an OpenAI-compatible server: with OpenAI's own client, and without.
PROVIDERS = ('openai', 'hosted_vllm')
Send = Callable[[list[dict]], Coroutine]


# --- the clients that rlm is compared with: each yields a coroutine function that sends one prompt ---


@asynccontextmanager
async def aiohttp_client(server: Client, at_once: int) -> AsyncIterator[Send]:
    "aiohttp and nothing else."
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

        async def send(messages):
            async with session.post(
                f'{server.api_base}/chat/completions', json=dict(model='mock', messages=messages)
            ) as response:
                return (await response.json())['choices'][0]['message']['content']

        yield send


@asynccontextmanager
async def httpx_client(server: Client, at_once: int) -> AsyncIterator[Send]:
    "httpx, on which the OpenAI client inside LiteLLM rests."
    import httpx

    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:

        async def send(messages):
            response = await client.post(
                f'{server.api_base}/chat/completions', json=dict(model='mock', messages=messages)
            )
            return response.json()['choices'][0]['message']['content']

        yield send


@asynccontextmanager
async def litellm_client(server: Client, at_once: int, provider: str = 'openai') -> AsyncIterator[Send]:
    "LiteLLM, through which rlm sends."
    import litellm

    slots = asyncio.Semaphore(at_once)

    async def send(messages):
        async with slots:
            response = await litellm.acompletion(
                model=f'{provider}/mock', messages=messages, api_base=server.api_base, api_key='none', max_retries=0
            )
        return response.choices[0].message.content

    yield send


CLIENTS = dict(aiohttp=aiohttp_client, httpx=httpx_client, litellm=litellm_client)


def clients(provider: str) -> dict:
    return CLIENTS | dict(litellm=partial(litellm_client, provider=provider))


def questions(count: int) -> list[list[dict]]:
    return [[dict(role='user', content=f'Question {number}')] for number in range(count)]


async def median_seconds(client: Callable, server: Client, count: int, at_once: int, repeats: int) -> float:
    "How long `count` requests take from first to last, when connections are open and modules imported."
    seconds = []
    async with client(server, at_once) as send:
        for _ in range(repeats + 1):
            started = time.perf_counter()
            await asyncio.gather(*map(send, questions(count)))
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def bare_seconds(server: Client, count: int, at_once: int, repeats: int, provider: str) -> dict[str, float]:
    "The median time of each client."
    return {
        name: asyncio.run(median_seconds(client, server, count, at_once, repeats))
        for name, client in clients(provider).items()
    }


def best(bare: dict[str, float]) -> float:
    "The faster of the two bare clients: what the goals are held against."
    return min(bare['aiohttp'], bare['httpx'])


async def send_in_order(client: Callable, server: Client, prompts: list[list[dict]]) -> None:
    "Send `prompts` one after the other, once to warm up and once for the server's record."
    async with client(server, 1) as send:
        await send(prompts[0])
        server.reset()
        for messages in prompts:
            await send(messages)


def model(server: Client, provider: str, max_concurrency: int = 16, mode: str = 'mock'):
    from rlm import LM

    return LM(
        f'{provider}/{mode}', api_base=server.api_base, api_key='none', max_concurrency=max_concurrency, timeout=120
    )


def cell(code: str) -> str:
    return f'I will look.\n\n```repl\n{code}\n```'


def row(
    figure: str,
    goal: str,
    rlm: str,
    met: bool,
    bare: dict[str, float] | None = None,
    detail: str = '',
    unit: float = 1.0,
    form: str = '{:.2f} s',
) -> dict:
    "One row of the table, as texts."
    shown = {name: form.format(seconds * unit) for name, seconds in (bare or {}).items()}
    return dict(
        figure=figure, goal=goal, rlm=rlm, met=met, detail=detail, **{name: shown.get(name, '') for name in CLIENTS}
    )


# --- the figures ---


def import_time(repeats: int = 15) -> dict:
    "`import rlm` over a bare python, in fresh processes that take turns."

    def run(code):
        started = time.perf_counter()
        subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)
        return time.perf_counter() - started

    codes = dict(bare='pass', rlm='import rlm', names='from rlm import RLM, Direct, LM, Limits, run')
    times = {name: [] for name in codes}
    for _ in range(repeats):
        for name, code in codes.items():
            times[name].append(run(code))
    median = {name: statistics.median(each) for name, each in times.items()}
    probe = (
        'import sys; calls = []; '
        "sys.addaudithook(lambda name, _: calls.append(name) if name.startswith('socket.') else None); "
        'import rlm; from rlm import RLM; '
        "print(calls + [name for name in ('litellm', 'IPython', 'datasets', 'matplotlib') if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, '-c', probe], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    over, names = ((median[name] - median['bare']) * 1000 for name in ('rlm', 'names'))
    return row(
        '`import rlm`, over bare python',
        '60 ms; no network, nothing heavy',
        f'{over:.0f} ms',
        over <= 60 and loaded == '[]',
        detail='names are loaded when first used: '
        f'`from rlm import RLM, Direct, LM, Limits, run` takes {names:.0f} ms; '
        f'network calls, and modules among LiteLLM, IPython, datasets and matplotlib, after both: {loaded}',
    )


def gaps_of(stats: dict) -> list[float]:
    "Seconds from each reply of the server to the next request at it."
    times = sorted(stats['times'])
    return [later[0] - earlier[1] for earlier, later in zip(times, times[1:])]


def turns(provider: str = 'openai', count: int = 50) -> tuple[list[dict], dict[str, list[float]]]:
    "The gap between a reply and the next request over a long run, and the bare clients' gaps for the same requests."
    from rlm import RLM

    with mock_server() as server:
        runner = RLM(model(server, provider), env='local', max_iterations=count + 1)
        gaps = {}
        for _ in range(2):  # the first run imports LiteLLM and IPython
            server.reset()
            server.script(
                *(cell(f'turn = {number}\nprint("turn", turn, len(context))') for number in range(count)), 'FINAL(done)'
            )
            runner('A short context.', 'How many turns?')
        gaps['rlm'], prompts = gaps_of(server.stats()), server.stats()['prompts']
        for name, client in clients(provider).items():
            asyncio.run(send_in_order(client, server, prompts))
            gaps[name] = gaps_of(server.stats())
    return _turn_rows(gaps, count), gaps


def _turn_rows(gaps: dict[str, list[float]], count: int) -> list[dict]:
    "Two rows of the table: the median gap, and its growth over a run."
    middle = {name: statistics.median(each) for name, each in gaps.items()}
    first, last = statistics.median(gaps['rlm'][:10]), statistics.median(gaps['rlm'][-10:])
    bare = {name: middle[name] for name in CLIENTS}
    return [
        row(
            f'reply to next request, {count} turns, no latency',
            '3 x the bare client',
            f"{middle['rlm'] * 1000:.1f} ms",
            middle['rlm'] <= 3 * best(middle),
            bare,
            detail=f"{middle['rlm'] / middle['httpx']:.1f} x httpx, {middle['rlm'] / middle['aiohttp']:.1f} x aiohttp, "
            f"{middle['rlm'] / middle['litellm']:.1f} x LiteLLM alone",
            unit=1000,
            form='{:.1f} ms',
        ),
        row(
            'the last ten of these turns over the first ten',
            '1.5 x',
            f'{last / first:.2f} x',
            last <= 1.5 * first,
            detail=f'{first * 1000:.1f} ms, then {last * 1000:.1f} ms',
        ),
    ]


def subcalls(provider: str, count: int, at_once: int, repeats: int) -> tuple[float, int]:
    "Seconds that `llm_query_batched` took inside a cell (median), and how many answers arrived in all runs."
    from rlm import RLM

    code = (
        'import time\nstarted = time.perf_counter()\n'
        f'replies = llm_query_batched([f"Question {{number}}" for number in range({count})])\n'
        'seconds = time.perf_counter() - started\n'
        'right = sum(reply == f"Question {number}" for number, reply in enumerate(replies))'
    )
    seconds, right = [], 0
    with mock_server(latency=LATENCY) as server:
        root, sub_lm = model(server, provider), model(server, provider, at_once, 'echo')
        for _ in range(repeats + 1):
            server.script(
                {'content': cell(code), 'latency': 0}, {'content': cell('FINAL(f"{seconds} {right}")'), 'latency': 0}
            )
            answer = RLM(root, sub_lm=sub_lm, env='local')('A short context.', 'How long does it take?').answer.split()
            seconds.append(float(answer[0]))
            right += int(answer[1])
    return statistics.median(seconds[1:]), right - count  # the first run was the warm-up


def many_subcalls(provider: str, repeats: int) -> list[dict]:
    "Wide batches, and batches at the default width."
    rows = []
    with mock_server(latency=LATENCY) as server:
        wide, narrow = (
            bare_seconds(server, 256, 256, repeats, provider),
            bare_seconds(server, 64, 16, repeats, provider),
        )
    for count, at_once, bare, goal, limit in (
        (256, 256, wide, '1.3 x the bare client', 1.3 * best(wide)),
        (64, 16, narrow, '1.1 x the ideal 0.8 s', 1.1 * 0.8),
    ):
        seconds, right = subcalls(provider, count, at_once, repeats)
        rows.append(
            row(
                f'{count} sub-calls of {LATENCY * 1000:.0f} ms, `max_concurrency={at_once}`',
                goal,
                f'{seconds:.2f} s',
                seconds <= limit and right == count * repeats,
                bare,
                detail=f"{seconds / bare['httpx']:.2f} x httpx, {seconds / bare['aiohttp']:.2f} x aiohttp, "
                f"{seconds / bare['litellm']:.2f} x LiteLLM alone, "
                f'{seconds / (LATENCY * count / at_once):.2f} x the ideal; '
                f'{right} of {count * repeats} answers right',
            )
        )
    return rows


def children(provider: str, repeats: int, count: int = 256, at_once: int = 64) -> dict:
    "Recursive children: each is a run of its own with a shell of its own, and makes one call."
    from rlm import RLM

    code = (
        'import time\nstarted = time.perf_counter()\n'
        f'replies = rlm_query_batched([f"Question {{number}}." for number in range({count})])\n'
        f'seconds = time.perf_counter() - started\nright = sum(str(reply) == "forty-two" for reply in replies)'
    )
    with mock_server(latency=LATENCY) as server:
        root, sub_lm, seconds, right = model(server, provider), model(server, provider, at_once, 'rules'), [], 0
        for _ in range(repeats + 1):
            server.reset()
            server.script(
                {'content': cell(code), 'latency': 0},
                {'content': cell('FINAL(f"{seconds} {right}")'), 'latency': 0},
                rules=[('', 'FINAL(forty-two)')],
            )
            answer = RLM(root, sub_lm=sub_lm, env='local', max_depth=2)(
                'A short context.', 'Ask the children.'
            ).answer.split()
            seconds.append(float(answer[0]))
            right += int(answer[1])
        requests = server.stats()['requests']
        bare = bare_seconds(server, count, at_once, repeats, provider)
    took, ideal, right = statistics.median(seconds[1:]), LATENCY * count / at_once, right - count
    return row(
        f'{count} `rlm_query_batched` children, concurrency {at_once}',
        f'none lost, 2 x the ideal {ideal:.1f} s',
        f'{took:.2f} s',
        took <= 2 * ideal and right == count * repeats,
        bare,
        detail=f'{took / ideal:.2f} x the ideal; {right} of {count * repeats} answers right; '
        f'{requests} requests in the last run',
    )


MEMORY_PROBE = '''
import re, resource, sys
from pathlib import Path
from rlm import RLM
replies = iter(['```repl\\nprint(len(context))\\n```', 'FINAL_VAR(answer_text)', '```repl\\nFINAL(len(context))\\n```'])
context = 'x' * int(sys.argv[1])
result = RLM(lambda messages: next(replies), env='local')(context, 'How long is the text?')
assert result.answer == str(len(context)), result.answer
status = Path('/proc/self/status')
# On Linux ru_maxrss begins with what the parent held when it started this process; the kernel's own mark does not.
if status.exists(): print(int(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1]) * 1024)
else: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))
'''


def memory(size: int = 500_000_000) -> dict:
    "Peak memory of a run over a long text, over that of the same run over a short one."

    def peak(length):
        return int(
            subprocess.run(
                [sys.executable, '-c', MEMORY_PROBE, str(length)], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
        )

    share = (peak(size) - peak(1000)) / size
    return row(
        f'{size // 10**6} MB context, trivial cells, `local`',
        'peak memory 1.05 x the string',
        f'{share:.3f} x',
        share <= 1.05,
        detail='over the peak of the same run with 1 kB of context, each in a process of its own',
    )


def growth(count: int = 20, printed: int = 5000) -> dict:
    "Prompt tokens of a run when every turn prints a lot, and whether each request starts with the one before it."
    from rlm import RLM

    with mock_server() as server:
        server.script(
            *(cell(f'print(("line {number} " * {printed})[:{printed}])') for number in range(count)), 'FINAL(done)'
        )
        RLM(model(server, 'openai'), env='local', max_iterations=count + 1)('A short context.', 'What is printed?')
        stats = server.stats()
    prompts, tokens = stats['prompts'], stats['usage']['prompt_tokens']
    kept = sum(later[: len(earlier)] == earlier for earlier, later in zip(prompts, prompts[1:]))
    return row(
        f'{count} turns that print {printed:,} characters each',
        'at most 40,000 prompt tokens; each request starts with the one before',
        f'{tokens:,} tokens',
        tokens <= 40_000 and kept == len(prompts) - 1,
        detail=f'{kept} of {len(prompts) - 1} requests start with the one before; '
        f"{stats['usage']['cached_tokens']:,} tokens could come from a provider's cache; "
        f'a token is counted as four characters, over {len(prompts)} requests',
    )


# --- the report ---


def machine() -> dict:
    "Where and with what this was measured."
    cpuinfo = Path('/proc/cpuinfo')
    name = re.search(r'model name\s*: (.*)', cpuinfo.read_text()) if cpuinfo.exists() else None
    packages = {
        package: importlib.metadata.version(package) for package in ('litellm', 'openai', 'httpx', 'aiohttp', 'ipython')
    }
    return dict(
        date=date.today().isoformat(),
        cpu=name[1] if name else platform.processor(),
        cores=os.cpu_count(),
        system=f'{platform.system()} {platform.machine()}',
        python=platform.python_version(),
        **packages,
    )


def as_markdown(report: dict) -> str:
    "The report as a Markdown table, with the machine below it."
    columns = ('figure', 'goal', 'rlm', *CLIENTS, 'goal met')
    lines = ['| ' + ' | '.join(columns) + ' |', '|' + '---|' * len(columns)]
    lines += [
        '| '
        + ' | '.join(
            [
                line['figure'],
                line['goal'],
                line['rlm'],
                *(line[name] for name in CLIENTS),
                'yes' if line['met'] else '**no**',
            ]
        )
        + ' |'
        for line in report['rows']
    ]
    lines += [''] + [f"- {line['figure']}: {line['detail']}" for line in report['rows'] if line['detail']]
    facts = report['machine']
    return '\n'.join(lines) + (
        f"\n\nMeasured on {facts['date']}: {facts['cpu']}, {facts['cores']} cores, {facts['system']}, "
        f"Python {facts['python']}, "
        + ', '.join(f'{name} {facts[name]}' for name in ('litellm', 'openai', 'httpx', 'aiohttp', 'ipython'))
        + '.'
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m bench.speed', description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3, help='runs of each batch; the median counts')
    parser.add_argument(
        '--only', help='one of: import, turns, subcalls, children, memory, growth; nothing is written then'
    )
    return parser.parse_args()


def main() -> None:
    options = _options()
    logging.getLogger('LiteLLM').setLevel(logging.ERROR)  # it warns of each new event loop
    gaps, rows = {}, []

    def fifty_turns(provider):
        measured, of_each = turns(provider)
        gaps.update(
            {f'{name}, {provider}/' if name in ('rlm', 'litellm') else name: gap for name, gap in of_each.items()}
        )
        return measured

    by_provider = dict(
        turns=fifty_turns,
        subcalls=partial(many_subcalls, repeats=options.repeats),
        children=partial(children, repeats=options.repeats),
    )
    figures = {'import': import_time, 'memory': memory, 'growth': growth}
    figures |= {
        f'{name} {provider}/': partial(figure, provider)
        for provider in PROVIDERS
        for name, figure in by_provider.items()
    }
    for name, figure in figures.items():
        if options.only not in (None, name.split()[0]):
            continue
        print(f'{name} ...', file=sys.stderr, flush=True)
        measured = figure()
        for line in measured if isinstance(measured, list) else [measured]:
            way = name.split()[1:]
            rows.append(dict(line, figure=f"{line['figure']}, `{way[0]}`" if way else line['figure']))
    milliseconds = {name: [round(gap * 1000, 3) for gap in each] for name, each in gaps.items()}
    report = dict(machine=machine(), rows=rows, gaps=milliseconds)
    report['markdown'] = as_markdown(report)
    print(report['markdown'])
    if options.only is None:
        (ROOT / 'nbs' / 'studies' / 'speed.json').write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
