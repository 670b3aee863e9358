"""Exact search with numpy alone: the oracle that defines the right answer, and a BLAS scan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from semsearch.vectors import scoring
from semsearch.vectors.base import (
    TARGET_RECALL,
    Allowed,
    Facts,
    Neighbours,
    Plan,
    Report,
    Unlinked,
    Vectors,
    unreported,
)
from semsearch.vectors.scoring import Pairs

_SCAN_SCORES = 2**22
"""Scores that one matrix product makes at a time: 16 MiB of float32."""

_BATCH_SCORES = 2**24
"""Bound of queries times rows in one batch: what must fit when every row ties (under 1 GiB)."""

_GATHER_ROWS = 256
"""Rows copied at a time: few enough to stay in the cache until they are scored."""

GATHER_BELOW = 0.35
"""Share of rows up to which copying the allowed ones is no slower than scoring all (measured)."""


class MatrixOnly(Unlinked):
    """An index with nothing to save: all it knows is the matrix."""

    derived: ClassVar[bool] = False

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = scoring.check_vectors(vectors)

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        *,
        target_recall: float = TARGET_RECALL,  # noqa: ARG003 (always 1)
        report: Report = unreported,  # noqa: ARG003
    ) -> Self:
        """See `VectorIndex.build`; takes no time."""
        return cls(vectors)

    def facts(self) -> Facts:
        """Nothing was tuned, nothing need be measured."""
        return Facts()

    def plan(self, k: int, allowed: Allowed | None = None) -> Plan:  # noqa: ARG002
        """All allowed rows are scored."""
        return Plan(len(self._vectors) if allowed is None else allowed.count)

    def save(self, path: Path) -> None:
        """Write nothing: the matrix is all there is."""

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:  # noqa: ARG003 (there is no file)
        """Same as `build`; `path` is not looked at."""
        return cls(vectors)


class NumpyExact(MatrixOnly):
    """The oracle: scores every allowed row in float64 and sorts. Slow, and plainly right."""

    kind: ClassVar[str] = "numpy"
    exact: ClassVar[bool] = True

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        only = scoring.check_allowed(allowed, len(self._vectors))
        rows = np.arange(len(self._vectors)) if only is None else only.rows
        k = scoring.check_k(k, len(rows))
        return scoring.stack([self._search_one(query, rows, k) for query in queries[:, None]], k)

    def _search_one(self, query: Vectors, rows: NDArray[np.int64], k: int) -> Neighbours:
        scores = np.empty(len(rows), np.float32)
        for part in scoring.blocks(len(rows), 4096):
            scores[part] = scoring.similarities(query, self._vectors[rows[part]])
        best = np.lexsort((rows, -scores))[None, :k]
        return Neighbours(rows[best], scores[best])


def scan(queries: Vectors, vectors: Vectors, k: int, only: Allowed | None = None) -> Neighbours:
    """Exact search by BLAS over the allowed rows, or all when None; arguments checked but `k`.

    A float32 product is off by a bounded amount, so a row further than that below the k-th best
    cannot belong to the answer and every other row is rescored by `scoring.similarities`. That
    makes rows, order and scores those of the oracle, duplicates at the k-th place included.

    Raises:
        InvalidArgument: `k` is not an integer of at least 1.
    """
    n = len(vectors) if only is None else only.count
    k = scoring.check_k(k, n)
    if k == 0:
        return scoring.nothing(len(queries))
    copied = None if only is None else only.copied(vectors)
    if only is not None and copied is not None and len(queries) == 1:
        return scoring.best_of(only.rows, copied, queries, k)
    batches = scoring.blocks(len(queries), max(1, _BATCH_SCORES // n))
    answers = []
    for batch in batches:
        pairs = _candidates(scoring.units(queries[batch]), vectors, k, only)
        answers.append(scoring.rank(pairs, queries[batch], vectors, k))
    return scoring.stack(answers, k)


def _candidates(queries: Vectors, vectors: Vectors, k: int, only: Allowed | None) -> Pairs:
    """Every pair that float32 scores cannot exclude from the best `k` of its query."""
    margin = 2 * scoring.error_bound(vectors.shape[1])
    floor = np.full(len(queries), -np.inf, np.float32)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    for part, scores in _score_blocks(queries, vectors, only):
        if scores.shape[1] >= k:
            kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k]
            np.maximum(floor, kth, out=floor)
        owner, place = np.nonzero(scores >= (floor - margin)[:, None])
        found.append((owner, part[place], scores[owner, place]))
    if len(found) == 1:  # the floor did not rise after it
        return Pairs(*found[0][:2])
    owner, row, score = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((-score, owner))
    kth = score[order][np.searchsorted(owner[order], np.arange(len(queries))) + k - 1]
    keep = score >= (kth - margin)[owner]
    return Pairs(owner[keep], row[keep])


def _score_blocks(
    queries: Vectors, vectors: Vectors, only: Allowed | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield rows and their float32 scores, `(n_queries, len(rows))`, block after block."""
    size = max(1, _SCAN_SCORES // len(queries))
    copied = None if only is None else only.copied(vectors)
    if only is not None and copied is not None and only.count <= size:
        yield only.rows, queries @ copied.T
        return
    rows = None if only is None else only.rows
    if rows is not None and len(rows) <= GATHER_BELOW * len(vectors):
        for part in scoring.blocks(len(rows), min(size, _GATHER_ROWS)):
            yield rows[part], queries @ vectors[rows[part]].T
        return
    for part in scoring.blocks(len(vectors), size):
        scores = queries @ vectors[part].T
        if rows is None:
            yield np.arange(part.start, part.stop), scores
        else:
            inside = rows[slice(*np.searchsorted(rows, (part.start, part.stop)))]
            yield inside, scores[:, inside - part.start]
