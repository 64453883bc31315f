"""Run the pages that only draw or measure, and keep their outputs: `python -m tests.draw`.

`make test` leaves these pages out; their first cell says `#| draws: true`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.run import ROOT, draws


def main() -> int:
    "Run each page in its folder; stop at the first that fails."
    for notebook in sorted((ROOT / 'nbs').rglob('*.ipynb')):
        if not draws(notebook):
            continue
        print(notebook.relative_to(ROOT), flush=True)
        command = [Path(sys.executable).parent / 'exec_nb', notebook.name, '--dest', notebook.name, '--exc-stop']
        if subprocess.run(command, cwd=notebook.parent).returncode:
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
