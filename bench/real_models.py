"""Right answers of a real model, measured: runs of each strategy on generated samples, one journal for each run.

    python -m bench.real_models --api-base http://127.0.0.1:8091/v1 --model openai/qwen2.5-coder-1.5b \
        --sets sniah:8192 code:8192 --methods direct rlm srlm --seeds 1 2 3 --samples 3

A run that has its journal in the folder already is not repeated; `rlm replay` reads the journals. Any server that
speaks OpenAI's protocol will do, such as
`llama-server -hf Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from pathlib import Path

from bench.speed import ROOT, machine
from rlm import Direct, LambdaRLM, LM, RLM, SRLM
from rlm.base.errors import RLMError
from rlm.bench.data.code_questions import code
from rlm.bench.data.generators import ordered, sniah
from rlm.bench.data.label_records import labels, pairs
from rlm.bench.data.samples import Sample
from rlm.bench.scores import score

FOLDER = ROOT / 'build' / 'real_runs'
TURNS = 10
WINDOW = 8192  # tokens of a leaf of `lambda` and its reply
# What a user would say of the labels: a definition and an example of each. The examples are in none of the samples.
DEFINITIONS = {
    'abbreviation': 'what letters stand for, or how a name is shortened',
    'description': 'a definition, a reason, a manner or an explanation',
    'entity': 'a thing: an animal, a colour, a food, a product, a language, a work, an event',
    'human being': 'a person or a group of people',
    'location': 'a place: a city, a country, a mountain, an address',
    'numeric value': 'a number: a count, a date, a distance, a price, an age',
}
EXAMPLES = {
    'What is the capital of Peru ?': 'location',
    'Who painted the Mona Lisa ?': 'human being',
    'How tall is Everest ?': 'numeric value',
    'What does NASA stand for ?': 'abbreviation',
    'Why is the sky blue ?': 'description',
    'What language is spoken in Brazil ?': 'entity',
}


def make_sample(
    name: str,  # sniah, ordered, code, pairs, labels, labels_count or labels_compare
    tokens: int,  # length of the context
    seed: int,  # of the generator
    number: int,  # of the sample
) -> Sample:
    "One generated sample; of `labels` the question for the most common label."
    kinds = dict(labels='most', labels_count='count', labels_compare='compare')
    if name in kinds:
        return labels(tokens, number=number, seed=seed, kind=kinds[name])
    return dict(sniah=sniah, ordered=ordered, code=code, pairs=pairs)[name](tokens, number=number, seed=seed)


def make_strategy(
    method: str,  # direct, lambda, rlm, srlm, or rlm-first_look: the loop without its first look
    lm: LM,  # the model
    trace: str,  # where the journal is written
    name: str = '',  # the set
):
    "The strategy that a method stands for."
    settings = dict(trace=trace, keep_context=0)
    if method == 'direct':
        return Direct(lm, **settings)
    if method == 'lambda':
        about = dict(labels=DEFINITIONS, examples=EXAMPLES) if name.startswith(('labels', 'pairs')) else {}
        return LambdaRLM(lm, window=WINDOW, **about, **settings)
    settings |= dict(env='local', max_iterations=TURNS)
    if method == 'srlm':
        return SRLM(lm, k=4, candidate_parallel=2, **settings)
    return RLM(lm, first_look=method != 'rlm-first_look', **settings)


def run_one(method: str, lm: LM, sample: Sample, path: Path, name: str) -> str:
    "Run a method on a sample, keep its journal, and say in one line what came of it."
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trace = os.path.join(folder, 'run.jsonl')
        try:
            answer = make_strategy(method, lm, trace, name)(sample.context, sample.query).answer
        except RLMError as error:
            answer = getattr(error, 'partial_answer', None)
        path.write_bytes(gzip.compress(Path(trace).read_bytes(), mtime=0))
    seconds = time.perf_counter() - started
    return f'{path.stem:45} {score(sample, answer):.2f} {seconds:5.0f} s  {sample.answer!r:.40} <- {answer!r:.70}'


def read_run(path: Path) -> dict:
    "What a journal's name and its events say: method, sample, answer, gold answer and score."
    method, _, name = path.name.removesuffix('.jsonl.gz').rpartition('_')
    kind, tokens, seed, number = name.split('-')
    sample = make_sample(kind, int(tokens), int(seed), int(number))
    events = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    end = next((event for event in events if event['type'] == 'run_end' and event['run'] == 'r1'), {})
    about = dict(method=method, set=kind, tokens=int(tokens), seed=int(seed), number=int(number))
    return about | dict(gold=sample.answer, answer=end.get('answer'), score=score(sample, end.get('answer')))


def write_scores(folder: Path) -> None:
    "Score every journal of a folder, in `scores.json`: code samples are made of the Python that ran, and differ by it."
    runs = {path.name: read_run(path) for path in sorted(folder.glob('*.jsonl.gz'))}
    lines = [f'{json.dumps(name)}: {json.dumps(run)}' for name, run in runs.items()]
    (folder / 'scores.json').write_text('{\n' + ',\n'.join(lines) + '\n}\n')


def main() -> None:
    "Read the command line, and make the runs that are missing."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='openai/qwen2.5-coder-1.5b')
    parser.add_argument('--api-base', default='http://127.0.0.1:8080/v1')
    parser.add_argument('--sets', nargs='+', default=['sniah:8192'], help='name:tokens')
    parser.add_argument('--methods', nargs='+', default=['direct', 'rlm'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3])
    parser.add_argument('--samples', type=int, default=3, help='of each seed')
    parser.add_argument('--folder', type=Path, default=FOLDER)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    lm = LM(given.model, api_base=given.api_base, api_key='none', timeout=1800)
    print(machine())
    for seed in given.seeds:
        for number in range(given.samples):
            for name, tokens in (one.split(':') for one in given.sets):
                sample = make_sample(name, int(tokens), seed, number)
                for method in given.methods:
                    path = given.folder / f'{method}_{name}-{tokens}-{seed}-{number}.jsonl.gz'
                    if not path.exists():
                        print(run_one(method, lm, sample, path, name), flush=True)
    write_scores(given.folder)


if __name__ == '__main__':
    main()
