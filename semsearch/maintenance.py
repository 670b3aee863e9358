"""Prove that an index is whole, and mend what can be made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.embedding import Content, Embedder
from semsearch.errors import IndexCorrupt, InvalidArgument, SemsearchError, StorageError
from semsearch.points import Points
from semsearch.snapshot import Snapshot, document_damage
from semsearch.storage.checksum import file_checksum
from semsearch.storage.durable import storage_errors
from semsearch.storage.rows import ChunkRow, FoundRow, passage_of
from semsearch.store import Store
from semsearch.vectors.tuning import sampled_recall
from semsearch.view import LiveSegment
from semsearch.writer import Writer, writing

_BLOCK = 65_536
_ENCODED_AT_ONCE = 256  # pictures, decoded, are large
_SAMPLE = 50
_RECALL_SPREAD = 0.1
"""How far the recall of a sample may be below the one that was measured when it was built."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        where: File, or part of the catalog.
        what: What is wrong.
        document: Id of the document concerned, if one is.
    """

    where: str
    what: str
    document: str | None = None

    def __str__(self) -> str:
        about = f" (document {self.document!r})" if self.document else ""
        return f"{self.where}: {self.what}{about}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` looked at and what it found."""

    documents: int
    chunks: int
    segments: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What `repair` did, and how the index is now."""

    actions: tuple[str, ...]
    after: VerifyReport


def verify(store: Store) -> VerifyReport:
    """Check every byte: SQLite's own structure, counters, texts, vectors, derived files."""
    while True:
        problems: list[Problem] = []
        documents = chunks = segments = version = 0
        try:
            with store.read() as snapshot:
                state, version = snapshot.state(), snapshot.version
                documents, chunks = state.documents, state.chunks
                segments = len(snapshot.segments)
                problems.extend(_problems(store, snapshot))
            with store.read() as newer:
                settled = not problems or newer.version == version
        except IndexCorrupt as error:  # the catalog cannot be read to its end
            problems.append(Problem("catalog.db", str(error)))
            settled = True
        if settled:  # otherwise a writer replaced files while we looked: look again
            return VerifyReport(documents, chunks, segments, tuple(problems))


def _problems(store: Store, snapshot: Snapshot) -> Iterator[Problem]:
    for live in snapshot.segments:
        yield from _segment_problems(snapshot, live)
    yield from _stray_problems(store, snapshot)
    yield from _counter_problems(snapshot)
    yield from _coverage_problems(snapshot)
    yield from _document_problems(snapshot)
    snapshot.catalog.rejects()
    for problem in snapshot.catalog.integrity_problems():
        yield Problem("catalog.db", problem)
    damage = snapshot.catalog.keyword_problem()
    if damage:
        yield Problem("catalog.db", damage)


def _stray_problems(store: Store, snapshot: Snapshot) -> Iterator[Problem]:
    try:
        strays = store.strays(snapshot)
    except StorageError as error:
        yield Problem("segments", str(error))
        return
    for stray in strays:
        if stray.evidence:
            yield Problem(stray.path.name, stray.evidence)


def _counter_problems(snapshot: Snapshot) -> Iterator[Problem]:
    state = snapshot.state()
    counted = snapshot.catalog.counted()
    if counted != (state.documents, state.chunks):
        yield Problem(
            "catalog.db",
            f"counts {state.documents} documents and {state.chunks} chunks, "
            f"but holds {counted[0]} and {counted[1]}",
        )


def _document_problems(snapshot: Snapshot) -> Iterator[Problem]:
    after = 0
    while page := snapshot.catalog.document_page(after):
        chunks = snapshot.catalog.chunks_of(row.key for row in page)
        for row in page:
            pieces = chunks[row.key]
            damage = document_damage(row, pieces)
            if damage:
                yield Problem("catalog.db", damage, row.id)
            elif not _tiled(pieces):
                yield Problem("catalog.db", "the chunks do not make up the text", row.id)
        after = page[-1].key


def _tiled(chunks: list[ChunkRow]) -> bool:
    at = 0
    for ordinal, chunk in enumerate(chunks):
        begins = chunk.start == at or ordinal == 0
        if chunk.ordinal != ordinal or not begins or len(passage_of(chunk)) != chunk.length:
            return False
        at += len(chunk.piece)
    return bool(chunks)


def _segment_problems(snapshot: Snapshot, live: LiveSegment) -> Iterator[Problem]:
    name = live.file.path.name
    damage = segment_damage(live)
    if damage:
        yield Problem(name, damage)
        return
    if live.row.dead != len(live.dead):
        yield Problem(name, f"counts {live.row.dead} deletions, but {len(live.dead)} are recorded")
    expected = snapshot.catalog.chunk_keys_between(live.row.first, live.row.last)
    if not np.array_equal(live.live_keys(), expected):
        yield Problem(name, "its vectors are not those of the chunks in the catalog")
    damage = derived_damage(live)
    if damage:
        yield Problem(live.file.derived_path.name, damage)


def segment_damage(live: LiveSegment) -> str | None:
    """What is wrong with a segment's Arrow file, if anything; reads it whole."""
    try:
        data = live.file.check()
    except StorageError as error:
        return str(error)
    return None if _unit(data.vectors) else "a vector is not of unit length"


def _unit(vectors: NDArray[np.float32]) -> bool:
    """Whether all rows have length 1, within what float32 allows."""
    return all(
        np.allclose(np.linalg.norm(vectors[at : at + _BLOCK], axis=1), 1.0, atol=1e-3)
        for at in range(0, len(vectors), _BLOCK)
    )


def derived_damage(live: LiveSegment) -> str | None:
    """What is wrong with a segment's derived index, if it has one and anything is."""
    if not live.row.index_bytes:
        return None
    try:
        index = live.file.check_derived()
    except SemsearchError as error:
        return str(error)
    expected = index.facts().quality
    if expected is None:
        return None
    rng = np.random.default_rng(live.row.number)
    found = sampled_recall(index, live.file.data.vectors, rng, _SAMPLE)
    lowest = expected.recall - _RECALL_SPREAD
    if found is None or found.recall >= lowest:
        return None
    return f"recall@{found.k} is only {found.recall:.2f}, but was {expected.recall:.2f} when built"


def _coverage_problems(snapshot: Snapshot) -> Iterator[Problem]:
    _, chunks = snapshot.catalog.counted()
    live = sum(segment.live for segment in snapshot.segments)
    if chunks != live:
        yield Problem("catalog.db", f"{chunks} chunks, but {live} vectors")


def repair(store: Store, embedder: Embedder | None) -> RepairReport:
    """Put back swapped files, encode lost vectors again, rebuild derived files, sweep, recount.

    Texts are never touched: they are nowhere but in the catalog. Vectors that the caller gave, and
    those of pictures whose file is gone, cannot be made again; those stay reported in `after`.
    """
    actions: list[str] = []
    with writing(store, sweep=False) as writer:
        with store.read() as snapshot:
            actions += _put_back(writer, snapshot)
        store.forget_files()
        with store.read() as snapshot:
            segments = snapshot.segments
        for live in segments:
            if segment_damage(live):
                actions += _encode_again(store, writer, live, embedder)
            elif derived_damage(live):
                writer.rebuild(live)
                actions.append(f"{live.file.derived_path.name}: built again")
        with store.read() as snapshot:
            if list(_counter_problems(snapshot)):
                writer.recount()
                actions.append("catalog.db: counted again")
            fields_damaged = snapshot.catalog.damaged_field_indexes()
            keywords_damaged = snapshot.catalog.keyword_problem() is not None
        if fields_damaged:
            writer.rebuild_field_indexes(fields_damaged)
            actions += [f"catalog.db: index of {field} built again" for field in fields_damaged]
        if keywords_damaged:
            writer.rebuild_keywords()
            actions.append("catalog.db: keyword index built again")
        for stray in writer.sweep(accept_loss=True):
            done = "moved to set-aside" if stray.evidence else "removed"
            actions.append(f"{stray.path.name}: {done}")
    return RepairReport(tuple(actions), verify(store))


def _put_back(writer: Writer, snapshot: Snapshot) -> list[str]:
    """Segments whose files stand under other names are written anew from those."""
    homeless = {live.row.sha256: live for live in snapshot.segments if segment_damage(live)}
    if not homeless:
        return []
    folder = next(iter(homeless.values())).file.path.parent
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        sums = {file_checksum(path): path for path in files if os.access(path, os.R_OK)}
    found = {live: sums[sha256] for sha256, live in homeless.items() if sha256 in sums}
    if found:
        writer.restore(found)
    return [f"{live.file.path.name}: put back from {path.name}" for live, path in found.items()]


def _encode_again(
    store: Store, writer: Writer, live: LiveSegment, embedder: Embedder | None
) -> list[str]:
    with store.read() as snapshot:
        keys = snapshot.catalog.chunk_keys_between(live.row.first, live.row.last)
        found = snapshot.catalog.found(keys)
    if embedder is None or not all(row.encoded for row in found.values()):
        return []  # some vectors were given by the caller
    parts: list[Points] = []
    try:
        for at in range(0, len(keys), _ENCODED_AT_ONCE):
            rows = [found[key] for key in keys[at : at + _ENCODED_AT_ONCE]]
            parts.append(embedder.encode([_content(row, embedder) for row in rows]))
    except InvalidArgument as error:
        return [f"{live.file.path.name}: not encoded again: {error}"]
    points = Points.joined(parts, store.space)
    writer.replace_segment(live, np.array(keys, np.int64), points)
    return [f"{live.file.path.name}: {len(keys)} chunks encoded again"]


def _content(row: FoundRow, embedder: Embedder) -> Content:
    """What was encoded for a chunk.

    Raises:
        InvalidArgument: It is a picture that is not there any more.
    """
    return embedder.again(row.title, passage_of(row), row.source)
