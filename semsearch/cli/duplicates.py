"""duplicates: documents that are copies of each other."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from semsearch.cli import display
from semsearch.cli.options import examples, index_option, json_option, open_index, where_option
from semsearch.cli.progress import hint


@click.command(
    epilog=examples(
        "semsearch duplicates --index indexes/photos",
        "semsearch duplicates --index indexes/notes --threshold 0.97",
    )
)
@index_option
@click.option(
    "--threshold",
    type=float,
    metavar="X",
    help="Least cosine of two documents that belong together.  [default: 0.8 for pictures]",
)
@where_option
@json_option
def duplicates(*, path: Path, threshold: float | None, where: str | None, as_json: bool) -> None:
    """List documents that are copies of each other, or nearly.

    The most alike come first, each group with the least cosine that holds it together, its
    documents in the order in which they were added. 0.8, for pictures, finds nine of ten copies
    that were cut, turned, mirrored, made grey or compressed, and hardly anything else; 0.75 finds
    more, and a few pairs that only look alike. That is so for the VAE that is built in and for
    taef2; take 0.9 for VAEs of fewer channels, such as taesdxl.
    """
    with open_index(path) as index, hint("comparing ..."):
        groups = index.duplicates(threshold, where=where)
    if as_json:
        display.echo_json({"groups": [asdict(group) for group in groups]})
        return
    for group in groups:
        click.echo(display.bold(f"{group.score:.3f}"))
        for id_ in group.ids:
            click.echo(f"    {display.one_line(id_)}")
    copies = sum(len(group.ids) for group in groups)
    click.echo(f"{display.count(len(groups), 'group')} of {display.count(copies, 'document')}")
