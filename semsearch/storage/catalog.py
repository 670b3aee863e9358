"""The SQLite catalog: what is in the index, in transactions. Knows no segment file."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semsearch.errors import IndexCorrupt
from semsearch.storage.connection import (
    BUSY_SECONDS,
    catalog_errors,
    connect,
    read_only_mode,
)
from semsearch.storage.durable import sync
from semsearch.storage.format import FORMAT_VERSION
from semsearch.storage.reading import ReadTransaction

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from semsearch.storage.writing import WriteTransaction

# What writes, and SQLAlchemy with it, is imported by what writes: a process that only asks starts
# sooner.

_IDLE = 4


class Catalog:
    """Connections to one `catalog.db`; every access is inside `read()` or `write()`."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self._mode = "rw" if writable else read_only_mode(path)
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False

    @classmethod
    def create(
        cls, path: Path, settings: Mapping[str, Any], index_fields: Sequence[str] = ()
    ) -> None:
        """Make a new catalog at `path`, whole or not at all.

        Raises:
            StorageError: Disk full, no permission, ...
        """
        from semsearch.storage.engine import engine_of
        from semsearch.storage.writing import WriteTransaction

        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        engine = engine_of(temporary, "rwc")
        try:
            with catalog_errors(path), engine.begin() as connection:
                WriteTransaction(connection, path).create(settings, index_fields)
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
        catalog = cls(path, writable=writable)
        with catalog.read() as transaction:
            transaction.check_format()
        return catalog

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """One consistent view: what other processes commit meanwhile is not seen."""
        with catalog_errors(self.path), self._connection() as connection:
            connection.execute("BEGIN")
            yield ReadTransaction(connection, self.path)
            connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect(self.path, self._mode)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._closed or len(self._idle) >= _IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    @cached_property
    def _engine(self) -> Engine:
        from semsearch.storage.engine import engine_of

        return engine_of(self.path, self._mode)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """All or nothing; durable when the block has been left without an exception."""
        from semsearch.storage.writing import WriteTransaction

        with catalog_errors(self.path), self._engine.begin() as connection:
            yield WriteTransaction(connection, self.path)

    def upgrade(self) -> None:
        """Bring an older format to the newest, in one transaction; only for the writer."""
        with self.read() as transaction:
            if transaction.format == FORMAT_VERSION:
                return
        with self.write() as transaction:
            transaction.upgrade()

    def reclaim(self) -> None:
        """Merge the keyword index, give back free pages, empty the write-ahead log.

        Readers are not waited for: while one is in the log, it is emptied at a later commit.
        """
        with self.write() as transaction:
            transaction.merge_keywords()
        with catalog_errors(self.path), self._connection() as connection:
            connection.execute("PRAGMA incremental_vacuum").fetchall()
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")

    def close(self) -> None:
        """Close all connections; the last one empties the write-ahead log."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        if "_engine" in vars(self):
            self._engine.dispose()
