"""The seam between the engine and whatever finds nearest vectors inside one segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument

Vectors = NDArray[np.float32]
"""`(n, dim)` float32, C-contiguous, rows of unit length (or zero)."""


Report = Callable[[str, int, int], None]
"""Told of what is done in a long build: the step, how much of it, of how much."""

TARGET_RECALL = 0.95
"""Share of the true ten nearest that an approximate index finds unless more is asked for."""


_COPIED = 512
"""Allowed rows up to which a copy of them is kept: they fit in a core's own cache."""


def unreported(_step: str, _done: int, _total: int) -> None:
    """Tell nobody."""


class Allowed:
    """The rows of one matrix that a search may return, in the forms that searches take.

    Each form is made once, when first needed: keep the object between searches.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        """Take the mask over; it must not change afterwards.

        Args:
            mask: `(n,)` bool.

        Raises:
            InvalidArgument: Not a one-dimensional boolean array.
        """
        if mask.dtype != np.bool_ or mask.ndim != 1:
            raise InvalidArgument(
                f"allowed: expected bool of shape (n,), got {mask.dtype} {mask.shape}"
            )
        self.mask = mask
        self.count = int(np.count_nonzero(mask))
        self._copied: Vectors | None = None

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The allowed rows, ascending."""
        return np.flatnonzero(self.mask)

    def copied(self, vectors: Vectors) -> Vectors | None:
        """The allowed rows of the matrix, copied; None where they are too many to be kept."""
        if self._copied is None and self.count <= _COPIED:
            self._copied = vectors[self.rows]
        return self._copied

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask with eight rows in a byte, the first in the lowest bit."""
        return np.packbits(self.mask, bitorder="little")


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of an index on its own rows when it was built.

    Attributes:
        recall: Share of the true `k` nearest that were found, from 0 to 1.
        k: How many nearest were looked for.
        sample: How many rows were the queries.
    """

    recall: float
    k: int
    sample: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What an index says of itself.

    Attributes:
        parameters: What it was built with or what was tuned on its rows.
        quality: None for exact kinds, and when there were too few rows to measure.
    """

    parameters: Mapping[str, int | float | str] = field(default_factory=dict)
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search for one query goes about it.

    Attributes:
        scored: How many rows are scored exactly.
        lists: How many lists their codes are ranked in first; 0 where there are none, and for a
            scan of all allowed rows.
        of_lists: How many lists there are.
        codes: How many codes are ranked first, without lists.
        breadth: How many of the rows it met a walk through a graph keeps; 0 for no walk.
    """

    scored: int
    lists: int = 0
    of_lists: int = 0
    codes: int = 0
    breadth: int = 0

    def __str__(self) -> str:
        """In words."""
        scored = f"{self.scored:,} vectors scored"
        if self.lists:
            return f"{self.lists:,} of {self.of_lists:,} lists looked into, {scored}"
        if self.codes:
            return f"{self.codes:,} codes ranked, {scored}"
        if self.breadth:
            return f"a graph walked, {self.breadth:,} vectors wide, {scored}"
        return scored


class Neighbours(NamedTuple):
    """Best rows for each query, nearest first, equal similarities by ascending row.

    Both arrays have shape `(n_queries, min(k, rows allowed))`: a library's padding ids never
    get here.
    """

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]


class Unlinked:
    """Of kinds where no row leads to another."""

    def apart(self, groups: Sequence[NDArray[np.int64]]) -> Sequence[AbstractContextManager[None]]:
        """See `VectorIndex.apart`; lists and codes are hardly made of single rows."""
        return [nullcontext()] * len(groups)


class VectorIndex(Protocol):
    """Nearest neighbours by inner product over the rows of one segment's matrix.

    Positions, not ids: the caller knows which chunk a row belongs to. The matrix is never copied;
    it is usually memory-mapped. An index is derived data: `save` writes only what cannot be had
    from the matrix, `load` binds it to the same matrix again. Searches may run concurrently.

    The similarity of a query and a row is `scoring.similarities` of the two, to the last bit,
    whichever index, filter or batch found the row: so results of several segments can be merged
    and compared, and one plan can stand in for another.

    Attributes:
        kind: The name by which users choose it.
        exact: Whether `search` always returns the true nearest rows.
        derived: Whether there is a file. If not, `save` writes nothing and `load` reads nothing.
    """

    kind: ClassVar[str]
    exact: ClassVar[bool]
    derived: ClassVar[bool]

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        *,
        target_recall: float = TARGET_RECALL,
        report: Report = unreported,
    ) -> Self:
        """Make an index over the rows of `vectors`, which must not change afterwards.

        Args:
            vectors: The rows.
            target_recall: Share of the true ten nearest to be found; for approximate kinds.
            report: Called between steps; what it raises ends the build.

        Raises:
            InvalidArgument: Not a C-contiguous float32 matrix.
        """
        ...

    def facts(self) -> Facts:
        """Parameters, and the recall measured with them."""
        ...

    def search(self, queries: Vectors, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """Find the `k` rows with the highest inner product with each query.

        Args:
            queries: `(n_queries, dim)` floats; need not be unit length.
            k: At least 1; more than there are rows gives all of them.
            allowed: The rows that may be returned; all when None. Exactly
                `min(k, allowed.count)` columns come back.

        Raises:
            InvalidArgument: An argument has the wrong shape or type, or a query is not finite.
            BackendError: The library below failed.
        """
        ...

    def plan(self, k: int, allowed: Allowed | None = None) -> Plan:
        """How `search` would find the `k` nearest of these rows."""
        ...

    def apart(self, groups: Sequence[NDArray[np.int64]]) -> Sequence[AbstractContextManager[None]]:
        """For each group of rows: while it lasts, a search is as if the build had not met them.

        Rows stand for queries where recall is measured. What leads from a row to those near it
        would find them sooner than a query can.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the derived structure to `path` (plainly: the store makes it atomic).

        Raises:
            OSError: The file cannot be written.
        """
        ...

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Read what `save` wrote, over the same `vectors`.

        Raises:
            IndexCorrupt: The file is damaged or is not the index of these vectors.
        """
        ...
