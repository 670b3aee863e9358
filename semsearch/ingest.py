"""Documents into an index: read, prepare, encode, commit, all at the same time.

Documents are read in the caller's thread, a window at a time. A stage of its own each prepares
windows (look up, chunk), encodes groups of passages, two at a time, and commits. Every stage works
a little ahead of the next and no further, so memory is bounded whatever the corpus. What a stage
raises is raised in the caller's thread, in its turn.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semsearch.changes import Changes
from semsearch.embedding import Embedder
from semsearch.errors import IngestError, InvalidArgument
from semsearch.points import Points
from semsearch.preparation import Draft, Item, Preparation, Prepared, Todo, Window
from semsearch.pruning import vanished
from semsearch.sources import Record, Sources
from semsearch.stage import Stage
from semsearch.store import Store
from semsearch.types import Document, OnConflict, Reject
from semsearch.writer import Writer, writing

COMMIT_CHUNKS = 17_408
"""At most this many chunks are encoded and not yet durable (27 MB at 384 dimensions): those of the
commit that is being written, those that wait for the next, and those encoded ahead. Only a window
that alone has more than its share goes beyond."""

COMMIT_BYTES = 64 * 2**20
"""Raw latents are large: a commit also begins when those that wait for one reach this."""

COMMIT_SECONDS = 10.0
"""A commit is made after the first window that ends this long after the last one."""

_WINDOW_CHARACTERS = 512 * 1024
_WINDOW_RECORDS = 4096
_GROUP = 128  # passages of like length, encoded at a time: few, for a smooth progress display
_WINDOWS_AHEAD = 2
_GROUPS_AHEAD = 4
_ENCODERS = 2  # groups in work: while one ends, the next has begun
_REJECTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is.

    Attributes:
        documents: Documents read, whatever became of them.
        chunks: Chunks that have their vectors.
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
        pruned: Documents that were deleted because their sources no longer hold them.
        rejected: Records that could not be indexed.
        chunks: Vectors written.
        reused: Of these, ones that a document kept because their passage did not change.
        tokens: Tokens encoded for the others.
        seconds: Wall time.
        rejects: The first 100 rejects; all are in `Index.rejects()`.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: int = 0
    moved: int = 0
    pruned: int = 0
    rejected: int = 0
    chunks: int = 0
    reused: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rejects: tuple[Reject, ...] = field(default=(), repr=False)


Report = Callable[[Progress], None]


class _Group(NamedTuple):
    """Passages that are encoded together.

    Attributes:
        first: Whether they are the first of their window.
        last: Whether the window is through with them.
        bytes: Their share of the input that was read for the window.
    """

    window: Prepared
    passages: list[Todo]
    first: bool
    last: bool
    bytes: int


class _Stages(NamedTuple):
    prepare: Stage
    encode: Stage
    commit: Stage


@contextmanager
def _stages() -> Iterator[_Stages]:
    with (
        Stage("prepare") as prepare,
        Stage("encode", _ENCODERS) as encode,
        Stage("commit") as commit,
    ):
        yield _Stages(prepare, encode, commit)


def add(
    store: Store,
    embedder: Embedder | None,
    items: Iterable[Item],
    *,
    on_conflict: OnConflict = "replace",
) -> IngestReport:
    """Add documents that a program gives; see `Index.add`."""
    with writing(store) as writer, _stages() as stages:
        ingest = _Ingest(store, writer, embedder, stages, on_conflict=on_conflict)
        ingest.run((item, 0) for item in items)
        return ingest.finish()


def items_of(
    documents: Iterable[Document], vectors: Iterable[NDArray[np.float32]] | None
) -> Iterator[Item]:
    """Documents with a vector `(dim,)` for each, if vectors are given.

    Raises:
        InvalidArgument: There are not as many vectors as documents.
    """
    if vectors is None:
        yield from map(Item, documents)
        return
    rest = iter(vectors)
    for document in documents:
        vector = next(rest, None)
        if vector is None:
            raise InvalidArgument("vectors: expected one for each document, got fewer")
        yield Item(document, Points.of(vector[np.newaxis]))
    if next(rest, None) is not None:
        raise InvalidArgument("vectors: expected one for each document, got more")


def ingest_sources(
    store: Store,
    embedder: Embedder | None,
    sources: Sources,
    *,
    prune: bool = False,
    force: bool = False,
    report: Report | None = None,
) -> IngestReport:
    """Add what sources hold; a bad record becomes a reject and the rest goes on.

    Commits as it goes. When it is interrupted, what was encoded by then is committed too.

    Args:
        store: The index.
        embedder: Its embedder.
        sources: What is read.
        prune: When all was read, delete what these sources no longer hold.
        force: Prune also when nothing at all is left of a source.
        report: Called, in this thread, with how far it is.

    Raises:
        IngestError: Nothing is left of a source that is to be pruned.
    """
    if prune and sources.total_bytes is None:
        raise IngestError("prune: standard input keeps no files; delete by id, or index files")
    with writing(store) as writer, _stages() as stages:
        ingest = _Ingest(store, writer, embedder, stages, rejecting=True, report=report)
        try:
            ingest.forget_rejects(sources)
            ingest.run(map(_arrival, sources))
            if prune:
                ingest.prune(sources, force=force)
            return ingest.finish()
        except KeyboardInterrupt:
            ingest.commit()
            raise


def _arrival(record: Record) -> tuple[Item | Reject, int]:
    item = record.item
    return (item if isinstance(item, Reject) else Item(item)), record.bytes


class _Ingest:
    """One run of the pipeline, and what waits for its next commit."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        embedder: Embedder | None,
        stages: _Stages,
        *,
        on_conflict: OnConflict = "replace",
        rejecting: bool = False,
        report: Report | None = None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._embedder = embedder
        self._stages = stages
        self._on_conflict = on_conflict
        self._commits = on_conflict != "error"  # as it goes
        self._report = report
        self._preparation = Preparation(store, embedder, on_conflict, rejecting=rejecting)
        self._seen: set[str] = set()
        self._read: set[str] = set()
        self._refused: set[str] = set()
        self._result = IngestReport()
        self._progress = Progress()
        self._began = self._committed = time.monotonic()
        self._committing: Future[None] | None = None
        self._clear()

    def _clear(self) -> None:
        self._drafts: list[Draft] = []
        self._relabels: list[Document] = []
        self._rejects: list[Reject] = []
        self._reread: list[str] = []

    def forget_rejects(self, sources: Sources) -> None:
        """Forget the rejects of what is about to be read again."""
        with self._store.read() as snapshot:
            known = snapshot.catalog.reject_sources()
        self._reread = [source for source in known if sources.covers(source)]

    # -- the pipeline ------------------------------------------------------------------------

    def run(self, arrivals: Iterable[tuple[Item | Reject, int]]) -> None:
        """Take everything in, each with the bytes that were read for it."""
        prepare, encode, _ = self._stages
        windows = self._windows(arrivals)
        prepared = prepare.results(self._preparation.prepare, windows, ahead=_WINDOWS_AHEAD)
        groups = (group for window in prepared for group in _groups(window))
        for group, points in encode.results(self._encode, groups, ahead=_GROUPS_AHEAD):
            self._take(group, points)

    def _windows(self, arrivals: Iterable[tuple[Item | Reject, int]]) -> Iterator[Window]:
        window = Window()
        for arrived, size in arrivals:
            window.bytes += size
            if isinstance(arrived, Reject):
                window.rejects.append(arrived)
            elif self._is_new(arrived.document):
                window.add(arrived)
            if window.characters >= _WINDOW_CHARACTERS or len(window) >= _WINDOW_RECORDS:
                yield window
                window = Window()
        yield window

    def _is_new(self, document: Document) -> bool:
        id_ = document.id
        if id_ not in self._seen:
            self._seen.add(id_)
            self._read.add(document.source or "")
            return True
        if self._on_conflict != "skip":
            raise InvalidArgument(f"document {id_!r} is given twice")
        self._result = replace(self._result, skipped=self._result.skipped + 1)
        return False

    def _encode(self, group: _Group) -> tuple[_Group, Points | None]:
        if self._embedder is None or not group.passages:
            return group, None
        return group, self._embedder.encode([todo.content for todo in group.passages])

    def _take(self, group: _Group, points: Points | None) -> None:
        """Put the points of a group in their places; commit after a window when it is time."""
        if group.first:
            if self._commits and not self._has_room(group.window):
                self._start_commit()
            self._begin(group.window)
        done = 0
        if points is not None:
            for number, todo in enumerate(group.passages):
                todo.draft.points.put(todo.row, points, number)
                todo.draft.missing -= 1
                done += not todo.draft.missing
        self._count(
            documents=done,
            chunks=len(group.passages),
            tokens=sum(todo.tokens for todo in group.passages),
            bytes=group.bytes,
        )
        if group.last and self._commits and self._is_time():
            self._start_commit()

    def _has_room(self, window: Prepared) -> bool:
        """Whether the next commit can take a window in; an empty one can take any."""
        ahead = (_GROUPS_AHEAD + 2) * _GROUP  # waiting to be taken, and in hand
        together = sum(len(draft.points) for draft in [*self._drafts, *window.drafts])
        return not self._drafts or together <= (COMMIT_CHUNKS - ahead) // 2

    def _is_time(self) -> bool:
        latents = sum(draft.points.latents.nbytes for draft in self._drafts)
        return latents >= COMMIT_BYTES or time.monotonic() - self._committed > COMMIT_SECONDS

    def _begin(self, prepared: Prepared) -> None:
        """Note all of a window that needs no encoding."""
        window = prepared.window
        ready = [draft for draft in prepared.drafts if not draft.missing]
        self._drafts += prepared.drafts
        self._relabels += prepared.relabels
        self._rejects += window.rejects
        self._refused.update(reject.source for reject in window.rejects)
        self._result = _sum(self._result, prepared.counts, window.rejects)
        self._count(
            documents=len(window.items) - len(prepared.drafts) + len(ready),
            chunks=sum(len(draft.points) - draft.missing for draft in prepared.drafts),
            rejected=len(window.rejects),
        )

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

    def _start_commit(self) -> None:
        """Begin to make what is encoded durable and visible, in the order of arrival."""
        self._wait()
        drafts = [draft for draft in self._drafts if not draft.missing]
        changes = Changes(
            upserts=[draft.chunked for draft in drafts],
            points=Points.joined([draft.points for draft in drafts], self._store.space),
            relabels=self._relabels,
            rejects=self._rejects,
            reread=self._reread,
        )
        if drafts or self._relabels or self._rejects or self._reread:
            self._committing = self._stages.commit.start(self._writer.commit, changes)
        self._clear()
        self._committed = time.monotonic()

    def _wait(self) -> None:
        if self._committing:
            self._committing.result()
            self._committing = None

    def commit(self) -> None:
        """Make what is encoded by now durable and visible."""
        self._start_commit()
        self._wait()

    def prune(self, sources: Sources, *, force: bool) -> None:
        """Delete what the sources, which were read to their end, no longer hold."""
        self.commit()
        gone = vanished(self._store, sources, self._seen, self._read, self._refused, force=force)
        if gone:
            self._writer.delete(gone)
        self._result = replace(self._result, pruned=len(gone))

    def finish(self) -> IngestReport:
        """Commit the rest and tell what became of everything."""
        self.commit()
        return replace(
            self._result,
            chunks=self._progress.chunks,
            tokens=self._progress.tokens,
            seconds=time.monotonic() - self._began,
        )


def _groups(window: Prepared) -> Iterator[_Group]:
    """Passages of a window in groups of like length; one empty group when there are none."""
    todo = window.todo
    starts = range(0, len(todo), _GROUP) or [0]
    for number, start in enumerate(starts, 1):
        bytes_by_now = window.window.bytes * number // len(starts)
        before = window.window.bytes * (number - 1) // len(starts)
        yield _Group(
            window,
            todo[start : start + _GROUP],
            first=number == 1,
            last=number == len(starts),
            bytes=bytes_by_now - before,
        )


def _sum(result: IngestReport, counts: Counter[str], rejects: list[Reject]) -> IngestReport:
    shown = result.rejects + tuple(rejects[: _REJECTS_SHOWN - len(result.rejects)])
    more = {name: getattr(result, name) + number for name, number in counts.items()}
    return replace(result, **more, rejected=result.rejected + len(rejects), rejects=shown)
