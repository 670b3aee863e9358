"""A window of documents before it is encoded: what is new, what changed, what is to be encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from semsearch.changes import ChunkedDocument
from semsearch.embedding import Embedder
from semsearch.errors import IndexCorrupt, InvalidArgument
from semsearch.storage.checksum import content_hash
from semsearch.storage.rows import DocumentRow
from semsearch.store import Store
from semsearch.types import Document, OnConflict, Reject, Span, metadata_json

Vectors = Mapping[str, NDArray[np.float32]]
"""Vectors, `(dim,)` each, by the passage they were made of."""


class Item(NamedTuple):
    """A document to be added, with its vector of shape `(dim,)` if that is given."""

    document: Document
    vector: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Window:
    """What is worked through together, in order of arrival.

    Attributes:
        items: Of different ids.
        rejects: Records refused among them.
        bytes: Of input that were read for them.
        characters: Of the documents' titles and texts.
    """

    items: list[Item] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    bytes: int = 0
    characters: int = 0

    def __len__(self) -> int:
        """How many records it holds, good and refused."""
        return len(self.items) + len(self.rejects)

    def add(self, item: Item) -> None:
        """Take one more document."""
        self.items.append(item)
        self.characters += len(item.document.text) + len(item.document.title)


@dataclass(slots=True)
class Draft:
    """A document that is to be written, while its vectors are made.

    Attributes:
        vectors: `(chunks, dim)`; of no meaning where they are missing.
        missing: How many rows are still to be encoded.
    """

    chunked: ChunkedDocument
    vectors: NDArray[np.float32]
    missing: int


class Todo(NamedTuple):
    """A passage to be encoded, and where its vector belongs."""

    draft: Draft
    row: int
    text: str
    tokens: int


@dataclass(slots=True)
class Prepared:
    """A window that was looked up and cut into passages.

    Attributes:
        drafts: Documents to write, in order of arrival.
        relabels: Documents of which only metadata or source changed.
        todo: Passages to encode, those of like length together.
        counts: What became of the documents, by the names of an `IngestReport`.
    """

    window: Window
    drafts: list[Draft] = field(default_factory=list)
    relabels: list[Document] = field(default_factory=list)
    todo: list[Todo] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Preparation:
    """Looks documents up and cuts those that must be encoded."""

    def __init__(self, store: Store, embedder: Embedder | None, on_conflict: OnConflict) -> None:
        self._store = store
        self._embedder = embedder
        self._on_conflict = on_conflict

    def prepare(self, window: Window) -> Prepared:
        """Decide what becomes of each document.

        Raises:
            InvalidArgument: A document exists and `on_conflict` is "error", or one needs an
                encoder and there is none.
        """
        prepared = Prepared(window)
        with self._store.read() as snapshot:
            known = snapshot.catalog.documents(item.document.id for item in window.items)
        wanted = [
            item
            for item in window.items
            if self._wanted(prepared, item, known.get(item.document.id))
        ]
        replaced = [known[item.document.id] for item in wanted if item.document.id in known]
        kept = self._kept_vectors([row.id for row in replaced if row.encoded])
        for item in wanted:
            self._draft(prepared, item, kept.get(item.document.id, {}))
        prepared.todo.sort(key=lambda todo: todo.tokens)
        return prepared

    def _wanted(self, prepared: Prepared, item: Item, old: DocumentRow | None) -> bool:
        """Whether the document must be written; counts and notes what else becomes of it."""
        if old is None:
            prepared.counts["added"] += 1
            return True
        match self._on_conflict:
            case "error":
                raise InvalidArgument(f"document {old.id!r} is in the index already")
            case "skip":
                prepared.counts["skipped"] += 1
                return False
            case "replace":
                return _replaces(prepared, item, old)
            case other:
                assert_never(other)

    def _draft(self, prepared: Prepared, item: Item, kept: Vectors) -> None:
        document, vector = item
        if vector is not None:
            whole = ChunkedDocument(document, [Span(0, len(document.text))], encoded=False)
            prepared.drafts.append(Draft(whole, vector[np.newaxis], 0))
            return
        if self._embedder is None:
            raise InvalidArgument("this index has no encoder: give vectors=... as well")
        passages = self._embedder.split(document)
        chunked = ChunkedDocument(document, [passage.span for passage in passages])
        draft = Draft(chunked, np.empty((len(passages), self._store.space.dim), np.float32), 0)
        for row, passage in enumerate(passages):
            if passage.text in kept:
                draft.vectors[row] = kept[passage.text]
            else:
                draft.missing += 1
                prepared.todo.append(Todo(draft, row, passage.text, passage.tokens))
        prepared.counts["reused"] += len(passages) - draft.missing
        prepared.drafts.append(draft)

    def _kept_vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """What was encoded for documents that are about to be replaced, by document and passage.

        Damage means that nothing is kept: replacing is how it is mended.
        """
        embedder = self._embedder
        if embedder is None or not ids:
            return {}
        with suppress(IndexCorrupt), self._store.read(vectors=True) as snapshot:
            return {
                id_: {embedder.passage(title, text): vector for text, vector in vectors}
                for id_, title, vectors in snapshot.encoded(ids)
            }
        return {}


def _replaces(prepared: Prepared, item: Item, old: DocumentRow) -> bool:
    document = item.document
    same = (
        item.vector is None
        and old.intact
        and bool(old.encoded)
        and content_hash(document) == old.hash
    )
    if same and document.source == old.source and metadata_json(document.metadata) == old.metadata:
        prepared.counts["unchanged"] += 1
        return False
    prepared.counts["replaced"] += 1
    prepared.counts["moved"] += None not in (old.source, document.source) and (
        old.source != document.source
    )
    if same:
        prepared.relabels.append(document)
    return not same


def vectors_of(drafts: Sequence[Draft]) -> NDArray[np.float32] | None:
    """`(n, dim)`: those of all drafts, one after the other; None when there are none."""
    return np.concatenate([draft.vectors for draft in drafts]) if drafts else None
