"""Changes of one commit of the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select

from semsearch.storage import field_index, keywords, schema
from semsearch.storage.engine import dbapi_connection
from semsearch.storage.format import APPLICATION_ID
from semsearch.storage.reading import INDEX_FIELDS, ReadTransaction, json_list
from semsearch.storage.rows import ChunkRow, DocumentRow, SegmentRow, State
from semsearch.storage.upgrade import record_schema, upgrade
from semsearch.types import Reject


class WriteTransaction(ReadTransaction):
    """Changes of one commit; what it reads, it reads with them."""

    def __init__(self, connection: Connection, path: Path) -> None:
        super().__init__(dbapi_connection(connection), path)
        self._writing = connection

    def create(self, settings: Mapping[str, Any], index_fields: Iterable[str]) -> None:
        """Make the tables of a new catalog, whose settings are values for JSON.

        Raises:
            InvalidArgument: A field cannot be indexed.
        """
        schema.metadata.create_all(self._writing)
        keywords.create(self._connection)
        for key, value in settings.items():
            self.put_setting(key, json.dumps(value))
        self.put_state(State(1, 1, 1, 0, 0))
        self._writing.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        self.index_fields(index_fields)

    def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Insert documents, or replace the rows with their keys."""
        if rows:
            values = [{**row._asdict(), "encoded": int(row.encoded)} for row in rows]
            self._put(schema.documents, values)

    def next_document(self) -> int:
        """A key above that of every document."""
        highest = self._writing.execute(select(func.max(schema.documents.c.key))).scalar()
        return int(highest or 0) + 1

    def insert_chunks(self, rows: Sequence[ChunkRow]) -> None:
        """Insert chunks; the rows of their documents must be there already."""
        if rows:
            values = schema.sealed(schema.chunks, [row._asdict() for row in rows])
            self._writing.execute(insert(schema.chunks), values)
            keywords.insert(self._connection, json_list(row.key for row in rows))

    def delete_documents(self, keys: Sequence[int]) -> None:
        """Delete documents; their chunks must be gone already."""
        self._writing.execute(_DELETE_DOCUMENTS, {"values": json_list(keys)})

    def delete_chunks_of(self, documents: Sequence[int]) -> list[int]:
        """Delete the chunks of documents and mark their vectors dead; gives their keys."""
        keys = [
            row.key
            for row in self._writing.execute(
                _CHUNK_KEYS_BY_DOCUMENT, {"values": json_list(documents)}
            )
        ]
        keywords.delete(self._connection, json_list(keys))
        self._writing.execute(_DELETE_CHUNKS, {"values": json_list(keys)})
        if keys:
            self._writing.execute(insert(schema.deletions), [{"chunk": key} for key in keys])
        return keys

    def forget_deletions(self, first: int, last: int) -> None:
        """Drop the marks of vectors that are in no segment any more."""
        table = schema.deletions
        self._writing.execute(delete(table).where(table.c.chunk.between(first, last)))

    def put_segment(self, row: SegmentRow) -> None:
        """Insert a segment, or replace the row with its number."""
        self._put(schema.segments, [asdict(row)])

    dropped = False
    """Whether a segment was dropped, so that there are files to sweep."""

    def drop_segment(self, number: int) -> None:
        """Forget a segment; the next sweep removes its files."""
        table = schema.segments
        self._writing.execute(delete(table).where(table.c.number == number))
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
        self._writing.execute(_DELETE_REJECTS, {"values": json_list(sources)})

    def put_setting(self, key: str, value: str) -> None:
        """Keep a setting, in place of an older one: its value is JSON."""
        self._put(schema.settings, [{"key": key, "value": value}])

    def index_fields(self, names: Iterable[str]) -> None:
        """Index metadata fields, for filters.

        Raises:
            InvalidArgument: One cannot be indexed.
        """
        definitions = field_index.definitions(names)
        for statement in definitions.values():
            self._writing.exec_driver_sql(statement)
        listed = json.dumps(list(dict.fromkeys([*self.indexed_fields(), *definitions])))
        self.put_setting(INDEX_FIELDS, listed)
        record_schema(self._writing)

    def upgrade(self) -> None:
        """Bring an older format to the newest."""
        upgrade(self._writing, self.format)

    def rebuild_field_indexes(self, fields: Iterable[str]) -> None:
        """Make the indexes of metadata fields anew from the documents."""
        for field in fields:
            self._writing.exec_driver_sql(f'REINDEX "field {field}"')

    def rebuild_keywords(self) -> None:
        """Make the keyword index anew from the texts."""
        keywords.rebuild(self._connection)

    def merge_keywords(self) -> None:
        """Make the keyword index as small and as quick as it gets."""
        keywords.merge(self._connection)

    def _put(self, table: Table, rows: list[dict[str, Any]]) -> None:
        self._writing.execute(insert(table).prefix_with("OR REPLACE"), schema.sealed(table, rows))


_CHUNK_KEYS_BY_DOCUMENT = select(schema.chunks.c.key).where(
    schema.chunks.c.document.in_(schema.listed())
)
_DELETE_DOCUMENTS = delete(schema.documents).where(schema.documents.c.key.in_(schema.listed()))
_DELETE_CHUNKS = delete(schema.chunks).where(schema.chunks.c.key.in_(schema.listed()))
_DELETE_REJECTS = delete(schema.rejects).where(schema.rejects.c.source.in_(schema.listed()))
