"""What is kept of a commit between queries: segments, deletions, what filters left, words."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError
from semsearch.filters import Filter
from semsearch.points import Points
from semsearch.segment_file import Layout, SegmentFile, corrupt
from semsearch.storage.reading import ReadTransaction
from semsearch.storage.rows import SegmentRow
from semsearch.storage.word_scores import WordScores
from semsearch.vectors.base import Allowed, Neighbours

_SELECTIONS_KEPT = 16

_SAMPLED_FROM = 10_000
"""Rows from which the share that a filter leaves is estimated; of fewer, all that match are looked
up at once."""

_SAMPLE = 200


class LiveSegment:
    """A segment as of one commit: the file and the rows that can be found.

    Args:
        row: What the catalog records of it.
        file: Its files.
        dead: Keys of the chunks that were deleted by then, ascending.
        only: Rows that a filter left; by default those that are not dead.
    """

    def __init__(
        self,
        row: SegmentRow,
        file: SegmentFile,
        dead: NDArray[np.int64],
        only: Allowed | None = None,
    ) -> None:
        self.row = row
        self.file = file
        self.dead = dead
        self._only = only

    @property
    def files(self) -> list[Path]:
        """The files that the commit names."""
        derived = [self.file.derived_path] if self.row.index_bytes else []
        return [self.file.path, *derived]

    @property
    def live(self) -> int:
        """How many rows can be found."""
        return self.row.rows - len(self.dead) if self._only is None else self._only.count

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
            raise corrupt(self.file.path, "a vector in it is damaged") from error

    def plan(self, k: int) -> str:
        """How `search` goes about it, in words."""
        return f"{self.row.kind}, {self.file.index.plan(k, self.allowed)}"

    @cached_property
    def allowed(self) -> Allowed | None:
        """The live rows; None when all are."""
        if self._only is not None or not len(self.dead):
            return self._only
        mask = np.ones(self.row.rows, dtype=np.bool_)
        mask[_rows_of(self.file, self.dead)] = False
        return Allowed(mask)

    def narrowed(self, wanted: NDArray[np.int64]) -> LiveSegment:
        """The segment with only the `wanted` of its live chunks.

        Args:
            wanted: Keys of live chunks of any segment, ascending.
        """
        low, high = np.searchsorted(wanted, [self.row.first, self.row.last + 1])
        mask = np.zeros(self.row.rows, dtype=np.bool_)
        mask[_rows_of(self.file, wanted[low:high])] = True
        return LiveSegment(self.row, self.file, self.dead, Allowed(mask))

    def live_keys(self) -> NDArray[np.int64]:
        """Keys of the live rows, ascending."""
        keys = self.file.data.keys
        return keys if self.allowed is None else keys[self.allowed.mask]

    def points(self, keys: NDArray[np.int64]) -> Points:
        """A copy of the points of keys that are in this segment."""
        data, rows = self.file.data, _rows_of(self.file, keys)
        return Points(data.vectors[rows], data.latents[rows])


def _rows_of(file: SegmentFile, keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of chunk keys in a segment."""
    known = file.data.keys
    rows = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    if not np.array_equal(known[rows], keys):
        raise corrupt(file.path, "a chunk has no vector")
    return rows


@dataclass(slots=True)
class Selection:
    """What is known of a filter.

    Attributes:
        share: Of the passages that match it, estimated from a sample; 0 when there are few.
        checked: Passages that were found without it and then held against it, until now.
        segments: What it leaves of the segments, once it was looked up.
    """

    share: float
    checked: int = 0
    segments: tuple[LiveSegment, ...] | None = None


class Selections:
    """What is known of the filters met in one commit; forgotten with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Filter, Selection] = OrderedDict()

    def of(self, where: Filter, estimate: Callable[[], float]) -> Selection:
        """What is kept of a filter; the one that was not asked for longest goes for a new one."""
        with self._lock:
            found = self._kept.get(where)
            if found is not None:
                self._kept.move_to_end(where)
                return found
        new = Selection(estimate())
        with self._lock:
            kept = self._kept.setdefault(where, new)
            if len(self._kept) > _SELECTIONS_KEPT:
                self._kept.popitem(last=False)
        return kept


@dataclass(frozen=True, slots=True)
class View:
    """The part of a snapshot that is kept between queries."""

    version: int
    last_deletion: int
    segments: tuple[LiveSegment, ...]
    selections: Selections
    words: WordScores

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
            words=WordScores(),
        )


def sampled_keys(segments: Sequence[LiveSegment]) -> NDArray[np.int64]:
    """Keys of rows drawn from all segments alike; none where there are few."""
    ends = np.cumsum([live.row.rows for live in segments])
    if not len(ends) or ends[-1] < _SAMPLED_FROM:
        return np.empty(0, np.int64)
    drawn = np.sort(np.random.default_rng(0).integers(ends[-1], size=_SAMPLE))
    owners = np.searchsorted(ends, drawn, side="right")
    return np.array(
        [
            segments[owner].file.data.keys[row - ends[owner]]
            for owner, row in zip(owners.tolist(), drawn.tolist(), strict=True)
        ],
        np.int64,
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
