"""The part of OpenAI's API that an index can answer: embeddings and vector stores.

A vector store is a collection, a file in it a document, an attribute a field of its metadata.
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from semsearch.errors import IndexNotFound, InvalidArgument
from semsearch.filters import parse
from semsearch.server.access import router
from semsearch.server.collections import NAME, Collections
from semsearch.server.models import Request
from semsearch.server.service import How, Service
from semsearch.types import Hit

_MOST_INPUTS = 2048
_STARTS = {"and": "$and", "or": "$or"}

StoreId = Annotated[
    str, Path(pattern=NAME, description="Name of the collection.", examples=["notes"])
]


class Tolerant(Request):
    """A request of a client that may send more than is known here."""

    model_config = ConfigDict(extra="ignore")


class EmbeddingRequest(Tolerant):
    """Texts to be encoded."""

    input: str | list[str] = Field(examples=["The cat sat on the mat"])
    model: str = Field(description="Name of an encoder.", examples=["all-MiniLM-L6-v2"])
    dimensions: int | None = Field(None, description="Only the model's own.")
    encoding_format: Literal["float", "base64"] = "float"


class Embedding(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors of unit length, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """An encoder."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "semsearch"


class Models(BaseModel):
    """Encoders that can be asked for embeddings."""

    object: Literal["list"] = "list"
    data: list[Model]


class FileCounts(BaseModel):
    """Documents by state: all are there."""

    in_progress: int = 0
    completed: int
    failed: int = 0
    cancelled: int = 0
    total: int


class VectorStore(BaseModel):
    """A collection."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int = Field(description="When its folder was last changed, in Unix time.")
    name: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["completed"] = "completed"
    metadata: dict[str, str] = {}


class VectorStores(BaseModel):
    """A page of collections."""

    object: Literal["list"] = "list"
    data: list[VectorStore]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Comparison(Request):
    """A condition on one attribute."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str = Field(min_length=1, examples=["year"])
    value: str | float | bool | list[str | float | bool]


class Compound(Request):
    """Conditions of which all must hold, or one."""

    type: Literal["and", "or"]
    filters: list[Comparison | Compound] = Field(min_length=1)


class RankingOptions(Tolerant):
    """How hits are ranked; there is one ranker."""

    score_threshold: float | None = Field(None, description="Leave out what scores less.")


class StoreSearch(Tolerant):
    """What is searched for."""

    query: str | Annotated[list[str], Field(min_length=1, max_length=32)] = Field(
        examples=["my bread comes out like a brick"]
    )
    filters: Comparison | Compound | None = None
    max_num_results: int = Field(10, ge=1, le=50)
    ranking_options: RankingOptions | None = None
    rewrite_query: Literal[False] | None = None


class Content(BaseModel):
    """A passage."""

    type: Literal["text"] = "text"
    text: str


class StoreHit(BaseModel):
    """A passage of a document, and what is known of the document."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | float | bool]
    content: list[Content]


class StoreHits(BaseModel):
    """The answer to a search, best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[StoreHit]
    has_more: bool = False
    next_page: str | None = None


def routes(service: Service) -> APIRouter:
    """The routes, around a service."""
    reading = router("read", "OpenAI")

    @reading.get("/v1/models")
    async def list_models() -> Models:
        """Encoders by name."""
        names = await service.read(service.collections.models)
        return Models(data=[Model(id=name) for name in names])

    @reading.post("/v1/embeddings")
    async def embed(body: EmbeddingRequest) -> Embeddings:
        """Vectors of texts; a text that is longer than the model reads is refused."""
        texts = [body.input] if isinstance(body.input, str) else body.input
        return await service.read(lambda: _embedded(service.collections, body, texts))

    @reading.get("/v1/vector_stores")
    async def list_vector_stores(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "asc",
        after: str | None = None,
    ) -> VectorStores:
        """Collections, by name."""
        return await service.read(lambda: _page(service.collections, limit, order, after))

    @reading.get("/v1/vector_stores/{id}")
    async def retrieve_vector_store(id: StoreId) -> VectorStore:
        """One collection."""
        return await service.read(lambda: _store(service.collections, id))

    @reading.post("/v1/vector_stores/{id}/search")
    async def search_vector_store(id: StoreId, body: StoreSearch) -> StoreHits:
        """Find passages by meaning and by words; of several queries the best of all."""
        queries = [body.query] if isinstance(body.query, str) else body.query
        how = _how(id, body)
        answers = [await service.search(how, query) for query in queries]
        return StoreHits(search_query=queries, data=_best(answers, body.max_num_results))

    return reading


def _embedded(collections: Collections, body: EmbeddingRequest, texts: list[str]) -> Embeddings:
    if not 0 < len(texts) <= _MOST_INPUTS or not all(map(str.strip, texts)):
        raise InvalidArgument(f"input: expected 1 to {_MOST_INPUTS:,} texts, none of them empty")
    if body.model not in collections.models():  # what a name leads to is not the client's to choose
        raise HTTPException(404, f"no model {body.model!r}; /v1/models lists those there are")
    encoder = collections.text_encoder(body.model)
    if body.dimensions not in (None, encoder.space.dim):
        raise InvalidArgument(f"dimensions: {body.model} has {encoder.space.dim}")
    tokens = sum(encoder.count_tokens(texts))
    vectors = encoder.encode_documents(texts)
    return Embeddings(
        data=[
            Embedding(index=at, embedding=_written(row, body.encoding_format))
            for at, row in enumerate(vectors)
        ],
        model=body.model,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _written(vector: Any, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
    return [float(number) for number in vector]


def _page(collections: Collections, limit: int, order: str, after: str | None) -> VectorStores:
    names = sorted(collections.names(), reverse=order == "desc")
    if after is not None:
        if after not in names:
            raise IndexNotFound(f"after: no collection {after!r}")
        names = names[names.index(after) + 1 :]
    shown = names[:limit]
    return VectorStores(
        data=[_store(collections, name) for name in shown],
        first_id=shown[0] if shown else None,
        last_id=shown[-1] if shown else None,
        has_more=len(names) > limit,
    )


def _store(collections: Collections, name: str) -> VectorStore:
    index = collections.get(name)
    info = index.info()
    return VectorStore(
        id=name,
        created_at=int(index.path.stat().st_mtime),
        name=name,
        usage_bytes=info.bytes,
        file_counts=FileCounts(completed=info.documents, total=info.documents),
    )


def _how(name: str, body: StoreSearch) -> How:
    ranking = body.ranking_options or RankingOptions(score_threshold=None)
    return How(
        collection=name,
        kind="text",
        k=body.max_num_results,
        mode="hybrid",
        where=None if body.filters is None else str(parse(_clause(body.filters))),
        group=False,
        offset=0,
        min_score=ranking.score_threshold,
        diversity=0.0,
    )


def _clause(filter: Comparison | Compound) -> dict[str, Any]:
    """The filter as semsearch writes it."""
    if isinstance(filter, Compound):
        return {_STARTS[filter.type]: [_clause(part) for part in filter.filters]}
    key = filter.key.replace("]", "]]")
    return {f"metadata.[{key}]": {f"${filter.type}": filter.value}}


def _best(answers: list[list[Hit]], k: int) -> list[StoreHit]:
    """The best hits of all answers, each passage once."""
    best: dict[int, Hit] = {}
    for hit in (hit for hits in answers for hit in hits):
        if hit.chunk not in best or best[hit.chunk].score < hit.score:
            best[hit.chunk] = hit
    ranked = sorted(best.values(), key=lambda hit: -hit.score)[:k]
    return [_store_hit(hit) for hit in ranked]


def _store_hit(hit: Hit) -> StoreHit:
    return StoreHit(
        file_id=hit.id,
        filename=(hit.source or hit.id).rpartition("/")[2] or hit.id,
        score=hit.score,
        attributes={
            key: value if isinstance(value, str | float | int | bool) else json.dumps(value)
            for key, value in hit.metadata.items()
            if value is not None
        },
        content=[Content(text=hit.text)],
    )
