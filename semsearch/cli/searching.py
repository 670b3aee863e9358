"""search: one query for a person, or a file of them for an evaluation."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from semsearch.cli import display
from semsearch.cli.options import (
    device_option,
    examples,
    index_option,
    json_option,
    open_index,
    runtime_option,
)
from semsearch.cli.progress import hint
from semsearch.cli.queries import Format, answer, read_queries

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.types import Hit, Mode

_INDENT = 4
_EMPTY = "no documents yet: add some with `semsearch index SOURCE...`"


@click.command(
    epilog=examples(
        'semsearch search "my bread comes out like a brick" -k 3',
        'semsearch search "tired all the time" --where \'subject = "medicine" and year >= 2010\'',
        "semsearch search --queries queries.jsonl --format trec -k 100 > run.trec",
    )
)
@click.argument("query", required=False)
@click.option(
    "-k",
    type=click.IntRange(min=1),
    metavar="N",
    default=10,
    show_default=True,
    help="How many hits.",
)
@index_option
@click.option(
    "--where",
    metavar="FILTER",
    help='Only documents whose metadata match, such as \'year >= 2020 and lang in ("en", "de")\'.',
)
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "dense", "keyword"]),
    default="hybrid",
    show_default=True,
    help="By meaning (dense), by words (keyword), or by both.",
)
@click.option("--group", is_flag=True, help="Show only the best passage of each document.")
@click.option(
    "--queries",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help='Answer a JSONL file of {"_id": ..., "text": ...} (- for stdin), documents grouped.',
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["trec", "jsonl"]),
    help="How answers to --queries are written.  [default: jsonl]",
)
@click.option(
    "--tag", metavar="NAME", default="semsearch", show_default=True, help="Name of the TREC run."
)
@device_option
@runtime_option
@json_option
def search(
    *,
    query: str | None,
    k: int,
    path: Path,
    where: str | None,
    mode: Mode,
    group: bool,
    file: BinaryIO | None,
    format_: Format | None,
    tag: str,
    device: str | None,
    runtime: str,
    as_json: bool,
) -> None:
    """Find the passages that answer a QUERY.

    Higher scores are better. Of --mode dense they are cosine similarities, at most 1; of keyword
    BM25 scores; of hybrid the cosine and what the words of the query add to it.
    """
    if file is None:
        text = _the_query(query, format_)
        with open_index(path, device=device, runtime=runtime) as index:
            _answer_one(index, text, k, mode=mode, where=where, group=group, as_json=as_json)
        return
    _check_run(query, format_, tag, as_json=as_json)
    queries = read_queries(file)
    with open_index(path, device=device, runtime=runtime) as index:
        answer(index, queries, k, format_ or "jsonl", tag, mode=mode, where=where)


def _the_query(query: str | None, format_: Format | None) -> str:
    if query is None:
        raise click.UsageError("Give a QUERY, or a file of them with --queries.")
    if format_ is not None:
        raise click.UsageError("--format is for --queries; for one QUERY there is --json.")
    return query


def _check_run(query: str | None, format_: Format | None, tag: str, *, as_json: bool) -> None:
    if query is not None:
        raise click.UsageError("Give either a QUERY or --queries, not both.")
    if as_json and format_ == "trec":
        raise click.UsageError("--json and --format trec: choose one.")
    if not tag or re.search(r"\s", tag):
        raise click.UsageError(f"--tag {tag!r}: expected a name without blanks.")


def _answer_one(
    index: Index,
    query: str,
    k: int,
    *,
    mode: Mode,
    where: str | None,
    group: bool,
    as_json: bool,
) -> None:
    if not as_json and not len(index):
        click.echo(_EMPTY)
        return
    with hint(f"loading {index.space.name} ..."):
        hits = index.search(query, k, mode=mode, where=where, group=group)
    if as_json:
        display.echo_json({"query": query, "mode": mode, "hits": [_as_json(hit) for hit in hits]})
    elif not hits:
        click.echo("no document matches" + (" the filter" if where else ""))
    else:
        click.echo("\n\n".join(_shown(rank, hit, query) for rank, hit in enumerate(hits, 1)))


def _as_json(hit: Hit) -> dict[str, object]:
    return {**asdict(hit), "span": [hit.span.start, hit.span.end]}


def _shown(rank: int, hit: Hit, query: str) -> str:
    """A hit for a person: rank, score and title; id and source; the passage."""
    pattern = display.terms(query)
    head = f"{rank:>2}. {hit.score:.3f}  "
    room = display.width()
    title = display.shortened(display.one_line(hit.title or hit.id), room - len(head))
    passage = display.excerpt(hit.text, pattern, room - _INDENT)
    below = [*_origin(hit), *(display.marked(line, pattern) for line in passage)]
    return "\n".join([head + display.bold(title), *(" " * _INDENT + line for line in below)])


def _origin(hit: Hit) -> list[str]:
    """The id, unless it is the heading already, and the source, unless it is the id."""
    identity = display.one_line(hit.id)
    source = display.location(hit.source) if hit.source else ""
    parts = [identity] if hit.title else []
    parts += [source] if source and source != identity else []
    return [display.dim(" · ".join(parts))] if parts else []
