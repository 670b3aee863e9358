"""Queries that are points: weighted sums of texts, pictures, documents of the index and vectors.

text("king") - text("man") + text("woman")         an analogy
image("cat.jpg")                                   pictures that look like this one
like("recipes/soup.md")                            more like this
like("recipes/soup.md") + 0.5 * text("vegetarian")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.arguments import number
from semsearch.errors import InvalidArgument

if TYPE_CHECKING:
    from semsearch.pictures import PictureLike


@dataclass(frozen=True, slots=True)
class Text:
    """What an encoder makes of a text, as of a query."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """What an encoder makes of a picture."""

    picture: PictureLike


@dataclass(frozen=True, slots=True)
class Like:
    """Where a document of the index is: the mean of its chunks' directions."""

    id: str


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """A point given by its numbers; only its direction counts."""

    numbers: NDArray[np.float64]


Part = Text | Image | Like | Vector


@dataclass(frozen=True, slots=True)
class Blend:
    """A weighted sum of parts; add, subtract and scale blends to make others.

    Every part counts by its direction, whatever its length, so the weights alone say how much.
    A search for a blend leaves its own documents out of the answer, and the passages that are
    exactly one of its texts: the nearest things to a sum are its parts, which nobody asks for.

    Attributes:
        terms: Weight and part of each, in the order written.
    """

    terms: tuple[tuple[float, Part], ...]

    def __add__(self, other: Blend) -> Blend:
        """The sum of both."""
        if not isinstance(other, Blend):
            return NotImplemented
        return Blend(self.terms + other.terms)

    def __sub__(self, other: Blend) -> Blend:
        """What is left of one without the other."""
        if not isinstance(other, Blend):
            return NotImplemented
        return self + -other

    def __neg__(self) -> Blend:
        """The opposite."""
        return -1 * self

    def __mul__(self, weight: float | np.number) -> Blend:
        """The same, counting `weight` times as much.

        Raises:
            InvalidArgument: The weight is not a finite number.
        """
        return Blend(tuple((number("weight", weight) * old, part) for old, part in self.terms))

    __rmul__ = __mul__

    @property
    def weights(self) -> list[float]:
        """Weight of each term."""
        return [weight for weight, _ in self.terms]

    @property
    def texts(self) -> list[str]:
        """The texts among its parts."""
        return [part.text for _, part in self.terms if isinstance(part, Text)]

    @property
    def images(self) -> list[Image]:
        """The pictures among its parts."""
        return [part for _, part in self.terms if isinstance(part, Image)]

    @property
    def ids(self) -> list[str]:
        """Ids of the documents among its parts."""
        return [part.id for _, part in self.terms if isinstance(part, Like)]


def text(content: str) -> Blend:
    """The point of a text, encoded as a query.

    Raises:
        InvalidArgument: Not a string, or empty.
    """
    if not isinstance(content, str) or not content.strip():
        raise InvalidArgument(f"text: expected a string that is not empty, got {content!r}")
    return Blend(((1.0, Text(content)),))


def image(picture: PictureLike) -> Blend:
    """The point of a picture, in an index of pictures.

    Args:
        picture: A file, an image of Pillow, or uint8 `(height, width, 3)` in RGB.
    """
    return Blend(((1.0, Image(picture)),))


def like(id: str) -> Blend:
    """The point of a document of the index: the mean of its chunks' directions.

    Raises:
        InvalidArgument: Not a string, or empty.
    """
    if not isinstance(id, str) or not id.strip():
        raise InvalidArgument(f"like: expected the id of a document, got {id!r}")
    return Blend(((1.0, Like(id)),))


def vector(numbers: ArrayLike) -> Blend:
    """A point given by its numbers, `(dim,)`, any length but zero.

    Raises:
        InvalidArgument: Not a vector of finite numbers, or zero.
    """
    try:
        array = np.array(numbers, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"vector: expected numbers: {error}") from error
    if array.ndim != 1 or not np.isfinite(array).all() or not array.any():
        raise InvalidArgument(
            f"vector: expected finite numbers of shape (dim,), not all zero, got {numbers!r}"
        )
    return Blend(((1.0, Vector(array)),))
