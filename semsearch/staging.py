"""The files of a new segment, written before a transaction names them."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import IndexCorrupt, StorageError
from semsearch.points import Points
from semsearch.recipe import EXACT, Recipe
from semsearch.segment_file import Layout
from semsearch.storage.checksum import ends_checksum, file_checksum
from semsearch.storage.durable import rename_flushed, storage_errors, write_flushed
from semsearch.storage.rows import SegmentRow, State
from semsearch.storage.segments import write_segment
from semsearch.vectors import backend
from semsearch.view import LiveSegment

_BLOCK = 4096


class Staging:
    """Where one writer puts files that no transaction has named yet; a sweep removes them."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._suffix = f".{uuid.uuid4().hex}.tmp"

    def write(
        self,
        state: State,
        keys: NDArray[np.int64],
        points: Points,
        recipe: Recipe = EXACT,
    ) -> SegmentRow:
        """Write the next segment and its derived index, flushed, under names of their own.

        Args:
            state: Of the newest commit.
            keys: Of its rows, ascending.
            points: As many.
            recipe: How its vector index is made.

        Returns:
            What the catalog is to say of it.

        Raises:
            StorageError: Disk full, ...
        """
        number = state.next_segment
        path = self._staged(self._layout.segment(number))
        write_segment(path, self._layout.header(number, state.version + 1), keys, points)
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
            return self._with_derived(row, points.vectors, recipe)

    def _with_derived(
        self, row: SegmentRow, vectors: NDArray[np.float32], recipe: Recipe
    ) -> SegmentRow:
        kind = recipe.kind
        if not backend(kind).derived:
            return replace(row, kind=kind)
        path = self._staged(self._layout.derived(row.number))
        index = backend(kind).build(
            vectors, target_recall=recipe.target_recall, report=recipe.report
        )

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

    def publish(self, row: SegmentRow) -> None:
        """Give a segment's files their own names."""
        paths = [self._layout.segment(row.number)]
        if row.index_bytes:
            paths.append(self._layout.derived(row.number))
        rename_flushed(
            self._layout.segments, {self._staged(path).name: path.name for path in paths}
        )

    @contextmanager
    def spool(self, segments: Sequence[LiveSegment]) -> Iterator[Points]:
        """Live points of segments in unnamed files, so that a merge needs little memory.

        Written, then mapped: to fill a map on a full disk kills the process.
        """
        space = self._layout.space
        with self._temporary() as of_vectors, self._temporary() as of_latents:
            for live in segments:
                for block in _live_blocks(live):
                    of_vectors.write(np.ascontiguousarray(block.vectors).data)
                    of_latents.write(np.ascontiguousarray(block.latents).data)
            vectors = _mapped(of_vectors, np.float32, space.dim)
            if space.latent_size:
                yield Points(vectors, _mapped(of_latents, np.float16, space.latent_size))
            else:
                yield Points.of(vectors)

    def _temporary(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._layout.segments, suffix=".tmp")


def _mapped(file: IO[bytes], dtype: type[np.generic], size: int) -> NDArray[Any]:
    file.flush()
    rows: NDArray[Any] = np.memmap(file, dtype, "r").reshape(-1, size)
    return rows


def _live_blocks(live: LiveSegment) -> Iterator[Points]:
    """Points that are not deleted, block by block.

    Raises:
        IndexCorrupt: The file is damaged: a copy of it would pass for sound.
    """
    points, allowed = live.file.check().points, live.allowed
    for at in range(0, len(points), _BLOCK):
        block = slice(at, at + _BLOCK)
        yield points[block] if allowed is None else points[block][allowed.mask[block]]
