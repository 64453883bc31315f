"Run every notebook and every pytest test; the last line is the count, and any failure makes the exit status 1."

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = re.compile(r'\btest_\w+\(|\bexpect_fail\(|^\s*assert\b', re.M)
TIMEOUT = 240  # seconds for one notebook


def is_skipped(source: str) -> bool:
    "Whether a cell is shown and not run: `#| eval: false` or `#| notest`."
    return bool(re.search(r'^#\|\s*(eval:\s*false|notest)\b', source, re.M))


def run_notebook(notebook: Path) -> dict:
    "Run one notebook in this process, counting the cells that check something."
    from execnb.shell import CaptureShell

    # A hung notebook says where it hangs before it is killed.
    faulthandler.dump_traceback_later(TIMEOUT - 10, file=sys.stderr)
    sys.path.insert(0, str(ROOT))
    os.environ['IN_TEST'] = '1'  # as nbdev sets it
    os.chdir(notebook.parent)
    # Without its own figures: matplotlib takes a second to import, and few pages draw.
    shell = CaptureShell(notebook, mpl_format=None)
    count = dict(passed=0, failed=0)
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or is_skipped(source):
            continue
        shell.run(source)
        if shell.exc:
            print(f'{source}\n\n{shell.prettytb(fname=notebook.name)}', file=sys.stderr)
            return dict(count, failed=1)
        count['passed'] += bool(CHECKS.search(source))
    return count


def draws(notebook: Path) -> bool:
    "Whether a page only draws or measures, so that `make draw` runs it and `make test` does not."
    return '#| draws: true' in notebook.read_text(encoding='utf-8')


def what_is_missing(notebook: Path) -> str | None:
    "Why a notebook that says `#| needs: sandbox` cannot be run here."
    needed = re.search(r'#\| needs: (\w+)', notebook.read_text(encoding='utf-8'))
    if not needed:
        return None
    from rlm.shell.environments import why_not

    return why_not(needed[1])


def notebook_counts(notebook: Path) -> tuple[int, int]:
    "Run `notebook` in another process, so that a hang or a crash is one failure and not the end."
    name = notebook.relative_to(ROOT / 'nbs') if notebook.is_relative_to(ROOT / 'nbs') else notebook.name
    if missing := what_is_missing(notebook):
        print(f'{name}: not run, since {missing}', flush=True)
        return 0, 0
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / 'result.json', Path(folder) / 'log.txt'
        command = [sys.executable, '-m', 'tests.run', '--one', str(notebook), '--result', str(result)]
        # A file and not a pipe: what a notebook started and left running would keep a pipe open.
        with log.open('wb') as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=clean_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                status = f'exit status {process.wait(TIMEOUT)}'
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                status = f'not done after {TIMEOUT} s'
        said = log.read_text(errors='replace')
        count = json.loads(result.read_text()) if result.exists() else dict(passed=0, failed=1)
    if count['failed'] or process.returncode:
        print(f'FAILED {name} ({status})\n{said}', flush=True)
        return count['passed'], max(1, count['failed'])
    print(f"{name}: {count['passed']} cells with checks passed", flush=True)
    return count['passed'], 0


def pytest_counts() -> tuple[int, int]:
    "Run pytest in a process of its own and read its counts from the report that it writes for machines."
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        # A file stays with one worker, since its tests share what they started.
        command = [
            sys.executable,
            '-m',
            'pytest',
            '-q',
            '-p',
            'no:cacheprovider',
            '-o',
            'faulthandler_timeout=400',
            '-n',
            '2',
            '--dist',
            'loadfile',
            '--no-loadscope-reorder',  # the order of tests/conftest.py: longest first
            '--durations=15',
            f'--junitxml={report}',
            'tests',
        ]
        try:
            status = subprocess.run(
                command, cwd=ROOT, env=clean_environment(folder), stdin=subprocess.DEVNULL, timeout=8 * TIMEOUT
            ).returncode
        except subprocess.TimeoutExpired:
            status = f'pytest was not done after {8 * TIMEOUT} s'
        suites = list(ElementTree.parse(report).getroot().iter('testsuite')) if report.exists() else []
    total, failed, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ('tests', 'failures', 'errors', 'skipped')
    )
    failed += errors
    return total - failed - skipped, max(failed, int(status != 0))


def clean_environment(folder: str) -> dict[str, str]:
    "The environment for tests: no keys, no proxies, and no state that a person's IPython or Jupyter left behind."
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.search(r'_API_(KEY|BASE)$|_BASE_URL$|_PROXY$', name, re.I)
    }
    # With CI, hypothesis leaves out the health check that fails where the machine is busy.
    return dict(
        kept,
        CI='true',
        IPYTHONDIR=f'{folder}/ipython',
        RLM_PROFILES=f'{folder}/profiles',  # what a person has calibrated would change the plans
        JUPYTER_CONFIG_DIR=f'{folder}/jupyter',
        MPLBACKEND='Agg',
        PYTHONUNBUFFERED='1',
        LITELLM_LOCAL_MODEL_COST_MAP='True',
        NO_COLOR='1',
    )


def is_named(notebook: Path, names: list[str]) -> bool:
    "Whether one of `names` is a part of the notebook's path below nbs: a folder, a page, a beginning of either."
    inside = notebook.relative_to(ROOT / 'nbs').as_posix()
    return any(f'/{name.removeprefix("nbs/")}' in f'/{inside}' for name in names)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.run', description=__doc__)
    parser.add_argument(
        'notebooks', nargs='*', help='run only these notebooks, such as shell/ or models/03, and no pytest'
    )
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1), help='notebooks to run at once')
    parser.add_argument('--one', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--result', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        count = run_notebook(options.one)
        options.result.write_text(json.dumps(count))
        return 0
    every = sorted((ROOT / 'nbs').rglob('*.ipynb'))
    if options.notebooks:
        notebooks = [path for path in every if is_named(path, options.notebooks)]
    else:
        notebooks = [path for path in every if not draws(path)]
    with ThreadPoolExecutor(options.workers) as pool:
        counts = list(pool.map(notebook_counts, notebooks))
    if not options.notebooks:
        counts.append(pytest_counts())
    passed, failed = (sum(column) for column in zip(*counts)) if counts else (0, 0)
    print(f'{passed} passed, {failed} failed', flush=True)
    return int(failed > 0 or passed == 0)


if __name__ == '__main__':
    sys.exit(main())
