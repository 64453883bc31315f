"""The extras that users install, as pip reads them: `pip install ".[$(python -m tests.extras together)]"`."""

import sys
from configparser import ConfigParser
from pathlib import Path

NOT_FOR_USERS = {'dev', 'nbdev'}
# e2b 2.63 needs connectrpc 0.12 or later, prime-sandboxes 0.5 an earlier one: it is installed by itself.
ALONE = {'e2b'}


def extras(together: bool) -> list[str]:
    config = ConfigParser(delimiters='=')
    config.read(Path(__file__).resolve().parent.parent / 'settings.ini', encoding='utf-8')
    found = [name.removesuffix('_requirements') for name in config['DEFAULT'] if name.endswith('_requirements')]
    return [name for name in found if name not in NOT_FOR_USERS and (name not in ALONE) == together]


if __name__ == '__main__':
    print(','.join(extras(together=sys.argv[1:] == ['together'])))
