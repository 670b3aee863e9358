"""LanceDB in this process, on the disk."""

from pathlib import Path

import lancedb
import pyarrow as pa
from lancedb.index import HnswSq

from engines.base import Record, Vector, Where


class Engine:
    package = "lancedb"
    index = "IVF_HNSW_SQ, one partition, refine_factor 2; BITMAP of the fields"
    knob = "ef"
    efforts = (20, 30, 40, 60, 100, 200)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._database = lancedb.connect(folder)

    def build(self, records: list[Record], vectors: Vector) -> None:
        flat = pa.array(vectors.ravel())
        columns = {
            name: pa.array([getattr(record, name) for record in records]) for name in Record._fields
        }
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self._table = self._database.create_table("records", pa.table(columns))
        self._table.create_index("vector", config=HnswSq(distance_type="cosine", num_partitions=1))
        for field in ("year", "category"):
            self._table.create_scalar_index(field, index_type="BITMAP")
        self._table.optimize()

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        query = self._table.search(vector).distance_type("cosine").ef(self.effort)
        query = query.refine_factor(2).select([*Record._fields, "_distance"]).limit(k)
        if where is not None:
            query = query.where(f"{where.field} = {where.value!r}", prefilter=True)
        found = query.to_arrow().select(list(Record._fields))
        return [Record(**row) for row in found.to_pylist()]

    def close(self) -> None:
        pass
