"""Vector indexes built by FAISS, which is imported on first use only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError, DependencyMissing
from semsearch.vectors import scoring
from semsearch.vectors.base import Allowed, Neighbours, Vectors
from semsearch.vectors.exact import GATHER_BELOW, MatrixOnly, scan
from semsearch.vectors.scoring import Pairs

_FEW_QUERIES = 4
"""Queries up to which FAISS's own scan is no slower than one matrix product."""

_FAISS_BLAS_FROM = 128_000
"""Size of a batch, in floats, from which FAISS itself uses BLAS (1.15, only without a selector)."""

_GPU_QUERIES = 64
"""Queries from which a GPU scans: fewer take no longer here than the rows take to get there.
Reckoned from 12 GB/s on the way and 50 GFLOP/s on two cores, not measured."""

_GPU_MOST = 2_048
"""Neighbours that FAISS finds on a GPU at most (1.15)."""

_GPU_FLOATS = 2**28
"""Components sent to a GPU at a time: 1 GiB."""

_BITS = 4
_GROUPS = (3, 2, 1)
"""Components to a code, the largest number that divides the dimensions: decision 0016."""


@cache
def _load_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DependencyMissing(
            "FAISS is not installed: pip install 'semsearch[cpu]' (or 'semsearch[gpu]')"
        ) from error
    return faiss


@cache
def _gpu() -> Any:
    """Memory and streams of the first GPU; None where FAISS was built without, or sees none."""
    faiss = _load_faiss()
    return faiss.StandardGpuResources() if faiss.get_num_gpus() else None


_gpu_lock = threading.Lock()  # what `_gpu` gives is for one thread at a time


def gpu_neighbours(queries: Vectors, vectors: Vectors, k: int) -> Neighbours | None:
    """The `k` rows with the highest inner products, found by a GPU in single precision.

    The rows are sent there each time anew, in blocks.

    Args:
        queries: `(n_queries, dim)`.
        vectors: At least `k` rows.
        k: How many.

    Returns:
        `(n_queries, k)`, best first, not rescored; None where there is no GPU, where it has too
        little memory left, and where `k` is too large for it.
    """
    resources = _gpu() if k <= _GPU_MOST else None
    if resources is None:
        return None
    faiss = _load_faiss()
    best = scoring.nothing(len(queries))
    try:
        for part in scoring.blocks(len(vectors), _GPU_FLOATS // vectors.shape[1]):
            block = vectors[part]
            with _gpu_lock:
                scores, rows = faiss.knn_gpu(
                    resources,
                    queries,
                    block,
                    min(k, len(block)),
                    metric=faiss.METRIC_INNER_PRODUCT,
                )
            found = Neighbours(_complete(rows) + part.start, scores)
            best = scoring.merged([best, found], k)
    except RuntimeError:
        return None
    return best


@contextmanager
def _backend_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise BackendError(f"FAISS failed {doing}: {error}") from error


class FaissExact(MatrixOnly):
    """Scans the mapped matrix itself; rows and scores are those of the oracle, to the bit.

    FAISS finds `k + SPARE` candidates by float32 products. Where the last of them is further below
    the k-th than such a product can be off, no other row can belong to the answer, and the
    candidates are scored anew by `scoring.similarities`. Where it is not (many equal vectors), and
    for batches that FAISS has no fast path for, `exact.scan` answers. Where FAISS has a GPU, it
    finds the candidates of many queries without a filter.
    """

    kind: ClassVar[str] = "exact"
    exact: ClassVar[bool] = True

    SPARE: ClassVar[int] = 16

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """See `VectorIndex.search`."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        only = scoring.check_allowed(allowed, len(self._vectors))
        available = len(self._vectors) if only is None else only.count
        k = scoring.check_k(k, available)
        fetch = min(k + self.SPARE, available)
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
        faiss = _load_faiss()
        rows = np.empty((len(queries), fetch), np.int64)
        scores = np.empty((len(queries), fetch), np.float32)
        selector = None if only is None else _selector(faiss, only)
        with _backend_errors("searching"):
            faiss.knn_inner_product(
                faiss.swig_ptr(queries),
                faiss.swig_ptr(self._vectors),
                queries.shape[1],
                len(queries),
                len(self._vectors),
                fetch,
                faiss.swig_ptr(scores),
                faiss.swig_ptr(rows),
                selector,
            )
        return Neighbours(_complete(rows), scores)


class Lists:
    """FAISS inverted lists of codes: rows ranked roughly, in the lists nearest to a query.

    Codes are product-quantised (Jegou, Douze and Schmid, "Product quantization for nearest neighbor
    search", 2011), four bits for every two or three components of what a row differs in from the
    centre of its list, in the layout that FAISS scans fastest (Andre, Kermarrec and Le Scouarnec,
    "Cache locality is not enough", VLDB 2015).
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self.count = int(index.nlist)
        """Number of lists."""
        self._unfiltered: dict[int, Any] = {}
        self._filtered: WeakKeyDictionary[Allowed, Any] = WeakKeyDictionary()

    @classmethod
    def empty(cls, centres: Vectors, sample: Vectors) -> Self:
        """Make lists around `centres`; codes are fitted to the rows of `sample`."""
        faiss = _load_faiss()
        count, dim = centres.shape
        quantizer = faiss.IndexFlatIP(dim)
        quantizer.add(centres)
        groups = dim // next(size for size in _GROUPS if dim % size == 0)
        index = faiss.IndexIVFPQFastScan(
            quantizer, dim, count, groups, _BITS, faiss.METRIC_INNER_PRODUCT
        )
        quantizer.this.disown()
        index.own_fields = True
        index.by_residual = True
        index.pq.cp.min_points_per_centroid = 1  # few rows are no reason to warn
        with _backend_errors("training"):
            index.train(np.resize(sample, (max(len(sample), 2**_BITS), dim)))
        return cls(index)

    def add(self, vectors: Vectors) -> None:
        """Encode the next rows."""
        with _backend_errors("encoding vectors"):
            self._index.add(vectors)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of their components."""
        return self._index.ntotal, self._index.d

    @property
    def centres(self) -> Vectors:
        """`(lists, dim)`, a copy."""
        centres: Vectors = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        return centres

    @property
    def owners(self) -> NDArray[np.int64]:
        """`(rows,)`: the list that each row is in."""
        faiss = _load_faiss()
        lists = self._index.invlists
        owners = np.empty(self._index.ntotal, np.int64)
        for number in range(self._index.nlist):
            if size := lists.list_size(number):
                owners[faiss.rev_swig_ptr(lists.get_ids(number), size)] = number
        return owners

    def search(
        self, queries: Vectors, fetch: int, probes: int, only: Allowed | None = None
    ) -> NDArray[np.int64]:
        """Rows in the `probes` nearest lists, of the allowed ones, best codes first.

        Returns:
            `(n_queries, fetch)`; -1 in the last places where the lists hold fewer rows.

        Raises:
            BackendError: FAISS failed.
        """
        pointer = _load_faiss().swig_ptr
        rows = np.empty((len(queries), fetch), np.int64)
        scores = np.empty((len(queries), fetch), np.float32)
        with _backend_errors("searching"):
            self._index.search_c(
                len(queries),
                pointer(queries),
                fetch,
                pointer(scores),
                pointer(rows),
                self._parameters(probes, only),
            )
        return rows

    def _parameters(self, probes: int, only: Allowed | None) -> Any:
        """Kept, because making them takes as long as looking into ten lists."""
        faiss = _load_faiss()
        if only is None:
            if probes not in self._unfiltered:
                self._unfiltered[probes] = faiss.SearchParametersIVF(nprobe=probes)
            return self._unfiltered[probes]
        selector = self._filtered.get(only)
        if selector is None:
            selector = self._filtered[only] = _selector(faiss, only)
        return faiss.SearchParametersIVF(nprobe=probes, sel=selector)

    def search_in(
        self,
        queries: Vectors,
        fetch: int,
        chosen: NDArray[np.int64],
        products: NDArray[np.float32],
        only: Allowed,
    ) -> NDArray[np.int64]:
        """Like `search`, in chosen lists.

        Args:
            queries: `(n_queries, dim)`.
            fetch: Columns of the answer.
            chosen: `(n_queries, probes)` numbers of lists; -1 for none.
            products: As `chosen`: inner products of queries and centres.
            only: The rows that may be returned.

        Raises:
            BackendError: FAISS failed.
        """
        pointer = _load_faiss().swig_ptr
        rows = np.empty((len(queries), fetch), np.int64)
        scores = np.empty((len(queries), fetch), np.float32)
        # FAISS's Python form of this method takes no parameters (1.15).
        with _backend_errors("searching"):
            self._index.search_preassigned_c(
                len(queries),
                pointer(queries),
                fetch,
                pointer(chosen),
                pointer(products),
                pointer(scores),
                pointer(rows),
                False,
                self._parameters(chosen.shape[1], only),
            )
        return rows

    def to_bytes(self) -> bytes:
        """All of it, in FAISS's own form."""
        data: bytes = _load_faiss().serialize_index(self._index).tobytes()
        return data

    @classmethod
    def from_bytes(cls, data: memoryview) -> Self:
        """Read what `to_bytes` gave: nothing else, since FAISS trusts every length in it.

        Raises:
            BackendError: This FAISS cannot read it.
        """
        faiss = _load_faiss()
        with _backend_errors("reading its index"):
            return cls(faiss.deserialize_index(np.frombuffer(data, np.uint8)))


def _selector(faiss: Any, allowed: Allowed) -> Any:
    """A selector for one search; FAISS keeps only a pointer to the bits."""
    return faiss.IDSelectorBitmap(len(allowed.bits), faiss.swig_ptr(allowed.bits))


def _complete(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """FAISS pads with -1 what it did not find; here there always are enough rows."""
    if (rows < 0).any():
        raise BackendError("FAISS found fewer rows than there are; is a vector not finite?")
    return rows
