"""Text encoder: any transformer model of sentence-transformers, found offline where it can be.

What a model is (its space, how much it reads, how it counts) is read from the JSON files of its
folder. torch and transformers, which take seconds to import, are loaded at the first encode.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.base import TruncationWarning
from semsearch.encoders.model_folder import MINILM, ModelFolder, Source, quiet, resolve
from semsearch.errors import BackendError, InvalidArgument, TextTooLong
from semsearch.types import LatentSpace

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer


class TextEncoder:
    """Encodes texts with a model of sentence-transformers.

    Safe to use from several threads; one encodes at a time.

    Args:
        name: A folder with a model, or "all-MiniLM-L6-v2", or a model of the Hugging Face hub: its
            local cache is looked up first, then it is downloaded.
        device: "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one. Checked when the
            weights are loaded, at the first encode.

    Raises:
        InvalidArgument: There is no such model here, or it is not a transformer.
        DependencyMissing: The packaged weights are not installed.
    """

    def __init__(self, name: str = MINILM, *, device: str | None = None) -> None:
        self._source = resolve(name)
        self._folder = ModelFolder.read(self._source.path)
        self._device = device
        self._model: SentenceTransformer | None = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        loaded = "loaded" if self._model else "not loaded"
        return (
            f"TextEncoder({self.name!r}, dim={self._folder.dim}, max_tokens={self.max_tokens}, "
            f"device={self._device!r}, {loaded})"
        )

    @property
    def name(self) -> str:
        """What `TextEncoder` takes to get this encoder again."""
        return self._source.name

    @cached_property
    def space(self) -> LatentSpace:
        """Passport of the space; hashes the weights file, but does not load it."""
        short = Path(self.name).name
        return LatentSpace(short, "text", (self._folder.dim,), self._folder.fingerprint())

    @property
    def max_tokens(self) -> int:
        """Longest input, in tokens with the special ones and the prompt."""
        return self._folder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document: special ones and the model's prompt included.

        Raises:
            InvalidArgument: Not a list of strings.
        """
        return self._count(_checked(texts), self._folder.document_prompt)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode passages, `(n, dim)` float32, unit length, in the order given.

        Raises:
            TextTooLong: A text has more than `max_tokens` tokens; nothing is ever cut.
            InvalidArgument: Not a list of strings, or no such device.
            BackendError: The model cannot be loaded or failed.
        """
        texts = _checked(texts)
        for position, tokens in enumerate(self._count(texts, self._folder.document_prompt)):
            if tokens > self.max_tokens:
                raise TextTooLong(
                    f"text {position}: {tokens} tokens, and {self._source.name} reads "
                    f"{self.max_tokens}; split it into chunks first (semsearch.chunking)"
                )
        return self._encode(
            texts, lambda model: model.encode_document, self._folder.document_prompt
        )

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries, `(n, dim)` float32, unit length, in the order given.

        Warns:
            TruncationWarning: A query has more than `max_tokens` tokens; the rest was not read.

        Raises:
            InvalidArgument: Not a list of strings, or no such device.
            BackendError: The model cannot be loaded or failed.
        """
        texts = _checked(texts)
        for position, tokens in enumerate(self._count(texts, self._folder.query_prompt)):
            if tokens > self.max_tokens:
                warnings.warn(
                    f"query {position}: {tokens} tokens; only the first {self.max_tokens} are read",
                    TruncationWarning,
                    stacklevel=2,
                )
        return self._encode(texts, lambda model: model.encode_query, self._folder.query_prompt)

    def _count(self, texts: Sequence[str], prompt: str) -> list[int]:
        encodings = self._tokenizer.encode_batch_fast([prompt + text for text in texts])
        return [len(encoding) for encoding in encodings]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        with self._lock:
            return self._folder.tokenizer()

    def _encode(
        self,
        texts: list[str],
        method: Callable[[SentenceTransformer], Callable[..., Any]],
        prompt: str,
    ) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self._folder.dim), dtype=np.float32)
        with self._lock:
            encode = method(self._loaded())
            try:
                # The prompt is given: sentence-transformers 6.2 overlooks one saved as "passage".
                rows = encode(
                    texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False
                )
            except Exception as error:  # torch raises RuntimeError and subclasses of its own
                raise BackendError(f"{self.name}: encoding failed: {error}") from error
        return self._proven(np.ascontiguousarray(rows, dtype=np.float32), len(texts))

    def _proven(self, rows: NDArray[np.float32], n: int) -> NDArray[np.float32]:
        expected = (n, self._folder.dim)
        if rows.shape != expected:
            raise BackendError(f"{self.name}: expected vectors {expected}, got {rows.shape}")
        if not np.isfinite(rows).all():
            raise BackendError(f"{self.name}: a vector is not finite; are the weights damaged?")
        return rows

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            self._model = _load(self._source, self._folder, self._device)
        return self._model


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise InvalidArgument(f"texts: expected a list of strings, got one {type(texts).__name__}")
    try:
        checked = list(texts)
    except TypeError as error:
        kind = type(texts).__name__
        raise InvalidArgument(f"texts: expected a list of strings, got {kind}") from error
    for position, text in enumerate(checked):
        if not isinstance(text, str):
            raise InvalidArgument(f"text {position}: expected a string, got {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            where = f"text {position}: lone surrogate at character {error.start}"
            raise InvalidArgument(where) from error
    return checked


def _load(source: Source, folder: ModelFolder, device: str | None) -> SentenceTransformer:
    try:
        with quiet():
            model = _sentence_transformer(source.path, device)
    except InvalidArgument:
        raise
    except Exception as error:  # whatever torch, transformers, safetensors or the disk raise
        raise BackendError(f"{source.name}: cannot be loaded: {error}") from error
    if model.max_seq_length != folder.max_tokens:
        raise BackendError(
            f"{source.name}: sentence-transformers reads {model.max_seq_length} tokens, "
            f"the folder's JSON files say {folder.max_tokens}; set max_seq_length in them"
        )
    return model


def _sentence_transformer(path: Path, device: str | None) -> SentenceTransformer:
    import torch
    from sentence_transformers import SentenceTransformer

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:  # CPU-only torch asserts
        raise InvalidArgument(f"device {device!r} is not usable: {error}") from error
    return SentenceTransformer(str(path), device=device, local_files_only=True)
