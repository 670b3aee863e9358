"""From the latent of a picture to the vector it is searched by.

A latent is far too long to search by, and a shift of a few pixels or a mirror image changes every
number of it. The slowest of its waves keep layout and colour, which is what a VAE's latents know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.errors import InvalidArgument

RECIPE = "5 cosines down, 3 even ones across, borders at 0.7"
"""What `from_latents` does, for passports: change it whenever vectors change."""

_DOWN = (0, 1, 2, 3, 4)  # half waves from top to bottom
_ACROSS = (0, 2, 4)  # from side to side; the odd ones change their sign in a mirror
_BORDER = 0.7  # of a place in the middle: what is cut off or turned away lies at the border


def from_latents(latents: ArrayLike) -> NDArray[np.float32]:
    """The slowest cosines of every channel, of which a mirror image has the same.

    Of the cosine transform of each channel (DCT-II; Ahmed, Natarajan and Rao, "Discrete cosine
    transform", IEEE Transactions on Computers C-23, 1974), orthonormal but for one factor, five
    coefficients down and three across are kept; before, the channel is made to fade to 0.7 at its
    borders.

    Args:
        latents: `(n, channels, height, width)` real numbers.

    Returns:
        `(n, dim_of(channels))` float32, not normalised.

    Raises:
        InvalidArgument: Not latents.
    """
    array = _checked(latents)
    height, width = array.shape[2:]
    waves = _cosines(height, _DOWN) @ array @ _cosines(width, _ACROSS).T
    vectors: NDArray[np.float32] = waves.reshape(len(array), -1).astype(np.float32)
    return vectors


def dim_of(channels: int) -> int:
    """Numbers of a vector of latents with so many channels."""
    return channels * len(_DOWN) * len(_ACROSS)


def _cosines(places: int, half_waves: Sequence[int]) -> NDArray[np.float64]:
    """`(len(half_waves), places)`, each a mean over the places that is weighted by its cosine."""
    at = np.pi * (np.arange(places) + 0.5) / places
    fading = _BORDER + (1 - _BORDER) * np.sin(at) ** 2
    amplitudes = [1 if half_wave == 0 else np.sqrt(2) for half_wave in half_waves]
    waves = np.cos(np.outer(half_waves, at)) * np.outer(amplitudes, fading) / places
    rows: NDArray[np.float64] = waves
    return rows


def _checked(latents: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(latents)
    if array.ndim != 4 or array.dtype.kind not in "fiu":
        raise InvalidArgument(
            "latents: expected real numbers (n, channels, height, width), got "
            f"{array.dtype} {array.shape}"
        )
    return array.astype(np.float64)
