"How many functions of ours stand between a question and the call of the model: few, so that a traceback is readable."

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import rlm
from rlm import RLM

ROOT = Path(rlm.__file__).resolve().parent


def name_of(code) -> str | None:
    "A function of ours as `runs/strategy.py:drive`; None for anybody else's."
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    return (
        f'{path.relative_to(ROOT).as_posix()}:{getattr(code, "co_qualname", code.co_name)}'  # 3.10 has no co_qualname
    )


def frames_of_thread(ident: int | None) -> list[str | None]:
    "What runs in a thread, outermost first."
    frame, names = sys._current_frames()[ident], []
    while frame is not None:
        names.insert(0, name_of(frame.f_code))
        frame = frame.f_back
    return names


def frames_of_task(task: asyncio.Task) -> list[str | None]:
    "The coroutines that a waiting task is in, outermost first."
    waiting, names = task.get_coro(), []
    while hasattr(waiting, 'cr_code'):
        names.append(name_of(waiting.cr_code))
        waiting = waiting.cr_await
    return names


def frames_to_the_model(**settings) -> list[str]:
    "The functions of ours from a call of `RLM` to its model, in order."
    caller, found = threading.get_ident(), []

    async def model(messages):
        waiting = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        names = frames_of_thread(caller)
        for task in sorted(waiting, key=lambda task: int(task.get_name().rpartition('-')[2])):
            names += frames_of_task(task)
        names += frames_of_thread(threading.get_ident())
        # The loop's own thread stands below every task.
        found.extend(name for name in names if name and not name.startswith('base/event_loop.py:_keep_running'))
        return '```repl\nFINAL(len(context))\n```'

    assert RLM(model, env='local', **settings)('some text', 'How long is it?').value == 9
    return found


def test_eight_functions_stand_between_the_question_and_the_model():
    frames = frames_to_the_model()
    print('\n'.join(frames))
    assert frames[0].endswith('__call__')
    before = next(index for index, name in enumerate(frames) if name.startswith('models/lm.py'))
    assert before <= 6
    assert len(frames) <= 1 + 8


def test_a_session_adds_one():
    assert len(frames_to_the_model(persistent=True)) <= len(frames_to_the_model()) + 1
