"The page of `rlm view` in a real browser: what it shows, its keys, and that no text of a run becomes part of it."

import os
import re
import subprocess
import sys

import pytest

from bench.viewer import long_run
from rlm import Direct, LambdaRLM, RLM, SRLM
from rlm.trace.journal import Journal
from rlm.logger import engine_events, engine_log
from rlm.offline import ScriptedLM
from rlm.trace.html import to_html
from rlm.trace.run_tree import sample_run
from rlm.trace.viewer import View, view_page, write_view
from tests.browser import Browser, chromium

TEXT = '\n\n'.join(
    f'# Letter {number}\n\nThe ship of {name} left in the month of {month}. It carried {number * 7} barrels.'
    for number, (name, month) in enumerate(
        [('Anna Brand', 'May'), ('Olaf Dahl', 'June'), ('Ines Faber', 'July'), ('Karl Moe', 'August')] * 12, 1
    )
)
QUESTION = 'When did the ship of Olaf Dahl leave?'
CORPUS = [
    '<script>hacked=1</script>',
    '</script><script>hacked=1</script>',
    '<!--<script>',
    ']]><script>hacked=1</script>',
    '<img src=x onerror=hacked=1>',
    '<svg onload=hacked=1>',
    '"><iframe src="javascript:parent.hacked=1"></iframe>',
    '<a href="javascript:hacked=1">x</a>',
    "'-(hacked=1)-'",
    '${hacked=1}',
    '{{script}}',
    '{{constructor.constructor("hacked=1")()}}',
    '<style>*{display:none}</style>',
    '<link rel=stylesheet href="http://127.0.0.1:9/x.css">',
    '<meta http-equiv=refresh content="0;url=http://127.0.0.1:9/">',
    '<base href="http://127.0.0.1:9/">',
    '</title><script>hacked=1</script>',
    '\u2028\u2029</script >',
    '\\u003cscript>hacked=1\\u003c/script>',
    '<details open ontoggle=hacked=1>',
    '<input autofocus onfocus=hacked=1>',
    '&lt;script&gt;hacked=1&lt;/script&gt;',
    '\x00\x1b]0;x\x07\ud800<x>',
    '__proto__',
    'constructor',
    '<math><mi xlink:href="javascript:hacked=1">',
]


@pytest.fixture(scope='module')
def browser():
    if chromium() is None:
        pytest.skip('there is no Chromium to look at the page with')
    with Browser() as one:
        yield one


@pytest.fixture
def show(browser, tmp_path):
    "Write the page of a run and open it."

    def shown(events, **how):
        return browser.open(write_view(events, tmp_path / 'run.html'), **how)

    yield shown
    browser.close_pages()


def names(page):
    return page.run(
        '[...document.querySelectorAll(".row")].sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))'
        '.map(row => row.querySelector(".name").textContent)'
    )


def selected(page):
    return page.run('document.querySelector("[aria-selected=true] .name")?.textContent')


def text(page, selector):
    return page.run(f'document.querySelector({selector!r})?.innerText')


def test_a_run_is_shown_with_time_tokens_and_dollars(show):
    page = show(sample_run())
    assert text(page, 'h1') == 'Which quarter had the highest revenue, and why?'
    assert text(page, '#facts') == 'RLM · gpt-4o-mini · final · 9.9 s · 9 calls · 936,590 tokens · $0.0940 · 2 failures'
    assert names(page) == [
        'r1 RLM',
        'turn 1',
        'turn 2',
        'call 1',
        'call 2',
        'call 3',
        'call 4',
        'turn 3',
        'r1.1 RLM',
        'turn 1',
        'turn 2',
    ]
    rows = page.run(
        '[...document.querySelectorAll(".row")]'
        '.map(row => row.innerText.split(/\\s*\\n\\s*/).filter(Boolean).slice(-3))'
    )
    assert rows[0] == ['9.9 s', '937k', '$0.0940'] and rows[3] == ['2.5 s', '310k', '$0.0310']
    assert 'Q2 with 12.4M, after the Oslo order' in text(page, '#detail')
    assert page.problems == []


def test_every_strategy_has_its_page(show):
    runs = {
        Direct: ['r1 plain call', 'turn 1'],
        LambdaRLM: ['plan', 'filter', 'leaf'],
        SRLM: ['candidate 1 ★', 'candidate 2', 'scoreboard'],
        RLM: ['turn 1', 'turn 2'],
    }
    for strategy, rows in runs.items():
        more = (
            dict(k=2, early_stop=False)
            if strategy is SRLM
            else dict(task='search', filter='model', context_window_chars=4000)
            if strategy is LambdaRLM
            else {}
        )
        page = show(strategy('offline/extractive', **more)(TEXT, QUESTION).trace.events)
        assert set(rows) <= set(names(page)), strategy
        page.press('e', *'j' * 12)
        assert page.problems == [] and text(page, '#detail')


def test_a_turn_shows_its_coloured_code_its_output_and_what_was_sent(show):
    page = show(sample_run())
    page.press('j', 'j')
    assert text(page, 'h2') == 'Turn 2' and 'ModelError' in text(page, '#detail')
    assert page.run('[...document.querySelectorAll("pre.code .word")].map(word => word.textContent)') == ['for', 'in']
    assert page.run('document.querySelector("pre.code").textContent').startswith(
        "quarters = context.split('## ')[1:]\n"
    )
    page.click('#detail summary')
    assert 'One sub-call a quarter.' in text(page, '#detail details')


def test_the_scoreboard_leads_to_the_candidates(show):
    page = show(SRLM('offline/extractive', k=3, early_stop=False)(TEXT, QUESTION).trace.events)
    cells = page.run(
        '[...document.querySelectorAll("#detail tr")].map(row => [...row.children].map(cell => cell.textContent))'
    )
    assert (
        cells[0][:2] == ['#', 'answer']
        and [row[0] for row in cells[1:]] == ['1', '2', '3']
        and cells[1][-1] == 'winner'
    )
    page.click('#detail tr:nth-child(3)')
    assert selected(page) == 'candidate 2'


def test_without_a_mouse_the_scoreboard_leads_to_candidates_and_the_outline_gets_its_width(show):
    result = SRLM('offline/extractive', k=2, early_stop=False)(TEXT, QUESTION)
    page = show(result.trace.events)
    page.run('document.querySelector("#detail tr[data-to]:last-child").focus()')
    page.press('Enter')
    assert selected(page).startswith('candidate 2')
    width = page.run('document.querySelector("#outline").offsetWidth')
    page.run('document.querySelector("#divider").focus()')
    page.press('ArrowLeft', 'ArrowLeft')
    assert page.run('document.querySelector("#outline").offsetWidth') == width - 48 and selected(page).startswith(
        'candidate 2'
    )
    assert (
        page.run('document.querySelector("#divider").getAttribute("aria-valuenow")')
        == str(round(100 * (width - 48) / 1280))
        and page.problems == []
    )


def test_rows_say_where_they_stand_among_how_many(show):
    page = show(long_run())
    told = page.run(
        '[...document.querySelectorAll(".row")]'
        '.map(row => ["aria-level", "aria-posinset", "aria-setsize"].map(name => row.getAttribute(name)))'
    )
    turns = [row[1:] for row in told if row[0] == '2']
    assert told[0] == ['1', '1', '1'] and [int(nth) for nth, _ in turns] == list(range(1, len(turns) + 1))
    assert {int(size) for _, size in turns} == {page.run('nodes[0].below.length')} and int(turns[0][1]) > len(turns)


def test_a_click_on_a_citation_opens_its_passage(show, tmp_path):
    quoted = RLM(
        ScriptedLM(['```repl\nprint(context[1480:1640])\nFINAL("Olaf Dahl")\n```']),
        env='local',
        trace=tmp_path / 'r.jsonl',
    )
    page = show(quoted(TEXT, QUESTION).trace.events)
    line = TEXT[: TEXT.index('Olaf Dahl')].count('\n') + 1
    assert f'[1] line {line}, characters' in text(page, 'details.part summary')
    assert '▶' not in page.run('document.body.innerText')
    page.run('document.querySelector("details.part summary").click()')
    shown = text(page, 'details.part[open]')
    assert '▶' in shown and 'Olaf Dahl' in shown and '# Letter 1' in shown


def test_keys_move_through_the_tree(show):
    page = show(sample_run())
    steps = [
        ('j', 'turn 1'),
        ('ArrowDown', 'turn 2'),
        ('l', 'call 1'),
        ('k', 'turn 2'),
        ('h', 'turn 2'),
        ('j', 'turn 3'),
        ('End', 'turn 2'),
        ('h', 'r1.1 RLM'),
        ('Home', 'r1 RLM'),
        ('G', 'turn 2'),
        ('g', 'r1 RLM'),
        ('x', 'turn 1'),
        ('x', 'call 3'),
        ('X', 'turn 1'),
        (']', 'turn 2'),
        ('[', 'turn 1'),
        ('ArrowLeft', 'r1 RLM'),
        ('PageDown', 'turn 2'),
    ]
    for key, name in steps:
        page.press(key)
        assert selected(page) == name, (key, name)
    page.press('Home', 'Enter')
    assert names(page) == ['r1 RLM']
    page.press('Enter', 'c')
    assert names(page) == ['r1 RLM', 'turn 1', 'turn 2', 'turn 3']
    page.press('e')
    assert len(names(page)) == 11 and page.problems == []


def test_search_keeps_what_matches_and_marks_it(show):
    page = show(sample_run())
    page.press('/', *'oslo')
    page.run('searchNow()')
    assert names(page) == ['r1 RLM', 'turn 2', 'call 2', 'turn 3'] and text(page, '#search output') == '1/4'
    found = page.run('[...CSS.highlights.get("found")].map(range => range.toString())')
    assert found and set(word.lower() for word in found) == {'oslo'}
    page.press('Enter', 'Enter')
    assert selected(page) == 'call 2' and text(page, '#search output') == '3/4'
    page.press('Escape')
    assert len(names(page)) >= 8 and page.run('document.activeElement.id') == 'tree'
    page.press('/', *'no such word')
    page.run('searchNow()')
    assert names(page) == [] and text(page, '#search output') == 'none' and page.problems == []


def test_help_and_light_and_dark(show):
    page = show(sample_run(), dark=True)
    colour = 'getComputedStyle(document.body).backgroundColor'
    assert page.run(colour) == 'rgb(20, 23, 28)'
    page.press('t')
    assert page.run(colour) == 'rgb(255, 255, 255)'
    page.press('?')
    assert page.run('document.querySelector("#keys").open')
    page.press('?')
    assert not page.run('document.querySelector("#keys").open') and page.problems == []
    assert show(sample_run()).run(colour) == 'rgb(255, 255, 255)'


def test_ten_thousand_rows_are_drawn_as_they_come_into_sight(show):
    page = show(long_run())
    assert page.run('nodes.length') > 9_800
    page.press('e', 'End')
    assert selected(page) == 'call 48' and page.run('document.querySelectorAll(".row").length') < 100
    page.run('tree.scrollTop = 100000; new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')
    assert page.run('document.elementFromPoint(200, 400).closest(".row") !== null') and page.problems == []


def test_a_phone_shows_all_of_it_in_its_width(show):
    page = show(sample_run(), width=390, height=800, phone=True)
    page.press('j')
    assert (
        page.run('document.documentElement.scrollWidth') <= 390
        and page.run('document.querySelector("#detail").clientHeight') > 200
    )


def hostile_run(attack):
    "A run in which every text is an attack."
    journal, usage = Journal(), dict(calls=1, input=1, output=1, cost=None)
    journal.write(
        'run_start',
        'r1',
        parent=None,
        depth=0,
        method=attack,
        model=attack,
        query=attack,
        context=dict(type=attack, chars=9, preview=attack),
        settings={attack: attack},
    )
    journal.write('plan', 'r1', task=attack, calls=[1, 2], chunks=1, term=attack, text=attack)
    journal.write('message', 'r1', role=attack, content=attack)
    journal.write('notice', 'r1', text=attack)
    journal.write(
        'reply',
        'r1',
        call='s',
        kind='subcall',
        stage=attack,
        place=attack,
        model=attack,
        prompt=attack,
        text=attack,
        usage=usage,
        seconds=1,
        error=None,
    )
    journal.write('turn_start', 'r1', turn=1)
    journal.write(
        'reply',
        'r1',
        call='a',
        kind='turn',
        turn=1,
        model=attack,
        text=attack,
        tool_calls=[dict(id='1', name=attack, arguments=attack)],
        usage=usage,
        error=attack,
    )
    for cell in (1, 2):
        journal.write('cell_start', 'r1', turn=1, cell=cell, code=attack)
        journal.write(
            'reply',
            'r1',
            call=f'b{cell}',
            kind='subcall',
            model=attack,
            prompt=[dict(role=attack, content=attack)],
            text=attack,
            usage=usage,
            error=attack,
        )
        journal.write(
            'cell',
            'r1',
            turn=1,
            cell=cell,
            code=attack,
            stdout=attack,
            stderr=attack,
            value=attack,
            error=attack,
            variables={attack: attack},
        )
    journal.write('choice', 'r1', winner=1, reason=attack, agreement=1, scoreboard=[[attack] * 7], runs=['r1.1'])
    journal.write('run_end', 'r1', answer=attack, stop_reason=attack, error=attack, usage=usage)
    return journal.events


@pytest.mark.parametrize(
    'events',
    [
        lambda: [
            event | dict(run=f'r{number}') for number, attack in enumerate(CORPUS) for event in hostile_run(attack)
        ],
        lambda: hostile_run('\n'.join(CORPUS)),
    ],
    ids=['each', 'all together'],
)
def test_hostile_texts_stay_texts(show, events):
    page = show(events())
    known = page.run(
        'document.documentElement.outerHTML.length > 0 && '
        '[...new Set([...document.querySelectorAll("*")].map(one => one.localName))].sort()'
    )
    page.press('e')
    # Every step is shown and every part of it opened.
    page.run('''(async () => { for (let place = 0; place < nodes.length; place++) { select(place, true);
        for (const part of document.querySelectorAll("#detail details")) {
            part.open = true;
            await new Promise(done => part.addEventListener("toggle", done, { once: true }));
        } } })()''')
    page.run('search("hacked")')
    page.settle()
    drawn = page.run('[...new Set([...document.querySelectorAll("*")].map(one => one.localName))].sort()')
    assert set(drawn) - set(known) <= {
        'article',
        'dl',
        'dt',
        'dd',
        'details',
        'summary',
        'pre',
        'section',
        'table',
        'td',
        'th',
        'tr',
        'h2',
        'p',
        'span',
        'button',
    }
    assert page.run('typeof hacked') == 'undefined' and page.problems == []
    assert (
        page.run('document.querySelectorAll("script").length') == 2
        and page.run('document.querySelectorAll("style, link, base, meta[content^=\\"0\\"]").length') == 1
    )


def test_the_page_without_a_script_stays_text_too(browser, tmp_path):
    events = [event for attack in [*CORPUS, '\n'.join(CORPUS)] for event in hostile_run(attack)]
    (tmp_path / 'run.html').write_bytes(to_html(events, page=True).encode())
    page = browser.open(tmp_path / 'run.html')
    page.run('document.querySelectorAll("details").forEach(part => part.open = true)')
    page.settle()
    assert page.run('typeof hacked') == 'undefined' and page.problems == []
    drawn = page.run('[...new Set([...document.body.querySelectorAll("*")].map(one => one.localName))]')
    assert set(drawn) <= {
        'div',
        'style',
        'details',
        'summary',
        'pre',
        'small',
        'p',
        'span',
        'i',
        'table',
        'tbody',
        'tr',
        'td',
        'th',
    }


def test_the_page_runs_no_script_but_its_own(show):
    page = show(sample_run())
    page.run(
        'document.body.insertAdjacentHTML("beforeend", '
        '"<img src=x onerror=\\"hacked=1\\"><a id=bad href=\\"javascript:hacked=1\\">x</a>")'
    )
    page.run('document.body.append(Object.assign(document.createElement("script"), {textContent: "hacked=1"}))')
    page.run('document.querySelector("#bad").click()')
    page.settle()
    assert page.run('typeof hacked') == 'undefined' and any('policy' in problem for problem in page.problems)
    assert not any(problem.startswith('request: http') for problem in page.problems)


def test_a_notebook_has_a_page_with_and_without_scripts(browser, tmp_path):
    html = View(sample_run())._repr_html_()
    (tmp_path / 'notebook.html').write_text(f'<!doctype html><meta charset=utf-8>{html}')
    page = browser.open(tmp_path / 'notebook.html')
    page.problems = [problem for problem in page.problems if 'about:srcdoc' not in problem]
    assert (
        page.problems == [] and page.run('document.querySelector("iframe").contentDocument') is None
    )  # a world of its own
    (tmp_path / 'plain.html').write_text(
        f'<!doctype html><meta charset=utf-8>{re.sub("<iframe.*?</iframe>", "", html, flags=re.S)}'
    )
    page = browser.open(tmp_path / 'plain.html')
    page.run('document.querySelectorAll("details").forEach(part => part.open = true)')
    assert 'quarters = context.split' in text(page, 'body') and 'after the Oslo order' in text(page, 'body')
    style = lambda selector, name: page.run(f'getComputedStyle(document.querySelector("{selector}")).{name}')
    assert (style('pre.bad', 'color'), style('pre.answer', 'borderLeftWidth')) == ('rgb(180, 35, 24)', '3px')


def test_an_unfinished_run_and_a_log_of_the_engine_are_shown(show):
    page = show(sample_run()[:25])
    assert (
        'did not end' in text(page, '#facts')
        and page.run('document.querySelectorAll(".row.open").length') > 0
        and page.problems == []
    )
    page = show(engine_events(engine_log(sample_run())))
    assert (
        names(page)[:4] == ['r1 RLM', 'turn 1', 'turn 2', 'call 1']
        and 'after the Oslo order' in text(page, '#detail')
        and page.problems == []
    )


def test_the_command_writes_the_page_and_opens_it(tmp_path):
    "A browser of the user's own choice is given the page's address."
    journal, told = tmp_path / 'a run.jsonl', tmp_path / 'told'
    with Journal(journal) as written:
        for event in sample_run():
            written.write(**{name: value for name, value in event.items() if name not in ('seq', 'time')})
    (tmp_path / 'browser').write_text(f'#!{sys.executable}\nimport sys\nopen({str(told)!r}, "w").write(sys.argv[1])\n')
    (tmp_path / 'browser').chmod(0o755)
    command = lambda *words: subprocess.run(
        [sys.executable, '-c', 'import sys; from rlm.cli import main; sys.exit(main())', *map(str, words)],
        env=os.environ | dict(BROWSER=str(tmp_path / 'browser')),
        capture_output=True,
        text=True,
        timeout=120,
    )
    done = command('view', journal)
    assert (done.returncode, done.stdout) == (0, f'{tmp_path / "a run.html"}\n'), done.stderr
    assert told.read_text() == (tmp_path / 'a run.html').as_uri()
    told.unlink()
    done = command('view', journal, '--no-open', '-o', tmp_path / 'other.html')
    assert (
        done.returncode == 0
        and (tmp_path / 'other.html').read_text().startswith('<!doctype html>')
        and not told.exists()
    )
    done = command('view', tmp_path / 'browser')
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and 'not a trace' in done.stderr
    assert 'fetch(' not in view_page(sample_run()) and 'XMLHttpRequest' not in view_page(sample_run())
