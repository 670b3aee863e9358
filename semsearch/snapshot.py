"""What a reader sees: one commit of an index, until it asks for the next."""

from __future__ import annotations

import json
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError, IndexCorrupt, StorageError
from semsearch.filters import Filter
from semsearch.storage.checksum import content_hash, ends_checksum, file_checksum
from semsearch.storage.reading import ReadTransaction
from semsearch.storage.rows import ChunkRow, DocumentRow, SegmentRow, State
from semsearch.storage.segments import Segment, SegmentHeader, read_segment
from semsearch.types import Chunk, Document, Hit, LatentSpace, Span
from semsearch.vectors import backend
from semsearch.vectors.base import Neighbours, VectorIndex

_LARGEST_SCORE = 1.001

_SELECTIONS_KEPT = 16


class DegradedIndexWarning(UserWarning):
    """A derived index file is unusable; its segment is searched exactly, which is slower."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of one index are, and what they must say of themselves."""

    folder: Path
    index_id: str
    space: LatentSpace

    @property
    def segments(self) -> Path:
        """Folder of all segments."""
        return self.folder / "segments"

    def segment(self, number: int) -> Path:
        """Arrow file of a segment."""
        return self.segments / f"{number:06d}.arrow"

    def derived(self, number: int) -> Path:
        """Derived index file of a segment."""
        return self.segments / f"{number:06d}.faiss"

    def header(self, number: int, version: int) -> SegmentHeader:
        """What a segment written by commit `version` says of itself."""
        return SegmentHeader(self.index_id, number, version, self.space.fingerprint)


class SegmentFile:
    """A segment's files, mapped when first needed and shared by all snapshots that hold it."""

    def __init__(self, layout: Layout, row: SegmentRow) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._data: Segment | None = None
        self._index: VectorIndex | None = None
        self._sound = False
        self._row = row

    @property
    def data(self) -> Segment:
        """The mapped segment.

        Raises:
            IndexCorrupt: Missing, damaged, or not the file that the catalog recorded.
        """
        with self._lock:
            if self._data is None:
                self._data = self._map()
            return self._data

    @property
    def path(self) -> Path:
        """The Arrow file."""
        return self._layout.segment(self._row.number)

    @property
    def derived_path(self) -> Path:
        """The derived index file, if there is one."""
        return self._layout.derived(self._row.number)

    def _map(self) -> Segment:
        path = self.path
        _check_file(path, self._row.bytes, self._row.ends)
        data = read_segment(path)
        expected = self._layout.header(self._row.number, data.header.version)
        if data.header != expected:
            raise _corrupt(path, "it is another segment, or another index's")
        if data.vectors.shape != (self._row.rows, self._layout.space.dim):
            raise _corrupt(path, f"it holds {data.vectors.shape} vectors")
        keys, bounds = data.keys, (self._row.first, self._row.last)
        if np.any(np.diff(keys) <= 0) or (keys[0], keys[-1]) != bounds:
            raise _corrupt(path, "its chunk keys are not those recorded")
        return data

    def check(self) -> Segment:
        """The mapped segment, after reading its file whole.

        Raises:
            IndexCorrupt: A byte is not what was written.
        """
        data = self.data
        with _reading(self.path):
            if file_checksum(self.path) != self._row.sha256:
                raise _corrupt(self.path, "the file was changed")
        return data

    def check_once(self) -> None:
        """Like `check`, unless it was found sound before: then it still is what was written.

        Raises:
            IndexCorrupt: A byte is not what was written.
        """
        if not self._sound:
            self.check()
            self._sound = True

    def check_derived(self) -> VectorIndex:
        """The derived index, after reading its file whole.

        Raises:
            IndexCorrupt: A byte is not what was written.
        """
        index = self.load_derived(self.data)
        with _reading(self.derived_path):
            if file_checksum(self.derived_path) != self._row.index_sha256:
                raise _corrupt(self.derived_path, "the file was changed")
        return index

    def hold(self) -> None:
        """Map both files now, so that they can be used also when a writer has removed them.

        Raises:
            IndexCorrupt: One is missing or damaged.
        """
        data = self.data
        with self._lock:
            if self._index is None and self._row.index_bytes:
                self._index = self.load_derived(data)

    @property
    def index(self) -> VectorIndex:
        """The vector index over the segment's rows."""
        data = self.data
        with self._lock:
            if self._index is None:
                self._index = self._load(data)
            return self._index

    def _load(self, data: Segment) -> VectorIndex:
        if not self._row.index_bytes:
            return backend(self._row.kind).build(data.vectors)
        try:
            return self.load_derived(data)
        except StorageError as error:
            warnings.warn(
                f"{error}; its vectors are searched exactly, which is slower. "
                "Run `semsearch repair`.",
                DegradedIndexWarning,
                stacklevel=2,
            )
            return backend("exact").build(data.vectors)

    def load_derived(self, data: Segment) -> VectorIndex:
        """Load the derived file, whatever a reader would fall back to.

        Raises:
            IndexCorrupt: Missing or damaged.
        """
        path = self.derived_path
        _check_file(path, self._row.index_bytes, self._row.index_ends)
        return backend(self._row.kind).load(path, data.vectors)


def _check_file(path: Path, size: int, ends: str) -> None:
    """Whether a file is, by its size and its ends, the one that was written."""
    with _reading(path):
        if not path.is_file():
            raise _corrupt(path, "it is not a file" if path.exists() else "the file is missing")
        found = path.stat().st_size
        if found != size:
            raise _corrupt(path, f"{found} bytes, but {size} were written")
        if ends_checksum(path) != ends:
            raise _corrupt(path, "the file was changed, or is another segment's")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _corrupt(path, "the file is missing") from error
    except PermissionError as error:
        raise StorageError(f"{path}: no permission to read it; check its owner and mode") from error
    except OSError as error:
        raise _corrupt(path, f"cannot be read ({error.strerror or error})") from error


def _corrupt(path: Path, what: str) -> IndexCorrupt:
    return IndexCorrupt(f"{path}: {what}; run `semsearch repair`")


class LiveSegment:
    """A segment as of one commit: the file and the rows that were dead by then."""

    def __init__(self, row: SegmentRow, file: SegmentFile, dead: NDArray[np.int64]) -> None:
        self.row = row
        self.file = file
        self.dead = dead

    @property
    def files(self) -> list[Path]:
        """The files that the commit names."""
        derived = [self.file.derived_path] if self.row.index_bytes else []
        return [self.file.path, *derived]

    @property
    def live(self) -> int:
        """How many rows can be found."""
        return self.row.rows - len(self.dead)

    def search(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """Nearest live rows of each query.

        Raises:
            IndexCorrupt: A file is damaged.
            BackendError: The library below failed.
        """
        try:
            return self.file.index.search(queries, k, allowed=self.allowed)
        except BackendError as error:
            if np.isfinite(self.file.data.vectors).all():
                raise
            raise _corrupt(self.file.path, "a vector in it is damaged") from error

    @cached_property
    def allowed(self) -> NDArray[np.bool_] | None:
        """`(rows,)` mask of the live rows; None when all are."""
        if not len(self.dead):
            return None
        mask = np.ones(self.row.rows, dtype=np.bool_)
        mask[_rows_of(self.file, self.dead)] = False
        return mask

    def narrowed(self, wanted: NDArray[np.int64]) -> LiveSegment:
        """The segment as if all but the `wanted` chunks (keys, ascending) were deleted."""
        others = np.setdiff1d(self.file.data.keys, wanted, assume_unique=True)
        return LiveSegment(self.row, self.file, np.union1d(self.dead, others))

    def live_keys(self) -> NDArray[np.int64]:
        """Keys of the live rows, ascending."""
        keys = self.file.data.keys
        return keys if self.allowed is None else keys[self.allowed]

    def vectors(self, keys: Sequence[int]) -> NDArray[np.float32]:
        """`(len(keys), dim)`: a copy of the vectors of keys that are in this segment."""
        return self.file.data.vectors[_rows_of(self.file, np.asarray(keys, np.int64))]


def _rows_of(file: SegmentFile, keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of chunk keys in a segment."""
    known = file.data.keys
    rows = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    if not np.array_equal(known[rows], keys):
        raise _corrupt(file.path, "a chunk has no vector")
    return rows


class Selections:
    """What filters left of the segments of one commit; forgotten with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Filter, tuple[LiveSegment, ...]] = OrderedDict()

    def get(self, where: Filter) -> tuple[LiveSegment, ...] | None:
        """What was put for a filter, unless it was long ago."""
        with self._lock:
            if where in self._kept:
                self._kept.move_to_end(where)
            return self._kept.get(where)

    def put(self, where: Filter, segments: tuple[LiveSegment, ...]) -> None:
        """Keep what a filter left; the one that was not asked for longest goes."""
        with self._lock:
            self._kept[where] = segments
            if len(self._kept) > _SELECTIONS_KEPT:
                self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class View:
    """The part of a snapshot that is kept between queries: segments and deletions of a commit."""

    version: int
    last_deletion: int
    segments: tuple[LiveSegment, ...]
    selections: Selections

    @classmethod
    def of(cls, transaction: ReadTransaction, layout: Layout, previous: View | None) -> View:
        """Read the view of the transaction's commit, taking over what `previous` already has."""
        after = previous.last_deletion if previous else 0
        deletions = transaction.deletions_after(after)
        newly_dead = np.array(sorted(chunk for _, chunk in deletions), dtype=np.int64)
        known = {live.row.number: live for live in previous.segments} if previous else {}
        return cls(
            version=transaction.version(),
            last_deletion=deletions[-1][0] if deletions else after,
            segments=tuple(
                _live(known.get(row.number), layout, row, newly_dead)
                for row in transaction.segments()
            ),
            selections=Selections(),
        )


def _live(
    known: LiveSegment | None, layout: Layout, row: SegmentRow, newly_dead: NDArray[np.int64]
) -> LiveSegment:
    low, high = np.searchsorted(newly_dead, [row.first, row.last + 1])
    dead = newly_dead[low:high]
    if known is None:
        return LiveSegment(row, SegmentFile(layout, row), dead)
    if not len(dead):
        return known
    return LiveSegment(row, known.file, np.sort(np.concatenate([known.dead, dead])))


class Snapshot:
    """One commit, consistent in all its parts while its transaction lasts."""

    def __init__(self, layout: Layout, transaction: ReadTransaction, view: View) -> None:
        self._layout = layout
        self._view = view
        self.catalog = transaction

    @property
    def space(self) -> LatentSpace:
        """Latent space of the vectors."""
        return self._layout.space

    @property
    def version(self) -> int:
        """Number of the commit."""
        return self._view.version

    @property
    def segments(self) -> tuple[LiveSegment, ...]:
        """Live segments, in the order of their chunk keys."""
        return self._view.segments

    def selected(self, where: Filter) -> tuple[LiveSegment, ...]:
        """The segments with only the chunks of matching documents alive."""
        found = self._view.selections.get(where)
        if found is None:
            matching = np.array(self.catalog.matching_chunks(where), np.int64)
            found = tuple(live.narrowed(matching) for live in self.segments)
            self._view.selections.put(where, found)
        return found

    def state(self) -> State:
        """Counters of the commit."""
        return self.catalog.state()

    def get(self, ids: Iterable[str]) -> dict[str, Document]:
        """The documents that exist among `ids`.

        Raises:
            IndexCorrupt: One of them is damaged.
        """
        rows = self.catalog.documents(ids)
        pieces = self.catalog.chunks_of(row.key for row in rows.values())
        return {id_: self._document(row, pieces[row.key]) for id_, row in rows.items()}

    def __iter__(self) -> Iterator[Document]:
        """All documents, in the order they were added.

        Raises:
            IndexCorrupt: The next one is damaged.
        """
        after = 0
        while page := self.catalog.document_page(after):
            pieces = self.catalog.chunks_of(row.key for row in page)
            for row in page:
                yield self._document(row, pieces[row.key])
            after = page[-1].key

    def _document(self, row: DocumentRow, chunks: Sequence[ChunkRow]) -> Document:
        self._check(row, chunks)
        return _document(row, chunks)

    def _check(self, row: DocumentRow, chunks: Sequence[ChunkRow]) -> None:
        damage = document_damage(row, chunks)
        if damage:
            raise IndexCorrupt(
                f"{self._layout.folder / 'catalog.db'}: document {row.id!r}: {damage}; "
                "delete it and add it again, or restore the file from a backup"
            )

    def hits(self, keys: Sequence[int], scores: Sequence[float]) -> list[Hit]:
        """Hits for chunk keys and their scores, in the order given.

        Raises:
            IndexCorrupt: A live vector has no chunk.
        """
        chunks = self.catalog.chunks(keys)
        if len(chunks) != len(set(keys)) or not all(row.intact for row in chunks.values()):
            raise self._damaged("a chunk that was found is damaged or missing")
        documents = self.catalog.documents_by_key({row.document for row in chunks.values()})
        found = [(documents.get(chunks[key].document), chunks[key]) for key in keys]
        return [
            self._hit(document, chunk, score)
            for (document, chunk), score in zip(found, scores, strict=True)
        ]

    def _hit(self, document: DocumentRow | None, chunk: ChunkRow, score: float) -> Hit:
        if document is None or not document.intact:
            raise self._damaged("a document that was found is damaged or missing")
        return _hit(document, chunk, score)

    def cosines(
        self, keys: NDArray[np.int64], scores: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Products of chunk vectors with a query as cosines: rounding may have passed the ends.

        Raises:
            IndexCorrupt: One is beyond, which tells of a damaged vector without reading its file.
        """
        for key, score in zip(keys.tolist(), scores.tolist(), strict=True):
            if not abs(score) <= _LARGEST_SCORE:
                firsts = [live.row.first for live in self.segments]
                file = self.segments[int(np.searchsorted(firsts, key, side="right")) - 1].file
                raise _corrupt(file.path, f"a vector in it is damaged (score {score})")
        return np.clip(scores.astype(np.float64), -1.0, 1.0)

    def _damaged(self, what: str) -> IndexCorrupt:
        path = self._layout.folder / "catalog.db"
        return IndexCorrupt(f"{path}: {what}; `semsearch verify` says which")

    def vectors(self, ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of the documents that exist among `ids`: `(chunks, dim)` in reading order.

        Raises:
            IndexCorrupt: A document or a segment is damaged.
        """
        return {
            id_: self.chunk_vectors([chunk.key for chunk in chunks])
            for id_, chunks in self._chunks(ids).items()
        }

    def chunks(self, ids: Iterable[str]) -> dict[str, list[Chunk]]:
        """Chunks of the documents that exist among `ids`, in reading order.

        Raises:
            IndexCorrupt: A document is damaged.
        """
        return {
            id_: [Chunk(Span(*chunk.span), chunk.passage) for chunk in chunks]
            for id_, chunks in self._chunks(ids).items()
        }

    def _chunks(self, ids: Iterable[str]) -> dict[str, list[ChunkRow]]:
        rows = self.catalog.documents(ids)
        chunks = self.catalog.chunks_of(row.key for row in rows.values())
        for row in rows.values():
            self._check(row, chunks[row.key])
        return {id_: chunks[row.key] for id_, row in rows.items()}

    def encoded(
        self, ids: Iterable[str]
    ) -> Iterator[tuple[str, str, list[tuple[str, NDArray[np.float32]]]]]:
        """Id, title, and text and vector of every chunk of those `ids` with several chunks.

        The segments are read whole: a copy of a damaged vector would pass for sound.

        Raises:
            IndexCorrupt: A document or a segment is damaged.
        """
        rows = self.catalog.documents(ids)
        chunks = self.catalog.chunks_of(row.key for row in rows.values())
        for row in rows.values():
            if len(found := chunks[row.key]) > 1:
                self._check(row, found)
                vectors = self.chunk_vectors([chunk.key for chunk in found], whole=True)
                texts = [chunk.passage for chunk in found]
                yield row.id, row.title, list(zip(texts, vectors, strict=True))

    def chunk_vectors(self, keys: Sequence[int], *, whole: bool = False) -> NDArray[np.float32]:
        """`(len(keys), dim)` float32 unit vectors of chunks, `keys` ascending.

        Args:
            keys: Keys of chunks.
            whole: Hold the files that they are in against their checksums first.

        Raises:
            IndexCorrupt: A chunk is in no segment, or a file is damaged.
        """
        firsts = [live.row.first for live in self.segments]
        owners = np.searchsorted(firsts, keys, side="right") - 1
        if len(owners) and min(owners) < 0:
            raise self._damaged("a chunk is in no segment")
        if whole:
            for owner in np.unique(owners).tolist():
                self.segments[owner].file.check_once()
        parts = [
            self.segments[owner].vectors(np.asarray(keys)[owners == owner].tolist())
            for owner in np.unique(owners).tolist()
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.space.dim), np.float32)


def document_damage(row: DocumentRow, chunks: Sequence[ChunkRow]) -> str | None:
    """What is wrong with a document and all its chunks, if anything."""
    if not row.intact:
        return "its row was changed"
    if not all(chunk.intact for chunk in chunks):
        return "a chunk of it was changed"
    if [chunk.ordinal for chunk in chunks] != list(range(len(chunks))) or not chunks:
        return "a chunk of it is missing"
    if content_hash(_document(row, chunks)) != row.hash:
        return "its text is not the one that was added"
    return None


def _document(row: DocumentRow, chunks: Sequence[ChunkRow]) -> Document:
    return Document(
        id=row.id,
        text="".join(chunk.piece for chunk in chunks),
        title=row.title,
        metadata=json.loads(row.metadata),
        source=row.source,
    )


def _hit(document: DocumentRow, chunk: ChunkRow, score: float) -> Hit:
    return Hit(
        id=document.id,
        score=score,
        text=chunk.passage,
        metadata=json.loads(document.metadata),
        source=document.source,
        span=Span(*chunk.span),
        title=document.title,
        chunk=chunk.key,
    )
