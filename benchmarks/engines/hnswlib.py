"""hnswlib."""

import hnswlib
import numpy as np

from engines.base import Graph, Record, Vector, Where


class Engine(Graph):
    package = "hnswlib"
    index = "M 16, ef_construction 200; records in a list"
    knob = "ef"

    def build(self, records: list[Record], vectors: Vector) -> None:
        self.keep(records)
        self._index = hnswlib.Index("cosine", vectors.shape[1])
        self._index.init_index(len(vectors), M=16, ef_construction=200)
        self._index.set_num_threads(1)
        self._index.add_items(vectors)
        self._index.save_index(str(self._folder / "index.hnsw"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        self._index.set_ef(self.effort)
        if where is None:
            rows, _ = self._index.knn_query(vector, k)
            return self.at(rows[0].astype(np.int64))
        matching = self.matching(where)
        try:
            rows, _ = self._index.knn_query(vector, k, filter=matching.__getitem__)
        except RuntimeError:  # its way to say that it found fewer than k
            return []
        return self.at(rows[0].astype(np.int64))
