"""Chroma in this process, on the disk."""

from functools import partial
from pathlib import Path

import chromadb
from chromadb.api.shared_system_client import SharedSystemClient

from engines.base import Record, Vector, Where

_BATCH = 5000


class Engine:
    package = "chromadb"
    index = "HNSW, its defaults"
    knob = "ef_search"
    efforts = (10, 16, 24, 32, 48, 64, 100, 150, 200, 300)
    effort = 0

    def __init__(self, folder: Path) -> None:
        settings = chromadb.Settings(anonymized_telemetry=False)
        self._connect = partial(chromadb.PersistentClient, str(folder), settings)
        self._client = self._connect()
        self._set = 0

    def build(self, records: list[Record], vectors: Vector) -> None:
        self._collection = self._client.create_collection(
            "records", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        for at in range(0, len(records), _BATCH):
            batch = records[at : at + _BATCH]
            self._collection.add(
                ids=[record.id for record in batch],
                embeddings=vectors[at : at + _BATCH],
                documents=[record.text for record in batch],
                metadatas=[{"year": one.year, "category": one.category} for one in batch],
            )

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        if self._set != self.effort:
            self._tune()
        found = self._collection.query(
            query_embeddings=[vector],
            n_results=k,
            where=None if where is None else {where.field: where.value},
        )
        rows = zip(found["ids"][0], found["documents"][0], found["metadatas"][0], strict=True)
        return [Record(id_, text, **metadata) for id_, text, metadata in rows]

    def _tune(self) -> None:
        """An open collection goes on with the value that it was opened with: open it anew."""
        self._collection.modify(configuration={"hnsw": {"ef_search": self.effort}})
        SharedSystemClient.clear_system_cache()
        self._client = self._connect()
        self._collection = self._client.get_collection("records", embedding_function=None)
        self._set = self.effort

    def close(self) -> None:
        pass
