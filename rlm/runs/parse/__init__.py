"Reads what a model's reply means: the code to run, and the answer."
from .blocks import CodeBlock, find_blocks, find_calls, find_skipped, read_parts, TextCall, without_calls
from .clean import clean_reply, find_final, plain_answer
from .fences import PYTHON_LANGS, Part
from .finals import check_patterns, FinalText, Patterns
from .repeats import collapse_repeats, same_reply, shorten_reply

__all__ = ['PYTHON_LANGS', 'Part', 'FinalText', 'CodeBlock', 'TextCall', 'Patterns', 'read_parts', 'find_blocks',
           'find_skipped', 'find_calls', 'without_calls', 'find_final', 'check_patterns',
           'plain_answer', 'clean_reply', 'shorten_reply', 'collapse_repeats', 'same_reply']
