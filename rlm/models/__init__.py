"Every model behind one class: `LM` over LiteLLM, a server of your own, or any Python callable."
from ..base.event_loop import engine_loop, on_engine, run_sync, start_on_engine
from .ledger import Ledger, Limits, Usage
from .lm import LM, PROVIDERS, RESERVED_OUTPUT, Reply, ToolCall, as_lm, merge_roles
from .retries import EmptyReply, Unreachable, UselessReply

__all__ = ['PROVIDERS', 'RESERVED_OUTPUT', 'ToolCall', 'Reply', 'merge_roles', 'LM', 'as_lm', 'engine_loop', 'run_sync',
           'on_engine', 'start_on_engine', 'Usage', 'Limits', 'Ledger', 'UselessReply', 'EmptyReply', 'Unreachable']
