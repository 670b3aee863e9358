"""latent analogy and latent direction: pictures that no file holds, by arithmetic in an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display
from semsearch.cli.options import (
    PathName,
    device_option,
    examples,
    index_option,
    number_option,
    open_index,
    out_option,
)
from semsearch.cli.pictures import point, save, save_as_one
from semsearch.cli.progress import hint
from semsearch.errors import InvalidArgument

if TYPE_CHECKING:
    from semsearch.blend import Blend


@click.command(
    epilog=examples(
        "semsearch latent analogy day.jpg night.jpg house.jpg --index indexes/photos -o made.png"
    )
)
@click.argument("a")
@click.argument("b")
@click.argument("c")
@index_option
@out_option
@number_option("-k", "How many of the nearest real pictures to name.", default=3)
@device_option
def analogy(*, a: str, b: str, c: str, path: Path, out: Path, k: int, device: str | None) -> None:
    """Make the picture that is to C as B is to A.

    A, B and C are files, or ids of pictures of the index. The picture is written, and the pictures
    of the index that are nearest to it are named.
    """
    from semsearch.imagining import imagine

    asked: Blend = point(b) - point(a) + point(c)
    with open_index(path, device=device) as index, hint("decoding ..."):
        made = imagine(index, asked)
        hits = index.search(asked, k)
    for hit in hits:
        click.echo(f"{hit.score:.3f}  {display.one_line(hit.id)}")
    save(made[None], ["analogy"], out)


@click.group()
def direction() -> None:
    """Fit directions from examples, and send pictures along them.

    A direction leads from pictures of one kind to those of another, such as from day to night. An
    index keeps those that were fitted, by name.
    """


@direction.command(
    epilog=examples(
        "semsearch latent direction fit night --positive night/ --negative day/ "
        "--index indexes/photos"
    )
)
@click.argument("name")
@click.option(
    "--positive",
    metavar="FOLDER",
    required=True,
    type=PathName(),
    help="Pictures of what it leads to.",
)
@click.option(
    "--negative",
    metavar="FOLDER",
    required=True,
    type=PathName(),
    help="Pictures of what it leads away from.",
)
@index_option
@device_option
def fit(*, name: str, positive: Path, negative: Path, path: Path, device: str | None) -> None:
    """Fit the direction NAME and keep it in the index.

    Tells its AUC: of pictures that were held out, how often a positive one lies further along than
    a negative one. 0.5 is chance: such a direction means nothing.
    """
    from semsearch.imagining import fit_direction

    examples_of = [_pictures(folder) for folder in (positive, negative)]
    with open_index(path, device=device) as index, hint("encoding ..."):
        fitted = fit_direction(index, name, *examples_of)
    click.echo(
        f"{name}: AUC {fitted.auc:.3f}, held out; "
        f"{fitted.positive:,} positive and {fitted.negative:,} negative examples"
    )


@direction.command(
    epilog=examples(
        "semsearch latent direction apply night photos/a.jpg --index indexes/photos -o a.png",
        "semsearch latent direction apply night a.jpg --strength -1 --strength 0 --strength 1 "
        "--index indexes/photos -o sheet.png",
    )
)
@click.argument("name")
@click.argument("picture")
@click.option(
    "--strength",
    "strengths",
    type=float,
    metavar="X",
    multiple=True,
    default=(1.0,),
    help="How far: 0 not at all, 1 as far as the kinds are apart, less than 0 back. Several make "
    "a sheet or a .gif.  [default: 1]",
)
@index_option
@out_option
@device_option
def apply(
    *,
    name: str,
    picture: str,
    strengths: tuple[float, ...],
    path: Path,
    out: Path,
    device: str | None,
) -> None:
    """Send PICTURE, a file or an id, along the direction NAME."""
    from semsearch.imagining import apply_direction

    with open_index(path, device=device) as index, hint("decoding ..."):
        frames = apply_direction(index, point(picture), name, strengths)
    if out.suffix and len(frames) > 1:
        save_as_one(frames, out)
    else:
        save(frames, [f"{strength:g}" for strength in strengths], out)


@direction.command(
    "list", epilog=examples("semsearch latent direction list --index indexes/photos")
)
@index_option
def list_(*, path: Path) -> None:
    """List the directions that the index keeps."""
    with open_index(path) as index:
        kept = index.directions()
    for name, one in kept.items():
        told = f"AUC {one.auc:.3f}, {one.positive:,} positive, {one.negative:,} negative"
        click.echo(f"{display.one_line(name)}: {told}")


def _pictures(folder: Path) -> Sequence[Path]:
    """Files of pictures in a folder."""
    from semsearch.sources.kinds import kinds_of, suffix_of

    if not folder.is_dir():
        raise InvalidArgument(f"{folder}: expected a folder of pictures")
    known = kinds_of("image").in_folders
    return sorted(file for file in folder.rglob("*") if suffix_of(file.name) in known)
