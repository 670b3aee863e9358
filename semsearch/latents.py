"""The algebra of latents: arithmetic on plain arrays, no models, no files."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.errors import InvalidArgument


def normalize(vectors: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit Euclidean length.

    Computed in float64 after dividing each row by its largest component, so that neither a
    denormal nor a huge row underflows or overflows on the way.

    Args:
        vectors: `(n, dim)` real numbers.

    Returns:
        `(n, dim)` float32, C-contiguous, always a new array.

    Raises:
        InvalidArgument: Not a matrix of real numbers, or a row (named, from 0) is zero or holds
            NaN or infinity: such a row has no direction.
    """
    matrix = _matrix(vectors)
    peaks = np.abs(matrix).max(axis=1, initial=0.0, keepdims=True)
    _refuse_first(~np.isfinite(peaks), "holds NaN or infinity")
    _refuse_first(peaks == 0, "is zero: it has no direction")
    scaled = matrix / peaks
    units: NDArray[np.float64] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return units.astype(np.float32, order="C")


def _matrix(vectors: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise InvalidArgument(f"vectors: expected a matrix of numbers: {error}") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InvalidArgument(
            f"vectors: expected real numbers of shape (n, dim), got {array.dtype} {array.shape}"
        )
    return array.astype(np.float64)


def _refuse_first(bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        raise InvalidArgument(f"vectors: row {int(bad.argmax())} {why}")
