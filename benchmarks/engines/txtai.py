"""txtai, with the vectors given and the records in its database."""

from pathlib import Path

import numpy as np
from txtai import Embeddings

from engines.base import Record, Vector, Where

_SELECT = "SELECT id, text, year, category FROM txtai WHERE similar(:vector)"


class Engine:
    package = "txtai"
    index = "FAISS IVF, its defaults; SQLite"
    knob = "nprobe"
    efforts = (4, 8, 16, 32, 64, 128)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._embeddings = Embeddings(
            method="external",
            transform=lambda texts: np.stack([self._vectors[text] for text in texts]),
            content=True,
            normalize=False,
            faiss={"nprobe": 4},
        )

    def build(self, records: list[Record], vectors: Vector) -> None:
        texts = (record.text for record in records)
        self._vectors = dict(zip(texts, vectors, strict=True))
        self._embeddings.index((record.id, record._asdict(), None) for record in records)
        del self._embeddings.config["transform"]  # a function cannot be saved
        self._embeddings.save(str(self._folder / "index"))

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        self._embeddings.config["faiss"]["nprobe"] = self.effort
        sql, parameters = _SELECT, dict[str, object](vector=vector)
        if where is not None:
            sql += f" AND {where.field} = :value"
            parameters["value"] = where.value
        return [Record(**row) for row in self._embeddings.search(sql, k, parameters=parameters)]

    def close(self) -> None:
        self._embeddings.close()
