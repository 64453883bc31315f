"Write README.md from nbs/index.ipynb, and nbs/llms.txt from the titles of all pages. Needs no Quarto."

from __future__ import annotations

import json
import re
from configparser import ConfigParser, SectionProxy
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
DIRECTIVE = re.compile(r'^#\|\s*(.*)\n?', re.M)


def facts() -> SectionProxy:
    "The project's settings."
    config = ConfigParser(delimiters='=')
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return config['DEFAULT']


def site() -> str:
    return facts()['doc_host'] + facts()['doc_baseurl']


def page_url(notebook: str) -> str:
    "Where the page of a notebook lies on the docs site: nbdev leaves the number out of its name."
    page = PurePosixPath(notebook)
    return f"{site()}/{page.with_name(re.sub(r'^[0-9]+_', '', page.stem))}.html"


def output_text(output: dict) -> str:
    "One output of a cell as Markdown."
    if output['output_type'] == 'stream':
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    if 'data' not in output:
        raise ValueError('A cell of nbs/index.ipynb ended in an error: run the notebook again.')
    data = {kind: ''.join(lines) for kind, lines in output['data'].items()}
    return data['text/markdown'] if 'text/markdown' in data else f"```text\n{data['text/plain'].rstrip()}\n```"


def readme() -> str:
    "What README.md should hold."
    parts = []
    for cell in json.loads((ROOT / 'nbs' / 'index.ipynb').read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        directives = DIRECTIVE.findall(source)
        if 'hide' in directives or not source.strip():
            continue
        if cell['cell_type'] == 'markdown':
            source = re.sub(r'\]\(([\w/]+\.ipynb)', lambda link: '](' + page_url(link[1]), source)
            parts.append(re.sub(r'\]\((images/)', lambda link: f"]({site()}/{link[1]}", source))
        else:
            parts += [f"```python\n{DIRECTIVE.sub('', source).strip()}\n```", *map(output_text, cell['outputs'])]
    return (
        '<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n'
        + '\n\n'.join(part.strip() for part in parts)
        + '\n'
    )


def title_of(notebook: Path) -> tuple[str, str]:
    "A page's title, and what it says of itself in its first quotation."
    text = next(
        source
        for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']
        if cell['cell_type'] == 'markdown' and (source := ''.join(cell['source'])).startswith('# ')
    )
    said = re.search(r'^> (.*(?:\n> .*)*)', text, re.M)
    return text.splitlines()[0][2:].strip(), ' '.join(said[1].replace('\n> ', ' ').split()) if said else ''


def llms_txt() -> str:
    "What nbs/llms.txt should hold: the pages of the sidebar in its order, for readers that are models."
    lines = [f"# {facts()['title']}", '', f"> {facts()['description']}."]
    for name, section in re.findall(
        r'^ *- (?:([\w/]+\.ipynb)|section: (.*))$', (ROOT / 'nbs' / 'sidebar.yml').read_text(encoding='utf-8'), re.M
    ):
        if section:
            lines += ['', f'## {section}', '']
        elif name != 'index.ipynb':
            title, said = title_of(ROOT / 'nbs' / name)
            lines.append(f'- [{title}]({page_url(name)}){": " if said else ""}{said}')
    return '\n'.join(lines) + '\n'


def made() -> dict[Path, str]:
    "The files that are made from the pages, and what they should hold."
    return {ROOT / 'README.md': readme(), ROOT / 'nbs' / 'llms.txt': llms_txt()}


if __name__ == '__main__':
    for path, text in made().items():
        path.write_text(text, encoding='utf-8')
