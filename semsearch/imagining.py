"""Pictures that no file holds: decoded from points between, beyond and beside those of an index.

The points are blends, as in a search, and their arithmetic is that of a search. It is done on the
raw latents that an index of pictures keeps, so that the outcome can be decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch import latents as algebra
from semsearch import pictures
from semsearch.arguments import integer, number
from semsearch.blend import Blend, Image, Like
from semsearch.direction import Direction
from semsearch.errors import InvalidArgument
from semsearch.index import Index
from semsearch.points import Points
from semsearch.reader import Reader

if TYPE_CHECKING:
    from semsearch.pictures import PictureLike

_AT_ONCE = 64  # pictures in memory
_LEAST = 2  # examples of either kind


def latent_of(reader: Reader, point: Blend) -> NDArray[np.float32]:
    """The raw latent of a point, `(size,)`.

    That of one picture is the picture's own. A sum has the direction that a search for it has, each
    part counted by its direction, and the mean length of its positive parts, since a decoder makes
    the most of latents as long as those that it has seen.

    Args:
        reader: An index of pictures.
        point: A blend of `semsearch.image` and `semsearch.like`.

    Raises:
        InvalidArgument: It is no index of pictures, a part is of another kind, an id is not in the
            index, a file cannot be read, or the parts cancel out.
    """
    rows = np.stack([_part(reader, part) for _, part in point.terms])
    if point.weights == [1.0]:
        only: NDArray[np.float32] = rows[0]
        return only
    weights = np.maximum(point.weights, 0)
    lengths = np.linalg.norm(rows, axis=1)
    length = np.average(lengths, weights=weights if weights.any() else None)
    latent: NDArray[np.float32] = (length * algebra.combine(point.weights, rows)).astype(np.float32)
    return latent


def _part(reader: Reader, part: object) -> NDArray[np.float32]:
    row: NDArray[np.float32]
    match part:
        case Image(picture):
            (row,) = _encoded(reader, [picture])
        case Like(id_):
            row = reader.latents(id_)[id_].ravel().astype(np.float32)
        case _:
            raise InvalidArgument("expected semsearch.image(FILE) or semsearch.like(ID)")
    return row


def _encoded(reader: Reader, images: Sequence[PictureLike]) -> NDArray[np.float32]:
    encoder = reader.picture_encoder
    parts: list[Points] = []
    for at in range(0, len(images), _AT_ONCE):
        some = [encoder.prepared(pictures.read(image)) for image in images[at : at + _AT_ONCE]]
        parts.append(encoder.encode_pictures(some))
    return Points.joined(parts, encoder.space).latents.astype(np.float32)


def imagine(reader: Reader, point: Blend) -> NDArray[np.uint8]:
    """The picture that a point decodes to, `(height, width, 3)` uint8 in RGB.

    An analogy: `imagine(index, image("b.jpg") - image("a.jpg") + image("c.jpg"))` is to c what b is
    to a.

    Args:
        reader: An index of pictures.
        point: As for `latent_of`.

    Raises:
        InvalidArgument: As `latent_of` does.
        DependencyMissing: diffusers is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    picture: NDArray[np.uint8] = _decoded(reader, latent_of(reader, point)[np.newaxis])[0]
    return picture


def imagine_between(
    reader: Reader, start: Blend, end: Blend, *, steps: int = 10, linear: bool = False
) -> NDArray[np.uint8]:
    """Pictures that turn one point into another; `Reader.between` finds the real ones on the way.

    Args:
        reader: An index of pictures.
        start: As for `latent_of`.
        end: Likewise.
        steps: How many pictures, both ends included, at least 2.
        linear: Go on the straight line instead of the arc.

    Returns:
        `(steps, height, width, 3)` uint8 in RGB.

    Raises:
        InvalidArgument: As `latent_of` does, or fewer than 2 steps.
        DependencyMissing: diffusers is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    count = integer("steps", steps, least=2)
    way = algebra.lerp if linear else algebra.slerp
    ends = latent_of(reader, start), latent_of(reader, end)
    return _decoded(reader, way(*ends, np.linspace(0, 1, count)))


def fit_direction(
    index: Index, name: str, positive: Sequence[PictureLike], negative: Sequence[PictureLike]
) -> Direction:
    """Fit what leads from pictures of one kind to those of another; the index keeps it.

    Args:
        index: An index of pictures.
        name: What it is called; one of that name is replaced.
        positive: Examples of what the direction leads to, at least 2.
        negative: Examples of what it leads away from, at least 2.

    Raises:
        InvalidArgument: It is no index of pictures, an example cannot be read, or there are too
            few.
        IndexLocked: Another process is writing.
    """
    if min(len(positive), len(negative)) < _LEAST:
        raise InvalidArgument(
            f"direction {name!r}: expected {_LEAST} examples of either kind or more, got "
            f"{len(positive)} and {len(negative)}"
        )
    one, other = _encoded(index, positive), _encoded(index, negative)
    fitted = Direction(
        algebra.direction(one, other), algebra.held_out_auc(one, other), len(one), len(other)
    )
    index.keep_direction(name, fitted)
    return fitted


def apply_direction(
    reader: Reader, point: Blend, name: str, strengths: ArrayLike = (1.0,)
) -> NDArray[np.uint8]:
    """Pictures that a point decodes to when it goes along a direction.

    Args:
        reader: An index of pictures.
        point: As for `latent_of`.
        name: A direction that the index keeps.
        strengths: `(n,)`: 0 is the point itself, 1 as far as from the mean of the negative examples
            to that of the positive ones; less than 0 goes the other way.

    Returns:
        `(n, height, width, 3)` uint8 in RGB.

    Raises:
        InvalidArgument: As `latent_of` does, or the index keeps no such direction.
        DependencyMissing: diffusers is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    steps = [number("strength", strength) for strength in np.asarray(strengths, float).tolist()]
    known = reader.directions()
    if name not in known:
        names = ", ".join(known) or "none"
        raise InvalidArgument(f"no direction {name!r} in {reader.path}; it keeps: {names}")
    start = latent_of(reader, point)
    return _decoded(reader, start + np.outer(steps, known[name].latent).astype(np.float32))


def _decoded(reader: Reader, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    return reader.picture_encoder.decode(latents)
