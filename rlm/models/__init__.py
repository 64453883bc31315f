"Every model behind one class: `LM` over LiteLLM, a server of your own, or any Python callable."
import os as _os

from ..base.event_loop import event_loop, on_loop, run_sync, start_on_loop
from ..base.registry import PROVIDERS
from .ledger import Ledger, Limits, Usage
from .lm import LM, RESERVED_OUTPUT, Reply, ToolCall, as_lm, merge_roles
from .retries import EmptyReply, Unreachable, UselessReply
# Names that could be imported from here before the package was divided.
from ..base.errors import BadInput, ModelError, RLMError, hide, redact
from .retries import Throttle, explain, may_pass

# LiteLLM loads a file `.env` of the working folder when it is imported, unless this says otherwise: an address in it
# would get the user's key. `rlm.load_env` reads such a file when it is asked to.
_os.environ.setdefault('LITELLM_MODE', 'PRODUCTION')

# The names that these functions had before 0.2.
engine_loop, on_engine, start_on_engine = event_loop, on_loop, start_on_loop

__all__ = ['PROVIDERS', 'RESERVED_OUTPUT', 'ToolCall', 'Reply', 'merge_roles', 'LM', 'as_lm', 'event_loop', 'run_sync',
           'on_loop', 'start_on_loop', 'Usage', 'Limits', 'Ledger', 'UselessReply', 'EmptyReply', 'Unreachable',
           'engine_loop', 'on_engine', 'start_on_engine']
