"""usearch; its Python interface has no filters."""

from pathlib import Path

import numpy as np
from usearch.index import Index

from engines.base import Beside, Record, Vector, Where


class Engine:
    package = "usearch"
    index = "f32, connectivity 16; records in a list"
    knob = "expansion_search"
    efforts = (16, 24, 32, 48, 64, 96, 128, 192, 256)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._beside = Beside(self._folder, records)
        self._index = Index(ndim=vectors.shape[1], metric="cos", dtype="f32")
        self._index.add(np.arange(len(vectors)), vectors, threads=1)
        self._index.save(str(self._folder / "index.usearch"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        if where is not None:
            raise NotImplementedError
        self._index.expansion_search = self.effort
        found = self._index.search(vector, k, threads=1)
        return self._beside.at(found.keys.astype(np.int64))

    def close(self) -> None:
        pass
