"What people install: the wheel, the source distribution, the conda recipe."

import re
import subprocess
import sys
import tarfile
import zipfile

import jinja2
import pytest
import yaml

from rlm import __version__
from tests.checks import NOT_COPIED, copytree
from tests.readme import ROOT, facts


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "A folder with both distributions, made from a copy of the project."
    folder = tmp_path_factory.mktemp('built')
    copytree(ROOT, folder / 'rlm', ignore=NOT_COPIED)
    # Without isolation, since a test reaches no network; setuptools is a requirement of the tests.
    script = "from setuptools import build_meta; build_meta.build_wheel('../dist'); build_meta.build_sdist('../dist')"
    (folder / 'dist').mkdir()
    subprocess.run([sys.executable, '-c', script], cwd=folder / 'rlm', check=True, capture_output=True)
    return folder / 'dist'


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob('*.whl'))) as wheel:
        names = set(wheel.namelist())
        about = next(name for name in names if name.endswith('/METADATA'))
        text = wheel.read(about).decode()
    assert {name.split('/')[0] for name in names} == {'rlm', about.split('/')[0]}
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / 'rlm').rglob('*')
        if path.is_file() and '__pycache__' not in path.parts and path.name != '_modidx.py'
    }
    assert modules | {'rlm/py.typed'} == {name for name in names if name.startswith('rlm/')}
    assert f'Version: {__version__}' in text and 'Provides-Extra: bench' in text


def test_the_source_distribution_can_be_built_again(built, tmp_path):
    with tarfile.open(next(built.glob('*.tar.gz'))) as source:
        source.extractall(tmp_path, filter='data')
    unpacked = next(tmp_path.iterdir())
    subprocess.run(
        [sys.executable, 'setup.py', '--quiet', 'bdist_wheel'], cwd=unpacked, check=True, capture_output=True
    )
    assert [path.name for path in (unpacked / 'dist').iterdir()] == [path.name for path in built.glob('*.whl')]


def test_the_version_stands_in_one_place():
    assert facts()['version'] == __version__


def test_the_conda_recipe_says_what_setup_says():
    script = (
        'import json, runpy, setuptools\n'
        'setuptools.setup = lambda **facts: print(json.dumps(facts, default=str))\n'
        "runpy.run_path('setup.py')"
    )
    told = yaml.safe_load(
        subprocess.run([sys.executable, '-c', script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    )
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        (ROOT / 'conda' / 'meta.yaml').read_text()
    )
    recipe = yaml.safe_load(template.render(load_setup_py_data=lambda **where: told, PYTHON='python'))
    assert recipe['package'] == dict(name='rlm', version=__version__)
    everywhere = [need for need in facts()['requirements'].split() if ';' not in need]
    needed = [need.replace(' ', '') for need in recipe['requirements']['run'][1:]]
    assert needed == [*everywhere, 'tomli>=2', 'bubblewrap', 'seccomp']
    assert recipe['build']['entry_points'] == ['rlm = rlm.__main__:main']
    assert (ROOT / recipe['about']['license_file']).is_file() and recipe['test']['commands'] == [
        'rlm --version',
        'rlm ask --help',
    ]


def test_the_workflows_name_what_they_use_by_its_commit():
    used = [
        line
        for path in (ROOT / '.github' / 'workflows').glob('*.yml')
        for line in path.read_text().splitlines()
        if 'uses:' in line
    ]
    assert used and [line for line in used if not re.search(r'uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+$', line)] == []


def test_a_clash_with_rlms_is_one_sentence(tmp_path):
    (tmp_path / 'rlm' / 'core').mkdir(parents=True)
    (tmp_path / 'rlm' / '__init__.py').write_text((ROOT / 'rlm' / '__init__.py').read_text())
    done = subprocess.run(
        [sys.executable, '-S', '-c', 'import rlm'],
        cwd=tmp_path,
        env={'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[-1].startswith('ImportError: The packages rlm and rlms are both installed')
