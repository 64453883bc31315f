"Let the running environment import what another one has: `python -m tests.join_environments .venv`."

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(other: str) -> None:
    "Write a .pth file; the packages of this environment come first."
    version = f'python{sys.version_info.major}.{sys.version_info.minor}'
    folders = [ROOT / other / 'lib' / version / 'site-packages', ROOT]
    path = Path(sysconfig.get_paths()['purelib']) / 'zz_other_environment.pth'
    path.write_text(''.join(f'{folder}\n' for folder in folders))


if __name__ == '__main__':
    main(sys.argv[1])
