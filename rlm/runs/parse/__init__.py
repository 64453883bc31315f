"Reads what a model's reply means: the code to run, and the answer."
from .blocks import CodeBlock, find_blocks, read_parts
from .clean import clean_reply, find_final, plain_answer
from .fences import PYTHON_LANGS, Part
from .finals import FinalText

__all__ = ['PYTHON_LANGS', 'Part', 'FinalText', 'CodeBlock', 'read_parts', 'find_blocks', 'find_final', 'plain_answer',
           'clean_reply']
