"""Scans of all rows by FAISS: of the matrix itself, or of codes of it first.

Every kind here finds the true nearest. Codes take a half or a quarter of the bytes, so a scan of
them is sooner done, and needs as much less memory; only the best few are looked up in the matrix.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

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
from semsearch.vectors.derived_file import Derived
from semsearch.vectors.exact import GATHER_BELOW, MatrixOnly, scan
from semsearch.vectors.faiss import (
    backend_errors,
    complete,
    gpu_neighbours,
    library,
    search,
    selector,
    serialized,
)
from semsearch.vectors.scoring import Pairs

_FEW_QUERIES = 4
"""Queries up to which FAISS's own scan is no slower than one matrix product."""

_FAISS_BLAS_FROM = 128_000
"""Size of a batch, in floats, from which FAISS itself uses BLAS (1.15, only without a selector)."""

_GPU_QUERIES = 64
"""Queries from which a GPU scans: fewer take no longer here than the rows take to get there.
Reckoned from 12 GB/s on the way and 50 GFLOP/s on two cores, not measured."""

_SPARE = 16
"""Candidates beyond the k wanted, to tell from the last of them that no other row can belong."""

_ENCODED_AT_A_TIME = 16_384


class FaissExact(MatrixOnly):
    """Scans the mapped matrix itself; rows and scores are those of the oracle, to the bit.

    FAISS finds `k + _SPARE` candidates by float32 products. Where the last of them is further below
    the k-th than such a product can be off, no other row can belong to the answer, and the
    candidates are scored anew by `scoring.similarities`. Where it is not (many equal vectors), and
    for batches that FAISS has no fast path for, `exact.scan` answers. Where FAISS has a GPU, it
    finds the candidates of many queries without a filter.
    """

    kind: ClassVar[str] = "exact"
    exact: ClassVar[bool] = True

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        only = scoring.check_allowed(allowed, len(self._vectors))
        available = len(self._vectors) if only is None else only.count
        k = scoring.check_k(k, available)
        fetch = min(k + _SPARE, available)
        found = self._candidates(scoring.units(queries), fetch, only) if k else None
        if found is None:
            return scan(queries, self._vectors, max(k, 1), only)
        owners = np.repeat(np.arange(len(queries)), fetch)
        answer = scoring.rank(Pairs(owners, found.rows.ravel()), queries, self._vectors, k)
        margin = 2 * scoring.error_bound(queries.shape[1])
        scores = found.similarities
        unsure = (scores[:, k - 1] - scores[:, -1] <= margin) & (fetch < available)
        if unsure.any():
            again = scan(queries[unsure], self._vectors, k, only)
            answer.rows[unsure] = again.rows
            answer.similarities[unsure] = again.similarities
        return answer

    def _candidates(self, queries: Vectors, fetch: int, only: Allowed | None) -> Neighbours | None:
        """The best by float32 products; None where `exact.scan` is faster."""
        if only is None and len(queries) >= _GPU_QUERIES:
            found = gpu_neighbours(queries, self._vectors, fetch)
            if found is not None:
                return found
        available = len(self._vectors) if only is None else only.count
        if self._blas_is_faster(queries, available, masked=only is not None):
            return None
        return self._scan(queries, fetch, only)

    def _blas_is_faster(self, queries: Vectors, available: int, *, masked: bool) -> bool:
        """Measured: docs/decisions/0004-exact-search-scans-the-segment.md."""
        n = len(queries)
        if masked and available <= GATHER_BELOW * len(self._vectors):
            return True
        return n > _FEW_QUERIES and (masked or queries.size < _FAISS_BLAS_FROM)

    def _scan(self, queries: Vectors, fetch: int, only: Allowed | None) -> Neighbours:
        faiss = library()
        rows = np.empty((len(queries), fetch), np.int64)
        scores = np.empty((len(queries), fetch), np.float32)
        chosen = None if only is None else selector(only)
        with backend_errors("searching"):
            faiss.knn_inner_product(
                faiss.swig_ptr(queries),
                faiss.swig_ptr(self._vectors),
                queries.shape[1],
                len(queries),
                len(self._vectors),
                fetch,
                faiss.swig_ptr(scores),
                faiss.swig_ptr(rows),
                chosen,
            )
        return Neighbours(complete(rows), scores)


class FlatCodes(Unlinked, Derived):
    """Ranks the codes of all rows, and proves from what they are off by that no row is missed.

    A code is FAISS's scalar quantiser's. No row's code differs from it by a length of more than
    `off_by`, measured on every row, so no score by more than that for a query of unit length. Where
    the last candidate is further below the k-th hit, the hits are the true ones; where it is not,
    more candidates are taken, and at last all rows are scored, as for many queries and few rows.
    """

    exact: ClassVar[bool] = True
    quantizer: ClassVar[str]
    """Name of FAISS's type."""

    _FURTHER: ClassVar[int] = 8
    """How many times as many candidates are tried before all rows are scored."""

    def __init__(
        self, vectors: Vectors, index: Any, off_by: float, codes: memoryview | None = None
    ) -> None:
        """Bind what was made of the vectors; `codes` is what the index is a view of, if any."""
        self._vectors = vectors
        self._index = index
        self._off_by = off_by
        self._codes = codes
        self._matrix = FaissExact(vectors)

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        *,
        target_recall: float = TARGET_RECALL,  # noqa: ARG003 (always 1)
        report: Report = unreported,
    ) -> Self:
        """See `VectorIndex.build`; holds the codes in memory."""
        vectors = scoring.check_vectors(vectors)
        faiss = library()
        n, dim = vectors.shape
        index = faiss.IndexScalarQuantizer(
            dim, getattr(faiss.ScalarQuantizer, cls.quantizer), faiss.METRIC_INNER_PRODUCT
        )
        off_by = 0.0
        with backend_errors("encoding vectors"):
            index.train(vectors if n else np.zeros((1, dim), np.float32))
            for part in scoring.blocks(n, _ENCODED_AT_A_TIME):
                report("encoding", part.start, n)
                block = vectors[part]
                index.add(block)
                decoded = index.reconstruct_n(part.start, len(block))
                lost = np.linalg.norm(decoded.astype(np.float64) - block, axis=1)
                off_by = max(off_by, float(lost.max()))
        return cls(vectors, index, off_by)

    def facts(self) -> Facts:
        """Nothing was tuned; all true neighbours are found."""
        return Facts({"off by at most": round(self._off_by, 6)})

    def plan(self, k: int, allowed: Allowed | None = None) -> Plan:
        """See `VectorIndex.plan`; what is scored is the least, for one query."""
        only = scoring.check_allowed(allowed, len(self._vectors))
        available = len(self._vectors) if only is None else only.count
        fetch = k + _SPARE
        if fetch >= available or available <= GATHER_BELOW * len(self._vectors):
            return Plan(available)
        return Plan(fetch, codes=available)

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        only = scoring.check_allowed(allowed, len(self._vectors))
        k = scoring.check_k(k, len(self._vectors) if only is None else only.count)
        plan = self.plan(max(k, 1), only)
        if not plan.codes or len(queries) > _FEW_QUERIES:
            return self._matrix.search(queries, max(k, 1), allowed=only)
        return scoring.stack(
            [self._search_one(query, k, plan, only) for query in queries[:, np.newaxis]], k
        )

    def _search_one(self, query: Vectors, k: int, plan: Plan, only: Allowed | None) -> Neighbours:
        unit, length = scoring.units(query), float(np.linalg.norm(query.astype(np.float64)))
        margin = self._off_by + 4 * scoring.error_bound(query.shape[1])
        fetch, most = plan.scored, min(self._FURTHER * plan.scored, plan.codes)
        while fetch <= most:
            found = self._ranked(unit, fetch, only)
            answer = scoring.rank_all(found.rows, query, self._vectors, k)
            if answer.similarities[0, -1] > length * (float(found.similarities[0, -1]) + margin):
                return answer
            fetch *= 2
        return self._matrix.search(query, k, allowed=only)

    def _ranked(self, queries: Vectors, fetch: int, only: Allowed | None) -> Neighbours:
        """The best by their codes."""
        chosen = None if only is None else selector(only)
        parameters = library().SearchParameters(sel=chosen) if chosen else None
        found = search(self._index, queries, fetch, parameters)
        complete(found.rows)
        return found

    def described(self) -> tuple[dict[str, Any], list[memoryview]]:
        """The codes, and what they are off by; see `Derived.described`."""
        n, dim = self._vectors.shape
        return {"rows": n, "dim": dim, "off_by": self._off_by}, [serialized(self._index)]

    @classmethod
    def of(cls, header: dict[str, Any], data: memoryview, vectors: Vectors) -> Self:
        """See `Derived.of`; the codes stay where they were read."""
        faiss = library()
        viewed = np.frombuffer(data, np.uint8)
        with backend_errors("reading its index"):
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(viewed), viewed.size))
        return cls(vectors, index, float(header["off_by"]), data)


class HalfPrecision(FlatCodes):
    """Codes of 16 bits a component: half of the bytes."""

    kind: ClassVar[str] = "fp16"
    quantizer: ClassVar[str] = "QT_fp16"


class EightBits(FlatCodes):
    """Codes of 8 bits a component: a quarter of the bytes."""

    kind: ClassVar[str] = "sq8"
    quantizer: ClassVar[str] = "QT_8bit"
