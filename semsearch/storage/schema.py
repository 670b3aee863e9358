"""Tables of the catalog, and the numbers by which SQLite recognises one of ours."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

APPLICATION_ID = 0x53454D53
"""`PRAGMA application_id` of every catalog: "SEMS"."""

FORMAT_VERSION = 3
"""`PRAGMA user_version`: raised whenever an older semsearch could misread the directory."""

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

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""What words are to the keyword index: runs of letters and digits, by their stems."""

# The keyword index, since format 2: one row for each chunk, under its key. Its text is not stored
# again: FTS5 reads it through the view to rebuild, and a writer when it takes a chunk out.
KEYWORD_INDEX = (
    """
    CREATE VIEW passages AS
    SELECT chunks.key AS key, documents.title AS title, chunks.piece AS body
    FROM chunks JOIN documents ON documents.key = chunks.document
    """,
    f"""
    CREATE VIRTUAL TABLE keywords USING fts5(
        title, body, content='passages', content_rowid='key',
        tokenize='{TOKENIZER}'
    )
    """,
)
"""Statements that make it: https://sqlite.org/fts5.html#external_content_tables."""
