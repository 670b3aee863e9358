"""How SQLite is opened and set up, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from semsearch.errors import IndexCorrupt, IndexLocked, StorageError

BUSY_SECONDS = 30.0
"""How long another process's transaction is waited for."""

_CACHE_KIB = 32_768
"""Pages that a connection keeps between queries, as far as it reads so many."""

_MMAP_BYTES = 2**31
"""Bytes of the file that are read where they lie, without a copy for each connection; what is
beyond is read as usual."""


def read_only_mode(path: Path) -> str:
    """The `mode` of a catalog whose folder cannot be written.

    Without permission to make SQLite's shared-memory file, only a closed catalog can be read.
    """
    log = path.with_name(path.name + "-wal")
    return "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to the file, in no transaction; `mode` is that of SQLite's URIs.

    "rwc" makes a new one.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _set_up(connection, mode)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, mode: str) -> None:
    if mode == "rwc":
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table
        connection.execute("PRAGMA journal_mode = WAL")
    # FULL: the log is flushed in every commit, so that one that was acknowledged survives a power
    # cut (sqlite.org/pragma.html#pragma_synchronous); fullfsync is its meaning on macOS.
    for pragma in (
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "foreign_keys = ON",
        f"trusted_schema = {_trusted_schema()}",
        "journal_size_limit = 67108864",
        "temp_store = MEMORY",
        f"cache_size = -{_CACHE_KIB}",
        f"mmap_size = {_MMAP_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")


@cache
def _trusted_schema() -> str:
    """OFF where it can be: SQLite 3.40 then refuses an index on json_extract, later ones do not.

    It is a second line of defence against a crafted file: there is nothing of ours that a schema
    could call, and loading extensions is off.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("CREATE TABLE t (a)")
        try:
            connection.execute("CREATE INDEX i ON t (json_extract(a, '$.b'))")
        except sqlite3.OperationalError:
            return "ON"
    return "OFF"


@contextmanager
def catalog_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into ours."""
    try:
        yield
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


def _mapped(path: Path, error: BaseException) -> StorageError:
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
