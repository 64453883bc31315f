"Sweeps as a whole: killed and continued, interrupted, on clusters, from the command line."

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlm.base import python_source as source
from rlm.base.errors import BadInput, RLMError
from rlm.bench.executors import open_executor, RayExecutor
from rlm.bench.data.samples import load
from rlm.bench.results import averages_of
from rlm.bench.simulated import Simulated
from rlm.bench.sweep import Sweep
from tests.mock_server import mock_server
from tests.run import ROOT
from tests.test_kill import asked_in, quiet

METHODS = ['direct', 'rlm', 'lambda:task=given', 'srlm:k=2,early_stop=no']
HOPEFULLY = 60  # seconds until a test that waits for something that never comes fails


def needle(tokens, number):
    hay, place = 'Hay. ' * (tokens * 4 // 5), tokens * number // 15 * 5
    return SimpleNamespace(
        id=f'{tokens}-{number}',
        dataset='hay',
        tokens=tokens,
        query=f'What is the needle of {tokens}-{number}?',
        answer='42',
        task='search',
        context=f'{hay[:place]}The needle is 42. {hay[place:]}',
    )


def contains(sample, answer):
    return float(sample.answer in answer)


SAMPLES = [needle(tokens, number) for tokens in (256, 1024) for number in (0, 5, 9)]


def files(folder, *names):
    return [(folder / name).read_bytes() for name in names or ('results.json', 'averages.json')]


# A child process makes a sweep: it prints which sample it asks about, and waits for ever at those that are `stuck`.
CHILD = '''
import asyncio, sys
from rlm.bench.data.samples import load
from rlm.bench.results import averages_of
from rlm.bench.simulated import Simulated
from rlm.bench.sweep import Sweep
from tests.test_bench import SAMPLES, contains
folder, concurrency, stuck = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
async def model(messages):
    sample = next(one for one in SAMPLES if f' {one.id}?' in messages[-1]['content'])
    print(sample.id, flush=True)
    if sample.id in stuck: await asyncio.Event().wait()
    return '42'
print(Sweep(SAMPLES, ['direct'], model, score=contains, folder=folder, concurrency=concurrency, progress=False).run())
'''


def child(folder, concurrency, *stuck):
    return subprocess.Popen(
        [sys.executable, '-c', CHILD, str(folder), str(concurrency), *stuck],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked_until(process, *samples):
    "Which samples the child asks about, up to where it has asked about all of these."
    asked = []
    while not set(samples) <= set(asked):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        asked.append(line.strip())
    return asked


@pytest.mark.parametrize('concurrency', [1, 3])
@pytest.mark.parametrize('torn', [0, 7])
def test_a_killed_sweep_goes_on_where_it_was(tmp_path, concurrency, torn):
    ids = [sample.id for sample in SAMPLES]
    stuck = ids[3 : 3 + concurrency]
    process = child(tmp_path, concurrency, *stuck)
    asked_until(process, *stuck)
    process.send_signal(signal.SIGKILL)
    process.wait(HOPEFULLY)
    path = tmp_path / 'results.jsonl'
    assert sorted(json.loads(line)['sample'] for line in path.read_text().splitlines()) == sorted(ids[:3])
    lost = {json.loads(path.read_text().splitlines()[-1])['sample']} if torn else set()
    if torn:
        path.write_bytes(path.read_bytes()[:-torn])
    process = child(tmp_path, concurrency)
    said, errors = process.communicate(timeout=HOPEFULLY)
    assert process.returncode == 0, errors
    assert set(said.split('\n')) & set(ids) == set(ids[3:]) | lost, 'a finished run is not made again'
    whole = tmp_path / 'whole'
    assert child(whole, 1).wait(HOPEFULLY) == 0
    assert files(tmp_path) == files(whole)


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGINT for one process')
def test_an_interrupted_sweep_leaves_what_is_done(tmp_path):
    ids = [sample.id for sample in SAMPLES]
    process = child(tmp_path, 2, *ids[4:])
    asked_until(process, *ids[4:])
    process.send_signal(signal.SIGINT)
    assert 'KeyboardInterrupt' in process.communicate(timeout=HOPEFULLY)[1]
    assert [row['sample'] for row in json.loads((tmp_path / 'results.json').read_text())['results']] == ids[:4]


# --- killed in the middle of a run ---

# What the server replies, by the last message: the same in any order. Every prompt of a run names its house.
HOUSES = [
    SimpleNamespace(
        id=f'house-{house}',
        dataset='houses',
        tokens=300,
        query=f'What of house {house}?',
        answer='look',
        task='search',
        context=[f'Part {house}{place}: the lamp is lit. ' * 9 for place in 'abc'],
    )
    for house in range(3)
]
TURNS = dict(
    [
        ('^Question: What of house', 'print("begun", len(context))'),
        ('Question: Sub', 'FINAL(llm_query("Look. " + context))'),
    ]
    + [
        ('begun', 'read = llm_query_batched([f"Read. {part}" for part in context])\nprint("read", read[0])'),
        ('read Part', 'told = rlm_query("Sub of " + context[0], context=context[1])\nprint("told", told)'),
        ('told', 'FINAL(told + " and " + llm_query("Last. " + context[2]))'),
    ]
)
RULES = [
    (rf'^{verb}\. Part {house}{place}', f'Part {house}{place} is {verb.lower()}.')
    for verb in ('Read', 'Last', 'Look')
    for house in range(3)
    for place in 'abc'
]
RULES += [(pattern, f'```repl\n{code}\n```') for pattern, code in TURNS.items()]

# The sweep as a script, which kills itself and its workers where the journals have got a certain line.
KILLED = '''
import itertools, os, signal, sys
from rlm.trace.journal import Journal
from rlm.bench.data.samples import load
from rlm.bench.results import averages_of
from rlm.bench.simulated import Simulated
from rlm.bench.sweep import Sweep
from tests.test_bench import HOUSES, contains
api_base, folder, where, line, step = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
put, lines = Journal._put, itertools.count(1)
def put_and_die(self, data):
    if next(lines) != line: return put(self, data)
    if step == 'torn':
        self._file.seek(self._end)
        self._file.write(data[:len(data) // 2])
    if step == 'after': put(self, data)
    os.killpg(0, signal.SIGKILL)
Journal._put = put_and_die
if __name__ == '__main__':
    how = dict(score=contains, concurrency=2, executor=where, traces='whole' in folder, progress=False)
    methods = ['rlm:env=local,first_look=no,max_depth=2']
    print(Sweep(HOUSES, methods, 'openai/rules', api_base=api_base, folder=folder, **how).run())
'''


@pytest.fixture(scope='module')
def houses(tmp_path_factory):
    "Runs the sweep against one server: where runs take place, folder, and where it is killed."
    folder = tmp_path_factory.mktemp('houses')
    (folder / 'killed.py').write_text(KILLED)
    environment = os.environ | dict(OPENAI_API_KEY='none', LITELLM_LOCAL_MODEL_COST_MAP='True', PYTHONPATH=str(ROOT))
    with mock_server() as server:

        def run(where, results, line=0, step=''):
            server.reset()
            server.script(rules=RULES)
            done = subprocess.run(
                [
                    sys.executable,
                    str(folder / 'killed.py'),
                    server.api_base,
                    str(folder / results),
                    where,
                    str(line),
                    step,
                ],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
                start_new_session=True,
            )
            return done, Counter(quiet(server))

        done, prompts = run('threads', 'whole')
        assert done.returncode == 0, done.stderr
        traces = {query_of(path): asked_in(path) for path in (folder / 'whole' / 'traces').iterdir()}
        assert sum(traces.values(), Counter()) == prompts and prompts.total() == 3 * 10
        yield SimpleNamespace(run=run, folder=folder, traces=traces)


def query_of(path):
    return json.loads(path.read_bytes().splitlines()[0])['query']


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no process groups to kill')
@pytest.mark.parametrize(
    'where, line, step', [('threads', 24, 'after'), ('threads', 61, 'torn'), ('processes', 30, 'before')]
)
def test_a_sweep_that_is_killed_in_the_middle_of_its_runs_pays_for_no_reply_twice(houses, where, line, step):
    name = f'{where}-{line}'
    killed, _ = houses.run(where, name, line, step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = [json.loads(line) for line in (houses.folder / name / 'results.jsonl').read_text().splitlines()]
    ended = {f'What of house {row["sample"][-1]}?' for row in rows}
    journals = [
        path
        for path in (houses.folder / name / 'traces').iterdir()
        if path.read_bytes().count(b'\n') and query_of(path) not in ended
    ]
    known = sum(map(asked_in, journals), Counter())
    assert known, 'the kill came too early'
    done, paid = houses.run(where, name)
    assert done.returncode == 0, done.stderr
    assert paid + known == sum((asked for query, asked in houses.traces.items() if query not in ended), Counter())
    assert files(houses.folder / name) == files(houses.folder / 'whole')
    assert not (houses.folder / name / 'traces').exists()


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGKILL')
def test_worker_processes_end_with_the_one_that_started_them():
    code = (
        'import os, time\nfrom rlm.bench.executors import open_executor\n'
        "with open_executor('processes', 1) as pool:\n"
        '    print(pool.submit(os.getpid).result(), flush=True)\n    time.sleep(600)'
    )
    with subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert int(process.stdout.readline())
        process.kill()
        # The worker holds this pipe too: it closes once both are gone.
        assert process.stdout.read() == ''


@pytest.fixture(scope='module')
def serial(tmp_path_factory):
    folder = tmp_path_factory.mktemp('serial')
    Sweep(SAMPLES, METHODS, 'offline/extractive', score=contains, folder=folder, concurrency=1, progress=False).run()
    return files(folder)


@contextlib.contextmanager
def executor_of(name, monkeypatch):
    "An executor, or its name; a cluster has two processes of this machine."
    if name == 'dask':
        distributed = pytest.importorskip('distributed')
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            with distributed.Client(cluster) as client:
                yield client.get_executor(pure=False)
    elif name == 'ray':
        monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        ray = pytest.importorskip('ray')
        ray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR')
        try:
            yield RayExecutor(ray)
        finally:
            ray.shutdown()
    else:
        yield name


@pytest.mark.parametrize('name', [None, 'processes', 'dask', 'ray'])
def test_results_are_the_same_bytes_wherever_runs_take_place(tmp_path, serial, name, monkeypatch):
    with executor_of(name, monkeypatch) as executor:
        result = Sweep(
            SAMPLES,
            METHODS,
            'offline/extractive',
            score=contains,
            folder=tmp_path,
            executor=executor,
            progress=False,
            traces=True,
        ).run()
    assert files(tmp_path) == serial
    assert not any(row['error'] for row in result.rows)
    assert len(list((tmp_path / 'traces').iterdir())) == len(SAMPLES) * len(METHODS)


def test_a_worker_that_dies_is_reported_and_its_run_made_again(tmp_path):
    with open_executor('processes', 1) as executor:
        assert executor.submit(len, 'started').result(HOPEFULLY) == 7
        for process in executor._processes.values():
            process.kill()
        with pytest.raises(RLMError, match='(lost hay/8/256-0/direct|takes no runs) .*run the sweep again'):
            Sweep(
                SAMPLES,
                ['direct'],
                'offline/extractive',
                score=contains,
                folder=tmp_path,
                executor=executor,
                progress=False,
            ).run()
    result = Sweep(SAMPLES, ['direct'], 'offline/extractive', score=contains, folder=tmp_path, progress=False).run()
    assert len(result.rows) == len(SAMPLES)


def test_a_model_that_is_not_a_name_cannot_be_sent_to_another_process(tmp_path):
    with open_executor('processes', 1) as executor, pytest.raises(BadInput, match='give models by name'):
        Sweep(SAMPLES, ['direct'], lambda messages: '42', score=contains, executor=executor, progress=False).run()


def test_runs_parse_their_code_one_at_a_time(monkeypatch):
    "Up to Python 3.12 `ast.parse` in two threads at once refuses sound programs now and then."
    inside, most = [], []

    def watched(*given):
        inside.append(1)
        most.append(len(inside))
        for number in range(2000):
            number * number
        inside.pop()

    monkeypatch.setattr(source.ast, 'parse', watched)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(source.syntax_tree, ['x'] * 200))
    finally:
        sys.setswitchinterval(interval)
    assert max(most) == 1 and len(most) == 200


# --- the command ---

SMOKE = [
    '--datasets',
    'sniah',
    'ordered',
    'labels',
    '--buckets',
    '10-12',
    '--n-samples-per-bucket',
    '2',
    '--methods',
    'direct',
    'rlm',
    'lambda:task=given',
    'srlm:k=3,early_stop=no',
]


def command(*words, **how):
    return subprocess.run(
        [sys.executable, '-m', 'rlm.bench', *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        **how,
    )


def test_four_methods_over_three_sets_and_lengths_leave_files_and_plots(tmp_path):
    "What `make bench-smoke` runs."
    folder = Path(os.environ.get('RLM_BENCH_SMOKE', tmp_path)) / 'sweep'
    done = command(*SMOKE, '--output-dir', folder)
    assert done.returncode == 0, done.stderr
    assert '72/72' in done.stderr and '72 runs' in done.stdout
    cells = json.loads((folder / 'stats.json').read_text())['cells']
    assert len(cells) == 36 and {cell['n'] for cell in cells} == {2}
    # It cannot count; a plan that asks it to says that its reply is no count.
    assert not any(cell['errors'] for cell in cells if (cell['dataset'], cell['method'][:6]) != ('labels', 'lambda'))
    assert {cell['score'] for cell in cells if cell['dataset'] == 'sniah'} == {1.0}, (
        'the extractive reader finds a needle in an essay'
    )
    assert len(json.loads((folder / 'results.json').read_text())['results']) == 72
    assert set(json.loads((folder / 'averages.json').read_text())) == {
        'direct',
        'rlm',
        'lambda:task=given',
        'srlm:k=3,early_stop=no',
    }
    for name in ('scores', 'costs', 'latencies', 'differences', 'frontier'):
        assert (folder / 'plots' / f'{name}.png').read_bytes().startswith(b'\x89PNG')
    again = command(*SMOKE, '--output-dir', folder)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    other = command(*SMOKE, '--output-dir', folder, '--seed', '1')
    assert other.returncode == 2 and 'holds a sweep with seed=0, and this one has 1' in other.stderr


def test_a_dry_run_spends_and_writes_nothing(tmp_path):
    done = command(*SMOKE, '--output-dir', tmp_path / 'x', '--dry-run', '--model', 'gpt-4o-mini')
    assert done.returncode == 0, done.stderr
    assert '72 runs of gpt-4o-mini' in done.stdout and not list(tmp_path.iterdir())


def test_a_budget_ends_the_sweep_with_a_message(tmp_path):
    words = [
        '--datasets',
        'sniah',
        '--buckets',
        '10',
        '--methods',
        'direct',
        '--model',
        'simulated',
        '--output-dir',
        tmp_path,
        '--no-plots',
    ]
    done = command(*words, '--max-cost', '0.0015')
    assert done.returncode == 3 and 'max_cost=0.0015 is too small' in done.stderr and '| sniah | 2^10 |' in done.stdout
    done = command(*words, '--max-cost', '0.01')
    assert done.returncode == 0 and '2 runs' in done.stdout


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no limit for the size of files')
def test_a_full_disk_ends_the_sweep_and_costs_no_further_run(tmp_path):
    words = [
        '--datasets',
        'sniah',
        '--buckets',
        '10',
        '--n-samples-per-bucket',
        '4',
        '--methods',
        'rlm',
        '--output-dir',
        tmp_path / 'x',
        '--no-plots',
        '--quiet',
        '--concurrency',
        '1',
    ]
    import resource

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

    done = command(*words, preexec_fn=small)
    assert done.returncode == 1 and '(File too large): make room' in done.stderr and done.stderr.count('\n') == 1, (
        done.stderr
    )
    assert len(list((tmp_path / 'x' / 'traces').iterdir())) == 1
    done = command(*words)
    assert done.returncode == 0 and '4 runs, $' in done.stdout, done.stderr


def test_without_matplotlib_nothing_is_begun(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None\nfrom rlm.bench import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, '-c', code, '--datasets', 'sniah', '--buckets', '10', '--output-dir', str(tmp_path / 'x')],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "pip install 'rlm[bench]'" in done.stderr and not (tmp_path / 'x').exists()


def test_the_measured_speed_that_its_page_shows_is_complete():
    report = json.loads((ROOT / 'nbs' / 'studies' / 'speed.json').read_text())
    assert len(report['rows']) == 13 and {line['met'] for line in report['rows']} <= {True, False}
    assert all(report['machine'].values())
    envs = json.loads((ROOT / 'nbs' / 'shell' / 'envs.json').read_text())
    assert {'local', 'process', 'sandbox'} <= set(envs['environments']) | set(envs['missing'])
    assert len({len(figures) for figures in envs['environments'].values()}) == 1


def test_a_full_plan_scores_above_one_that_ignores_the_task():
    "What the page on ablation draws, in a small simulation."
    samples = load('pairs', lengths=4096, n=2)
    methods = ['lambda:task=given', 'lambda:task=general']
    result = Sweep(samples, methods, Simulated(a0=0.98, rho=0.7, window=4000), progress=False).run()
    full, general = (averages['score'] for averages in averages_of(result.rows).values())
    assert full > general


def test_the_package_exports_what_scripts_import():
    import rlm.bench

    names = 'benchmark_vanilla benchmark_rlm read_buckets samples_of make_sweep bench add_command run_command main'
    assert set(names.split()) <= set(rlm.bench.__all__)
    assert all(callable(getattr(rlm.bench, name)) for name in names.split())


def test_the_old_name_of_a_strategy_is_accepted_on_the_command_line():
    words = ['--buckets', '10', '--n-samples-per-bucket', '1', '--dry-run', '--methods']
    old, new = command(*words, 'lambda_rlm:task=given'), command(*words, 'lambda:task=given')
    assert old.returncode == new.returncode == 0, old.stderr
    assert old.stdout == new.stdout and 'lambda:task=given' in new.stdout
