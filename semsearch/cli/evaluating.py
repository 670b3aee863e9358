"""eval: how good retrieval is on a collection with judgements."""

from __future__ import annotations

import platform
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semsearch import __version__
from semsearch.cli import display
from semsearch.cli.indexing import ingest_bar, opened
from semsearch.cli.options import PathName, device_option, examples, json_option, runtime_option
from semsearch.cli.progress import query_bar
from semsearch.errors import InvalidArgument

if TYPE_CHECKING:
    from semsearch.evaluate import Quality
    from semsearch.index import Index
    from semsearch.sources import Sources
    from semsearch.sources.beir import Collection
    from semsearch.types import Mode

_K = 100
_MODES: tuple[Mode, ...] = ("dense", "keyword", "hybrid")
_HEADINGS = ("mode", "nDCG@10", "R@10", f"R@{_K}", "MRR@10", "P@1", "median ms", "p95 ms")
_SHARES = (0.6, 0.1, 0.01)  # of the documents: each is searched in another way
_TIMES = 6  # columns from here on: less is better


@click.command(
    "eval",
    epilog=examples(
        "semsearch eval data",
        "semsearch eval scifact/ --mode dense --mode hybrid --index indexes/scifact",
        "semsearch eval scifact/ --encoder models/mine --json",
    ),
)
@click.argument("folder", metavar="BEIR_DIR", type=PathName())
@click.option(
    "--mode",
    "modes",
    type=click.Choice(_MODES),
    multiple=True,
    help="How to search; may be given several times.  [default: all three]",
)
@click.option(
    "--split",
    metavar="NAME",
    help="Judge by qrels/NAME.tsv.  [default: test, or the only one there is]",
)
@click.option(
    "--index",
    "path",
    metavar="PATH",
    type=PathName(),
    help="Search this index of the collection; if there is none, it is made and kept.  "
    "[default: one that is made and removed]",
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="Model that makes the vectors: a folder or a name.  [default: all-MiniLM-L6-v2]",
)
@click.option(
    "--recall",
    "with_recall",
    is_flag=True,
    help="Tell also how much of an exact search the index finds, without filters and with some.",
)
@device_option
@runtime_option
@json_option
def evaluate(
    *,
    folder: Path,
    modes: tuple[Mode, ...],
    split: str | None,
    path: Path | None,
    encoder: str | None,
    with_recall: bool,
    device: str | None,
    runtime: str,
    as_json: bool,
) -> None:
    """Measure how good search is on a collection with judgements.

    BEIR_DIR is a folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/*.tsv. Its
    documents are indexed, its queries asked, and the answers held against the judgements, each
    document counted once, where its best passage stands. Figures are averages over the judged
    queries; times are those of one search for 100 documents, asked one at a time. Needs the
    extra semsearch[eval].
    """
    from semsearch.evaluate import check_installed
    from semsearch.sources import Sources
    from semsearch.sources.beir import read_collection

    check_installed()
    collection = read_collection(folder, split)
    sources = Sources([collection.corpus])
    asked = tuple(dict.fromkeys(modes)) or _MODES
    with _place(path) as place:
        index, _ = opened(place, lambda _: sources, encoder, None, device=device, runtime=runtime)
        with index:
            _fill(index, sources)
            missing = _missing(index, sources, collection)
            rows = _measured(index, collection, asked)
            told = _circumstances(index, folder, collection, missing)
            found = _recall(index, collection) if with_recall else None
    if as_json:
        also = {"recall": found} if found else {}
        display.echo_json({**told, "modes": [asdict(row) for row in rows], **also})
        return
    click.echo(_heading(told) + "\n")
    for line in _table(rows):
        click.echo(line)
    if found:
        click.echo()
        for line in display.table(_recall_cells(found)):
            click.echo(line)


@contextmanager
def _place(path: Path | None) -> Iterator[Path]:
    """Where the index is: at a path, or where it will be removed."""
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="semsearch-") as folder:
        yield Path(folder) / "index"


def _fill(index: Index, sources: Sources) -> None:
    """Index the corpus, if nothing is in the index."""
    if len(index):
        return
    with ingest_bar(index, sources.total_bytes) as bar:
        report = index.ingest_sources(sources, progress=bar)
    if report.rejected:
        records = display.count(report.rejected, "record")
        click.echo(f"left out {records}: {display.rejected(report.rejects[0])}", err=True)


def _missing(index: Index, sources: Sources, collection: Collection) -> int:
    """How many judged documents the collection itself does not have.

    Raises:
        InvalidArgument: The collection has one that the index has not.
    """
    from semsearch.types import Document

    judged = sorted({id_ for documents in collection.qrels.values() for id_ in documents})
    absent = {id_ for id_, found in zip(judged, index.get(judged), strict=True) if found is None}
    if not absent:
        return 0
    items = (record.item for record in sources)
    lost = [item.id for item in items if isinstance(item, Document) and item.id in absent]
    if lost:
        again = ["semsearch", "index", str(collection.corpus), "--index", str(index.path)]
        raise InvalidArgument(
            f"{index.path} is no index of {collection.corpus}: it has not {lost[0]!r}, one of "
            f"{display.count(len(lost), 'judged document')}; add them with `{shlex.join(again)}`"
        )
    return len(absent)


def _measured(index: Index, collection: Collection, modes: Sequence[Mode]) -> list[Quality]:
    from semsearch import evaluate

    with query_bar(len(modes) * len(collection.queries), among_answers=False) as bar:
        return evaluate.evaluate(
            index, collection.queries, collection.qrels, modes=modes, k=_K, progress=bar.update
        )


def _recall(index: Index, collection: Collection) -> dict[str, Any]:
    """How much of an exact search is found in all documents, and where filters leave some.

    A filter is planned by the share that matches it; these are of ids, which all documents have.
    """
    from semsearch import evaluate

    kinds = ", ".join(sorted({segment.kind for segment in index.info().segments}))
    texts = list(collection.queries.values())
    with index.snapshot() as reader:
        found = [(1.0, evaluate.recall(reader, texts))]
        ids = sorted(reader.ids())
        for share in _SHARES:
            if matching := int(share * len(ids)):
                where = {"id": {"$lt": ids[matching]}}
                found.append((share, evaluate.recall(reader, texts, where=where)))
    return {"kinds": kinds, "among": [{"share": share, **asdict(row)} for share, row in found]}


def _recall_cells(told: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    k = told["among"][0]["k"]
    headings = (f"{told['kinds']}, {k} nearest", "found", "worst query", "median ms")
    return [headings] + [
        (
            "among all" if row["share"] == 1 else f"where {row['share']:.0%} match",
            f"{row['mean']:.3f}",
            f"{row['least']:.3f}",
            f"{row['median_ms']:.1f}",
        )
        for row in told["among"]
    ]


def _circumstances(
    index: Index, folder: Path, collection: Collection, missing: int
) -> dict[str, Any]:
    """What the figures are about, and what they were made with."""
    info = index.info()
    return {
        "collection": str(folder),
        "split": collection.split,
        "queries": len(collection.queries),
        "documents": info.documents,
        "rejected": info.rejects,
        "missing": missing,
        "encoder": info.encoder,
        "fingerprint": info.space.fingerprint,
        "k": _K,
        "versions": {
            "python": platform.python_version(),
            "semsearch": __version__,
            "ir-measures": version("ir-measures"),
        },
    }


def _heading(told: dict[str, Any]) -> str:
    queries = told["queries"]
    parts = [
        f"{told['collection']} ({told['split']})",
        f"{queries:,} {'query' if queries == 1 else 'queries'}",
        display.count(told["documents"], "document"),
        told["encoder"] or "given vectors",
    ]
    if told["missing"]:
        parts.append(f"{told['missing']:,} judged ones are not in the collection")
    return display.one_line(", ".join(parts))


def _table(rows: Sequence[Quality]) -> list[str]:
    """A line for each mode; of several, the best figure of a column is bold."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    best = {place for column in range(1, len(_HEADINGS)) for place in _best(cells, column)}
    return display.table(cells, best if len(rows) > 1 else ())


def _cells(row: Quality) -> tuple[str, ...]:
    mode, *figures = astuple(row)
    qualities, times = figures[: _TIMES - 1], figures[_TIMES - 1 :]
    return (mode, *(f"{one:.3f}" for one in qualities), *(f"{one:.1f}" for one in times))


def _best(cells: Sequence[Sequence[str]], column: int) -> Iterator[tuple[int, int]]:
    """Where the best figures of a column stand; what is written alike is alike."""
    figures = [float(line[column]) for line in cells[1:]]
    best = min(figures) if column >= _TIMES else max(figures)
    return ((row, column) for row, figure in enumerate(figures, 1) if figure == best)
