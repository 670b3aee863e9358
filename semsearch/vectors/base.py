"""The seam between the engine and whatever finds nearest vectors inside one segment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""`(n, dim)` float32, C-contiguous, rows of unit length (or zero)."""


class Neighbours(NamedTuple):
    """Best rows for each query, nearest first, equal similarities by ascending row.

    Both arrays have shape `(n_queries, min(k, rows allowed))`: a library's padding ids never
    get here.
    """

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]


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
    def build(cls, vectors: Vectors) -> Self:
        """Make an index over the rows of `vectors`, which must not change afterwards.

        Raises:
            InvalidArgument: Not a C-contiguous float32 matrix.
        """
        ...

    def search(
        self, queries: Vectors, k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> Neighbours:
        """Find the `k` rows with the highest inner product with each query.

        Args:
            queries: `(n_queries, dim)` floats; need not be unit length.
            k: At least 1; more than there are rows gives all of them.
            allowed: `(n,)` mask of the rows that may be returned; all when None. Exactly
                `min(k, allowed.sum())` columns come back.

        Raises:
            InvalidArgument: An argument has the wrong shape or type, or a query is not finite.
            BackendError: The library below failed.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the derived structure to `path` (plainly: the store makes it atomic)."""
        ...

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Read what `save` wrote, over the same `vectors`.

        Raises:
            IndexCorrupt: The file is damaged or is not the index of these vectors.
        """
        ...
