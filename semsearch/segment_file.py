"""The files of one segment: found, held against what the catalog recorded, and mapped."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semsearch.errors import IndexCorrupt, StorageError
from semsearch.storage.checksum import ends_checksum, file_checksum
from semsearch.storage.rows import SegmentRow
from semsearch.storage.segments import Segment, SegmentHeader, read_segment
from semsearch.types import LatentSpace
from semsearch.vectors import KINDS, backend
from semsearch.vectors.base import Facts, VectorIndex


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
            raise corrupt(path, "it is another segment, or another index's")
        if data.vectors.shape != (self._row.rows, self._layout.space.dim):
            raise corrupt(path, f"it holds {data.vectors.shape} vectors")
        if data.latents.shape[1] != self._layout.space.latent_size:
            raise corrupt(path, f"it holds latents of {data.latents.shape[1]} numbers")
        keys, bounds = data.keys, (self._row.first, self._row.last)
        if np.any(np.diff(keys) <= 0) or (keys[0], keys[-1]) != bounds:
            raise corrupt(path, "its chunk keys are not those recorded")
        return data

    def check(self) -> Segment:
        """The mapped segment, after reading its file whole.

        Raises:
            IndexCorrupt: A byte is not what was written.
        """
        data = self.data
        with _reading(self.path):
            if file_checksum(self.path) != self._row.sha256:
                raise corrupt(self.path, "the file was changed")
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
                raise corrupt(self.derived_path, "the file was changed")
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

    def facts(self) -> Facts:
        """What the vector index says of itself; nothing when its file is damaged or missing."""
        if not self._row.index_bytes:
            return Facts()
        if self._index is not None and self._index.kind == self._row.kind:
            return self._index.facts()
        try:
            return self.load_derived(self.data).facts()
        except StorageError:
            return Facts()

    def load_derived(self, data: Segment) -> VectorIndex:
        """Load the derived file, whatever a reader would fall back to.

        Raises:
            IndexCorrupt: Missing or damaged.
        """
        path = self.derived_path
        if self._row.kind not in KINDS:
            raise corrupt(path, f"this semsearch has no kind {self._row.kind!r}")
        _check_file(path, self._row.index_bytes, self._row.index_ends)
        return backend(self._row.kind).load(path, data.vectors)


def _check_file(path: Path, size: int, ends: str) -> None:
    """Whether a file is, by its size and its ends, the one that was written."""
    with _reading(path):
        if not path.is_file():
            raise corrupt(path, "it is not a file" if path.exists() else "the file is missing")
        found = path.stat().st_size
        if found != size:
            raise corrupt(path, f"{found} bytes, but {size} were written")
        if ends_checksum(path) != ends:
            raise corrupt(path, "the file was changed, or is another segment's")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise corrupt(path, "the file is missing") from error
    except PermissionError as error:
        raise StorageError(f"{path}: no permission to read it; check its owner and mode") from error
    except OSError as error:
        raise corrupt(path, f"cannot be read ({error.strerror or error})") from error


def corrupt(path: Path, what: str) -> IndexCorrupt:
    """The error of a damaged file that `repair` may mend."""
    return IndexCorrupt(f"{path}: {what}; run `semsearch repair`")
