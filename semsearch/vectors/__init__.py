"""Vector indexes: nearest rows of one segment's matrix."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from semsearch.errors import InvalidArgument
from semsearch.vectors.base import VectorIndex

INDEX_KINDS = ("exact", "sq8")
"""What users choose from; "numpy", the oracle, is for tests."""

_BACKENDS = {
    "exact": ("semsearch.vectors.faiss", "FaissExact"),
    "numpy": ("semsearch.vectors.exact", "NumpyExact"),
    "sq8": ("semsearch.vectors.faiss", "FaissSQ8"),
}

KINDS = tuple(_BACKENDS)
"""Every kind of vector index there is."""


def backend(kind: str) -> type[VectorIndex]:
    """Look up a kind of vector index, importing only its own module.

    Raises:
        InvalidArgument: There is no such kind; the message lists those there are.
    """
    if kind not in _BACKENDS:
        raise InvalidArgument(f"index kind {kind!r}: expected one of {', '.join(KINDS)}")
    module, name = _BACKENDS[kind]
    return cast(type[VectorIndex], getattr(import_module(module), name))
