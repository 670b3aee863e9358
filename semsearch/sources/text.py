"""Plain text and source code: a file is a document, or a line of standard input is."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from semsearch.errors import InvalidArgument
from semsearch.sources.kinds import LANGUAGES, MARKDOWN, suffix_of
from semsearch.sources.lines import BOM, Line, Stream, decode, lines
from semsearch.sources.record import File, Record, failure
from semsearch.types import MAX_TEXT_BYTES, Document, Reject

STDIN = "stdin"
"""Source of the documents that came over standard input."""

_FILE_LIMIT = MAX_TEXT_BYTES + len(BOM)
_TOO_LONG = f"text: longer than {MAX_TEXT_BYTES // 2**20} MiB; split it up"

# A fence of backticks has none behind it on its line (CommonMark 0.31, section 4.5).
_FENCE_OR_HEADING = re.compile(r"^ {0,3}(?:(`{3,}(?=[^`\n]*$)|~{3,})|#[ \t]+([^\r\n]*))", re.M)


def read_text(file: File) -> Record:
    """Read a whole file as one document, its text exactly as decoded."""
    try:
        text = decode(_content(Path(file.path)), bom=True)
        return Record(_document(file, text), file.size)
    except InvalidArgument as error:
        return Record(Reject(file.path, 0, str(error)), file.size)
    except OSError as error:
        return failure(file, error)


def _content(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
        raise InvalidArgument("not a regular file")
    if status.st_size > _FILE_LIMIT:
        raise InvalidArgument(_TOO_LONG)
    with path.open("rb") as stream:
        return stream.read(_FILE_LIMIT + 1)  # it may have grown: then Document refuses it


def _document(file: File, text: str) -> Document:
    if not text or text.isspace():
        raise InvalidArgument("text: empty")
    suffix = suffix_of(file.id)
    title = heading(text) if suffix in MARKDOWN else ""
    metadata = {"language": LANGUAGES[suffix]} if suffix in LANGUAGES else {}
    return Document(id=file.id, text=text, title=title, metadata=metadata, source=file.path)


def heading(text: str) -> str:
    """The first `# heading` of a Markdown text that is not inside a code fence, else ""."""
    fence = ""
    for mark in _FENCE_OR_HEADING.finditer(text):
        if mark[1]:
            fence = _fence_after(fence, mark[1])
        elif not fence and (title := _without_closing(mark[2].strip())):
            return title
    return ""


def _fence_after(fence: str, mark: str) -> str:
    if not fence:
        return mark
    return "" if mark.startswith(fence) else fence


def _without_closing(title: str) -> str:
    """`x ##` -> `x`, but `C#` stays."""
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1].isspace() else title


def read_stdin(file: File, stream: Stream) -> Iterator[Record]:
    """Each line that is not blank is a document: the stripped line, its id made from it."""
    number = 0
    try:
        for line in lines(stream):
            number = line.number
            item = _line_item(line)
            if item is not None:
                yield Record(item, len(line.data or b""), number)
    except OSError as error:
        yield failure(file, error, read=number)


def _line_item(line: Line) -> Document | Reject | None:
    try:
        text = line.text().strip()
        if not text:
            return None
        id = "line-" + hashlib.sha256(text.encode()).hexdigest()[:16]
        return Document(id=id, text=text, source=STDIN)
    except InvalidArgument as error:
        return Reject(STDIN, line.number, str(error))
