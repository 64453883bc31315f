"What users write: type checkers accept every line. `tests/test_types.py` runs them; the file itself is never run."

from __future__ import annotations

from collections.abc import Iterator

import rlm
from rlm import (
    LM,
    RLM,
    SRLM,
    Direct,
    LambdaRLM,
    LimitExceeded,
    Limits,
    Result,
    RLMLogger,
    Usage,
    advanced_toolloop,
    run,
)
from rlm.tools import make_run_repl, prep_shell


def models(messages: list[dict]) -> str:
    return 'yes'


lm: LM = LM('openai/my-model', api_base='http://localhost:8000/v1', temperature=0.2)
strategy: RLM = RLM('gpt-4o-mini')
strategy = RLM(lm, sub_lm=LM('gpt-4o-mini'), env='sandbox', limits=Limits(max_cost=2.0))
strategy = RLM(models, models, max_iterations=3, max_cost=2, max_seconds=60.5, cell_timeout=None)
strategy = RLM(model='gpt-4o-mini', trace='runs', on_event=print, verbose=True, tools={'f': models})
result: Result = strategy('the context', 'The question?')
result = strategy.completion({'any': 'object'}, root_prompt=None)
answer: str | None = result.answer
usage: Usage = result.usage
history: list[dict] = result.history
cost: float | None = result.usage.cost
seconds: float = result.seconds
result.usage_summary.to_dict()
result.metadata['iterations']
for event in strategy.stream('the context', 'The question?'):
    event['type']
resumed: Result = RLM.resume('run.jsonl', max_cost=5.0)

with RLM('gpt-4o-mini', persistent=True) as session:
    session('first', 'What is it?')
session.close()

# The keywords of the `rlms` engine.
strategy = RLM(
    backend='openai',
    backend_kwargs={'model_name': 'm', 'base_url': 'http://localhost:8000/v1', 'api_key': 'none'},
    environment='local',
    environment_kwargs={'max_output_chars': 500},
    depth=0,
    max_depth=1,
    max_iterations=30,
    max_budget=None,
    max_timeout=None,
    max_tokens=None,
    max_errors=None,
    custom_system_prompt=None,
    child_system_prompt=None,
    child_max_iterations=None,
    other_backends=None,
    other_backend_kwargs=None,
    logger=RLMLogger(log_dir='./logs'),
    verbose=True,
    persistent=False,
    custom_tools=None,
    custom_sub_tools=None,
    compaction=False,
    compaction_threshold_pct=0.85,
    max_concurrent_subcalls=4,
    on_subcall_start=None,
    on_subcall_complete=None,
    on_iteration_start=None,
    on_iteration_complete=None,
    sampling_args=None,
    sub_sampling_args=None,
    user_prologue=None,
)

result = Direct('gpt-4o-mini', prompt='{context}\n{query}', max_tokens=1000)('the context', 'The question?')
result = LambdaRLM('gpt-4o-mini', task='summarise', accuracy_target=0.8, max_cost=1.0)('the context', 'The question?')
result = LambdaRLM(backend_kwargs={'model_name': 'm'}, context_window_chars=100_000, a_leaf=0.95, query=None)('c', 'q')
result = SRLM('gpt-4o-mini', k=4, candidate_temperature=0.7, env='local', max_cost=1.0)('the context', 'The question?')
voted = SRLM('gpt-4o-mini', k=2, temperature=[0.2, 0.9], only_looked=False)('the context', 'The question?')
result = SRLM(engine=Direct('gpt-4o-mini'), n_candidates=4)('the context', 'The question?')
result = run(query='q', context=['a', 'b'], model='gpt-4o-mini', sub_model=None, max_iterations=20, on_iteration=None)
result = rlm.run('q', 'c', lm)
calls: int = result.sub_calls

shell = prep_shell('the context', model='openai/gpt-oss-120b', base_url='https://gateway')
responses: Iterator = advanced_toolloop('q', tools=[make_run_repl(shell)], sh=shell, model='m', max_steps=50)


async def main() -> Result:
    try:
        async for event in strategy.astream('c', 'q'):
            event['type']
        return await strategy.acall('c', 'q')
    except LimitExceeded as error:
        partial: str | None = error.partial_answer
        return await strategy.acompletion(f'c {partial}')
