"""From the latent of a picture to the vector it is searched by.

A latent is far too long to search by, and a shift of a few pixels or a mirror image changes every
number of it. Means over a coarse grid keep layout and colour, which is what a VAE's latents know.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.errors import InvalidArgument

RECIPE = "mirror folded, means over 4x2 of a 4x4 grid, borders at 0.75"
"""What `from_latents` does without a centre, for passports: change it whenever vectors change."""

GRID = 4
_BORDER = 0.75  # of a cell in the middle: what is cut off or turned away lies at the border


def from_latents(latents: ArrayLike, centre: ArrayLike | None = None) -> NDArray[np.float32]:
    """Pool latents over a 4x4 grid folded left on right, so that a mirror image has its vector.

    Each latent is averaged with its mirror image, and the left half, which now tells all, is
    pooled over 4 rows and 2 columns. Cells at the border count three quarters for each side.

    Args:
        latents: `(n, channels, height, width)` real numbers; height at least 4, width at least 3.
        centre: `(channels * 8,)`, subtracted from every vector; the mean of such vectors over a
            collection makes the directions tell more. None subtracts nothing.

    Returns:
        `(n, channels * 8)` float32, not normalised.

    Raises:
        InvalidArgument: Not latents, too small for the grid, or a centre of another shape.
    """
    array = _checked(latents)
    folded = (array + array[..., ::-1]) / 2
    half = folded[..., : (array.shape[3] + 1) // 2]
    cells = _means(_means(half, GRID, axis=2), GRID // 2, axis=3)
    across = np.array([_BORDER, 1])
    down = np.array([_BORDER, *[1] * (GRID - 2), _BORDER])
    vectors = (cells * np.outer(down, across)).reshape(len(array), -1)
    return (vectors - _centre(centre, vectors.shape[1])).astype(np.float32)


def dim_of(channels: int) -> int:
    """Numbers of a vector of latents with so many channels."""
    return channels * GRID * (GRID // 2)


def _means(array: NDArray[np.float64], cells: int, axis: int) -> NDArray[np.float64]:
    """Means over stretches of an axis, as equal in length as can be."""
    parts = np.array_split(array, cells, axis)
    return np.stack([part.mean(axis) for part in parts], axis)


def _centre(centre: ArrayLike | None, dim: int) -> NDArray[np.float64]:
    array = np.zeros(dim) if centre is None else np.asarray(centre, np.float64)
    if array.shape != (dim,):
        raise InvalidArgument(f"centre: expected shape ({dim},), got {array.shape}")
    return array


def _checked(latents: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(latents)
    if array.ndim != 4 or array.dtype.kind not in "fiu":
        raise InvalidArgument(
            "latents: expected real numbers (n, channels, height, width), got "
            f"{array.dtype} {array.shape}"
        )
    if array.shape[2] < GRID or array.shape[3] < GRID - 1:
        raise InvalidArgument(f"latents: {array.shape} is too small for a {GRID}x{GRID} grid")
    return array.astype(np.float64)
