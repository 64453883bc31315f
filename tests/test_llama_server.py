"`bench.llama_server` against a server that plays llama-server; what a real one does, this does not show."

import json

from bench import llama_server
from tests.scripted_server import completion, problem, ScriptedServer
from tests.test_servers import tokens_of

WINDOW = 4096


def play(path, body, headers):
    "A llama-server with a small window, a model that always answers at once, and a template that takes tools."
    if path == '/props':
        return 200, {}, json.dumps(dict(default_generation_settings=dict(n_ctx=WINDOW)))
    if not path.endswith('/chat/completions'):
        return 404, {}, '{}'
    asked = tokens_of(body)
    if asked > WINDOW:
        return 400, {}, problem(f'request ({asked} tokens) exceeds the available context size ({WINDOW} tokens)')
    usage = dict(prompt_tokens=asked, completion_tokens=7, total_tokens=asked + 7)
    grammar = body.get('grammar') or ''
    if 'think' in grammar:
        return 200, {}, completion(dict(content='<think>\nI wonder whether'), 'length', usage=usage)
    if grammar:
        return 200, {}, completion(dict(content='yes'), usage=usage)
    if body.get('response_format'):
        return 200, {}, completion(dict(content='{"name": "Goethe", "year": 1808}'), usage=usage)
    if len(body['messages']) == 1 and body.get('tools'):
        call = dict(id='c1', type='function', function=dict(name='get_weather', arguments='{"city": "Paris"}'))
        return 200, {}, completion(dict(content=None, tool_calls=[call]), 'tool_calls', usage=usage)
    return 200, {}, completion(dict(content='FINAL(the cat)'), usage=usage)


def test_every_check_says_in_one_line_what_came(capsys):
    with ScriptedServer(play) as server:
        llama_server.main(['--api-base', server.base, '--turns', '40'])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(lines) == ['long', 'tools', 'schema', 'grammar', 'thinking'], lines
    assert '40 turns' in lines['long'] and 'window 4096' in lines['long'] and ' 0 refused' in lines['long']
    assert "'the cat'" in lines['long'] and ' 0 times shortened' not in lines['long']
    assert 'get_weather({"city": "Paris"})' in lines['tools'] and '1 turns' in lines['tools']
    assert 'fits' in lines['schema'] and "'yes', fits" in lines['grammar']
    assert '2 replies in a row' in lines['thinking'] and 'raise max_tokens' in lines['thinking']


def test_a_check_that_fails_is_a_line_too(capsys):
    with ScriptedServer(lambda *_: (400, {}, problem('grammars are switched off'))) as server:
        llama_server.main(['--api-base', server.base, '--checks', 'grammar'])
    assert 'FAILED: ' in capsys.readouterr().out.splitlines()[-1]
