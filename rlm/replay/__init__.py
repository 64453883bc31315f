"""Replay and resume recorded runs: `from rlm.replay import replay`."""

import importlib as _importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .resume import Replay as Replay
    from .resume import areplay as areplay
    from .resume import replay as replay

__all__ = ['Replay', 'areplay', 'replay']


def __getattr__(name: str):
    # Loaded when first used, so that a strategy can be imported without what replays it.
    if name not in __all__:
        raise AttributeError(f'module rlm.replay has no attribute {name!r}')
    value = getattr(_importlib.import_module('rlm.replay.resume'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
