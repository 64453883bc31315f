"""The extras that users install, as pip reads them: `pip install ".[$(python -m tests.extras)]"`."""

from configparser import ConfigParser
from pathlib import Path

NOT_FOR_USERS = {'dev', 'nbdev'}


def extras() -> list[str]:
    config = ConfigParser(delimiters='=')
    config.read(Path(__file__).resolve().parent.parent / 'settings.ini', encoding='utf-8')
    found = [name.removesuffix('_requirements') for name in config['DEFAULT'] if name.endswith('_requirements')]
    return [name for name in found if name not in NOT_FOR_USERS]


if __name__ == '__main__':
    print(','.join(extras()))
