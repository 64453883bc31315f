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


# Names that could be imported from here before the package was divided, and where they are now.
_ELSEWHERE = {
    'rlm.base.errors': ['BadInput', 'BudgetExceeded', 'redact'],
    'rlm.bench.data.samples': ['Dataset', 'bucket', 'find_dataset', 'load'],
    'rlm.bench.executors': ['open_executor'],
    'rlm.bench.methods': ['read_options'],
    'rlm.bench.plots': ['write_plots'],
    'rlm.bench.results': ['SweepResult'],
    'rlm.bench.simulated': ['Simulated'],
    'rlm.bench.sweep': ['Sweep'],
    'rlm.models.lm': ['LM', 'as_lm'],
    'rlm.runs.direct': ['Direct'],
    'rlm.runs.result': ['Result'],
    'rlm.runs.rlm': ['RLM'],
}
_PLACES = {name: module for module, names in _ELSEWHERE.items() for name in names}
_PLACES |= {name: 'rlm.bench.benchmark' for name in __all__}


# Loaded when first used, so that a data set or a score can be imported without the strategies.
def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f'module rlm.bench has no attribute {name!r}')
    return getattr(importlib.import_module(_PLACES[name]), name)
