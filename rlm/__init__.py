"Recursive language models: ask questions about texts that are longer than a model's window."
__version__ = "0.1.0"

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING

# The package `rlms` installs the same import name, and its folder `core` would hide our module.
if _os.path.isdir(_os.path.join(_os.path.dirname(__file__), 'core')):
    raise ImportError(
        'The packages rlm and rlms are both installed under the import name rlm: '
        'keep one of them (pip uninstall rlms rlm, then pip install rlm).'
    )

from .base.registry import HOOKS as _HOOKS
from .base.registry import PROVIDERS as _PROVIDERS
from .base.registry import STRATEGIES as _STRATEGIES

if TYPE_CHECKING:
    from .base.errors import BadInput as BadInput
    from .base.errors import BudgetExceeded as BudgetExceeded
    from .base.errors import CallsExceeded as CallsExceeded
    from .base.errors import Cancelled as Cancelled
    from .base.errors import ErrorsExceeded as ErrorsExceeded
    from .base.errors import Interrupted as Interrupted
    from .base.errors import IterationsExceeded as IterationsExceeded
    from .base.errors import LimitExceeded as LimitExceeded
    from .base.errors import ModelError as ModelError
    from .base.errors import RLMError as RLMError
    from .base.errors import TimeExceeded as TimeExceeded
    from .base.errors import TokensExceeded as TokensExceeded
    from .base.keys import load_env as load_env
    from .bench.calibration.calibrate import calibrate as calibrate
    from .core import RLM as RLM
    from .core import Direct as Direct
    from .core import advanced_toolloop as advanced_toolloop
    from .core import run as run
    from .lambda_rlm import LambdaRLM as LambdaRLM
    from .logger import RLMLogger as RLMLogger
    from .models import LM as LM
    from .models import Limits as Limits
    from .models import Reply as Reply
    from .models import Usage as Usage
    from .plan.auto import Auto as Auto
    from .plan.profile import Profile as Profile
    from .runs.result import Result as Result
    from .runs.result import RLMResult as RLMResult
    from .runs.strategy import Strategy as Strategy
    from .srlm import SRLM as SRLM
    from .tools import Shell as Shell
    from .trace import Journal as Journal

# Each name and the module that it is loaded from when it is first used, so that `import rlm` stays quick.
_HOMES = dict(
    RLM='core', Direct='core', run='core', advanced_toolloop='core', LambdaRLM='lambda_rlm', SRLM='srlm',
    Auto='plan.auto', Profile='plan.profile', calibrate='bench.calibration.calibrate', load_env='base.keys',
    LM='models', Reply='models', Usage='models', Limits='models',
    Result='runs.result', RLMResult='runs.result', Strategy='runs.strategy', Shell='tools', Journal='trace',
    RLMLogger='logger',
    RLMError='base.errors', BadInput='base.errors', ModelError='base.errors', LimitExceeded='base.errors',
    BudgetExceeded='base.errors', CallsExceeded='base.errors', Cancelled='base.errors', ErrorsExceeded='base.errors',
    Interrupted='base.errors', IterationsExceeded='base.errors', TimeExceeded='base.errors',
    TokensExceeded='base.errors')
__all__ = ['__version__', *_HOMES]

# What lower rooms find by name; nothing is imported until it is asked for.
_PROVIDERS.update(offline='rlm.models.offline_provider:register', rlm='rlm.provider:register')
_STRATEGIES.update(
    direct='rlm.runs.direct:Direct', rlm='rlm.runs.rlm:RLM', srlm='rlm.vote.strategy:SRLM',
    **{'lambda': 'rlm.plan.strategy:LambdaRLM'}, auto='rlm.plan.auto:Auto')
_HOOKS.update(resume='rlm.replay.resume:resume_run')


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f'module rlm has no attribute {name!r}')
    value = getattr(_importlib.import_module(f'rlm.{_HOMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell) -> None:
    "`%load_ext rlm`: the magics `%%rlm` and `%rlm_trace`."
    _importlib.import_module('rlm.magics').load_ipython_extension(shell)
