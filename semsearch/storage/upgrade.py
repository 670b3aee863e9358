"""From one on-disk format to the next, by the first writer that meets an older index."""

from __future__ import annotations

import json

from sqlalchemy import Connection, insert

from semsearch.storage import keywords, schema
from semsearch.storage.checksum import older_row_checksum
from semsearch.storage.rows import sealed


def upgrade(connection: Connection, version: int) -> None:
    """Bring a catalog of format `version` to the newest, in the transaction of `connection`.

    - 1 to 2: the keyword index. Nothing else changed, so readers of format 1 go on undisturbed.
    - 2 to 3: segments may hold raw latents, and rows have another checksum. What is there keeps
      what it has: no segment of an older index holds latents, and both checksums are read.
    """
    if version < 2:
        keywords.create(connection)
    record_schema(connection)


def record_schema(connection: Connection) -> None:
    """Write down the format, and what the tables look like, for `verify` to compare."""
    row = {"key": "schema", "value": json.dumps(schema_checksum(connection))}
    statement = insert(schema.settings).prefix_with("OR REPLACE")
    connection.execute(statement, sealed(schema.settings, [row]))
    connection.exec_driver_sql(f"PRAGMA user_version = {schema.FORMAT_VERSION}")


def schema_checksum(connection: Connection) -> str:
    """Checksum, in hex, of the definitions of all tables and indexes."""
    rows = connection.exec_driver_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    )
    return older_row_checksum(value for row in rows for value in row).hex()
