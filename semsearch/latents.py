"""The algebra of latents: arithmetic on plain arrays, no models, no files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.errors import InvalidArgument

_PARALLEL = 1e-7  # radians: below, the arc is a line to the last digit
_OPPOSITE = 1e-6  # radians from a straight angle: above, rounding would choose the arc
_NOTHING = 1e-6  # of the weights' sum: what float32 parts leave of a sum that should be zero

_FOLDS = 5

_BLOCK = 8192  # rows worked on at a time, so that float64 copies stay small
_SMALLEST, _LARGEST = 1e-100, 1e100


def normalize(vectors: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit Euclidean length.

    Computed in float64; where a square could under- or overflow, after dividing each row by its
    largest component.

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


def lerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> NDArray[np.float32]:
    """Points on the straight line from `a` to `b`.

    Args:
        a: `(dim,)` real numbers; a latent of any shape is given flattened.
        b: `(dim,)`.
        t: `(steps,)`, 0 for `a`, 1 for `b`.

    Returns:
        `(steps, dim)` float32, computed in float64; exactly `a` at 0 and `b` at 1.

    Raises:
        InvalidArgument: Shapes differ, or a number is not finite.
    """
    start, end, steps = _ends(a, b, t)
    return _between(start, end, 1 - steps, steps)


def slerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> NDArray[np.float32]:
    """Points on the arc from `a` to `b`: the direction turns evenly, the length changes evenly.

    The straight line between two latents of one length passes through shorter ones, which a
    decoder has rarely seen: on the arc they keep their length (Shoemake, "Animating rotation with
    quaternion curves", SIGGRAPH 1985, section 3.3).

    Args:
        a: `(dim,)` real numbers, not all zero; a latent of any shape is given flattened.
        b: `(dim,)`, likewise.
        t: `(steps,)`, 0 for `a`, 1 for `b`.

    Returns:
        `(steps, dim)` float32, computed in float64; exactly `a` at 0 and `b` at 1.

    Raises:
        InvalidArgument: Shapes differ, a number is not finite, an end is zero, or the ends point
            in opposite directions: then no arc is the shortest.
    """
    start, end, steps = _ends(a, b, t)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if not all(lengths):
        raise InvalidArgument("slerp: an end is zero: it has no direction")
    units = start / lengths[0], end / lengths[1]
    # The half-angle form keeps its digits where arccos of the cosine loses them.
    angle = 2 * np.arctan2(np.linalg.norm(units[1] - units[0]), np.linalg.norm(units[1] + units[0]))
    if np.pi - angle < _OPPOSITE:
        raise InvalidArgument("slerp: the ends point in opposite directions: no arc is shortest")
    if angle < _PARALLEL:
        return _between(start, end, 1 - steps, steps)
    turn = np.sin(np.outer([angle], [1 - steps, steps]).reshape(2, -1)) / np.sin(angle)
    length = (1 - steps) * lengths[0] + steps * lengths[1]
    return _between(start, end, turn[0] * length / lengths[0], turn[1] * length / lengths[1])


def combine(weights: ArrayLike, vectors: ArrayLike) -> NDArray[np.float32]:
    """The direction of a weighted sum of directions: the query of an analogy, or of a blend.

    `combine([-1, 1, 1], [a, b, c])` asks what is to `c` as `b` is to `a`; ranking by cosine to it
    is 3CosAdd (Levy and Goldberg, "Linguistic regularities in sparse and explicit word
    representations", CoNLL 2014, section 3).

    Args:
        weights: `(n,)`.
        vectors: `(n, dim)`; only their directions count.

    Returns:
        `(dim,)` float32 of unit length.

    Raises:
        InvalidArgument: Shapes differ, a row is zero or not finite, or the sum is zero.
    """
    units = normalize(vectors).astype(np.float64)
    factors = np.asarray(weights, np.float64)
    if factors.shape != units.shape[:1] or not np.isfinite(factors).all():
        raise InvalidArgument(f"weights: expected {len(units)} finite numbers, got {weights!r}")
    total = factors @ units
    if np.linalg.norm(total) <= _NOTHING * np.abs(factors).sum():
        raise InvalidArgument("the weighted sum is zero: its parts cancel out")
    unit: NDArray[np.float32] = normalize(total[np.newaxis])[0]
    return unit


def direction(positive: ArrayLike, negative: ArrayLike) -> NDArray[np.float32]:
    """What leads from one set of points to another: the difference of their means.

    Args:
        positive: `(n, dim)` real numbers, n at least 1.
        negative: `(m, dim)`, likewise.

    Returns:
        `(dim,)` float32, computed in float64.

    Raises:
        InvalidArgument: Not matrices of one width, or a set is empty.
    """
    ends = [_matrix(rows).astype(np.float64) for rows in (positive, negative)]
    if ends[0].shape[1] != ends[1].shape[1] or not all(map(len, ends)):
        raise InvalidArgument(
            f"direction: expected points of one width, got {ends[0].shape} and {ends[1].shape}"
        )
    way: NDArray[np.float32] = (ends[0].mean(axis=0) - ends[1].mean(axis=0)).astype(np.float32)
    return way


def held_out_auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """How well a direction tells points that it was not fitted on: the area under the ROC curve.

    In turn a fifth of either set, or a point where there are fewer than five, is held out, and the
    direction is fitted on the others. The area is the share of pairs of held-out points of which
    the positive one lies further along (Hanley and McNeil, "The meaning and use of the area under
    a ROC curve", Radiology 143, 1982), averaged over the turns; equal ones count half.

    Args:
        positive: `(n, dim)` real numbers, n at least 2.
        negative: `(m, dim)`, m at least 2.

    Raises:
        InvalidArgument: Fewer than 2 of a kind, or not matrices of one width.
    """
    sets = [_matrix(rows).astype(np.float64) for rows in (positive, negative)]
    folds = min(_FOLDS, *map(len, sets))
    if folds < 2:
        raise InvalidArgument("held-out AUC: expected 2 points of either kind or more")
    return float(np.mean([_fold_auc(sets[0], sets[1], fold, folds) for fold in range(folds)]))


def _fold_auc(
    positive: NDArray[np.float64], negative: NDArray[np.float64], fold: int, folds: int
) -> float:
    held = [np.arange(len(rows)) % folds == fold for rows in (positive, negative)]
    fitted = direction(positive[~held[0]], negative[~held[1]])
    above = np.subtract.outer(positive[held[0]] @ fitted, negative[held[1]] @ fitted)
    return float((np.sign(above) + 1).mean() / 2)


def _ends(
    a: ArrayLike, b: ArrayLike, t: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    start, end, steps = (np.asarray(each, np.float64) for each in (a, b, t))
    if start.ndim != 1 or start.shape != end.shape or steps.ndim != 1:
        raise InvalidArgument(
            f"expected ends of one shape (dim,) and steps (n,), got {start.shape}, {end.shape} "
            f"and {steps.shape}"
        )
    if not all(np.isfinite(each).all() for each in (start, end, steps)):
        raise InvalidArgument("an end or a step is NaN or infinite")
    return start, end, steps


def _between(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    of_start: NDArray[np.float64],
    of_end: NDArray[np.float64],
) -> NDArray[np.float32]:
    return (np.outer(of_start, start) + np.outer(of_end, end)).astype(np.float32)


def _units(rows: NDArray[Any], start: int) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    if all(_SMALLEST < length < _LARGEST for length in lengths.tolist()):
        usual: NDArray[np.float64] = exact / lengths[:, np.newaxis]
        return usual
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
