"What real servers refuse, by kind: learned at the first refusal, told once, and the run goes on."

import json
import warnings

import pytest

from rlm import Direct, Limits, LM, RLM
from rlm.base.errors import ModelError
from rlm.models import Ledger, run_sync
from tests.scripted_server import completion, problem, ScriptedServer, streamed

LANES = (None, 'litellm')
SYSTEM, USER = dict(role='system', content='Be brief.'), dict(role='user', content='Who?')
CALL = dict(id='c1', type='function', function=dict(name='look', arguments='{"a": 1}'))
TOOL = dict(type='function', function=dict(name='look', parameters=dict(type='object', properties={})))
SCHEMA = dict(type='json_schema', json_schema=dict(name='a', schema=dict(type='object', properties={})))
AFTER_TOOL = [USER, dict(role='assistant', content='', tool_calls=[CALL])]
AFTER_TOOL += [dict(role='tool', content='3', tool_call_id='c1'), dict(role='user', content='Answer now.')]
STREAM = {'Content-Type': 'text/event-stream'}


def roles(body):
    return [message['role'] for message in body['messages']]


def has_system(body):
    return 'system' in roles(body)


def form(body):
    return (body.get('response_format') or {}).get('type')


def user_after_tool(body):
    return 'tool user' in ' '.join(roles(body))


# who, status, words, whether a request is refused, what the user asked for, what is sent in the end
REFUSALS = {
    'temperature': [
        (
            'OpenAI',
            400,
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
            'supported.',
        ),
        # https://github.com/Warma10032/VideoAdGuard/issues/34
        ('Kimi', 400, 'invalid temperature: only 1 is allowed for this model'),
        # https://github.com/cline/cline/issues/10572
        ('Bedrock', 400, 'The model returned the following errors: `temperature` is deprecated for this model.'),
    ],
    'system': [
        ('vLLM', 400, 'System role not supported'),
        # https://github.com/cline/cline/issues/284
        ('o1-mini', 400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        ('Gemini', 400, 'Developer instruction is not enabled for models/gemma-3-27b-it'),
    ],
    'max_completion_tokens': [
        (
            'OpenAI',
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            'instead.',
        ),
        # https://github.com/jekalmin/extended_openai_conversation/issues/298
        (
            'Azure',
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead. (callstack: File '/usr/local/bin/gunicorn', line 8)",
        ),
        ('a gateway', 422, 'max_tokens is deprecated: use max_completion_tokens'),
    ],
    'max_tokens': [
        ('Mistral', 422, 'body.max_completion_tokens: Extra inputs are not permitted'),
        ('an old server', 400, "Unrecognized request argument supplied: max_completion_tokens is unknown"),
        ('a form', 422, [dict(loc=['body', 'max_completion_tokens'], msg='Extra inputs are not permitted')]),
    ],
    'largest_reply': [
        ('OpenAI', 400, 'max_tokens is too large: 9000. This model supports at most 4096 completion tokens.'),
        ('Groq', 400, '`max_tokens` must be less than or equal to `4096`'),
        ('Anthropic', 400, 'max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens'),
    ],
    'tool_choice': [
        ('Bedrock', 400, 'Unknown parameter in toolConfig.toolChoice: "none", must be one of: auto, any, tool'),
        ('DeepSeek', 400, 'deepseek-reasoner does not support this tool_choice'),
        # https://github.com/zed-industries/zed/issues/36094
        ('OpenRouter', 404, "No endpoints found that support the provided 'tool_choice' value."),
    ],
    'json_schema': [
        ('DeepSeek', 400, 'This response_format type is unavailable now'),
        # https://github.com/dzhng/deep-research/issues/127
        ('Groq', 400, "'response_format.type' : value is not one of the allowed values ['text','json_object']"),
        # https://github.com/openai/openai-dotnet/issues/276
        ('OpenAI', 400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."),
    ],
    'response_format': [
        ('LM Studio', 400, "'response_format.type' must be 'json_schema' or 'text'"),
        # https://github.com/BerriAI/litellm/issues/6610
        ('xAI', 400, 'The response_format parameter is unsupported at the moment. Leave it unset.'),
        ('OpenAI', 400, "'messages' must contain the word 'json' in some form, to use 'response_format'."),
    ],
    'stream': [
        ('DashScope', 400, 'This model only support stream mode, please enable the stream parameter.'),
        # https://github.com/browser-use/web-ui/issues/659
        ('Qwen3', 400, 'parameter.enable_thinking must be set to false for non-streaming calls'),
        # https://github.com/musistudio/claude-code-router/issues/948
        ('ModelScope', 400, 'enable thinking can not be support when `stream=False`.'),
    ],
    'user_after_tool': [
        # https://github.com/datapizza-labs/datapizza-ai/issues/98
        ('Mistral', 400, "Unexpected role 'user' after role 'tool'"),
        (
            'a template',
            400,
            'After the optional system message, conversation roles must alternate user/assistant/user/assistant/...',
        ),
        # https://github.com/charmbracelet/crush/issues/279
        ('Ministral', 500, 'After the optional system message, conversation roles must alternate user and assistant'),
    ],
}
# rule -> whether a request is refused, what the user asked for, whether a request is as it should be
ASKED = {
    'temperature': (lambda body: 'temperature' in body, dict(temperature=0.7), lambda body: 'temperature' not in body),
    'system': (
        has_system,
        dict(messages=[SYSTEM, USER]),
        lambda body: body['messages'] == [dict(USER, content='Be brief.\n\nWho?')],
    ),
    'max_completion_tokens': (
        lambda body: 'max_tokens' in body,
        dict(max_tokens=50),
        lambda body: body['max_completion_tokens'] == 50,
    ),
    'max_tokens': (
        lambda body: 'max_completion_tokens' in body,
        dict(max_completion_tokens=50),
        lambda body: body['max_tokens'] == 50,
    ),
    'largest_reply': (
        lambda body: body['max_tokens'] > 4096,
        dict(max_tokens=9000),
        lambda body: body['max_tokens'] == 4096,
    ),
    'tool_choice': (
        lambda body: 'tool_choice' in body,
        dict(tools=[TOOL], tool_choice='none'),
        lambda body: body['tools'] and 'tool_choice' not in body,
    ),
    'json_schema': (
        lambda body: form(body) == 'json_schema',
        dict(response_format=SCHEMA),
        lambda body: form(body) == 'json_object',
    ),
    'response_format': (
        lambda body: form(body) is not None,
        dict(response_format=dict(type='json_object')),
        lambda body: form(body) is None,
    ),
    'stream': (lambda body: not body.get('stream'), {}, lambda body: body['stream']),
    'user_after_tool': (
        user_after_tool,
        dict(messages=AFTER_TOOL, tools=[TOOL]),
        lambda body: body['messages'][-1]['content'] == '3\n\nAnswer now.',
    ),
}
CASES = [(rule, *case) for rule, cases in REFUSALS.items() for case in cases]


@pytest.mark.parametrize('lane', LANES, ids=['http', 'litellm'])
@pytest.mark.parametrize('rule, who, status, words', CASES, ids=[f'{case[0]}-{case[1]}' for case in CASES])
def test_a_refusal_costs_one_request_and_is_told_once(rule, who, status, words, lane):
    refuses, asked, is_right = ASKED[rule]

    def answer(path, body, headers):
        if not path.endswith('/chat/completions'):
            return 404, {}, '{}'
        if refuses(body):
            return status, {}, json.dumps(dict(detail=words)) if isinstance(words, list) else problem(words)
        if body.get('stream'):
            return 200, STREAM, streamed(dict(role='assistant', content='the'), dict(content='re'))
        return 200, {}, completion()

    if lane == 'litellm' and isinstance(words, list):
        pytest.skip('LiteLLM passes on a part of this answer only')
    params = dict(asked)
    # What else is sent is not what is refused.
    params.setdefault('temperature', 0.7)
    params.setdefault('seed', 7)
    messages = params.pop('messages', [USER])
    name = f'openai/{rule}-{who}'.replace(' ', '-')
    with ScriptedServer(answer) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        lm = LM(name, server.base, 'none', num_retries=0, lane=lane)
        for _ in range(2):
            assert lm(messages, **params).text == 'there'
        assert [refuses(body) for body in server.asked] == [True, False, False], server.asked
        assert all(map(is_right, server.asked[1:]))
        # Another object for the same model at the same address knows it too, in either lane.
        assert LM(name, server.base, 'none', num_retries=0).refuses(rule)
    assert len([one for one in told if one.category is RuntimeWarning and str(one.message).startswith(name)]) == 1


@pytest.mark.parametrize(
    'status, words',
    [
        (401, 'Incorrect API key provided.'),
        # https://github.com/vllm-project/vllm/issues/9986
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (404, 'No endpoints found that support tool use.'),
        (400, 'registry.ollama.ai/library/gemma3:1b does not support tools'),
        # https://github.com/animalnots/BetterChatGPT-PLUS/issues/62
        (400, "Unsupported value: 'stream' does not support true with this model."),
        (400, 'temperature must be a number between 0 and 2'),
        (404, 'The model `gpt-6` does not exist or you do not have access to it.'),
    ],
)
def test_another_refusal_is_passed_on_as_it_is(status, words):
    with ScriptedServer(lambda *_: (status, {}, problem(words))) as server, warnings.catch_warnings():
        warnings.simplefilter('error')
        lm = LM(f'openai/other-{status}', server.base, 'none', num_retries=0)
        with pytest.raises(ModelError) as caught:
            lm([SYSTEM, USER], tools=[TOOL], temperature=3, max_tokens=9)
        assert words.rstrip('.') in str(caught.value) and len(server.asked) == 1


# --- the window ---


def tokens_of(body):
    "As the servers of these tests count: a token for four Latin characters, or for one other."
    text = ''.join(str(message.get('content') or '') for message in body['messages'])
    latin = len(text.encode('ascii', 'ignore'))
    return latin // 4 + len(text) - latin + 4 * len(body['messages'])


LIMIT = 4096
TELLING = {  # who -> path -> what it says
    'llama-server': {'/props': dict(default_generation_settings=dict(n_ctx=LIMIT), total_slots=2)},
    'vLLM': {'/v1/models': dict(data=[dict(id='m', max_model_len=LIMIT)])},
    'Ollama': {'/api/ps': dict(models=[dict(model='m:latest', context_length=LIMIT)])},
    'a Modelfile of Ollama': {
        '/api/ps': dict(models=[]),
        '/api/show': dict(parameters=f'num_ctx    {LIMIT}', model_info={'qwen2.context_length': 32768}),
    },
    'LM Studio': {
        '/v1/models': dict(data=[dict(id='m', object='model')]),
        '/api/v0/models': dict(data=[dict(id='m', loaded_context_length=LIMIT, max_context_length=32768)]),
    },
    'OpenRouter': {'/v1/models': dict(data=[dict(id='m', context_length=LIMIT), dict(id='n', context_length=9)])},
}
REFUSING = {  # who -> status, words
    'llama-server': (400, 'request ({asked} tokens) exceeds the available context size ({limit} tokens), try again'),
    'vLLM': (400, "This model's maximum context length is {limit} tokens. However, your messages resulted in {asked}"),
    'Ollama': (400, 'the input length exceeds the context length'),
    # https://github.com/ggml-org/llama.cpp/pull/15780
    'llama-server of 2025': (500, 'the request exceeds the available context size. try increasing the context size'),
    # https://github.com/abetlen/llama-cpp-python
    'llama-cpp-python': (500, 'Requested tokens ({asked}) exceed context window of {limit}'),
    'LM Studio': (
        400,
        'Trying to keep the first {asked} tokens when context overflows. However, the model is loaded with context '
        'length of only {limit} tokens',
    ),
    'Bedrock': (400, 'Input is too long for requested model.'),
    'Text Generation Inference': (
        422,
        'Input validation error: `inputs` tokens + `max_new_tokens` must be <= {limit}. Given: {asked} `inputs` tokens',
    ),
}


def long_run(base, turns=25):
    "A run that prints far more than the window holds, and then answers."
    lm = LM('openai/m', base, 'none', num_retries=0)
    result = RLM(lm, env='local', max_iterations=turns + 5)('A short context.', 'How many?')
    assert (result.answer, result.stop_reason) == ('done', 'final')
    notices = [event['text'] for event in result.trace.events if event['type'] == 'notice']
    assert any('is shortened to about' in text for text in notices)


def printing(kind, turns, count):
    "The reply of a model that prints much in every turn."
    if len(count) > turns:
        return 'FINAL(done)'
    text = dict(latin='word ', cjk='漢字')[kind]
    return f'```repl\nprint("{len(count)}: " + {text!r} * 500)\n```'


def windowed(kind, who=None, told=None, usage=True, turns=25):
    "A server with a window of 4,096 tokens."
    good, bad = [], []

    def answer(path, body, headers):
        if not path.endswith('/chat/completions'):
            return (200, {}, json.dumps(told[path])) if path in (told or {}) else (404, {}, '{}')
        asked = tokens_of(body)
        if asked > LIMIT:
            bad.append(asked)
            status, words = REFUSING[who or 'llama-server']
            more = dict(n_prompt_tokens=asked, n_ctx=LIMIT) if who == 'llama-server of 2025' else {}
            return status, {}, problem(words.format(asked=asked, limit=LIMIT), **more)
        good.append(asked)
        text = printing(kind, turns, good)
        if 'about to be shortened' in body['messages'][-1]['content']:
            text = 'I printed words.'
        counted = dict(prompt_tokens=asked, completion_tokens=9, total_tokens=asked + 9) if usage else None
        return 200, {}, completion(dict(content=text), usage=counted)

    return answer, bad


@pytest.mark.parametrize('kind', ['latin', 'cjk'])
@pytest.mark.parametrize('who', TELLING)
def test_a_server_that_tells_its_window_never_has_to_refuse(who, kind):
    answer, bad = windowed(kind, told=TELLING[who])
    with ScriptedServer(answer) as server:
        long_run(server.base)
        assert not bad


def test_ollama_says_it_once_the_model_is_loaded():
    told = {'/api/ps': dict(models=[]), '/api/show': dict(model_info={'qwen2.context_length': 32768})}
    answer, bad = windowed('latin', told=told)

    def loading(path, body, headers):
        if path.endswith('/chat/completions'):
            told['/api/ps'] = TELLING['Ollama']['/api/ps']
        return answer(path, body, headers)

    with ScriptedServer(loading) as server:
        long_run(server.base)
        assert not bad


@pytest.mark.parametrize('usage', [True, False], ids=['usage', 'no usage'])
@pytest.mark.parametrize('who', REFUSING)
def test_a_window_that_is_exceeded_in_the_middle_ends_no_run(who, usage):
    answer, bad = windowed('latin', who, usage=usage)
    with ScriptedServer(answer) as server:
        long_run(server.base)
        # A refusal that names no number is learned from more than once.
        assert 1 <= len(bad) <= 3, bad


def test_a_window_too_small_for_the_question_says_what_to_set():
    def answer(path, body, headers):
        return 400, {}, problem('request (900 tokens) exceeds the available context size (256 tokens)')

    with ScriptedServer(answer) as server, pytest.raises(ModelError, match='a larger window .llama-server -c'):
        RLM(LM('openai/tiny', server.base, 'none'), env='local')('text', 'What?')


@pytest.mark.parametrize(
    'status, words',
    [
        (
            400,
            "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is 2048 "
            'tokens and your request has 10 input tokens (8192 > 2048 - 10).',
        ),
        (
            400,
            "This model's maximum context length is 2048 tokens. However, you requested 8202 tokens (10 in the "
            'messages, 8192 in the completion).',
        ),
        (
            400,
            "This model's maximum context length is 2048 tokens. However, you requested 8192 output tokens and your "
            'prompt contains at least 10 input tokens.',
        ),
    ],
    ids=['vLLM', 'OpenAI', 'newer vLLM'],
)
def test_a_limit_reserves_what_the_window_leaves(status, words):
    def answer(path, body, headers):
        if not path.endswith('/chat/completions'):
            return 404, {}, '{}'
        return (200, {}, completion()) if body['max_tokens'] <= 2038 else (status, {}, problem(words))

    with ScriptedServer(answer) as server:
        lm = LM('openai/reserve', server.base, 'none', num_retries=0)
        for _ in range(2):
            assert run_sync(lm.acall('hello', ledger=Ledger(Limits(max_tokens=100_000)))).text == 'there'
        assert [body['max_tokens'] <= 2038 for body in server.asked] == [False, True, True]


# --- thinking ---

THOUGHT_AWAY = {
    'apart': dict(content=None, reasoning_content='Let me see. ' * 50),
    'vLLM': dict(content='', reasoning='Let me see. ' * 50),
    'in tags': dict(content='<think>\n' + 'Let me see. ' * 50),
    'Magistral': dict(content='[THINK]' + 'Let me see. ' * 50),
    'gpt-oss': dict(content='<|channel|>analysis<|message|>' + 'Let me see. ' * 50),
    'nothing said': dict(content=None),
}


@pytest.mark.parametrize('tool_calls', [False, True], ids=['fenced', 'tools'])
@pytest.mark.parametrize('who', THOUGHT_AWAY)
def test_two_replies_of_thinking_alone_end_a_run(who, tool_calls):
    def answer(path, body, headers):
        if not path.endswith('/chat/completions'):
            return 404, {}, '{}'
        return 200, {}, completion(THOUGHT_AWAY[who], 'length')

    with ScriptedServer(answer) as server:
        run = RLM(LM('openai/thinks', server.base, 'none'), env='local', tool_calls=tool_calls)
        with pytest.raises(ModelError, match='2 replies in a row .* raise max_tokens, or lower reasoning_effort'):
            run('text', 'What?')
        assert len(server.asked) == 2
        with pytest.raises(ModelError, match='raise max_tokens, or'):
            Direct(LM('openai/thinks', server.base, 'none'))('text', 'What?')
        assert len(server.asked) == 3


WANTED_BACK = {
    # https://github.com/earendil-works/pi/issues/3636
    'DeepSeek': (
        dict(reasoning_content='I look.'),
        'The `reasoning_content` in the thinking mode must be passed back to the API.',
        lambda message: message.get('reasoning_content') == 'I look.',
    ),
    # https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks
    'OpenRouter': (
        dict(reasoning_details=[dict(type='reasoning.encrypted', data='s1', index=0)]),
        # https://github.com/OpenRouterTeam/ai-sdk-provider/issues/162
        'When `thinking` is enabled, a final `assistant` message must start with a thinking block.',
        lambda message: message.get('reasoning_details') == [dict(type='reasoning.encrypted', data='s1', index=0)],
    ),
    # https://github.com/labring/aiproxy/issues/450
    'Gemini': (
        dict(extra_content=dict(google=dict(thought_signature='s1'))),
        'Function call is missing a thought_signature in functionCall parts.',
        lambda message: message['tool_calls'][0].get('extra_content') == dict(google=dict(thought_signature='s1')),
    ),
}


@pytest.mark.parametrize('who', WANTED_BACK)
def test_thinking_goes_back_beside_the_calls(who):
    thinking, words, is_there = WANTED_BACK[who]
    code = json.dumps(dict(python_code='len(context)'))

    def answer(path, body, headers):
        if not path.endswith('/chat/completions'):
            return 404, {}, '{}'
        calls = [message for message in body['messages'] if message.get('tool_calls')]
        if not all(map(is_there, calls)):
            return 400, {}, problem(words)
        if not calls:
            call = dict(id='c1', type='function', function=dict(name='run_repl', arguments=code))
            message = dict(content=None, tool_calls=[call])
            call |= thinking if 'extra_content' in thinking else {}
            message |= {} if 'extra_content' in thinking else thinking
            return 200, {}, completion(message, 'tool_calls')
        return 200, {}, completion(dict(content='4'))

    with ScriptedServer(answer) as server:
        result = RLM(LM('openai/thoughtful', server.base, 'none'), env='local', tool_calls=True)('text', 'How long?')
        # Our first look is a call that the model did not think of: that costs one request.
        assert (result.answer, len(server.asked)) == ('4', 3)
        assert 'This was called:' in server.asked[-1]['messages'][1]['content']


LAST_TURN = {
    'Bedrock': (REFUSALS['tool_choice'][0], lambda body: 'tool_choice' in body),
    'OpenRouter': (REFUSALS['tool_choice'][2], lambda body: 'tool_choice' in body),
    'Mistral': (REFUSALS['user_after_tool'][0], user_after_tool),
    'Ministral': (REFUSALS['user_after_tool'][2], user_after_tool),
}


@pytest.mark.parametrize('who', LAST_TURN)
def test_the_last_turn_of_a_run_with_tools(who):
    (_, status, words), refuses = LAST_TURN[who]

    def answer(path, body, headers):
        if not path.endswith('/chat/completions'):
            return 404, {}, '{}'
        if refuses(body):
            return status, {}, problem(words)
        if 'last turn' in str(body['messages'][-1]['content']):
            return 200, {}, completion(dict(content='The cat.'))
        code = json.dumps(dict(python_code=f'context[{len(body["messages"])}:]'))
        call = dict(id=f'c{len(body["messages"])}', type='function', function=dict(name='run_repl', arguments=code))
        return 200, {}, completion(dict(content=None, tool_calls=[call]), 'tool_calls')

    with ScriptedServer(answer) as server:
        lm = LM('openai/m', server.base, 'none', num_retries=0)
        result = RLM(lm, env='local', tool_calls=True, max_iterations=3)('The cat sat.', 'Who sat?')
        assert (result.answer, len(server.asked)) == ('The cat.', 4)


def test_anthropic_gets_its_thinking_back():
    "Through LiteLLM, in the form of Anthropic's Messages API."
    thought = dict(type='thinking', thinking='I count.', signature='s1')
    code = dict(python_code='len(context)')

    def answer(path, body, headers):
        calls = [
            message['content']
            for message in body['messages']
            if message['role'] == 'assistant' and any(part['type'] == 'tool_use' for part in message['content'])
        ]
        if any(content[0] != thought for content in calls):
            words = 'messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.'
            return 400, {}, json.dumps(dict(type='error', error=dict(type='invalid_request_error', message=words)))
        said = [dict(type='text', text='4')]
        if not calls:
            said = [thought, dict(type='tool_use', id='c1', name='run_repl', input=code)]
        reply = dict(id='m1', type='message', role='assistant', model='m', content=said)
        reply |= dict(stop_reason='end_turn' if calls else 'tool_use', usage=dict(input_tokens=9, output_tokens=3))
        return 200, {}, json.dumps(reply)

    with ScriptedServer(answer) as server:
        thinks = dict(thinking=dict(type='enabled', budget_tokens=1024), max_tokens=4000)
        lm = LM('anthropic/claude-sonnet-4-5', server.url, 'key-of-a-test', num_retries=0, **thinks)
        result = RLM(lm, env='local', tool_calls=True)('text', 'How long?')
        assert (result.answer, len(server.seen)) == ('4', 3)
