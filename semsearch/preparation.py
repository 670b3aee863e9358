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
from semsearch.embedding import Content, Embedder
from semsearch.errors import IndexCorrupt, InvalidArgument
from semsearch.points import Points
from semsearch.storage.checksum import content_hash
from semsearch.storage.rows import DocumentRow
from semsearch.store import Store
from semsearch.types import Document, OnConflict, Reject, Span, metadata_json

Vectors = Mapping[Content, NDArray[np.float32]]
"""Vectors, `(dim,)` each, by the passage they were made of."""


PICTURE = 8 * 1024
"""A picture weighs as much in a window as so many characters: 64 of them are decoded together."""


class Item(NamedTuple):
    """A document to be added.

    Attributes:
        points: One, if it is given and not to be made.
        encoded: Whether the encoder made it all the same, so that it can make it again.
    """

    document: Document
    points: Points | None = None
    encoded: bool = False


@dataclass(slots=True)
class Window:
    """What is worked through together, in order of arrival.

    Attributes:
        items: Of different ids.
        rejects: Records refused among them.
        bytes: Of input that were read for them.
        characters: Of the documents' titles and texts; a picture counts as `PICTURE`.
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
        document = item.document
        self.characters += len(document.text) + len(document.title)
        self.characters += PICTURE if document.image is not None else 0


@dataclass(slots=True)
class Draft:
    """A document that is to be written, while its vectors are made.

    Attributes:
        points: One for each chunk; of no meaning where they are missing.
        missing: How many rows are still to be encoded.
    """

    chunked: ChunkedDocument
    points: Points
    missing: int


class Todo(NamedTuple):
    """A passage to be encoded, and where its vector belongs."""

    draft: Draft
    row: int
    content: Content
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
    """Looks documents up and cuts those that must be encoded.

    Args:
        store: The index.
        embedder: Its embedder.
        on_conflict: What to do about an id that is in the index.
        rejecting: Whether a document that cannot be cut becomes a reject, and is no error.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        on_conflict: OnConflict,
        *,
        rejecting: bool = False,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._on_conflict = on_conflict
        self._rejecting = rejecting

    def prepare(self, window: Window) -> Prepared:
        """Decide what becomes of each document.

        Raises:
            InvalidArgument: A document exists and `on_conflict` is "error", one needs an encoder
                and there is none, or one cannot be cut.
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
            id_ = item.document.id
            try:
                self._draft(prepared, item, kept.get(id_, {}))
            except InvalidArgument as error:
                self._refuse(prepared, item.document, error)
            else:
                _count(prepared, item.document, known.get(id_))
        prepared.todo.sort(key=lambda todo: todo.tokens)
        return prepared

    def _wanted(self, prepared: Prepared, item: Item, old: DocumentRow | None) -> bool:
        """Whether the document must be written; counts and notes what else becomes of it."""
        if old is None:
            return True
        match self._on_conflict:
            case "error":
                raise InvalidArgument(f"document {old.id!r} is in the index already")
            case "skip":
                prepared.counts["skipped"] += 1
                return False
            case "replace":
                return not _kept(prepared, item, old)
            case other:
                assert_never(other)

    def _draft(self, prepared: Prepared, item: Item, kept: Vectors) -> None:
        document, points, encoded = item
        if points is not None:
            whole = ChunkedDocument(document, [Span(0, len(document.text))], encoded=encoded)
            prepared.drafts.append(Draft(whole, points, 0))
            return
        if self._embedder is None:
            raise InvalidArgument("this index has no encoder: give vectors=... as well")
        passages = self._embedder.split(document)
        chunked = ChunkedDocument(document, [passage.span for passage in passages])
        draft = Draft(chunked, Points.room(len(passages), self._store.space), 0)
        for row, (_, content, tokens) in enumerate(passages):
            if isinstance(content, str) and content in kept:
                draft.points.vectors[row] = kept[content]
            else:
                draft.missing += 1
                prepared.todo.append(Todo(draft, row, content, tokens))
        prepared.counts["reused"] += len(passages) - draft.missing
        prepared.drafts.append(draft)

    def _refuse(self, prepared: Prepared, document: Document, error: InvalidArgument) -> None:
        if not self._rejecting:
            raise InvalidArgument(f"document {document.id!r}: {error}") from error
        source = document.source or document.id
        reason = str(error).removeprefix(f"{source}: ")
        prepared.window.rejects.append(Reject(source, 0, reason))

    def _kept_vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """What was encoded for documents that are about to be replaced, by document and passage.

        Damage means that nothing is kept: replacing is how it is mended.
        """
        embedder = self._embedder
        if embedder is None or not ids:
            return {}
        with suppress(IndexCorrupt), self._store.read(vectors=True) as snapshot:
            return {
                id_: {embedder.again(title, text, None): vector for text, vector in vectors}
                for id_, title, vectors in snapshot.encoded(ids)
            }
        return {}


def _kept(prepared: Prepared, item: Item, old: DocumentRow) -> bool:
    """Whether what is encoded of a document stays; counts and notes what else becomes of it."""
    document = item.document
    same = (
        (item.points is None or item.encoded)
        and old.intact
        and bool(old.encoded)
        and content_hash(document) == old.hash
    )
    if same and document.source == old.source and metadata_json(document.metadata) == old.metadata:
        prepared.counts["unchanged"] += 1
    elif same:
        prepared.relabels.append(document)
        _count(prepared, document, old)
    return same


def _count(prepared: Prepared, document: Document, old: DocumentRow | None) -> None:
    """Count a document that is written."""
    if old is None:
        prepared.counts["added"] += 1
        return
    prepared.counts["replaced"] += 1
    prepared.counts["moved"] += None not in (old.source, document.source) and (
        old.source != document.source
    )
