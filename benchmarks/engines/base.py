"""What `peers.py` asks of a store, and what those need that hold nothing but vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Record(NamedTuple):
    """A document, beside its vector; what a hit must bring back."""

    id: str
    text: str
    year: int
    category: str


class Where(NamedTuple):
    """Only records whose field has this value."""

    field: str
    value: int | str


def matching(record: Record, where: Where | None) -> bool:
    """Whether a record is one of those asked for."""
    return where is None or getattr(record, where.field) == where.value


class Engine(Protocol):
    """One store, tuned by one number if it is not exact.

    Attributes:
        package: Of which the version is told.
        index: Which of its indexes, and what it was built with.
        knob: Name of the number that trades time for recall; empty for an exact one.
        efforts: Values of the knob to try, rising.
        effort: The one to search with; set before each search.
    """

    package: ClassVar[str]
    index: ClassVar[str]
    knob: ClassVar[str]
    efforts: ClassVar[tuple[int, ...]]
    effort: int

    def __init__(self, folder: Path) -> None:
        """Everything it keeps goes below `folder`."""

    def build(self, records: list[Record], vectors: Vector) -> None:
        """Store it all, on the disk, ready to be searched. `vectors`: unit length, `(n, dim)`."""

    def search(self, vector: Vector, k: int, where: Where | None) -> list[Record]:
        """The `k` nearest by cosine, best first. `vector`: `(dim,)`, unit length."""

    def close(self) -> None:
        """Finish what is still to be written."""


class Graph:
    """What is the same for libraries with a graph of vectors that know row numbers only.

    The records are beside it, in a list and in a file.
    """

    efforts = (16, 24, 32, 48, 64, 96, 128, 192, 256)
    effort = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def close(self) -> None:
        pass

    def keep(self, records: list[Record]) -> None:
        """Set the records beside their rows."""
        self._records = records
        self._columns = {
            "year": np.array([record.year for record in records]),
            "category": np.array([record.category for record in records]),
        }
        with (self._folder / "records.jsonl").open("w") as file:
            file.writelines(json.dumps(record._asdict()) + "\n" for record in records)

    def at(self, rows: NDArray[np.int64]) -> list[Record]:
        """The records of rows, -1 left out."""
        return [self._records[row] for row in rows.tolist() if row >= 0]

    def matching(self, where: Where) -> NDArray[np.bool_]:
        """`(n,)`: which rows match."""
        mask: NDArray[np.bool_] = self._columns[where.field] == where.value
        return mask
