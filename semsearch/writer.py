"""The one writer of an index: its verbs, each a commit or as many as it says."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semsearch.changes import Changes, relabelled_rows, rows_to_insert
from semsearch.errors import IndexCorrupt, InvalidArgument, StorageError
from semsearch.latents import normalize
from semsearch.points import Points
from semsearch.recipe import Recipe
from semsearch.staging import Staging
from semsearch.storage.durable import storage_errors
from semsearch.storage.lock import WriterLock
from semsearch.storage.rows import SegmentRow, State
from semsearch.storage.segments import read_segment
from semsearch.storage.writing import WriteTransaction
from semsearch.store import Store, Stray
from semsearch.tiers import run_to_merge
from semsearch.view import LiveSegment


@contextmanager
def writing(store: Store, *, sweep: bool = True) -> Iterator[Writer]:
    """Be the one writer of an index until the block ends.

    Args:
        store: The open index.
        sweep: First remove what a killed writer left.

    Raises:
        IndexLocked: Another writer has the index.
        IndexCorrupt: The catalog is older than the segments beside it.
        StorageError: The directory cannot be written.
    """
    store.check_open()
    if not store.catalog.writable:
        raise StorageError(f"{store.path}: no permission to write; it is open for reading only")
    with WriterLock(store.path / "writer.lock") as lock:
        writer = Writer(store, lock)
        try:
            store.catalog.upgrade()
            if sweep:
                writer.sweep()
            yield writer
        except StorageError:
            lock.check()  # without it, another writer may have been in the way
            raise


class Writer:
    """The verbs that change an index; get one from `writing`."""

    def __init__(self, store: Store, lock: WriterLock) -> None:
        self._store = store
        self._layout = store.layout
        self._catalog = store.catalog
        self._lock = lock
        self._staging = Staging(self._layout)

    # -- documents ---------------------------------------------------------------------------

    def commit(self, changes: Changes) -> None:
        """Make `changes` visible and durable in one step.

        Raises:
            InvalidArgument: Vectors do not fit the spans or the space, or one is zero.
            StorageError: Disk full, ...; then nothing has changed.
        """
        points = self._checked(changes)
        self._compact()
        with self._store.read() as snapshot:
            state = snapshot.state()
        keys = np.arange(state.next_chunk, state.next_chunk + len(points), dtype=np.int64)
        row = self._staging.write(state, keys, points) if len(keys) else None
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

    def _checked(self, changes: Changes) -> Points:
        space, n = self._store.space, sum(len(new.spans) for new in changes.upserts)
        expected = ((n, space.dim), (n, space.latent_size))
        given = changes.points or Points.room(0, space)
        if len({new.document.id for new in changes.upserts}) != len(changes.upserts):
            raise InvalidArgument("two documents of one commit have the same id")
        shapes = given.vectors.shape, given.latents.shape
        if shapes != expected:
            raise InvalidArgument(f"vectors, latents: expected shapes {expected}, got {shapes}")
        return Points(normalize(given.vectors), given.latents)

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

    def optimize(self, recipe: Recipe) -> None:
        """Merge all segments into one, drop the dead, build its index, give back free space."""
        with self._store.read(vectors=True) as snapshot:
            segments, state = snapshot.segments, snapshot.state()
        recipe = recipe.chosen(segments)
        done = len(segments) <= 1 and all(
            not live.row.dead and recipe.makes(live) for live in segments
        )
        if not done:
            self._merge(state, segments, recipe)
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
                self._merge(state, run, Recipe.of_largest(run))
            except IndexCorrupt:  # it stays as it is, reported by whoever reads it, for `repair`
                return

    def rebuild(self, live: LiveSegment) -> None:
        """Write a segment and its derived index anew, from its own vectors."""
        with self._store.read() as snapshot:
            state = snapshot.state()
        self._merge(state, [live], Recipe.of_largest([live]))

    def _merge(self, state: State, old: Sequence[LiveSegment], recipe: Recipe) -> None:
        merged = self._write_merged(state, old, recipe)
        self._swap(state, old, [merged] if merged else [])

    def _write_merged(
        self, state: State, old: Sequence[LiveSegment], recipe: Recipe
    ) -> SegmentRow | None:
        total = sum(live.live for live in old)
        if not total:
            return None
        keys = np.concatenate([live.live_keys() for live in old])
        with storage_errors(self._layout.folder), self._staging.spool(old) as points:
            return self._staging.write(state, keys, points, recipe)

    def replace_segment(self, old: LiveSegment, keys: NDArray[np.int64], points: Points) -> None:
        """Put a new file in the place of a segment's, with `keys` as its live rows."""
        with self._store.read() as snapshot:
            state = snapshot.state()
        recipe = Recipe.of_largest([old])
        units = Points(normalize(points.vectors), points.latents)
        new = [self._staging.write(state, keys, units, recipe)] if len(keys) else []
        self._swap(state, [old], new)

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
            points = data.points[alive] if len(live.dead) else data.points
            following = replace(state, next_segment=state.next_segment + len(rows))
            recipe = Recipe.of_largest([live])
            rows.append(self._staging.write(following, data.keys[alive], points, recipe))
        self._swap(state, list(found), rows)

    def index_fields(self, names: Sequence[str]) -> None:
        """Index metadata fields in the catalog, for filters; those that are stay so.

        Raises:
            InvalidArgument: One cannot be indexed.
        """
        with self._catalog.write() as transaction:
            self._lock.check()
            transaction.index_fields(names)

    def keep_setting(self, key: str, value: str) -> None:
        """Keep a setting of the index, JSON, in place of an older one."""
        with self._catalog.write() as transaction:
            self._lock.check()
            transaction.put_setting(key, value)

    def recount(self) -> None:
        """Set the counters to what is there."""
        with self._store.read() as snapshot:
            state = snapshot.state()
            documents, chunks = snapshot.catalog.counted()
        fixed = replace(state, version=state.version + 1, documents=documents, chunks=chunks)
        with self._transaction(state) as transaction:
            transaction.put_state(fixed)

    def rebuild_field_indexes(self, fields: Iterable[str]) -> None:
        """Make the indexes of metadata fields anew from the documents."""
        with self._rebuilding() as transaction:
            transaction.rebuild_field_indexes(fields)

    def rebuild_keywords(self) -> None:
        """Make the keyword index anew from the texts."""
        with self._rebuilding() as transaction:
            transaction.rebuild_keywords()

    @contextmanager
    def _rebuilding(self) -> Iterator[WriteTransaction]:
        """A commit although no document changes, so that readers look again."""
        with self._store.read() as snapshot:
            state = snapshot.state()
        with self._transaction(state) as transaction:
            yield transaction
            transaction.put_state(replace(state, version=state.version + 1))

    def _swap(self, state: State, old: Sequence[LiveSegment], new: Sequence[SegmentRow]) -> None:
        with self._transaction(state) as transaction:
            for live in old:
                transaction.drop_segment(live.row.number)
                transaction.forget_deletions(live.row.first, live.row.last)
            for row in new:
                self._publish(transaction, row)
            following = state.next_segment + max(1, len(new))
            transaction.put_state(replace(state, version=state.version + 1, next_segment=following))

    def _publish(self, transaction: WriteTransaction, row: SegmentRow) -> None:
        """Name a segment's files, in the folder and in the catalog.

        In the transaction: if the lock was taken from us, no file of another's commit is hit.
        """
        self._staging.publish(row)
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
        if transaction.dropped:
            with suppress(StorageError):  # committed all the same
                self.sweep()
