"Write README.md from nbs/index.ipynb: the same page as on the docs site, as plain Markdown. Needs no Quarto."
from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIRECTIVE = re.compile(r'^#\|\s*(.*)\n?', re.M)


def page_url(notebook: str) -> str:
    "Where the page of a notebook lies on the docs site: nbdev leaves the number out of its name."
    config = ConfigParser(delimiters='=')
    config.read(ROOT/'settings.ini', encoding='utf-8')
    facts = config['DEFAULT']
    return f"{facts['doc_host']}{facts['doc_baseurl']}/{re.sub(r'^[0-9]+_', '', Path(notebook).stem)}.html"


def output_text(output: dict) -> str:
    "One output of a cell as Markdown."
    if output['output_type'] == 'stream': return f"```text\n{''.join(output['text']).rstrip()}\n```"
    if 'data' not in output: raise ValueError('A cell of nbs/index.ipynb ended in an error: run the notebook again.')
    data = {kind: ''.join(lines) for kind, lines in output['data'].items()}
    return data['text/markdown'] if 'text/markdown' in data else f"```text\n{data['text/plain'].rstrip()}\n```"


def readme() -> str:
    "What README.md should hold."
    parts = []
    for cell in json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        directives = DIRECTIVE.findall(source)
        if 'hide' in directives or not source.strip(): continue
        if cell['cell_type'] == 'markdown': parts.append(re.sub(r'\]\((\w+\.ipynb)', lambda link: '](' + page_url(link[1]), source))
        else: parts += [f"```python\n{DIRECTIVE.sub('', source).strip()}\n```", *map(output_text, cell['outputs'])]
    return '<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n' + '\n\n'.join(part.strip() for part in parts) + '\n'


if __name__ == '__main__': (ROOT/'README.md').write_text(readme(), encoding='utf-8')
