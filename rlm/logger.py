"""The engine's import path: `from rlm.logger import RLMLogger`; the class is defined in `rlm.trace`."""

# Written by hand: nbdev would append to a second module of one notebook at each export.
from rlm.trace import RLMLogger

__all__ = ['RLMLogger']
