"""How far an approximate search must look: measured on an index's own rows, never guessed.

A sample of the rows are the queries. What is nearest to each is the truth, itself and its copies
left out: a real query is no copy of a row, and copies lie in one list, found too easily. Two
things can lose a true neighbour: the list it lies in is not looked into, or its code ranks it too
low to be scored exactly. Each is measured by itself, for several numbers of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from semsearch.vectors.base import Allowed, Neighbours, Quality, Vectors
from semsearch.vectors.flat import FaissExact
from semsearch.vectors.lists import Lists

DEPTHS = (10, 30, 100, 300, 1000)
"""Numbers of neighbours for which the effort is measured; others are interpolated."""

_SAMPLE = 256
_COPY, _COPIES = 0.85, 20
"""Cosine from which a row is a copy of another, and how many of one are looked for at least."""

ALIKE = 1e-5
"""Similarities that differ by no more are taken for equal: of copies, any will do."""

_LOST_IN_RANKING = 0.2
"""Share of the misses that may be due to codes; scoring more is cheaper than more lists."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search needs for the wanted recall, by the number of neighbours it looks for.

    Attributes:
        depths: Ascending numbers of neighbours.
        probes: How many lists hold enough of so many true neighbours.
        scored: How many candidates hold enough of so many true neighbours, once their lists
            are looked into.
    """

    depths: tuple[int, ...]
    probes: tuple[int, ...]
    scored: tuple[int, ...]

    def probes_for(self, depth: float) -> int:
        """Lists to look into for `depth` neighbours."""
        return interpolated(depth, self.depths, self.probes)

    def scored_for(self, k: int) -> int:
        """Candidates to score exactly for `k` hits."""
        return max(k, interpolated(k, self.depths, self.scored))


@lru_cache(maxsize=1024)
def interpolated(depth: float, depths: tuple[int, ...], values: tuple[int, ...]) -> int:
    """Interpolate between what was measured; beyond it, grow in proportion."""
    if depth >= depths[-1]:
        return int(np.ceil(values[-1] * depth / depths[-1]))
    return int(np.ceil(np.interp(depth, depths, values)))


class Searchable(Protocol):
    """What recall can be measured of."""

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`."""
        ...

    def apart(self, groups: Sequence[NDArray[np.int64]]) -> Sequence[AbstractContextManager[None]]:
        """See `VectorIndex.apart`."""
        ...


class Truth(NamedTuple):
    """True neighbours of sampled rows, nearest first, the row itself and its copies left out.

    Attributes:
        queries: `(q, dim)`: the sampled rows.
        left_out: For each of them, which rows do not count.
        rows: `(q, depth)` their neighbours.
        similarities: `(q, depth)`: of those.
    """

    queries: Vectors
    left_out: list[NDArray[np.int64]]
    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        vectors: Vectors,
        rng: np.random.Generator,
        allowed: Allowed | None = None,
        *,
        sample: int = _SAMPLE,
        depth: int = DEPTHS[-1],
    ) -> Truth:
        """Find the neighbours of random rows by exact search.

        Args:
            vectors: The rows.
            rng: Draws the sample.
            allowed: The rows that may be neighbours; all when None.
            sample: How many rows to draw at most; those of too many copies are left out again.
            depth: How many neighbours to find at most; fewer, or none, where half of the sample
                has not so many.
        """
        n = len(vectors)
        drawn = np.sort(rng.choice(n, min(n, sample), replace=False))
        queries = np.ascontiguousarray(vectors[drawn])
        k = depth + 1 + max(_COPIES, depth // 10)
        found = FaissExact(vectors).search(queries, k, allowed=allowed)
        copies = (found.similarities >= _COPY) | (found.rows == drawn[:, None])
        others = (~copies).sum(axis=1)
        half = int(np.median(others)) if n else 0
        deep = max((each for each in DEPTHS if each <= min(half, depth)), default=0)
        used = np.flatnonzero(others >= max(deep, 1))
        kept = [np.flatnonzero(~copies[place])[:deep] for place in used]
        nearest = np.array(kept, np.int64).reshape(len(used), deep)
        return cls(
            queries[used],
            [found.rows[place][copies[place]] for place in used],
            np.take_along_axis(found.rows[used], nearest, axis=1),
            np.take_along_axis(found.similarities[used], nearest, axis=1),
        )

    def others(self, place: int, n: int) -> Allowed:
        """The rows of `n` that count for one of the queries."""
        mask = np.ones(n, np.bool_)
        mask[self.left_out[place]] = False
        return Allowed(mask)


def tuned(lists: Lists, truth: Truth, target_recall: float) -> Effort:
    """Find the least effort that finds a share of `target_recall` of the true neighbours."""
    depths = tuple(depth for depth in DEPTHS if depth <= truth.rows.shape[1])
    if not depths:
        return Effort(DEPTHS[:1], (lists.count,), (lists.candidates * DEPTHS[0],))
    places = _list_places(lists, truth)
    probes = [_needed(places[:, :depth], coverage(target_recall)) for depth in depths]
    ranked = target_recall / coverage(target_recall)
    scored = [
        _needed(_candidate_places(lists, truth, depth, most)[places[:, :depth] < most], ranked)
        for depth, most in zip(depths, probes, strict=True)
    ]
    return Effort(depths, tuple(probes), tuple(scored))


def coverage(target_recall: float) -> float:
    """Share of the true neighbours that must lie in the lists looked into."""
    return target_recall / (1 - _LOST_IN_RANKING * (1 - target_recall))


def _needed(places: NDArray[np.int64], share: float) -> int:
    """How many places from the first hold a `share` of what stands at `places`, from 0."""
    return int(quantile(places, share)) + 1 if places.size else 1


def quantile(values: NDArray[Any], share: float) -> float:
    """The least of the values that a `share` of them do not exceed."""
    wanted = min(max(int(np.ceil(share * values.size)), 1), values.size)
    return float(np.partition(values.ravel(), wanted - 1)[wanted - 1])


def _list_places(lists: Lists, truth: Truth) -> NDArray[np.int64]:
    """In which place, from the nearest list on, each true neighbour's list is for its query."""
    order = np.argsort(-(truth.queries @ lists.centres.T), axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None], axis=1)
    return np.take_along_axis(places, lists.owners[truth.rows], axis=1)


def _candidate_places(lists: Lists, truth: Truth, depth: int, probes: int) -> NDArray[np.int64]:
    """In which place the codes rank each true neighbour, if its list is looked into.

    Returns:
        `(q, depth)`; behind all candidates where it is not among them.
    """
    n = lists.shape[0]
    fetch = min(lists.candidates * depth, n)
    places = np.full((len(truth.rows), depth), fetch)
    for number, rows in enumerate(truth.rows[:, :depth]):
        query = truth.queries[number, None]
        candidates = lists.search(query, fetch, probes, truth.others(number, n))[0]
        order = np.argsort(candidates, kind="stable")
        at = order[np.minimum(np.searchsorted(candidates[order], rows), len(order) - 1)]
        there = candidates[at] == rows
        places[number, there] = at[there]
    return places


def measured(index: Searchable, truth: Truth, n: int) -> Quality | None:
    """Recall of a search for the ten nearest; None with fewer than that."""
    k = DEPTHS[0]
    if truth.rows.shape[1] < k:
        return None
    hits = 0
    for place, apart in enumerate(index.apart(truth.left_out)):
        query, least = truth.queries[place, None], truth.similarities[place, k - 1]
        with apart:
            found = index.search(query, k, allowed=truth.others(place, n))
        hits += int((found.similarities >= least - ALIKE).sum())
    return Quality(hits / (k * len(truth.rows)), k, len(truth.rows))


def sampled_recall(
    index: Searchable, vectors: Vectors, rng: np.random.Generator, sample: int
) -> Quality | None:
    """Like `measured`, on rows drawn anew."""
    truth = Truth.of(vectors, rng, sample=sample, depth=DEPTHS[0])
    return measured(index, truth, len(vectors))
