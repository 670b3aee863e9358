"""info, verify, repair, optimize: an index as a thing that is kept."""

from __future__ import annotations

from collections.abc import Sequence
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
from semsearch.cli.progress import BuildBar, hint

if TYPE_CHECKING:
    from semsearch.info import IndexInfo, SegmentInfo
    from semsearch.maintenance import Problem, VerifyReport
    from semsearch.types import LatentSpace

_LABEL_COLUMN = 16


@click.command(epilog=examples("semsearch info --index indexes/articles"))
@index_option
@json_option
def info(path: Path, as_json: bool) -> None:
    """Show what an index holds and how large it is."""
    with open_index(path) as index:
        found = index.info()
    if as_json:
        display.echo_json(_info_json(found))
    else:
        click.echo(_info_text(found))


def _info_json(info: IndexInfo) -> dict[str, object]:
    return {**asdict(info), "space": {**asdict(info.space), "dim": info.space.dim}}


def _info_text(info: IndexInfo) -> str:
    facts = {
        "documents": f"{info.documents:,}",
        "chunks": f"{info.chunks:,}",
        "rejected records": f"{info.rejects:,}",
        "size": display.megabytes(info.bytes),
        "encoder": info.encoder or "none: vectors are given",
        "space": _space(info.space),
        "longest chunk": _longest_chunk(info),
        "indexed fields": ", ".join(info.index_fields) or "none",
        "format": f"{info.format}, commit {info.version:,}",
    }
    lines = [f"  {label:<{_LABEL_COLUMN}}  {fact}" for label, fact in facts.items()]
    segments = ["", *_segment_table(info.segments)] if info.segments else []
    return "\n".join([display.bold(info.path), *lines, *segments])


def _space(space: LatentSpace) -> str:
    shape = "x".join(map(str, space.latent))
    kept = f"latents of {shape}, " if shape else ""
    return f"{space.dim} dimensions, {space.metric}, {kept}{space.fingerprint[:12]}"


def _longest_chunk(info: IndexInfo) -> str:
    if info.encoder is None:
        return "a whole document"
    if info.space.modality == "image":
        return "a picture"
    return f"{info.chunk_tokens:,} tokens" if info.chunk_tokens else "as much as the encoder reads"


def _segment_table(segments: Sequence[SegmentInfo]) -> list[str]:
    rows = [["  segment", "vectors", "deleted", "kind", "size"]]
    rows += [
        [
            str(segment.number),
            f"{segment.rows:,}",
            f"{segment.dead:,}",
            segment.kind,
            display.megabytes(segment.bytes),
        ]
        for segment in segments
    ]
    return [*display.table(rows), *_tuning(segments)]


def _tuning(segments: Sequence[SegmentInfo]) -> list[str]:
    """A line for each segment that is not searched exactly: how, and what recall was measured."""
    return [
        f"  segment {segment.number}: {_parameters(segment)}{_quality(segment)}"
        for segment in segments
        if segment.parameters
    ]


def _parameters(segment: SegmentInfo) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in segment.parameters.items())
    return f"{numbers}, {segment.index_bytes / segment.rows:.0f} bytes/vector beside them"


def _quality(segment: SegmentInfo) -> str:
    found = segment.quality
    if found is None:
        return ""
    return f"; recall@{found.k} {found.recall:.3f}, measured with {found.sample} of its vectors"


@click.command(epilog=examples("semsearch verify --index indexes/articles"))
@index_option
@json_option
@click.pass_context
def verify(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Check an index for damage.

    Every file and every text is compared with its checksum and with the others.
    """
    with open_index(path) as index, hint("checking ..."):
        report = index.verify()
    if as_json:
        display.echo_json({"ok": report.ok, **asdict(report)})
    else:
        click.echo(_verdict(path, report))
        if not report.ok:
            click.echo("`semsearch repair` mends what can be made again", err=True)
    if not report.ok:
        ctx.exit(PARTLY)


def _verdict(path: Path, report: VerifyReport) -> str:
    """The problems, a line each, and how many; or that there are none."""
    size = (
        f"{display.count(report.documents, 'document')}, {display.count(report.chunks, 'chunk')}, "
        f"{display.count(report.segments, 'segment')}"
    )
    found = display.count(len(report.problems), "problem") if report.problems else "all is well"
    return "\n".join([*map(_problem, report.problems), f"{path}: {size}: {found}"])


def _problem(problem: Problem) -> str:
    return display.one_line(str(problem))


@click.command(epilog=examples("semsearch repair --index indexes/articles"))
@index_option
@device_option
@runtime_option
@json_option
@click.pass_context
def repair(ctx: click.Context, path: Path, device: str | None, runtime: str, as_json: bool) -> None:
    """Mend what can be made again.

    That is files derived from others, and vectors that were encoded from the texts. Texts are
    never touched. What is still wrong afterwards is listed.
    """
    opened = open_index(path, device=device, runtime=runtime)
    with opened as index, hint("repairing ..."):
        report = index.repair()
    if as_json:
        after = {"ok": report.after.ok, **asdict(report.after)}
        display.echo_json({"actions": report.actions, "after": after})
    else:
        lines = [display.one_line(action) for action in report.actions] or ["nothing to repair"]
        click.echo("\n".join([*lines, _verdict(path, report.after)]))
    if not report.after.ok:
        ctx.exit(PARTLY)


@click.command(
    epilog=examples(
        "semsearch optimize",
        "semsearch optimize --recall 0.99",
        "semsearch optimize --memory 8",
    )
)
@click.option(
    "--kind",
    type=click.Choice(["auto", "exact", "fp16", "sq8", "ivf", "ivf-sq8", "ivf-rabitq", "hnsw"]),
    default="auto",
    show_default=True,
    help="How vectors are searched. exact: all of them; fp16, sq8: their codes of 16 or 8 bits, "
    "with the same hits. Approximately: ivf, short codes in the nearest of many lists, then the "
    "best exactly; ivf-sq8, ivf-rabitq: with other codes; hnsw: along a graph. auto takes exact, "
    "from 20,000 vectors on ivf, and for a recall of 1 sq8.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the true ten nearest that an approximate kind is tuned to find.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    metavar="GB",
    help="What searches may keep in memory. With it, auto takes hnsw for 300,000 vectors and more, "
    "where they fit.",
)
@index_option
@json_option
def optimize(kind: str, recall: float, memory: float | None, path: Path, as_json: bool) -> None:
    """Make an index small and fast again.

    It is merged into one segment, deleted vectors are dropped, free space is given back. Stopped
    half way, it is as before.
    """
    with open_index(path) as index, BuildBar() as bar:
        before = index.info()
        index.optimize(
            kind,
            target_recall=recall,
            memory=None if memory is None else memory * 1e9,
            progress=bar,
        )
        after = index.info()
    if as_json:
        display.echo_json({"before": _info_json(before), "after": _info_json(after)})
    else:
        kinds = ", ".join(sorted({segment.kind for segment in after.segments}))
        click.echo(f"{path}: {_size(before)} -> {_size(after)}{kinds and f', {kinds}'}")
        click.echo("".join(f"{line}\n" for line in _tuning(after.segments)), nl=False)


def _size(info: IndexInfo) -> str:
    return f"{display.count(len(info.segments), 'segment')}, {display.megabytes(info.bytes)}"
