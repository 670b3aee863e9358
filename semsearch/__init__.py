"""Local semantic search over latent spaces: correct, fast and simple.

    import semsearch

    with semsearch.create("indexes/notes") as index:
        index.add([{"id": "a", "text": "The cat sat on the mat"}])
        for hit in index.search("kitten", k=3):
            print(hit.score, hit.id, hit.text)

Importing this module is cheap: the names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semsearch.blend import Blend, image, like, text, vector
    from semsearch.codec import decode_images, encode_images, fidelity, morph
    from semsearch.direction import Direction
    from semsearch.encoders import load as encoder
    from semsearch.encoders.reranker import Reranker
    from semsearch.encoders.vae import VAE
    from semsearch.errors import (
        BackendError,
        DependencyMissing,
        IndexCorrupt,
        IndexExists,
        IndexLocked,
        IndexNotFound,
        IngestError,
        InvalidArgument,
        LatentSpaceMismatch,
        SemsearchError,
        StorageError,
        TextTooLong,
        UnsupportedFormat,
    )
    from semsearch.exchange import export_latents, import_latents
    from semsearch.imagining import apply_direction, fit_direction, imagine, imagine_between
    from semsearch.index import Index
    from semsearch.latent_file import Latents
    from semsearch.opening import create, open
    from semsearch.reader import Reader
    from semsearch.types import (
        Chunk,
        Document,
        Explanation,
        Hit,
        LatentSpace,
        Reject,
        Span,
        Step,
    )

__version__ = "0.1.0"

_HOMES = {
    "create": "opening",
    "open": "opening",
    "Index": "index",
    "Blend": "blend",
    "image": "blend",
    "like": "blend",
    "text": "blend",
    "vector": "blend",
    "Reranker": "encoders.reranker",
    "Reader": "reader",
    "Chunk": "types",
    "Document": "types",
    "Hit": "types",
    "LatentSpace": "types",
    "Reject": "types",
    "Explanation": "types",
    "Step": "types",
    "Span": "types",
    "VAE": "encoders.vae",
    "Latents": "latent_file",
    "Direction": "direction",
    "export_latents": "exchange",
    "import_latents": "exchange",
    "apply_direction": "imagining",
    "fit_direction": "imagining",
    "imagine": "imagining",
    "imagine_between": "imagining",
    "encode_images": "codec",
    "decode_images": "codec",
    "fidelity": "codec",
    "morph": "codec",
    "BackendError": "errors",
    "DependencyMissing": "errors",
    "IndexCorrupt": "errors",
    "IndexExists": "errors",
    "IndexLocked": "errors",
    "IndexNotFound": "errors",
    "IngestError": "errors",
    "InvalidArgument": "errors",
    "LatentSpaceMismatch": "errors",
    "SemsearchError": "errors",
    "StorageError": "errors",
    "TextTooLong": "errors",
    "UnsupportedFormat": "errors",
}

__all__ = [
    "VAE",
    "BackendError",
    "Blend",
    "Chunk",
    "DependencyMissing",
    "Direction",
    "Document",
    "Explanation",
    "Hit",
    "Index",
    "IndexCorrupt",
    "IndexExists",
    "IndexLocked",
    "IndexNotFound",
    "IngestError",
    "InvalidArgument",
    "LatentSpace",
    "LatentSpaceMismatch",
    "Latents",
    "Reader",
    "Reject",
    "Reranker",
    "SemsearchError",
    "Span",
    "Step",
    "StorageError",
    "TextTooLong",
    "UnsupportedFormat",
    "apply_direction",
    "create",
    "decode_images",
    "encode_images",
    "encoder",
    "export_latents",
    "fidelity",
    "fit_direction",
    "image",
    "imagine",
    "imagine_between",
    "import_latents",
    "like",
    "morph",
    "open",
    "text",
    "vector",
]


def __getattr__(name: str) -> Any:
    if name == "encoder":
        return importlib.import_module("semsearch.encoders").load
    if name in _HOMES:
        return getattr(importlib.import_module(f"semsearch.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'semsearch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
