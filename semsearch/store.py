"""Store: owns an index directory, its writer lock, its snapshots and its commits."""

from __future__ import annotations

import itertools
import re
import tempfile
import threading
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from semsearch.changes import Changes, relabelled_rows, rows_to_insert
from semsearch.errors import (
    IndexCorrupt,
    IndexExists,
    IndexNotFound,
    InvalidArgument,
    StorageError,
)
from semsearch.latents import normalize
from semsearch.snapshot import Layout, LiveSegment, Snapshot, View
from semsearch.storage.catalog import (
    Catalog,
    SegmentRow,
    State,
    WriteTransaction,
)
from semsearch.storage.checksum import ends_checksum, file_checksum
from semsearch.storage.durable import rename_flushed, storage_errors, sync, write_flushed
from semsearch.storage.lock import WriterLock
from semsearch.storage.segments import read_segment, write_segment
from semsearch.types import LatentSpace
from semsearch.vectors import backend

FAN_IN = 8
"""This many neighbouring small segments are merged into one."""

SMALL_SEGMENT = FAN_IN**4
"""Segments of fewer live rows are merged by themselves; larger ones wait for `optimize`."""


_BLOCK = 4096
_OURS = re.compile(r"\d+\.(arrow|faiss)|.*\.tmp")


@dataclass(frozen=True, slots=True)
class Stray:
    """A file in `segments/` that no commit names.

    Attributes:
        evidence: What it proves about the index, so that it must not just be removed.
    """

    path: Path
    evidence: str | None


class Store:
    """An open index directory. Readers in any number, one writer, across processes."""

    def __init__(self, layout: Layout, catalog: Catalog, settings: Mapping[str, Any]) -> None:
        self.layout = layout
        self.settings = settings
        self._catalog = catalog
        self._view: View | None = None
        self._view_lock = threading.Lock()
        self._closed = False

    @classmethod
    def create(cls, path: Path, space: LatentSpace, settings: Mapping[str, Any]) -> Self:
        """Make an empty index.

        Raises:
            IndexExists: There is one already.
            StorageError: Disk full, no permission, `path` is a file or a folder of other things.
        """
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            with WriterLock(path / "writer.lock"):
                _check_free(path)
                (path / "segments").mkdir(exist_ok=True)
                all_settings = {**settings, "index": uuid.uuid4().hex, "space": space.to_json()}
                Catalog.create(path / "catalog.db", all_settings)
            sync(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index.

        Raises:
            IndexNotFound: No index at `path`.
            UnsupportedFormat: A newer format, or not a semsearch index.
            IndexCorrupt: The catalog is damaged or missing.
        """
        file = path / "catalog.db"
        with storage_errors(path):
            if not file.exists():
                raise _no_catalog(path)
        catalog = Catalog.open(file)
        try:
            with catalog.read() as transaction:
                settings = transaction.settings()
            layout = Layout(path, settings["index"], LatentSpace.from_json(settings["space"]))
        except (KeyError, InvalidArgument) as error:
            catalog.close()
            raise IndexCorrupt(
                f"{file}: its settings are damaged ({error}); restore it from a backup"
            ) from error
        except BaseException:
            catalog.close()
            raise
        return cls(layout, catalog, settings)

    @property
    def path(self) -> Path:
        """The index directory."""
        return self.layout.folder

    @property
    def space(self) -> LatentSpace:
        """Latent space of all vectors."""
        return self.layout.space

    @contextmanager
    def read(self, *, vectors: bool = False) -> Iterator[Snapshot]:
        """The newest commit, unchanged until the block ends.

        Args:
            vectors: Map every segment first, so that a concurrent optimize cannot remove one.

        Raises:
            IndexCorrupt: A segment file is missing or damaged (only with `vectors`).
        """
        self._check_open()
        while True:
            with self._catalog.read() as transaction:
                snapshot = Snapshot(self.layout, transaction, self._current_view(transaction))
                if not vectors or self._mapped(snapshot):
                    yield snapshot
                    return

    def strays(self, snapshot: Snapshot) -> list[Stray]:
        """Files beside the segments of a snapshot that it does not name.

        Raises:
            StorageError: The folder cannot be read.
        """
        named = {file for live in snapshot.segments for file in live.files}
        folder = self.layout.segments
        with storage_errors(folder):
            found = {path for path in folder.iterdir() if path.is_file() or path.is_symlink()}
        lost = sorted(path.name for path in named - found if path.suffix == ".arrow")
        return [
            Stray(path, self._evidence(path, snapshot.version, lost))
            for path in sorted(found - named)
            if _OURS.fullmatch(path.name)
        ]

    def _evidence(self, path: Path, version: int, lost: list[str]) -> str | None:
        """What a file that no commit names proves.

        A dead writer leaves files of the next commit at most, and removes others only after it.
        """
        try:
            header = read_segment(path).header
        except StorageError:
            return None
        if header.index != self.layout.index_id:
            return "it belongs to another index: catalog.db or the segments were swapped"
        if header.version > version + 1:
            return (
                f"it is of commit {header.version}, but catalog.db ends at commit {version}: "
                "catalog.db-wal was lost, or catalog.db is an old copy"
            )
        if header.version > version and lost:
            return f"it may hold what {lost[0]} held, which is missing"
        return None

    def _mapped(self, snapshot: Snapshot) -> bool:
        """Map all segments; False when a writer replaced them while we looked."""
        try:
            for live in snapshot.segments:
                live.file.hold()
        except StorageError:
            with self._catalog.read() as newer:
                if newer.version() != snapshot.version:
                    return False
            for live in snapshot.segments:  # a derived file can be done without, these cannot
                _ = live.file.data
        return True

    def _current_view(self, transaction: Any) -> View:
        version = transaction.version()
        with self._view_lock:
            known = self._view
            if known is not None and known.version == version:
                return known
            if known is not None and known.version > version:  # another thread is ahead of us
                return View.of(transaction, self.layout, None)
            self._view = View.of(transaction, self.layout, known)
            return self._view

    @contextmanager
    def write(self, *, sweep: bool = True) -> Iterator[Writer]:
        """Be the one writer until the block ends.

        Args:
            sweep: First remove what a killed writer left.

        Raises:
            IndexLocked: Another writer has the index.
            IndexCorrupt: The catalog is older than the segments beside it.
            StorageError: The directory cannot be written.
        """
        self._check_open()
        if not self._catalog.writable:
            raise StorageError(f"{self.path}: no permission to write; it is open for reading only")
        with WriterLock(self.path / "writer.lock") as lock:
            writer = Writer(self, self._catalog, lock)
            try:
                if sweep:
                    writer.sweep()
                yield writer
            except StorageError:
                lock.check()  # without it, another writer may have been in the way
                raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def bytes_on_disk(self) -> int:
        """Size of all files of the index."""
        total = 0
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # a writer may sweep meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    def forget_files(self) -> None:
        """Map all files anew at the next read: they were changed under us."""
        with self._view_lock:
            self._view = None

    def close(self) -> None:
        """Release files and connections; the store cannot be used any more."""
        self._closed = True
        self._view = None
        self._catalog.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidArgument(f"{self.path}: the index is closed; open it again")


class Writer:
    """The verbs that change an index. Each is one commit, or as many as its docstring says."""

    def __init__(self, store: Store, catalog: Catalog, lock: WriterLock) -> None:
        self._store = store
        self._layout = store.layout
        self._catalog = catalog
        self._lock = lock
        self._suffix = f".{uuid.uuid4().hex}.tmp"  # of files that no transaction has named yet

    # -- documents ---------------------------------------------------------------------------

    def commit(self, changes: Changes) -> None:
        """Make `changes` visible and durable in one step.

        Raises:
            InvalidArgument: Vectors do not fit the spans or the space, or one is zero.
            StorageError: Disk full, ...; then nothing has changed.
        """
        vectors = self._checked(changes)
        self._compact()
        with self._store.read() as snapshot:
            state = snapshot.state()
        keys = np.arange(state.next_chunk, state.next_chunk + len(vectors), dtype=np.int64)
        row = self._write(state, keys, vectors) if len(keys) else None
        with self._transaction(state) as transaction:
            self._apply(transaction, state, changes)
            if row is not None:
                self._publish(transaction, row)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents in one commit; gives how many there were."""
        with self._store.read() as snapshot:
            state = snapshot.state()
            rows = snapshot.catalog.documents(ids)
        if not rows:
            return 0
        keys = [row.key for row in rows.values()]
        with self._transaction(state) as transaction:
            gone = self._remove_chunks(transaction, keys)
            transaction.delete_documents(keys)
            transaction.put_state(
                replace(
                    state,
                    version=state.version + 1,
                    documents=state.documents - len(keys),
                    chunks=state.chunks - gone,
                )
            )
        return len(keys)

    def _checked(self, changes: Changes) -> NDArray[np.float32]:
        expected = (sum(len(new.spans) for new in changes.upserts), self._store.space.dim)
        given = changes.vectors
        if len({new.document.id for new in changes.upserts}) != len(changes.upserts):
            raise InvalidArgument("two documents of one commit have the same id")
        vectors = np.empty((0, expected[1]), np.float32) if given is None else given
        if vectors.shape != expected:
            raise InvalidArgument(f"vectors: expected shape {expected}, got {vectors.shape}")
        return normalize(vectors)

    def _apply(self, transaction: WriteTransaction, state: State, changes: Changes) -> None:
        touched = [new.document for new in changes.upserts] + list(changes.relabels)
        known = transaction.documents(document.id for document in touched)
        old = [known[new.document.id].key for new in changes.upserts if new.document.id in known]
        gone = self._remove_chunks(transaction, old)
        documents, chunks = rows_to_insert(
            changes.upserts, known, transaction.next_document(), state
        )
        transaction.put_documents(documents + relabelled_rows(changes.relabels, known))
        transaction.insert_chunks(chunks)
        transaction.clear_rejects(changes.reread)
        transaction.put_rejects(changes.rejects)
        transaction.put_state(
            State(
                version=state.version + 1,
                next_segment=state.next_segment + 1,
                next_chunk=state.next_chunk + len(chunks),
                documents=state.documents + len(changes.upserts) - len(old),
                chunks=state.chunks + len(chunks) - gone,
            )
        )

    def _remove_chunks(self, transaction: WriteTransaction, documents: Sequence[int]) -> int:
        """Mark the vectors of documents dead; a segment with none left alive is dropped."""
        keys = sorted(transaction.delete_chunks_of(documents))
        for row in transaction.segments():
            dead = row.dead + bisect_right(keys, row.last) - bisect_left(keys, row.first)
            if dead == row.rows:
                transaction.drop_segment(row.number)
                transaction.forget_deletions(row.first, row.last)
            elif dead > row.dead:
                transaction.put_segment(replace(row, dead=dead))
        return len(keys)

    # -- segments ----------------------------------------------------------------------------

    def sweep(self, *, accept_loss: bool = False) -> list[Stray]:
        """Remove files that no commit names: what a killed writer left. Gives them.

        Args:
            accept_loss: Move files that prove a loss to `set-aside/` instead of raising.

        Raises:
            IndexCorrupt: A file belongs to a later commit than the catalog knows, or to another
                index.
        """
        with storage_errors(self._layout.segments):
            self._layout.segments.mkdir(exist_ok=True)  # tools that copy may leave out empty ones
        with self._catalog.write():  # so that none of them is about to be named by a commit
            self._lock.check()
            with self._store.read() as snapshot:
                strays = self._store.strays(snapshot)
            for stray in strays:
                if stray.evidence and not accept_loss:
                    raise IndexCorrupt(
                        f"{stray.path}: {stray.evidence}. Put back what belongs together, from a "
                        "backup; to go on without, run `semsearch repair`, which sets the file "
                        "aside"
                    )
            with storage_errors(self._layout.folder):
                for stray in strays:
                    if stray.evidence:
                        self._set_aside(stray.path)
                    else:
                        stray.path.unlink(missing_ok=True)
        return strays

    def _set_aside(self, path: Path) -> None:
        folder = self._layout.folder / "set-aside"
        folder.mkdir(exist_ok=True)
        free = (folder / f"{path.name}.{n}" if n else folder / path.name for n in itertools.count())
        path.rename(next(target for target in free if not target.exists()))

    def optimize(self, kind: str = "exact") -> None:
        """Merge all segments into one, drop the dead, build its index, give back free space.

        Args:
            kind: Vector index of the merged segment.
        """
        with self._store.read(vectors=True) as snapshot:
            segments, state = snapshot.segments, snapshot.state()
        done = len(segments) <= 1 and all(
            not live.row.dead and live.row.kind == kind for live in segments
        )
        backend(kind)
        if not done:
            self._merge(state, segments, kind)
        self.sweep()
        self._catalog.reclaim()

    def _compact(self) -> None:
        """Merge runs of small segments and rewrite those more than half dead.

        A vector is rewritten about once a tier, and there are four: a small commit stays cheap
        whatever the size of the index, and the number of segments stays small.
        """
        while True:
            with self._store.read() as snapshot:
                run, state = run_to_merge(snapshot.segments), snapshot.state()
            if not run:
                return
            try:
                self._merge(state, run, "exact")
            except IndexCorrupt:  # it stays as it is, reported by whoever reads it, for `repair`
                return

    def rebuild(self, live: LiveSegment) -> None:
        """Write a segment and its derived index anew, from its own vectors."""
        with self._store.read() as snapshot:
            state = snapshot.state()
        self._merge(state, [live], live.row.kind)

    def _merge(self, state: State, old: Sequence[LiveSegment], kind: str) -> None:
        self._replace(state, old, lambda: self._write_merged(state, old, kind))

    def _write_merged(
        self, state: State, old: Sequence[LiveSegment], kind: str
    ) -> SegmentRow | None:
        total = sum(live.live for live in old)
        if not total:
            return None
        keys = np.concatenate([live.live_keys() for live in old])
        with storage_errors(self._layout.folder), self._spool(old) as vectors:
            return self._write(state, keys, vectors, kind)

    @contextmanager
    def _spool(self, segments: Sequence[LiveSegment]) -> Iterator[NDArray[np.float32]]:
        """Live vectors of segments in an unnamed file, so that a merge needs little memory.

        Written, then mapped: to fill a map on a full disk kills the process.
        """
        dim = self._layout.space.dim
        with tempfile.TemporaryFile(dir=self._layout.segments, suffix=".tmp") as file:
            for live in segments:
                for block in _live_blocks(live):
                    file.write(np.ascontiguousarray(block).data)
            file.flush()
            yield np.memmap(file, np.float32, "r").reshape(-1, dim)

    def replace_segment(
        self, old: LiveSegment, keys: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> None:
        """Put a new file in the place of a segment's, with `keys` as its live rows."""
        with self._store.read() as snapshot:
            state = snapshot.state()
        unit = normalize(vectors)
        self._replace(state, [old], lambda: self._write(state, keys, unit) if len(keys) else None)

    def restore(self, found: Mapping[LiveSegment, Path]) -> None:
        """Write segments anew from sound copies under other names: all in one commit.

        A file in the place of one segment may be the only copy of another, so none is touched.
        """
        with self._store.read() as snapshot:
            state = snapshot.state()
        rows: list[SegmentRow] = []
        for live, path in found.items():
            data = read_segment(path)
            alive = ~np.isin(data.keys, live.dead)
            vectors = data.vectors[alive] if len(live.dead) else data.vectors
            following = replace(state, next_segment=state.next_segment + len(rows))
            rows.append(self._write(following, data.keys[alive], vectors, live.row.kind))
        self._swap(state, list(found), rows)

    def recount(self) -> None:
        """Set the counters to what is there."""
        with self._store.read() as snapshot:
            state = snapshot.state()
            documents, chunks = snapshot.catalog.counted()
        fixed = replace(state, version=state.version + 1, documents=documents, chunks=chunks)
        with self._transaction(state) as transaction:
            transaction.put_state(fixed)

    def _replace(
        self,
        state: State,
        old: Sequence[LiveSegment],
        write: Callable[[], SegmentRow | None],
    ) -> None:
        new = write()
        self._swap(state, old, [] if new is None else [new])

    def _swap(self, state: State, old: Sequence[LiveSegment], new: Sequence[SegmentRow]) -> None:
        with self._transaction(state) as transaction:
            for live in old:
                transaction.drop_segment(live.row.number)
                transaction.forget_deletions(live.row.first, live.row.last)
            for row in new:
                self._publish(transaction, row)
            following = state.next_segment + max(1, len(new))
            transaction.put_state(replace(state, version=state.version + 1, next_segment=following))

    def _write(
        self,
        state: State,
        keys: NDArray[np.int64],
        vectors: NDArray[np.float32],
        kind: str = "exact",
    ) -> SegmentRow:
        number = state.next_segment
        path = self._staged(self._layout.segment(number))
        write_segment(path, self._layout.header(number, state.version + 1), keys, vectors)
        with storage_errors(self._layout.folder):
            row = SegmentRow(
                number=number,
                first=int(keys[0]),
                last=int(keys[-1]),
                rows=len(keys),
                dead=0,
                bytes=path.stat().st_size,
                sha256=file_checksum(path),
                ends=ends_checksum(path),
            )
            return self._with_derived(row, vectors, kind)

    def _with_derived(self, row: SegmentRow, vectors: NDArray[np.float32], kind: str) -> SegmentRow:
        if not backend(kind).derived:
            return replace(row, kind=kind)
        path = self._staged(self._layout.derived(row.number))
        index = backend(kind).build(vectors)

        def write(temporary: Path) -> None:
            index.save(temporary)
            try:
                backend(kind).load(temporary, vectors)
            except IndexCorrupt as error:  # FAISS does not tell when the last bytes do not fit
                raise StorageError(f"{path}: not written whole; is the disk full?") from error

        write_flushed(path, write)
        return replace(
            row,
            kind=kind,
            index_bytes=path.stat().st_size,
            index_sha256=file_checksum(path),
            index_ends=ends_checksum(path),
        )

    def _staged(self, path: Path) -> Path:
        return path.with_name(path.name + self._suffix)

    def _publish(self, transaction: WriteTransaction, row: SegmentRow) -> None:
        """Name a segment's files, in the folder and in the catalog.

        In the transaction: if the lock was taken from us, no file of another's commit is hit.
        """
        paths = [self._layout.segment(row.number)]
        if row.index_bytes:
            paths.append(self._layout.derived(row.number))
        rename_flushed(
            self._layout.segments, {self._staged(path).name: path.name for path in paths}
        )
        transaction.put_segment(row)

    @contextmanager
    def _transaction(self, planned: State) -> Iterator[WriteTransaction]:
        try:
            with self._catalog.write() as transaction:
                self._lock.check()
                if transaction.version() != planned.version:
                    raise StorageError(
                        f"{self._layout.folder}: changed by another writer although this one held "
                        "the lock; was writer.lock deleted? Nothing was written, try again"
                    )
                yield transaction
        except Exception:
            with suppress(StorageError):  # the next writer sweeps as well; the cause matters more
                self.sweep()
            raise


def run_to_merge(segments: Sequence[LiveSegment]) -> list[LiveSegment]:
    """The next segments to merge: a run of one tier, or one segment that is more than half dead.

    A tier is live rows from a power of `FAN_IN` up to, not including, the next. A run is of
    neighbours, ends with the `FAN_IN`-th of its tier, and takes in smaller ones between them.
    """
    for live in segments:
        if live.row.dead * 2 > live.row.rows:
            return [live]
    least = 1
    while least < SMALL_SEGMENT:
        run: list[LiveSegment] = []
        members = 0
        for live in segments:
            if live.live >= least * FAN_IN:
                run, members = [], 0
                continue
            run.append(live)
            members += live.live >= least
            if members == FAN_IN:
                return run
        least *= FAN_IN
    return []


def _live_blocks(live: LiveSegment) -> Iterator[NDArray[np.float32]]:
    """Vectors that are not deleted, block by block.

    Raises:
        IndexCorrupt: The file is damaged: a copy of it would pass for sound.
    """
    vectors, allowed = live.file.check().vectors, live.allowed
    for at in range(0, len(vectors), _BLOCK):
        block = slice(at, at + _BLOCK)
        yield vectors[block] if allowed is None else vectors[block][allowed[block]]


def _check_free(path: Path) -> None:
    if (path / "catalog.db").exists():
        raise IndexExists(f"{path}: there is an index already; open it, or choose another path")
    # What an earlier create leaves when it is killed is not in the way.
    others = {entry.name for entry in path.iterdir()} - {
        "writer.lock",
        "segments",
        "catalog.db.tmp",
        "catalog.db.tmp-wal",
        "catalog.db.tmp-shm",
        "catalog.db.tmp-journal",
    }
    segments = path / "segments"
    if others or (segments.is_dir() and any(segments.iterdir())):
        raise StorageError(f"{path}: the folder is not empty; choose a new or an empty one")


def _no_catalog(path: Path) -> StorageError:
    segments = path / "segments"
    if segments.is_dir() and any(segments.glob("*.arrow")):
        return IndexCorrupt(f"{path}/catalog.db: the file is missing; restore it from a backup")
    return IndexNotFound(f"{path}: no index here; make one with `semsearch index SOURCE --index`")
