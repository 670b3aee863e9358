"""Document formats: files that other libraries wrote, and files that nobody should have written."""

from __future__ import annotations

import io
import itertools
import mailbox
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import docx
import fpdf
import pptx
import pytest
from docx.oxml import parse_xml
from encoders import WordEncoder

import semsearch
from semsearch.errors import DependencyMissing, IngestError
from semsearch.sources import Record, Sources
from semsearch.sources.formats import worker
from semsearch.sources.formats.html import decoded, parse
from semsearch.sources.formats.part import Fault, Part
from semsearch.types import Document, Reject

MIB = 2**20


def read(*paths: Path) -> list[Record]:
    return list(Sources(paths))


def documents(*paths: Path) -> list[Document]:
    items = [record.item for record in read(*paths)]
    assert [item for item in items if isinstance(item, Reject)] == []
    return [item for item in items if isinstance(item, Document)]


def rejects(*paths: Path) -> list[tuple[int, str]]:
    items = [record.item for record in read(*paths)]
    return [(item.position, item.reason) for item in items if isinstance(item, Reject)]


def reason(path: Path) -> str:
    ((position, reason),) = rejects(path)
    assert position == 0
    return reason


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_pdf(path: Path, *pages: str, password: str = "", picture_on: int = 0) -> Path:
    pdf = fpdf.FPDF()
    pdf.set_title("On cats")
    pdf.set_author("A. Author")
    pdf.set_font("helvetica", size=12)
    if password:
        pdf.set_encryption("owner", password)
    for number, text in enumerate(pages, start=1):
        pdf.add_page()
        pdf.multi_cell(0, text=text)
        if number == picture_on:
            pdf.image(_picture(), w=20)
    path.parent.mkdir(exist_ok=True)
    pdf.output(str(path))
    return path


def _picture() -> io.BytesIO:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "png")
    stream.seek(0)
    return stream


def write_docx(path: Path) -> Path:
    file = docx.Document()
    file.core_properties.title = "The contract"
    file.core_properties.author = "B. Author"
    file.add_paragraph("Between the parties.")
    file.add_heading("Terms", level=1)
    file.add_heading("Payment", level=2)
    file.add_paragraph("Within\tthirty days.")
    table = file.add_table(rows=2, cols=2)
    for row, cells in enumerate((("item", "price"), ("cat", "5"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    file.add_heading("Notice", level=2)
    file.add_paragraph("In writing.")
    file.save(str(path))
    return path


def write_pptx(path: Path) -> Path:
    deck = pptx.Presentation()
    deck.core_properties.title = "The plan"
    deck.core_properties.author = "C. Author"
    for heading, body in (("Why", "Because"), ("", ""), ("How", "Slowly")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        assert slide.shapes.title is not None
        slide.shapes.title.text = heading
        slide.placeholders[1].text = body
    deck.slides[2].notes_slide.notes_text_frame.text = "Say it twice."
    deck.save(str(path))
    return path


def write_epub(path: Path, *chapters: str, extra: dict[str, str] | None = None) -> Path:
    items = "".join(f'<item id="c{n}" href="c%20{n}.xhtml"/>' for n in range(len(chapters)))
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    container = '<container><rootfiles><rootfile full-path="O/b.opf"/></rootfiles></container>'
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:title>Whales</dc:title><dc:creator>D. Author</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("META-INF/container.xml", container)
        file.writestr("O/b.opf", book)
        for number, text in enumerate(chapters):
            file.writestr(f"O/c {number}.xhtml", f"<html><body>{text}</body></html>")
        for name, text in (extra or {}).items():
            file.writestr(name, text)
    return path


def relations(kind: str, target: str) -> str:
    return f'<R><R Id="r1" Type="http://x/{kind}" Target="{target}"/></R>'


def message(subject: str, body: str, **headers: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ann <ann@example.org>"
    mail["To"] = 'bob@example.org, "Roe, Eve" <eve@example.org>'
    mail["Date"] = "Tue, 3 Mar 2020 10:00:00 +0200"
    mail["Subject"] = subject
    for name, value in headers.items():
        mail[name] = value
    mail.set_content(body)
    return mail


def write_mbox(path: Path, *mails: EmailMessage) -> Path:
    box = mailbox.mbox(path)
    for mail in mails:
        box.add(mail)
    box.close()
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.pdf": lambda path: write_pdf(path, "page one", "page two", "page three"),
    "a.docx": write_docx,
    "a.pptx": write_pptx,
    "a.html": lambda path: write(path, "<title>T</title><h1>One</h1><p>two"),
    "a.epub": lambda path: write_epub(path, "<h1>One</h1><p>two", "<p>three"),
    "a.eml": lambda path: write(path, bytes(message("Hello", "body"))),
    "a.mbox": lambda path: write_mbox(path, message("Hello", "body"), message("Again", "more")),
}


class TestPDF:
    def test_each_page_is_a_document(self, tmp_path: Path) -> None:
        path = write_pdf(tmp_path / "n" / "a.pdf", "Cats sit.", "Dogs\nrun.")
        assert documents(tmp_path / "n") == [
            Document(
                id=f"n/a.pdf#page={number}",
                text=text,
                title="On cats",
                metadata={"page": number, "pages": 2, "author": "A. Author"},
                source=str(path),
            )
            for number, text in ((1, "Cats sit."), (2, "Dogs\nrun."))
        ]

    def test_a_blank_page_is_no_document_and_no_fault(self, tmp_path: Path) -> None:
        found = documents(write_pdf(tmp_path / "a.pdf", "one", " ", "three"))
        assert [doc.metadata["page"] for doc in found] == [1, 3]

    def test_a_page_that_is_a_picture_is_told(self, tmp_path: Path) -> None:
        path = write_pdf(tmp_path / "a.pdf", "one", " ", picture_on=2)
        assert [record.position for record in read(path)] == [1, 0]
        assert reason(path) == (
            "no text but pictures on 1 page (2) of 2; if it is a scan, run OCR over it "
            "(ocrmypdf does)"
        )

    def test_encrypted(self, tmp_path: Path) -> None:
        path = write_pdf(tmp_path / "a.pdf", "secret", password="user")
        assert reason(path) == "encrypted; save it without a password"

    def test_without_any_text(self, tmp_path: Path) -> None:
        assert reason(write_pdf(tmp_path / "a.pdf", " ")) == "holds no text"

    def test_the_missing_library_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "n" / "a.txt", "x")
        path = write_pdf(tmp_path / "n" / "a.pdf", "x")
        hide(monkeypatch, tmp_path / "hiding", "pypdfium2")
        needs = 'reading PDF needs pypdfium2: pip install "semsearch[pdf]"'
        items = [record.item for record in read(tmp_path / "n")]
        assert (items[0], len(items)) == (Reject(str(path), 0, needs), 2)
        with pytest.raises(DependencyMissing, match=r"semsearch\[pdf\]"):
            Sources([path])


def hide(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    """Make a library impossible to find, here and in processes that are started."""
    code = (
        "import importlib.util as u\nfind = u.find_spec\n"
        f"u.find_spec = lambda name, package=None: None if name == {name!r} else find(name)\n"
    )
    write(folder / "sitecustomize.py", code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    import importlib.util as module

    find = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda one: None if one == name else find(one))


class TestWord:
    def test_each_section_is_a_document(self, tmp_path: Path) -> None:
        found = documents(write_docx(tmp_path / "a.docx"))
        assert [(doc.id, doc.text, doc.metadata.get("heading")) for doc in found] == [
            ("a.docx#section=1", "Between the parties.", None),
            (
                "a.docx#section=2",
                "Terms\n\nPayment\n\nWithin\tthirty days.\n\nitem | price\ncat | 5",
                "Terms > Payment",
            ),
            ("a.docx#section=3", "Notice\n\nIn writing.", "Terms > Notice"),
        ]
        assert {doc.title for doc in found} == {"The contract"}
        assert [doc.metadata["section"] for doc in found] == [1, 2, 3]
        assert {(doc.metadata["sections"], doc.metadata["author"]) for doc in found} == {
            (3, "B. Author")
        }

    def test_what_stands_in_boxes_controls_and_revisions_is_read(self, tmp_path: Path) -> None:
        w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        run = "<w:r><w:t>{}</w:t></w:r>"
        file = docx.Document()
        file.element.body.insert(
            0,
            parse_xml(
                f"<w:sdt {w}><w:sdtContent><w:p>{run.format('in a control')}<w:ins>"
                f"{run.format(', inserted')}</w:ins><w:del><w:r><w:delText>gone</w:delText></w:r>"
                f"</w:del></w:p></w:sdtContent></w:sdt>"
            ),
        )
        file.element.body.insert(
            1,
            parse_xml(
                f"<w:p {w}>{run.format('outside')}<w:r><w:pict><w:txbxContent><w:p>"
                f"{run.format('in a box')}</w:p></w:txbxContent></w:pict></w:r></w:p>"
            ),
        )
        file.save(str(tmp_path / "a.docx"))
        (found,) = documents(tmp_path / "a.docx")
        assert found.text == "in a control, inserted\n\nin a box\n\noutside"

    def test_strict_files_with_footnotes_and_moved_text(self, tmp_path: Path) -> None:
        strict = 'xmlns="http://purl.oclc.org/ooxml/wordprocessingml/main"'
        with zipfile.ZipFile(tmp_path / "a.docx", "w") as file:
            file.writestr("_rels/.rels", relations("officeDocument", "/word/document2.xml"))
            file.writestr("word/_rels/document2.xml.rels", relations("footnotes", "f.xml"))
            moved = "<moveFrom><r><t>twice</t></r></moveFrom>"
            lines = "".join(f"<p><r><t>{text}</t></r></p>" for text in ("one", "two"))
            file.writestr("word/document2.xml", f"<d {strict}>{lines}<p>{moved}</p></d>")
            file.writestr("word/f.xml", f"<f {strict}><p><r><t>a note</t></r></p></f>")
        assert documents(tmp_path / "a.docx")[0].text == "one\n\ntwo\n\na note"

    def test_headings_by_a_style_of_ones_own(self, tmp_path: Path) -> None:
        file = docx.Document()
        style = file.styles.add_style("Kapitel", 1)
        style.base_style = file.styles["Heading 1"]
        for name, text in (("Title", "The book"), ("Kapitel", "One"), ("Normal", "Text.")):
            file.add_paragraph(text, style=name)
        file.save(str(tmp_path / "a.docx"))
        found = documents(tmp_path / "a.docx")
        assert [(doc.title, doc.metadata.get("heading")) for doc in found] == [
            ("The book", None),
            ("The book", "One"),
        ]

    def test_encrypted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500))
        assert reason(path).startswith("encrypted, or of a kind before 2007; save it anew")


class TestPowerPoint:
    def test_each_slide_is_a_document(self, tmp_path: Path) -> None:
        found = documents(write_pptx(tmp_path / "a.pptx"))
        assert [(doc.id, doc.text, doc.metadata) for doc in found] == [
            (
                f"a.pptx#slide={number}",
                text,
                {"slide": number, "slides": 3, "heading": heading, "author": "C. Author"},
            )
            for number, heading, text in (
                (1, "Why", "Why\nBecause"),
                (3, "How", "How\nSlowly\n\nSay it twice."),
            )
        ]
        assert found[0].title == "The plan"

    def test_tables_and_groups(self, tmp_path: Path) -> None:
        deck = pptx.Presentation()
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        table = slide.shapes.add_table(1, 2, 0, 0, 100, 100).table
        table.cell(0, 0).text, table.cell(0, 1).text = "a", "b"
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(0, 0, 10, 10).text_frame.text = "grouped"
        deck.save(str(tmp_path / "a.pptx"))
        assert documents(tmp_path / "a.pptx")[0].text == "a | b\ngrouped"


class TestHTML:
    @pytest.mark.parametrize(
        ("markup", "text"),
        [
            ("<p>a\n  b</p>c", "a b\n\nc"),
            ("<p>a<b>b</b> <i>c</i>", "ab c"),
            ("<script>x<y</script><style>p{}</style><nav>menu</nav>a", "a"),
            ("<nav>menu<p>never closed", "menu\n\nnever closed"),
            ("a<br>b<hr>c", "a\nb\nc"),
            ("<table><tr><td>a<td>b<tr><td>c</table>", "a | b\nc"),
            ("<ul><li>a<li>b</ul>", "a\nb"),
            ("<pre>a\n  b\n</pre>c", "a\n  b\n\nc"),
            ("&lt;p&gt; &amp; &eacute;&#233;&#0;", "<p> & éé\ufffd"),
            ("<!-- no --><![CDATA[x]]>a", "a"),
            ("<p>In C: arr<![0]> and <![x]</p> <![foo bar]>a", "In C: arr and a"),
        ],
    )
    def test_text(self, markup: str, text: str) -> None:
        assert parse(markup).text == text

    def test_document(self, tmp_path: Path) -> None:
        head = "<head><meta name=Author content=Eve><title>A\n page</title></head>"
        path = write(tmp_path / "a.HTM", f"<html>{head}<body><h1>H</h1>x</body></html>")
        assert documents(path) == [
            Document(
                id="a.HTM",
                text="H\n\nx",
                title="A page",
                metadata={"author": "Eve"},
                source=str(path),
            )
        ]

    def test_a_heading_is_the_title_where_there_is_none(self, tmp_path: Path) -> None:
        assert documents(write(tmp_path / "a.html", "x<h2>H</h2>"))[0].title == "H"

    @pytest.mark.parametrize(
        "data",
        [
            "é".encode(),
            "\ufeffé".encode(),
            "é".encode("utf-16"),
            b'<meta charset="iso-8859-1">\xe9',
            b'<?xml version="1.0" encoding="latin1"?>\xe9',
            b'<meta http-equiv=content-type content="text/html; charset=windows-1252">\xe9',
        ],
    )
    def test_encodings(self, data: bytes) -> None:
        assert parse(decoded(data)).text == "é"

    def test_wrong_encoding(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.html", b"<p>\xe9 is Latin-1")
        assert reason(path).startswith("not in its encoding, utf-8: ")


class TestEPUB:
    def test_each_chapter_is_a_document(self, tmp_path: Path) -> None:
        path = write_epub(tmp_path / "a.epub", "<h1>One</h1><p>Call me.", "<img>", "<p>End.")
        found = documents(path)
        assert [(doc.id, doc.text, doc.metadata) for doc in found] == [
            (
                "a.epub#chapter=1",
                "One\n\nCall me.",
                {"chapter": 1, "chapters": 3, "heading": "One", "author": "D. Author"},
            ),
            ("a.epub#chapter=3", "End.", {"chapter": 3, "chapters": 3, "author": "D. Author"}),
        ]
        assert found[0].title == "Whales"

    def test_protected_chapter(self, tmp_path: Path) -> None:
        locked = '<e><CipherReference URI="O/c%200.xhtml"/></e>'
        extra = {"META-INF/encryption.xml": locked}
        path = write_epub(tmp_path / "a.epub", "noise", "fine", extra=extra)
        assert rejects(path) == [(1, "chapter 1: protected against copying (DRM)")]
        assert len(read(path)) == 2


class TestMail:
    def test_a_message_is_a_document(self, tmp_path: Path) -> None:
        mail = message("Re: Käse", "First line.\nSecond.", **{"Message-ID": "<1@example.org>"})
        mail.add_attachment(b"x", maintype="application", subtype="pdf", filename="offer.pdf")
        path = write(tmp_path / "a.eml", bytes(mail))
        assert documents(path) == [
            Document(
                id="a.eml",
                text="First line.\nSecond.",
                title="Re: Käse",
                metadata={
                    "from": "Ann <ann@example.org>",
                    "to": ["bob@example.org", "Roe, Eve <eve@example.org>"],
                    "date": "2020-03-03T08:00:00+00:00",
                    "message_id": "<1@example.org>",
                    "attachments": ["offer.pdf"],
                },
                source=str(path),
            )
        ]

    @pytest.mark.parametrize("receivers", ["a, " * 200_000, "(" * 100_000, "(" * 10_000, ":;" * 99])
    def test_receivers_of_any_form_are_no_reason_to_refuse_a_message(
        self, tmp_path: Path, receivers: str
    ) -> None:
        path = write(tmp_path / "a.eml", f"To: {receivers}\nSubject: s\n\nThe text.")
        (found,) = documents(path)
        assert found.text == "The text."

    def test_only_html(self, tmp_path: Path) -> None:
        mail = message("S", "")
        mail.set_content("<p>a</p><p>b", subtype="html")
        assert documents(write(tmp_path / "a.eml", bytes(mail)))[0].text == "a\n\nb"

    def test_unknown_charset_and_bad_date(self, tmp_path: Path) -> None:
        head = b"From: a\nDate: someday\nContent-Type: text/plain; charset=nonsense\n\n"
        (found,) = documents(write(tmp_path / "a.eml", head + "é".encode()))
        assert (found.text, found.metadata) == ("é", {"from": "a"})

    def test_no_message(self, tmp_path: Path) -> None:
        assert reason(write(tmp_path / "a.eml", "just text")).startswith("no message: expected")

    def test_mailbox(self, tmp_path: Path) -> None:
        bodies = ["one", "From here on it is quoted.\n\nFrom there too.", "three"]
        mails = [message(f"S{n}", body) for n, body in enumerate(bodies)]
        records = read(write_mbox(tmp_path / "a.mbox", *mails))
        found = [record.item for record in records if isinstance(record.item, Document)]
        assert [(doc.id, doc.title, doc.metadata["message"]) for doc in found] == [
            ("a.mbox#message=1", "S0", 1),
            ("a.mbox#message=2", "S1", 2),
            ("a.mbox#message=3", "S2", 3),
        ]
        assert [doc.text for doc in found] == bodies
        assert [record.position for record in records] == [1, 2, 3]

    def test_no_mailbox(self, tmp_path: Path) -> None:
        assert reason(write(tmp_path / "a.mbox", "x")).startswith("no mailbox: expected its first")


class TestAnyFormat:
    @pytest.mark.parametrize("name", WRITERS)
    def test_bytes_add_up_to_the_size(self, tmp_path: Path, name: str) -> None:
        path = WRITERS[name](tmp_path / name)
        assert sum(record.bytes for record in read(path)) == path.stat().st_size

    @pytest.mark.parametrize("name", WRITERS)
    def test_a_second_pass_reads_the_same(self, tmp_path: Path, name: str) -> None:
        sources = Sources([WRITERS[name](tmp_path / name)])
        assert list(sources) == list(sources) != []

    def test_bad_files_are_rejects_and_good_ones_are_read(self, tmp_path: Path) -> None:
        for name, writer in WRITERS.items():
            path = writer(tmp_path / name)
            data = path.read_bytes()
            stem, suffix = path.stem, path.suffix
            write(tmp_path / f"{stem}-empty{suffix}", b"")
            write(tmp_path / f"{stem}-nul{suffix}", bytes(1000))
            write(tmp_path / f"{stem}-half{suffix}", data[: len(data) // 2])
            for other in (".pdf", ".docx", ".pptx", ".epub"):
                if other != suffix:
                    write(tmp_path / f"{stem}-was{suffix.replace('.', '-')}{other}", data)
        items = [record.item for record in read(tmp_path)]
        good = {item.source for item in items if isinstance(item, Document)}
        assert {str(tmp_path / name) for name in WRITERS} <= good
        bad = [item for item in items if isinstance(item, Reject)]
        wrong = [item for item in bad if "-was-" in item.source or "-empty" in item.source]
        assert len(wrong) == len(WRITERS) * 5 - 4
        assert not [item for item in bad if "crashed" in item.reason or "longer" in item.reason]


def bomb(name: str, size: int, head: str, filling: str, tail: str) -> Callable[[Path], Path]:
    """A copy of a good package in which one part is a few MB of one thing, well packed."""

    def written(path: Path) -> Path:
        good = WRITERS[f"a{path.suffix}"](path.with_name(f"good{path.suffix}"))
        with (
            zipfile.ZipFile(good) as source,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for one in source.namelist():
                if one != name:
                    target.writestr(one, source.read(one))
            with target.open(name, "w", force_zip64=True) as stream:
                stream.write(head.encode())
                piece = filling.encode() * (MIB // len(filling.encode()))
                for _ in range(size):
                    stream.write(piece)
                stream.write(tail.encode())
        good.unlink()
        return path

    return written


LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {x} "{f"&{y};" * 20}">' for y, x in zip("abcdefg", "bcdefgh", strict=True))
    + "]>"
)
DOCUMENT = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'


def pdf_with(*objects: str) -> bytes:
    """A PDF of objects as given, the first of which is its catalog."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    out += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF".encode()
    return bytes(out)


CATALOG = "<</Type/Catalog/Pages 2 0 R>>"
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "huge.docx": (
        bomb("word/document.xml", 66, DOCUMENT, " ", "</w:document>"),
        "'word/document.xml' in it unpacks to more than 64 MiB",
    ),
    "huge.pptx": (
        bomb("ppt/slides/slide1.xml", 66, "<a>", " ", "</a>"),
        "'ppt/slides/slide1.xml' in it unpacks to more than 64 MiB",
    ),
    "huge.epub": (
        bomb("O/c 0.xhtml", 66, "<p>", " ", ""),
        "'O/c 0.xhtml' in it unpacks to more than 64 MiB",
    ),
    "laughs.docx": (
        bomb("word/document.xml", 1, f"{LAUGHS}{DOCUMENT}<w:t>&h;</w:t>", " ", "</w:document>"),
        "limit on input amplification factor",
    ),
    "outside.docx": (
        bomb(
            "word/document.xml",
            0,
            f'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>{DOCUMENT}<w:t>&x;</w:t>',
            " ",
            "</w:document>",
        ),
        "undefined entity",
    ),
    "nested.docx": (
        bomb("word/document.xml", 2, DOCUMENT, "<w:p>", ""),
        "damaged: nested deeper than 1,000 levels",
    ),
    "kids.pdf": (
        lambda path: write(path, pdf_with(CATALOG, "<</Type/Pages/Count 1/Kids[2 0 R]>>")),
        "damaged: cannot read 1 page (1) of 1",
    ),
    "count.pdf": (
        lambda path: write(path, pdf_with(CATALOG, "<</Type/Pages/Count 90000000/Kids[]>>")),
        "damaged, or no PDF at all",
    ),
    "arrays.pdf": (
        lambda path: write(path, pdf_with(CATALOG, "[" * 10**6)),
        "damaged, or no PDF at all",
    ),
}


class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_is_refused_within_bounds(self, tmp_path: Path, name: str) -> None:
        writer, expected = HOSTILE[name]
        path = writer(tmp_path / name)
        began = time.monotonic()
        ((_, found),) = rejects(path)
        assert expected in found
        assert time.monotonic() - began < 30

    def test_depth_of_html_does_not_matter(self, tmp_path: Path) -> None:
        nested = "<div>" * 100_000 + "deep" + "</div>" * 100_000
        assert documents(write(tmp_path / "a.html", nested))[0].text == "deep"

    def test_a_page_of_blanks(self, tmp_path: Path) -> None:
        assert reason(write(tmp_path / "a.html", "<p>" + " " * 50 * MIB)) == "holds no text"

    def test_a_text_that_is_too_long(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.html", "x" * 17 * MIB)
        assert reason(path) == "text: longer than 16 MiB; split it up"

    def test_a_file_that_became_a_pipe(self, tmp_path: Path) -> None:
        sources = Sources([write(tmp_path / "a.html", "x")])
        (tmp_path / "a.html").unlink()
        os.mkfifo(tmp_path / "a.html")
        gone = Reject(str(tmp_path / "a.html"), 0, "not a regular file")
        assert [record.item for record in sources] == [gone]

    def test_text_without_end(self) -> None:
        pages = itertools.repeat(Part("x" * MIB))
        *good, last = worker._within_limits(pages, size=3 * MIB)
        assert len(good) == 67
        assert last == Fault("holds more than 67 MiB of text; split it up")

    def test_parts_without_end(self) -> None:
        parts = list(worker._within_limits(itertools.repeat(Part("x")), size=0))
        assert len(parts) == worker.PARTS_LIMIT + 1
        assert parts[-1] == Fault("holds more than 100,000 parts; split it up")

    def test_a_file_that_vanished(self, tmp_path: Path) -> None:
        sources = Sources([write(tmp_path / "a.html", "x")])
        (tmp_path / "a.html").unlink()
        gone = Reject(str(tmp_path / "a.html"), 0, "cannot be read: No such file or directory")
        assert [record.item for record in sources] == [gone]


SABOTAGE = """
import faulthandler, html.parser, os, time
later = faulthandler.dump_traceback_later
faulthandler.dump_traceback_later = lambda seconds, **options: later(seconds / 60, **options)
feed = html.parser.HTMLParser.feed
def sabotaged(self, data):
    if "sleeps" in data: time.sleep(100)
    if "loops" in data:
        while True: pass
    if "crashes" in data: os.abort()
    if "swells" in data: bytearray(2**40)
    if "prints" in data: print("noise", flush=True)
    feed(self, data)
html.parser.HTMLParser.feed = sabotaged
"""


class TestChildProcess:
    """The time limit of these tests is a second, not a minute."""

    @pytest.fixture(autouse=True)
    def sabotaged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            "PYTHONPATH", str(write(tmp_path / "s/sitecustomize.py", SABOTAGE).parent)
        )

    @pytest.mark.parametrize(
        ("deed", "expected"),
        [
            ("sleeps", "parsing it took longer than 60 s"),
            ("loops", "parsing it took longer than 60 s"),
            ("crashes", "the parser crashed on it (exit status -6)"),
            ("swells", "needs more than 2 GiB of memory"),
        ],
    )
    def test_what_a_file_does_to_it_is_told_and_the_next_is_read(
        self, tmp_path: Path, deed: str, expected: str
    ) -> None:
        bad, good = write(tmp_path / "a.html", f"it {deed}"), write(tmp_path / "b.html", "fine")
        assert [record.item for record in read(bad, good)] == [
            Reject(str(bad), 0, expected),
            Document(id="b.html", text="fine", source=str(good)),
        ]

    def test_what_came_before_is_kept(self, tmp_path: Path) -> None:
        items = [record.item for record in read(write_epub(tmp_path / "a.epub", "one", "loops"))]
        kept = "parsing it took longer than 60 s; what came before was read"
        assert isinstance(items[0], Document)
        assert items[1:] == [Reject(str(tmp_path / "a.epub"), 0, kept)]

    def test_what_it_prints_does_no_harm(self, tmp_path: Path) -> None:
        assert documents(write(tmp_path / "a.html", "it prints"))[0].text == "it prints"

    def test_the_time_is_its_own_not_that_of_who_reads(self, tmp_path: Path) -> None:
        pages = [f"{n} " + "x" * 100_000 for n in range(4)]
        count = 0
        for record in Sources([write_epub(tmp_path / "a.epub", *pages)]):
            assert isinstance(record.item, Document)
            time.sleep(0.6)
            count += 1
        assert count == 4

    def test_it_ends_with_the_pass(self, tmp_path: Path) -> None:
        before = children()
        passing = iter(Sources([write_epub(tmp_path / "a.epub", *["x" * MIB] * 9)]))
        next(passing)
        assert len(children() - before) == 1
        passing.close()  # type: ignore[attr-defined]
        assert children() == before

    def test_another_is_started_when_the_system_ended_it(self, tmp_path: Path) -> None:
        before = children()
        paths = [write(tmp_path / name, "fine") for name in ("a.html", "b.html", "c.html")]
        for record in Sources(paths):
            assert isinstance(record.item, Document)
            for child in children() - before:
                os.kill(int(child), signal.SIGKILL)
                time.sleep(0.1)

    def test_no_module_of_the_folder_one_stands_in_is_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "json.py", "raise SystemExit")
        monkeypatch.chdir(tmp_path)
        assert len(documents(write(tmp_path / "a.html", "fine"))) == 1

    def test_text_alone_starts_none(self, tmp_path: Path) -> None:
        before = children()
        for _ in Sources([write(tmp_path / "a.txt", "x")]):
            assert children() == before


def children() -> set[str]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,ppid=,args=", "-A"], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return {row[0] for row in rows if row[1] == str(os.getpid()) and "formats.worker" in row[2]}


class TestSourceCode:
    def test_it_is_text_with_a_language(self, tmp_path: Path) -> None:
        code = "def f():\r\n\treturn 1\n"
        write(tmp_path / "n" / "lib" / "a.PY", code)
        assert documents(tmp_path / "n") == [
            Document(
                id="n/lib/a.PY",
                text=code,
                metadata={"language": "python"},
                source=str(tmp_path / "n" / "lib" / "a.PY"),
            )
        ]

    def test_empty_modules_and_installed_packages_are_passed_over(self, tmp_path: Path) -> None:
        write(tmp_path / "pkg" / "__init__.py", "")
        write(tmp_path / "node_modules" / "left-pad" / "index.js", "x")
        write(tmp_path / "env" / "pyvenv.cfg", "home = /usr/bin")
        write(tmp_path / "env" / "lib" / "a.py", "x")
        sources = Sources([tmp_path])
        assert list(sources) == []
        assert sources.skipped == {"empty": 1, "installed packages": 2}


class TestWhatIsNotRead:
    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.txt.gz", "a.7z", "a.RAR"])
    def test_archives(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / name, "x")
        with pytest.raises(IngestError, match="is packed; unpack it and name the folder"):
            Sources([path])
        assert sum(Sources([tmp_path]).skipped.values()) == 1

    @pytest.mark.parametrize(("name", "instead"), [("a.doc", ".docx"), ("a.PPT", ".pptx")])
    def test_old_office(self, tmp_path: Path, name: str, instead: str) -> None:
        with pytest.raises(IngestError, match=f"save it as {instead}"):
            Sources([write(tmp_path / name, "x")])


def test_a_hit_says_its_page_and_filters_see_it(tmp_path: Path) -> None:
    write_pdf(tmp_path / "n" / "a.pdf", "the cat sat", "the cat ran", "the dog slept")
    with semsearch.create(tmp_path / "index", encoder=WordEncoder()) as index:
        report = index.ingest(tmp_path / "n")
        assert (report.added, report.rejected) == (3, 0)
        (hit,) = index.search("cat", k=5, where="page >= 2 and page < 3")
        assert (hit.id, hit.metadata["page"], hit.text) == ("n/a.pdf#page=2", 2, "the cat ran")
        assert hit.title == "On cats"
        assert index.ingest(tmp_path / "n").unchanged == 3
