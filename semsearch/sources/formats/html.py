"""HTML: the text that a reader of the page sees, block by block."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from semsearch.errors import InvalidArgument
from semsearch.sources.formats.package import UNPACKED_LIMIT
from semsearch.sources.formats.part import Part, label, present, tidy

# Navigation is no content by HTML's own definition, nor is what a script or a form needs.
_LEFT_OUT = {
    "script", "style", "template", "noscript", "svg", "nav", "select", "button", "iframe",
    "object", "canvas",
}  # fmt: skip
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details",
    "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "html", "legend", "li", "main", "menu", "ol",
    "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "title", "tr",
    "ul",
}  # fmt: skip
_APART = {
    "h1", "h2", "h3", "h4", "h5", "h6", "p", "pre", "blockquote", "table", "ul", "ol", "dl",
    "figure", "section",
}  # fmt: skip
_HEADINGS = ("h1", "h2", "h3")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says.

    Attributes:
        text: Its text, blocks on lines of their own.
        title: Its `<title>`, or "".
        heading: Its first heading, or "".
        author: Its `<meta name="author">`, or "".
    """

    text: str
    title: str
    heading: str
    author: str


def read_html(path: str) -> Iterator[Part]:
    """The one part of a page.

    Raises:
        InvalidArgument: It is too large, empty, or not in its encoding.
    """
    with Path(path).open("rb") as stream:
        data = stream.read(UNPACKED_LIMIT + 1)
    if len(data) > UNPACKED_LIMIT:
        raise InvalidArgument(f"longer than {UNPACKED_LIMIT // 2**20} MiB; split it up")
    page = parse(decoded(data))
    if page.text:
        yield Part(page.text, page.title or page.heading, present({"author": page.author}))


def decoded(data: bytes) -> str:
    """The markup as text, by its byte order mark, its declaration, or UTF-8.

    Raises:
        InvalidArgument: It is not in that encoding.
    """
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except (UnicodeError, ValueError) as error:
        raise InvalidArgument(f"not in its encoding, {encoding}: {error}"[:200]) from error


def _encoding(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return "utf-8-sig" if encoding == "utf-8" else encoding
    declared = _CHARSET.search(data[:2048])
    try:
        name = codecs.lookup(declared[1].decode("ascii")).name if declared else "utf-8"
    except (LookupError, UnicodeError):
        return "utf-8"
    # As browsers do: pages that say Latin-1 are Windows-1252, and a declaration that could be
    # read as ASCII cannot be in UTF-16.
    if name in ("iso8859-1", "ascii"):
        return "cp1252"
    return "utf-8" if name.startswith("utf-16") else name


def parse(markup: str) -> Page:
    """The text of a page."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader.page()


class _Reader(HTMLParser):
    """Gathers lines. It keeps no tree, so no depth of nesting can hurt it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line: list[str] = []
        self._left_out: list[tuple[str, int]] = []  # what is open, and the line it began on
        self._begun: dict[str, int] = {}  # the line on which the title or a heading began
        self._verbatim = 0
        self._title = self._heading = self._author = ""

    def page(self) -> Page:
        """What was gathered."""
        self._end_line()
        text = tidy("\n".join(self._lines))
        return Page(text, label(self._title), label(self._heading), label(self._author))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        if tag in _LEFT_OUT:
            self._end_line()
            self._left_out.append((tag, len(self._lines)))
        elif tag in _BLOCKS:
            self._break(tag)
            self._begun[tag] = len(self._lines)
            self._verbatim += tag == "pre"
        elif tag == "br":
            self._end_line()
        elif tag in ("td", "th") and "".join(self._line).strip():
            self._line.append(" | ")
        elif tag == "meta":
            self._meta(dict(attrs))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Skip `<![...]`; what is none is a comment, as to browsers."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i, report)

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag in _LEFT_OUT:
            self._drop(tag)
        elif tag in _BLOCKS:
            self._end_line()
            if tag == "title" or tag in _HEADINGS:
                self._name(tag, self._begun.pop(tag, len(self._lines)))
            self._break(tag)
            self._verbatim = max(0, self._verbatim - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Take text, its references resolved already."""
        if not self._verbatim:
            self._line.append(data)
            return
        *lines, last = data.split("\n")
        for line in lines:
            self._line.append(line)
            self._end_line()
        self._line.append(last)

    def _meta(self, attributes: dict[str, str | None]) -> None:
        if (attributes.get("name") or "").lower() == "author":
            self._author = self._author or attributes.get("content") or ""

    def _drop(self, tag: str) -> None:
        """Forget what stood in an element; one that never ends is kept, for it may be a slip."""
        self._end_line()
        for place in range(len(self._left_out) - 1, -1, -1):
            if self._left_out[place][0] == tag:
                del self._lines[self._left_out[place][1] :]
                del self._left_out[place:]
                return

    def _name(self, tag: str, begun: int) -> None:
        if self._left_out:
            return
        text = " ".join(self._lines[begun:])
        if tag == "title":  # it stands in the head of the page, not in its text
            self._title = self._title or text
            del self._lines[begun:]
        else:
            self._heading = self._heading or text

    def _break(self, tag: str) -> None:
        self._end_line()
        if tag in _APART and self._lines and self._lines[-1]:
            self._lines.append("")

    def _end_line(self) -> None:
        text = "".join(self._line)
        self._line = []
        if not self._verbatim:
            text = " ".join(text.split())
        if text or self._verbatim:
            self._lines.append(text)
