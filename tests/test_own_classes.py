"Objects of classes that the user's script, or a module beside it, defines: they go into every environment by value."

import subprocess
import sys

import pytest

SHOP = """
import enum
from dataclasses import dataclass
from typing import NamedTuple

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


@pytest.mark.parametrize('env', ['local', 'process', 'sandbox'])
def test_they_arrive_whole(tmp_path, env):
    (tmp_path / 'shop.py').write_text(SHOP)
    (tmp_path / 'script.py').write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / 'script.py', env], capture_output=True, text=True, cwd=tmp_path)
    if env == 'sandbox' and 'bubblewrap' in done.stderr:
        pytest.skip('bubblewrap is not installed')
    assert done.stdout == "['lamp LARGE b', 'x'] 1\n", done.stderr
