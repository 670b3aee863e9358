"""Rows of the catalog's tables as they are read, each with its checksum last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

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


class FoundRow(NamedTuple):
    """A chunk beside the document it is of, all columns of both: what a hit is made of.

    Where the catalog has lost the document, its columns are None.
    """

    key: int
    document_key: int
    ordinal: int
    start: int
    length: int
    piece: str
    checksum: bytes
    key_of_document: int | None
    id: str
    title: str
    metadata: str
    source: str | None
    hash: bytes
    encoded: bool
    checksum_of_document: bytes

    @property
    def damage(self) -> str | None:
        """What is wrong with it, if anything."""
        if not intact(self[:_CHUNK_COLUMNS]):
            return "a chunk that was found is damaged"
        if self.key_of_document is None or not intact(self[_CHUNK_COLUMNS:]):
            return "a document that was found is damaged or missing"
        return None


_CHUNK_COLUMNS = FoundRow._fields.index("key_of_document")


def span_of(row: ChunkRow | FoundRow) -> Span:
    """Where the text of a chunk stands in its document's."""
    return Span(row.start, row.start + row.length)


def passage_of(row: ChunkRow | FoundRow) -> str:
    """The text of a chunk."""
    offset = row.start if row.ordinal == 0 else 0
    return row.piece[offset : offset + row.length]


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
