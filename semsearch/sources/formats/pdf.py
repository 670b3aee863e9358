"""PDF: a part for each page (pypdfium2: here and nowhere else)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from semsearch.errors import DependencyMissing, InvalidArgument
from semsearch.sources.formats.part import Fault, Part, label, present, tidy

if TYPE_CHECKING:
    import pypdfium2

_PASSWORD = 4  # FPDF_ERR_PASSWORD of fpdfview.h
_SHOWN = 10


def check_installed() -> None:
    """See that PDF can be read.

    Raises:
        DependencyMissing: It cannot; names the extra.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise DependencyMissing('reading PDF needs pypdfium2: pip install "semsearch[pdf]"')


def read_pdf(path: str) -> Iterator[Part | Fault]:
    """The pages that hold text, then one fault for those that should and do not.

    Raises:
        DependencyMissing: pypdfium2 is not installed.
        InvalidArgument: The file cannot be read.
    """
    check_installed()
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD:
            raise InvalidArgument("encrypted; save it without a password") from error
        raise InvalidArgument("damaged, or no PDF at all") from error
    with closing(document):
        yield from _pages(document)


def _pages(document: pypdfium2.PdfDocument) -> Iterator[Part | Fault]:
    import pypdfium2

    count = len(document)
    facts = document.get_metadata_dict()
    title, author = label(facts.get("Title")), label(facts.get("Author"))
    scanned, damaged = _Listing(), _Listing()
    for number in range(1, count + 1):
        try:
            page = _page(document, number - 1)
        except pypdfium2.PdfiumError:
            damaged.add(number)
            continue
        if page.is_picture:
            scanned.add(number)
        if not page.text:
            continue
        yield Part(
            text=page.text,
            title=title,
            metadata=present({"page": number, "pages": count, "author": author}),
            fragment=f"page={number}",
            position=number,
            share=number / count,
        )
    if damaged.count:
        yield Fault(f"damaged: cannot read {damaged} of {count}")
    if scanned.count:
        yield Fault(
            f"no text but pictures on {scanned} of {count}; if it is a scan, run OCR over it "
            "(ocrmypdf does)"
        )


class _Page(NamedTuple):
    """Text of a page, and whether it is nothing but pictures; a blank one is neither."""

    text: str
    is_picture: bool


def _page(document: pypdfium2.PdfDocument, index: int) -> _Page:
    import pypdfium2.raw as pdfium

    with closing(document[index]) as page:
        with closing(page.get_textpage()) as content:
            text = tidy(content.get_text_range())
        if text.strip():
            return _Page(text, is_picture=False)
        pictures = page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE])
        return _Page("", is_picture=next(iter(pictures), None) is not None)


class _Listing:
    """Numbers of pages, of which the first few are named."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[int] = []

    def add(self, number: int) -> None:
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(number)

    def __str__(self) -> str:
        more = ", ..." if self.count > _SHOWN else ""
        pages = "page" if self.count == 1 else "pages"
        return f"{self.count:,} {pages} ({', '.join(map(str, self._first))}{more})"
