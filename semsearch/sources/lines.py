"""Lines of bytes in bounded memory, and their decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from semsearch.errors import InvalidArgument
from semsearch.types import MAX_TEXT_BYTES

LINE_LIMIT = MAX_TEXT_BYTES + 2**20
"""Longest line that is kept, in bytes: the longest text and room for the fields beside it."""

TOO_LONG = f"longer than {LINE_LIMIT // 2**20} MiB; split it up"

BOM = b"\xef\xbb\xbf"

_PIECE = 2**16


class Stream(Protocol):
    """What lines are read from: a file, a gzip file, standard input."""

    def readline(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, up to and with the next newline; empty at the end."""


class Line(NamedTuple):
    r"""One line, which only `\n` ends.

    Attributes:
        number: From 1.
        data: Its bytes with the newline; None when it was over the limit and not kept.
        quotes: How many double quotes a line that was not kept had.
    """

    number: int
    data: bytes | bytearray | None
    quotes: int = 0

    def text(self) -> str:
        """The line as text with its newline, without the byte order mark of a first line.

        Raises:
            InvalidArgument: It is too long or not UTF-8.
        """
        if self.data is None:
            raise InvalidArgument(f"line {TOO_LONG}")
        return decode(self.data, bom=self.number == 1)


def lines(stream: Stream) -> Iterator[Line]:
    """Every line of a stream; never holds more than `LINE_LIMIT` bytes and a piece."""
    number = 0
    while piece := stream.readline(_PIECE):
        number += 1
        if piece.endswith(b"\n") or len(piece) < _PIECE:
            yield Line(number, piece)
        else:
            yield _long_line(stream, number, piece)


def _long_line(stream: Stream, number: int, piece: bytes) -> Line:
    data = bytearray(piece)
    while piece and not piece.endswith(b"\n") and len(data) <= LINE_LIMIT:
        piece = stream.readline(_PIECE)
        data += piece
    if len(data) <= LINE_LIMIT:
        return Line(number, data)
    return Line(number, None, data.count(b'"') + _skip(stream, piece))


def _skip(stream: Stream, piece: bytes) -> int:
    """Read on to the end of the line; return how many double quotes went by."""
    quotes = 0
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(_PIECE)
        quotes += piece.count(b'"')
    return quotes


def decode(data: bytes | bytearray, *, bom: bool) -> str:
    """Decode UTF-8 exactly; with `bom`, drop a leading byte order mark.

    Raises:
        InvalidArgument: Not UTF-8; names the offset of the first bad byte, from 0.
    """
    start = len(BOM) if bom and data.startswith(BOM) else 0
    try:
        return str(memoryview(data)[start:], "utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        raise InvalidArgument(f"invalid UTF-8 at byte offset {offset}; convert it first") from error
