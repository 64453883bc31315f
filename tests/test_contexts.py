"Databases, tables and images as contexts, in every environment that runs here."

import base64
import contextlib
import io
import sqlite3
import subprocess
import sys

import pytest
from PIL import Image

from rlm import RLM, Direct, LambdaRLM
from rlm.base.errors import BadInput
from rlm.base.inputs import read_input
from rlm.models import LM
from rlm.offline import ScriptedLM
from rlm.replay import replay
from rlm.shell.environments import open_shell
from tests.mock_server import mock_server

SCHEMA = """
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, price REAL, note TEXT);
    INSERT INTO customers VALUES (1, 'Ann Brand'), (2, 'Olaf Dahl');
    INSERT INTO orders VALUES (1, 1, 12.5, 'two barrels'), (2, 2, 8, 'one "anchor"'), (3, 1, 4.25, NULL);
"""
RED = Image.new('RGB', (8, 6), 'red')


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / 'shop.db'
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.executescript(SCHEMA)
    return path


def cell(code: str) -> str:
    return f'```repl\n{code}\n```'


def output_of(result, number: int) -> str:
    return next(event for event in result.trace.events if event['type'] == 'cell' and event['cell'] == number)['stdout']


def test_a_database_is_described_queried_and_never_written(env, shop):
    before = shop.read_bytes()
    code = '''
rows = context.query("SELECT name, sum(price) AS spent FROM orders, customers c WHERE c.id = customer GROUP BY 1")
print(rows)
print(context.frame("SELECT note FROM orders WHERE price > ?", [5])["note"].tolist())
print([tuple(row) for row in context.execute("SELECT id FROM orders ORDER BY id DESC")])
for sql in ("DELETE FROM orders", "SELECT prize FROM orders"):
    try:
        context.query(sql)
    except ValueError as error:
        print(error)
FINAL(rows[0]["spent"])'''
    result = RLM(ScriptedLM([cell(code)]), env=env)(shop, 'What did Ann Brand spend?')
    assert result.value == 16.75
    first, said = output_of(result, 0), output_of(result, 1)
    assert 'orders (3 rows): id INTEGER, customer INTEGER, price REAL, note TEXT' in first and 'two barrels' in first
    assert '''['two barrels', 'one "anchor"']''' in said and '[(3,), (2,), (1,)]' in said
    assert 'reading only' in said and 'no such column: prize; the tables are customers (id, name)' in said
    assert shop.read_bytes() == before


def test_a_worker_reaches_no_other_database(shop, tmp_path):
    other = tmp_path / 'other.db'
    with contextlib.closing(sqlite3.connect(other)) as writer:
        writer.executescript('CREATE TABLE secrets (word TEXT); INSERT INTO secrets VALUES ("xyzzy")')
    with open_shell('process', dict(shop=1)) as shell:
        cell_ = shell.run('from rlm.base.database import Elsewhere\nElsewhere("0", "SQLite").run("SELECT 1")')
        assert 'no such database' in cell_.error
    result = RLM(ScriptedLM([cell('FINAL(context.query("ATTACH \'%s\' AS other"))' % other), 'FINAL(no)']))(shop, 'x?')
    assert 'reading only' in result.history[-2]['content']


def test_many_rows_are_refused_and_not_cut(env, shop):
    code = '''
numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i, i * 7 AS seven FROM n"
rows = context.query(numbers.format(50_000))
print(len(rows), rows[-1])
try:
    context.query(numbers.format(100_001))
except ValueError as error:
    FINAL(str(error))'''
    result = RLM(ScriptedLM([cell(code)]), env=env)(shop, 'How many?')
    assert "50000 {'i': 50000, 'seven': 350000}" in output_of(result, 1)
    assert 'more than 100,000 rows' in result.answer


def test_a_database_beside_texts_and_for_a_child(shop, tmp_path):
    (tmp_path / 'notes.txt').write_text('Ann is the best customer.')
    names = [tmp_path / 'notes.txt', shop]
    code = f'FINAL(context[{str(shop)!r}].query("SELECT count(*) AS n FROM orders")[0]["n"])'
    for env in ('local', 'process'):
        assert RLM(ScriptedLM([cell(code)]), env=env)(names, 'How many orders?').value == 3
        child = ScriptedLM([cell('FINAL(rlm_query("Count.", context=context))')] + [cell('FINAL(len(context.tables))')])
        assert RLM(child, env=env, max_depth=2)(shop, 'How many tables?').answer == '2'


def test_strategies_that_read_a_text_refuse_a_database(shop):
    for strategy in (Direct, LambdaRLM):
        with pytest.raises(BadInput, match='A database is not one text: use RLM'):
            strategy(ScriptedLM(['x'] * 9))(shop, 'What did Ann Brand spend?')


def test_a_run_over_a_database_is_replayed_and_resumed(shop, tmp_path):
    path = tmp_path / 'run.jsonl'
    code = 'FINAL(context.query("SELECT max(price) AS most FROM orders")[0]["most"])'
    RLM(ScriptedLM([cell(code)]), trace=path, env='local')(shop, 'What is the highest price?')
    assert str(shop) not in path.read_text()
    replayed = replay(path, read_input(shop))
    assert not replayed.differences and replayed.result.value == 12.5


def test_the_command_asks_a_database(shop):
    command = [
        sys.executable,
        '-m',
        'rlm',
        'ask',
        'Which order has two barrels?',
        str(shop),
        '--env',
        'local',
        '--quiet',
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and 'two barrels' in done.stdout, done


def test_parquet_is_a_table(env, tmp_path):
    pandas = pytest.importorskip('pandas')
    pytest.importorskip('pyarrow')
    table = pandas.DataFrame(dict(stone=['granite', 'slate'], price=[12.5, 3.0]))
    table.to_parquet(tmp_path / 'stones.parquet')
    result = RLM(ScriptedLM([cell('FINAL(context[context["price"] > 5])')]), env=env)(
        tmp_path / 'stones.parquet', 'Which stones cost more than 5?'
    )
    assert result.value.equals(table[:1])
    assert 'granite' in output_of(result, 0)


def test_images_reach_the_server_from_every_environment(env):
    code = '''
one = llm_query("Which colour?", images=context["photo"])
two = llm_query_batched(["Left?", "Right?"], images=[context["photo"].crop((0, 0, 4, 6)), [context["photo"]] * 2])
FINAL([one, *two])'''
    with mock_server() as server:
        server.script(cell(code), 'red', rules=[['Left', 'l'], ['Right', 'r']])
        lm = LM('openai/script', api_base=server.api_base, api_key='none')
        result = RLM(lm, env=env, keep_context=0)(dict(note='Paid.', photo=RED), 'Which colour is the photo?')
        assert result.value == ['red', 'l', 'r']
        root, *asked = server.stats()['prompts']
    assert 'images=[context[' in str(root)
    counts = {}
    for messages in asked:
        words, *pictures = messages[-1]['content']
        counts[words['text']] = len(pictures)
        assert all(one['image_url']['url'].startswith('data:image/png;base64,') for one in pictures)
    assert counts == {'Which colour?': 1, 'Left?': 1, 'Right?': 2}
    kept = [event['prompt'] for event in result.trace.events if event['type'] == 'reply' and event['kind'] == 'subcall']
    assert len(kept) == 3 and 'base64' not in str(kept) and '[image/png, ' in str(kept)


def test_a_worker_sends_images_and_no_addresses(env):
    code = '''
def asked(url):
    return [dict(role="user", content=[dict(type="text", text="x"), dict(type="image_url", image_url=dict(url=url))])]
for url in ("http://127.0.0.1:9/x.png", "file:///etc/passwd"):
    try:
        llm_query(asked(url))
        print("sent")
    except Exception as error:
        print("refused")
FINAL("done")'''
    if env == 'local':
        pytest.skip('code in this process can fetch what it likes')
    lm = ScriptedLM([cell(code)])
    result = RLM(lm, env=env)('text', 'What?')
    assert output_of(result, 1).split() == ['refused', 'refused'] and len(lm.requests) == 1


@pytest.mark.parametrize('kept', [0, 1_000_000])
def test_a_run_with_images_is_replayed(tmp_path, kept):
    path = tmp_path / 'run.jsonl'
    lm = ScriptedLM([cell('FINAL(llm_query("Which colour?", images=[context]))'), 'red'])
    RLM(lm, trace=path, env='local', keep_context=kept)(RED, 'Which colour?')
    assert ('base64' in path.read_text()) == bool(kept)
    replayed = replay(path, RED)
    assert not replayed.differences and replayed.result.value == 'red'


def test_direct_sends_images_in_the_order_of_the_context(tmp_path):
    for name in ('red.png', 'blue.png'):
        Image.new('RGB', (8, 6), name[:-4]).save(tmp_path / name)
    with mock_server() as server:
        server.script('The second.')
        lm = LM('openai/script', api_base=server.api_base, api_key='none')
        result = Direct(lm)([tmp_path / 'red.png', tmp_path / 'blue.png'], 'Which is blue?')
        (messages,) = server.stats()['prompts']
    assert result.answer == 'The second.'
    words, *pictures = messages[0]['content']
    assert 'blue.png ---\n[image 2: image of 8 x 6 pixels, RGB]' in words['text']
    seen = [Image.open(io.BytesIO(base64.b64decode(one['image_url']['url'].partition(',')[2]))) for one in pictures]
    assert [image.getpixel((0, 0)) for image in seen] == [(255, 0, 0), (0, 0, 255)]


def test_a_model_that_sees_nothing_is_refused_in_one_sentence():
    with pytest.raises(BadInput, match='openai/o3-mini takes no images') as known:
        Direct(LM('openai/o3-mini', api_key='none'))(RED, 'Which colour?')
    assert str(known.value).count('. ') == 0
    with mock_server() as server:
        refusal = 'image input is not supported - hint: you may need to provide the mmproj'
        server.script(dict(status=500, content=refusal), dict(status=500, content=refusal))
        lm = LM('openai/script', api_base=server.api_base, api_key='none')
        for _ in range(2):
            with pytest.raises(BadInput, match='openai/script takes no images: use a model that does'):
                Direct(lm)(RED, 'Which colour?')
        assert server.stats()['requests'] == 1  # the second time it is known
        server.reset()
        server.script(cell('print(llm_query("Which?", images=context))'), cell('FINAL("none")'))
        result = RLM(lm, env='local')(RED, 'Which colour?')
    assert 'takes no images' in result.history[-2]['content']
    with pytest.raises(BadInput, match='An image is not a text'):
        LambdaRLM(ScriptedLM(['x'] * 9))(RED, 'Which colour?')
