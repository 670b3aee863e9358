"""Components of pipelines that ask the document store."""

from __future__ import annotations

from asyncio import to_thread
from typing import Any, Self

from semsearch.errors import InvalidArgument
from semsearch.integrations.haystack.store import Filters, SemsearchDocumentStore
from semsearch.integrations.opening import missing

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.document_stores.types import FilterPolicy, apply_filter_policy
except ModuleNotFoundError as error:
    raise missing("haystack-ai", "haystack") from error


class _Retriever:
    """What the retrievers have in common.

    Args:
        document_store: Where to look.
        filters: Which documents, where a run does not say.
        top_k: How many at most, where a run does not say.
        filter_policy: Whether the filters of a run replace these or are merged with them.

    Raises:
        InvalidArgument: Not a store of semsearch, or `top_k` below 1.
    """

    def __init__(
        self,
        document_store: SemsearchDocumentStore,
        *,
        filters: Filters | None = None,
        top_k: int = 10,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        if not isinstance(document_store, SemsearchDocumentStore):
            raise InvalidArgument(f"document_store: {document_store!r} is none of semsearch")
        if top_k < 1:
            raise InvalidArgument(f"top_k: expected at least 1, got {top_k}")
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.filter_policy = filter_policy

    def to_dict(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make what `to_dict` described."""
        given = dict(data["init_parameters"])
        given["document_store"] = SemsearchDocumentStore.from_dict(given["document_store"])
        given["filter_policy"] = FilterPolicy.from_str(given["filter_policy"])
        return default_from_dict(cls, {**data, "init_parameters": given})

    def _limits(self, filters: Filters | None, top_k: int | None) -> dict[str, Any]:
        return {
            "filters": apply_filter_policy(self.filter_policy, self.filters, filters),
            "top_k": self.top_k if top_k is None else top_k,
        }


@component
class SemsearchEmbeddingRetriever(_Retriever):
    """Finds the passages nearest to an embedding; see `SemsearchDocumentStore`."""

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """See `SemsearchDocumentStore.embedding_retrieval`."""
        limits = self._limits(filters, top_k)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **limits)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """See `run`."""
        return await to_thread(self.run, query_embedding, filters, top_k)


@component
class SemsearchKeywordRetriever(_Retriever):
    """Finds the passages that hold words of a query, by BM25; see `SemsearchDocumentStore`."""

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """See `SemsearchDocumentStore.keyword_retrieval`."""
        limits = self._limits(filters, top_k)
        return {"documents": self.document_store.keyword_retrieval(query, **limits)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """See `run`."""
        return await to_thread(self.run, query, filters, top_k)


@component
class SemsearchHybridRetriever(_Retriever):
    """Finds the best passages by embedding and words; see `SemsearchDocumentStore`."""

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """See `SemsearchDocumentStore.hybrid_retrieval`."""
        limits = self._limits(filters, top_k)
        found = self.document_store.hybrid_retrieval(query, query_embedding, **limits)
        return {"documents": found}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """See `run`."""
        return await to_thread(self.run, query, query_embedding, filters, top_k)


@component
class SemsearchTextEmbedder:
    """Embeds a query with the encoder of the store's index, for `SemsearchEmbeddingRetriever`.

    Args:
        document_store: One that was made without `dim`.
    """

    def __init__(self, document_store: SemsearchDocumentStore) -> None:
        self.document_store = document_store

    def to_dict(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return default_to_dict(self, document_store=self.document_store.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make what `to_dict` described."""
        store = SemsearchDocumentStore.from_dict(data["init_parameters"]["document_store"])
        return cls(store)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """The vector of a query."""
        (vector,) = self.document_store.index.encoder.encode_queries([text])
        return {"embedding": vector.tolist()}
