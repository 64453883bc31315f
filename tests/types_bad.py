"Mistakes: type checkers report every line after the imports. `tests/test_types.py` runs them; the file is never run."

from rlm import LM, RLM, SRLM, Direct, LambdaRLM, Result, run

RLM('x', max_iteratoins=3)
RLM('x', max_iterations='3')
RLM('x', max_cost='2 USD')
RLM('x', env=3)
RLM('x', verbose='no')
RLM('x', backend_kwargs='gpt-4o')
RLM('x', max_bugdet=1.0)
RLM(3)
RLM('x', LM('y'), 'z')
RLM('x')('context', 3)
RLM('x')('context')
RLM('x').cloze()
RLM('x')('context', 'q').answr
number: int = RLM('x')('context', 'q')
Direct()
Direct('x', env='local')
Direct('x', promt='{context}')
LambdaRLM('x', accuracy_traget=0.8)
LambdaRLM('x', accuracy_target='high')
SRLM('x', k='8')
SRLM('x', n_candiates=8)
SRLM('x', max_cots=1.0)
run('q', 'c', 'x', max_iterations='3')
text: int = Result('x').answer
