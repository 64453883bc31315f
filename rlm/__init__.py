"Recursive language models: ask questions about texts that are longer than a model's window."
__version__ = "0.1.0"

import importlib as _importlib

# Loaded when first used, so that `import rlm` stays quick.
_HOMES = dict(RLM='core', Direct='core', run='core', advanced_toolloop='core', SRLM='srlm', LambdaRLM='lambda_rlm', LM='models', Reply='models', Usage='models', Limits='models',
    Result='runs', Strategy='runs', Shell='tools', Journal='trace', RLMLogger='trace', RLMError='errors', BadInput='errors', ModelError='errors',
    LimitExceeded='errors')
__all__ = ['__version__', *_HOMES]

def __getattr__(name):
    if name not in _HOMES: raise AttributeError(f'module rlm has no attribute {name!r}')
    value = globals()[name] = getattr(_importlib.import_module(f'rlm.{_HOMES[name]}'), name)
    return value

def __dir__(): return sorted({*globals(), *__all__})

def load_ipython_extension(shell):
    "`%load_ext rlm`: the magics `%%rlm` and `%rlm_trace`."
    _importlib.import_module('rlm.magics').load_ipython_extension(shell)
