"""What all adapters share: the index at a path, and metadata as their documents have it."""

from __future__ import annotations

from pathlib import Path

from semsearch.encoders.base import Encoder
from semsearch.errors import DependencyMissing, IndexNotFound, InvalidArgument
from semsearch.index import Index
from semsearch.opening import create
from semsearch.opening import open as open_index
from semsearch.types import Document, Hit, JSONObject


def open_or_create(
    path: str | Path, *, encoder: str | Path | Encoder | None = None, dim: int | None = None
) -> Index:
    """The index at `path`; a new one where there is none.

    Args:
        path: Its folder.
        encoder: As for `semsearch.create`: all-MiniLM-L6-v2 by default.
        dim: Vectors of this dimension will be given. An index with an encoder takes them, too.

    Raises:
        InvalidArgument: Its vectors are of another dimension.
        SemsearchError: As of `semsearch.open` and `semsearch.create`.
    """
    try:
        index = open_index(path, encoder=encoder)
    except IndexNotFound:
        return create(path, encoder=encoder, dim=dim)
    if dim not in (None, index.space.dim):
        index.close()
        raise InvalidArgument(f"{path}: its vectors have {index.space.dim} numbers, not {dim}")
    return index


def described(found: Hit | Document) -> JSONObject:
    """The metadata, and title and source where it has none of these names."""
    parts = {"title": found.title, "source": found.source}
    return {**{name: text for name, text in parts.items() if text}, **found.metadata}


def missing(package: str, extra: str) -> DependencyMissing:
    """The error for a framework that is not installed."""
    return DependencyMissing(f"{package} is not installed: pip install 'semsearch[{extra}]'")
