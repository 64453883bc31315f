"""Check style, imports, wording, and that rlm/ and README.md are what the notebooks make.

`make check` runs this; the last line is the count.
"""

from __future__ import annotations

import ast
import filecmp
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import unified_diff
from pathlib import Path
from shutil import copytree, ignore_patterns

from tests.readme import made

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NBDEV_BIN = ROOT / '.venv-nbdev' / 'bin'  # `make check` makes it
PYTHON_CODE = ('nbs', 'tests', 'bench', 'setup.py')
NOT_COPIED = ignore_patterns(
    '.git',
    '.venv*',
    '.*_cache',
    '__pycache__',
    '_proc',
    '_docs',
    '_preview',
    '.hypothesis',
    'build',
    'dist',
    '*.egg-info',
)
MAX_BODY = 40  # lines of a function, without its signature


def output_of(command: list[str | Path], folder: Path = ROOT) -> str:
    "What a command printed if it failed; '' if it succeeded."
    path = f'{NBDEV_BIN}{os.pathsep}{BIN}{os.pathsep}{os.environ.get("PATH", "")}'
    process = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=dict(os.environ, PATH=path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process.stdout or f'{command[0]} failed without a word.' if process.returncode else ''


def changes(before: Path, after: Path) -> str:
    "The difference of two folders as a unified diff; '' if they are the same."
    files = [path for folder in (before, after) for path in folder.rglob('*') if path.is_file()]
    names = sorted({path.relative_to(before if path.is_relative_to(before) else after) for path in files})
    found = []
    for name in names:
        old, new = before / name, after / name
        if old.exists() and new.exists() and filecmp.cmp(old, new, shallow=False):
            continue
        texts = [path.read_text(encoding='utf-8', errors='replace') if path.exists() else '' for path in (old, new)]
        lines = [text.splitlines() for text in texts]
        found += unified_diff(*lines, f'{name} (here)', f'{name} (made)', lineterm='')
    return '\n'.join(found)


def leaves_no_diff(command: str) -> str:
    "Run an nbdev command in a copy of the project, so that the check itself changes nothing; return what it changed."
    with tempfile.TemporaryDirectory() as folder:
        before, copy = Path(folder) / 'before', Path(folder) / ROOT.name
        copytree(ROOT, before, symlinks=True, ignore=NOT_COPIED)
        copytree(before, copy, symlinks=True)
        return output_of([NBDEV_BIN / command], copy) or changes(before, copy)


PAGES = """
from nbdev.serve import proc_nbs
if __name__ == '__main__': proc_nbs()
"""


def pages_can_be_made() -> str:
    "What goes wrong when the notebooks are made ready for the site; '' if nothing does."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / ROOT.name
        copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
        script = Path(folder) / 'pages.py'
        script.write_text(PAGES)
        return output_of([NBDEV_BIN / 'python', script], copy)


ENTRIES = """
import importlib, inspect, pkgutil, sys
import rlm
from nbdev.showdoc import show_doc
failed = {}
for module in pkgutil.walk_packages(rlm.__path__, 'rlm.'):
    if module.name.endswith('__main__'): continue
    found = importlib.import_module(module.name)
    for name in getattr(found, '__all__', []):
        value = getattr(found, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)): continue
        try: show_doc(value)._repr_markdown_()
        except Exception as error: failed[f'{module.name}.{name}'] = repr(error)
if failed: sys.exit(str(failed))
"""


def names_have_entries() -> str:
    "Exported names that nbdev cannot show on their page: one of them stops the whole site."
    return output_of([NBDEV_BIN / 'python', '-c', ENTRIES])


def texts_are_current() -> str:
    "The difference between README.md and llms.txt and what the pages make of them."
    lines = []
    for path, text in made().items():
        here = path.read_text(encoding='utf-8') if path.exists() else ''
        lines += unified_diff(
            here.splitlines(), text.splitlines(), f'{path.name} (here)', f'{path.name} (made)', lineterm=''
        )
    return '\n'.join(lines)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    "Every function of a module, methods and inner functions included."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def long_functions() -> str:
    "Functions whose body is longer than a reader holds in the head."
    found = []
    for path in sorted((ROOT / 'rlm').rglob('*.py')):
        for function in functions(path):
            lines = function.end_lineno - function.body[0].lineno + 1
            if lines > MAX_BODY:
                found.append(f'{path.relative_to(ROOT)}: {function.name} has {lines} lines, more than {MAX_BODY}')
    return '\n'.join(found)


def modules() -> dict[Path, ast.Module]:
    "The syntax trees of the package, by path."
    paths = sorted(path for path in (ROOT / 'rlm').rglob('*.py') if path.name != '_modidx.py')
    return {path: ast.parse(path.read_text(encoding='utf-8')) for path in paths}


def room_of(path: Path) -> str:
    "The sub-package of a module; of a module at the top level, its own name."
    return path.relative_to(ROOT / 'rlm').parts[0]


def is_private(name: str) -> bool:
    return name.startswith('_') and not name.startswith('__')


def names_given(tree: ast.Module) -> Iterator[str]:
    "The private names that a module defines: functions, classes, variables, attributes."
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def private_names_abroad() -> str:
    "Private names that are used outside the sub-package that defines them."
    trees, homes, found = modules(), {}, []
    for path, tree in trees.items():
        for name in filter(is_private, names_given(tree)):
            homes.setdefault(name, set()).add(room_of(path))
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                used = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and ast.unparse(node) != 'os._exit':
                used = [node.attr]
            else:
                continue
            for name in used:
                if is_private(name) and name in homes and room_of(path) not in homes[name]:
                    found.append(f'{path.relative_to(ROOT)}:{node.lineno}: {name} belongs to {", ".join(homes[name])}')
    return '\n'.join(found)


def unused_arguments() -> str:
    "Arguments that a function does not use, where nothing but its own module calls it: no interface asks for them."
    found = []
    for path, tree in modules().items():
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        values = [
            node for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute)) and id(node) not in called
        ]
        passed = {getattr(node, 'id', None) or getattr(node, 'attr', None) for node in values}
        for function in tree.body:
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) or function.decorator_list:
                continue
            if not is_private(function.name) or function.name in passed:
                continue
            used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            for argument in arguments:
                if argument.arg not in used and not is_private(argument.arg):
                    found.append(f'{path.relative_to(ROOT)}: {function.name} does not use {argument.arg}')
    return '\n'.join(found)


# Turns of phrase that read as translated, and what to write instead.
WORDING = {
    r'(?<!here )\bis no (?!longer|more|better|less|such|need|way|reason|one\b)[a-z]+': 'is not a ...',
    r'\b(?:is|are) none\b': 'is not a ...',
    r'\bof (?:its|their|his|our) own\b(?! accord)': 'own, separate, another',
    r'\bother ones\b': 'others',
    r'\bthe same for many\b': 'batched form of ...',
    r'\b(?:the|its|a) (?:house|door|doors)\b': 'the module, the class, the interface',
    r'\bto say otherwise\b': 'overrides',
    r'\bwhat (?:it|they) (?:has|have) to say\b': 'its message',
}
ALLOWED = re.compile(r'ASCII|house_|House of|doorstep')


def prose() -> Iterator[tuple[Path, str]]:
    "Text that people read: Markdown, docstrings, comments, error messages."
    for path in sorted(ROOT.glob('*.md')):
        yield path, path.read_text(encoding='utf-8')
    for path in sorted((ROOT / 'nbs').rglob('*.ipynb')):
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
            source = ''.join(cell['source'])
            if cell['cell_type'] == 'markdown':
                yield path, source
            elif source.startswith('#| export'):
                yield path, '\n'.join(texts_of_code(source))


def texts_of_code(source: str) -> Iterator[str]:
    "The docstrings, comments and error messages of a cell."
    for line in source.splitlines():
        _, mark, comment = line.partition('# ')
        if mark:
            yield comment
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield ast.get_docstring(node) or ''
        elif isinstance(node, ast.Raise):
            yield ' '.join(part.value for part in ast.walk(node) if is_text(part))


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def awkward_wording() -> str:
    "Sentences with a turn of phrase of the list."
    found = []
    for path, text in prose():
        for pattern, better in WORDING.items():
            for match in re.finditer(pattern, text):
                line = text[text.rfind('\n', 0, match.start()) + 1 :].split('\n', 1)[0]
                if not ALLOWED.search(line):
                    found.append(f'{path.relative_to(ROOT)}: "{match[0]}" ({better}): {line.strip()[:120]}')
    return '\n'.join(found)


def ruff(*words: str) -> str:
    return output_of([BIN / 'ruff', *words, *PYTHON_CODE])


CHECKS = {
    'ruff finds nothing': lambda: ruff('check', '--quiet'),
    'the code is formatted (else: make export)': lambda: ruff('format', '--check', '--quiet'),
    f'no function is longer than {MAX_BODY} lines': long_functions,
    'rooms import downwards only, and without circles': lambda: output_of([BIN / 'lint-imports', '--no-cache']),
    'no private name is used outside its sub-package': private_names_abroad,
    'no private function has an argument that it does not use': unused_arguments,
    'no sentence has a turn of phrase that reads as translated': awkward_wording,
    'nbdev_export leaves no diff (else: make export)': lambda: leaves_no_diff('nbdev_export'),
    'nbdev_clean leaves no diff (else: make export)': lambda: leaves_no_diff('nbdev_clean'),
    'every exported name has an entry on its page': names_have_entries,
    'the pages of the site can be made': pages_can_be_made,
    'README.md and llms.txt are made from the pages (else: make readme)': texts_are_current,
}


def main() -> int:
    failed = 0
    # Most of them wait for a process, so two at once take half the time.
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for name, difference in zip(CHECKS, pool.map(lambda check: check(), CHECKS.values())):
            failed += bool(difference)
            print(
                f'{"FAILED" if difference else "passed"}: {name}' + (f'\n{difference}' if difference else ''),
                flush=True,
            )
    print(f'{len(CHECKS) - failed} passed, {failed} failed', flush=True)
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
