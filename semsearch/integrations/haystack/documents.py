"""Documents of Haystack as documents of an index, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument
from semsearch.integrations.opening import described, missing
from semsearch.types import Document as Stored
from semsearch.types import Hit, JSONObject

try:
    from haystack import Document
    from haystack.dataclasses import ByteStream, SparseEmbedding
except ModuleNotFoundError as error:
    raise missing("haystack-ai", "haystack") from error

_KEPT = "_haystack"
"""Metadata under this name are what Haystack has and semsearch has not."""

EMBEDDED: JSONObject = {f"metadata.{_KEPT}.unembedded": {"$exists": False}}
"""Matches the documents that a search by vector may find."""


def check_names(meta: JSONObject) -> None:
    """Refuse the name that is kept for Haystack.

    Raises:
        InvalidArgument: It is used.
    """
    if _KEPT in meta:
        raise InvalidArgument(f"meta: the name {_KEPT!r} is semsearch's own")


def stored(document: Document, *, unembedded: bool = False) -> Stored:
    """The document as it is kept; `unembedded` when its vector stands for none.

    Raises:
        InvalidArgument: Its `meta` are not JSON, or use the name that is kept for Haystack.
    """
    check_names(document.meta)
    kept = {
        name: part.to_dict()
        for name in ("blob", "sparse_embedding")
        if (part := getattr(document, name)) is not None
    } | ({"unembedded": True} if unembedded else {})
    metadata = {**document.meta, **({_KEPT: kept} if kept else {})}
    return Stored(document.id, document.content or "", metadata=metadata)


def restored(found: Stored | Hit, vectors: NDArray[np.float32] | None = None) -> Document:
    """The document, or the passage of it that was found, with the score of a hit.

    Args:
        found: What the index gave.
        vectors: `(chunks, dim)`; that of a single chunk is its embedding, if it has one.
    """
    meta = described(found)
    kept: dict[str, Any] = meta.pop(_KEPT, {})
    single = vectors is not None and len(vectors) == 1 and "unembedded" not in kept
    blob, sparse = kept.get("blob"), kept.get("sparse_embedding")
    return Document(
        id=found.id,
        content=found.text or None,
        meta=meta,
        score=found.score if isinstance(found, Hit) else None,
        embedding=vectors[0].tolist() if single and vectors is not None else None,
        blob=None if blob is None else ByteStream.from_dict(blob),
        sparse_embedding=None if sparse is None else SparseEmbedding.from_dict(sparse),
    )
