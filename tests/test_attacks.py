"""Every attack of tests/attacks.py, once in each environment: `sandbox`, `docker` and `landlock` hold all of them.

That many get out of `process` shows that they are attacks and not just code that fails. This takes minutes and says
nothing new about what contains them, so it is tried where `RLM_ALL_ATTACKS=1` asks for it, as when one is written.
"""

import contextlib
import json
import os
import sys
from collections import Counter

import pytest

from tests.attacks import ATTACKS, Seen, escape
from tests.containment import (
    CONTAINED,
    ROOT,
    Missing,
    account_with_containers,
    ordinary_user,
    run_all,
    settings_for,
    this_user,
)

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='the attacks are written for Linux')
# Root tries it as an ordinary user too; containers of its own has not every account.
ORDINARY = (
    dict(sandbox='nobody', docker=account_with_containers()) if hasattr(os, 'getuid') and os.getuid() == 0 else {}
)
ENVIRONMENTS = ['sandbox', 'docker', 'landlock', *(['process'] if os.environ.get('RLM_ALL_ATTACKS') else [])]
PLACES = [(env, 'this user') for env in ENVIRONMENTS] + [(env, who) for env, who in ORDINARY.items() if who]
# What comes of these is decided by the host and its frames: another account changes nothing.
SAME_FOR_ALL = ('hangs', 'lies', 'crashes')


def is_tried(env, who, attack):
    if attack.bomb and env not in attack.contained_in:
        return False  # nothing would stop it
    return (
        who == 'this user' or attack.kind not in SAME_FOR_ALL or attack.name in ('endless_loop', 'forged_done', 'exit')
    )


CASES = [
    pytest.param(env, who, attack, id=f'{attack.name}-{env}-{who}')
    for env, who in PLACES
    for attack in ATTACKS
    if is_tried(env, who, attack)
]


@pytest.fixture(scope='module')
def runs():
    "Runs all attacks of one place when the first of them is asked for; a place that is not here is asked once."
    seen, users, closing = {}, {'this user': this_user()}, contextlib.ExitStack()

    def of(env, who, bomb):
        key = env, who, bomb
        if key not in seen:
            try:
                if who not in users:
                    users[who] = closing.enter_context(ordinary_user(who))
                with settings_for(env, users[who]) as settings:
                    tried = [each for each in ATTACKS if each.bomb == bomb and is_tried(env, who, each)]
                    seen[key] = run_all(env, settings, users[who], tried)
            except Missing as error:
                seen[key] = str(error)
        return seen[key]

    with closing:
        yield of


def test_what_contains_promises_to_hold_all_of_them():
    assert not [attack.name for attack in ATTACKS if set(CONTAINED) & set(attack.open_in)]


@pytest.mark.parametrize('env,who,attack', CASES)
def test_attack(env, who, attack, runs):
    seen = runs(env, who, attack.bomb)
    if isinstance(seen, str):
        pytest.skip(f'{env} as {who}: {seen}')
    out = escape(seen[attack.name], attack)
    if env not in attack.open_in:
        assert not out
    elif not attack.vain and not (attack.needs_root and os.getuid()):
        assert out, f'{env} holds it: say so'


def test_there_are_enough_attacks_of_every_kind():
    assert len(ATTACKS) >= 152
    assert max(Counter(attack.name for attack in ATTACKS).values()) == 1
    assert set(Counter(attack.kind for attack in ATTACKS)) == {
        'secrets',
        'network',
        'files',
        'processes',
        'bombs',
        'hangs',
        'crashes',
        'lies',
        'kernel',
    }


def test_the_table_of_the_page_is_of_these_attacks():
    "After an attack is written or changed, `python -m tests.containment --write` is due for what contains."
    table = json.loads((ROOT / 'nbs' / 'shell' / 'attacks.json').read_text())
    assert [(row['name'], row['tries']) for row in table['rows']] == [(attack.name, attack.tries) for attack in ATTACKS]
    runs = {(run['env'], run['user']): run for run in table['runs']}
    assert {('sandbox', 'root'), ('sandbox', 'an ordinary user'), ('landlock', 'root')} <= set(runs)
    for (env, _), run in runs.items():
        if env in CONTAINED:
            assert not run['out']
            assert set(run['held']) == {attack.name for attack in ATTACKS}


def test_what_gets_out_is_seen():
    "The judge itself: each way of getting out is enough."
    well = dict(cells=[dict(said='', seconds=0.0), dict(said='kept is there\ncontext is there\n', seconds=0.0)])
    attack = ATTACKS[0]
    assert not escape(Seen(**well), attack)
    for field, value in dict(
        found=['key'],
        visitors=['tcp'],
        written=['file'],
        harmed=['process'],
        left=['process'],
        host='died',
        memory=10_000.0,
        seconds=100.0,
        said='ESCAPED x',
    ).items():
        assert escape(Seen(**(well | {field: value})), attack), field
    assert escape(Seen(), attack)
    lost = 'All variables, functions and imports are lost; make again what you need.'
    assert escape(Seen(cells=[dict(said=''), dict(said='kept is gone\ncontext is there\n')]), attack)
    assert not escape(Seen(cells=[dict(said=lost), dict(said='kept is gone\ncontext is there\n')]), attack)
    assert escape(Seen(cells=[dict(said=lost), dict(said='kept is gone\ncontext is another\n')]), attack)
    assert escape(
        Seen(cells=[dict(said='', raised='MemoryError'), dict(said='kept is there\ncontext is there\n')]), attack
    )
