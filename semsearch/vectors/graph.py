"""A graph of near rows, as FAISS builds and walks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from semsearch.vectors import scoring
from semsearch.vectors.base import Report, Vectors
from semsearch.vectors.faiss import backend_errors, deserialized, library, search, serialized

_LINKS, _BUILT_WITH = 16, 100
"""Links of a row, twice as many at the bottom; candidates they are chosen from."""

LINK_BYTES = 144
"""What the links of a row take."""

_ADDED_AT_A_TIME = 4_096

_APART = 0.5
"""Length of the noise that copies of a row are moved by while they are linked."""

_CELL, _DIRECTIONS = 1e-3, 8
"""What tells copies: 8 numbers of about unit variance, in steps."""

_SEED = 0


class Graph:
    """A hierarchical navigable small world (Malkov and Yashunin, TPAMI 2020) over a matrix.

    FAISS keeps the links and reads the rows where they are: no copy of the
    matrix is held.
    """

    def __init__(self, links: Any, vectors: Vectors) -> None:
        """Bind an index of FAISS that was read without its storage to the rows themselves."""
        faiss = library()
        self._vectors = vectors
        self._rows = faiss.IndexFlatIP(vectors.shape[1])
        self._rows.codes = faiss.MaybeOwnedVectorUInt8.create_view(
            faiss.swig_ptr(vectors), vectors.nbytes, self._rows.codes.owner
        )
        self._rows.ntotal = len(vectors)
        self._index = links
        self._index.storage = self._rows
        hnsw = links.hnsw
        self._links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
        self._begins = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
        self._made: dict[int, Any] = {}

    @classmethod
    def build(cls, vectors: Vectors, report: Report) -> Self:
        """Link the rows; holds a copy of them meanwhile.

        Links go to what is nearest, so those of a row that is there dozens of times would lead to
        its copies only, and no way from there or to there. Copies are linked as if they lay apart.
        """
        faiss = library()
        n, dim = vectors.shape
        copies = _copies(vectors)
        rng = np.random.default_rng(_SEED)
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILT_WITH
        for part in scoring.blocks(n, _ADDED_AT_A_TIME):
            report("linking", part.start, n)
            rows = np.array(vectors[part])
            moved = copies[part]
            rows[moved] += _noise(rng, int(moved.sum()), dim)
            with backend_errors("linking vectors"):
                index.add(rows)
        links = serialized(index, faiss.IO_FLAG_SKIP_STORAGE)
        del index  # and its copy of the rows
        return cls.from_bytes(links, vectors)

    def search(self, queries: Vectors, fetch: int, breadth: int) -> NDArray[np.int64]:
        """Rows found by a walk that keeps the `breadth` nearest it has met, best first.

        Args:
            queries: `(n_queries, dim)`.
            fetch: Columns of the answer.
            breadth: At least `fetch`.

        Returns:
            `(n_queries, fetch)`; -1 in the last places where it met fewer.

        Raises:
            BackendError: FAISS failed.
        """
        return search(self._index, queries, fetch, self._parameters(breadth)).rows

    def _parameters(self, breadth: int) -> Any:
        """Kept, as making them takes a tenth of a walk."""
        if breadth not in self._made:
            self._made[breadth] = library().SearchParametersHNSW(efSearch=breadth)
        return self._made[breadth]

    def links_to(self, groups: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """For each group of rows, where among all links those stand that lead to one of them."""
        every = np.unique(np.concatenate([*groups, np.empty(0, np.int64)]))
        places = np.flatnonzero(np.isin(self._links, every))
        places = places[np.argsort(self._links[places], kind="stable")]
        bounds = np.searchsorted(self._links[places], [every, every + 1]).T
        of_row = dict(zip(every.tolist(), bounds.tolist(), strict=True))
        return [
            np.concatenate([places[:0], *(places[slice(*of_row[row])] for row in rows.tolist())])
            for rows in groups
        ]

    @contextmanager
    def without(self, links: NDArray[np.int64]) -> Iterator[None]:
        """While it lasts, these links lead nowhere."""
        kept = self._links[links]
        # To the row they come from, that is: an empty place would end the row's list.
        self._links[links] = np.searchsorted(self._begins, links, side="right") - 1
        try:
            yield
        finally:
            self._links[links] = kept

    def to_bytes(self) -> memoryview:
        """The links, in FAISS's own form."""
        return serialized(self._index, library().IO_FLAG_SKIP_STORAGE)

    @classmethod
    def from_bytes(cls, data: memoryview, vectors: Vectors) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            BackendError: This FAISS cannot read it.
        """
        return cls(deserialized(data, library().IO_FLAG_SKIP_STORAGE), vectors)


def _copies(vectors: Vectors) -> NDArray[np.bool_]:
    """`(n,)`: which rows are as an earlier one, but for some roundings.

    Those that fall into one cell of a fine grid along a few random directions: of rows 1e-6 apart
    one in a hundred falls into two.
    """
    rng = np.random.default_rng(_SEED)
    directions = rng.standard_normal((vectors.shape[1], _DIRECTIONS), np.float32)
    factors = rng.integers(2**62, size=_DIRECTIONS) * 2 + 1
    cells = np.empty(len(vectors), np.int64)
    for part in scoring.blocks(len(vectors), _ADDED_AT_A_TIME):
        along = np.floor(vectors[part] @ directions / _CELL).astype(np.int64)
        cells[part] = (along * factors).sum(axis=1)  # wraps
    copies = np.ones(len(vectors), np.bool_)
    copies[np.unique(cells, return_index=True)[1]] = False
    return copies


def _noise(rng: np.random.Generator, n: int, dim: int) -> Vectors:
    """`(n, dim)` float32 of length about `_APART`, in any direction."""
    return rng.standard_normal((n, dim), np.float32) * np.float32(_APART / dim**0.5)
