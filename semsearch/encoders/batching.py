"""Rows of tokens into batches: like lengths together, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Tokens = NDArray[np.int32]

_WIDTH_STEP = 8  # few widths, so that what a runtime prepares for a shape is used again


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the rows, padded to one width.

    Attributes:
        places: Where the rows were in the list given, `(n,)`.
        ids: Token ids, `(n, width)` int64.
        mask: 1 for a token, 0 for padding, `(n, width)` int64.
    """

    places: NDArray[np.intp]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


def batches(rows: Sequence[Tokens], budget: int, pad: int, most: int) -> Iterator[Batch]:
    """All rows, the longest first, in batches of at most `budget` tokens with their padding.

    Args:
        rows: Token ids, one row a text.
        budget: Tokens of a batch; a row longer than that is a batch of its own.
        pad: Id that fills a row up.
        most: Length of the longest row there may be.
    """
    lengths = np.array([len(row) for row in rows], np.intp)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        width = max(1, min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, most))
        n = max(1, budget // width)
        yield _padded(rows, order[start : start + n], width, pad)
        start += n


def _padded(rows: Sequence[Tokens], places: NDArray[np.intp], width: int, pad: int) -> Batch:
    ids = np.full((len(places), width), pad, np.int64)
    mask = np.zeros((len(places), width), np.int64)
    for at, place in enumerate(places):
        row = rows[place]
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return Batch(places, ids, mask)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
