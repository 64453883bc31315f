"What other tools see of a run: spans at a receiver of OTLP on this machine, and the callbacks of LiteLLM."

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rlm import LM, RLM
from rlm.models.lm import load_litellm
from tests.mock_server import mock_server

trace_service = pytest.importorskip('opentelemetry.proto.collector.trace.v1.trace_service_pb2')


@pytest.fixture
def receiver():
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers['Content-Length']))
            server.received.append(trace_service.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *about):
            pass

    with HTTPServer(('127.0.0.1', 0), Receiver) as server:
        server.received = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_run_arrives_as_one_trace_without_its_texts(receiver, tmp_path):
    (tmp_path / 'a.txt').write_text('The ship of Anna left in May.\n\nThe ship of Olaf left in June.')
    address = f'http://127.0.0.1:{receiver.server_port}/v1/traces'
    words = ['ask', 'When did the ship of Olaf leave?', 'a.txt', '--quiet', '--otel', address]
    done = subprocess.run(
        [sys.executable, '-m', 'rlm', *words], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, '') and 'June' in done.stdout
    spans = [
        span
        for request in receiver.received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len({span.trace_id for span in spans}) == 1
    names = {span.name for span in spans}
    assert {'invoke_agent rlm', 'turn 1', 'execute_tool python', 'chat offline/extractive'} <= names
    assert not any('Olaf' in str(span) for span in spans)


def test_callbacks_of_litellm_get_the_place_of_each_call(tmp_path):
    litellm = load_litellm()
    from litellm.integrations.custom_logger import CustomLogger

    class Log(CustomLogger):
        def __init__(self):
            self.seen, self.all_here = [], threading.Event()

        async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
            self.seen.append(kwargs['litellm_params']['metadata'])
            if len(self.seen) == 4:
                self.all_here.set()

    log = Log()
    # While it calls them, LiteLLM copies its callbacks into further lists; with any, every model is asked by LiteLLM.
    names = [name for name in dir(litellm) if name.endswith('callback') or name == 'callbacks']
    before = {name: list(given) for name in names if isinstance(given := getattr(litellm, name), list)}
    cell = '```repl\nsaid = llm_query_batched(["one", "two"])\n```'
    with mock_server() as server:
        server.script(cell, 'first', 'second', 'FINAL(done)')
        litellm.callbacks = [log]
        try:
            lm = LM(
                'openai/script',
                api_base=server.api_base,
                api_key='none',
                lane='litellm',
                metadata=dict(session_id='mine'),
            )
            result = RLM(lm, env='local')('so much depends', 'How many words?')
            assert log.all_here.wait(60)
            fields = server.stats()['fields']
        finally:
            for name, given in before.items():
                setattr(litellm, name, given)
    assert result.answer == 'done'
    assert len({one['trace_id'] for one in log.seen}) == 1
    places = sorted((one['turn'], one['kind'], one.get('cell'), one['run']) for one in log.seen)
    assert places == [
        (1, 'subcall', 1, 'r1'),
        (1, 'subcall', 1, 'r1'),
        (1, 'turn', None, 'r1'),
        (2, 'turn', None, 'r1'),
    ]
    assert all(one['session_id'] == 'mine' and one['trace_name'] == 'rlm' for one in log.seen)
    # The server gets none of it.
    assert not {'metadata', 'trace_id'} & set(fields)
