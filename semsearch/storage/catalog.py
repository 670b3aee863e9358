"""The SQLite catalog: what is in the index, in transactions. Knows no segment file."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert

from semsearch.errors import IndexCorrupt
from semsearch.storage import keywords, schema
from semsearch.storage.connection import (
    BUSY_SECONDS,
    catalog_errors,
    end_transaction,
    engine_of,
    read_only_mode,
)
from semsearch.storage.durable import sync
from semsearch.storage.reading import ReadTransaction
from semsearch.storage.rows import State, sealed
from semsearch.storage.upgrade import record_schema
from semsearch.storage.writing import WriteTransaction

_IDLE = 4


class Catalog:
    """Connections to one `catalog.db`; every access is inside `read()` or `write()`."""

    def __init__(self, path: Path, engine: Engine, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self._engine = engine
        self._idle: deque[Connection] = deque()
        self._closed = False

    @classmethod
    def create(
        cls, path: Path, settings: Mapping[str, Any], index_fields: Sequence[str] = ()
    ) -> None:
        """Make a new catalog at `path`, whole or not at all.

        Raises:
            StorageError: Disk full, no permission, ...
        """
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        engine = engine_of(temporary, "rwc")
        try:
            with catalog_errors(path), engine.begin() as connection:
                schema.metadata.create_all(connection)
                keywords.create(connection)
                rows = [{"key": key, "value": json.dumps(value)} for key, value in settings.items()]
                if rows:
                    connection.execute(insert(schema.settings), sealed(schema.settings, rows))
                first = {"id": 1, **asdict(State(1, 1, 1, 0, 0))}
                connection.execute(insert(schema.state), sealed(schema.state, [first]))
                connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                record_schema(connection)
                WriteTransaction(connection, path).index_fields(index_fields)
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
        engine = engine_of(path, "rw" if writable else read_only_mode(path))
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
        with catalog_errors(self.path):
            # Kept between reads: to take one from the pool and give it back takes SQLAlchemy as
            # long as SQLite takes for what a search reads.
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._engine.connect()
            try:
                yield ReadTransaction(connection, self.path)
            except BaseException:
                connection.close()
                raise
            end_transaction(connection)
            if self._closed or len(self._idle) >= _IDLE:
                connection.close()
            else:
                self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """All or nothing; durable when the block has been left without an exception."""
        with catalog_errors(self.path), self._engine.connect() as connection:
            writing = connection.execution_options(semsearch_begin="IMMEDIATE")
            with writing.begin():
                yield WriteTransaction(writing, self.path)

    def upgrade(self) -> None:
        """Bring an older format to the newest, in one transaction; only for the writer."""
        with self.read() as transaction:
            if transaction.format == schema.FORMAT_VERSION:
                return
        with self.write() as transaction:
            transaction.upgrade()

    def reclaim(self) -> None:
        """Merge the keyword index, give back free pages, empty the write-ahead log.

        Readers are not waited for: while one is in the log, it is emptied at a later commit.
        """
        with self.write() as transaction:
            transaction.merge_keywords()
        with catalog_errors(self.path):
            raw = self._engine.raw_connection()
            cursor = raw.cursor()
            try:
                cursor.execute("PRAGMA incremental_vacuum").fetchall()
                cursor.execute("PRAGMA busy_timeout = 0")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")
                raw.close()

    def close(self) -> None:
        """Close all connections; the last one empties the write-ahead log."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        self._engine.dispose()
