"""The statements that ask which documents and chunks match a filter."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Select, select
from sqlalchemy.dialects import sqlite

from semsearch.filters import Filter
from semsearch.storage.schema import chunks, documents, listed
from semsearch.storage.where import condition

Bound = tuple[str, tuple[object, ...]]
"""A statement and the values of its parameters."""


# Not sorted by SQLite: it would read the table of chunks, with all texts, in that order, where now
# the index on documents tells all.
@lru_cache(maxsize=64)
def matching_chunks(where: Filter) -> Bound:
    """Keys of the chunks of all documents that match."""
    return _bound(
        select(chunks.c.key)
        .join(documents, documents.c.key == chunks.c.document)
        .where(condition(where))
    )


@lru_cache(maxsize=64)
def matching_among(where: Filter) -> Bound:
    """Like `matching_chunks`, of some chunks: their keys, a JSON list, are the first parameter."""
    statement, (_, *values) = _bound(
        select(chunks.c.key)
        .join(documents, documents.c.key == chunks.c.document)
        .where(chunks.c.key.in_(listed()), condition(where)),
        values="",
    )
    return statement, tuple(values)


@lru_cache(maxsize=64)
def matching_ids(where: Filter) -> Bound:
    """Ids of the documents that match, in the order they were added."""
    return _bound(select(documents.c.id).where(condition(where)).order_by(documents.c.key))


def _bound(statement: Select[str] | Select[int], **values: object) -> Bound:
    compiled = statement.compile(dialect=sqlite.dialect())
    expanded = compiled.construct_expanded_state(values)
    return expanded.statement, tuple(expanded.positional_parameters)
