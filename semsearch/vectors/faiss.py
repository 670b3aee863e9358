"""FAISS, imported on first use only: what the kinds built on it share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError, DependencyMissing
from semsearch.vectors import scoring
from semsearch.vectors.base import Allowed, Neighbours, Vectors

_GPU_MOST = 2_048
"""Neighbours that FAISS finds on a GPU at most (1.15)."""

_GPU_FLOATS = 2**28
"""Components sent to a GPU at a time: 1 GiB."""


@cache
def library() -> Any:
    """The module.

    Raises:
        DependencyMissing: It is not installed.
    """
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
    faiss = library()
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
    faiss = library()
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
            found = Neighbours(complete(rows) + part.start, scores)
            best = scoring.merged([best, found], k)
    except RuntimeError:
        return None
    return best


@contextmanager
def backend_errors(doing: str) -> Iterator[None]:
    """Raise `BackendError` for what FAISS raises while `doing` something."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise BackendError(f"FAISS failed {doing}: {error}") from error


def selector(allowed: Allowed) -> Any:
    """A selector for one search; FAISS keeps only a pointer to the bits."""
    faiss = library()
    return faiss.IDSelectorBitmap(len(allowed.bits), faiss.swig_ptr(allowed.bits))


def complete(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """FAISS pads with -1 what it did not find; here there always are enough rows."""
    if (rows < 0).any():
        raise BackendError("FAISS found fewer rows than there are; is a vector not finite?")
    return rows


def search(index: Any, queries: Vectors, fetch: int, parameters: Any = None) -> Neighbours:
    """What an index of FAISS finds, without the checks of its Python form.

    Returns:
        `(n_queries, fetch)`; rows are -1 in the last places where there are fewer.

    Raises:
        BackendError: FAISS failed.
    """
    pointer = library().swig_ptr
    rows = np.empty((len(queries), fetch), np.int64)
    scores = np.empty((len(queries), fetch), np.float32)
    with backend_errors("searching"):
        index.search_c(
            len(queries), pointer(queries), fetch, pointer(scores), pointer(rows), parameters
        )
    return Neighbours(rows, scores)


def serialized(index: Any, flags: int = 0) -> memoryview:
    """An index in FAISS's own form."""
    return memoryview(library().serialize_index(index, flags))


def deserialized(data: memoryview, flags: int = 0) -> Any:
    """Read what `serialized` gave: nothing else, since FAISS trusts every length in it.

    Raises:
        BackendError: This FAISS cannot read it.
    """
    with backend_errors("reading its index"):
        return library().deserialize_index(np.frombuffer(data, np.uint8), flags)
