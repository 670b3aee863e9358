"""The algebra of latents: arithmetic on plain arrays, no models, no files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.errors import InvalidArgument

_BLOCK = 8192  # rows worked on at a time, so that float64 copies stay small


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
    units = np.empty(matrix.shape, np.float32)
    for start in range(0, len(matrix), _BLOCK):
        units[start : start + _BLOCK] = _units(matrix[start : start + _BLOCK], start)
    return units


def _units(rows: NDArray[Any], start: int) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    peaks = np.abs(exact).max(axis=1, initial=0.0, keepdims=True)
    _refuse_first(~np.isfinite(peaks), start, "holds NaN or infinity")
    _refuse_first(peaks == 0, start, "is zero: it has no direction")
    scaled = exact / peaks
    units: NDArray[np.float64] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return units


def _matrix(vectors: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise InvalidArgument(f"vectors: expected a matrix of numbers: {error}") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InvalidArgument(
            f"vectors: expected real numbers of shape (n, dim), got {array.dtype} {array.shape}"
        )
    return array


def _refuse_first(bad: NDArray[np.bool_], start: int, why: str) -> None:
    if bad.any():
        raise InvalidArgument(f"vectors: row {start + int(bad.argmax())} {why}")
