"""get, list, delete: single documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display
from semsearch.cli.options import PARTLY, examples, index_option, json_option, open_index

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.types import Document

_ID_COLUMN = 16
_LABEL_COLUMN = 10

ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@click.command(
    epilog=examples("semsearch get notes/bread.md", "semsearch get cook-01 cook-06 --json")
)
@ids_argument
@index_option
@json_option
@click.pass_context
def get(ctx: click.Context, ids: tuple[str, ...], path: Path, as_json: bool) -> None:
    """Show documents, whole.

    With --json, one document a line.
    """
    with open_index(path) as index:
        found = index.get(ids)
    documents = [document for document in found if document is not None]
    for position, document in enumerate(documents):
        if as_json:
            display.echo_json(asdict(document), indent=None)
        else:
            click.echo(("\n" if position else "") + _shown(document))
    missing = [id_ for id_, document in zip(ids, found, strict=True) if document is None]
    _tell_missing(ctx, missing)


def _shown(document: Document) -> str:
    """The document as a person reads it: a heading, what is known about it, the text."""
    facts = {
        "id": display.one_line(document.id) if document.title else "",
        "source": display.location(document.source) if document.source else "",
        "metadata": _metadata(document),
    }
    lines = [
        display.dim(f"{label:<{_LABEL_COLUMN}}") + fact for label, fact in facts.items() if fact
    ]
    heading = display.bold(display.one_line(document.title or document.id))
    return "\n".join([heading, *lines, "", display.harmless(document.text).rstrip()])


def _metadata(document: Document) -> str:
    if not document.metadata:
        return ""
    return display.one_line(json.dumps(document.metadata, ensure_ascii=False))


def _tell_missing(ctx: click.Context, missing: Sequence[str]) -> None:
    for id_ in missing:
        click.echo(f"not found: {display.one_line(id_)}", err=True)
    if missing:
        ctx.exit(PARTLY)


@click.command(epilog=examples("semsearch delete notes/old.md notes/older.md"))
@ids_argument
@index_option
@json_option
@click.pass_context
def delete(ctx: click.Context, ids: tuple[str, ...], path: Path, as_json: bool) -> None:
    """Delete documents by id.

    All in one commit, and without asking. The files they were read from are not touched.
    """
    wanted = list(dict.fromkeys(ids))
    with open_index(path) as index:
        missing = [id_ for id_ in wanted if id_ not in index]
        deleted = index.delete(wanted)
    if as_json:
        display.echo_json({"deleted": deleted, "missing": missing})
    else:
        click.echo(f"Deleted {display.count(deleted, 'document')}")
    _tell_missing(ctx, missing)


@click.command("list", epilog=examples("semsearch list --limit 20", "semsearch list --rejects"))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print at most N lines.")
@click.option("--rejects", is_flag=True, help="Print the records that could not be indexed.")
@index_option
@json_option
def list_(limit: int | None, rejects: bool, path: Path, as_json: bool) -> None:
    """List documents, or the records that were rejected.

    One line each, in the order they were added; with --json, one JSON object a line.
    """
    with open_index(path) as index:
        lines = _rejects(index, as_json) if rejects else _documents(index, as_json)
        any_line = False
        for line in islice(lines, limit):
            any_line = True
            click.echo(line, color=True if as_json else None)
    if not any_line:
        click.echo("no rejected records" if rejects else "no documents yet", err=True)


def _documents(index: Index, as_json: bool) -> Iterator[str]:
    for document in index:
        yield display.json_text(asdict(document)) if as_json else _line(document)


def _line(document: Document) -> str:
    id_ = f"{display.one_line(document.id):<{_ID_COLUMN}}"
    room = display.columns()
    # No more of a long text is looked at than could fit.
    about = display.one_line(document.title or document.text[: 4 * room])
    return display.shortened(f"{id_}  {about}", max(room, display.cells(id_)))


def _rejects(index: Index, as_json: bool) -> Iterator[str]:
    for reject in index.rejects():
        yield display.json_text(asdict(reject)) if as_json else display.rejected(reject)
