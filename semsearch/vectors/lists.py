"""Inverted lists of codes, as FAISS keeps and scans them."""

from __future__ import annotations

import math
from typing import Any, Literal, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from semsearch.vectors import scoring
from semsearch.vectors.base import Allowed, Vectors
from semsearch.vectors.faiss import (
    backend_errors,
    deserialized,
    library,
    search,
    selector,
    serialized,
)

_BITS = 4

Codes = Literal["pq", "rabitq", "sq8"]


def _components_to_a_code(dim: int) -> int:
    """The largest of 3, 2 and 1 that divides the dimensions: decision 0016."""
    return next(size for size in (3, 2, 1) if dim % size == 0)


def bytes_a_row(rows: int, dim: int) -> float:
    """About what product-quantised lists take: code and number of a row, its share of centres."""
    return dim / (2 * _components_to_a_code(dim)) + 8 + 8 * dim / math.sqrt(rows)


def _product_quantized(quantizer: Any, count: int, dim: int) -> Any:
    faiss = library()
    groups = dim // _components_to_a_code(dim)
    index = faiss.IndexIVFPQFastScan(
        quantizer, dim, count, groups, _BITS, faiss.METRIC_INNER_PRODUCT
    )
    index.pq.cp.min_points_per_centroid = 1  # few rows are no reason to warn
    return index


def _bits(quantizer: Any, count: int, dim: int) -> Any:
    faiss = library()
    return faiss.IndexIVFRaBitQFastScan(quantizer, dim, count, faiss.METRIC_INNER_PRODUCT)


def _bytes(quantizer: Any, count: int, dim: int) -> Any:
    faiss = library()
    return faiss.IndexIVFScalarQuantizer(
        quantizer, dim, count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )


_MAKERS = {"pq": _product_quantized, "rabitq": _bits, "sq8": _bytes}


class Lists:
    """FAISS inverted lists of codes: rows ranked roughly, in the lists nearest to a query.

    A code is of what a row differs in from the centre of its list, in one of three forms:

    - "pq": product-quantised (Jegou, Douze and Schmid, "Product quantization for nearest neighbor
      search", 2011), four bits for every two or three components, in the layout that FAISS scans
      fastest (Andre, Kermarrec and Le Scouarnec, "Cache locality is not enough", VLDB 2015);
    - "rabitq": one bit a component (Gao and Long, "RaBitQ", SIGMOD 2024), in the same layout;
    - "sq8": eight bits a component.
    """

    def __init__(self, index: Any, codes: Codes) -> None:
        self._index = index
        self.count = int(index.nlist)
        """Number of lists."""
        self.candidates = 32 if codes == "rabitq" else 8
        """How many of the best codes may be looked at in search of one true neighbour."""
        self._of_unit_length = codes == "rabitq"
        self._unfiltered: dict[int, Any] = {}
        self._filtered: WeakKeyDictionary[Allowed, Any] = WeakKeyDictionary()

    @classmethod
    def empty(cls, centres: Vectors, sample: Vectors, codes: Codes = "pq") -> Self:
        """Make lists around `centres`; codes are fitted to the rows of `sample`."""
        dim = centres.shape[1]
        quantizer = library().IndexFlatIP(dim)
        quantizer.add(centres)
        index = _MAKERS[codes](quantizer, *centres.shape)
        quantizer.this.disown()
        index.own_fields = True
        index.by_residual = True
        with backend_errors("training"):
            index.train(np.resize(sample, (max(len(sample), 2**_BITS), dim)))
        return cls(index, codes)

    def add(self, vectors: Vectors) -> None:
        """Encode the next rows."""
        with backend_errors("encoding vectors"):
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
        faiss = library()
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
        parameters = self._parameters(probes, only)
        return search(self._index, self._prepared(queries), fetch, parameters).rows

    def _prepared(self, queries: Vectors) -> Vectors:
        """RaBitQ adds up squares of components: they must not overflow."""
        return scoring.units(queries) if self._of_unit_length else queries

    def _parameters(self, probes: int, only: Allowed | None) -> Any:
        """Kept, because making them takes as long as looking into ten lists."""
        faiss = library()
        if only is None:
            if probes not in self._unfiltered:
                self._unfiltered[probes] = faiss.SearchParametersIVF(nprobe=probes)
            return self._unfiltered[probes]
        chosen = self._filtered.get(only)
        if chosen is None:
            chosen = self._filtered[only] = selector(only)
        return faiss.SearchParametersIVF(nprobe=probes, sel=chosen)

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
        pointer = library().swig_ptr
        queries = self._prepared(queries)
        rows = np.empty((len(queries), fetch), np.int64)
        scores = np.empty((len(queries), fetch), np.float32)
        # FAISS's Python form of this method takes no parameters (1.15).
        with backend_errors("searching"):
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

    def to_bytes(self) -> memoryview:
        """All of it, in FAISS's own form."""
        return serialized(self._index)

    @classmethod
    def from_bytes(cls, data: memoryview, codes: Codes) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            BackendError: This FAISS cannot read it.
        """
        return cls(deserialized(data), codes)
