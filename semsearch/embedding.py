"""From a document to passages and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semsearch.chunking import Chunker
from semsearch.encoders.base import Encoder
from semsearch.types import Document, Span


class Passage(NamedTuple):
    """What is encoded for one chunk.

    Attributes:
        span: Of the chunk, in characters of the document's text.
        text: The title and the chunk, as the encoder is given them.
        tokens: Of `text`, special ones included.
    """

    span: Span
    text: str
    tokens: int


class Embedder:
    """An encoder and the chunker that measures in its tokens.

    Safe to use from several threads, one of which splits.

    Args:
        encoder: Makes the vectors.
        max_tokens: Longest passage; what the encoder reads by default.
    """

    def __init__(self, encoder: Encoder, max_tokens: int | None = None) -> None:
        self.encoder = encoder
        self._chunker = Chunker(encoder.count_tokens, max_tokens or encoder.max_tokens)

    def split(self, document: Document) -> list[Passage]:
        """Its passages in reading order; a document that is only a title has one, of no text."""
        chunks = self._chunker.split(document.text, document.title)
        if chunks or not document.title.strip():
            return [
                Passage(span, self.passage(document.title, text), tokens)
                for span, text, tokens in chunks
            ]
        title = self.passage(document.title, "")
        return [Passage(Span(0, 0), title, self.encoder.count_tokens([title])[0])]

    def passage(self, title: str, chunk_text: str) -> str:
        """What is encoded for one chunk."""
        return self._chunker.passage(title, chunk_text) or title

    def encode(self, passages: Sequence[str]) -> NDArray[np.float32]:
        """`(n, dim)` float32 unit vectors of passages."""
        return self.encoder.encode_documents(passages)
