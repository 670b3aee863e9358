"""Small encoders of texts, made of numpy alone, for tests that need no model's quality."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semsearch import LatentSpace

Vectors = NDArray[np.float32]


def word_vector(word: str, dim: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(dim)


class WordEncoder:
    """A text is the sum of its words' random vectors: texts that share words are near.

    Attributes:
        encoded: Every text given to `encode_documents` so far.
    """

    name = "words"

    def __init__(self, dim: int = 16, max_tokens: int = 40) -> None:
        self.max_tokens = max_tokens
        fingerprint = hashlib.sha256(f"words/{dim}".encode()).hexdigest()
        self.space = LatentSpace("words", "text", (dim,), fingerprint)
        self.encoded: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 + len(_words(text)) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        self.encoded += texts
        return self.encode_queries(texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        rows = [self._one(text) for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), self.space.dim)

    def _one(self, text: str) -> NDArray[np.float64]:
        total = word_vector("", self.space.dim) * 0.1
        for word in _words(text):
            total = total + word_vector(word.lower(), self.space.dim)
        unit: NDArray[np.float64] = total / np.linalg.norm(total)
        return unit


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)
