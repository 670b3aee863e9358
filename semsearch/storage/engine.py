"""What writes to the catalog through SQLAlchemy."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import QueuePool

from semsearch.storage.connection import connect


def engine_of(path: Path, mode: str) -> Engine:
    """Connections to the file, as `connect` makes them; a transaction is `BEGIN IMMEDIATE`.

    Errors are those of SQLite itself.
    """
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, mode), poolclass=QueuePool, max_overflow=-1
    )
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _as_sqlite_says)
    return engine


def dbapi_connection(connection: Connection) -> sqlite3.Connection:
    """What SQLAlchemy wraps."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


def _begin(connection: Connection) -> None:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _as_sqlite_says(context: ExceptionContext) -> None:
    raise context.original_exception
