"What every run writes down, and what is made of it: the tree, the pages, the live display, the engine's log."
from .html import to_html, to_markdown
from .journal import Journal
from .live import LiveDisplay
from .logger import CompletionLog, RLMLogger, engine_log
from .run_tree import RunTree, messages_of, reply_message, sample_run, tree_text, usage_of

__all__ = ['Journal', 'LiveDisplay', 'RLMLogger', 'CompletionLog', 'engine_log', 'to_html', 'to_markdown', 'tree_text',
           'RunTree', 'messages_of', 'reply_message', 'usage_of', 'sample_run']
