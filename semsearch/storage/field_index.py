"""Indexes of SQLite on metadata fields, so that a filter on one reads only what matches."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.dialects import sqlite

from semsearch.filters import Field, field_of
from semsearch.storage.where import indexed


def definitions(names: Iterable[str]) -> dict[str, str]:
    """The statement that makes the index of each field, by the field's plain name.

    Raises:
        InvalidArgument: One cannot be indexed.
    """
    return {str(field): _definition(field) for field in map(field_of, names)}


def _definition(field: Field) -> str:
    value, kind = (
        expression.compile(
            dialect=sqlite.dialect(),
            compile_kwargs={"literal_binds": True, "include_table": False},
        )
        for expression in indexed(field)
    )
    return f'CREATE INDEX IF NOT EXISTS "field {field}" ON documents ({value}, {kind})'
