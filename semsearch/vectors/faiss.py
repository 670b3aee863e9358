"""Vector indexes built by FAISS, which is imported on first use only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError, DependencyMissing, IndexCorrupt, StorageError
from semsearch.vectors import scoring
from semsearch.vectors.base import Neighbours, Vectors
from semsearch.vectors.exact import GATHER_BELOW, MatrixOnly, error_bound, scan, units
from semsearch.vectors.scoring import Pairs

_SELECT_ABOVE = 0.05
"""Share of rows up to which an exact scan of the allowed ones is taken instead of the codes."""

_FEW_QUERIES = 4
"""Queries up to which FAISS's own scan is no slower than one matrix product."""

_FAISS_BLAS_FROM = 128_000
"""Size of a batch, in floats, from which FAISS itself uses BLAS (1.15, only without a selector)."""

_NTOTAL = slice(8, 16)
"""Where FAISS's index header keeps the number of rows (after the magic and the dimension)."""


def _load_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DependencyMissing(
            "FAISS is not installed: pip install 'semsearch[cpu]' (or 'semsearch[gpu]')"
        ) from error
    return faiss


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
    for batches that FAISS has no fast path for, `exact.scan` answers.
    """

    kind: ClassVar[str] = "exact"
    exact: ClassVar[bool] = True

    SPARE: ClassVar[int] = 16

    def search(
        self, queries: Vectors, k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> Neighbours:
        """See `VectorIndex.search`."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        rows = scoring.allowed_rows(allowed, len(self._vectors))
        available = len(self._vectors) if rows is None else len(rows)
        k = scoring.check_k(k, available)
        if self._blas_is_faster(queries, available, masked=rows is not None) or k == 0:
            return scan(queries, self._vectors, max(k, 1), rows)
        fetch = min(k + self.SPARE, available)
        found, scores = self._scan(units(queries), fetch, None if rows is None else allowed)
        owners = np.repeat(np.arange(len(queries)), fetch)
        answer = scoring.rank(Pairs(owners, found.ravel()), queries, self._vectors, k)
        margin = 2 * error_bound(queries.shape[1])
        unsure = (scores[:, k - 1] - scores[:, -1] <= margin) & (fetch < available)
        if unsure.any():
            again = scan(queries[unsure], self._vectors, k, rows)
            answer.rows[unsure] = again.rows
            answer.similarities[unsure] = again.similarities
        return answer

    def _blas_is_faster(self, queries: Vectors, available: int, *, masked: bool) -> bool:
        """Measured: docs/decisions/0004-exact-search-scans-the-segment.md."""
        n = len(queries)
        if masked and available <= GATHER_BELOW * len(self._vectors):
            return True
        return n > _FEW_QUERIES and (masked or queries.size < _FAISS_BLAS_FROM)

    def _scan(
        self, queries: Vectors, fetch: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        faiss = _load_faiss()
        rows = np.empty((len(queries), fetch), np.int64)
        scores = np.empty((len(queries), fetch), np.float32)
        selector = None if allowed is None else _selector(faiss, allowed)
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
        return _complete(rows), scores


class FaissSQ8:
    """One byte per component, rescored from the matrix: a quarter of the memory traffic.

    The codes choose `FETCH_FACTOR * k + FETCH_EXTRA` candidates; their scores are then exact, so
    only which rows are found is approximate.
    """

    kind: ClassVar[str] = "sq8"
    exact: ClassVar[bool] = False
    derived: ClassVar[bool] = True

    FETCH_FACTOR: ClassVar[int] = 2
    FETCH_EXTRA: ClassVar[int] = 16

    def __init__(self, vectors: Vectors, codes: Any) -> None:
        self._vectors = vectors
        self._codes = codes

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        """See `VectorIndex.build`; reads the matrix twice."""
        vectors = scoring.check_vectors(vectors)
        with _backend_errors("encoding vectors"):
            codes = _untrained(vectors.shape[1])
            codes.train(vectors if len(vectors) else np.zeros((1, vectors.shape[1]), np.float32))
            codes.add(vectors)
        return cls(vectors, codes)

    def search(
        self, queries: Vectors, k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> Neighbours:
        """See `VectorIndex.search`; exact when few rows are allowed."""
        queries = scoring.check_queries(queries, self._vectors.shape[1])
        rows = scoring.allowed_rows(allowed, len(self._vectors))
        available = len(self._vectors) if rows is None else len(rows)
        k = scoring.check_k(k, available)
        fetch = min(self.FETCH_FACTOR * k + self.FETCH_EXTRA, available)
        if fetch == available or available <= _SELECT_ABOVE * len(self._vectors):
            return scan(queries, self._vectors, max(k, 1), rows)
        found = self._search_codes(queries, fetch, None if rows is None else allowed)
        owners = np.repeat(np.arange(len(queries)), fetch)
        return scoring.rank(Pairs(owners, found.ravel()), queries, self._vectors, k)

    def _search_codes(
        self, queries: Vectors, fetch: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        faiss = _load_faiss()
        parameters = None
        if allowed is not None:
            parameters = faiss.SearchParameters(sel=_selector(faiss, allowed))
        with _backend_errors("searching"):
            _, found = self._codes.search(queries, fetch, params=parameters)
        return _complete(found)

    def save(self, path: Path) -> None:
        """Write the codes.

        Raises:
            StorageError: The file cannot be written.
        """
        try:
            _load_faiss().write_index(self._codes, str(path))
        except RuntimeError as error:
            raise StorageError(f"{path}: cannot be written: {error}") from error

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Map what `save` wrote. The file must stay as it is while the index is used.

        FAISS is given the file only when every length in it is the one that these vectors need,
        because FAISS allocates what a damaged header asks for.

        Raises:
            IndexCorrupt: The file is missing, damaged or not the index of these vectors.
        """
        vectors = scoring.check_vectors(vectors)
        _check_layout(path, *vectors.shape)
        faiss = _load_faiss()
        try:
            codes = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            raise IndexCorrupt(f"{path}: not readable by FAISS: {error}; rebuild it") from error
        return cls(vectors, codes)


def _selector(faiss: Any, allowed: NDArray[np.bool_]) -> Any:
    bits = np.packbits(allowed, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
    selector.bits_alive = bits  # FAISS keeps only a pointer
    return selector


def _complete(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """FAISS pads with -1 what it did not find; here there always are enough rows."""
    if (rows < 0).any():
        raise BackendError("FAISS found fewer rows than there are; is a vector not finite?")
    return rows


def _untrained(dim: int) -> Any:
    faiss = _load_faiss()
    kind = faiss.ScalarQuantizer.QT_8bit
    return faiss.IndexScalarQuantizer(dim, kind, faiss.METRIC_INNER_PRODUCT)


def _check_layout(path: Path, n: int, dim: int) -> None:
    """Compare all of a file but its ranges and codes with what FAISS writes for `(n, dim)`."""
    expected = _header(n, dim)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(len(expected))
    except OSError as error:
        raise IndexCorrupt(f"{path}: cannot be read: {error}; rebuild it") from error
    if size != len(expected) + n * dim:
        raise IndexCorrupt(
            f"{path}: {size} bytes; the sq8 index of {n} x {dim} vectors has "
            f"{len(expected) + n * dim}; rebuild it"
        )
    ranges = slice(len(expected) - 8 - 8 * dim, len(expected) - 8)
    if _without(header, ranges) != _without(expected, ranges):
        raise IndexCorrupt(f"{path}: not the sq8 index of {n} x {dim} vectors; rebuild it")
    if not np.isfinite(np.frombuffer(header[ranges], "<f4")).all():
        raise IndexCorrupt(f"{path}: ranges of the codes are not finite; rebuild it")


def _header(n: int, dim: int) -> bytes:
    """All that FAISS writes before the codes: header, `2 * dim` ranges, number of codes."""
    empty = _untrained(dim)
    empty.train(np.zeros((1, dim), np.float32))
    header = bytearray(_load_faiss().serialize_index(empty).tobytes())
    header[_NTOTAL] = n.to_bytes(8, "little")
    header[-8:] = (n * dim).to_bytes(8, "little")
    return bytes(header)


def _without(data: bytes, part: slice) -> bytes:
    return data[: part.start] + data[part.stop :]
