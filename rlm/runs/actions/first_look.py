"""The first look at a context: code that a run executes before the first call."""

from typing import Any
from ...plan.split import detect_structure, RECORDS

__all__ = ['first_look', 'keywords']

_STOP = frozenset("""a about above after all an and answer answers any are as at be been before by can data did do does each final find
following for form from give given had has have how i if in into is it its line list many may mentioned more most much my name no
not of on one only or out over please provided question said same should so some such tell text than that the their them
then there these they this those to up us use used was we were what when where which who whom whose why will with word words would you
your""".split())


def keywords(
    query: str,  # a question
    most: int = 12,  # words
) -> str:  # separated by spaces
    "The words of a question that are worth searching for."
    words = [word.strip('.,;:!?()[]{}"\'`“”‘’') for word in query.split()]
    words = [word for word in dict.fromkeys(words) if word and word.lower() not in _STOP]
    return ' '.join(words[:most])


def first_look(
    context: Any,  # of any type
    query: str | None,  # the question; None: it stands in the context
) -> str:  # Python
    "Code that shows type, size and beginning of a context, and the passages that match the question."
    if isinstance(context, str) and detect_structure(context) in RECORDS:
        lines = [
            'records = [line for line in context.splitlines() if line.strip()]',
            'print(len(context), len(records))',
            'print("\\n".join(records[:5])[:500])',
        ]
    elif isinstance(context, str):
        lines = ['print(len(context))', 'print(context[:300])']
    elif isinstance(context, (list, tuple)):
        lines = ['print(type(context), len(context))', 'print(str(context[0])[:300])']
    elif isinstance(context, dict):
        lines = ['print(type(context), len(context))', 'print(str(list(context))[:300])']
    elif hasattr(context, 'head') and hasattr(context, 'shape'):
        lines = ['print(type(context), context.shape)', 'print(context.head(3))']
    else:
        lines = ['print(type(context))', 'print(str(context)[:300])']
    words = keywords(query or '')
    if words:
        lines.append(f'print(search({words!r}))')
    return '\n'.join(lines)
