"What every run writes down, and what is made of it: the tree, the pages, the live display, the `rlms` log."
from .html import to_html, to_markdown
from .journal import Journal
from .labels import tree_text
from .live import LiveDisplay
from .logger import CompletionLog, RLMLogger, engine_log
from .run_tree import RunTree, messages_of, reply_message, sample_run, usage_of

__all__ = ['Journal', 'LiveDisplay', 'RLMLogger', 'CompletionLog', 'engine_log', 'to_html', 'to_markdown', 'tree_text',
           'RunTree', 'messages_of', 'reply_message', 'usage_of', 'sample_run']
