"""A map as a picture (Pillow)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import DependencyMissing
from semsearch.maps import Map, Topic

_SIDE, _MARGIN = 1600, 60  # pixels
_PAPER, _INK, _HALO = (255, 255, 255), (27, 31, 39), 4
_POINT = np.array([59, 91, 219])
_FINER = 2  # drawn so many times larger, then made smaller: dots get smooth edges


def write_picture(drawn: Map, path: Path) -> None:
    """Write a PNG: a dot for each passage, darker where many are, with the names of its parts.

    Raises:
        DependencyMissing: Pillow is not installed.
        OSError: The file cannot be written.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise DependencyMissing("a PNG needs Pillow: pip install 'semsearch[map]'") from error
    extent = drawn.points.max(axis=0, initial=0.0)
    places = _pixels(drawn.points, extent)
    width, height = (_MARGIN * 2 + extent * (_SIDE - 2 * _MARGIN)).astype(int).tolist()
    dots = Image.fromarray(_dots(places * _FINER, width * _FINER, height * _FINER))
    picture = dots.resize((width, height), Image.Resampling.BOX)
    canvas = ImageDraw.Draw(picture)
    font = ImageFont.load_default(26)
    for topic in drawn.topics:
        x, y = _pixels(np.array([[topic.x, topic.y]], np.float32), extent)[0].tolist()
        canvas.text((x, y), _lines(topic), _INK, font, anchor="mm", align="center",
                    stroke_width=_HALO, stroke_fill=_PAPER)  # fmt: skip
    picture.save(path, "PNG")


def _lines(topic: Topic) -> str:
    return topic.name.replace(", ", "\n")


def _pixels(points: NDArray[np.float32], extent: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places in the picture, whose rows go downward."""
    up = points * [1, -1] + [0, extent[1]]
    places: NDArray[np.float64] = _MARGIN + up * (_SIDE - 2 * _MARGIN)
    return places


def _dots(places: NDArray[np.float64], width: int, height: int) -> NDArray[np.uint8]:
    """`(height, width, 3)`: how many dots lie over a pixel makes it darker."""
    radius = float(np.clip(220 / np.sqrt(max(len(places), 1)), 1.5, 6)) * _FINER
    reach = int(np.ceil(radius))
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    disc = steps[:, (steps**2).sum(axis=0) <= radius**2]
    counts = np.zeros((height, width), np.uint16)
    rows, columns = places[:, 1].astype(int), places[:, 0].astype(int)
    for down, right in disc.T.tolist():
        np.add.at(counts, (rows + down, columns + right), 1)
    cover = (1 - 0.45 ** counts.astype(np.float32))[..., np.newaxis]
    pixels: NDArray[np.uint8] = (np.array(_PAPER) * (1 - cover) + _POINT * cover).astype(np.uint8)
    return pixels
