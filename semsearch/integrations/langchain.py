"""LangChain: an index as a vector store.

store = SemsearchVectorStore("indexes/notes", embedding)  # or without, by semsearch's encoder
store.add_texts(["The cat sat on the mat"])
retriever = store.as_retriever(search_kwargs={"k": 3, "mode": "hybrid"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from semsearch.encoders.base import Encoder
from semsearch.errors import InvalidArgument
from semsearch.filters.tree import PARTS
from semsearch.index import Index
from semsearch.integrations.opening import described, missing, open_or_create
from semsearch.reader import Reader, Where
from semsearch.types import Hit, JSONObject, Mode

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
except ModuleNotFoundError as error:
    raise missing("langchain-core", "langchain") from error


class SemsearchVectorStore(VectorStore):
    """A vector store that is a semsearch index.

    Its scores are similarities, higher is better: the cosine, as of `Index.search`. What is found
    are passages: of a document that semsearch's own encoder cut up, any of them, under its id.

    All methods that search take `filter` and `mode`:

    filter: A dict over metadata, `{"year": {"$gte": 2020}}`, or an expression of
        `semsearch.filters`, which also knows `id`, `title`, `source` and `text`.
    mode: "dense" by meaning, "keyword" by words, "hybrid" by both.

    Args:
        path: Folder of the index; made if there is none.
        embedding: Embeds texts and queries. None leaves that to the index's own encoder.
        encoder: Which one that is in a new index; as for `semsearch.create`.

    Raises:
        InvalidArgument: The vectors of the index are of another dimension.
    """

    def __init__(
        self,
        path: str | Path,
        embedding: Embeddings | None = None,
        *,
        encoder: str | Path | Encoder | None = None,
    ) -> None:
        dim = None if embedding is None else len(embedding.embed_query("dimension"))
        self._embedding = embedding
        self._index = open_or_create(path, encoder=encoder, dim=dim)

    @property
    def index(self) -> Index:
        """The index, to do with it what LangChain knows nothing of; `close` it when done."""
        return self._index

    @property
    def embeddings(self) -> Embeddings | None:
        """What embeds, unless the index does."""
        return self._embedding

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None,
        metadatas: list[JSONObject] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store with these texts; `path` says where, as for the class."""
        store = cls(embedding=embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    # -- documents ---------------------------------------------------------------------------

    def add_documents(
        self, documents: list[Document], *, ids: Sequence[str | None] | None = None, **_: Any
    ) -> list[str]:
        """Add documents, or replace those of the same id, in one commit; gives their ids.

        Args:
            documents: With metadata that are JSON; one that has no id is given one.
            ids: In place of their own.
            _: What LangChain's own functions pass to every store, such as `batch_size`.

        Raises:
            InvalidArgument: Not one id for each, one twice, or metadata that are not JSON.
            IndexLocked: Another process is writing.
        """
        asked = [document.id for document in documents] if ids is None else ids
        if len(asked) != len(documents):
            raise InvalidArgument(f"ids: {len(asked)} of them for {len(documents)} documents")
        named = [id_ or str(uuid4()) for id_ in asked]
        texts = [document.page_content for document in documents]
        added = [
            {"id": id_, "text": document.page_content, "metadata": document.metadata}
            for id_, document in zip(named, documents, strict=True)
        ]
        if added:
            self._index.add(added, self._embedding and self._embedding.embed_documents(texts))
        return named

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents, whole, that there are of these ids, in this order."""
        return [
            Document(id=found.id, page_content=found.text, metadata=described(found))
            for found in self._index.get(list(ids))
            if found is not None
        ]

    def delete(self, ids: list[str] | None = None, *, filter: Where | None = None) -> bool:
        """Delete by id, or what matches a filter; with neither, as LangChain has it, all."""
        if ids is not None:
            self._index.delete(ids)
        else:
            self._index.delete(where=_where({} if filter is None else filter))
        return True

    # -- search ------------------------------------------------------------------------------

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The best passages for a query."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The best passages for a query with the scores of the mode, higher is better."""
        return _scored(self._hits(self._index, query, k, **kwargs))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Where | None = None
    ) -> list[Document]:
        """The passages nearest to a vector."""
        return _documents(self._index.search(embedding, k, where=_where(filter)))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Passages for a query that say different things, of its best `fetch_k`, at most 100."""
        return self._diverse(query, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Passages near a vector that say different things, of the `fetch_k` nearest."""
        return self._diverse(embedding, k, fetch_k, lambda_mult, **kwargs)

    def _diverse(
        self, query: str | list[float], k: int, fetch_k: int, lambda_mult: float, **kwargs: Any
    ) -> list[Document]:
        with self._index.snapshot() as reader:
            best = self._hits(reader, query, max(k, fetch_k), **kwargs)
            if not best:
                return []
            diverse = self._hits(
                reader, query, k, best[-1].score, 1 - lambda_mult, **kwargs
            )  # of the best hundred, those that score no less
        return _documents(diverse)

    def _hits(
        self,
        reader: Reader,
        query: str | list[float],
        k: int,
        min_score: float | None = None,
        diversity: float = 0.0,
        *,
        filter: Where | None = None,
        mode: Mode = "dense",
    ) -> list[Hit]:
        embedding = self._embedding if mode != "keyword" else None
        return reader.search(
            query,
            k,
            vectors=embedding.embed_query(query) if embedding and isinstance(query, str) else None,
            mode=mode,
            where=_where(filter),
            min_score=min_score,
            diversity=diversity,
        )

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        if kwargs.get("mode", "dense") != "dense":
            raise InvalidArgument("relevance scores, from 0 to 1, are those of mode 'dense'")
        return super()._similarity_search_with_relevance_scores(query, k, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: max(0.0, cosine)  # what points away is as irrelevant as can be


def _scored(hits: Sequence[Hit]) -> list[tuple[Document, float]]:
    return list(zip(_documents(hits), [hit.score for hit in hits], strict=True))


def _documents(hits: Sequence[Hit]) -> list[Document]:
    return [Document(id=hit.id, page_content=hit.text, metadata=described(hit)) for hit in hits]


def _where(filter: Where | None) -> Where | None:
    """The filter, its keys names of metadata even where semsearch has a part of that name."""
    if callable(filter):
        raise InvalidArgument("filter: expected a dict or an expression, got a function")
    return _keyed(filter) if isinstance(filter, Mapping) else filter


def _keyed(clause: Any) -> Any:
    if not isinstance(clause, Mapping):
        return clause
    return {
        f"metadata.{key}" if key in PARTS and key != "metadata" else key: (
            [_keyed(part) for part in value]
            if key in ("$and", "$or") and isinstance(value, list | tuple)
            else _keyed(value)
            if key == "$not"
            else value
        )
        for key, value in clause.items()
    }
