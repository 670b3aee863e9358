"""semsearch, as `Index.optimize` leaves it."""

from pathlib import Path

import semsearch
from engines.base import Record, Vector, Where

_BATCH = 8192


class Engine:
    package = "semsearch"
    index = "`Index.optimize()`"
    knob = ""  # it tunes itself when it is built
    efforts = ()
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._path = folder / "index"

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._index = semsearch.create(self._path, dim=vectors.shape[1])
        for at in range(0, len(records), _BATCH):
            batch = [
                {"id": r.id, "text": r.text, "metadata": {"year": r.year, "category": r.category}}
                for r in records[at : at + _BATCH]
            ]
            self._index.add(batch, vectors[at : at + _BATCH])
        self._index.optimize()

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        only = None if where is None else {where.field: where.value}
        hits = self._index.search(vector, k, where=only)
        return [Record(hit.id, hit.text, **hit.metadata) for hit in hits]

    def close(self) -> None:
        self._index.close()
