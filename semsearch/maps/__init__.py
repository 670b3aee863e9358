"""Maps of an index: every passage a point in the plane, near to those that it is like."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.cache import cache_folder, writing
from semsearch.maps.projection import METHOD, project
from semsearch.maps.topics import Topic, topics
from semsearch.reader import Reader
from semsearch.sample import Sample

POINTS = 20_000
"""Passages of a map, unless more are asked for; of a larger index a sample."""

MOST_POINTS = 100_000
"""Passages of the largest map."""

Points = NDArray[np.float32]

__all__ = ["MOST_POINTS", "POINTS", "Map", "Points", "Topic", "draw"]


@dataclass(frozen=True, slots=True)
class Map:
    """Where the passages of a sample are.

    Attributes:
        sample: The passages.
        points: `(n, 2)`, each at least 0; the longer side of the map is 1. Up is more.
        topics: What is spoken of where, the most common first.
    """

    sample: Sample
    points: Points
    topics: list[Topic]


def draw(
    reader: Reader, most: int = POINTS, progress: Callable[[float], None] = lambda _: None
) -> Map:
    """Draw the map of an index.

    Where the points are is kept in the user's cache, for the commit that they are of.

    Args:
        reader: The index.
        most: Passages on the map, at most `MOST_POINTS`; of more in the index a sample is drawn.
        progress: Told the share that is done, from 0 to 1. What it raises ends the work.

    Raises:
        DependencyMissing: The extra `map` is not installed.
        IndexCorrupt: The index is damaged.
    """
    sample = reader.sample(min(most, MOST_POINTS))
    points = _projected(sample, progress)
    texts = [f"{passage.title} {sample.text(passage)}" for passage in sample.passages]
    return Map(sample, points, topics(points, texts))


def _projected(sample: Sample, progress: Callable[[float], None]) -> Points:
    entry = _entry(sample)
    known = _kept(entry, len(sample.passages))
    if known is not None:
        return known
    points = project(sample.vectors, progress)
    with suppress(OSError):  # drawing it again costs time, nothing else
        _keep(entry, points)
    return points


def _entry(sample: Sample) -> Path:
    """Where a sample's points are kept: what they are made of makes up the name."""
    made_of = f"{METHOD} {sample.version} {len(sample.passages)}"
    name = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    return cache_folder() / "maps" / sample.index / f"{name}.npy"


def _kept(entry: Path, number: int) -> Points | None:
    try:
        points: Points = np.load(entry, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return points if points.shape == (number, 2) and points.dtype == np.float32 else None


def _keep(entry: Path, points: Points) -> None:
    """Keep points in place of those of earlier commits."""
    with writing(entry) as new, new.open("wb") as file:
        np.save(file, points, allow_pickle=False)
    for other in entry.parent.glob("*.npy"):
        if other != entry:
            other.unlink(missing_ok=True)
