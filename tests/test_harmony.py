"Replies of gpt-oss with raw special tokens: a run understands them, and its transcript holds none of the tokens."

import pytest

from rlm import Direct, RLM
from rlm.base.errors import ModelError

THOUGHT = '<|channel|>analysis<|message|>Maybe FINAL(3)?\n```repl\nFINAL(3)\n```<|end|>'
CALL = (
    '<|start|>assistant<|channel|>commentary to=functions.run_repl <|constrain|>json<|message|>'
    '{"python_code": "seen = len(context)\\nprint(seen)"}<|call|>'
)
ANSWER = '<|start|>assistant<|channel|>final<|message|>FINAL_VAR(seen)<|return|>'
DROPPED = (
    'analysisMaybe FINAL(3)?',
    'assistantcommentary to=functions.run_repl json{"code": "seen = len(context)"}',
    'assistantfinalFINAL_VAR(seen)',
)


def scripted(*replies):
    "A model that says one reply after the other, and what it was asked."
    left, asked = list(replies), []

    def model(messages):
        asked.append([dict(message) for message in messages])
        return left.pop(0)

    return model, asked


@pytest.mark.parametrize('tool_calls', [False, True])
@pytest.mark.parametrize('thought,call,answer', [(THOUGHT, CALL, ANSWER), DROPPED], ids=['tokens', 'tokens dropped'])
def test_a_leaked_call_runs_and_the_final_channel_answers(thought, call, answer, tool_calls):
    model, asked = scripted(thought + call, thought + answer)
    result = RLM(model, env='local', tool_calls=tool_calls)('x' * 77, 'How long is it?')
    assert result.answer == '77' and result.code_executions == 1
    said = '\n'.join(message['content'] for message in asked[-1] if message['role'] == 'assistant')
    assert 'seen = len(context)' in said and '<|' not in said and 'FINAL(3)' not in said


@pytest.mark.parametrize('thought', [THOUGHT, '<|channel|>analysis<|message|>It was cut off at FINAL(3'])
def test_reasoning_alone_is_an_empty_reply(thought):
    model, asked = scripted(thought, ANSWER.replace('_VAR(seen)', '(7)'))
    assert RLM(model, env='local')('x', 'How many?').answer == '7'
    assert asked[1][-1]['role'] == 'user'


def test_a_leaked_call_of_another_tool_is_no_answer():
    call = CALL.replace('functions.run_repl', 'functions.search').replace('python_code', 'query')
    model, _ = scripted(*[call] * 2)
    with pytest.raises(ModelError, match='2 replies in a row') as caught:
        RLM(model, env='local', tool_calls=True, max_iterations=2)('x', 'Who?')
    assert not caught.value.result.answer


def test_a_plain_call_answers_with_the_final_channel():
    model, _ = scripted(THOUGHT + ANSWER.replace('FINAL_VAR(seen)', 'It is 7.'))
    assert Direct(model)('x', 'How many?').answer == 'It is 7.'


def test_a_sub_call_brings_no_reasoning_into_the_shell():
    model, _ = scripted(
        '```repl\nprint(llm_query("?"))\n```',
        '<think>6 * 7</think>' + ANSWER.replace('FINAL_VAR(seen)', '42'),
        'FINAL(42)',
    )
    result = RLM(model, env='local')('x', 'How many?')
    assert [event['stdout'] for event in result.trace.events if event['type'] == 'cell' and event['cell']] == ['42\n']
