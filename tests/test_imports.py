"Every name that could be imported before the package was divided into rooms still can be; rooms import downwards only."

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import rlm

ROOT = Path(__file__).resolve().parent.parent
PUBLIC_NAMES = json.loads((ROOT / 'tests' / 'public_names.json').read_text())


@pytest.mark.parametrize('module', PUBLIC_NAMES)
def test_public_names_can_be_imported(module):
    found = importlib.import_module(f'rlm.{module}' if module else 'rlm')
    assert [name for name in PUBLIC_NAMES[module] if not hasattr(found, name)] == []


def test_every_module_can_be_imported_first():
    "No module depends on what another one happens to have imported."
    names = [module.name for module in pkgutil.walk_packages(rlm.__path__, 'rlm.') if '__main__' not in module.name]
    # What others have written is imported once, before the first fork.
    code = """
import importlib, os, sys
import aiohttp, fastcore.all, IPython.core.interactiveshell, IPython.display, numpy, pydantic
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]: sys.exit(f'{name} cannot be imported alone')
"""
    process = subprocess.run([sys.executable, '-c', code, *names], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_the_package_can_be_run():
    process = subprocess.run([sys.executable, '-m', 'rlm', '--version'], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout == f'rlm {rlm.__version__}\n'


def test_dir_lists_what_can_be_imported():
    assert {'RLM', 'Direct', 'LambdaRLM', 'SRLM', 'LM', 'TimeExceeded'} <= set(dir(rlm))
    with pytest.raises(AttributeError, match='no attribute'):
        rlm.no_such_name
