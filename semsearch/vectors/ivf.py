"""Inverted lists of short codes: the approximate kind, rescored from the matrix.

Rows are parted into lists around centroids. A search looks into the lists nearest to the query,
ranks their rows by codes of four bits for two or three components and scores the best of them
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakKeyDictionary

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
    Unlinked,
    Vectors,
    unreported,
)
from semsearch.vectors.clustering import centroids
from semsearch.vectors.derived_file import Derived
from semsearch.vectors.exact import scan
from semsearch.vectors.lists import Codes, Lists
from semsearch.vectors.tuning import DEPTHS, Effort, Truth, coverage, measured, quantile, tuned

_SEED = 0
_ADDED_AT_A_TIME = 16_384
_TRAINED_ON = 16_384

_LIST_COST, _CANDIDATE_COST, _ROW_COST = 3.0, 2.0, 0.5
"""About the microseconds, at 384 dimensions, to look into a list, to score a candidate, to scan an
allowed row; only which is cheaper depends on them."""

Rows = NDArray[np.int64]
Find = Callable[[Vectors, int, int], Rows]
"""Queries, how many candidates, how many lists -> candidates of each query, -1 where too few."""

WIDE = 0.5
"""Share of allowed rows from which they are looked for among the nearest of all: most of those,
where they lie as all rows do."""

_FEW_OF = 8
"""A scan takes no longer than to find every so manieth row by its code."""

_FILTER_SAMPLE = 48


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says before the lists themselves.

    Attributes:
        rows: How many are in the lists.
        dim: Of each.
        lists: How many there are.
        target_recall: What `effort` was tuned for.
        effort: Tuned for fewer misses, see `_aim`.
        quality: Measured without a filter.
    """

    rows: int
    dim: int
    lists: int
    target_recall: float
    effort: Effort
    quality: Quality | None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Header:
        """Read what `asdict(header)` gave, after JSON."""
        effort = {name: tuple(values) for name, values in fields["effort"].items()}
        quality = fields["quality"] and Quality(**fields["quality"])
        return cls(**{**fields, "effort": Effort(**effort), "quality": quality})


@dataclass(frozen=True, slots=True)
class Reach:
    """How the allowed rows lie in the lists.

    Attributes:
        counts: `(lists,)`: how many of each list are allowed.
        factor: How many times as far as usual a search among them must look.
    """

    counts: Rows
    factor: float


class _Looked(NamedTuple):
    """How far a search with a wide filter looks.

    Attributes:
        scored: Allowed candidates that are scored exactly.
        lists: How many lists are looked into.
        met: How many of the nearest rows are looked at, by their codes.
        reach: Among how many of the nearest the hits must be, for those lists to hold enough.
    """

    scored: int
    lists: int
    met: int
    reach: int


def for_a_filter(wanted: int, n: int, only: Allowed) -> int:
    """How many of the nearest of `n` rows to find, so that `wanted` are allowed.

    A quarter and eight more than on average: of evenly spread matches, one query in some
    thousands meets fewer.
    """
    return min(math.ceil((1.25 * wanted + 8) * n / only.count), n)


class IVF(Unlinked, Derived):
    """Inverted lists of codes; how far a search looks was tuned on the rows themselves.

    Every answer is complete: where the lists looked into hold too few allowed rows, more are,
    and few allowed rows are all scored.
    """

    kind: ClassVar[str] = "ivf"
    exact: ClassVar[bool] = False
    codes: ClassVar[Codes] = "pq"

    def __init__(self, vectors: Vectors, lists: Lists, header: Header) -> None:
        self._vectors = vectors
        self._lists = lists
        self._header = header
        self._reaches: WeakKeyDictionary[Allowed, Reach] = WeakKeyDictionary()

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        *,
        target_recall: float = TARGET_RECALL,
        report: Report = unreported,
    ) -> Self:
        """See `VectorIndex.build`; holds the codes and a sample of the rows in memory."""
        vectors = scoring.check_vectors(vectors)
        rng = np.random.default_rng(_SEED)
        lists = _filled(vectors, cls.codes, rng, report)
        report("tuning", 0, 1)
        truth = Truth.of(vectors, rng)
        effort = tuned(lists, truth, _aim(target_recall))
        rows, dim = vectors.shape
        header = Header(rows, dim, lists.count, target_recall, effort, None)
        quality = measured(cls(vectors, lists, header), truth, rows)
        report("tuning", 1, 1)
        return cls(vectors, lists, replace(header, quality=quality))

    def facts(self) -> Facts:
        """Lists looked into and candidates scored are those for ten neighbours, unfiltered."""
        header = self._header
        return Facts(
            {
                "lists": header.lists,
                "probed": header.effort.probes[0],
                "scored": header.effort.scored[0],
                "target recall": header.target_recall,
            },
            header.quality,
        )

    def plan(self, k: int, allowed: Allowed | None = None) -> Plan:
        """See `VectorIndex.plan`; scores all allowed rows where that is cheaper than the lists."""
        only = scoring.check_allowed(allowed, len(self._vectors))
        available = len(self._vectors) if only is None else only.count
        k = min(k, available)
        plan = self._usual(k, available)
        if plan.lists and only is not None and available < WIDE * len(self._vectors):
            factor = self._reach(only).factor
            lists, scored = round(plan.lists * factor), round(plan.scored * factor)
            plan = self._cheaper(available, Plan(scored, min(lists, plan.of_lists), plan.of_lists))
        return plan

    def _usual(self, k: int, available: int) -> Plan:
        """For allowed rows that lie as all rows do."""
        count, effort = self._lists.count, self._header.effort
        # Of the k nearest allowed rows the last is about the (k n / available)-th of all.
        probes = effort.probes_for(k * len(self._vectors) / max(available, 1))
        return self._cheaper(available, Plan(effort.scored_for(k), min(probes, count), count))

    def _cheaper(self, available: int, plan: Plan) -> Plan:
        cost = plan.lists * _LIST_COST + plan.scored * _CANDIDATE_COST
        if plan.scored >= available or available * _ROW_COST < cost:
            return Plan(available)
        return plan

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`; exact when that is cheaper, as when few rows are allowed."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        n = len(self._vectors)
        only = scoring.check_allowed(allowed, n)
        k = scoring.check_k(k, n if only is None else only.count)
        plan = self.plan(k, only)
        if not plan.lists:
            return self._scan(queries, k, only)
        if only is None:
            return self._by(self._candidates, queries, k, plan, None)
        if only.count < WIDE * n:
            return self._by(self._reached_candidates(only), queries, k, plan, only)
        met, reach = for_a_filter(plan.scored, n, only), for_a_filter(k, n, only)
        return self._search_wide(queries, k, only, _Looked(plan.scored, plan.lists, met, reach))

    def _search_wide(self, queries: Vectors, k: int, only: Allowed, looked: _Looked) -> Neighbours:
        """Of the nearest of all rows the allowed ones; where those are too few, look further."""
        if looked.met * _FEW_OF >= len(self._vectors):
            return self._scan(queries, k, only)
        met = self._lists.search(queries, looked.met, min(looked.lists, self._lists.count))
        found, short = scoring.first_allowed(met, only, looked.scored, k, looked.reach)
        # What is met is cut off unevenly, by lists and codes: less of it is relied on than before.
        further = _Looked(looked.scored, 8 * looked.lists, 8 * looked.met, 4 * looked.reach)
        return scoring.rank_or(
            found,
            short,
            queries,
            self._vectors,
            k=k,
            otherwise=lambda few: self._search_wide(few, k, only, further),
        )

    def _by(
        self, find: Find, queries: Vectors, k: int, plan: Plan, only: Allowed | None
    ) -> Neighbours:
        found = self._completed(find, queries, plan.scored, plan.lists)
        if _is_complete(found):
            return scoring.rank_all(found, queries, self._vectors, k)
        unranked = found[:, -1] < 0  # a query of zeros, or rows all alike: no code tells them apart
        return scoring.rank_or(
            found,
            unranked,
            queries,
            self._vectors,
            k=k,
            otherwise=lambda few: self._scan(few, k, only),
        )

    def _scan(self, queries: Vectors, k: int, only: Allowed | None) -> Neighbours:
        return scan(queries, self._vectors, max(k, 1), only)

    def _completed(self, find: Find, queries: Vectors, fetch: int, probes: int) -> Rows:
        """`(n_queries, fetch)` candidates, looking further where the lists hold too few."""
        found = find(queries, fetch, probes)
        if not _is_complete(found) and probes < self._lists.count:
            short = np.flatnonzero(found[:, -1] < 0)
            found[short] = self._completed(find, queries[short], fetch, 4 * probes)
        return found

    def _candidates(self, queries: Vectors, fetch: int, probes: int) -> Rows:
        """Candidates of the nearest lists."""
        return self._lists.search(queries, fetch, min(probes, self._lists.count))

    def _reached_candidates(self, only: Allowed) -> Find:
        """Candidates among the rows that a filter allows.

        They may lie together, far from the query. So lists are taken, nearest
        first, until they hold as large a share of the allowed rows as `probes` lists hold of all.
        """
        counts = self._reach(only).counts

        def find(queries: Vectors, fetch: int, probes: int) -> Rows:
            products = queries @ self._centres.T
            order = np.argsort(-products, axis=1)
            held = np.cumsum(counts[order], axis=1)
            wanted = min(1.0, probes / self._lists.count) * only.count
            needed = 1 + (held < wanted).sum(axis=1, keepdims=True)
            order = order[:, : needed.max()]
            useless = (np.arange(order.shape[1]) >= needed) | (counts[order] == 0)
            nearest = np.take_along_axis(products, order, axis=1)
            chosen = np.where(useless, -1, order)
            return self._lists.search_in(queries, fetch, chosen, nearest, only)

        return find

    def _reach(self, only: Allowed) -> Reach:
        reach = self._reaches.get(only)
        if reach is None:
            counts = np.bincount(self._owners[only.mask], minlength=self._lists.count)
            factor = self._measured_factor(only, counts)
            reach = self._reaches[only] = Reach(counts, factor)
        return reach

    def _measured_factor(self, only: Allowed, counts: Rows) -> float:
        """How many times the usual share of the allowed rows holds enough of the nearest.

        1 where they lie as all rows do. Measured like the effort itself, on fewer rows.
        """
        rng = np.random.default_rng(_SEED)
        truth = Truth.of(self._vectors, rng, only, sample=_FILTER_SAMPLE, depth=DEPTHS[0])
        if not truth.rows.size:
            return self._lists.count
        order = np.argsort(-(truth.queries @ self._centres.T), axis=1)
        held = np.cumsum(counts[order], axis=1)
        places = np.argsort(order, axis=1)
        at = np.take_along_axis(places, self._owners[truth.rows], axis=1)
        found_at = np.take_along_axis(held, at, axis=1) / only.count
        share = quantile(found_at, coverage(_aim(self._header.target_recall)))
        usual = self._header.effort.probes_for(DEPTHS[0] * len(self._vectors) / only.count)
        return max(1.0, share * self._lists.count / usual)

    @cached_property
    def _owners(self) -> Rows:
        return self._lists.owners

    @cached_property
    def _centres(self) -> Vectors:
        return self._lists.centres

    def described(self) -> tuple[dict[str, Any], list[memoryview]]:
        """The header, and the lists; see `Derived.described`."""
        return asdict(self._header), [self._lists.to_bytes()]

    @classmethod
    def of(cls, header: dict[str, Any], data: memoryview, vectors: Vectors) -> Self:
        """See `Derived.of`."""
        return cls(vectors, Lists.from_bytes(data, cls.codes), Header.from_json(header))


class ScalarIVF(IVF):
    """Inverted lists of codes of eight bits a component."""

    kind: ClassVar[str] = "ivf-sq8"
    codes: ClassVar[Codes] = "sq8"


class RaBitQIVF(IVF):
    """Inverted lists of codes of one bit a component."""

    kind: ClassVar[str] = "ivf-rabitq"
    codes: ClassVar[Codes] = "rabitq"


def _is_complete(found: Rows) -> bool:
    return -1 not in found[:, -1].tolist()


def _aim(target_recall: float) -> float:
    """What rows must find, so that queries find what is wanted: half of the misses.

    Centroids and codes were made of the rows; queries, and what a filter leaves, fit them less.
    """
    return (1 + target_recall) / 2


def list_count(rows: int) -> int:
    """How many lists to part rows into: fewer cost more codes, more cost more lists."""
    return max(1, min(rows, round(2 * math.sqrt(rows))))


def _filled(vectors: Vectors, codes: Codes, rng: np.random.Generator, report: Report) -> Lists:
    n = len(vectors)
    centres = centroids(vectors, list_count(n), rng, report)
    sample = vectors[np.sort(rng.choice(n, min(n, _TRAINED_ON), replace=False))]
    lists = Lists.empty(centres, sample if n else centres, codes)
    for part in scoring.blocks(n, _ADDED_AT_A_TIME):
        report("encoding", part.start, n)
        lists.add(vectors[part])
    return lists
