"""Milvus Lite, through pymilvus."""

from pathlib import Path

from pymilvus import DataType, MilvusClient

from engines.base import Record, Vector, Where

_BATCH = 5000
_FIELDS = ("year", "category", "text", "id")


class Engine:
    package = "milvus-lite"
    index = "HNSW, M 16, efConstruction 100"
    knob = "ef"
    efforts = (10, 16, 24, 32, 48, 64, 100, 150, 200, 300)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._client = MilvusClient(str(folder / "milvus.db"))

    def build(self, records: list[Record], vectors: Vector) -> None:
        client = self._client
        schema = client.create_schema()
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
        schema.add_field("text", DataType.VARCHAR, max_length=65_535)
        schema.add_field("year", DataType.INT64)
        schema.add_field("category", DataType.VARCHAR, max_length=64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        client.create_collection("records", schema=schema)
        for at in range(0, len(records), _BATCH):
            rows = range(at, min(at + _BATCH, len(records)))
            client.insert("records", [{**records[n]._asdict(), "vector": vectors[n]} for n in rows])
        params = client.prepare_index_params()
        params.add_index(
            "vector",
            index_type="HNSW",
            metric_type="COSINE",
            params={"M": 16, "efConstruction": 100},
        )
        client.flush("records")
        client.create_index("records", params)
        client.load_collection("records")

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        (hits,) = self._client.search(
            "records",
            [vector],
            limit=k,
            filter="" if where is None else f"{where.field} == {where.value!r}",
            output_fields=list(_FIELDS),
            search_params={"params": {"ef": self.effort}},
        )
        return [Record(**{name: hit["entity"][name] for name in _FIELDS}) for hit in hits]

    def close(self) -> None:
        self._client.close()
