"""Tables of the catalog, as they are made and written."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
)

from semsearch.storage.checksum import row_checksum

metadata = MetaData()

# `checksum`, the last column of a table, is over all the others: SQLite's own check does not see a
# changed byte in a value, only where an index repeats it (which covers `deletions`).

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)

# One row. `version` grows by one in every commit: it is how a reader sees that it is behind.
state = Table(
    "state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("next_segment", Integer, nullable=False),
    Column("next_chunk", Integer, nullable=False),
    Column("documents", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("source", Text),
    Column("hash", LargeBinary, nullable=False),
    # 1: the encoder made its vectors, so they can be made again; 0: the caller gave them.
    Column("encoded", Integer, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)

# The pieces of one document, in order, are its whole text: each runs from the start of its chunk
# to the start of the next, the first from 0. So a text is stored once, and a hit reads only its
# own piece: the passage is the first `length` characters from `start` on.
chunks = Table(
    "chunks",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("document", Integer, ForeignKey("documents.key"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("length", Integer, nullable=False),
    Column("piece", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)
Index("chunks_by_document", chunks.c.document, chunks.c.ordinal, unique=True)

# Ranges [first, last] of chunk keys never overlap, so a key names its segment without a file.
segments = Table(
    "segments",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("dead", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("ends", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("index_bytes", Integer, nullable=False),
    Column("index_sha256", Text, nullable=False),
    Column("index_ends", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)

# Chunks whose vectors still lie in a segment but must not be found. `seq` only grows
# (AUTOINCREMENT), so a reader fetches just what is new to it.
deletions = Table(
    "deletions",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("chunk", Integer, nullable=False, unique=True),
    sqlite_autoincrement=True,
)

rejects = Table(
    "rejects",
    metadata,
    Column("source", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)


def listed() -> Select[Any]:
    """The values of a JSON list that is bound to `values`: as many as there are."""
    return select(text("value")).select_from(func.json_each(bindparam("values")))


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
