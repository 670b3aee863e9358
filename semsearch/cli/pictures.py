"""Pictures that commands read and write, and points that are named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semsearch.blend import Blend

_GIF = ".gif"


def point(name: str) -> Blend:
    """What a name means: the picture in a file, or else the document with that id."""
    from semsearch import blend

    return blend.image(name) if Path(name).is_file() else blend.like(name)


def save_as_one(frames: NDArray[np.uint8], out: Path) -> None:
    from semsearch import pictures

    if out.suffix.lower() == _GIF:
        pictures.save_animation(list(frames), out)
    else:
        pictures.save(pictures.sheet(list(frames)), out)
    click.echo(f"{display.count(len(frames), 'picture')} -> {out}")


def save(frames: NDArray[np.uint8], stems: Sequence[str], out: Path) -> None:
    """Into one file when `out` has an ending, else into a folder."""
    from semsearch import pictures

    if out.suffix:
        pictures.save(frames[0], out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for stem, frame in zip(_distinct(stems), frames, strict=True):
            pictures.save(frame, out / f"{stem}.png")
    click.echo(f"{display.count(len(frames), 'picture')} -> {out}")


def _distinct(stems: Sequence[str]) -> list[str]:
    """The names, those that came before with a number: files of two folders may share one."""
    taken: dict[str, None] = {}
    for stem in stems:
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken[name] = None
    return list(taken)
