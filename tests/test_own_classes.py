"Objects of classes that the user's script, or a module beside it, defines: they go into every environment by value."

import subprocess
import sys

import pytest

SHOP = """
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

class Size(enum.Enum):
    SMALL, LARGE = 1, 2

class Place(NamedTuple):
    row: int
    shelf: str

@dataclass
class Article:
    name: str
    size: Size
    place: Place

    def label(self):
        return f'{self.name} {self.size.name} {self.place.shelf}'

# What is less plain: slots and a type parameter, an error with a field, flags, a function.
T = TypeVar('T')

class Box(Generic[T]):
    __slots__ = 'held', 'price'

    def __init__(self, held, price):
        self.held, self.price = held, Decimal(price)

class OutOfStock(Exception):
    def __init__(self, article, left):
        super().__init__(article)
        self.left = left

    def __reduce__(self):
        return OutOfStock, (self.args[0], self.left)

class Colour(enum.Flag):
    RED, BLUE = 1, 2

def shout(text):
    return text.upper()
"""

SCRIPT = """
import sys
from collections import namedtuple
from rlm import RLM
import shop

class Order:
    def __init__(self, articles):
        self.articles = articles

    def labels(self):
        return [article.label() for article in self.articles]

Pair = namedtuple('Pair', 'one other')
code = '```repl\\nFINAL(context["order"].labels() + [context["pair"].other])\\n```'
asked = []

def model(messages):
    asked.append(messages)
    return code

if __name__ == '__main__':
    article = shop.Article('lamp', shop.Size.LARGE, shop.Place(3, 'b'))
    context = dict(order=Order([article]), pair=Pair(1, 'x'))
    print(RLM(model, env=sys.argv[1])(context, 'What is ordered?').value, len(asked))
"""

FURTHER = """
import sys
from rlm import RLM
import shop

CODE = '''
box, problem, colour = context["box"], context["problem"], context["colour"]
FINAL([str(box.price), problem.left, (colour | type(colour).BLUE).value, context["shout"]("a")])
'''


def answers(code):
    return lambda messages: f'```repl\\n{code}\\n```'


if __name__ == '__main__':
    box = shop.Box('lamp', '1.50')
    context = dict(box=box, problem=shop.OutOfStock('lamp', 0), colour=shop.Colour.RED, shout=shop.shout)
    print(RLM(answers(CODE), env=sys.argv[1])(context, 'What?').value)
    print(repr(RLM(answers('FINAL(context["colour"])'), env=sys.argv[1])(context, 'What?').value))
    known = 'from datetime import date\\nFINAL([context["box"].price, date(2024, 2, 29), {1, 2}, (3, None), b"x"])'
    print(RLM(answers(known), env=sys.argv[1])(context, 'What?').value)
"""


def run_script(tmp_path, script, env):
    "What a user's script prints that has the module `shop` beside it."
    (tmp_path / 'shop.py').write_text(SHOP)
    (tmp_path / 'script.py').write_text(script)
    done = subprocess.run([sys.executable, tmp_path / 'script.py', env], capture_output=True, text=True, cwd=tmp_path)
    if env == 'sandbox' and 'bubblewrap' in done.stderr:
        pytest.skip('bubblewrap is not installed')
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize('env', ['local', 'process', 'sandbox'])
def test_they_arrive_whole(tmp_path, env):
    assert run_script(tmp_path, SCRIPT, env) == "['lamp LARGE b', 'x'] 1\n"


@pytest.mark.parametrize('env', ['local', 'process', 'sandbox'])
def test_so_do_slots_type_parameters_errors_flags_and_functions(tmp_path, env):
    printed = run_script(tmp_path, FURTHER, env).splitlines()
    assert printed[0] == "['1.50', 0, 3, 'A']"
    # No object of a class that the other process could have made up is built here: such a one comes back as its text.
    assert printed[1] == ('<Colour.RED: 1>' if env == 'local' else "'Colour.RED'")
    assert printed[2] == "[Decimal('1.50'), datetime.date(2024, 2, 29), {1, 2}, (3, None), b'x']"
