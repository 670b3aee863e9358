"""Text encoder: any transformer model of sentence-transformers, found offline where it can be.

What a model is (its space, how much it reads, how it counts) is read from the JSON files of its
folder. What computes its vectors is loaded at the first encode; see `runtimes.py`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders import runtimes
from semsearch.encoders.base import TruncationWarning
from semsearch.encoders.batching import Tokens, ahead
from semsearch.encoders.model_folder import MINILM, ModelFolder, resolve
from semsearch.encoders.runtimes import Runtime
from semsearch.encoders.tokens import Tokenizing
from semsearch.errors import BackendError, InvalidArgument, TextTooLong
from semsearch.types import LatentSpace

_WINDOW = 4_096  # texts that are sorted by length together, while the next ones are tokenised


class TextEncoder:
    """Encodes texts with a model of sentence-transformers.

    Safe to use from several threads. While it computes, other threads run.

    Args:
        name: A folder with a model, or "all-MiniLM-L6-v2", or a model of the Hugging Face hub: its
            local cache is looked up first, then it is downloaded.
        device: "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one. Checked when the
            weights are loaded, at the first encode.
        runtime: "auto" takes OpenVINO on a CPU and PyTorch on a GPU; "openvino" or "torch" insists.
            OpenVINO's first use of a model converts it, which takes a while, into the per-user
            cache (`$SEMSEARCH_CACHE`). "light" is for a text or two: NumPy has the first vector of
            a model like BERT soonest, and many more slowly; other models it runs as "auto" does.

    Raises:
        InvalidArgument: There is no such model here, it is not a transformer, or there is no such
            runtime.
        DependencyMissing: The packaged weights are not installed.
    """

    def __init__(
        self, name: str = MINILM, *, device: str | None = None, runtime: str = "auto"
    ) -> None:
        runtimes.check(runtime, device)
        self._source = resolve(name)
        self._folder = ModelFolder.read(self._source.path)
        self._tokenizing = Tokenizing(self._folder)
        self._device = device
        self._wanted = runtime
        self._runtime: Runtime | None = None
        self._loading = threading.Lock()

    def __repr__(self) -> str:
        loaded = f"runs on {self._runtime.name}" if self._runtime else "not loaded"
        return (
            f"TextEncoder({self.name!r}, dim={self._folder.dim}, max_tokens={self.max_tokens}, "
            f"device={self._device!r}, runtime={self._wanted!r}, {loaded})"
        )

    @property
    def name(self) -> str:
        """What `TextEncoder` takes to get this encoder again."""
        return self._source.name

    @cached_property
    def space(self) -> LatentSpace:
        """Passport of the space; needs the hash of the weights file, but does not load it."""
        short = Path(self.name).name
        return LatentSpace(short, "text", (self._folder.dim,), self._folder.fingerprint())

    @property
    def max_tokens(self) -> int:
        """Longest input, in tokens with the special ones and the prompt."""
        return self._folder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document: special ones and the model's prompt included.

        The texts met last are remembered: to encode them soon after does not tokenise them again.

        Raises:
            InvalidArgument: Not a list of strings.
        """
        return [len(row) for row in self._tokens(_checked(texts), self._folder.document_prompt)]

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode passages, `(n, dim)` float32, unit length, in the order given.

        Raises:
            TextTooLong: A text has more than `max_tokens` tokens; nothing is ever cut.
            InvalidArgument: Not a list of strings, or no such device.
            BackendError: The model cannot be loaded or failed.
        """
        windows = self._windows(_checked(texts))
        windows = windows if len(texts) <= _WINDOW else ahead(windows)
        found = [self._encode(rows, self._folder.document_prompt) for rows in windows]
        return np.concatenate(found) if found else self._nothing()

    def _windows(self, texts: list[str]) -> Iterator[list[Tokens]]:
        for start in range(0, len(texts), _WINDOW):
            rows = self._tokens(texts[start : start + _WINDOW], self._folder.document_prompt)
            for position, row in enumerate(rows, start):
                if len(row) > self.max_tokens:
                    raise TextTooLong(
                        f"text {position}: {len(row)} tokens, and {self.name} reads "
                        f"{self.max_tokens}; split it into chunks first (semsearch.chunking)"
                    )
            yield rows

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries, `(n, dim)` float32, unit length, in the order given.

        Warns:
            TruncationWarning: A query has more than `max_tokens` tokens; the rest was not read.

        Raises:
            InvalidArgument: Not a list of strings, or no such device.
            BackendError: The model cannot be loaded or failed.
        """
        texts, prompt = _checked(texts), self._folder.query_prompt
        rows = self._tokens(texts, prompt)
        for position, row in enumerate(rows):
            if len(row) > self.max_tokens:
                warnings.warn(
                    f"query {position}: {len(row)} tokens; only the first {self.max_tokens} are "
                    "read",
                    TruncationWarning,
                    stacklevel=2,
                )
                rows[position] = self._tokenizing.cut(prompt + texts[position])
        return self._encode(rows, prompt) if rows else self._nothing()

    def _tokens(self, texts: Sequence[str], prompt: str) -> list[Tokens]:
        return self._tokenizing.whole([prompt + text for text in texts])

    def _nothing(self) -> NDArray[np.float32]:
        return np.empty((0, self._folder.dim), np.float32)

    def _encode(self, rows: list[Tokens], prompt: str) -> NDArray[np.float32]:
        vectors = self._loaded().encode(rows, self._tokenizing.prompt_length(prompt))
        expected = (len(rows), self._folder.dim)
        if vectors.shape != expected:
            raise BackendError(f"{self.name}: expected vectors {expected}, got {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise BackendError(f"{self.name}: a vector is not finite; are the weights damaged?")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), np.float32)

    def _loaded(self) -> Runtime:
        with self._loading:
            if self._runtime is None:
                fingerprint = self.space.fingerprint
                self._runtime = runtimes.load(
                    self._source, self._folder, fingerprint, self._wanted, self._device
                )
            return self._runtime


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
