"""A server on loopback whose answers are a function of the request, to play what a real server does.

with ScriptedServer(lambda path, body, headers: (200, {}, completion(dict(content='there')))) as server:
    LM('openai/any', server.base, 'none')('hello')
    server.seen  # path, body and headers of each request
"""

import http.server
import json
import threading


class ScriptedServer:
    "A server whose answers are a function of the request: path, body, headers -> status, headers, text."

    def __init__(self, answer):
        self.seen, self.connections = [], set()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers['Content-Length'])))
                self.reply(handler, body)

            def do_GET(handler):
                self.reply(handler, None)

            def log_message(self, *_):
                pass

        self.answer, self.server = answer, http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        self.base = f'{self.url}/v1'
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def reply(self, handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.seen.append((handler.path, body, headers))
        self.connections.add(handler.client_address)
        status, more, text = self.answer(handler.path, body, headers)
        data = text.encode()
        handler.send_response(status)
        for name, value in (dict({'Content-Type': 'application/json'}, **more)).items():
            handler.send_header(name, value)
        handler.send_header('Content-Length', str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    @property
    def asked(self):
        "The bodies of the requests for a chat completion."
        return [body for path, body, _ in self.seen if path.endswith('/chat/completions')]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def completion(message=None, reason='stop', **more):
    "The text of a good answer."
    message = dict(role='assistant', content='there') | (message or {})
    usage = dict(prompt_tokens=11, completion_tokens=3, total_tokens=14)
    choices = [dict(index=0, finish_reason=reason, message=message)]
    return json.dumps(
        dict(dict(id='1', object='chat.completion', created=0, model='m', choices=choices, usage=usage), **more)
    )


def streamed(*deltas, usage=None):
    "The text of a good answer as a stream of server-sent events."
    pieces = [dict(choices=[dict(index=0, delta=delta)]) for delta in deltas]
    pieces[-1]['choices'][0]['finish_reason'] = 'stop'
    pieces += [dict(choices=[], usage=usage)] if usage else []
    return ''.join(f'data: {json.dumps(piece)}\n\n' for piece in pieces) + 'data: [DONE]\n\n'


def problem(message, **more):
    "The text of a refusal in OpenAI's form."
    return json.dumps(dict(error=dict(message=message, type='invalid_request_error', param=None, code=None, **more)))
