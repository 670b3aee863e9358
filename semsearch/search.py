"""The query engine over one snapshot: by meaning, by words, or by both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.snapshot import LiveSegment, Snapshot
from semsearch.types import Hit, Mode
from semsearch.vectors.scoring import similarities

KEYWORD_WEIGHT = 0.3
"""What the keyword part counts in a hybrid score, when the cosine counts 1 (decision 0009)."""

CANDIDATES = 100
"""A hybrid search scores at least this many of the best of either side."""


@dataclass(frozen=True, slots=True)
class Queries:
    """What is asked: texts, their vectors, or both.

    Attributes:
        texts: Needed for "keyword" and "hybrid".
        vectors: `(n, dim)` float32 unit vectors; needed for "dense" and "hybrid".
    """

    texts: Sequence[str] = ()
    vectors: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Chunks found for one query, best first, equal scores by ascending key."""

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, keys: NDArray[np.int64], scores: NDArray[np.float64]) -> Ranking:
        """Put chunks in order."""
        order = np.lexsort((keys, -scores))
        return cls(keys[order], scores[order])

    def take(self, rows: slice | NDArray[np.int64]) -> Ranking:
        """Some of them, in the same order."""
        return Ranking(self.keys[rows], self.scores[rows])


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a search looks.

    Attributes:
        snapshot: Taken with its segments mapped.
        segments: The snapshot's, or what a filter left of them.
    """

    snapshot: Snapshot
    segments: Sequence[LiveSegment]

    @property
    def filtered(self) -> NDArray[np.int64] | None:
        """Keys of the chunks that a filter left, ascending; None when there is no filter."""
        if self.segments is self.snapshot.segments:
            return None
        keys = [live.live_keys() for live in self.segments]
        return np.concatenate(keys) if keys else np.empty(0, np.int64)


def search(
    scope: Scope, queries: Queries, k: int, *, mode: Mode, group: bool = False
) -> list[list[Hit]]:
    """The `k` best hits of each query.

    Args:
        scope: Where.
        queries: With what the mode needs.
        k: At least 1.
        mode: "dense" ranks by the cosine of query and chunk; "keyword" by the BM25 score of the
            chunks that hold a word of the query; "hybrid" by `fused`.
        group: At most one hit, the best, for each document.

    Returns:
        One list for each query: `min(k, chunks)` hits, or documents when grouped; with "keyword"
        of the chunks that hold a word.
    """

    def ranked(depth: int) -> list[Ranking]:
        return _RANKED[mode](scope, queries, depth)

    rankings = _grouped(scope.snapshot, ranked, k) if group else ranked(k)
    best = [ranking.take(slice(k)) for ranking in rankings]
    # One look-up for all queries, then shared out again.
    hits = iter(
        scope.snapshot.hits(
            [key for ranking in best for key in ranking.keys.tolist()],
            [score for ranking in best for score in ranking.scores.tolist()],
        )
    )
    return [[next(hits) for _ in ranking.keys] for ranking in best]


def nearest(scope: Scope, queries: Queries, k: int) -> list[Ranking]:
    """The `k` nearest live chunks of each query over all segments, and their cosines."""
    vectors = _vectors(queries)
    found = [
        (live.file.data.keys[result.rows], result.similarities)
        for live in scope.segments
        if live.live
        for result in [live.search(vectors, k)]
    ]
    if not found:
        return [Ranking(np.empty(0, np.int64), np.empty(0)) for _ in vectors]
    keys = np.concatenate([keys for keys, _ in found], axis=1)
    scores = np.concatenate([scores for _, scores in found], axis=1)
    order = np.lexsort((keys, -scores), axis=1)[:, :k]
    return [
        Ranking(row_keys[row], scope.snapshot.cosines(row_keys[row], row_scores[row]))
        for row_keys, row_scores, row in zip(keys, scores, order, strict=True)
    ]


def wordy(scope: Scope, queries: Queries, k: int) -> list[Ranking]:
    """The `k` chunks with the highest BM25 score, of those that hold a word of the query."""
    catalog, filtered = scope.snapshot.catalog, scope.filtered
    return [
        Ranking.of(*catalog.keyword_matches(text, filtered)).take(slice(k))
        for text in queries.texts
    ]


def fused(scope: Scope, queries: Queries, k: int) -> list[Ranking]:
    """The nearest chunks and those with the best words, by a score of both sides.

    At least the `k` best of either side are scored, each by

        cosine + KEYWORD_WEIGHT * BM25 / norm

    with its own cosine and its own BM25 score, whichever side found it; 0 if it holds no word.
    `norm` is the query's length as a vector of words, see `storage.keywords.norm`: so both parts
    are products of a query of unit length with a passage.
    """
    depth = max(CANDIDATES, k)
    vectors = _vectors(queries)
    dense = nearest(scope, queries, depth)
    return [
        _fused(scope, text, vector, ranking, depth)
        for text, vector, ranking in zip(queries.texts, vectors, dense, strict=True)
    ]


def _fused(
    scope: Scope, text: str, vector: NDArray[np.float32], dense: Ranking, depth: int
) -> Ranking:
    snapshot = scope.snapshot
    matches = snapshot.catalog.keyword_matches(text, scope.filtered)
    if not len(matches.keys):
        return dense
    keys = np.union1d(dense.keys, Ranking.of(*matches).keys[:depth])
    products = similarities(vector[np.newaxis], snapshot.chunk_vectors(keys.tolist()))
    words = np.zeros(len(keys))
    _, here, there = np.intersect1d(keys, matches.keys, assume_unique=True, return_indices=True)
    words[here] = matches.scores[there] / snapshot.catalog.keyword_norm(text)
    return Ranking.of(keys, snapshot.cosines(keys, products) + KEYWORD_WEIGHT * words)


_RANKED: dict[Mode, Callable[[Scope, Queries, int], list[Ranking]]] = {
    "dense": nearest,
    "keyword": wordy,
    "hybrid": fused,
}


def _vectors(queries: Queries) -> NDArray[np.float32]:
    if queries.vectors is None:
        raise ValueError("this mode needs vectors")
    return queries.vectors


def _grouped(snapshot: Snapshot, ranked: Callable[[int], list[Ranking]], k: int) -> list[Ranking]:
    """The best chunk of each document only.

    Asks for more chunks until every query has `k` documents: twice as many, then four times, ...
    """
    depth = 2 * k
    while True:
        rankings = ranked(depth)
        owners = snapshot.catalog.chunk_documents(
            {int(key) for ranking in rankings for key in ranking.keys}
        )
        grouped = [_best_of_each(ranking, owners, k) for ranking in rankings]
        if all(
            len(best.keys) == k or len(ranking.keys) < depth
            for best, ranking in zip(grouped, rankings, strict=True)
        ):
            return grouped
        depth *= 2


def _best_of_each(ranking: Ranking, owners: dict[int, int], k: int) -> Ranking:
    documents = [owners[int(key)] for key in ranking.keys]
    _, first = np.unique(np.array(documents, np.int64), return_index=True)
    return ranking.take(np.sort(first)[:k])
