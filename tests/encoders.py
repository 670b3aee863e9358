"""Small encoders, made of numpy alone, for tests that need no model's quality."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch import LatentSpace
from semsearch.pictures import Pixels, Size, fitted
from semsearch.points import Points

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


class PixelEncoder:
    """A picture is its 8x8 pixels: a latent that decodes to them, and a vector of differences.

    Attributes:
        encoded: How many pictures were encoded so far.
    """

    name = "pixels"
    size = Size(8, 8)

    def __init__(self) -> None:
        fingerprint = hashlib.sha256(b"pixels/8x8").hexdigest()
        self.space = LatentSpace("pixels", "image", (192,), fingerprint, latent=(8, 8, 3))
        self.latent_space = LatentSpace("pixels", "image", (8, 8, 3), fingerprint)
        self.encoded = 0

    def prepared(self, picture: Pixels) -> Pixels:
        return fitted(picture, self.size)

    def encode_pictures(self, prepared: Sequence[Pixels]) -> Points:
        self.encoded += len(prepared)
        return self.points_of((np.stack(prepared) / 255).astype(np.float32))

    def points_of(self, latents: NDArray[np.float32]) -> Points:
        flat = latents.reshape(len(latents), self.space.dim)
        centred = flat - flat.mean(axis=1, keepdims=True) + 1e-3
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        return Points((centred / lengths).astype(np.float32), flat.astype(np.float16))

    def decode(self, latents: NDArray[np.floating[Any]]) -> Pixels:
        return (
            np.rint(255 * np.clip(latents.astype(np.float32), 0, 1))
            .astype(np.uint8)
            .reshape(-1, 8, 8, 3)
        )
