"""The SQLite catalog: what is in the index, in transactions. Knows no segment file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from semsearch.errors import IndexCorrupt, IndexLocked, StorageError, UnsupportedFormat
from semsearch.filters import Filter
from semsearch.storage import schema
from semsearch.storage.checksum import row_checksum
from semsearch.storage.durable import sync
from semsearch.storage.where import condition
from semsearch.types import Reject, Span

_BUSY_SECONDS = 30.0
_PAGE = 1000


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


class Catalog:
    """Connections to one `catalog.db`; every access is inside `read()` or `write()`."""

    def __init__(self, path: Path, engine: Engine, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self._engine = engine

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> None:
        """Make a new catalog at `path`, whole or not at all.

        Raises:
            StorageError: Disk full, no permission, ...
        """
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        engine = _engine(temporary, "rwc")
        try:
            with catalog_errors(path), engine.begin() as connection:
                schema.metadata.create_all(connection)
                tables = {"schema": ReadTransaction(connection, path).schema_checksum()}
                rows = [
                    {"key": key, "value": json.dumps(value)}
                    for key, value in {**settings, **tables}.items()
                ]
                connection.execute(insert(schema.settings), _sealed(schema.settings, rows))
                first = {"id": 1, **asdict(State(1, 1, 1, 0, 0))}
                connection.execute(insert(schema.state), _sealed(schema.state, [first]))
                connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {schema.FORMAT_VERSION}")
        finally:
            engine.dispose()
        sync(temporary)
        os.replace(temporary, path)  # noqa: PTH105 - one seam for fault injection
        sync(path.parent)

    @classmethod
    def open(cls, path: Path) -> Catalog:
        """Open an existing catalog, for reading only where the folder cannot be written.

        Raises:
            UnsupportedFormat: A newer format, or another program's SQLite file.
            IndexCorrupt: Not readable as SQLite.
            StorageError: No permission.
        """
        if not path.is_file():
            raise IndexCorrupt(f"{path}: not a file; restore it from a backup")
        if not path.stat().st_size:  # to SQLite, a database without tables
            raise IndexCorrupt(f"{path}: the file is empty; restore it from a backup")
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        engine = _engine(path, "rw" if writable else _read_only_mode(path))
        catalog = cls(path, engine, writable=writable)
        try:
            with catalog.read() as transaction:
                transaction.check_format()
        except BaseException:
            engine.dispose()
            raise
        return catalog

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """One consistent view: what other processes commit meanwhile is not seen."""
        with catalog_errors(self.path), self._engine.connect() as connection:
            yield ReadTransaction(connection, self.path)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """All or nothing; durable when the block has been left without an exception."""
        with catalog_errors(self.path), self._engine.connect() as connection:
            writing = connection.execution_options(semsearch_begin="IMMEDIATE")
            with writing.begin():
                yield WriteTransaction(writing, self.path)

    def reclaim(self) -> None:
        """Give free pages back to the file system and empty the write-ahead log.

        Readers are not waited for: while one is in the log, it is emptied at a later commit.
        """
        with catalog_errors(self.path):
            raw = self._engine.raw_connection()
            cursor = raw.cursor()
            try:
                cursor.execute("PRAGMA incremental_vacuum").fetchall()
                cursor.execute("PRAGMA busy_timeout = 0")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {1000 * _BUSY_SECONDS:.0f}")
                raw.close()

    def close(self) -> None:
        """Close all connections; the last one empties the write-ahead log."""
        self._engine.dispose()


class ReadTransaction:
    """Queries of one snapshot of the catalog.

    Rows of settings, state, segments and rejects are checked as they are read. Documents and
    chunks say whether they are `intact`, because a damaged one can still be deleted or replaced.
    """

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def check_format(self) -> None:
        """Refuse what this version cannot read.

        Raises:
            UnsupportedFormat: Says which format the file has.
        """
        application = self._pragma("application_id")
        version = self._pragma("user_version")
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

    def version(self) -> int:
        """Number of the newest commit."""
        return self.state().version

    def state(self) -> State:
        """The state row."""
        rows = self._checked(_STATE)
        if len(rows) != 1:
            raise self._damaged("the number of the newest commit is missing")
        return State(*rows[0][1:-1])

    def segments(self) -> list[SegmentRow]:
        """Live segments in the order of their keys."""
        rows = self._checked(_SEGMENTS)
        return [SegmentRow(*row[:-1]) for row in rows]

    def _checked(self, query: Select[Any]) -> Sequence[Sequence[Any]]:
        rows = self._connection.execute(query).all()
        if not all(map(_intact, rows)):
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
        rows = self._connection.execute(_DOCUMENTS_BY_ID, {"values": _json(wanted)})
        # SQLite ends a text at a NUL: what it found for "a\0b" is "a".
        return {row.id: _document(row) for row in rows if row.id in wanted}

    def documents_by_key(self, keys: Iterable[int]) -> dict[int, DocumentRow]:
        """The documents with these keys, by key."""
        rows = self._connection.execute(_DOCUMENTS_BY_KEY, {"values": _json(keys)})
        return {row.key: _document(row) for row in rows}

    def document_page(self, after: int) -> list[DocumentRow]:
        """Up to 1,000 documents whose key is above `after`, in the order they were added."""
        table = schema.documents
        rows = self._connection.execute(
            select(table).where(table.c.key > after).order_by(table.c.key).limit(_PAGE)
        )
        page = [_document(row) for row in rows]
        keys = [after, *(row.key for row in page)]
        if any(low >= high for low, high in pairwise(keys)):  # would be read for ever
            raise self._damaged("documents are out of order")
        return page

    def chunks(self, keys: Iterable[int]) -> dict[int, ChunkRow]:
        """Chunks by key; keys that are not there are left out."""
        rows = self._connection.execute(_CHUNKS_BY_KEY, {"values": _json(keys)})
        return {row.key: _chunk(row) for row in rows}

    def chunks_of(self, documents: Iterable[int]) -> dict[int, list[ChunkRow]]:
        """All chunks of the documents with these keys, in reading order."""
        wanted = list(documents)
        found: dict[int, list[ChunkRow]] = {key: [] for key in wanted}
        rows = self._connection.execute(_CHUNKS_BY_DOCUMENT, {"values": _json(wanted)})
        for row in rows:
            if row.document not in found:
                raise self._damaged(f"chunk {row.key} is not where its index says")
            found[row.document].append(_chunk(row))
        return found

    def chunk_documents(self, keys: Iterable[int]) -> dict[int, int]:
        """Key of the document that each chunk belongs to.

        Raises:
            IndexCorrupt: There is no such chunk.
        """
        wanted = set(keys)
        rows = self._connection.execute(_DOCUMENT_OF_CHUNK, {"values": _json(wanted)})
        found = {row.key: row.document for row in rows}
        if len(found) != len(wanted) or not all(isinstance(key, int) for key in found.values()):
            raise self._damaged("a vector has no chunk")
        return found

    def chunk_keys_between(self, first: int, last: int) -> list[int]:
        """Keys of the chunks in [first, last], ascending."""
        table = schema.chunks
        rows = self._connection.execute(
            select(table.c.key).where(table.c.key.between(first, last)).order_by(table.c.key)
        )
        return [row.key for row in rows]

    def matching_chunks(self, where: Filter) -> list[int]:
        """Keys of the chunks of all documents that match a filter, ascending."""
        statement = (
            select(schema.chunks.c.key)
            .join(schema.documents, schema.documents.c.key == schema.chunks.c.document)
            .where(condition(where))
            .order_by(schema.chunks.c.key)
        )
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
        if self.settings().get("schema") != self.schema_checksum():
            problems.append("the definition of a table was changed")
        return problems

    def schema_checksum(self) -> str:
        """Checksum, in hex, of the definitions of all tables and indexes."""
        rows = self._connection.exec_driver_sql(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
        )
        return row_checksum(value for row in rows for value in row).hex()


class WriteTransaction(ReadTransaction):
    """Changes of one commit."""

    def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Insert documents, or replace the rows with their keys."""
        if rows:
            values = [{**row._asdict(), "encoded": int(row.encoded)} for row in rows]
            self._put(schema.documents, values)

    def next_document(self) -> int:
        """A key above that of every document."""
        highest = self._connection.execute(select(func.max(schema.documents.c.key))).scalar()
        return int(highest or 0) + 1

    def insert_chunks(self, rows: Sequence[ChunkRow]) -> None:
        """Insert chunks."""
        if rows:
            values = _sealed(schema.chunks, [row._asdict() for row in rows])
            self._connection.execute(insert(schema.chunks), values)

    def delete_documents(self, keys: Sequence[int]) -> None:
        """Delete documents; their chunks must be gone already."""
        self._connection.execute(_DELETE_DOCUMENTS, {"values": _json(keys)})

    def delete_chunks_of(self, documents: Sequence[int]) -> list[int]:
        """Delete the chunks of documents and mark their vectors dead; gives their keys."""
        keys = [
            row.key
            for row in self._connection.execute(
                _CHUNK_KEYS_BY_DOCUMENT, {"values": _json(documents)}
            )
        ]
        self._connection.execute(_DELETE_CHUNKS, {"values": _json(keys)})
        if keys:
            self._connection.execute(insert(schema.deletions), [{"chunk": key} for key in keys])
        return keys

    def forget_deletions(self, first: int, last: int) -> None:
        """Drop the marks of vectors that are in no segment any more."""
        table = schema.deletions
        self._connection.execute(delete(table).where(table.c.chunk.between(first, last)))

    def put_segment(self, row: SegmentRow) -> None:
        """Insert a segment, or replace the row with its number."""
        self._put(schema.segments, [asdict(row)])

    dropped = False
    """Whether a segment was dropped, so that there are files to sweep."""

    def drop_segment(self, number: int) -> None:
        """Forget a segment; the next sweep removes its files."""
        table = schema.segments
        self._connection.execute(delete(table).where(table.c.number == number))
        self.dropped = True

    def put_state(self, state: State) -> None:
        """Replace the state row."""
        self._put(schema.state, [{"id": 1, **asdict(state)}])

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Keep rejects; one of the same source and position replaces the older."""
        if rejects:
            self._put(schema.rejects, [asdict(reject) for reject in rejects])

    def clear_rejects(self, sources: Iterable[str]) -> None:
        """Forget the rejects of sources that are being read again."""
        self._connection.execute(_DELETE_REJECTS, {"values": _json(sources)})

    def _put(self, table: Table, rows: list[dict[str, Any]]) -> None:
        self._connection.execute(insert(table).prefix_with("OR REPLACE"), _sealed(table, rows))


def _sealed(table: Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table with their checksums; of what else they hold only its columns are kept."""
    names = [column.name for column in table.columns if column is not table.c.checksum]
    values = [[row[name] for name in names] for row in rows]
    return [{**dict(zip(names, row, strict=True)), "checksum": row_checksum(row)} for row in values]


def _intact(row: Sequence[Any]) -> bool:
    return bool(row_checksum(row[:-1]) == row[-1])


def _document(row: Sequence[Any]) -> DocumentRow:
    return DocumentRow._make([*row[:-1], _intact(row)])


def _chunk(row: Sequence[Any]) -> ChunkRow:
    return ChunkRow._make([*row[:-1], _intact(row)])


def _values() -> Select[Any]:
    """A list of any length in one SQL parameter, so that no variable limit is ever met."""
    return select(text("value")).select_from(func.json_each(bindparam("values")))


def _json(values: Iterable[Any]) -> str:
    return json.dumps(list(values))


_STATE = select(schema.state)
_SEGMENTS = select(schema.segments).order_by(schema.segments.c.first)
_DOCUMENTS_BY_ID = select(schema.documents).where(schema.documents.c.id.in_(_values()))
_DOCUMENTS_BY_KEY = select(schema.documents).where(schema.documents.c.key.in_(_values()))
_CHUNKS_BY_KEY = select(schema.chunks).where(schema.chunks.c.key.in_(_values()))
_DOCUMENT_OF_CHUNK = select(schema.chunks.c.key, schema.chunks.c.document).where(
    schema.chunks.c.key.in_(_values())
)
_CHUNKS_BY_DOCUMENT = (
    select(schema.chunks)
    .where(schema.chunks.c.document.in_(_values()))
    .order_by(schema.chunks.c.document, schema.chunks.c.ordinal)
)
_CHUNK_KEYS_BY_DOCUMENT = select(schema.chunks.c.key).where(schema.chunks.c.document.in_(_values()))
_DELETE_DOCUMENTS = delete(schema.documents).where(schema.documents.c.key.in_(_values()))
_DELETE_CHUNKS = delete(schema.chunks).where(schema.chunks.c.key.in_(_values()))
_DELETE_REJECTS = delete(schema.rejects).where(schema.rejects.c.source.in_(_values()))


def _read_only_mode(path: Path) -> str:
    """Without permission to make SQLite's shared-memory file, only a closed catalog can be read."""
    log = path.with_name(path.name + "-wal")
    return "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"


def _engine(path: Path, mode: str) -> Engine:
    uri = f"{path.absolute().as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, max_overflow=-1)
    event.listen(engine, "connect", _configure_new if mode == "rwc" else _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure_new(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only settable before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    _configure(connection, entry)


def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # FULL: the log is flushed in every commit, so that one that was acknowledged survives a power
    # cut (sqlite.org/pragma.html#pragma_synchronous); fullfsync is its meaning on macOS.
    for pragma in (
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "journal_size_limit = 67108864",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    how = connection.get_execution_options().get("semsearch_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {how}")


@contextmanager
def catalog_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into ours."""
    try:
        yield
    except DBAPIError as error:
        raise _mapped(path, error.orig) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # its messages may quote damaged bytes
        raise _mapped(path, error) from error


# A statement that fails on a catalog which passed `check_format` means other tables than ours.
_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_SCHEMA,
)


def _mapped(path: Path, error: BaseException | None) -> StorageError:
    # Extended codes carry the primary one in their low byte; text that is no UTF-8 has no code.
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StorageError(f"{path.parent}: the disk is full; free some space and try again")
    if code == sqlite3.SQLITE_IOERR:
        return StorageError(
            f"{path}: cannot be read or written ({error}): is the disk full, or failing?"
        )
    if code in _DAMAGE:
        return IndexCorrupt(f"{path}: damaged ({error}); restore it from a backup")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return IndexLocked(f"{path}: another program keeps it locked ({error})")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StorageError(
            f"{path}: cannot be opened or written ({error}); check the permissions of its folder, "
            f"of {path.name}, {path.name}-wal and {path.name}-shm"
        )
    return StorageError(f"{path}: {error}")
