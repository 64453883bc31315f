"""What must work with a real llama-server, tried on one: a long run in a small window, tools, forms, thinking.

    llama-server -hf Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF -c 4096 -np 1 --jinja
    python -m bench.llama_server --api-base http://127.0.0.1:8080/v1 --turns 200

`-np 1` gives the one slot all of `-c`: two slots would share it. One line is printed for each check: what came, turns,
tokens, seconds. `--checks long` picks some of them.

- `long`: a run of so many turns whose cells print much more than the window holds, and that ends with an answer. A
  small model would answer in its first turns. So its replies go through a proxy in this process: every request reaches
  the real server, which reads it, writes a reply, and counts; until the last turn the proxy then puts a cell in the
  place of that reply, which prints the next part of the context. The window, its refusals, the summaries and the last
  answer are the server's own; what stands in the transcript as the model's code is not. `--reply-tokens` bounds what is
  written and thrown away.
- `tools`: a plain call with a tool, and a run that acts by tool calls.
- `schema`: a reply that a JSON schema holds.
- `grammar`: a reply that a grammar of llama-server holds.
- `thinking`: a model that thinks until its tokens are used up. A grammar makes it begin with `<think>`, and never end.
  The run has to end after two replies, with a sentence that says what to set.
"""

from __future__ import annotations

import argparse
import http.server
import json
import threading
import time
import urllib.error
import urllib.request

from bench.speed import machine
from rlm import LM, ModelError, RLM
from rlm.base.prompts import COMPACTION_PROMPT, FINAL_PROMPT
from rlm.bench.data.generators import sniah
from rlm.bench.scores import score

TOOL = dict(
    type='function',
    function=dict(
        name='get_weather',
        description='The weather of a city.',
        parameters=dict(type='object', properties=dict(city=dict(type='string')), required=['city']),
    ),
)
SCHEMA = dict(
    type='object',
    properties=dict(name=dict(type='string'), year=dict(type='integer')),
    required=['name', 'year'],
    additionalProperties=False,
)
THINKING = 'root ::= "<think>\\n" [^<]+'  # a grammar: thinking that never ends


class Proxy:
    "Passes every request on to the real server, and puts a cell in the place of each reply but the last."

    def __init__(
        self,
        api_base: str,  # of the real server
        printed: int,  # characters that each cell prints
        reply_tokens: int,  # the most of a reply that is thrown away
    ):
        self.root, self.printed, self.reply_tokens = api_base.removesuffix('/v1'), printed, reply_tokens
        self.turns = self.refused = self.summaries = 0
        self.largest = 0  # tokens of the longest prompt that the server read
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                proxy.answer(handler, None)

            def do_POST(handler):
                proxy.answer(handler, handler.rfile.read(int(handler.headers['Content-Length'])))

            def log_message(handler, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.api_base = f'http://127.0.0.1:{self.server.server_port}/v1'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes | None) -> None:
        "Ask the real server, and answer with what it said or with a cell."
        is_chat = bool(body) and handler.path.endswith('/chat/completions')
        asked = json.loads(body) if is_chat else {}
        if is_chat and not _stays(asked):
            asked['max_tokens'] = self.reply_tokens
            body = json.dumps(asked).encode()
        sent = {'Content-Type': 'application/json'}
        request = urllib.request.Request(self.root + handler.path, data=body, headers=sent)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                status, data = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, data = error.code, error.read()
        if is_chat:
            data = self.chat(asked, status, data)
        handler.send_response(status)
        handler.send_header('Content-Type', 'application/json')
        handler.send_header('Content-Length', str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def chat(self, body: dict, status: int, data: bytes) -> bytes:
        "Count a reply; in all turns but the last, a cell takes its place."
        if status != 200:
            self.refused += 1
            return data
        reply = json.loads(data)
        self.largest = max(self.largest, reply['usage']['prompt_tokens'])
        if _stays(body):
            self.summaries += FINAL_PROMPT[:60] not in body['messages'][-1]['content']
            return data
        self.turns += 1
        start = self.turns * self.printed
        code = f'start = {start} % len(context)\nprint(context[start : start + {self.printed}])'
        reply['choices'][0] |= dict(finish_reason='stop')
        reply['choices'][0]['message'] = dict(role='assistant', content=f'```repl\n{code}\n```')
        return json.dumps(reply).encode()


def _stays(body: dict) -> bool:
    "Whether the reply to a request is kept: a summary, or the answer of the last turn."
    last = body['messages'][-1]['content']
    return COMPACTION_PROMPT[:60] in last or FINAL_PROMPT[:60] in last


def try_long(given: argparse.Namespace) -> str:
    "A run of many turns in a small window."
    proxy, sample = Proxy(given.api_base, given.printed, given.reply_tokens), sniah(65536, number=0, seed=5)
    lm = LM(given.model, proxy.api_base, 'none', timeout=1800, max_tokens=300)
    run = RLM(lm, env='local', max_iterations=given.turns, max_output_chars=given.printed)
    result = run(sample.context, sample.query)
    notices = [event['text'] for event in result.trace.events if event['type'] == 'notice']
    shortened = sum('is shortened to' in text for text in notices)
    return (
        f'{result.answer!r:.60} ({score(sample, result.answer):.0f} right, {result.stop_reason}); {result.iterations} '
        f'turns, {result.usage.input:,} tokens in and {result.usage.output:,} out; window {lm.window}, longest prompt '
        f'{proxy.largest:,}, {shortened} times shortened, {proxy.summaries} summaries, {proxy.refused} refused'
    )


def make_lm(given: argparse.Namespace, **params) -> LM:
    "The model of the real server."
    return LM(given.model, given.api_base, 'none', timeout=1800, **params)


def try_tools(given: argparse.Namespace) -> str:
    "A request with a tool, and a run that acts by tools."
    reply = make_lm(given, max_tokens=200)('What is the weather in Paris? Use the tool.', tools=[TOOL])
    calls = [f'{call.name}({call.arguments})' for call in reply.tool_calls] or [f'no call, but {reply.text!r:.60}']
    run = RLM(make_lm(given, max_tokens=300), env='local', tool_calls=True, max_iterations=5)
    result = run('The cat sat on the mat. ' * 50, 'Who sat on the mat?')
    used = f'{result.usage.input:,} tokens in and {result.usage.output:,} out'
    return f'{", ".join(calls)}; a run: {result.answer!r:.60}, {result.iterations} turns, {used}'


def try_schema(given: argparse.Namespace) -> str:
    "A reply in the form of a JSON schema."
    form = dict(type='json_schema', json_schema=dict(name='work', schema=SCHEMA, strict=True))
    reply = make_lm(given, max_tokens=200)('Who wrote Faust, and in which year?', response_format=form)
    fits = set(json.loads(reply.text)) == set(SCHEMA['required'])
    return f'{reply.text!r:.80}, {"fits" if fits else "does not fit"}; {reply.usage.tokens} tokens'


def try_grammar(given: argparse.Namespace) -> str:
    "A reply that a grammar holds."
    reply = make_lm(given, max_tokens=20)('Is a cat an animal?', extra_body=dict(grammar='root ::= "yes" | "no"'))
    return f'{reply.text!r}, {"fits" if reply.text in ("yes", "no") else "does not fit"}; {reply.usage.tokens} tokens'


def try_thinking(given: argparse.Namespace) -> str:
    "A model that thinks its replies away."
    lm = make_lm(given, max_tokens=24, extra_body=dict(grammar=THINKING))
    try:
        result = RLM(lm, env='local', max_iterations=20)('The cat sat on the mat.', 'Who sat?')
        return f'the run did not end by itself: {result.answer!r:.60} after {result.iterations} turns'
    except ModelError as error:
        return f'{error} {error.result.iterations} turns, {error.result.usage.output} tokens out'


CHECKS = dict(long=try_long, tools=try_tools, schema=try_schema, grammar=try_grammar, thinking=try_thinking)


def main(words: list[str] | None = None) -> None:
    "Read the command line, and try what it names."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='openai/qwen2.5-coder-1.5b')
    parser.add_argument('--api-base', default='http://127.0.0.1:8080/v1')
    parser.add_argument('--checks', nargs='+', choices=CHECKS, default=list(CHECKS))
    parser.add_argument('--turns', type=int, default=200, help='of the long run')
    parser.add_argument('--printed', type=int, default=1500, help='characters that each cell of the long run prints')
    parser.add_argument('--reply-tokens', type=int, default=48, help='the most of a reply that is thrown away')
    given = parser.parse_args(words)
    print(machine())
    for name in given.checks:
        started = time.perf_counter()
        try:
            came = CHECKS[name](given)
        except (ModelError, ValueError) as error:
            came = f'FAILED: {error}'
        print(f'{name:9} {came}; {time.perf_counter() - started:.0f} s', flush=True)


if __name__ == '__main__':
    main()
