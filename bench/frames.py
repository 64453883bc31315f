"""How long the worst frames of a worker hold up the host's event loop: `python -m bench.frames` prints a table.

All runs of a program share one event loop. While it reads a frame, each of them waits. A worker that lies sends here
the largest and slowest frames that the bounds of `rlm.shell.remote.frames` let through, one for each cell. Meanwhile a
task of the loop notes how late it wakes. Printed are the seconds until the cell was there (or was refused), and the
longest time that the loop did not answer: by the clock, and in seconds that this process calculated meanwhile, which
other programs on the machine do not change. With `--limit 0.2` the exit status is 1 where the second is longer.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

from rlm.base.event_loop import run_sync
from rlm.shell.remote.frames import FRAME_LENGTH, MAX_FRAME
from rlm.shell.remote.process import ProcessTransport
from rlm.shell.remote.remote_shell import RemoteShell

MB = 2**20
TICK = 0.002  # seconds between two looks at the clock
# The worker: it says that it is ready, waits for a cell, and answers with a file.
LIAR = '''
import socket, struct, sys
stream = socket.socket(fileno=int(sys.argv[1]))
def read(size):
    data = b''
    while len(data) < size:
        data += stream.recv(size - len(data)) or sys.exit()
    return data
def frame():
    return read(struct.unpack('>I', read(4))[0])
frame()
stream.sendall(struct.pack('>I', 14) + b'{"op":"ready"}')
while b'"op":"exec"' not in frame(): pass
stream.sendall(open(sys.argv[2], 'rb').read())
stream.recv(1)
'''


def many(part: bytes, count: int) -> bytes:
    return b'[' + b','.join([part] * count) + b']'


def numbered(part: bytes, count: int) -> bytes:
    "A list of parts in which `%d` is a number whose hash is that of all others."
    return b'[' + b','.join(part % (number * (2**61 - 1)) for number in range(1, count)) + b']'


def worst_frames() -> dict[str, bytes]:  # what they try -> the value of an answer, as JSON
    "The values that take longest, each just within the bounds or just beyond them."
    prefix = b','.join(b'"%d"' % number for number in range(450))
    column = b'{"$":"series","parts":[null,["%s",%s],null]}'
    return {
        'a number': b'1',
        'text of 31 MB': b'"' + b'x' * 31 * MB + b'"',
        'text of 7M emoji': b'"' + '\U0001f600'.encode() * 7 * MB + b'"',
        '5.3M escapes': b'"' + b'\\u20ac' * 5_300_000 + b'"',
        '99,000 halves of pairs': b'"' + b'\xed\xa0\x80' * 99_000 + b'"',
        '490,000 integers': many(b'1', 490_000),
        '240,000 floats': many(b'0.1', 240_000),
        '240,000 texts': many(b'"abc"', 240_000),
        'integers of 4,299 digits': many(b'9' * 4299, 220),
        '119,000 lists': many(b'[]', 119_000),
        '59,000 tuples': many(b'{"$":"tuple","parts":[]}', 59_000),
        'a dict of 160,000 keys': b'{' + b','.join(b'"%d":1' % number for number in range(160_000)) + b'}',
        'bytes of 12 MB': b'{"$":"bytes","parts":"' + b'AAAA' * 4 * MB + b'"}',
        'an array of 21 MB': b'{"$":"array","parts":["<f8",[%d],"' % (7 * MB // 8 * 3) + b'AAAA' * 7 * MB + b'"]}',
        'a set of equal hashes': b'{"$":"set","parts":' + numbered(b'%d', 36_000) + b'}',
        'a dict of equal hashes': b'{"$":"dict","parts":' + numbered(b'[%d,1]', 30_000) + b'}',
        'a set of alike tuples': b'{"$":"set","parts":'
        + numbered(b'{"$":"tuple","parts":[' + prefix + b',%d]}', 900)
        + b'}',
        '49,000 dates': many(b'{"$":"datetime","parts":"2026-01-01T00:00:00"}', 49_000),
        '3,000 decimals of 9,999 digits': many(b'{"$":"Decimal","parts":"' + b'9' * 9999 + b'"}', 3000),
        'a column of 490,000 objects': column % (b'object', many(b'1', 490_000)),
        'a column of 490,000 integers': column % (b'Int64', many(b'1', 490_000)),
        'a column of 240,000 texts': column % (b'string', many(b'"abc"', 240_000)),
        'a column of 49,000 dates': column
        % (b'datetime64[ns]', many(b'{"$":"datetime","parts":"2026-01-01T00:00:00"}', 49_000)),
        '999 categories of equal hashes': column % (b'category', numbered(b'%d', 999)),
    }


def frame_of(value: bytes) -> bytes:
    "A frame in which a cell submits the value."
    body = (
        b'{"op":"done","id":1,"variables":{},"names":[],"answer":null,"cell":{"stdout":"","stderr":"","value":null,'
        b'"error":null,"notes":[],"final":{"source":"FINAL","value":' + value + b'}}}'
    )
    assert len(body) <= MAX_FRAME, f'{len(body):,} bytes'
    return FRAME_LENGTH.pack(len(body)) + body


class Liar(ProcessTransport):
    "A worker that answers its first cell with a file."

    path = ''

    def command(self, descriptor: int) -> list[str]:
        return [sys.executable, '-I', '-c', LIAR, str(descriptor), self.path]


async def longest_wait(shell: RemoteShell) -> tuple[float, float, float, str]:  # cell, waits by both clocks; outcome
    "Run a cell, and see how late a task of the loop wakes meanwhile."
    cell = asyncio.ensure_future(shell.arun('1', timeout=120))
    started = last = time.perf_counter()
    worked = time.process_time()
    by_clock = by_work = 0.0
    while not cell.done():
        await asyncio.sleep(TICK)
        by_clock, last = max(by_clock, time.perf_counter() - last - TICK), time.perf_counter()
        by_work, worked = max(by_work, time.process_time() - worked), time.process_time()
    done = cell.result()
    outcome = 'refused' if done.error else type(done.final.value).__name__
    return time.perf_counter() - started, by_clock, by_work, outcome


def measure(value: bytes, tries: int) -> tuple[float, float, float, str]:  # the try with the shortest wait
    "Seconds of a cell and of the loop's longest wait, by both clocks, and what came of the frame."
    outcomes = []
    for _ in range(tries):
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(frame_of(value))
            transport = Liar()
            transport.path = file.name
            with RemoteShell(transport, timeout=120) as shell:
                outcomes.append(run_sync(longest_wait(shell)))
        gc.collect()
    return min(outcomes, key=lambda outcome: outcome[2])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--limit', type=float, help='seconds of work for which the loop may wait')
    parser.add_argument(
        '--tries', type=int, default=3, help='of each frame; the best counts, as other programs disturb'
    )
    parser.add_argument('--only', default='', help='frames whose name has this')
    options = parser.parse_args()
    worst = 0.0
    print(f'{"frame":34} {"MB":>6} {"cell, s":>8} {"wait, s":>8} {"work, s":>8}  outcome')
    for name, value in worst_frames().items():
        if options.only in name:
            seconds, waited, worked, outcome = measure(value, options.tries)
            worst = max(worst, worked)
            print(f'{name:34} {len(value) / MB:6.1f} {seconds:8.3f} {waited:8.3f} {worked:8.3f}  {outcome}', flush=True)
    print(f'the longest wait: {worst:.3f} s of work')
    return int(options.limit is not None and worst > options.limit)


if __name__ == '__main__':
    sys.exit(main())
