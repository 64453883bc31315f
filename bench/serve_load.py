"""What clients of `rlm serve` notice of each other.

`python -m bench.serve_load` starts the command in front of the mock server of the tests (which is not a language model:
it echoes, after 0.1 s) and asks with 50 clients at once, four questions each, one after the other. Then it does the
same beside a client that is killed in the middle of its stream, and one that sends requests which must be refused for
as long as the others ask. It prints the seconds of an answer, and how many answers were wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx

from tests.mock_server import mock_server

KEY = 'the key of the bench'
KILLED = '''
import httpx, sys
about = dict(headers={'Authorization': 'Bearer ' + sys.argv[2]}, timeout=300, trust_env=False)
body = dict(model='rlm', stream=True, messages=[dict(role='user', content='number 0\\n\\nQuestion: Which?')])
with httpx.stream('POST', sys.argv[1] + '/chat/completions', json=body, **about) as answer:
    print(next(answer.iter_lines()), flush=True)
    sys.stdin.read()
'''


@contextlib.contextmanager
def serving(latency: float) -> Iterator[str]:
    "`rlm serve` in a process of its own; its address."
    with socket.socket() as free, mock_server(latency=latency) as model:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        free.close()
        words = [
            'serve',
            '--model',
            'openai/echo',
            '--api-base',
            model.api_base,
            '--port',
            str(port),
            '--max-runs',
            '16',
        ]
        environment = os.environ | dict(RLM_SERVE_KEY=KEY, OPENAI_API_KEY='none')
        command = subprocess.Popen([sys.executable, '-m', 'rlm', *words], env=environment, stderr=subprocess.DEVNULL)
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port)):
                    break
                if command.poll() is not None:
                    raise RuntimeError(f'rlm serve ended with status {command.returncode}.')
                time.sleep(0.05)
            yield f'http://127.0.0.1:{port}/v1'
        finally:
            command.terminate()
            command.wait()


def request(text: str, **more) -> dict:
    asked = [dict(role='user', content=f'{text}\n\nQuestion: Which number?')]
    return dict(model='rlm', messages=asked, rlm=dict(strategy='direct')) | more


async def client(http: httpx.AsyncClient, number: int, questions: int) -> list[tuple[float, bool]]:
    "Seconds of each answer, and whether it was right."
    found = []
    for question in range(questions):
        began, mark = time.perf_counter(), f'This is number {number}-{question}.'
        try:
            answer = await http.post('/chat/completions', json=request(mark))
            right = answer.status_code == 200 and mark in answer.json()['choices'][0]['message']['content']
        except httpx.TransportError as error:
            print(f'client {number}, question {question}, after {time.perf_counter() - began:.2f} s: {error!r}')
            right = False
        found.append((time.perf_counter() - began, right))
    return found


async def attack(http: httpx.AsyncClient, over: asyncio.Event) -> tuple[int, int]:
    "Send what must be refused until the others are done: requests, and those that were not refused."
    sent = wrong = 0
    while not over.is_set():
        for about in (
            dict(content=b'{"model": "rlm", "messages": [' + b'[' * 50_000),
            dict(content=b'x' * 5_000_000),
            dict(json=request('number', api_base='http://elsewhere')),
            dict(json=request('number', rlm=dict(env='local'))),
            dict(json=request('number', rlm=dict(context='../../etc/passwd'))),
            dict(json=request('number'), headers={'Authorization': 'Bearer wrong'}),
        ):
            answer = await http.post('/chat/completions', **about)
            sent, wrong = sent + 1, wrong + (answer.status_code not in (400, 401))
    return sent, wrong


async def killed(address: str) -> str:
    "A client that is killed when its stream has begun."
    pipes = dict(stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(sys.executable, '-c', KILLED, address, KEY, **pipes)
    begun = await process.stdout.readline()
    process.kill()
    await process.wait()
    return begun.decode().strip()[:5]


async def measure(address: str, clients: int, questions: int, disturbed: bool) -> None:
    "Ask with all clients at once, and print what they saw."
    limits = httpx.Limits(max_connections=None)
    about = dict(
        base_url=address, headers={'Authorization': f'Bearer {KEY}'}, timeout=600, trust_env=False, limits=limits
    )
    async with httpx.AsyncClient(**about) as http:
        over, others = asyncio.Event(), []
        if disturbed:
            others = [asyncio.ensure_future(attack(http, over)), asyncio.ensure_future(killed(address))]
        began = time.perf_counter()
        found = await asyncio.gather(*[client(http, number, questions) for number in range(clients)])
        took = time.perf_counter() - began
        over.set()
        said = await asyncio.gather(*others)
    answers = [one for each in found for one in each]
    seconds = sorted(each for each, _ in answers)
    wrong = sum(not right for _, right in answers)
    name = 'one killed, one hostile' if disturbed else 'alone'
    print(
        f'{clients} clients, {name}: {len(answers)} answers in {took:.1f} s, {wrong} wrong; seconds of an answer: '
        f'median {statistics.median(seconds):.2f}, 95 % {seconds[int(0.95 * len(seconds))]:.2f}, most {seconds[-1]:.2f}'
    )
    if disturbed:
        (sent, accepted), begun = said
        print(f'  the hostile client sent {sent} requests, {accepted} were accepted; the killed one had read {begun!r}')


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m bench.serve_load', description=__doc__.split('\n')[0])
    parser.add_argument('--clients', type=int, default=50)
    parser.add_argument('--questions', type=int, default=4, help='of each client, one after the other')
    parser.add_argument('--latency', type=float, default=0.1, help='seconds that the model behind takes')
    options = parser.parse_args()
    with serving(options.latency) as address:
        for disturbed in (False, True, False):
            asyncio.run(measure(address, options.clients, options.questions, disturbed))


if __name__ == '__main__':
    main()
