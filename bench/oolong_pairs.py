"""OOLONG-Pairs with a real model: it labels the rows of the official context once, and code makes the pairs.

    python -m bench.oolong_pairs DATA --api-base http://127.0.0.1:8080/v1 --model openai/qwen2.5-coder-1.5b

DATA is a folder with `oolong_pairs_32k_context.txt` and `oolong_pairs_32k_tasks_gold.jsonl`, made from the data set of
the same name (mit-oasys/oolong-pairs, 32K context). Two figures are printed for each of the 20 tasks: F1 with the rule
that the data set specifies, and with the rule that the model reads from the question. The labels go to `--labels`.

What differs from the paper on recursive language models (arXiv 2512.24601): there the model writes the program that
labels and pairs; here the plan is LambdaRLM's, and the labels have a definition and an example each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from bench import real_models
from rlm import LambdaRLM, LM
from rlm.base.errors import RLMError
from rlm.base.split import make_outline
from rlm.plan.leaves.records import RecordReader
from rlm.plan.pairs import as_key, find_pairs, PairRule, parse_date, profiles, Row, UserRule

# The labels of the data set have the same meanings as those of our generated questions, but for one name.
_NAMES = {'description': 'description and abstract concept'}
DEFINITIONS = {_NAMES.get(label, label): meaning for label, meaning in real_models.DEFINITIONS.items()}
EXAMPLES = {question: _NAMES.get(label, label) for question, label in real_models.EXAMPLES.items()}
_HOW = {'>=': 'at least', '==': 'exactly', '<=': 'at most'}


def given_rule(spec: dict) -> PairRule:
    "The rule that the data set specifies for a task."
    if spec['kind'] == 'sym':
        dates = [tuple(spec['date_rule'])] if spec['date_rule'] else []
        return PairRule(UserRule(any_of=tuple(spec['any']), dates=tuple(dates)), labels=tuple(DEFINITIONS))
    sides = [tuple((label, _HOW[sign], number) for label, sign, number in spec[side]) for side in 'ab']
    return PairRule(*(UserRule(counts=side) for side in sides), labels=tuple(DEFINITIONS))


def f1(found: list[tuple], gold: list[list]) -> float:
    "F1 of pairs, from 0 to 100."
    right = {tuple(pair) for pair in gold}
    both = len(right & set(found))
    return 200 * both / (len(found) + len(right)) if found or right else 100.0


def labels_of(events: list[dict]) -> list[str]:
    "The labels that the leaves of a run gave, in the order of the rows."
    replies = [event for event in events if event['type'] == 'reply' and event.get('stage') == 'leaf']
    replies.sort(key=lambda event: int(event['place'].split(',')[0].split()[1]))
    return [label for event in replies for label in json.loads(event['text']).values()]


def read_data(folder: Path) -> tuple[str, list[dict]]:
    "The official context, and its tasks with their pairs."
    tasks = (folder / 'oolong_pairs_32k_tasks_gold.jsonl').read_text().splitlines()
    return (folder / 'oolong_pairs_32k_context.txt').read_text(), [json.loads(line) for line in tasks]


def score_labels(labels: list[str], context: str, tasks: list[dict]) -> list[float]:
    "F1 of each task with the rule that the data set specifies, from labels that were kept; no model is asked."
    records = RecordReader(make_outline(context)).all
    dated = [(as_key(record.fields['User']), parse_date(record.fields['Date'])) for record in records]
    users = profiles(Row(key, label, day) for (key, day), label in zip(dated, labels, strict=True))
    return [f1(find_pairs(users, given_rule(task['spec'])), task['gold']) for task in tasks]


def main() -> None:
    "Read the command line, label once, and answer all tasks."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path)
    parser.add_argument('--model', default='openai/qwen2.5-coder-1.5b')
    parser.add_argument('--api-base', default='http://127.0.0.1:8080/v1')
    parser.add_argument('--records', type=int, default=10, help='rows of a call')
    parser.add_argument('--cache', default='build/oolong_pairs', help='folder of the replies that were paid for')
    parser.add_argument('--labels', type=Path, default=Path('build/oolong_pairs_labels.json'))
    parser.add_argument('--tasks', type=int, default=20, help='how many of the tasks')
    parser.add_argument('--rules', action='store_true', help='also with the rule that the model reads')
    given = parser.parse_args()
    context, tasks = read_data(given.data)
    lm = LM(given.model, api_base=given.api_base, api_key='none', timeout=1800, cache=given.cache, max_concurrency=2)
    settings = dict(task='pairwise', labels=DEFINITIONS, examples=EXAMPLES, records=given.records, window=8192)
    scores: dict[str, list[float]] = {'given': [], 'read': []}
    started = time.perf_counter()
    for task in tasks[: given.tasks]:
        for how in ('given', 'read') if given.rules else ('given',):
            rule = dict(predicate=given_rule(task['spec'])) if how == 'given' else {}
            try:
                result = LambdaRLM(lm, **settings, **rule)(context, task['query'])
                found, problem = result.value, ''
                given.labels.parent.mkdir(parents=True, exist_ok=True)
                given.labels.write_text(json.dumps(labels_of(result.trace.events)))
            except RLMError as error:
                found, problem = [], str(error)
            scores[how].append(f1(found, task['gold']))
            seconds = time.perf_counter() - started
            print(f'{task["task"]:2} {how:5} F1 {scores[how][-1]:5.1f}  {seconds:5.0f} s  {problem[:300]}', flush=True)
    for how, found in scores.items():
        if found:
            print(f'{how}: mean F1 {statistics.mean(found):.1f} of {len(found)} tasks')


if __name__ == '__main__':
    main()
