"""From a folder to an `Index`: make one, or open it with its encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from semsearch import encoders
from semsearch.arguments import expanded, integer
from semsearch.encoders.base import AnyEncoder, Encoder, PictureEncoder
from semsearch.errors import InvalidArgument, SemsearchError
from semsearch.index import Index
from semsearch.store import Store
from semsearch.types import LatentSpace

DEFAULT_ENCODER = "all-MiniLM-L6-v2"


def create(
    path: str | Path,
    *,
    encoder: str | Path | AnyEncoder | None = None,
    dim: int | None = None,
    chunk_tokens: int | None = None,
    index_fields: Sequence[str] = (),
    device: str | None = None,
    runtime: str = "auto",
) -> Index:
    """Make an empty index in a new or empty folder.

    Args:
        path: The folder; made if it is not there.
        encoder: Name or folder of a sentence-transformers model, or an encoder;
            all-MiniLM-L6-v2 by default. "vae" makes an index of pictures, "vae:NAME" one with a VAE
            that `semsearch.VAE` finds by that name.
        dim: In place of an encoder: vectors of this dimension are always given.
        chunk_tokens: Longest passage, in the encoder's tokens, at least 32 and the special ones;
            by default as much as the encoder reads.
        index_fields: Metadata fields to index for filters, as `Index.index_field` does.
        device: "cpu", "cuda", ...; the best there is by default.
        runtime: What computes the encoder's vectors: "auto" (OpenVINO on a CPU, PyTorch on a GPU),
            "openvino", "torch", or "light", which starts soonest, for a query or two. All give the
            same vectors, but for rounding.

    Raises:
        IndexExists: There is an index at `path`.
        InvalidArgument: Both `encoder` and `dim`, a number out of range, or a field that cannot be
            indexed.
        DependencyMissing: The model is not installed.
    """
    if dim is not None:
        if encoder is not None or chunk_tokens is not None:
            raise InvalidArgument("dim: an index of given vectors has no encoder and no chunks")
        given = {"encoder": None}
        return Index(Store.create(_folder(path), _vector_space(dim), given, index_fields), None)
    made = _encoder(DEFAULT_ENCODER if encoder is None else encoder, device, runtime)
    if chunk_tokens is not None:
        chunk_tokens = _checked_chunk_tokens(chunk_tokens, made)
    settings = {"encoder": made.name, "chunk_tokens": chunk_tokens}
    return Index(Store.create(_folder(path), made.space, settings, index_fields), made)


def open(
    path: str | Path,
    *,
    encoder: str | Path | AnyEncoder | None = None,
    device: str | None = None,
    runtime: str = "auto",
) -> Index:
    """Open an index.

    Args:
        path: The folder that `create` or `semsearch index` made.
        encoder: Another copy of its encoder; by default the one it was made with. When that is
            not installed, the index opens all the same for what needs no encoder.
        device: "cpu", "cuda", ...; the best there is by default.
        runtime: What computes the encoder's vectors: "auto" (OpenVINO on a CPU, PyTorch on a GPU),
            "openvino", "torch", or "light", which starts soonest, for a query or two. All give the
            same vectors, but for rounding.

    Raises:
        IndexNotFound: There is none.
        InvalidArgument: No such runtime, or it does not run on the device.
        LatentSpaceMismatch: The encoder is not the one the index was made with.
        IndexCorrupt, UnsupportedFormat, StorageError: It cannot be read.
    """
    encoders.check_runtime(runtime, device)
    store = Store.open(_folder(path))
    try:
        return _bound(store, encoder, device, runtime)
    except BaseException:
        store.close()
        raise


def _bound(
    store: Store, encoder: str | Path | AnyEncoder | None, device: str | None, runtime: str
) -> Index:
    if encoder is not None:
        return Index(store, _encoder(encoder, device, runtime))
    name = store.settings.get("encoder")
    if name is None:
        return Index(store, None)
    try:
        found = encoders.load_any(name, device=device, runtime=runtime)
    except SemsearchError as error:
        return Index(store, None, error)
    return Index(store, found)


def _folder(path: str | Path) -> Path:
    """Absolute, so that an open index stays the same one when the process changes its folder."""
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise InvalidArgument(f"path: expected the name of a folder, got {path!r}")
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"path: {str(path)!r} is not UTF-8; choose another name") from error
    return expanded(path).absolute()


def _checked_chunk_tokens(wanted: int, encoder: AnyEncoder) -> int:
    from semsearch.chunking import MIN_TOKENS

    if not isinstance(encoder, Encoder):
        raise InvalidArgument("chunk_tokens: an index of pictures has no chunks; leave it out")
    least = MIN_TOKENS + encoder.count_tokens([""])[0]
    return integer("chunk_tokens", wanted, least=least, most=encoder.max_tokens)


def _encoder(encoder: str | Path | AnyEncoder, device: str | None, runtime: str) -> AnyEncoder:
    if isinstance(encoder, str | Path):
        return encoders.load_any(str(encoder), device=device, runtime=runtime)
    if not isinstance(encoder, Encoder | PictureEncoder):
        raise InvalidArgument(
            f"encoder: expected a name, a folder or a semsearch encoder, got {type(encoder)}"
        )
    return encoder


def _vector_space(dim: int) -> LatentSpace:
    dim = integer("dim", dim, least=1, most=65_536)
    fingerprint = hashlib.sha256(f"given vectors/{dim}".encode()).hexdigest()
    return LatentSpace("given vectors", "vector", (dim,), fingerprint)
