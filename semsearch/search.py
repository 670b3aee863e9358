"""The query engine over one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.snapshot import LiveSegment, Snapshot
from semsearch.types import Hit


@dataclass(frozen=True, slots=True)
class Ranking:
    """The nearest chunks of one query, nearest first, equal scores by ascending key."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float32]


def search(
    snapshot: Snapshot,
    segments: Sequence[LiveSegment],
    queries: NDArray[np.float32],
    k: int,
    *,
    group: bool = False,
) -> list[list[Hit]]:
    """The `k` best hits of each query.

    Args:
        snapshot: Taken with its segments mapped.
        segments: The snapshot's, or what a filter left of them.
        queries: `(n, dim)` float32 unit vectors.
        k: At least 1.
        group: At most one hit, the best, for each document.

    Returns:
        One list for each query: exactly `min(k, chunks)` hits, or documents when grouped.
    """
    rankings = _grouped(snapshot, segments, queries, k) if group else nearest(segments, queries, k)
    # One look-up for all queries, then shared out again.
    hits = iter(
        snapshot.hits(
            [int(key) for ranking in rankings for key in ranking.keys],
            [float(score) for ranking in rankings for score in ranking.scores],
        )
    )
    return [[next(hits) for _ in ranking.keys] for ranking in rankings]


def nearest(segments: Sequence[LiveSegment], queries: NDArray[np.float32], k: int) -> list[Ranking]:
    """The `k` nearest live chunks of each query over all segments."""
    found = [
        (live.file.data.keys[result.rows], result.similarities)
        for live in segments
        if live.live
        for result in [live.search(queries, k)]
    ]
    if not found:
        return [Ranking(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    keys = np.concatenate([keys for keys, _ in found], axis=1)
    scores = np.concatenate([scores for _, scores in found], axis=1)
    order = np.lexsort((keys, -scores), axis=1)[:, :k]
    return [
        Ranking(row_keys[row], row_scores[row])
        for row_keys, row_scores, row in zip(keys, scores, order, strict=True)
    ]


def _grouped(
    snapshot: Snapshot, segments: Sequence[LiveSegment], queries: NDArray[np.float32], k: int
) -> list[Ranking]:
    """Like `nearest`, the best chunk of each document only.

    Fetches more chunks until every query has `k` documents: twice as many, then four times, ...
    """
    chunks = sum(live.live for live in segments)
    fetch = 2 * k
    while True:
        rankings = nearest(segments, queries, fetch)
        owners = snapshot.catalog.chunk_documents(
            {int(key) for ranking in rankings for key in ranking.keys}
        )
        grouped = [_best_of_each(ranking, owners, k) for ranking in rankings]
        if fetch >= chunks or all(len(ranking.keys) == k for ranking in grouped):
            return grouped
        fetch *= 2


def _best_of_each(ranking: Ranking, owners: dict[int, int], k: int) -> Ranking:
    documents = [owners[int(key)] for key in ranking.keys]
    _, first = np.unique(np.array(documents, np.int64), return_index=True)
    rows = np.sort(first)[:k]
    return Ranking(ranking.keys[rows], ranking.scores[rows])
