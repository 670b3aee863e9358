"""Documents of an index that are copies of each other, or nearly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semsearch.nearest import Scope, nearest

NEIGHBOURS = 64
"""Of each passage at most so many of its nearest are looked at."""

_FEW = 8  # looked at first: hardly any passage has more copies
_BLOCK = 1024  # passages whose nearest are looked for at a time


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Documents that resemble each other, directly or through others of the group.

    Attributes:
        ids: In the order in which they were added, at least two.
        score: The least cosine that holds the group together: with a threshold above it, the group
            would fall apart.
    """

    ids: tuple[str, ...]
    score: float


class _Pair(NamedTuple):
    """Two documents by their keys, and the cosine of a passage of one with one of the other."""

    score: float
    first: int
    second: int


def duplicates(scope: Scope, threshold: float) -> list[Duplicates]:
    """Groups of documents with passages of a cosine of at least `threshold`, the nearest first.

    Memory grows with the pairs that are found, at most `NEIGHBOURS` for each passage. So a set of
    more documents than that, all alike and yet not the same, may come as several groups.
    """
    links: dict[int, int] = {}
    scores: dict[int, float] = {}
    for score, *pair in sorted(_pairs(scope, threshold), reverse=True):
        first, second = sorted(_root(links, key) for key in pair)
        if first != second:
            links[second] = first
            scores[first] = score
    groups: dict[int, list[int]] = {}
    for key in sorted({*links, *links.values()}):
        groups.setdefault(_root(links, key), []).append(key)
    ids = scope.snapshot.catalog.document_ids(key for keys in groups.values() for key in keys)
    found = [
        Duplicates(tuple(ids[key] for key in keys), scores[root]) for root, keys in groups.items()
    ]
    return sorted(found, key=lambda group: -group.score)


def _root(links: dict[int, int], key: int) -> int:
    """What stands for a document's group: the first document of it; ways there are shortened."""
    way = []
    while key in links:
        way.append(key)
        key = links[key]
    links.update(dict.fromkeys(way, key))
    return key


def _pairs(scope: Scope, threshold: float) -> Iterator[_Pair]:
    for live in scope.segments:
        keys = live.live_keys()
        for at in range(0, len(keys), _BLOCK):
            yield from _pairs_of(scope, keys[at : at + _BLOCK], threshold)


def _pairs_of(
    scope: Scope, keys: NDArray[np.int64], threshold: float, k: int = _FEW
) -> Iterator[_Pair]:
    """Pairs of some passages, by their keys, with all others."""
    rankings = nearest(scope, scope.snapshot.chunk_vectors(keys.tolist()), k)
    near = [ranking.take(ranking.scores >= threshold) for ranking in rankings]
    met = {key for ranking in near for key in ranking.keys.tolist()}
    owners = scope.snapshot.catalog.chunk_documents({*keys.tolist(), *met})
    cut: list[int] = []
    for key, ranking in zip(keys.tolist(), near, strict=True):
        if len(ranking.keys) == k < NEIGHBOURS:
            cut.append(key)
            continue
        for other, score in zip(ranking.keys.tolist(), ranking.scores.tolist(), strict=True):
            if owners[other] != owners[key]:
                yield _Pair(score, owners[key], owners[other])
    if cut:
        yield from _pairs_of(scope, np.array(cut), threshold, NEIGHBOURS)
