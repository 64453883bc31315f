"What shells leave behind: nothing, whether they are closed, dropped or ended with their host."

import json
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.containment import ROOT, Missing, descendants, marked, settings_for, state, this_user

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='it looks into /proc')
# Eight ways a round, and one round more before: one shell that stays behind is seen, so two rounds are enough.
SHELLS = dict(local=80, process=16, sandbox=16, docker=12, kernel=12, landlock=16)
ENDLESS = '''
import ctypes, signal
libc = ctypes.CDLL(None)
libc.prctl(15, b'{mark}')
libc.prctl(1, 0, 0, 0, 0) # no signal when the parent ends
for number in range(1, 65): libc.signal(number, 1)
while True:
    try:
        while True: pass
    except BaseException: pass
'''
IN_C = '''
import ctypes, re
ctypes.CDLL(None).prctl(15, b'{mark}')
re.match('(a+)+$', 'a' * 64 + 'b') # holds the interpreter: no thread of the worker sees the host go
'''


def many(env, settings, count):
    "Open and close shells in all ways; what is there before and after. Runs in a process of its own."
    import gc
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from rlm.shell.environments import open_shell

    def plain(shell):
        assert shell.run('6 * 7').value == '42'

    def with_more(shell):
        shell.run('x = context[:5]')
        shell['y'] = 'y' * 2_000_000
        shell.add_context(['another'])
        assert shell.run('len(y), context_0[:5] == x').value == '(2000000, True)'

    def interrupted(shell):
        shell.run('while True: pass', 0.1)

    def ended(shell):
        shell.run('import os; os._exit(0)' if env != 'local' else 'raise SystemExit')

    def running(shell):
        thread = threading.Thread(target=shell.run, args=('import time\nfor _ in range(10_000): time.sleep(0.001)',))
        thread.start()
        while not shell._job:
            time.sleep(0.001)
        shell.close()
        thread.join()

    ways = [plain, plain, with_more, interrupted, ended, running, plain, None]

    def one(number):
        shell, way = open_shell(env, 'context ' * 10_000, timeout=20, **settings), ways[number % len(ways)]
        if way is None:
            return plain(shell)  # and it is dropped
        with shell:
            way(shell)

    def now():
        gc.collect()
        threads = sorted(
            thread.name
            for thread in threading.enumerate()
            if not thread.name.startswith(('asyncio', 'ThreadPool', 'rlm-loop_'))
        )  # without pools
        return dict(
            processes=len(descendants(os.getpid())),
            files=sorted(os.listdir(os.environ['TMPDIR'])),
            descriptors=len(os.listdir('/proc/self/fd')),
            threads=threads,
        )

    def settled(as_before, patience=120):
        "What is there when it is as before, or does not become so."
        until = time.monotonic() + patience
        while not as_before(seen := now()) and time.monotonic() < until:
            time.sleep(0.05)
        return seen

    for number in range(len(ways)):
        one(number)  # what is made once is made now
    before = settled(lambda seen: not seen['processes'] and seen['threads'] == ['MainThread', 'rlm-loop'])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(count)))
    print(json.dumps(dict(before=before, after=settled(lambda seen: not more(seen, before)))))


def more(after, before):
    "What is new; a shell that was dropped may still have been closing when `before` was taken."
    return {
        name: (before[name], now)
        for name, now in after.items()
        if (
            now > before[name] if isinstance(now, int) else set(now) - set(before[name]) or len(now) > len(before[name])
        )
    }


@pytest.fixture
def settings(request):
    "What `open_shell` needs for the environment of a test."
    from rlm.shell.environments import why_not

    if problem := why_not(request.param):
        pytest.skip(problem)
    try:
        with settings_for(request.param, this_user()) as found:
            yield request.param, found
    except Missing as error:
        pytest.skip(str(error))


def host(tmp_path, *arguments, **how):
    "A process that is this file, with a folder of its own for temporary files."
    return subprocess.Popen(
        [sys.executable, '-m', 'tests.test_leaks', *arguments],
        cwd=ROOT,
        env=dict(os.environ, TMPDIR=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        **how,
    )


@pytest.mark.parametrize('settings', SHELLS, indirect=True)
def test_shells_leave_nothing_behind(settings, tmp_path):
    env, given = settings
    with host(tmp_path, 'many', env, json.dumps(given), str(SHELLS[env]), stdout=subprocess.PIPE, text=True) as process:
        said = process.communicate(timeout=1800)[0]
    assert process.returncode == 0
    told = json.loads(said.splitlines()[-1])
    assert not more(told['after'], told['before'])
    assert told['after']['processes'] == 0
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('cell', ['ENDLESS', 'IN_C'])
@pytest.mark.parametrize('settings', [env for env in SHELLS if env != 'local'], indirect=True)
def test_a_worker_ends_with_its_host(settings, cell, tmp_path):
    "Also where its cell ignores all signals and has asked the kernel to tell it nothing, or does not come back from C."
    (env, given), mark = settings, f'rlml{os.getpid() % 10_000_000}'
    with host(tmp_path, cell, env, json.dumps(given), mark[::-1]) as process:  # only the cell has its true name
        until = time.monotonic() + 60
        while not (running := marked(mark)) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        family = {number: os.pidfd_open(number) for number in {*running, *descendants(process.pid)}}
        assert running and process.pid not in running
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    for number, descriptor in family.items():
        ended = select.select([descriptor], [], [], max(until - time.monotonic(), 0))[0]
        os.close(descriptor)
        assert ended, f'process {number} outlives its host: {state(number)}'
    assert not marked(mark)
    if env in ('docker', 'kernel'):  # a folder is left that others look into; the next shell of anybody clears it away
        with host(tmp_path, 'many', env, json.dumps(given), '0', stdout=subprocess.DEVNULL) as process:
            process.wait(60)
    assert not os.listdir(tmp_path)


def main(what, env, settings, *rest):
    from rlm.shell.environments import open_shell

    if what == 'many':
        many(env, json.loads(settings), int(rest[0]))
    else:
        open_shell(env, 'context', **json.loads(settings)).run(globals()[what].replace('{mark}', rest[0][::-1]))


if __name__ == '__main__':
    main(*sys.argv[1:])
