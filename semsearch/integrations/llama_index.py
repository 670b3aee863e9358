"""LlamaIndex: an index as a vector store, and its encoder as an embedding model.

store = SemsearchVectorStore("indexes/notes", dim=384)
storage = StorageContext.from_defaults(vector_store=store)
index = VectorStoreIndex(nodes, storage_context=storage, embed_model=SemsearchEmbedding())
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from semsearch.encoders import Encoder, load
from semsearch.errors import InvalidArgument
from semsearch.index import Index
from semsearch.integrations.opening import described, missing, open_or_create
from semsearch.opening import DEFAULT_ENCODER
from semsearch.types import Document as Stored
from semsearch.types import Hit, JSONObject, Mode

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, MetadataMode, TextNode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
except ModuleNotFoundError as error:
    raise missing("llama-index-core", "llama-index") from error

_MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.MMR: "dense",
    VectorStoreQueryMode.SPARSE: "keyword",
    VectorStoreQueryMode.TEXT_SEARCH: "keyword",
    VectorStoreQueryMode.HYBRID: "hybrid",
}
_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.ANY: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.CONTAINS: "$contains",
    FilterOperator.TEXT_MATCH: "$contains",
}


class SemsearchVectorStore(BasePydanticVectorStore):
    """A vector store that is a semsearch index; a node is a document of it, under its id.

    The similarities of a result are the scores of `Index.search`: the cosine in modes default and
    mmr, BM25 in modes sparse and text_search, of both in mode hybrid.

    Args:
        path: Folder of the index; made if there is none.
        dim: Numbers of an embedding: they are given. None leaves the embedding of nodes that
            have none, and of queries without one, to the index's own encoder.
        encoder: Which one that is in a new index; all-MiniLM-L6-v2 by default.

    Raises:
        InvalidArgument: The vectors of the index are of another dimension.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    path: str
    dim: int | None = None
    encoder: str | None = None
    _index: Index = PrivateAttr()

    def __init__(self, path: str, *, dim: int | None = None, encoder: str | None = None) -> None:
        super().__init__(path=str(path), dim=dim, encoder=encoder)
        self._index = open_or_create(path, encoder=encoder, dim=dim)

    @classmethod
    def class_name(cls) -> str:
        """The name it is serialised by."""
        return "SemsearchVectorStore"

    @classmethod
    def from_dict(cls, data: JSONObject, **_: Any) -> Self:
        """Open what `to_dict` described."""
        return cls(data["path"], dim=data["dim"], encoder=data["encoder"])

    @property
    def client(self) -> Index:
        """The index; `close` it when done."""
        return self._index

    # -- nodes -------------------------------------------------------------------------------

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Add nodes, or replace those of the same id; gives their ids.

        Nodes that have embeddings are one commit, those that have none another.
        """
        given = [node for node in nodes if node.embedding is not None]
        others = [node for node in nodes if node.embedding is None]
        if given:
            self._index.add(map(_stored, given), [node.get_embedding() for node in given])
        if others:
            self._index.add(map(_stored, others))
        return [node.node_id for node in nodes]

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes, whole, that there are of these ids and that match."""
        found = self._index.get(self._index.ids(_where(filters, node_ids)))
        return [_node(stored) for stored in found if stored is not None]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes of a source document."""
        self._index.delete(where={_key("ref_doc_id"): ref_doc_id})

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        """Delete the nodes of these ids that match; without ids, all that match.

        Raises:
            InvalidArgument: Neither ids nor filters: `clear` deletes all.
        """
        if node_ids is None and filters is None:
            raise InvalidArgument("delete_nodes: expected node_ids or filters; clear() takes all")
        self._index.delete(where=_where(filters, node_ids))

    def clear(self) -> None:
        """Delete all nodes."""
        self._index.delete(where={})

    # -- queries -----------------------------------------------------------------------------

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes for a query.

        Raises:
            InvalidArgument: A mode or a filter that semsearch has not, or an `alpha`: how much
                words count in mode hybrid is fixed.
        """
        mode = _MODES.get(query.mode)
        if mode is None or query.alpha is not None:
            wrong = f"mode {query.mode.value}" if mode is None else "alpha"
            raise InvalidArgument(f"semsearch has no {wrong}; its modes: {[*map(str, _MODES)]}")
        vector, text = query.query_embedding, query.query_str or ""
        wider = query.hybrid_top_k if mode == "hybrid" else None
        hits = self._index.search(
            vector if mode == "dense" and vector is not None else text,
            wider or query.similarity_top_k,
            vectors=vector if mode == "hybrid" else None,
            mode=mode,
            # An index over a store that keeps the nodes names none: that means all of them.
            where=_where(query.filters, query.node_ids or None, query.doc_ids or None),
            diversity=_diversity(query, **kwargs),
        )
        return VectorStoreQueryResult(
            nodes=[_node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )

    # -- the same, off the event loop --------------------------------------------------------

    async def async_add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """See `add`."""
        return await asyncio.to_thread(self.add, nodes)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """See `get_nodes`."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """See `delete`."""
        await asyncio.to_thread(self.delete, ref_doc_id)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        """See `delete_nodes`."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters)

    async def aclear(self) -> None:
        """See `clear`."""
        await asyncio.to_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """See `query`."""
        return await asyncio.to_thread(self.query, query, **kwargs)


class SemsearchEmbedding(BaseEmbedding):
    """An encoder of semsearch as an embedding model.

    Args:
        encoder: As for `semsearch.create`, or an encoder: `store.client.encoder`.
    """

    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: str | Encoder = DEFAULT_ENCODER) -> None:
        loaded = load(encoder) if isinstance(encoder, str) else encoder
        super().__init__(model_name=loaded.name)
        self._encoder = loaded

    @classmethod
    def class_name(cls) -> str:
        """The name it is serialised by."""
        return "SemsearchEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        (vector,) = self._encoder.encode_queries([query])
        return _floats(vector)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [_floats(vector) for vector in self._encoder.encode_documents(texts)]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)


def _floats(vector: Any) -> list[float]:
    floats: list[float] = np.asarray(vector, np.float64).tolist()
    return floats


def _stored(node: BaseNode) -> Stored:
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return Stored(node.node_id, text, metadata=node_to_metadata_dict(node, remove_text=True))


def _node(found: Hit | Stored) -> BaseNode:
    """The node; of what LlamaIndex did not add, one of its text."""
    if "_node_content" in found.metadata:
        return metadata_dict_to_node(found.metadata, text=found.text)
    return TextNode(id_=found.id, text=found.text, metadata=described(found))


def _diversity(query: VectorStoreQuery, *, mmr_threshold: float | None = None, **_: Any) -> float:
    if query.mode != VectorStoreQueryMode.MMR:
        return 0.0
    asked = query.mmr_threshold if mmr_threshold is None else mmr_threshold
    return 0.5 if asked is None else 1 - asked


# -- filters -------------------------------------------------------------------------------------


def _where(
    filters: MetadataFilters | None,
    node_ids: list[str] | None = None,
    doc_ids: list[str] | None = None,
) -> JSONObject:
    """All of these as one filter of semsearch; of none of them, everything."""
    clauses = [] if filters is None else [_clause(filters)]
    if node_ids is not None:
        clauses.append({"id": {"$in": node_ids}})
    if doc_ids is not None:
        clauses.append({_key("ref_doc_id"): {"$in": doc_ids}})
    return _group("$and", clauses)


def _clause(filter: MetadataFilter | MetadataFilters) -> JSONObject:
    if isinstance(filter, MetadataFilter):
        return _condition(filter)
    clauses = [_clause(part) for part in filter.filters]
    match filter.condition:
        case FilterCondition.OR:
            return _group("$or", clauses)
        case FilterCondition.NOT:
            return {"$not": _group("$or", clauses)} if clauses else {}
        case _:
            return _group("$and", clauses)


def _group(joint: str, clauses: list[JSONObject]) -> JSONObject:
    return {joint: clauses} if clauses else {}


def _condition(filter: MetadataFilter) -> JSONObject:
    key, value = _key(filter.key), filter.value
    match filter.operator:
        case FilterOperator.ALL:
            return _group("$and", [{key: each} for each in _list(filter)])
        case FilterOperator.IS_EMPTY:  # nothing in it, or in a list of it, that says anything
            something = [{"$lt": 0}, {"$gte": 0}, {"$gt": ""}, {"$in": [True, False]}]
            return {"$not": {"$or": [{key: each} for each in something]}}
        case operator if operator in _OPERATORS:
            return {key: {_OPERATORS[operator]: value}}
        case other:
            raise InvalidArgument(f"filter: semsearch has no operator {other.value}")


def _list(filter: MetadataFilter) -> list[Any]:
    if not isinstance(filter.value, list):
        raise InvalidArgument(f"filter {filter.operator.value}: expected a list of values")
    return filter.value


def _key(name: str) -> str:
    return f"metadata.[{name.replace(']', ']]')}]"
