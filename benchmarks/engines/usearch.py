"""usearch; its Python interface has no filters."""

import numpy as np
from usearch.index import Index

from engines.base import Graph, Record, Vector, Where


class Engine(Graph):
    package = "usearch"
    index = "f32, connectivity 16; records in a list"
    knob = "expansion_search"

    def build(self, records: list[Record], vectors: Vector) -> None:
        self.keep(records)
        self._index = Index(ndim=vectors.shape[1], metric="cos", dtype="f32")
        self._index.add(np.arange(len(vectors)), vectors, threads=1)
        self._index.save(str(self._folder / "index.usearch"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        if where is not None:
            raise NotImplementedError
        self._index.expansion_search = self.effort
        found = self._index.search(vector, k, threads=1)
        return self.at(found.keys.astype(np.int64))
