"""Vector indexes: nearest rows of one segment's matrix."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from semsearch.arguments import number
from semsearch.errors import InvalidArgument
from semsearch.vectors.base import TARGET_RECALL, VectorIndex
from semsearch.vectors.graph import LINK_BYTES
from semsearch.vectors.lists import bytes_a_row

APPROXIMATE_FROM = 20_000
"""Rows from which an exact scan, 14 ms for 100,000 (decision 0004), takes several times as long as
inverted lists."""

GRAPH_FROM = 300_000
"""Rows from which a graph finds as much as inverted lists in less time (decision 0016)."""

_BACKENDS = {
    "exact": ("semsearch.vectors.flat", "FaissExact"),
    "fp16": ("semsearch.vectors.flat", "HalfPrecision"),
    "sq8": ("semsearch.vectors.flat", "EightBits"),
    "ivf": ("semsearch.vectors.ivf", "IVF"),
    "ivf-sq8": ("semsearch.vectors.ivf", "ScalarIVF"),
    "ivf-rabitq": ("semsearch.vectors.ivf", "RaBitQIVF"),
    "hnsw": ("semsearch.vectors.hnsw", "HNSW"),
    "numpy": ("semsearch.vectors.exact", "NumpyExact"),
}

KINDS = tuple(_BACKENDS)
"""Every kind of vector index there is."""

INDEX_KINDS = tuple(kind for kind in KINDS if kind != "numpy")
"""What users choose from; "numpy", the oracle, is for tests."""


_HIGHEST_RECALL = 0.999
"""What an approximate kind can be tuned for."""


def check_wanted(kind: str, target_recall: float, memory: float | None) -> None:
    """Check what a caller wants of an index.

    Raises:
        InvalidArgument: There is no such kind, or a number is out of range.
    """
    kinds = ("auto", *INDEX_KINDS)
    if kind not in kinds:
        raise InvalidArgument(f"kind: expected one of {', '.join(kinds)}, got {kind!r}")
    if not 0 < number("target_recall", target_recall) <= 1:
        raise InvalidArgument(
            f"target_recall: expected a number above 0, at most 1, got {target_recall!r}"
        )
    if target_recall > _HIGHEST_RECALL and kind != "auto" and not backend(kind).exact:
        raise InvalidArgument(
            f"target_recall: kind {kind!r} can be tuned for {_HIGHEST_RECALL} at most, got "
            f"{target_recall!r}; 'exact' and 'sq8' find all"
        )
    if memory is not None and number("memory", memory) <= 0:
        raise InvalidArgument(f"memory: expected bytes above 0, got {memory!r}")


def kind_for(
    rows: int, dim: int, target_recall: float = TARGET_RECALL, memory: float | None = None
) -> str:
    """The kind that answers soonest, of those that find what is wanted and fit.

    Args:
        rows: How many vectors there are.
        dim: Of each.
        target_recall: Share of the true ten nearest to be found; 1 for all of them.
        memory: Bytes that a search may use again and again. A graph needs the vectors themselves
            there, inverted lists their codes; without a bound, the smaller of the two is taken.
    """
    if rows < APPROXIMATE_FROM:
        return "exact"
    if target_recall > _HIGHEST_RECALL:
        return "sq8" if memory is None or rows * dim <= memory else "exact"
    codes = bytes_a_row(rows, dim)
    if memory is None:
        return "ivf"
    if rows >= GRAPH_FROM and rows * (4 * dim + LINK_BYTES + codes) <= memory:
        return "hnsw"
    return "ivf" if rows * codes <= memory else "exact"


def backend(kind: str) -> type[VectorIndex]:
    """Look up a kind of vector index, importing only its own module.

    Raises:
        InvalidArgument: There is no such kind; the message lists those there are.
    """
    if kind not in _BACKENDS:
        raise InvalidArgument(f"index kind {kind!r}: expected one of {', '.join(KINDS)}")
    module, name = _BACKENDS[kind]
    return cast(type[VectorIndex], getattr(import_module(module), name))
