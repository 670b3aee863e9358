"""Qdrant Edge: Qdrant's shard in this process."""

from pathlib import Path

import qdrant_edge as edge

from engines.base import Record, Vector, Where

_BATCH = 5000


class Engine:
    package = "qdrant-edge-py"
    index = "HNSW, m 16, ef_construct 100; payload indexes of the fields"
    knob = "hnsw_ef"
    efforts = (10, 16, 24, 32, 48, 64, 100, 150, 200, 300)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "shard"
        self._folder.mkdir()

    def build(self, records: list[Record], vectors: Vector) -> None:
        size = vectors.shape[1]
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=size, distance=edge.Distance.Cosine),
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1),
        )
        self._shard = edge.EdgeShard.create(str(self._folder), config)
        operation = edge.UpdateOperation
        for field, kind in (
            ("year", edge.PayloadSchemaType.Integer),
            ("category", edge.PayloadSchemaType.Keyword),
        ):
            self._shard.update(operation.create_field_index(field, kind))
        for at in range(0, len(records), _BATCH):
            rows = range(at, min(at + _BATCH, len(records)))
            points = [edge.Point(n, vectors[n].tolist(), records[n]._asdict()) for n in rows]
            self._shard.update(operation.upsert_points(points))
        self._shard.optimize()
        self._shard.flush()

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        only = where and edge.Filter(
            must=[edge.FieldCondition(key=where.field, match=edge.MatchValue(value=where.value))]
        )
        request = edge.QueryRequest(
            limit=k,
            query=edge.Query.Nearest(vector.tolist()),
            filter=only,
            with_payload=True,
            params=edge.SearchParams(hnsw_ef=self.effort),
        )
        return [Record(**point.payload) for point in self._shard.query(request)]

    def close(self) -> None:
        self._shard.close()
