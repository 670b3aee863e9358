"""Documents into an index: look up, chunk, encode, commit; bounded memory, one commit at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from semsearch.changes import Changes, ChunkedDocument
from semsearch.embedding import Embedder
from semsearch.errors import InvalidArgument
from semsearch.sources import Record, Sources
from semsearch.storage.checksum import content_hash
from semsearch.storage.rows import DocumentRow
from semsearch.store import Store
from semsearch.types import Document, OnConflict, Reject, Span, metadata_json
from semsearch.writer import Writer, writing

COMMIT_CHUNKS = 16_384
"""A commit is made at the latest when this many chunks wait for one (25 MB at 384 dimensions)."""

COMMIT_SECONDS = 10.0
"""A commit is made when the last one is this long ago: at most this much work can be lost."""

_BATCH_CHARACTERS = 256 * 1024
_BATCH_DOCUMENTS = 1024
_ENCODE_PASSAGES = 128  # at a time, of like length: small enough for a smooth progress display
_REJECTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is.

    Attributes:
        documents: Documents read, whatever became of them.
        chunks: Chunks encoded.
        tokens: Tokens encoded.
        rejected: Records refused.
        bytes: Bytes of input read.
    """

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    rejected: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of the documents.

    Attributes:
        added: Documents that were new.
        replaced: Documents that were there with other content, metadata or source.
        unchanged: Documents that were there, exactly so.
        skipped: Documents left alone because of `on_conflict="skip"`.
        moved: Of those replaced, the ones that another source held before.
        rejected: Records that could not be indexed.
        chunks: Vectors written.
        tokens: Tokens encoded for them.
        seconds: Wall time.
        rejects: The first 100 rejects; all are in `Index.rejects()`.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: int = 0
    moved: int = 0
    rejected: int = 0
    chunks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rejects: tuple[Reject, ...] = field(default=(), repr=False)


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class _Item:
    document: Document
    vector: NDArray[np.float32] | None = None


class _Encoded(NamedTuple):
    """A document with its vectors, `(chunks, dim)`, and its place in the order of arrival."""

    place: int
    chunked: ChunkedDocument
    vectors: NDArray[np.float32]


def add(
    store: Store,
    embedder: Embedder | None,
    documents: Iterable[Document],
    vectors: Iterable[NDArray[np.float32]] | None = None,
    *,
    on_conflict: OnConflict = "replace",
) -> IngestReport:
    """Add documents that a program gives; see `Index.add`."""
    with writing(store) as writer:
        ingest = _Ingest(store, writer, embedder, on_conflict)
        for item in _items(documents, vectors):
            ingest.put(item)
        return ingest.finish()


def _items(
    documents: Iterable[Document], vectors: Iterable[NDArray[np.float32]] | None
) -> Iterator[_Item]:
    if vectors is None:
        yield from map(_Item, documents)
        return
    rest = iter(vectors)
    for document in documents:
        vector = next(rest, None)
        if vector is None:
            raise InvalidArgument("vectors: expected one for each document, got fewer")
        yield _Item(document, vector)
    if next(rest, None) is not None:
        raise InvalidArgument("vectors: expected one for each document, got more")


def ingest_sources(
    store: Store,
    embedder: Embedder | None,
    sources: Sources,
    *,
    report: Report | None = None,
) -> IngestReport:
    """Add what sources hold; a bad record becomes a reject and the rest goes on.

    Commits as it goes. When it is interrupted, what was encoded by then is committed too.
    """
    with writing(store) as writer:
        ingest = _Ingest(store, writer, embedder, "replace", report)
        try:
            ingest.forget_rejects(sources)
            for record in sources:
                ingest.put_record(record)
        except KeyboardInterrupt:
            ingest.commit_encoded()
            raise
        return ingest.finish()


class _Ingest:
    """The pipeline's state: what waits to be looked up and encoded, what waits for a commit."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        embedder: Embedder | None,
        on_conflict: OnConflict,
        report: Report | None = None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._embedder = embedder
        self._on_conflict = on_conflict
        self._report = report
        self._progress = Progress()
        self._result = IngestReport()
        self._began = self._committed = time.monotonic()
        self._waiting: dict[str, _Item] = {}
        self._waiting_characters = 0
        self._taken = 0
        self._seen: set[str] = set()
        self._clear()

    def _clear(self) -> None:
        self._encoded: list[_Encoded] = []
        self._relabels: list[Document] = []
        self._rejects: list[Reject] = []
        self._reread: list[str] = []

    # -- in ----------------------------------------------------------------------------------

    def put(self, item: _Item) -> None:
        """Take one document."""
        id_ = item.document.id
        if id_ in self._seen:
            if self._on_conflict != "skip":
                raise InvalidArgument(f"document {id_!r} is given twice")
            self._result = replace(self._result, skipped=self._result.skipped + 1)
            return
        self._seen.add(id_)
        self._waiting[id_] = item
        self._waiting_characters += len(item.document.text) + len(item.document.title)
        if len(self._waiting) >= _BATCH_DOCUMENTS or self._waiting_characters >= _BATCH_CHARACTERS:
            self._work()

    def forget_rejects(self, sources: Sources) -> None:
        """Forget the rejects of what is about to be read again."""
        with self._store.read() as snapshot:
            known = snapshot.catalog.reject_sources()
        self._reread = [source for source in known if sources.covers(source)]

    def put_record(self, record: Record) -> None:
        """Take one record of a source."""
        self._count(bytes=record.bytes)
        if isinstance(record.item, Reject):
            self._reject(record.item)
        elif self._embedder is None:
            raise InvalidArgument("this index has no encoder: add documents with their vectors")
        else:
            self.put(_Item(record.item))

    def _reject(self, reject: Reject) -> None:
        self._rejects.append(reject)
        shown = self._result.rejects
        if len(shown) < _REJECTS_SHOWN:
            shown = (*shown, reject)
        self._result = replace(self._result, rejected=self._result.rejected + 1, rejects=shown)
        self._count(rejected=1)

    # -- work --------------------------------------------------------------------------------

    def _work(self) -> None:
        """Look up, chunk and encode what waits; commit when it is time."""
        items, self._waiting, self._waiting_characters = self._waiting, {}, 0
        with self._store.read() as snapshot:
            known = snapshot.catalog.documents(items)
        new = [item for item in items.values() if self._wanted(item, known.get(item.document.id))]
        self._embed({place: item for place, item in enumerate(new) if item.vector is None})
        for place, item in enumerate(new):
            if item.vector is not None:
                self._take_given(place, item.document, item.vector)
        self._taken += len(new)
        self._count(documents=len(items) - len(new))
        pending = sum(len(encoded.vectors) for encoded in self._encoded)
        overdue = time.monotonic() - self._committed > COMMIT_SECONDS
        if (pending >= COMMIT_CHUNKS or overdue) and self._on_conflict != "error":
            self.commit_encoded()

    def _wanted(self, item: _Item, old: DocumentRow | None) -> bool:
        """Whether the document must be embedded; counts and notes what else becomes of it."""
        if old is None:
            self._result = replace(self._result, added=self._result.added + 1)
            return True
        match self._on_conflict:
            case "error":
                raise InvalidArgument(f"document {old.id!r} is in the index already")
            case "skip":
                self._result = replace(self._result, skipped=self._result.skipped + 1)
                return False
            case "replace":
                return self._replaces(item, old)
            case other:
                assert_never(other)

    def _replaces(self, item: _Item, old: DocumentRow) -> bool:
        document = item.document
        same = (
            item.vector is None
            and old.intact
            and bool(old.encoded)
            and content_hash(document) == old.hash
        )
        labels = (metadata_json(document.metadata), document.source)
        if same and labels == (old.metadata, old.source):
            self._result = replace(self._result, unchanged=self._result.unchanged + 1)
            return False
        moved = None not in (old.source, document.source) and old.source != document.source
        self._result = replace(
            self._result,
            replaced=self._result.replaced + 1,
            moved=self._result.moved + moved,
        )
        if same:
            self._relabels.append(document)
        return not same

    def _embed(self, items: Mapping[int, _Item]) -> None:
        """Chunk and encode documents, those of like length together."""
        if not items:
            return
        if self._embedder is None:
            raise InvalidArgument("this index has no encoder: give vectors=... as well")
        group: list[tuple[int, ChunkedDocument]] = []
        for place in sorted(items, key=lambda place: len(items[place].document.text)):
            document = items[place].document
            group.append((place, ChunkedDocument(document, self._embedder.spans(document))))
            if sum(len(chunked.spans) for _, chunked in group) >= _ENCODE_PASSAGES:
                self._encode(self._embedder, group)
                group = []
        self._encode(self._embedder, group)

    def _encode(self, embedder: Embedder, group: list[tuple[int, ChunkedDocument]]) -> None:
        passages = [
            passage
            for _, chunked in group
            for passage in embedder.passages(chunked.document, chunked.spans)
        ]
        vectors = embedder.encode(passages)
        at = 0
        for place, chunked in group:
            self._take(place, chunked, vectors[at : at + len(chunked.spans)])
            at += len(chunked.spans)
        tokens = sum(embedder.encoder.count_tokens(passages))
        self._count(documents=len(group), chunks=len(passages), tokens=tokens)

    def _take_given(self, place: int, document: Document, vector: NDArray[np.float32]) -> None:
        whole = Span(0, len(document.text))
        self._take(place, ChunkedDocument(document, [whole], encoded=False), vector[np.newaxis])
        self._count(documents=1, chunks=1)

    def _take(self, place: int, chunked: ChunkedDocument, vectors: NDArray[np.float32]) -> None:
        self._encoded.append(_Encoded(self._taken + place, chunked, vectors))

    def _count(
        self,
        *,
        documents: int = 0,
        chunks: int = 0,
        tokens: int = 0,
        rejected: int = 0,
        bytes: int = 0,
    ) -> None:
        old = self._progress
        self._progress = Progress(
            documents=old.documents + documents,
            chunks=old.chunks + chunks,
            tokens=old.tokens + tokens,
            rejected=old.rejected + rejected,
            bytes=old.bytes + bytes,
        )
        if self._report:
            self._report(self._progress)

    # -- out ---------------------------------------------------------------------------------

    def commit(self) -> None:
        """Make everything put so far durable and visible."""
        if self._waiting:
            self._work()
        self.commit_encoded()

    def commit_encoded(self) -> None:
        """Make what is encoded by now durable and visible, in the order in which it was put."""
        encoded = sorted(self._encoded, key=lambda each: each.place)
        if encoded or self._relabels or self._rejects or self._reread:
            self._writer.commit(
                Changes(
                    upserts=[each.chunked for each in encoded],
                    vectors=np.concatenate([each.vectors for each in encoded]) if encoded else None,
                    relabels=self._relabels,
                    rejects=self._rejects,
                    reread=self._reread,
                )
            )
        self._clear()
        self._committed = time.monotonic()

    def finish(self) -> IngestReport:
        """Commit the rest and tell what became of everything."""
        self.commit()
        return replace(
            self._result,
            chunks=self._progress.chunks,
            tokens=self._progress.tokens,
            seconds=time.monotonic() - self._began,
        )
