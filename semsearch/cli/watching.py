"""watch: an index that follows its sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display
from semsearch.cli.indexing import as_json_object, ingest_bar, opened, summary, tell_rejects
from semsearch.cli.options import device_option, examples, index_option, json_option, runtime_option
from semsearch.errors import SemsearchError

if TYPE_CHECKING:
    from semsearch.ingest import IngestReport
    from semsearch.types import Modality


@click.command(epilog=examples("semsearch watch notes/", "semsearch watch notes/ todo.md"))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@index_option
@click.option(
    "--id-field", metavar="FIELD", help="Field of a table that is the id.  [default: _id]"
)
@click.option(
    "--text-field", metavar="FIELD", help="Field of a table that is the text.  [default: text]"
)
@device_option
@runtime_option
@json_option
def watch(
    *,
    sources: tuple[str, ...],
    path: Path,
    id_field: str | None,
    text_field: str | None,
    device: str | None,
    runtime: str,
    as_json: bool,
) -> None:
    """Keep an index up to date as files and folders change.

    Does what `index --prune` does, then goes on with whatever is changed, added or deleted: a
    line (with --json an object) for each update. Other processes see an update at once, and may
    write between two. Ends with Ctrl-C. Needs the extra semsearch[watch].
    """
    from semsearch.sources import Sources
    from semsearch.watching import follow

    def plan(modality: Modality) -> Sources:
        return Sources(sources, id_field=id_field, text_field=text_field, modality=modality)

    target, planned = opened(path, plan, None, None, device=device, runtime=runtime)
    with target:
        with ingest_bar(target, planned.total_bytes) as bar:
            updates = follow(
                target, sources, id_field=id_field, text_field=text_field, progress=bar
            )
            first = next(updates)
        try:
            _tell(path, first, as_json=as_json)
            for update in updates:
                _tell(path, update, as_json=as_json)
        except KeyboardInterrupt:  # the way it ends
            click.echo("stopped watching", err=True)


def _tell(path: Path, update: IngestReport | SemsearchError, *, as_json: bool) -> None:
    if isinstance(update, SemsearchError):
        click.echo(display.error(update), err=True)
        return
    if update.added or update.replaced or update.pruned:
        if as_json:
            display.echo_json(as_json_object(path, update), indent=None)
        else:
            click.echo(summary(path, update))
    tell_rejects(path, update)
