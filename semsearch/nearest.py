"""The nearest chunks over all segments, and how a filter is kept to.

Three ways, each with the answer of the others, up to the recall of the kinds:

- few documents match: they are looked up, and their vectors scored (the kinds do so by themselves);
- many match: more are found without the filter, and what was found is held against it;
- between: all that match are looked up once a commit, and each kind searches among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semsearch.filters import Filter
from semsearch.snapshot import Snapshot
from semsearch.types import Step
from semsearch.vectors.base import Neighbours
from semsearch.vectors.scoring import merged
from semsearch.view import LiveSegment

_MANY = 0.3
"""Share of matching chunks from which findings are held against the filter."""

_SURPLUS, _SPARE = 1.25, 4
"""How many more are found than enough if matches were spread evenly: a factor, and some."""

_WIDENINGS = (1, 2, 4)
"""How many times as many are found, one after the other, until enough match."""

_LOOK_UP = 1 / 4
"""What it costs to look up whether a row matches, when all that do are, beside a single check."""


class Ranking(NamedTuple):
    """Chunks found for one query, best first, equal scores by ascending key."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, keys: NDArray[np.int64], scores: NDArray[np.float64]) -> Ranking:
        """Put chunks in order."""
        order = np.lexsort((keys, -scores))
        return cls(keys[order], scores[order])

    @classmethod
    def best(cls, keys: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> Ranking:
        """The `k` best of chunks."""
        if len(scores) > k:
            enough = scores >= np.partition(scores, -k)[-k]
            keys, scores = keys[enough], scores[enough]
        return cls.of(keys, scores).take(slice(k))

    def take(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Ranking:
        """Some of them, in the same order."""
        return Ranking(self.keys[rows], self.scores[rows])


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a search looks.

    Attributes:
        snapshot: Taken with its segments mapped.
        where: Only documents that match; all when None.
        steps: What was done is added to it, if it is wanted.
    """

    snapshot: Snapshot
    where: Filter | None = None
    steps: list[Step] | None = field(default=None, compare=False)

    @property
    def segments(self) -> Sequence[LiveSegment]:
        """The snapshot's, or what the filter leaves of them."""
        if self.where is None:
            return self.snapshot.segments
        if self.steps is None:
            return self.snapshot.selected(self.where)
        known = self.snapshot.selection(self.where).segments is not None
        began = perf_counter()
        found = self.snapshot.selected(self.where)
        count = sum(live.live for live in found)
        how = "known from an earlier search" if known else "looked up"
        self.note(f"filter: {count:,} passages match, {how}", began)
        return found

    @property
    def filtered(self) -> NDArray[np.int64] | None:
        """Keys of the chunks that a filter left, ascending; None when there is no filter."""
        if self.where is None:
            return None
        keys = [live.live_keys() for live in self.segments]
        return np.concatenate(keys) if keys else np.empty(0, np.int64)

    def note(self, what: str, began: float) -> None:
        """Add a step that was done since `began`, if steps are wanted."""
        if self.steps is not None:
            self.steps.append(Step(what, 1e3 * (perf_counter() - began)))


def nearest(scope: Scope, vectors: NDArray[np.float32], k: int) -> list[Ranking]:
    """The `k` nearest live chunks of each query that match the filter, and their cosines."""
    found = None if scope.where is None else _checked(scope, scope.where, vectors, k)
    return _searched(scope, scope.segments, vectors, k) if found is None else found


def _checked(
    scope: Scope, where: Filter, vectors: NDArray[np.float32], k: int
) -> list[Ranking] | None:
    """Found without the filter, then held against it; None where that costs more or is too few."""
    began = perf_counter()
    known, snapshot = scope.snapshot.selection(where), scope.snapshot
    rows = sum(live.row.rows for live in snapshot.segments)
    if known.segments is not None or known.share < _MANY or known.checked > _LOOK_UP * rows:
        return None
    scope.note(f"filter: about {known.share:.0%} match, so what is found is checked", began)
    depth = math.ceil(_SURPLUS * k / known.share) + _SPARE
    for widening in _WIDENINGS:
        rankings = _searched(scope, snapshot.segments, vectors, widening * depth)
        began = perf_counter()
        keys = {key for ranking in rankings for key in ranking.keys.tolist()}
        matching = snapshot.catalog.matching_among(keys, where)
        known.checked += len(keys)
        kept = [ranking.take(np.isin(ranking.keys, matching)) for ranking in rankings]
        scope.note(f"filter: {len(matching):,} of {len(keys):,} found match", began)
        if all(
            len(left.keys) >= k or len(ranking.keys) < widening * depth
            for left, ranking in zip(kept, rankings, strict=True)
        ):
            return [left.take(slice(k)) for left in kept]
    return None


def _searched(
    scope: Scope, segments: Sequence[LiveSegment], vectors: NDArray[np.float32], k: int
) -> list[Ranking]:
    found = []
    for live in segments:
        if live.live:
            began = perf_counter()
            result = live.search(vectors, k)
            found.append(Neighbours(live.file.data.keys[result.rows], result.similarities))
            if scope.steps is not None:
                scope.note(f"segment {live.row.number}: {live.plan(k)}", began)
    if not found:
        return [Ranking(np.empty(0, np.int64), np.empty(0)) for _ in vectors]
    keys, scores = merged(found, k) if len(found) > 1 else found[0]
    return [
        Ranking(row_keys, scope.snapshot.cosines(row_keys, row_scores))
        for row_keys, row_scores in zip(keys, scores, strict=True)
    ]
