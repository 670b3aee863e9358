"""The document store."""

from __future__ import annotations

import json
from asyncio import to_thread
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from semsearch.errors import InvalidArgument
from semsearch.index import Index
from semsearch.integrations.haystack.documents import EMBEDDED, check_names, restored, stored
from semsearch.integrations.haystack.filters import translated
from semsearch.integrations.opening import missing, open_or_create
from semsearch.reader import Reader
from semsearch.types import JSONObject, OnConflict

try:
    from haystack import Document, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy
except ModuleNotFoundError as error:
    raise missing("haystack-ai", "haystack") from error

Filters = dict[str, Any]

_ON_CONFLICT: dict[DuplicatePolicy, OnConflict] = {
    DuplicatePolicy.NONE: "error",
    DuplicatePolicy.FAIL: "error",
    DuplicatePolicy.SKIP: "skip",
    DuplicatePolicy.OVERWRITE: "replace",
}
_ORDERED = (int, float, str)
_TYPES = {bool: "boolean", int: "int", float: "float"}


class SemsearchDocumentStore:
    """A document store that is a semsearch index.

    Embeddings come back at unit length, with the precision of float32. A document without an
    embedding is embedded by the encoder of the index; where it has none (`dim` was given), the
    document is found by its words and by filters. Filters read as in Haystack, but for what
    `semsearch.integrations.haystack.filters` says of dates and lists.

    Args:
        path: Folder of the index; made if there is none.
        dim: Numbers of an embedding, for a new index whose embeddings are always given.
        encoder: In place of `dim`, the encoder of a new index; all-MiniLM-L6-v2 by default.

    Raises:
        InvalidArgument: The vectors of the index are of another dimension.
    """

    def __init__(self, path: str, *, dim: int | None = None, encoder: str | None = None) -> None:
        self.path = str(path)
        self.dim = dim
        self.encoder = encoder
        self._index = open_or_create(path, encoder=encoder, dim=dim)

    @property
    def index(self) -> Index:
        """The index, to do with it what Haystack knows nothing of; `close` it when done."""
        return self._index

    def to_dict(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return default_to_dict(self, path=self.path, dim=self.dim, encoder=self.encoder)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SemsearchDocumentStore:
        """Open what `to_dict` described."""
        return default_from_dict(cls, data)

    # -- documents ---------------------------------------------------------------------------

    def count_documents(self) -> int:
        """How many documents there are."""
        return len(self._index)

    def count_documents_by_filter(self, filters: Filters) -> int:
        """How many documents match."""
        return len(self._index.ids(translated(filters)))

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """The documents that match, whole, in the order they were added."""
        with self._index.snapshot() as reader:
            return _matching(reader, filters)

    def write_documents(
        self, documents: Iterable[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Add documents; gives how many were written.

        One commit, or two when the index embeds some of them.

        Args:
            documents: With `meta` that are JSON.
            policy: What to do about an id that is there; NONE is FAIL.

        Raises:
            ValueError: Not documents, or one that the index cannot hold.
            DuplicateDocumentError: With FAIL, an id is there, or twice among the documents.
        """
        if isinstance(documents, str) or not isinstance(documents, Iterable):
            raise InvalidArgument("documents: expected a list of haystack documents")
        given = list(documents)
        if not all(isinstance(document, Document) for document in given):
            raise InvalidArgument("documents: expected a list of haystack documents")
        chosen = _chosen(given, policy)
        try:
            skipped = self._add(chosen, _ON_CONFLICT[policy])
        except InvalidArgument as error:
            there = [document.id for document in chosen if document.id in self._index]
            if there and _ON_CONFLICT[policy] == "error":
                raise DuplicateDocumentError(f"document {there[0]!r} is there already") from error
            raise
        unwritten = skipped + (len(given) - len(chosen) if policy == DuplicatePolicy.SKIP else 0)
        return len(given) - unwritten

    def _add(self, documents: Sequence[Document], on_conflict: OnConflict) -> int:
        """Add them; gives how many were skipped."""
        bare = [document for document in documents if document.embedding is None]
        skipped = 0
        if bare and self._index.space.modality == "text":
            documents = [document for document in documents if document.embedding is not None]
            skipped += self._index.add(map(stored, bare), on_conflict=on_conflict).skipped
        if documents:
            # Every document of an index has a vector: one that has none is given any, and a mark.
            none = np.eye(1, self._index.space.dim)[0]
            rows = [none if each.embedding is None else each.embedding for each in documents]
            marked = [stored(each, unembedded=each.embedding is None) for each in documents]
            skipped += self._index.add(marked, rows, on_conflict=on_conflict).skipped
        return skipped

    def update_by_filter(self, filters: Filters, meta: JSONObject) -> int:
        """Merge `meta` into those of the documents that match; gives how many did."""
        check_names(meta)
        with self._index.snapshot() as reader:
            ids = reader.ids(translated(filters))
            found = [document for document in reader.get(ids) if document is not None]
            vectors = reader.vectors(ids)
        changed = [replace(each, metadata={**each.metadata, **meta}) for each in found]
        whole = [each for each in changed if len(vectors[each.id]) == 1]
        cut = [each for each in changed if len(vectors[each.id]) > 1]
        if whole:
            self._index.add(whole, [vectors[each.id][0] for each in whole])
        if cut:
            self._index.add(cut)  # the encoder's, which keeps the vectors of what did not change
        return len(changed)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete the documents of these ids that there are."""
        self._index.delete(document_ids)

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that match; gives how many did."""
        return self._index.delete(where=translated(filters))

    def delete_all_documents(self) -> None:
        """Delete all documents."""
        self._index.delete(where={})

    # -- retrieval ---------------------------------------------------------------------------

    def embedding_retrieval(
        self, query_embedding: list[float], filters: Filters | None = None, top_k: int = 10
    ) -> list[Document]:
        """The passages nearest to an embedding; their score is the cosine, from -1 to 1."""
        return self._found(query_embedding, top_k, where=_embedded(filters))

    def keyword_retrieval(
        self, query: str, filters: Filters | None = None, top_k: int = 10
    ) -> list[Document]:
        """The passages with the words of the query; their score is that of BM25, above 0."""
        return self._found(query, top_k, mode="keyword", where=translated(filters))

    def hybrid_retrieval(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: Filters | None = None,
        top_k: int = 10,
    ) -> list[Document]:
        """The best passages by embedding and words; their score is the cosine and what words add.

        Args:
            query: Gives the words.
            query_embedding: None: of the index's own encoder.
            filters: As for `filter_documents`.
            top_k: How many, at most.
        """
        where = _embedded(filters)
        return self._found(query, top_k, vectors=query_embedding, mode="hybrid", where=where)

    def _found(self, query: str | list[float], k: int, **options: Any) -> list[Document]:
        return [restored(hit) for hit in self._index.search(query, k, **options)] if k else []

    # -- metadata ----------------------------------------------------------------------------

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Type of each metadata field: keyword, int, float or boolean."""
        return {
            name: {"type": _TYPES.get(type(value), "keyword")}
            for document in self.filter_documents()
            for name, value in document.meta.items()
            if value is not None
        }

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """The least and the greatest value of a field; None where they have no order."""
        values = [value for value in self._values(metadata_field) if isinstance(value, _ORDERED)]
        kinds = {isinstance(value, str) for value in values}
        if len(kinds) != 1:
            return {"min": None, "max": None}
        return {"min": min(values), "max": max(values)}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Different values of a field, and how many there are; 1, 1.0, "1" and true differ.

        Args:
            metadata_field: With or without `meta.` before it.
            search_term: Only values that hold this text, in any case.
            from_: Leave out the first so many, in the order of their texts.
            size: At most so many.
            filters: Only of documents that match.
        """
        unique = {_identity(value): value for value in self._values(metadata_field, filters)}
        term = (search_term or "").lower()
        found = [unique[key] for key in sorted(unique) if term in str(unique[key]).lower()]
        return found[from_ : from_ + size], len(found)

    def count_unique_metadata_by_filter(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """How many different values each field has in the documents that match."""
        return {
            _name(field): len({_identity(value) for value in self._values(field, filters)})
            for field in metadata_fields
        }

    def _values(self, field: str, filters: Filters | None = None) -> list[Any]:
        found = (document.meta.get(_name(field)) for document in self.filter_documents(filters))
        return [value for value in found if value is not None]

    # -- the same, off the event loop --------------------------------------------------------

    async def count_documents_async(self) -> int:
        """See `count_documents`."""
        return await to_thread(self.count_documents)

    async def count_documents_by_filter_async(self, filters: Filters) -> int:
        """See `count_documents_by_filter`."""
        return await to_thread(self.count_documents_by_filter, filters)

    async def filter_documents_async(self, filters: Filters | None = None) -> list[Document]:
        """See `filter_documents`."""
        return await to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: Iterable[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """See `write_documents`."""
        return await to_thread(self.write_documents, documents, policy)

    async def update_by_filter_async(self, filters: Filters, meta: JSONObject) -> int:
        """See `update_by_filter`."""
        return await to_thread(self.update_by_filter, filters, meta)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """See `delete_documents`."""
        await to_thread(self.delete_documents, document_ids)

    async def delete_by_filter_async(self, filters: Filters) -> int:
        """See `delete_by_filter`."""
        return await to_thread(self.delete_by_filter, filters)

    async def delete_all_documents_async(self) -> None:
        """See `delete_all_documents`."""
        await to_thread(self.delete_all_documents)

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """See `get_metadata_fields_info`."""
        return await to_thread(self.get_metadata_fields_info)

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """See `get_metadata_field_min_max`."""
        return await to_thread(self.get_metadata_field_min_max, metadata_field)

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """See `get_metadata_field_unique_values`."""
        return await to_thread(
            self.get_metadata_field_unique_values, metadata_field, search_term, from_, size, filters
        )

    async def count_unique_metadata_by_filter_async(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """See `count_unique_metadata_by_filter`."""
        return await to_thread(self.count_unique_metadata_by_filter, filters, metadata_fields)


def _matching(reader: Reader, filters: Filters | None) -> list[Document]:
    ids = reader.ids(translated(filters))
    vectors = reader.vectors(ids)
    return [
        restored(document, vectors[document.id])
        for document in reader.get(ids)
        if document is not None
    ]


def _chosen(documents: Sequence[Document], policy: DuplicatePolicy) -> list[Document]:
    """One document for each id: the first, or the last when it overwrites."""
    ordered = documents if policy == DuplicatePolicy.OVERWRITE else documents[::-1]
    by_id = {document.id: document for document in ordered}
    if _ON_CONFLICT[policy] == "error" and len(by_id) < len(documents):
        raise DuplicateDocumentError("two of the documents have the same id")
    return list(by_id.values()) if policy == DuplicatePolicy.OVERWRITE else [*by_id.values()][::-1]


def _embedded(filters: Filters | None) -> JSONObject:
    return {"$and": [EMBEDDED, translated(filters)]}


def _name(field: str) -> str:
    return field.removeprefix("meta.")


def _identity(value: Any) -> tuple[str, str]:
    """Equal for equal values of one type; in the order of their texts."""
    return str(value), f"{type(value).__name__} {json.dumps(value, sort_keys=True)}"
