"""qdrant-client's local mode: NumPy over everything."""

from pathlib import Path

from qdrant_client import QdrantClient, models

from engines.base import Record, Vector, Where

_BATCH = 5000


class Engine:
    package = "qdrant-client"
    index = "local mode, exact"
    knob = ""
    efforts = ()
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._client = QdrantClient(path=str(folder))

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._client.create_collection(
            "records",
            models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE),
        )
        for at in range(0, len(records), _BATCH):
            rows = range(at, min(at + _BATCH, len(records)))
            batch = models.Batch(
                ids=list(rows),
                vectors=vectors[rows.start : rows.stop].tolist(),
                payloads=[records[n]._asdict() for n in rows],
            )
            self._client.upsert("records", batch)

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        only = where and models.Filter(
            must=[
                models.FieldCondition(key=where.field, match=models.MatchValue(value=where.value))
            ]
        )
        found = self._client.query_points("records", vector.tolist(), limit=k, query_filter=only)
        return [Record(**point.payload) for point in found.points]

    def close(self) -> None:
        self._client.close()
