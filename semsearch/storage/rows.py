"""Rows of the catalog's tables, and the checksum that each of them carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Table

from semsearch.storage import schema
from semsearch.storage.checksum import older_row_checksum, row_checksum
from semsearch.types import Span


@dataclass(frozen=True, slots=True)
class State:
    """The one row that every commit rewrites."""

    version: int
    next_segment: int
    next_chunk: int
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """What the catalog records of a segment: its chunk keys are within [first, last].

    Attributes:
        ends: `ends_checksum` of the Arrow file, `index_ends` of the derived one.
    """

    number: int
    first: int
    last: int
    rows: int
    dead: int
    bytes: int
    sha256: str
    ends: str
    kind: str = "exact"
    index_bytes: int = 0
    index_sha256: str = ""
    index_ends: str = ""


class DocumentRow(NamedTuple):
    """A document without its text; not `intact`: a value of the row was damaged."""

    key: int
    id: str
    title: str
    metadata: str
    source: str | None
    hash: bytes
    encoded: bool
    intact: bool = True


class ChunkRow(NamedTuple):
    """A chunk as stored: see `schema.chunks` for how pieces make up the text."""

    key: int
    document: int
    ordinal: int
    start: int
    length: int
    piece: str
    intact: bool = True

    @property
    def span(self) -> Span:
        """Characters of the document's text."""
        return Span(self.start, self.start + self.length)

    @property
    def passage(self) -> str:
        """The chunk's text."""
        offset = self.start if self.ordinal == 0 else 0
        return self.piece[offset : offset + self.length]


class FoundRow(NamedTuple):
    """A chunk and the document it is of; None when the catalog has lost it."""

    chunk: ChunkRow
    document: DocumentRow | None


def sealed(table: Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table with their checksums; of what else they hold only its columns are kept."""
    names = [column.name for column in table.columns if column is not table.c.checksum]
    values = [tuple(_as_read(row[name]) for name in names) for row in rows]
    return [{**dict(zip(names, row, strict=True)), "checksum": row_checksum(row)} for row in values]


def _as_read(value: Any) -> Any:
    """A value as SQLite will give it back: a text or a number of no class derived from them."""
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) else value


def intact(row: tuple[Any, ...]) -> bool:
    """Whether a row, its checksum last, is as it was written."""
    values, kept = row[:-1], row[-1]
    return bool(row_checksum(values) == kept or older_row_checksum(values) == kept)


def document_row(row: tuple[Any, ...]) -> DocumentRow:
    """A row of `schema.documents`."""
    return DocumentRow._make((*row[:-1], intact(row)))


def chunk_row(row: tuple[Any, ...]) -> ChunkRow:
    """A row of `schema.chunks`."""
    return ChunkRow._make((*row[:-1], intact(row)))


_CHUNK_COLUMNS = len(schema.chunks.columns)


def found_row(row: tuple[Any, ...]) -> FoundRow:
    """A row of `schema.chunks` and one of `schema.documents` (NULLs when there is none)."""
    chunk, document = row[:_CHUNK_COLUMNS], row[_CHUNK_COLUMNS:]
    return FoundRow(chunk_row(chunk), None if document[0] is None else document_row(document))
