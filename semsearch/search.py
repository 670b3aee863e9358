"""The query engine over one snapshot: by meaning, by words, or by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError
from semsearch.nearest import Ranking, Scope, nearest
from semsearch.snapshot import Snapshot
from semsearch.storage import keywords
from semsearch.storage.keywords import Matches
from semsearch.types import Hit, Mode
from semsearch.vectors.scoring import blocks, similarities

KEYWORD_WEIGHT = 0.3
"""What the keyword part counts in a hybrid score, when the cosine counts 1 (decision 0009)."""

CANDIDATES = 100
"""A hybrid search scores at least this many of the best of either side; so many, at least, are
put in another order by a reranker or for diversity."""

_LOOKED_UP_TOGETHER = 16
"""Queries whose words are looked up at a time."""


class Rerank(Protocol):
    """Scores passages by reading them together with the query; `encoders.reranker` has one."""

    def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """`(len(passages),)`, higher is better."""
        ...


@dataclass(frozen=True, slots=True)
class Without:
    """What must not be among the hits: documents by id, passages by their exact text."""

    ids: frozenset[str]
    texts: frozenset[str]

    def admits(self, hit: Hit) -> bool:
        """Whether a hit is neither."""
        return hit.id not in self.ids and hit.text.strip() not in self.texts


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many of what was found, and which.

    Attributes:
        k: At most so many, at least 1.
        offset: Behind the first so many.
        group: At most one hit, the best, for each document.
        min_score: None that scores less.
        diversity: From 0, the best whatever they say, to 1, the most unlike each other.
        rerank: Gives the best `CANDIDATES` another score.
    """

    k: int
    offset: int = 0
    group: bool = False
    min_score: float | None = None
    diversity: float = 0.0
    rerank: Rerank | None = None

    @property
    def depth(self) -> int:
        """How many must be ranked."""
        reorders = self.rerank is not None or self.diversity > 0
        return max(self.offset + self.k, CANDIDATES if reorders else 0)


@dataclass(frozen=True, slots=True)
class Queries:
    """What is asked: texts, their vectors, or both.

    Attributes:
        texts: Needed for "keyword" and "hybrid".
        vectors: `(n, dim)` float32 unit vectors; needed for "dense" and "hybrid".
        without: For each query, what its answer must not hold; empty for nothing.
    """

    texts: Sequence[str] = ()
    vectors: NDArray[np.float32] | None = None
    without: Sequence[Without] = ()


def search(scope: Scope, queries: Queries, wanted: Wanted, *, mode: Mode) -> list[list[Hit]]:
    """The hits of each query.

    Args:
        scope: Where.
        queries: With what the mode needs.
        wanted: Which, and how many.
        mode: "dense" ranks by the cosine of query and chunk; "keyword" by the BM25 score of the
            chunks that hold a word of the query; "hybrid" by `fused`.

    Returns:
        One list for each query: `k` hits, or documents when grouped, as far as there are so many;
        with "keyword" of the chunks that hold a word.
    """

    def ranked(depth: int) -> list[Ranking]:
        return _RANKED[mode](scope, queries, depth)

    def narrowed(rankings: list[Ranking]) -> list[Ranking]:
        if queries.without:
            rankings = _admitted(scope.snapshot, rankings, queries.without)
        return _grouped(scope.snapshot, rankings) if wanted.group else rankings

    if queries.without or wanted.group:
        rankings = _deep_enough(ranked, narrowed, wanted.depth)
    else:
        rankings = ranked(wanted.depth)
    began = perf_counter()
    rankings = _reordered(scope.snapshot, queries, rankings, wanted)
    page = slice(wanted.offset, wanted.offset + wanted.k)
    hits = _hits(scope.snapshot, [ranking.take(page) for ranking in rankings])
    scope.note(f"hits: {sum(map(len, hits)):,} read", began)
    return hits


def _hits(snapshot: Snapshot, rankings: list[Ranking]) -> list[list[Hit]]:
    """One look-up for all queries, then shared out again."""
    hits = iter(
        snapshot.hits(
            [key for ranking in rankings for key in ranking.keys.tolist()],
            [score for ranking in rankings for score in ranking.scores.tolist()],
        )
    )
    return [list(islice(hits, len(ranking.keys))) for ranking in rankings]


def _reordered(
    snapshot: Snapshot, queries: Queries, rankings: list[Ranking], wanted: Wanted
) -> list[Ranking]:
    """Rankings after the reranker, the least score and diversity, as far as they are wanted."""
    if wanted.rerank is not None:
        rankings = [
            _reranked(snapshot, wanted.rerank, text, ranking.take(slice(wanted.depth)))
            for text, ranking in zip(queries.texts, rankings, strict=True)
        ]
    if wanted.min_score is not None:
        rankings = [ranking.take(ranking.scores >= wanted.min_score) for ranking in rankings]
    if wanted.diversity:
        rankings = [
            _diversified(snapshot, ranking.take(slice(wanted.depth)), wanted.diversity)
            for ranking in rankings
        ]
    return rankings


def _reranked(snapshot: Snapshot, rerank: Rerank, query: str, ranking: Ranking) -> Ranking:
    (hits,) = _hits(snapshot, [ranking])
    passages = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in hits]
    scores = np.asarray(rerank.score(query, passages), np.float64) if passages else ranking.scores
    if scores.shape != ranking.scores.shape or not np.isfinite(scores).all():
        raise BackendError(
            f"reranker: expected {len(passages)} finite scores, got an array {scores.shape}"
        )
    return Ranking.of(ranking.keys, scores)


def _diversified(snapshot: Snapshot, ranking: Ranking, diversity: float) -> Ranking:
    """By maximal marginal relevance, scores counted relative to the best one.

    The next is always the one with the highest

        (1 - diversity) * score / best score - diversity * (cosine to the nearest one taken)

    (Carbonell and Goldstein, "The use of MMR", SIGIR 1998, section 2).
    """
    if not len(ranking.keys):
        return ranking
    by_key = np.argsort(ranking.keys)
    vectors = np.empty((len(by_key), snapshot.space.dim), np.float32)
    vectors[by_key] = snapshot.chunk_vectors(ranking.keys[by_key].tolist())
    relevance = (1 - diversity) * ranking.scores / max(abs(float(ranking.scores.max())), 1e-12)
    nearest_taken = np.full(len(vectors), -1.0)
    taken: list[int] = []
    for _ in range(len(vectors)):
        gain = relevance - (diversity * nearest_taken if taken else 0.0)
        gain[taken] = -np.inf
        taken.append(int(np.argmax(gain)))
        nearest_taken = np.maximum(nearest_taken, vectors @ vectors[taken[-1]])
    return ranking.take(np.array(taken))


def dense(scope: Scope, queries: Queries, k: int) -> list[Ranking]:
    """The chunks with the highest cosines."""
    return nearest(scope, _vectors(queries), k)


def wordy(scope: Scope, queries: Queries, k: int) -> list[Ranking]:
    """The `k` chunks with the highest BM25 score, of those that hold a word of the query."""
    return [Ranking.best(*matches, k) for _, matches in _matches(scope, queries.texts)]


def _matches(scope: Scope, texts: Sequence[str]) -> Iterator[tuple[list[Matches], Matches]]:
    """Of each query the matches of each word, and those of all together as far as in scope."""
    only = scope.filtered
    for part in blocks(len(texts), _LOOKED_UP_TOGETHER):
        began = perf_counter()
        for words in scope.snapshot.words(texts[part]):
            found = keywords.together(words)
            if only is not None:
                found = found.among(only)
            scope.note(f"words: {len(found.keys):,} passages hold one", began)
            yield words, found


def fused(scope: Scope, queries: Queries, k: int) -> list[Ranking]:
    """The nearest chunks and those with the best words, by a score of both sides.

    At least the `k` best of either side are scored, each by

        cosine + KEYWORD_WEIGHT * BM25 / norm

    with its own cosine and its own BM25 score, whichever side found it; 0 if it holds no word.
    `norm` is the query's length as a vector of words, see `keywords.norm`: so both parts
    are products of a query of unit length with a passage.
    """
    depth = max(CANDIDATES, k)
    vectors = _vectors(queries)
    near = nearest(scope, vectors, depth)
    passages = scope.snapshot.state().chunks

    def both(
        vector: NDArray[np.float32], near: Ranking, words: list[Matches], matches: Matches
    ) -> Ranking:
        if not len(matches.keys):
            return near
        best = Ranking.best(*matches, depth).keys
        fresh = np.sort(best[np.isin(best, near.keys, invert=True)])
        products = similarities(vector[np.newaxis], scope.snapshot.chunk_vectors(fresh.tolist()))
        keys = np.concatenate([near.keys, fresh])
        cosines = np.concatenate([near.scores, scope.snapshot.cosines(fresh, products)])
        by_words = matches.scores_of(keys) / keywords.norm(words, passages)
        return Ranking.of(keys, cosines + KEYWORD_WEIGHT * by_words)

    found = zip(vectors, near, _matches(scope, queries.texts), strict=True)
    return [both(vector, ranking, *matches) for vector, ranking, matches in found]


_RANKED: dict[Mode, Callable[[Scope, Queries, int], list[Ranking]]] = {
    "dense": dense,
    "keyword": wordy,
    "hybrid": fused,
}


def _vectors(queries: Queries) -> NDArray[np.float32]:
    if queries.vectors is None:
        raise ValueError("this mode needs vectors")
    return queries.vectors


def _deep_enough(
    ranked: Callable[[int], list[Ranking]],
    narrowed: Callable[[list[Ranking]], list[Ranking]],
    k: int,
) -> list[Ranking]:
    """What narrowing leaves of rankings that are deep enough to leave `k`.

    Asks for twice as many chunks, then four times, until every query has `k` or there are no more.
    """
    depth = 2 * k
    while True:
        rankings = ranked(depth)
        found = narrowed(rankings)
        if all(
            len(narrow.keys) >= k or len(ranking.keys) < depth
            for narrow, ranking in zip(found, rankings, strict=True)
        ):
            return found
        depth *= 2


def _admitted(
    snapshot: Snapshot, rankings: list[Ranking], without: Sequence[Without]
) -> list[Ranking]:
    return [
        ranking.take(np.array([each.admits(hit) for hit in hits], np.bool_))
        for ranking, hits, each in zip(rankings, _hits(snapshot, rankings), without, strict=True)
    ]


def _grouped(snapshot: Snapshot, rankings: list[Ranking]) -> list[Ranking]:
    """The best chunk of each document only."""
    owners = snapshot.catalog.chunk_documents(
        {int(key) for ranking in rankings for key in ranking.keys}
    )
    return [_best_of_each(ranking, owners) for ranking in rankings]


def _best_of_each(ranking: Ranking, owners: dict[int, int]) -> Ranking:
    documents = [owners[int(key)] for key in ranking.keys]
    _, first = np.unique(np.array(documents, np.int64), return_index=True)
    return ranking.take(np.sort(first))
