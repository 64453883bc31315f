"Check that a working copy is what its notebooks make: exported, clean, README and llms.txt current. The last line is the count."

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from difflib import unified_diff
from pathlib import Path
from shutil import copytree, ignore_patterns

from tests.readme import made

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = ignore_patterns(
    '.git',
    '.venv',
    '__pycache__',
    '_proc',
    '_docs',
    '_preview',
    '.hypothesis',
    '.pytest_cache',
    'build',
    'dist',
    '*.egg-info',
)


def changes(before: Path, after: Path) -> str:
    "The difference of two folders as a unified diff; '' where they are the same."
    names = sorted(
        {path.relative_to(folder) for folder in (before, after) for path in folder.rglob('*') if path.is_file()}
    )
    found = []
    for name in names:
        old, new = before / name, after / name
        if old.exists() and new.exists() and filecmp.cmp(old, new, shallow=False):
            continue
        lines = [
            path.read_text(encoding='utf-8', errors='replace').splitlines() if path.exists() else []
            for path in (old, new)
        ]
        found += unified_diff(*lines, f'{name} (here)', f'{name} (made)', lineterm='')
    return '\n'.join(found)


def leaves_no_diff(command: str) -> str:
    "Run an nbdev command in a copy of the project, so that the check itself changes nothing; return what it changed."
    with tempfile.TemporaryDirectory() as folder:
        before, copy = Path(folder) / 'before', Path(folder) / ROOT.name
        copytree(ROOT, before, symlinks=True, ignore=NOT_COPIED)
        copytree(before, copy, symlinks=True)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        process = subprocess.run(
            [command],
            cwd=copy,
            env=dict(os.environ, PATH=path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.returncode:
            return f'{command} failed:\n{process.stdout}'
        return changes(before, copy)


PAGES = """
from nbdev.serve import proc_nbs
if __name__ == '__main__': proc_nbs()
"""


def pages_can_be_made() -> str:
    "What goes wrong when the notebooks are made ready for the site; '' where nothing does."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / ROOT.name
        copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
        script = Path(folder) / 'pages.py'
        script.write_text(PAGES)
        process = subprocess.run(
            [sys.executable, script],
            cwd=copy,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return process.stdout if process.returncode else ''


def texts_are_current() -> str:
    "The difference between README.md and llms.txt and what the pages make of them."
    lines = []
    for path, text in made().items():
        here = path.read_text(encoding='utf-8') if path.exists() else ''
        lines += unified_diff(
            here.splitlines(), text.splitlines(), f'{path.name} (here)', f'{path.name} (made)', lineterm=''
        )
    return '\n'.join(lines)


def main() -> int:
    checks = {
        'nbdev_export leaves no diff (else: make export)': lambda: leaves_no_diff('nbdev_export'),
        'nbdev_clean leaves no diff (else: make export)': lambda: leaves_no_diff('nbdev_clean'),
        'the pages of the site can be made': pages_can_be_made,
        'README.md and llms.txt are made from the pages (else: make readme)': texts_are_current,
    }
    failed = 0
    for name, check in checks.items():
        difference = check()
        failed += bool(difference)
        print(f"{'FAILED' if difference else 'passed'}: {name}" + (f'\n{difference}' if difference else ''), flush=True)
    print(f'{len(checks) - failed} passed, {failed} failed', flush=True)
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
