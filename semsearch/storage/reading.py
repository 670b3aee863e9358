"""Queries of one snapshot of the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, bindparam, func, select, text
from sqlalchemy.dialects import sqlite

from semsearch.errors import IndexCorrupt, UnsupportedFormat
from semsearch.filters import Filter
from semsearch.storage import keywords, schema
from semsearch.storage.connection import catalog_errors, dbapi_connection
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
from semsearch.storage.upgrade import schema_checksum
from semsearch.storage.where import condition
from semsearch.types import Reject

INDEX_FIELDS = "index_fields"
"""The setting that names the metadata fields with an index, in the order they were declared."""

KEYWORDS_SINCE = 2
"""The first format with a keyword index."""

_PAGE = 1000


class ReadTransaction:
    """Queries of one snapshot of the catalog.

    Rows of settings, state, segments and rejects are checked as they are read. Documents and
    chunks say whether they are `intact`, because a damaged one can still be deleted or replaced.
    """

    def __init__(self, connection: Connection, path: Path) -> None:
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
        if application != schema.APPLICATION_ID:
            raise UnsupportedFormat(f"{self._path}: a SQLite file, but not a semsearch index")
        if version > schema.FORMAT_VERSION:
            raise UnsupportedFormat(
                f"{self._path}: format {version}, but this semsearch reads up to "
                f"{schema.FORMAT_VERSION}; upgrade semsearch"
            )
        if version < 1:
            raise UnsupportedFormat(f"{self._path}: there is no format {version}; restore a backup")

    def _pragma(self, name: str) -> int:
        return int(self._connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    def settings(self) -> dict[str, Any]:
        """All settings, decoded from JSON."""
        rows = self._checked(select(schema.settings))
        return {key: json.loads(value) for key, value, _ in rows}

    def settings_below(self, prefix: str) -> dict[str, str]:
        """Settings whose key begins with a prefix, as JSON text by the rest of the key."""
        rows = self._checked(select(schema.settings).order_by(schema.settings.c.key))
        return {key[len(prefix) :]: value for key, value, _ in rows if key.startswith(prefix)}

    def version(self) -> int:
        """Number of the newest commit."""
        return self.state().version

    def state(self) -> State:
        """The state row."""
        rows = self._fetch(_STATE)
        if not all(map(intact, rows)):
            raise self._damaged(f"a row of {schema.state} was changed")
        if len(rows) != 1:
            raise self._damaged("the number of the newest commit is missing")
        return State(*rows[0][1:-1])

    def segments(self) -> list[SegmentRow]:
        """Live segments in the order of their keys."""
        rows = self._checked(_SEGMENTS)
        return [SegmentRow(*row[:-1]) for row in rows]

    def _fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of what every search asks for: SQLAlchemy would take longer than SQLite itself."""
        connection = dbapi_connection(self._connection)
        if not connection.in_transaction:
            connection.execute("BEGIN")
        return connection.execute(statement, values).fetchall()

    def _checked(self, query: Select[Any]) -> Sequence[Sequence[Any]]:
        rows = self._connection.execute(query).all()
        if not all(map(intact, rows)):
            table = query.get_final_froms()[0]
            raise self._damaged(f"a row of {table} was changed")
        return rows

    def _damaged(self, what: str) -> IndexCorrupt:
        return IndexCorrupt(f"{self._path}: damaged: {what}; restore it from a backup")

    def deletions_after(self, seq: int) -> list[tuple[int, int]]:
        """Deletions newer than `seq`, as (seq, chunk key), oldest first."""
        table = schema.deletions
        rows = self._connection.execute(
            select(table).where(table.c.seq > seq).order_by(table.c.seq)
        )
        found = [(row.seq, row.chunk) for row in rows]
        if not all(isinstance(chunk, int) for _, chunk in found):
            raise self._damaged("a row of deletions was changed")
        return found

    def documents(self, ids: Iterable[str]) -> dict[str, DocumentRow]:
        """The documents that exist among `ids`, by id."""
        wanted = set(ids)
        rows = self._connection.execute(_DOCUMENTS_BY_ID, {"values": json_list(wanted)})
        # SQLite ends a text at a NUL: what it found for "a\0b" is "a".
        return {row.id: document_row(row) for row in rows if row.id in wanted}

    def document_page(self, after: int) -> list[DocumentRow]:
        """Up to 1,000 documents whose key is above `after`, in the order they were added."""
        table = schema.documents
        rows = self._connection.execute(
            select(table).where(table.c.key > after).order_by(table.c.key).limit(_PAGE)
        )
        page = [document_row(row) for row in rows]
        keys = [after, *(row.key for row in page)]
        if any(low >= high for low, high in pairwise(keys)):  # would be read for ever
            raise self._damaged("documents are out of order")
        return page

    def sources(self) -> Iterator[tuple[str, str]]:
        """Id and source of every document that has one."""
        table = schema.documents
        rows = self._connection.execute(
            select(table.c.id, table.c.source).where(table.c.source.is_not(None))
        )
        return ((row.id, row.source) for row in rows)

    def found(self, keys: Iterable[int]) -> dict[int, FoundRow]:
        """Chunks by key, each with its document; keys that are not there are left out."""
        rows = self._fetch(_FOUND, json_list(keys))
        return {row[0]: FoundRow._make(row) for row in rows}

    def chunks_of(self, documents: Iterable[int]) -> dict[int, list[ChunkRow]]:
        """All chunks of the documents with these keys, in reading order."""
        wanted = list(documents)
        found: dict[int, list[ChunkRow]] = {key: [] for key in wanted}
        rows = self._connection.execute(_CHUNKS_BY_DOCUMENT, {"values": json_list(wanted)})
        for row in rows:
            if row.document not in found:
                raise self._damaged(f"chunk {row.key} is not where its index says")
            found[row.document].append(chunk_row(row))
        return found

    def chunk_documents(self, keys: Iterable[int]) -> dict[int, int]:
        """Key of the document that each chunk belongs to.

        Raises:
            IndexCorrupt: There is no such chunk.
        """
        wanted = set(keys)
        rows = self._connection.execute(_DOCUMENT_OF_CHUNK, {"values": json_list(wanted)})
        found = {row.key: row.document for row in rows}
        if len(found) != len(wanted) or not all(isinstance(key, int) for key in found.values()):
            raise self._damaged("a vector has no chunk")
        return found

    def document_ids(self, keys: Iterable[int]) -> dict[int, str]:
        """Ids of the documents with these keys; those that are not there are left out."""
        rows = self._connection.execute(_ID_OF_DOCUMENT, {"values": json_list(keys)})
        return {row.key: row.id for row in rows}

    def chunk_keys_between(self, first: int, last: int) -> list[int]:
        """Keys of the chunks in [first, last], ascending."""
        table = schema.chunks
        rows = self._connection.execute(
            select(table.c.key).where(table.c.key.between(first, last)).order_by(table.c.key)
        )
        return [row.key for row in rows]

    def indexed_fields(self) -> tuple[str, ...]:
        """Metadata fields that have an index."""
        return tuple(self.settings().get(INDEX_FIELDS, ()))

    def matching_chunks(self, where: Filter) -> NDArray[np.int64]:
        """Keys of the chunks of all documents that match a filter, ascending."""
        return self._keys(*_matching(where))

    def matching_among(self, keys: Iterable[int], where: Filter) -> NDArray[np.int64]:
        """Those of these chunks whose documents match a filter: keys, ascending."""
        statement, values = _matching_among(where)
        return self._keys(statement, (json_list(keys), *values))

    def _keys(self, statement: str, values: Sequence[object]) -> NDArray[np.int64]:
        rows = self._fetch(statement, *values)
        return np.sort(np.fromiter((key for (key,) in rows), np.int64, len(rows)))

    def matching_ids(self, where: Filter) -> list[str]:
        """Ids of all documents that match a filter, in the order they were added."""
        table = schema.documents
        statement = select(table.c.id).where(condition(where)).order_by(table.c.key)
        return list(self._connection.execute(statement).scalars())

    def counted(self) -> tuple[int, int]:
        """Documents and chunks, counted anew (verify holds the state row against it)."""
        return self._count(schema.documents), self._count(schema.chunks)

    def _count(self, table: Any) -> int:
        return int(self._connection.execute(select(func.count()).select_from(table)).scalar_one())

    def rejects(self) -> list[Reject]:
        """Records that the last ingest of their source refused."""
        table = schema.rejects
        rows = self._checked(select(table).order_by(table.c.source, table.c.position))
        return [Reject(*row[:-1]) for row in rows]

    def reject_sources(self) -> set[str]:
        """Sources that have rejects."""
        return set(self._connection.execute(select(schema.rejects.c.source).distinct()).scalars())

    def reject_count(self) -> int:
        """How many rejects are kept."""
        return self._count(schema.rejects)

    def integrity_problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file, and tables that are not as made."""
        rows = self._connection.exec_driver_sql("PRAGMA integrity_check(20)")
        problems = [str(row[0]) for row in rows if row[0] != "ok"]
        broken = self._connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
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

    def keyword_matches(self, query: str, among: Iterable[int] | None = None) -> Matches:
        """All chunks that hold a word of the query, or those `among` these keys.

        Raises:
            UnsupportedFormat: The index is of a format that had no keyword index.
        """
        with self._keyword_errors():
            return keywords.matches(self._connection, keywords.words_of(query), among)

    def keyword_norm(self, query: str) -> float:
        """What BM25 scores of a query are divided by to be compared with those of others."""
        with self._keyword_errors():
            words = keywords.words_of(query)
            return keywords.norm(self._connection, words, self.state().chunks)

    @contextmanager
    def _keyword_errors(self) -> Iterator[None]:
        if self.format < KEYWORDS_SINCE:
            raise UnsupportedFormat(
                f"{self._path}: format {self.format} has no keyword index; the next write adds it: "
                "run `semsearch optimize`, or search with mode dense"
            )
        try:
            with catalog_errors(self._path):
                yield
        except IndexCorrupt as error:
            raise IndexCorrupt(
                f"{self._path}: the keyword index is damaged; run `semsearch repair`"
            ) from error


def any_of() -> Select[Any]:
    """A list of any length in one SQL parameter, so that no variable limit is ever met."""
    return select(text("value")).select_from(func.json_each(bindparam("values")))


def json_list(values: Iterable[Any]) -> str:
    """What to bind to `values`."""
    return json.dumps(list(values))


Bound = tuple[str, tuple[object, ...]]
"""A statement and the values of its parameters."""


# Not sorted by SQLite: it would read the table of chunks, with all texts, in that order, where now
# the index on documents tells all.
@lru_cache(maxsize=64)
def _matching(where: Filter) -> Bound:
    return _bound(
        select(schema.chunks.c.key)
        .join(schema.documents, schema.documents.c.key == schema.chunks.c.document)
        .where(condition(where))
    )


@lru_cache(maxsize=64)
def _matching_among(where: Filter) -> Bound:
    among = schema.chunks.c.key.in_(any_of())
    statement, (_, *values) = _bound(
        select(schema.chunks.c.key)
        .join(schema.documents, schema.documents.c.key == schema.chunks.c.document)
        .where(among, condition(where)),
        values="",
    )
    return statement, tuple(values)


def _bound(statement: Select[Any], **values: object) -> Bound:
    compiled = statement.compile(dialect=sqlite.dialect())
    expanded = compiled.construct_expanded_state(values)
    return expanded.statement, tuple(expanded.positional_parameters)


def _sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=sqlite.dialect()))


_STATE = _sql(select(schema.state))
_FOUND = _sql(
    select(schema.chunks, schema.documents)
    .join_from(
        schema.chunks,
        schema.documents,
        schema.documents.c.key == schema.chunks.c.document,
        isouter=True,
    )
    .where(schema.chunks.c.key.in_(any_of()))
)
_SEGMENTS = select(schema.segments).order_by(schema.segments.c.first)
_DOCUMENTS_BY_ID = select(schema.documents).where(schema.documents.c.id.in_(any_of()))
_ID_OF_DOCUMENT = select(schema.documents.c.key, schema.documents.c.id).where(
    schema.documents.c.key.in_(any_of())
)
_DOCUMENT_OF_CHUNK = select(schema.chunks.c.key, schema.chunks.c.document).where(
    schema.chunks.c.key.in_(any_of())
)
_CHUNKS_BY_DOCUMENT = (
    select(schema.chunks)
    .where(schema.chunks.c.document.in_(any_of()))
    .order_by(schema.chunks.c.document, schema.chunks.c.ordinal)
)
