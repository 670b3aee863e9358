"""hnswlib."""

from pathlib import Path

import hnswlib
import numpy as np

from engines.base import Beside, Record, Vector, Where


class Engine:
    package = "hnswlib"
    index = "M 16, ef_construction 200; records in a list"
    knob = "ef"
    efforts = (16, 24, 32, 48, 64, 96, 128, 192, 256)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._beside = Beside(self._folder, records)
        self._index = hnswlib.Index("cosine", vectors.shape[1])
        self._index.init_index(len(vectors), M=16, ef_construction=200)
        self._index.set_num_threads(1)
        self._index.add_items(vectors)
        self._index.save_index(str(self._folder / "index.hnsw"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        self._index.set_ef(self.effort)
        if where is None:
            rows, _ = self._index.knn_query(vector, k)
            return self._beside.at(rows[0].astype(np.int64))
        matching = self._beside.matching(where)
        try:
            rows, _ = self._index.knn_query(vector, k, filter=matching.__getitem__)
        except RuntimeError:  # its way to say that it found fewer than k
            return []
        return self._beside.at(rows[0].astype(np.int64))

    def close(self) -> None:
        pass
