"""A file of queries, answered in a format that evaluation programs read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from semsearch.cli import display
from semsearch.cli.progress import query_bar
from semsearch.errors import InvalidArgument

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.sources.beir import Query
    from semsearch.types import Hit, Mode

Format = Literal["trec", "jsonl"]

_BATCH = 256


def answer(
    index: Index,
    queries: Sequence[Query],
    k: int,
    format_: Format,
    tag: str,
    *,
    mode: Mode,
    where: str | None = None,
) -> None:
    """Search for all queries and print the answers, a document at most once for each.

    Raises:
        InvalidArgument: An id cannot be written in TREC's format.
    """
    if format_ == "trec":
        for query in queries:
            _check_trec(query.id)
    with query_bar(len(queries), among_answers=True) as bar:
        for at in range(0, len(queries), _BATCH):
            batch = queries[at : at + _BATCH]
            answers = index.search(
                [query.text for query in batch], k, mode=mode, where=where, group=True
            )
            for query, hits in zip(batch, answers, strict=True):
                _write(query.id, hits, format_, tag)
            bar.update(len(batch))


def _write(query_id: str, hits: Sequence[Hit], format_: Format, tag: str) -> None:
    if format_ == "trec":
        for line in _trec(query_id, hits, tag):
            display.echo_exactly(line)
    else:
        found = [{"id": hit.id, "score": hit.score} for hit in hits]
        display.echo_json({"query_id": query_id, "hits": found}, indent=None)


def _trec(query_id: str, hits: Sequence[Hit], tag: str) -> Iterator[str]:
    for rank, hit in enumerate(hits, 1):
        _check_trec(hit.id)
        yield f"{query_id} Q0 {hit.id} {rank} {hit.score:.9g} {tag}"


def _check_trec(id_: str) -> None:
    if id_.split() != [id_]:
        raise InvalidArgument(
            f"id {id_!r}: TREC's format has no place for white space in an id; use --format jsonl"
        )
