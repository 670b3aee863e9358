"""A graph of near rows for searches of all or most rows, and inverted lists for the others.

A walk through the graph meets few rows that a narrow filter allows, so those searches, and walks
that find too little, go to lists beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from semsearch.vectors import scoring
from semsearch.vectors.base import (
    TARGET_RECALL,
    Allowed,
    Facts,
    Neighbours,
    Plan,
    Quality,
    Report,
    Vectors,
    unreported,
)
from semsearch.vectors.derived_file import Derived
from semsearch.vectors.graph import Graph
from semsearch.vectors.ivf import IVF, WIDE, for_a_filter
from semsearch.vectors.tuning import ALIKE, DEPTHS, Truth, interpolated, measured

_SEED = 0

_SPARE = 8
"""Rows fetched beyond the k wanted, whose scores may round to the same."""

_LEAST, _WIDEST = 16, 4_096
"""Bounds of a walk's breadth; where the widest finds too little, lists are looked into."""

_MET_BY_ONE = 8
"""About how many rows a walk scores for each one it keeps: of fewer rows, all are scored."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of the graph.

    Attributes:
        rows: How many there are.
        dim: Of each.
        target_recall: What `breadths` were tuned for.
        depths: Ascending numbers of neighbours.
        breadths: How many rows a walk keeps to find enough of so many neighbours.
        quality: Measured without a filter.
    """

    rows: int
    dim: int
    target_recall: float
    depths: tuple[int, ...]
    breadths: tuple[int, ...]
    quality: Quality | None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Header:
        """Read what `asdict(header)` gave, after JSON."""
        quality = fields["quality"] and Quality(**fields["quality"])
        depths, breadths = tuple(fields["depths"]), tuple(fields["breadths"])
        return cls(**{**fields, "depths": depths, "breadths": breadths, "quality": quality})


class HNSW(Derived):
    """A hierarchical navigable small world; how far a walk spreads was tuned on the rows.

    Every answer is complete, as those of `IVF` are.
    """

    kind: ClassVar[str] = "hnsw"
    exact: ClassVar[bool] = False

    def __init__(self, vectors: Vectors, graph: Graph, lists: IVF, header: Header) -> None:
        self._vectors = vectors
        self._graph = graph
        self._lists = lists
        self._header = header

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        *,
        target_recall: float = TARGET_RECALL,
        report: Report = unreported,
    ) -> Self:
        """See `VectorIndex.build`; holds a copy of the rows in memory."""
        vectors = scoring.check_vectors(vectors)
        lists = IVF.build(vectors, target_recall=target_recall, report=report)
        graph = Graph.build(vectors, report)
        report("tuning", 0, 1)
        truth = Truth.of(vectors, np.random.default_rng(_SEED))
        depths, breadths = _Walks.of(graph, vectors, truth).tuned(target_recall)
        n, dim = vectors.shape
        header = Header(n, dim, target_recall, depths, breadths, None)
        quality = measured(cls(vectors, graph, lists, header), truth, n)
        report("tuning", 1, 1)
        return cls(vectors, graph, lists, replace(header, quality=quality))

    def facts(self) -> Facts:
        """The rows that a walk keeps are those for ten neighbours, unfiltered."""
        header = self._header
        if header.breadths[0] >= _WIDEST:  # not walked
            return Facts(self._lists.facts().parameters, header.quality)
        return Facts(
            {"breadth": header.breadths[0], "target recall": header.target_recall}, header.quality
        )

    def plan(self, k: int, allowed: Allowed | None = None) -> Plan:
        """See `VectorIndex.plan`; that of the lists where fewer than half of the rows may be found.

        And where the graph is no use: for very many hits, and when no walk found enough.
        """
        n = len(self._vectors)
        only = scoring.check_allowed(allowed, n)
        available = n if only is None else only.count
        k = min(k, available)
        fetch = k + _SPARE
        if available < WIDE * n or fetch > available:
            return self._lists.plan(k, only)
        depth = k
        if only is not None:
            fetch, depth = for_a_filter(fetch, n, only), for_a_filter(k, n, only)
        breadth = max(interpolated(depth, self._header.depths, self._header.breadths), fetch)
        if breadth >= _WIDEST or breadth * _MET_BY_ONE > n:
            return self._lists.plan(k, only)
        return Plan(fetch, breadth=breadth)

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        only = scoring.check_allowed(allowed, len(self._vectors))
        k = scoring.check_k(k, len(self._vectors) if only is None else only.count)
        plan = self.plan(k, only)
        if not plan.breadth:
            return self._lists.search(queries, max(k, 1), allowed=only)
        found = self._graph.search(queries, plan.scored, plan.breadth)
        if only is None:
            short = (found[:, -1] < 0) | ~queries.any(axis=1)  # to no direction all are alike
        else:
            reach = for_a_filter(k, len(self._vectors), only)
            found, short = scoring.first_allowed(found, only, k + _SPARE, k, reach)
        return scoring.rank_or(
            found,
            short,
            queries,
            self._vectors,
            k=k,
            otherwise=lambda few: self._lists.search(few, k, allowed=only),
        )

    def apart(self, groups: Sequence[NDArray[np.int64]]) -> Sequence[AbstractContextManager[None]]:
        """See `VectorIndex.apart`."""
        return [self._graph.without(links) for links in self._graph.links_to(groups)]

    def described(self) -> tuple[dict[str, Any], list[memoryview]]:
        """What graph and lists were tuned to, the lists, the graph; see `Derived.described`."""
        of_lists, (lists,) = self._lists.described()
        header = {**asdict(self._header), "lists": {"header": of_lists, "bytes": len(lists)}}
        return header, [lists, self._graph.to_bytes()]

    @classmethod
    def of(cls, header: dict[str, Any], data: memoryview, vectors: Vectors) -> Self:
        """See `Derived.of`."""
        lists = header.pop("lists")
        return cls(
            vectors,
            Graph.from_bytes(data[lists["bytes"] :], vectors),
            IVF.of(lists["header"], data[: lists["bytes"]], vectors),
            Header.from_json(header),
        )


class _Walks(NamedTuple):
    """Walks from rows whose neighbours are known, while no link leads to them or their copies.

    Attributes:
        graph: What is walked.
        vectors: Its rows.
        truth: The neighbours.
        links: For each query, where the links stand that it goes without.
    """

    graph: Graph
    vectors: Vectors
    truth: Truth
    links: list[NDArray[np.int64]]

    @classmethod
    def of(cls, graph: Graph, vectors: Vectors, truth: Truth) -> _Walks:
        """Look up the links."""
        return cls(graph, vectors, truth, graph.links_to(truth.left_out))

    def recall(self, depth: int, breadth: int) -> float:
        """Share of the `depth` nearest of all queries that walks of this breadth find."""
        truth = self.truth
        hits = 0
        for place, least in enumerate(truth.similarities[:, depth - 1]):
            query = truth.queries[place, np.newaxis]
            with self.graph.without(self.links[place]):
                found = self.graph.search(query, depth, breadth)
            scores = scoring.similarities(query, self.vectors[found[found >= 0]])
            hits += int((scores >= least - ALIKE).sum())
        return hits / (depth * len(truth.queries))

    def tuned(self, target_recall: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numbers of neighbours, and the least breadths that find the wanted share of so many."""
        depths = tuple(depth for depth in DEPTHS if depth <= self.truth.rows.shape[1])
        breadths: list[int] = []
        breadth = _LEAST
        for depth in depths:
            breadth = max(breadth, depth)
            while breadth < _WIDEST and self.recall(depth, breadth) < target_recall:
                breadth += breadth // 4
            breadths.append(breadth)
        return depths or DEPTHS[:1], tuple(breadths) or (_WIDEST,)
