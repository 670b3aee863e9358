"""FAISS by itself."""

from pathlib import Path
from typing import Any

import faiss as untyped
import numpy as np

from engines.base import Beside, Record, Vector, Where

faiss: Any = untyped  # its stubs lack what it adds in Python


class Engine:
    package = "faiss-cpu"
    index = "HNSW, M 16, efConstruction 200; records in a list"
    knob = "efSearch"
    efforts = (16, 24, 32, 48, 64, 96, 128, 192, 256)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._beside = Beside(self._folder, records)
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 200
        self._index.add(vectors)
        faiss.write_index(self._index, str(self._folder / "index.faiss"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        selector = None
        if where is not None:
            bits = np.packbits(self._beside.matching(where), bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
        params = faiss.SearchParametersHNSW(efSearch=self.effort, sel=selector)
        _, rows = self._index.search(vector[None], k, params=params)
        return self._beside.at(rows[0])

    def close(self) -> None:
        pass
