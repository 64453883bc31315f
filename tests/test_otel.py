"`rlm ask --otel` against a receiver of OTLP on this machine."

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

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
