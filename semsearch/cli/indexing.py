"""index: files and folders into an index."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display
from semsearch.cli.options import (
    PARTLY,
    device_option,
    examples,
    index_option,
    json_option,
    open_index,
    runtime_option,
)
from semsearch.cli.progress import IngestBar
from semsearch.errors import IndexNotFound, IngestError, InvalidArgument

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.ingest import IngestReport
    from semsearch.sources import Sources
    from semsearch.types import Modality

_REJECTS_SHOWN = 10


@click.command(
    epilog=examples(
        "semsearch index notes/",
        "semsearch index notes/ --prune",
        "semsearch index talks.jsonl --index-field year --index-field speaker",
        "semsearch index articles.csv --id-field url --text-field body --index indexes/articles",
    )
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@index_option
@click.option(
    "--encoder",
    metavar="NAME",
    help="Model that makes the vectors: a folder or a name; vae, or vae:NAME, for an index of "
    "pictures.  [default: all-MiniLM-L6-v2]",
)
@click.option(
    "--chunk-tokens",
    type=int,
    metavar="N",
    help="Longest passage in tokens.  [default: as much as the encoder reads]",
)
@click.option(
    "--id-field", metavar="FIELD", help="Field of a table that is the id.  [default: _id]"
)
@click.option(
    "--text-field", metavar="FIELD", help="Field of a table that is the text.  [default: text]"
)
@click.option(
    "--index-field",
    "index_fields",
    metavar="FIELD",
    multiple=True,
    help="Metadata field to index, so that filters on it are quick when first met.",
)
@click.option(
    "--prune", is_flag=True, help="Delete documents of these sources that they no longer hold."
)
@click.option(
    "--force", is_flag=True, help="With --prune: also when nothing at all is left of a source."
)
@device_option
@runtime_option
@json_option
@click.pass_context
def index(
    ctx: click.Context,
    *,
    sources: tuple[str, ...],
    path: Path,
    encoder: str | None,
    chunk_tokens: int | None,
    id_field: str | None,
    text_field: str | None,
    index_fields: tuple[str, ...],
    prune: bool,
    force: bool,
    device: str | None,
    runtime: str,
    as_json: bool,
) -> None:
    """Add files and folders to an index.

    The index is made if there is none. A SOURCE is a file (text, Markdown, source code, .pdf,
    .docx, .pptx, .html, .epub, .eml, .mbox), a table (.jsonl, .csv, .tsv, .parquet), a folder of
    files or in BEIR's layout, or - for one document a line from stdin. Of a PDF each page is a
    document, and likewise each slide, section, chapter and message. Run again, it reads
    everything and encodes only what changed; interrupted or killed, it goes on where it was.
    Documents that are gone from their source stay unless you --prune. Records that cannot be
    indexed are listed and passed over. With an encoder of pictures (--encoder vae) each
    picture of a folder is a document.
    """
    from semsearch.sources import Sources

    if force and not prune:
        raise InvalidArgument("--force goes with --prune")

    def plan(modality: Modality) -> Sources:
        return Sources(
            sources,
            id_field=id_field,
            text_field=text_field,
            missing_ok=force,
            modality=modality,
        )

    target, planned = opened(path, plan, encoder, chunk_tokens, device=device, runtime=runtime)
    with target, ingest_bar(target, planned.total_bytes) as bar:
        if index_fields:
            target.index_field(*index_fields)
        report = target.ingest_sources(planned, prune=prune, force=force, progress=bar)
    if as_json:
        display.echo_json({**as_json_object(path, report), "skipped_files": planned.skipped})
    else:
        click.echo(summary(path, report))
        if planned.skipped:
            click.echo(_skipped(planned))
    tell_rejects(path, report)
    if report.rejected:
        ctx.exit(PARTLY)


def opened(
    path: Path,
    plan: Callable[[Modality], Sources],
    encoder: str | None,
    chunk_tokens: int | None,
    *,
    device: str | None,
    runtime: str,
) -> tuple[Index, Sources]:
    """The index at a path, made if there is none, and the sources that are read into it.

    Args:
        path: Of the index.
        plan: Looks at the sources for an index of a modality.
        encoder: Name of the encoder, if one is asked for.
        chunk_tokens: Longest passage, if one is asked for.
        device: Where the encoder runs.
        runtime: What runs it.
    """
    from semsearch import encoders
    from semsearch.opening import DEFAULT_ENCODER, create

    try:
        found = open_index(path, encoder=encoder, device=device, runtime=runtime)
    except IndexNotFound:
        made = encoders.load_any(encoder or DEFAULT_ENCODER, device=device, runtime=runtime)
        sources = plan(made.space.modality)
        _check_something(sources)
        return create(path, encoder=made, chunk_tokens=chunk_tokens), sources
    try:
        _check_chunk_tokens(found, chunk_tokens)
        return found, plan(found.space.modality)
    except BaseException:
        found.close()
        raise


def _check_something(sources: Sources) -> None:
    if sources.total_bytes == 0:  # None is standard input
        skipped = f": {_skipped(sources)}" if sources.skipped else ""
        raise IngestError(f"nothing to read{skipped}; no index was made")


def _check_chunk_tokens(opened: Index, wanted: int | None) -> None:
    if wanted is None:
        return
    used = opened.info().chunk_tokens or opened.encoder.max_tokens
    if wanted != used:
        raise InvalidArgument(
            f"--chunk-tokens {wanted}: {opened.path} was made with {used}; "
            "leave the option out, or make another index"
        )


def ingest_bar(opened: Index, total: int | None) -> IngestBar:
    """The bar over an ingest into an index."""
    name = opened.space.name
    return IngestBar(total, "looking for changes" if len(opened) else f"loading {name} ...")


def _documents(report: IngestReport) -> int:
    return report.added + report.replaced + report.unchanged


def summary(path: Path, report: IngestReport) -> str:
    """What an ingest did, in a line."""
    became = (
        f"{report.added:,} new, {report.replaced:,} changed, {report.unchanged:,} unchanged"
        + (f", {report.pruned:,} pruned" if report.pruned else "")
        + (f", {report.rejected:,} rejected" if report.rejected else "")
    )
    speed = report.tokens / max(report.seconds, 1e-9)
    reused = f" ({report.reused:,} reused)" if report.reused else ""
    made = f" in {display.count(report.chunks, 'chunk')}{reused}" if report.chunks else ""
    pace = f", {speed:,.0f} tokens/s" if report.tokens else ""
    moved = (
        f"\n{display.count(report.moved, 'document')} replaced one from another source"
        if report.moved
        else ""
    )
    return (
        f"Indexed {display.count(_documents(report), 'document')} ({became}){made}, "
        f"{display.duration(report.seconds)}{pace} -> {path}{moved}"
    )


def _skipped(sources: Sources) -> str:
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in sources.skipped.items())
    total = display.count(sum(sources.skipped.values()), "file")
    tables = "" if sources.modality == "image" else " (tables are read when they are named)"
    return f"skipped {total} of other kinds: {kinds}{tables}"


def tell_rejects(path: Path, report: IngestReport) -> None:
    """The first rejects on stderr, and where the others are."""
    for reject in report.rejects[:_REJECTS_SHOWN]:
        click.echo(display.rejected(reject), err=True)
    more = report.rejected - _REJECTS_SHOWN
    if more > 0:
        listing = f"semsearch list --rejects --index {shlex.quote(str(path))}"
        click.echo(f"... and {more:,} more: {listing}", err=True)


def as_json_object(path: Path, report: IngestReport) -> dict[str, object]:
    """A report for programs."""
    return {
        "index": str(path),
        "documents": _documents(report),
        "added": report.added,
        "replaced": report.replaced,
        "unchanged": report.unchanged,
        "moved": report.moved,
        "pruned": report.pruned,
        "rejected": report.rejected,
        "chunks": report.chunks,
        "reused": report.reused,
        "tokens": report.tokens,
        "seconds": round(report.seconds, 3),
        "rejects": [asdict(reject) for reject in report.rejects],
    }
