"""search: one query for a person, or a file of them for an evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import click

from semsearch.cli import display
from semsearch.cli.options import (
    device_option,
    examples,
    index_option,
    json_option,
    number_option,
    open_index,
    query_runtime_option,
    where_option,
)
from semsearch.cli.progress import hint
from semsearch.cli.queries import Format, answer

if TYPE_CHECKING:
    from semsearch.blend import Blend
    from semsearch.encoders.reranker import Reranker
    from semsearch.index import Index
    from semsearch.types import Hit, Mode

_INDENT = 4
_EMPTY = "no documents yet: add some with `semsearch index SOURCE...`"


@click.command(
    epilog=examples(
        'semsearch search "my bread comes out like a brick" -k 3',
        'semsearch search "tired all the time" --where \'subject = "medicine" and year >= 2010\'',
        'semsearch search "winter soup" --minus "meat" --like recipes/chowder.md',
        "semsearch search --image holiday.jpg --index indexes/photos",
        "semsearch search --queries queries.jsonl --format trec -k 100 > run.trec",
    )
)
@click.argument("query", required=False)
@number_option("-k", "How many hits.", default=10)
@index_option
@where_option
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "dense", "keyword"]),
    help="By meaning (dense), by words (keyword), or by both.  [default: hybrid; dense with "
    "--image, --plus, --minus, --like, --unlike]",
)
@click.option(
    "--image",
    "images",
    metavar="FILE",
    multiple=True,
    help="Towards this picture, in an index of pictures.",
)
@click.option("--group", is_flag=True, help="Show only the best passage of each document.")
@click.option("--plus", metavar="TEXT", multiple=True, help="Also towards this text.")
@click.option("--minus", metavar="TEXT", multiple=True, help="Away from this text.")
@click.option("--like", metavar="ID", multiple=True, help="Also towards this document.")
@click.option("--unlike", metavar="ID", multiple=True, help="Away from this document.")
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Leave out the first N hits: the pages behind the first.",
)
@click.option("--min-score", type=float, metavar="X", help="Leave out hits that score less.")
@click.option(
    "--diversity",
    type=click.FloatRange(0, 1),
    metavar="X",
    default=0.0,
    help="From 0 to 1: prefer hits that differ from those before them.",
)
@click.option(
    "--rerank",
    metavar="MODEL",
    help="Let this cross-encoder (a folder, or a name on the hub) read and score the best hundred.",
)
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
@click.option("--explain", is_flag=True, help="Show what was done, and how long it took.")
@device_option
@query_runtime_option
@json_option
def search(
    *,
    query: str | None,
    k: int,
    path: Path,
    where: str | None,
    mode: Mode | None,
    images: tuple[str, ...],
    group: bool,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    offset: int,
    min_score: float | None,
    diversity: float,
    rerank: str | None,
    file: BinaryIO | None,
    format_: Format | None,
    tag: str,
    explain: bool,
    device: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Find passages that answer a QUERY, or similar pictures.

    Higher scores are better. Of --mode dense they are cosine similarities, at most 1; of keyword
    BM25 scores; of hybrid the cosine and what the words of the query add to it. With --image,
    --plus, --minus, --like and --unlike the query is a point: the sum of all that is given, each
    counted by its direction; its texts and documents are left out of the answer. Then QUERY may
    be left out.
    """
    terms = [
        *(_Term("+", "text", text) for text in (() if query is None else (query,))),
        *(_Term("+", "text", text) for text in plus),
        *(_Term("-", "text", text) for text in minus),
        *(_Term("+", "image", file) for file in images),
        *(_Term("+", "like", id_) for id_ in like),
        *(_Term("-", "like", id_) for id_ in unlike),
    ]
    if file is not None:
        _check_run(terms, format_, tag, as_json=as_json)
        if offset or min_score is not None or diversity or rerank or explain:
            raise click.UsageError("--queries takes only --mode, --where and -k.")
        from semsearch.sources.beir import read_queries

        queries = read_queries(file)
        with open_index(path, device=device, runtime=runtime or "auto") as index:
            answer(index, queries, k, format_ or "jsonl", tag, mode=mode or "hybrid", where=where)
        return
    if not terms:
        raise click.UsageError("Give a QUERY, an --image, or a file of queries with --queries.")
    if format_ is not None:
        raise click.UsageError("--format is for --queries; for one QUERY there is --json.")
    blended = bool(images or plus or minus or like or unlike)
    words = _words(terms)
    asked = _blend(terms) if blended else words
    how = {
        "mode": mode or ("dense" if blended else "hybrid"),
        "where": where,
        "group": group,
        "offset": offset,
        "min_score": min_score,
        "diversity": diversity,
        "rerank": _reranker(rerank, device) if rerank else None,
    }
    with open_index(path, device=device, runtime=runtime or "light") as index:
        _answer_one(index, asked, words, k, how, explain=explain, as_json=as_json)


@click.command(
    epilog=examples('semsearch between "a quick weekday supper" "a wedding feast" --steps 6')
)
@click.argument("start", metavar="FROM")
@click.argument("end", metavar="TO")
@number_option("--steps", "How many points, both ends included.", default=10, least=2)
@number_option("-k", "Hits at each.", default=1)
@index_option
@where_option
@device_option
@query_runtime_option
@json_option
def between(
    *,
    start: str,
    end: str,
    steps: int,
    k: int,
    path: Path,
    where: str | None,
    device: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Show what lies on the way FROM one text TO another.

    The way is the arc between their two points of the latent space; each step shows the passages
    nearest to it.
    """
    with (
        open_index(path, device=device, runtime=runtime or "light") as index,
        hint(f"loading {index.space.name} ..."),
    ):
        answers = index.between(start, end, steps=steps, k=k, where=where)
    if as_json:
        shown = [[_as_json(hit) for hit in hits] for hits in answers]
        display.echo_json({"from": start, "to": end, "steps": shown})
        return
    for step, hits in enumerate(answers):
        click.echo(display.bold(f"{100 * step / (steps - 1):.0f}%"))
        for hit in hits:
            head = " " * _INDENT + f"{hit.score:.3f}  "
            title = display.one_line(hit.title or hit.text or hit.id)
            click.echo(head + display.shortened(title, display.width() - len(head)))


class _Term(NamedTuple):
    """A part of the point that is asked for.

    Attributes:
        sign: "+" for towards, "-" for away from.
        part: What the name is: a text itself, the file of a picture, or the id of a document.
    """

    sign: Literal["+", "-"]
    part: Literal["text", "image", "like"]
    name: str

    def __str__(self) -> str:
        return f"{self.sign} {self.name if self.part == 'text' else f'{self.part} {self.name}'}"


def _words(terms: Sequence[_Term]) -> str:
    """What is asked, in one line: king - man + woman + like soup.md."""
    return " ".join(map(str, terms)).removeprefix("+ ")


def _blend(terms: Sequence[_Term]) -> Blend:
    """The point that is asked for."""
    from semsearch import blend

    made = {"text": blend.text, "image": blend.image, "like": blend.like}
    points = [made[term.part](term.name) for term in terms]
    signed = zip(terms, points, strict=True)
    return reduce(add, (point if term.sign == "+" else -point for term, point in signed))


def _reranker(name: str, device: str | None) -> Reranker:
    from semsearch.encoders.reranker import Reranker

    return Reranker(name, device=device)


def _check_run(terms: Sequence[_Term], format_: Format | None, tag: str, *, as_json: bool) -> None:
    if terms:
        raise click.UsageError("Give either a QUERY or --queries, not both.")
    if as_json and format_ == "trec":
        raise click.UsageError("--json and --format trec: choose one.")
    if not tag or re.search(r"\s", tag):
        raise click.UsageError(f"--tag {tag!r}: expected a name without blanks.")


def _answer_one(
    index: Index,
    asked: str | Blend,
    words: str,
    k: int,
    how: dict[str, Any],
    *,
    explain: bool,
    as_json: bool,
) -> None:
    if not as_json and not len(index):
        click.echo(_EMPTY)
        return
    with hint(f"loading {index.space.name} ..."):
        explained = index.explain(asked, k, **how)
    hits = explained.hits
    if explain and not as_json:
        click.echo(f"{explained}\n")
    if as_json:
        found = [_as_json(hit) for hit in hits]
        steps = {"steps": [asdict(step) for step in explained.steps]} if explain else {}
        display.echo_json({"query": words, "mode": how["mode"], "hits": found, **steps})
    elif not hits:
        click.echo(_nothing(how))
    else:
        first = how["offset"] + 1
        shown = _shown_picture if index.space.modality == "image" else _shown
        click.echo("\n\n".join(shown(rank, hit, words) for rank, hit in enumerate(hits, first)))


def _nothing(how: dict[str, Any]) -> str:
    """Why there is no hit."""
    if how["offset"]:
        return f"no more than {how['offset']} documents match"
    if how["min_score"] is not None:
        return f"no document scores {how['min_score']:g} or more"
    return "no document matches" + (" the filter" if how["where"] else "")


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


def _shown_picture(rank: int, hit: Hit, query: str) -> str:  # noqa: ARG001 - as `_shown`
    """A hit in an index of pictures: rank, score and id; format, size and source."""
    head = f"{rank:>2}. {hit.score:.3f}  "
    title = display.shortened(display.one_line(hit.title or hit.id), display.width() - len(head))
    facts = f"{hit.metadata.get('width')}x{hit.metadata.get('height')}"
    known = [str(hit.metadata.get("format") or ""), facts, *_origin(hit)]
    below = " " * _INDENT + " · ".join(filter(None, known))
    return f"{head}{display.bold(title)}\n{below}"


def _origin(hit: Hit) -> list[str]:
    """The id, unless it is the heading already, and the source, unless it is the id."""
    identity = display.one_line(hit.id)
    source = display.location(hit.source) if hit.source else ""
    parts = [identity] if hit.title else []
    parts += [source] if source and source != identity else []
    return [display.dim(" · ".join(parts))] if parts else []
