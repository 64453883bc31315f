"Samples in other processes: the same text whatever the hash seed, and nothing heavy for a list of data sets."

import hashlib
import os
import json
import pickle
import subprocess
import sys

import pytest

from rlm.bench.data.label_records import labelled_questions
from rlm.bench.data.samples import datasets, load
from rlm.bench.scores import gold_text, score, SCORERS
from tests.run import ROOT

GENERATED = [name for name, one in datasets().items() if one.generated]
DIGEST = '''
import hashlib, sys
from rlm.bench.data.samples import load
for name in sys.argv[1:]:
    for sample in load(name, lengths=[1024, 5000], n=4, seed=3):
        text = f'{sample.context}{sample.query}{sample.answer}{sample.meta}'
        print(sample.id, hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest())
'''


def run(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    ).stdout


def test_the_same_seed_is_the_same_sample_in_every_process():
    first, other = (run(DIGEST, *GENERATED, PYTHONHASHSEED=seed) for seed in '12')
    assert first == other and first.count('\n') == 8 * len(GENERATED)


def test_a_list_of_data_sets_imports_nothing_heavy():
    code = (
        'import rlm.bench.data.samples, sys; rlm.bench.data.samples.datasets()\n'
        "heavy = ('litellm', 'IPython', 'datasets', 'numpy', 'rlm.models')\n"
        'print([name for name in heavy if name in sys.modules])'
    )
    assert run(code).strip() == '[]'


@pytest.mark.parametrize('name', GENERATED)
def test_samples_of_a_set_are_different_scored_and_can_be_sent(name):
    samples = load(name, lengths=[2048, 4096], n=6) + load(name, lengths=2048, n=6, seed=1)
    assert (
        len({sample.id for sample in samples})
        == len({hashlib.sha256(sample.context.encode()).digest() for sample in samples})
        == 18
    )
    for sample in samples:
        assert (
            sample.score in SCORERS
            and score(sample, gold_text(sample)) == 1
            and score(sample, None) == score(sample, 'I do not know') == 0
        )
        assert pickle.loads(pickle.dumps(sample)) == sample


@pytest.mark.parametrize('exponent', range(10, 18))
def test_lengths_are_those_that_were_asked_for(exponent):
    for name in GENERATED:
        (sample,) = load(name, lengths=2**exponent, n=1, seed=exponent)
        assert 2**exponent - 128 <= sample.tokens <= 2**exponent
        assert len(sample.context) <= 4 * 2**exponent


def test_a_counter_of_ones_own_decides_the_length():
    for name in GENERATED:
        (sample,) = load(name, lengths=2000, n=1, count=lambda text: len(text.split()))
        assert 1900 <= sample.tokens == len(sample.context.split()) <= 2000


def test_labels_can_be_learned_from_other_questions():
    "By a small classifier, which the page on classifiers trains as well."
    text = pytest.importorskip('sklearn.feature_extraction.text')
    svm, metrics = pytest.importorskip('sklearn.svm'), pytest.importorskip('sklearn.metrics')
    train, test = (labelled_questions(number, part=part) for number, part in ((3000, 'train'), (1000, 'test')))
    assert not {question for question, _ in train} & {question for question, _ in test}
    features = text.TfidfVectorizer(ngram_range=(1, 3), token_pattern=r'\S+', sublinear_tf=True)
    classifier = svm.LinearSVC(random_state=0)
    classifier.fit(features.fit_transform([question for question, _ in train]), [label for _, label in train])
    predicted = classifier.predict(features.transform([question for question, _ in test]))
    assert metrics.f1_score([label for _, label in test], predicted, average='macro') > 0.7


def test_the_command_of_the_lambda_library_runs_as_written(tmp_path):
    text = '\n'.join(f'Date: Jan {n:02}, 2023 || User: {n} || Instance: Is {n} even?' for n in range(1, 60))
    oolong = dict(
        id=1, dataset='trec_coarse', context_len=8192, context_window_text=text, question='How many?', answer='[59]'
    )
    (tmp_path / 'oolong.jsonl').write_text(json.dumps(oolong | dict(answer_type='ANSWER_TYPE.NUMERIC')))
    rows = []
    for domain in ('Multi-Document QA', 'Code Repository Understanding'):
        choices = {f'choice_{letter}': letter.lower() for letter in 'ABCD'}
        rows.append(dict(_id=domain, domain=domain, question='Which?', answer='A', context=text * 9, **choices))
    (tmp_path / 'longbench.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    files = ['oolong=oolong.jsonl', 'browsecomp=longbench.jsonl', 'codeqa=longbench.jsonl']
    words = (
        'bench --datasets sniah oolong browsecomp codeqa --model gpt-4o-mini --methods direct rlm lambda_rlm srlm '
        '--n-samples-per-bucket 2 --max-iter 8 --max-depth 2 --context-window 100000 --output-dir out --dry-run'
    )
    # The real sets come from the hub; without a network they are files, and nothing else is different.
    command = [sys.executable, '-m', 'rlm', *words.split(), '--data', *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ('sniah', 'oolong', 'longbench', 'direct', 'rlm', 'lambda', 'srlm'):
        assert name in done.stdout, (name, done.stdout)
    assert not (tmp_path / 'out').exists()
