"""Vector indexes: nearest rows of one segment's matrix."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from semsearch.errors import InvalidArgument
from semsearch.vectors.base import VectorIndex

INDEX_KINDS = ("exact", "ivf")
"""What users choose from; "numpy", the oracle, is for tests."""

APPROXIMATE_FROM = 20_000
"""Rows from which an exact scan, 14 ms for 100,000 (decision 0004), takes several times as long as
inverted lists."""

_BACKENDS = {
    "exact": ("semsearch.vectors.faiss", "FaissExact"),
    "ivf": ("semsearch.vectors.ivf", "IVF"),
    "numpy": ("semsearch.vectors.exact", "NumpyExact"),
}

KINDS = tuple(_BACKENDS)
"""Every kind of vector index there is."""


def kind_for(rows: int) -> str:
    """The kind that answers soonest: inverted lists are also the smallest."""
    return "ivf" if rows >= APPROXIMATE_FROM else "exact"


def backend(kind: str) -> type[VectorIndex]:
    """Look up a kind of vector index, importing only its own module.

    Raises:
        InvalidArgument: There is no such kind; the message lists those there are.
    """
    if kind not in _BACKENDS:
        raise InvalidArgument(f"index kind {kind!r}: expected one of {', '.join(KINDS)}")
    module, name = _BACKENDS[kind]
    return cast(type[VectorIndex], getattr(import_module(module), name))
