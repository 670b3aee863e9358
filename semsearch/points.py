"""Points of a latent space: what is kept of each chunk, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semsearch.types import LatentSpace

Latents = NDArray[np.float16]
"""Raw latents, one flattened in each row."""


@dataclass(frozen=True, slots=True)
class Points:
    """Rows that belong together: what is searched, and what is decoded.

    Attributes:
        vectors: `(n, dim)` float32, unit length where they are kept.
        latents: `(n, size)` float16: the raw latents, as the decoder takes them; of size 0 in
            a space that does not decode.
    """

    vectors: NDArray[np.float32]
    latents: Latents

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Self:
        """Points of a space that does not decode."""
        return cls(vectors, np.empty((len(vectors), 0), np.float16))

    @classmethod
    def room(cls, n: int, space: LatentSpace) -> Self:
        """`n` points of a space, of no meaning yet."""
        return cls(
            np.empty((n, space.dim), np.float32), np.empty((n, space.latent_size), np.float16)
        )

    @classmethod
    def joined(cls, parts: Sequence[Points], space: LatentSpace) -> Self:
        """All points of several, one after the other; none when there are no parts."""
        given = parts or [cls.room(0, space)]
        return cls(
            np.concatenate([part.vectors for part in given]),
            np.concatenate([part.latents for part in given]),
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> Points:
        """Some of them."""
        return Points(self.vectors[rows], self.latents[rows])

    def put(self, row: int, other: Points, other_row: int) -> None:
        """Take one row of other points into a row of these."""
        self.vectors[row] = other.vectors[other_row]
        self.latents[row] = other.latents[other_row]
