"""What every vector index shares: checking arguments, the one similarity, the one order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument
from semsearch.vectors.base import Allowed, Neighbours, Vectors

LONGEST_QUERY = 1e30
SHORTEST_QUERY = 1e-30
"""Between these lengths no similarity over- or underflows float32 enough to change an order."""

_BLOCK_FLOATS = 2**20
"""Components rescored at a time: 8 MiB of float64."""


class Pairs(NamedTuple):
    """Candidates: `rows[i]` for the query `queries[i]`; any order, no pair twice."""

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]


def check_vectors(vectors: Vectors) -> Vectors:
    """Return `vectors` as they are, without a copy.

    Raises:
        InvalidArgument: Not a C-contiguous float32 matrix with at least one column.
    """
    shape_ok = vectors.ndim == 2 and vectors.shape[1] > 0
    if not (shape_ok and vectors.dtype == np.float32 and vectors.flags.c_contiguous):
        raise InvalidArgument(
            "vectors: expected C-contiguous float32 of shape (n, dim), "
            f"got {vectors.dtype} {vectors.shape}"
        )
    return vectors


def check_queries(queries: Vectors, dim: int) -> Vectors:
    """Return `queries` as C-contiguous float32, copied only when needed.

    Raises:
        InvalidArgument: Not real numbers of shape `(n, dim)`, not finite, or of a length at
            which float32 similarities would over- or underflow.
    """
    array = np.asarray(queries)
    if array.ndim != 2 or array.shape[1] != dim or array.dtype.kind not in "fiu":
        raise InvalidArgument(
            f"queries: expected real numbers of shape (n, {dim}), got {array.dtype} {array.shape}"
        )
    usual = len(array) == 1 and array.dtype == np.float32
    if usual and SHORTEST_QUERY <= _length(array[0].astype(np.float64)) <= LONGEST_QUERY:
        return np.ascontiguousarray(array)
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    fine = (lengths == 0) | ((lengths >= SHORTEST_QUERY) & (lengths <= LONGEST_QUERY))
    if not fine.all():
        worst = int(fine.argmin())
        raise InvalidArgument(
            f"queries: row {worst} has length {lengths[worst]:.3g}; expected 0 or a length from "
            f"{SHORTEST_QUERY:g} to {LONGEST_QUERY:g}"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _length(vector: NDArray[np.float64]) -> float:
    return math.sqrt(vector.dot(vector))


def check_allowed(allowed: Allowed | None, n: int) -> Allowed | None:
    """Return what restricts a search of `n` rows; None when all are allowed.

    Raises:
        InvalidArgument: It is a mask of another number of rows.
    """
    if allowed is None:
        return None
    if len(allowed.mask) != n:
        raise InvalidArgument(f"allowed: expected {n} rows, got {len(allowed.mask)}")
    return None if allowed.count == n else allowed


def check_k(k: int, available: int) -> int:
    """Columns of the answer: `k`, or as many rows as there are.

    Raises:
        InvalidArgument: `k` is not an integer of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InvalidArgument(f"k: expected an integer of at least 1, got {k!r}")
    return min(int(k), available)


def similarities(queries: NDArray[np.floating[Any]], rows: Vectors) -> NDArray[np.float32]:
    """Inner product of each query with the row beside it: the definition of a score.

    Products of two float32 are exact in float64 and each row is summed alone by numpy's pairwise
    sum, so the bits depend on the two vectors only: not on a batch, a block or an alignment, as
    those of BLAS do.

    Args:
        queries: `(m, dim)` float32, or such in float64; or `(1, dim)` for one query against all.
        rows: `(m, dim)`.

    Returns:
        `(m,)` float32, the float64 sum rounded once; never -0.0.
    """
    products = rows.astype(np.float64)
    products *= queries
    scores: NDArray[np.float32] = np.add.reduce(products, axis=1).astype(np.float32)
    scores += 0
    return scores


def rank(pairs: Pairs, queries: Vectors, vectors: Vectors, k: int) -> Neighbours:
    """Score candidates and keep the best `k` of each query, ties by ascending row.

    Every query must have at least `k` candidates.
    """
    if len(queries) == 1:
        return _rank_one(pairs.rows, queries, vectors, k)
    scores = np.empty(len(pairs.rows), np.float32)
    for part in blocks(len(scores), max(1, _BLOCK_FLOATS // queries.shape[1])):
        scores[part] = similarities(queries[pairs.queries[part]], vectors[pairs.rows[part]])
    order = np.lexsort((pairs.rows, -scores, pairs.queries))
    first = np.searchsorted(pairs.queries[order], np.arange(len(queries)))
    best = order[first[:, None] + np.arange(k)]
    return Neighbours(pairs.rows[best], scores[best])


def rank_all(rows: NDArray[np.int64], queries: Vectors, vectors: Vectors, k: int) -> Neighbours:
    """Like `rank`, with as many candidates for each query: `(n_queries, candidates)` rows."""
    if rows.shape[1] * queries.shape[1] <= _BLOCK_FLOATS:
        found = zip(rows, queries[:, np.newaxis], strict=True)
        return stack([best_of(near, vectors.take(near, axis=0), one, k) for near, one in found], k)
    owners = np.repeat(np.arange(len(queries)), rows.shape[1])
    return rank(Pairs(owners, rows.ravel()), queries, vectors, k)


def rank_or(
    rows: NDArray[np.int64],
    short: NDArray[np.bool_],
    queries: Vectors,
    vectors: Vectors,
    *,
    k: int,
    otherwise: Callable[[Vectors], Neighbours],
) -> Neighbours:
    """Like `rank_all`, but what is `short` of candidates is answered otherwise.

    Args:
        rows: `(n_queries, candidates)`; of those that are short, overwritten.
        short: `(n_queries,)`: which queries have not enough.
        queries: `(n_queries, dim)`.
        vectors: All rows.
        k: How many.
        otherwise: Answers some of the queries.
    """
    if not short.any():
        return rank_all(rows, queries, vectors, k)
    rows[short] = np.arange(rows.shape[1])
    answer = rank_all(rows, queries, vectors, k)
    again = otherwise(queries[short])
    answer.rows[short] = again.rows
    answer.similarities[short] = again.similarities
    return answer


def first_allowed(
    rows: NDArray[np.int64], allowed: Allowed, wanted: int, k: int, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The first `wanted` allowed rows of each query, and of which queries they will not do.

    The nearest of the allowed rows are among the nearest of all. Where those are mostly others,
    the `k`-th is further away than was looked.

    Args:
        rows: `(n_queries, candidates)`, nearest first, -1 for none.
        allowed: The rows that may be returned.
        wanted: At least `k`, at most as many as there are candidates.
        k: How many are to be hits.
        reach: How many of the nearest rows were surely met.
    """
    fine = allowed.mask[rows] & (rows >= 0)
    first = np.argsort(~fine, axis=1, kind="stable")[:, :wanted]
    short = (fine.sum(axis=1) < wanted) | (first[:, k - 1] >= reach)
    return np.take_along_axis(rows, first, axis=1), short


def best_of(rows: NDArray[np.int64], points: Vectors, query: Vectors, k: int) -> Neighbours:
    """The best `k` of some rows for one query, ties by ascending row.

    What a float32 product, off by a bounded amount, puts further than that below the k-th best
    cannot belong to the answer; only the others are scored.

    Args:
        rows: `(n,)`, at least `k`, in any order.
        points: `(n, dim)`: their vectors.
        query: `(1, dim)`.
        k: How many.
    """
    products = points @ query[0]
    order = products.argsort()  # NaN last: a damaged vector is not passed over
    exact = query.astype(np.float64)
    margin = 2 * error_bound(query.shape[1]) * _length(exact[0])
    near = order[products.searchsorted(products[order[-k]] - margin, sorter=order) :]
    return _first(rows[near], similarities(exact, points.take(near, axis=0)), k)


def _rank_one(rows: NDArray[np.int64], queries: Vectors, vectors: Vectors, k: int) -> Neighbours:
    scores = np.empty(len(rows), np.float32)
    for part in blocks(len(rows), max(1, _BLOCK_FLOATS // queries.shape[1])):
        scores[part] = similarities(queries, vectors[rows[part]])
    return _first(rows, scores, k)


def _first(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Neighbours:
    """The best `k` for one query, in order."""
    best = np.lexsort((rows, -scores))[None, :k]
    return Neighbours(rows[best], scores[best])


def blocks(n: int, size: int) -> Iterator[slice]:
    """Cut `range(n)` into slices of at most `size`."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def nothing(n_queries: int) -> Neighbours:
    """Return the answer when no row may be returned: `(n_queries, 0)`."""
    shape = (n_queries, 0)
    return Neighbours(np.empty(shape, np.int64), np.empty(shape, np.float32))


def merged(parts: Sequence[Neighbours], k: int) -> Neighbours:
    """The best `k` for each query of several answers, equal similarities by ascending row."""
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.similarities for part in parts], axis=1)
    best = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
    )


def stack(parts: list[Neighbours], k: int) -> Neighbours:
    """Join the answers to consecutive batches of queries; no batch at all gives `(0, k)`."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Neighbours(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return Neighbours(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )


def units(queries: Vectors) -> Vectors:
    """Scale queries to unit length, zero ones left zero: the bound below is for such."""
    exact = queries.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    lengths[lengths == 0] = 1
    exact /= lengths[:, np.newaxis]
    return exact.astype(np.float32)


def error_bound(dim: int) -> float:
    """How far a float32 inner product of unit vectors can be from its score.

    `gamma_dim = dim u / (1 - dim u)`, u = 2**-24, holds for any order of summation (Higham,
    Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5); eight more roundings cover
    those of the query's scaling, the score itself and lengths a little over 1.
    """
    rounding = (dim + 8) * 2.0**-24
    return rounding / (1 - rounding)
