"""map: an index as a picture, a page or a table of points."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display
from semsearch.cli.options import PathName, examples, index_option, json_option, open_index
from semsearch.cli.progress import BuildBar

if TYPE_CHECKING:
    from semsearch.maps import Map

_KINDS = (".png", ".html", ".parquet")
_MOST = 100_000


@click.command(
    "map",
    epilog=examples(
        "semsearch map --index indexes/articles -o articles.html",
        "semsearch map -o map.png -o map.parquet && embedding-atlas map.parquet --text text "
        "--x x --y y",
    ),
)
@index_option
@click.option(
    "-o",
    "--output",
    "outputs",
    type=PathName(dir_okay=False),
    metavar="FILE",
    multiple=True,
    required=True,
    help="map.png, map.html or map.parquet; may be given several times.",
)
@click.option(
    "--points",
    type=click.IntRange(1, _MOST),
    metavar="N",
    default=20_000,
    show_default=True,
    help="Most passages on the map, at most 100000; of a larger index a sample is drawn.",
)
@json_option
def map_(path: Path, outputs: Sequence[Path], points: int, as_json: bool) -> None:
    """Draw an index as a map to look at.

    Passages that are alike lie near each other. A PNG is a picture, with words for what is spoken
    of where; an HTML file one looks around in and points at passages, without a network; a Parquet
    file has the columns id, chunk, title, text, source, x, y and those of the metadata, as
    embedding-atlas reads it. Needs the extra semsearch[map].
    """
    wrong = [output for output in outputs if output.suffix.lower() not in _KINDS]
    if wrong:
        raise click.UsageError(f"{wrong[0]}: expected a name that ends in {', '.join(_KINDS)}.")
    from semsearch.maps import draw

    began = time.monotonic()
    with open_index(path) as index, BuildBar() as bar:
        drawn = draw(index, points, lambda share: bar("drawing", round(100 * share), 100))
    for output in outputs:
        _write(drawn, output, path.name)
    files = list(map(str, outputs))
    if as_json:
        shown, total = len(drawn.sample.passages), drawn.sample.total
        display.echo_json({"passages": shown, "total": total, "files": files})
        return
    told = display.duration(time.monotonic() - began)
    click.echo(f"Drew {_size(drawn)} in {told} -> {', '.join(files)}")


def _write(drawn: Map, output: Path, name: str) -> None:
    from semsearch.maps import document, picture, table

    match output.suffix.lower():
        case ".png":
            picture.write_picture(drawn, output)
        case ".html":
            document.write_document(drawn, output, name)
        case _:
            table.write_table(drawn, output)


def _size(drawn: Map) -> str:
    shown, total = len(drawn.sample.passages), drawn.sample.total
    if shown == total:
        return display.count(shown, drawn.sample.noun)
    return f"a sample of {shown:,} of {total:,} {drawn.sample.noun}s (--points takes more)"
