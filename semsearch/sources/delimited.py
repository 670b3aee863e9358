"""CSV and TSV: a header row, then a record in each row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from semsearch.errors import InvalidArgument
from semsearch.sources.fields import Fields
from semsearch.sources.lines import LINE_LIMIT, TOO_LONG, Line, lines
from semsearch.sources.record import READ_ERRORS, File, Record, failure
from semsearch.types import Document, Reject


def read_delimited(file: File, fields: Fields) -> Iterator[Record]:
    """Read every row; blank ones are skipped. Position is the line on which the row starts."""
    done = start = 0
    try:
        with Path(file.path).open("rb") as raw:
            for start, item in _items(file, fields, raw):
                before, done = done, raw.tell()
                yield Record(item, done - before, start)
    except READ_ERRORS as error:
        yield failure(file, error, done=done, read=start)


def _items(file: File, fields: Fields, raw: BinaryIO) -> Iterator[tuple[int, Document | Reject]]:
    rows = _Rows(raw, "\t" if file.kind == "tsv" else ",")
    try:
        header = rows.read()
        if header is None:
            raise InvalidArgument("empty: expected a header row")
        fields.check_header(header)
    except InvalidArgument as error:
        yield rows.start, Reject(file.path, rows.start, f"header: {error}")
        return
    while True:
        try:
            row = rows.read()
            if row is None:
                return
            item: Document | Reject = _document(fields, header, row, file.path)
        except InvalidArgument as error:
            item = Reject(file.path, rows.start, str(error))
        yield rows.start, item


def _document(fields: Fields, header: list[str], row: list[str], source: str) -> Document:
    if len(row) != len(header):
        raise InvalidArgument(f"expected {len(header)} cells as in the header, got {len(row)}")
    needed = (fields.id_name(header), fields.text_name(header))
    cells = zip(header, row, strict=True)
    return fields.document({name: cell for name, cell in cells if cell or name in needed}, source)


class _Rows:
    """Rows of a file. After a bad row the next call goes on behind it.

    Attributes:
        start: Line on which the last row began, from 1; 0 when the file has none.
    """

    def __init__(self, raw: BinaryIO, delimiter: str) -> None:
        # The limit is the csv module's own and process-wide; so it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))
        self._feed = _Feed(lines(raw))
        # Strict, or a quote that never closes would make one cell of the rest of the file.
        self._reader = csv.reader(self._feed, delimiter=delimiter, strict=True)
        self.start = 0

    def read(self) -> list[str] | None:
        """The next row that is not blank, or None at the end.

        Raises:
            InvalidArgument: The row is not CSV, not UTF-8, or too long.
        """
        row: list[str] | None = []
        while row == []:
            self._feed.begin()
            row = self._parsed()
        return row

    def _parsed(self) -> list[str] | None:
        reason = ""
        row: list[str] | None = None
        try:
            row = next(self._reader, None)
        except csv.Error as error:
            reason = _unclosed(self._feed) if self._feed.ended else f"not CSV: {error}"
        self.start = self._feed.start or self.start
        reason = self._feed.fault or reason
        if reason:
            raise InvalidArgument(reason)
        return row


class _Feed:
    """The lines given to the csv module, with what went wrong in those of the current row.

    A line that cannot be used is replaced by as many quotes as keep the csv module in step:
    it still knows whether it is inside a quoted cell, so the row can end where it ends.

    Attributes:
        start: Line on which the row began; 0 before its first line.
        last: Line that was read last.
        fault: Why the row must be refused, "" when it is good so far.
        ended: The file ended inside the row or before it.
    """

    def __init__(self, source: Iterator[Line]) -> None:
        self._lines = source
        self.last = 0
        self.begin()

    def begin(self) -> None:
        """Forget the last row."""
        self.start, self.fault, self.ended, self._size = 0, "", False, 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self.start, self.last = self.start or line.number, line.number
        self._size += len(line.data or b"")
        if line.data is None or self._size > LINE_LIMIT:
            self.fault = self.fault or f"row {TOO_LONG}"
            return '"' * ((line.quotes if line.data is None else line.data.count(b'"')) % 2)
        return self._decoded(line, line.data)

    def _decoded(self, line: Line, data: bytes | bytearray) -> str:
        try:
            return line.text()
        except InvalidArgument as error:
            where = f"line {line.number}: " if line.number != self.start else ""
            self.fault = self.fault or f"{where}{error}"
            return data.decode(errors="replace")


def _unclosed(feed: _Feed) -> str:
    return f"a quote in this row is never closed; it took lines {feed.start} to {feed.last}"
