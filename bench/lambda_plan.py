"""How near a run of `LambdaRLM` comes to its critical path.

`python -m bench.lambda_plan` reads a million characters with a window of 100,000. The model takes 200 ms for a call
and has no limit on concurrent calls. It is not a language model: it answers YES, or one of a thousand answers. The
critical path is one call for each stage (leaf, each level of reductions); the rest of the wall time is the
library's. The fastest of several runs is shown.
"""

from __future__ import annotations

import asyncio
import pydoc_data.topics
import time
import zlib

from rlm.lambda_rlm import LambdaRLM
from rlm.models import LM

LATENCY = 0.2
RUNS = 5


async def answer(messages: list[dict]) -> str:
    "Wait, then answer in the form that the prompt asks for."
    prompt = messages[0]['content']
    await asyncio.sleep(LATENCY)
    if 'YES or NO' in prompt:
        return 'YES'
    number = zlib.crc32(prompt.encode()) % 1000
    return f'counted: {number}' if '"name: number"' in prompt else f'answer {number}'


def measure(task: str, text: str) -> str:
    "One row of the table."
    model = LambdaRLM(LM(answer, max_concurrency=10_000), task=task, context_window_chars=100_000)
    question = 'What does it say?'
    plan, walls = model.plan(text, question), []
    for _ in range(RUNS):
        started = time.perf_counter()
        result = model(text, question)
        walls.append(time.perf_counter() - started)
    critical = LATENCY * len(plan.estimate.stages)
    planned = plan.calls if isinstance(plan.calls, int) else f'{plan.calls.start} to {plan.calls.stop - 1}'
    wall = min(walls)
    return f'{task:10} {planned:>10} {result.usage.calls:6} {critical:9.2f} s {wall:7.2f} s {wall / critical:6.2f}'


def main() -> None:
    prose = ' '.join(pydoc_data.topics.topics.values())
    million = (prose * 3)[:1_000_000]
    print(f'{"task":10} {"planned":>10} {"made":>6} {"critical":>11} {"wall":>9} {"ratio":>6}')
    for task in ('search', 'multi_hop', 'summarise', 'aggregate'):
        print(measure(task, million))


if __name__ == '__main__':
    main()
