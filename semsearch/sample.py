"""Passages of an index with their vectors: all of them, or some that stand for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.snapshot import Snapshot
from semsearch.types import Hit, Modality


@dataclass(frozen=True, slots=True)
class Sample:
    """Passages of one commit, in the order they were added.

    Attributes:
        index: Id of the index, as it was given when it was made.
        modality: What it holds.
        version: Number of the commit.
        total: Passages of the index; more than there are here when some were drawn.
        passages: As a search gives them; nobody searched, so their scores are 0.
        vectors: `(len(passages), dim)` float32 of unit length.
    """

    index: str
    modality: Modality
    version: int
    total: int
    passages: list[Hit]
    vectors: NDArray[np.float32]

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "picture" if self.modality == "image" else "passage"

    def text(self, passage: Hit) -> str:
        """What people read of a passage: its text, or of a picture, which has none, its id."""
        return passage.id if self.modality == "image" else passage.text


def draw(snapshot: Snapshot, most: int) -> Sample:
    """At most so many passages; the same ones whenever the same commit is asked.

    Raises:
        IndexCorrupt: A text or a vector is damaged.
    """
    parts = [live.live_keys() for live in snapshot.segments]
    keys = np.concatenate(parts) if parts else np.empty(0, np.int64)
    total = len(keys)
    if total > most:
        keys = np.sort(np.random.default_rng(0).choice(keys, most, replace=False))
    chosen = keys.tolist()
    return Sample(
        index=snapshot.index,
        modality=snapshot.space.modality,
        version=snapshot.version,
        total=total,
        passages=snapshot.hits(chosen, [0.0] * len(chosen)),
        vectors=snapshot.chunk_vectors(chosen),
    )
