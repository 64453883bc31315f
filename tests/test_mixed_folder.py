"A folder as people have it: every kind of file is read, and the answer names the file and the page."

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image

from rlm import RLM, Direct
from rlm.base.errors import BadInput
from rlm.base.files import MAX_BYTES
from rlm.base.inputs import read_context
from rlm.offline import ScriptedLM
from rlm.trace.text import citation_place

docx = pytest.importorskip('docx')
openpyxl = pytest.importorskip('openpyxl')
pptx = pytest.importorskip('pptx')
canvas = pytest.importorskip('reportlab.pdfgen.canvas')

# Question, what the answer holds, and the place of its citation.
ASKED = [
    ('What did the Alder bridge cost?', '48,213 crowns', 'report.pdf, page 2'),
    ('Who inspected the bridge?', 'Ines Faber', 'report.pdf, page 3'),
    ('Who signed the lease of the warehouse?', 'Olaf Dahl', 'lease.docx:'),
    ('When does the ferry Wanderer sail?', 'Thursday', 'plan.pptx, slide 2'),
    ('Which quarry sells slate?', 'Nordkapp', 'stones.xlsx, sheet Suppliers'),
    ('Where is the harbour office?', 'Quay Street', 'office.html:'),
    ('What is the name of the lighthouse keeper?', 'Erik Sund', 'keeper.epub:'),
    ('Who ordered the anchors?', 'Karl Moe', 'order.eml:'),
    ('What is the weight of the crane?', '3,450 kilograms', 'order.eml, crane.txt'),
    ('What was the mean tide?', '2.75 metres', 'tides.ipynb:'),
    ('Who stores the sails?', 'Anna Brand', 'old.zip, letters/sails.txt'),
    ('What hull does the cutter have?', 'green', 'boats.csv:'),
    ('Which pilot knows the reef?', 'Signe Holm', 'pilots.json:'),
]
LETTERS = {
    'letters/sails.txt': 'Dear captain.\nAnna Brand stores the sails in her barn.\n',
    'letters/rope.txt': 'The rope is new.\n',
}


def write_pdf(path: Path, pages: list[list[str]]) -> None:
    page = canvas.Canvas(str(path))
    for lines in pages:
        for number, line in enumerate(lines):
            page.drawString(72, 760 - 20 * number, line)
        page.showPage()
    page.save()


def write_office(folder: Path) -> None:
    document = docx.Document()
    document.add_heading('Lease')
    document.add_paragraph('The warehouse has two floors.')
    document.add_paragraph('Olaf Dahl signed the lease of the warehouse.')
    document.save(folder / 'lease.docx')
    slides = pptx.Presentation()
    for title, text in (('Routes', 'Three ferries.'), ('Times', 'The ferry Wanderer sails on Thursday.')):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    slides.save(folder / 'plan.pptx')
    book = openpyxl.Workbook()
    book.active.title = 'Prices'
    book.active.append(['stone', 'crowns'])
    book.active.append(['granite', 12])
    sheet = book.create_sheet('Suppliers')
    for row in (['quarry', 'sells'], ['Nordkapp quarry', 'slate'], ['Sund quarry', 'granite']):
        sheet.append(row)
    book.create_sheet('Empty')
    book.save(folder / 'stones.xlsx')


def write_epub(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as book:
        book.writestr('mimetype', 'application/epub+zip')
        root = '<rootfiles><rootfile full-path="a.opf" media-type="application/oebps-package+xml"/></rootfiles>'
        kind = 'urn:oasis:names:tc:opendocument:xmlns:container'
        book.writestr('META-INF/container.xml', f'<container version="1.0" xmlns="{kind}">{root}</container>')
        items = '<item id="c" href="c.xhtml" media-type="application/xhtml+xml"/>'
        title = '<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">The light</dc:title>'
        book.writestr(
            'a.opf',
            f'<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata>{title}</metadata>'
            f'<manifest>{items}</manifest><spine><itemref idref="c"/></spine></package>',
        )
        text = '<p>It was dark.</p><p>The lighthouse keeper is named Erik Sund.</p>'
        book.writestr('c.xhtml', f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{text}</body></html>')


def write_texts(folder: Path) -> None:
    (folder / 'office.html').write_text(
        '<h1>Harbour</h1><script>x()</script><p>The harbour office is in Quay Street.</p>'
    )
    letter = EmailMessage()
    letter['From'], letter['Subject'] = 'ann@example.org', 'An order'
    letter.set_content('Good day.\n\nKarl Moe ordered the anchors.\n')
    note = b'About the crane.\nThe weight of the crane is 3,450 kilograms.\n'
    letter.add_attachment(note, maintype='text', subtype='plain', filename='crane.txt')
    (folder / 'order.eml').write_bytes(letter.as_bytes())
    picture = base64.b64encode(os.urandom(3000)).decode()
    output = {
        'output_type': 'display_data',
        'data': {'image/png': picture, 'text/plain': 'The mean tide was 2.75 metres.'},
    }
    cells = [dict(cell_type='code', source='tide.mean()', outputs=[output])]
    (folder / 'tides.ipynb').write_text(json.dumps(dict(cells=cells, nbformat=4, nbformat_minor=5, metadata={})))
    with zipfile.ZipFile(folder / 'old.zip', 'w') as archive:
        for name, text in LETTERS.items():
            archive.writestr(name, text)
    (folder / 'boats.csv').write_text('boat,hull\nyawl,"white, old"\ncutter,green\n')
    pilots = [dict(pilot='Per Lie', knows='the fjord'), dict(pilot='Signe Holm', knows='the reef')]
    (folder / 'pilots.json').write_text(json.dumps(pilots, indent=1))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('harbour')
    pages = [
        ['The bridge over the Alder.'],
        ['The Alder bridge cost 48,213 crowns.'],
        ['Ines Faber inspected the bridge.'],
    ]
    write_pdf(folder / 'report.pdf', pages)
    write_office(folder)
    write_epub(folder / 'keeper.epub')
    write_texts(folder)
    Image.new('RGB', (8, 8)).save(folder / 'photo.png')
    (folder / '.gitignore').write_text('*.log\n')
    (folder / 'debug.log').write_text('The Alder bridge cost nothing.')
    (folder / 'node_modules').mkdir()
    (folder / 'node_modules' / 'index.js').write_text('// The Alder bridge cost less.')
    (folder / 'broken.pdf').write_bytes((folder / 'report.pdf').read_bytes()[:400])
    return folder


def test_every_kind_of_file_is_read_and_the_rest_is_listed(folder):
    context, skipped = read_context([str(folder)])
    assert {Path(name.partition(', ')[0]).name for name in context} == {
        place.rstrip(':').partition(',')[0] for *_, place in ASKED
    }
    left = {Path(path).name: path.why for path in skipped}
    assert set(left) == {'photo.png', '.gitignore', 'debug.log', 'node_modules', 'broken.pdf'}
    assert left['debug.log'] == 'in .gitignore' and left['photo.png'].startswith('an image')
    assert 'broken' in left['broken.pdf']
    assert not any('base64' in text or 'iVBOR' in text or len(text) > 2000 for text in context.values())


@pytest.mark.parametrize('asked', ASKED, ids=lambda asked: asked[2].strip(':'))
def test_the_offline_reader_finds_passage_and_page(folder, asked):
    question, answer, place = asked
    result = RLM('offline/extractive', env='local')(folder, question)
    assert answer in result.answer, result.answer
    assert result.citations, result.answer
    assert citation_place(result.citations[0].to_dict()).startswith(f'{folder}/{place}'), result.citations


def test_the_command_prints_the_page(folder):
    command = [sys.executable, '-m', 'rlm', 'ask', ASKED[0][0], str(folder), '--env', 'local', '--cite', '--quiet']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and f'[1] {folder}/report.pdf, page 2: “' in done.stdout, done
    one = [*command[:5], str(folder / 'boats.csv'), '--env', 'local', '--cite', '--quiet', '--json']
    one[4] = 'What hull does the cutter have?'
    done = subprocess.run(one, capture_output=True, text=True)
    (cited, *_) = json.loads(done.stdout)['citations']
    assert cited['place'] == f'{folder}/boats.csv:1' and cited['source'] == f'{folder}/boats.csv', done


def locked_pdf(folder: Path) -> Path:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(folder / 'report.pdf'))
    writer.encrypt('secret', algorithm='RC4-128')
    writer.write(folder / 'locked.pdf')
    return folder / 'locked.pdf'


def bomb(path: Path, levels: int = 1) -> Path:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('zeros', bytes(60_000_000))
    return path


def half_archive(path: Path) -> Path:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as archive:
        for name, text in LETTERS.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
    path.write_bytes(file.getvalue()[:80])
    return path


def empty_book(path: Path) -> Path:
    openpyxl.Workbook().save(path)
    return path


def sparse(path: Path) -> Path:
    with open(path, 'wb') as file:
        file.truncate(MAX_BYTES + 1)
    return path


@pytest.mark.parametrize('kind', ['locked', 'empty', 'sparse', 'broken', 'half', 'bomb', 'nothing'])
def test_bad_input_is_refused_in_one_sentence_before_anything_is_spent(folder, tmp_path, kind):
    write_pdf(tmp_path / 'report.pdf', [['text']])
    (tmp_path / 'broken.zip').write_bytes(b'PK\x03\x04 and so on')
    (tmp_path / 'nothing.txt').write_text(' \n')
    path, words = dict(
        locked=lambda: (locked_pdf(tmp_path), 'encrypted'),
        empty=lambda: (empty_book(tmp_path / 'empty.xlsx'), 'no cell with a value'),
        sparse=lambda: (sparse(tmp_path / 'large.txt'), 'at most 1,000,000,000 are read'),
        broken=lambda: (tmp_path / 'broken.zip', 'broken'),
        half=lambda: (half_archive(tmp_path / 'half.tar.gz'), 'broken'),
        bomb=lambda: (bomb(tmp_path / 'bomb.zip'), 'unpacks to more'),
        nothing=lambda: (tmp_path / 'nothing.txt', 'no text'),
    )[kind]()
    lm = ScriptedLM(['x'])
    with pytest.raises(BadInput, match=words) as refused:
        Direct(lm)(path, 'What?')
    assert path.name in str(refused.value) and '\n' not in str(refused.value)
    assert not lm.requests


@pytest.mark.parametrize(
    'schema',
    [
        {'type': 'integer', 'minimum': 3, 'maximum': 2},
        {'type': 'no such type'},
        {'$ref': '#/$defs/missing'},
        {'$ref': 'https://example.org/schema.json'},
        'name wrong_type',
        '',
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_is_refused_before_anything_is_spent(schema):
    lm = ScriptedLM(['x'])
    with pytest.raises(BadInput) as refused:
        Direct(lm, output=schema)('text', 'What?')
    assert '\n' not in str(refused.value) and not lm.requests
