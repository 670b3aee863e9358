"""From one on-disk format to the next, by the first writer that meets an older index."""

from __future__ import annotations

import json

from sqlalchemy import Connection, insert

from semsearch.storage import keywords, schema
from semsearch.storage.engine import dbapi_connection
from semsearch.storage.format import FORMAT_VERSION
from semsearch.storage.reading import schema_checksum


def upgrade(connection: Connection, version: int) -> None:
    """Bring a catalog of format `version` to the newest, in the transaction of `connection`.

    - 1 to 2: the keyword index. Nothing else changed, so readers of format 1 go on undisturbed.
    - 2 to 3: segments may hold raw latents, and rows have another checksum. What is there keeps
      what it has: no segment of an older index holds latents, and both checksums are read.
    """
    if version < 2:
        keywords.create(dbapi_connection(connection))
    record_schema(connection)


def record_schema(connection: Connection) -> None:
    """Write down the format, and what the tables look like, for `verify` to compare."""
    row = {"key": "schema", "value": json.dumps(schema_checksum(dbapi_connection(connection)))}
    statement = insert(schema.settings).prefix_with("OR REPLACE")
    connection.execute(statement, schema.sealed(schema.settings, [row]))
    connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT_VERSION}")
