"Typed answers: whatever a model writes, a result has a value that fits the schema, or there is an error."

import json
import random
from pathlib import Path
import jsonschema
import pytest
from pydantic import BaseModel
from rlm import RLM, SRLM, Direct, LambdaRLM, LimitExceeded, ModelError
from rlm.offline import ScriptedLM
from rlm.replay import replay

TEXT = 'The report has 3 parts and was written in 1887.'
LEAVES = {
    'string': lambda random: {'type': 'string', 'maxLength': random.randint(3, 9)},
    'integer': lambda random: {'type': 'integer', 'minimum': random.randint(-9, 9)},
    'number': lambda random: {'type': 'number', 'maximum': random.randint(10, 99)},
    'boolean': lambda random: {'type': 'boolean'},
    'enum': lambda random: {'enum': random.sample(['a', 'b', 1, 2, None, True], 3)},
}


def random_schema(random: random.Random, levels: int = 3) -> dict:
    "A JSON schema, of up to three levels."
    kind = random.choice([*LEAVES, 'array', 'object', 'anyOf'] if levels else [*LEAVES])
    if kind in LEAVES:
        return LEAVES[kind](random)
    parts = [random_schema(random, levels - 1) for _ in range(random.randint(1, 3))]
    if kind == 'array':
        return {'type': 'array', 'items': parts[0], 'maxItems': 3}
    if kind == 'anyOf':
        return {'anyOf': parts}
    names = [f'field_{number}' for number in range(len(parts))]
    required = [name for name in names if random.random() < 0.7]
    return {
        'type': 'object',
        'properties': dict(zip(names, parts)),
        'required': required,
        'additionalProperties': False,
    }


def random_value(random: random.Random, schema: dict) -> object:
    "A value that the schema allows."
    if 'enum' in schema:
        return random.choice(schema['enum'])
    if 'anyOf' in schema:
        return random_value(random, random.choice(schema['anyOf']))
    kind = schema['type']
    if kind == 'object':
        return {name: random_value(random, part) for name, part in schema['properties'].items()}
    if kind == 'array':
        return [random_value(random, schema['items']) for _ in range(random.randint(0, 3))]
    samples = dict(
        string=lambda: random.choice(['', 'ä', 'x y']),
        integer=lambda: schema['minimum'] + random.randint(0, 5),
        number=lambda: schema['maximum'] - random.random(),
        boolean=lambda: random.random() < 0.5,
    )
    return samples[kind]()


def random_junk(random: random.Random) -> object:
    "What a model may write instead."
    return random.choice([{}, [], '', 'about 7', 10**6, -1.5, None, {'field_0': {}}, [[['x' * 99]]], {'more': 1}, True])


def allowed(schema: dict, value: object) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize('part', range(4))
def test_a_value_fits_its_schema_or_there_is_an_error(part: int) -> None:
    failed = corrected = 0
    for seed in range(50 * part, 50 * part + 50):
        rng = random.Random(seed)
        schema = random_schema(rng)
        tries = [random_junk(rng) for _ in range(rng.randint(0, 4))] + [random_value(rng, schema)]
        strategy, say = Direct, json.dumps
        settings: dict = dict(output=schema)
        if seed % 8 == 0:  # the loop is slower than one call
            strategy, say = RLM, lambda value: f'```repl\nFINAL({value!r})\n```'
            settings |= dict(max_iterations=4, env='local', first_look=False)
        try:
            result = strategy(ScriptedLM([*map(say, tries), *[say(tries[-1])] * 3]), **settings)(TEXT, 'What is it?')
        except (ModelError, LimitExceeded) as error:
            failed += 1
            assert error.result.value is None
            assert 'asked form' in str(error)
            continue
        corrected += not allowed(schema, tries[0])
        assert allowed(schema, result.value), (schema, result.value)
        assert isinstance(result.value, str) or json.loads(result.answer) == result.value
    # Both happen, or the test would say nothing.
    assert failed and corrected


class Report(BaseModel):
    parts: int
    year: int


GOOD = '{"parts": "3", "year": 1887}'
REPORT = Report(parts=3, year=1887)


def cell(value: str) -> str:
    return f'```repl\nFINAL({value})\n```'


def test_the_model_reads_what_is_wrong_and_corrects_it() -> None:
    lm = ScriptedLM([cell('{"parts": "three"}'), cell(GOOD)])
    result = RLM(lm, output=Report)(TEXT, 'What is it?')
    assert result.value == REPORT
    assert json.loads(result.answer) == dict(parts=3, year=1887)
    told = result.history[-2]['content']
    assert 'parts: Input should be a valid integer' in told and 'year: Field required' in told
    assert '"year"' in result.history[1]['content']  # the schema stands in the first message


def test_an_answer_in_the_text_of_the_last_turn() -> None:
    result = RLM(ScriptedLM(['print(1)', f'It is {GOOD}.']), output=Report, max_iterations=2, env='local')(
        TEXT, 'What?'
    )
    assert result.value == REPORT


def test_no_answer_that_fits() -> None:
    with pytest.raises(LimitExceeded, match='has the asked form') as raised:
        RLM(ScriptedLM(lambda messages: cell('3')), output=Report, max_iterations=3, env='local')(TEXT, 'What?')
    assert (raised.value.result.value, raised.value.result.answer) == (None, '3')


def test_quotations_and_a_type() -> None:
    quoted = cell('{"answer": ' + GOOD + ', "quotes": ["written in 1887"]}')
    result = RLM(ScriptedLM([quoted]), output=Report, cite=True, env='local')(TEXT, 'What?')
    assert (result.value, result.cited) == (REPORT, True)


def test_direct_asks_again() -> None:
    result = Direct(ScriptedLM(['I do not know.', GOOD]), output=Report)(TEXT, 'What is it?')
    assert (result.value, result.iterations, result.usage.calls) == (REPORT, 2, 2)


def test_a_plan_has_its_result_written_in_the_asked_form() -> None:
    lm = ScriptedLM(lambda messages: GOOD if 'JSON' in str(messages) else '3 parts, 1887')
    strategy = LambdaRLM(lm, output=Report, task='search')
    assert strategy.plan(TEXT, 'What is it?').calls == range(1, 4)
    result = strategy(TEXT, 'What is it?')
    assert (result.value, result.usage.calls) == (REPORT, 2)
    plain = LambdaRLM(ScriptedLM(lambda messages: '1887'), output=int, task='search')(TEXT, 'Which year?')
    assert (plain.value, plain.usage.calls) == (1887, 1)  # nothing to rewrite
    with pytest.raises(ModelError, match='asked form'):
        LambdaRLM(ScriptedLM(lambda messages: 'late'), output=int, task='search')(TEXT, 'Which year?')


def test_a_vote_compares_values() -> None:
    answers = ['{"parts": 3, "year": 1887.0}', GOOD, '{"year": 1900, "parts": 3}']
    vote = SRLM(
        ScriptedLM(list(map(cell, answers))), output=Report, k=3, early_stop=False, candidate_parallel=1, env='local'
    )
    result = vote(TEXT, 'What is it?')
    assert result.value == REPORT
    assert result.agreement == pytest.approx(2 / 3)


def test_a_recorded_run(tmp_path: Path) -> None:
    path = tmp_path / 'run.jsonl'
    RLM(ScriptedLM([cell('[1, 2]')]), output=list[int], trace=path, env='local')(TEXT, 'What?')
    replayed = replay(path)
    assert not replayed.differences and replayed.result.value == [1, 2]
    assert RLM.resume(path).value == [1, 2]
