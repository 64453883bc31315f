"Compare strategies over data sets and lengths: scores, calls, cost and plots."
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .benchmark import add_command as add_command
    from .benchmark import bench as bench
    from .benchmark import benchmark_rlm as benchmark_rlm
    from .benchmark import benchmark_vanilla as benchmark_vanilla
    from .benchmark import main as main
    from .benchmark import make_sweep as make_sweep
    from .benchmark import read_buckets as read_buckets
    from .benchmark import run_command as run_command
    from .benchmark import samples_of as samples_of

__all__ = ['benchmark_vanilla', 'benchmark_rlm', 'read_buckets', 'samples_of', 'make_sweep', 'bench', 'add_command',
           'run_command', 'main']


# Loaded when first used, so that a data set or a score can be imported without the strategies.
def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f'module rlm.bench has no attribute {name!r}')
    return getattr(importlib.import_module('rlm.bench.benchmark'), name)
