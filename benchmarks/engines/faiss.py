"""FAISS by itself."""

from typing import Any

import faiss as untyped
import numpy as np

from engines.base import Graph, Record, Vector, Where

faiss: Any = untyped  # its stubs lack what it adds in Python


class Engine(Graph):
    package = "faiss-cpu"
    index = "HNSW, M 16, efConstruction 200; records in a list"
    knob = "efSearch"

    def build(self, records: list[Record], vectors: Vector) -> None:
        self.keep(records)
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 200
        self._index.add(vectors)
        faiss.write_index(self._index, str(self._folder / "index.faiss"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        selector = None
        if where is not None:
            bits = np.packbits(self.matching(where), bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
        params = faiss.SearchParametersHNSW(efSearch=self.effort, sel=selector)
        _, rows = self._index.search(vector[None], k, params=params)
        return self.at(rows[0])
