"""Queries of one snapshot of the catalog.

They are SQL for SQLite itself, so that a process which only asks need not import SQLAlchemy, and
no search waits for it; only a filter is made into SQL by it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import IndexCorrupt, UnsupportedFormat
from semsearch.filters import Filter
from semsearch.storage import keywords
from semsearch.storage.checksum import older_row_checksum
from semsearch.storage.connection import catalog_errors
from semsearch.storage.format import APPLICATION_ID, FORMAT_VERSION, KEYWORDS_SINCE
from semsearch.storage.keywords import Matches
from semsearch.storage.rows import (
    ChunkRow,
    DocumentRow,
    FoundRow,
    SegmentRow,
    State,
    chunk_row,
    document_row,
    intact,
)
from semsearch.types import Reject

INDEX_FIELDS = "index_fields"
"""The setting that names the metadata fields with an index, in the order they were declared."""

_PAGE = 1000

_TOGETHER = 100
"""Keys that one statement names, at most."""


class ReadTransaction:
    """Queries of one snapshot of the catalog.

    Rows of settings, state, segments and rejects are checked as they are read. Documents and
    chunks say whether they are `intact`, because a damaged one can still be deleted or replaced.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @property
    def format(self) -> int:
        """Number of the on-disk format."""
        return self._pragma("user_version")

    def check_format(self) -> None:
        """Refuse what this version cannot read.

        Raises:
            UnsupportedFormat: Says which format the file has.
        """
        application = self._pragma("application_id")
        version = self.format
        if application != APPLICATION_ID:
            raise UnsupportedFormat(f"{self._path}: a SQLite file, but not a semsearch index")
        if version > FORMAT_VERSION:
            raise UnsupportedFormat(
                f"{self._path}: format {version}, but this semsearch reads up to "
                f"{FORMAT_VERSION}; upgrade semsearch"
            )
        if version < 1:
            raise UnsupportedFormat(f"{self._path}: there is no format {version}; restore a backup")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def settings(self) -> dict[str, Any]:
        """All settings, decoded from JSON."""
        rows = self._checked("settings", _SETTINGS)
        return {key: json.loads(value) for key, value, _ in rows}

    def settings_below(self, prefix: str) -> dict[str, str]:
        """Settings whose key begins with a prefix, as JSON text by the rest of the key."""
        rows = self._checked("settings", _SETTINGS)
        return {key[len(prefix) :]: value for key, value, _ in rows if key.startswith(prefix)}

    def version(self) -> int:
        """Number of the newest commit."""
        return self.state().version

    def state(self) -> State:
        """The state row."""
        rows = self._checked("state", _STATE)
        if len(rows) != 1:
            raise self._damaged("the number of the newest commit is missing")
        return State(*rows[0][1:-1])

    def segments(self) -> list[SegmentRow]:
        """Live segments in the order of their keys."""
        rows = self._checked("segments", _SEGMENTS)
        return [SegmentRow(*row[:-1]) for row in rows]

    def _rows(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _checked(self, table: str, statement: str) -> list[tuple[Any, ...]]:
        rows = self._rows(statement).fetchall()
        if not all(map(intact, rows)):
            raise self._damaged(f"a row of {table} was changed")
        return rows

    def _damaged(self, what: str) -> IndexCorrupt:
        return IndexCorrupt(f"{self._path}: damaged: {what}; restore it from a backup")

    def deletions_after(self, seq: int) -> list[tuple[int, int]]:
        """Deletions newer than `seq`, as (seq, chunk key), oldest first."""
        found = self._rows(_DELETIONS, seq).fetchall()
        if not all(isinstance(chunk, int) for _, chunk in found):
            raise self._damaged("a row of deletions was changed")
        return found

    def documents(self, ids: Iterable[str]) -> dict[str, DocumentRow]:
        """The documents that exist among `ids`, by id."""
        wanted = set(ids)
        rows = map(document_row, self._rows(_DOCUMENTS_BY_ID, json_list(wanted)))
        # SQLite ends a text at a NUL: what it found for "a\0b" is "a".
        return {row.id: row for row in rows if row.id in wanted}

    def document_page(self, after: int) -> list[DocumentRow]:
        """Up to 1,000 documents whose key is above `after`, in the order they were added."""
        page = [document_row(row) for row in self._rows(_DOCUMENTS_AFTER, after, _PAGE)]
        keys = [after, *(row.key for row in page)]
        if any(low >= high for low, high in pairwise(keys)):  # would be read for ever
            raise self._damaged("documents are out of order")
        return page

    def sources(self) -> Iterator[tuple[str, str]]:
        """Id and source of every document that has one."""
        yield from self._rows("SELECT id, source FROM documents WHERE source IS NOT NULL")

    def found(self, keys: Iterable[int]) -> dict[int, FoundRow]:
        """Chunks by key, each with its document; keys that are not there are left out."""
        found: dict[int, FoundRow] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _TOGETHER):
            part = wanted[start : start + _TOGETHER]
            rows = map(FoundRow._make, self._rows(_found(len(part)), *part))
            found.update((row.key, row) for row in rows)
        return found

    def chunks_of(self, documents: Iterable[int]) -> dict[int, list[ChunkRow]]:
        """All chunks of the documents with these keys, in reading order."""
        wanted = list(documents)
        found: dict[int, list[ChunkRow]] = {key: [] for key in wanted}
        for row in map(chunk_row, self._rows(_CHUNKS_BY_DOCUMENT, json_list(wanted))):
            if row.document not in found:
                raise self._damaged(f"chunk {row.key} is not where its index says")
            found[row.document].append(row)
        return found

    def chunk_documents(self, keys: Iterable[int]) -> dict[int, int]:
        """Key of the document that each chunk belongs to.

        Raises:
            IndexCorrupt: There is no such chunk.
        """
        wanted = set(keys)
        found: dict[int, int] = dict(self._rows(_DOCUMENT_OF_CHUNK, json_list(wanted)))
        if len(found) != len(wanted) or not all(isinstance(key, int) for key in found.values()):
            raise self._damaged("a vector has no chunk")
        return found

    def document_ids(self, keys: Iterable[int]) -> dict[int, str]:
        """Ids of the documents with these keys; those that are not there are left out."""
        return dict(self._rows(_ID_OF_DOCUMENT, json_list(keys)))

    def chunk_keys_between(self, first: int, last: int) -> list[int]:
        """Keys of the chunks in [first, last], ascending."""
        return [key for (key,) in self._rows(_CHUNK_KEYS_BETWEEN, first, last)]

    def indexed_fields(self) -> tuple[str, ...]:
        """Metadata fields that have an index."""
        return tuple(self.settings().get(INDEX_FIELDS, ()))

    def matching_chunks(self, where: Filter) -> NDArray[np.int64]:
        """Keys of the chunks of all documents that match a filter, ascending."""
        from semsearch.storage.matching import matching_chunks

        return self._keys(*matching_chunks(where))

    def matching_among(self, keys: Iterable[int], where: Filter) -> NDArray[np.int64]:
        """Those of these chunks whose documents match a filter: keys, ascending."""
        from semsearch.storage.matching import matching_among

        statement, values = matching_among(where)
        return self._keys(statement, (json_list(keys), *values))

    def _keys(self, statement: str, values: Sequence[object]) -> NDArray[np.int64]:
        rows = self._rows(statement, *values).fetchall()
        return np.sort(np.fromiter((key for (key,) in rows), np.int64, len(rows)))

    def matching_ids(self, where: Filter) -> list[str]:
        """Ids of all documents that match a filter, in the order they were added."""
        from semsearch.storage.matching import matching_ids

        statement, values = matching_ids(where)
        return [id_ for (id_,) in self._rows(statement, *values)]

    def counted(self) -> tuple[int, int]:
        """Documents and chunks, counted anew (verify holds the state row against it)."""
        return self._count("documents"), self._count("chunks")

    def _count(self, table: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM {table}").fetchone()[0])

    def rejects(self) -> list[Reject]:
        """Records that the last ingest of their source refused."""
        return [Reject(*row[:-1]) for row in self._checked("rejects", _REJECTS)]

    def reject_sources(self) -> set[str]:
        """Sources that have rejects."""
        return {source for (source,) in self._rows("SELECT DISTINCT source FROM rejects")}

    def reject_count(self) -> int:
        """How many rejects are kept."""
        return self._count("rejects")

    def integrity_problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file, and tables that are not as made."""
        rows = self._rows("PRAGMA integrity_check(20)")
        problems = [str(row[0]) for row in rows if row[0] != "ok"]
        broken = self._rows("PRAGMA foreign_key_check")
        problems += [f"{row[0]} row {row[1]} names no row of {row[2]}" for row in broken]
        if self.settings().get("schema") != schema_checksum(self._connection):
            problems.append("the definition of a table was changed")
        return problems

    def damaged_field_indexes(self) -> list[str]:
        """The metadata fields whose index does not hold what the documents hold."""
        fields = self.indexed_fields()
        problems = " ".join(self.integrity_problems()) if fields else ""
        return [field for field in fields if f"index field {field}" in problems]

    def keyword_problem(self) -> str | None:
        """What is wrong with the keyword index, if it has one and anything is; reads all of it."""
        try:
            if self.format < KEYWORDS_SINCE:
                return None
            with self._keyword_errors():
                if keywords.agrees(self._connection):
                    return None
        except IndexCorrupt as error:
            return str(error)
        return "the keyword index does not hold the words of the texts"

    def word_scores(self, words: Sequence[str]) -> list[Matches]:
        """All chunks that hold a word, and what it adds to the BM25 score of each; by word.

        Raises:
            UnsupportedFormat: The index is of a format that had no keyword index.
        """
        with self._keyword_errors():
            return list(keywords.scores(self._connection, words))

    @contextmanager
    def _keyword_errors(self) -> Iterator[None]:
        try:
            with catalog_errors(self._path):
                yield
        except IndexCorrupt as error:
            if self.format < KEYWORDS_SINCE:
                raise UnsupportedFormat(
                    f"{self._path}: format {self.format} has no keyword index; the next write adds "
                    "it: run `semsearch optimize`, or search with mode dense"
                ) from error
            raise IndexCorrupt(
                f"{self._path}: the keyword index is damaged; run `semsearch repair`"
            ) from error


@cache
def _found(keys: int) -> str:
    """Chunks and their documents by so many keys: sooner than by a JSON list of them."""
    return (
        f"SELECT {_CHUNK}, {_DOCUMENT} FROM (VALUES {', '.join(['(?)'] * keys)}) asked "
        "CROSS JOIN chunks c ON c.key = asked.column1 LEFT JOIN documents d ON d.key = c.document"
    )


def json_list(values: Iterable[Any]) -> str:
    """Values of any number as one parameter, so that no limit of SQLite's is ever met."""
    return json.dumps(list(values))


def schema_checksum(connection: sqlite3.Connection) -> str:
    """Checksum, in hex, of the definitions of all tables and indexes."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
    return older_row_checksum(value for row in rows for value in row).hex()


# The columns of `schema`, in its order: each row's checksum is over the others as they stand.
_LISTED = "(SELECT value FROM json_each(?))"
_CHUNK = "c.key, c.document, c.ordinal, c.start, c.length, c.piece, c.checksum"
_DOCUMENT = "d.key, d.id, d.title, d.metadata, d.source, d.hash, d.encoded, d.checksum"
_SETTINGS = "SELECT key, value, checksum FROM settings ORDER BY key"
_STATE = "SELECT id, version, next_segment, next_chunk, documents, chunks, checksum FROM state"
_SEGMENTS = (
    "SELECT number, first, last, rows, dead, bytes, sha256, ends, kind, index_bytes, index_sha256, "
    "index_ends, checksum FROM segments ORDER BY first"
)
_REJECTS = "SELECT source, position, reason, checksum FROM rejects ORDER BY source, position"
_DELETIONS = "SELECT seq, chunk FROM deletions WHERE seq > ? ORDER BY seq"
_DOCUMENTS_BY_ID = f"SELECT {_DOCUMENT} FROM documents d WHERE d.id IN {_LISTED}"
_DOCUMENTS_AFTER = f"SELECT {_DOCUMENT} FROM documents d WHERE d.key > ? ORDER BY d.key LIMIT ?"
_ID_OF_DOCUMENT = f"SELECT key, id FROM documents WHERE key IN {_LISTED}"
_DOCUMENT_OF_CHUNK = f"SELECT key, document FROM chunks WHERE key IN {_LISTED}"
_CHUNKS_BY_DOCUMENT = (
    f"SELECT {_CHUNK} FROM chunks c WHERE c.document IN {_LISTED} ORDER BY c.document, c.ordinal"
)
_CHUNK_KEYS_BETWEEN = "SELECT key FROM chunks WHERE key BETWEEN ? AND ? ORDER BY key"
