"""From a document to passages and their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semsearch.chunking import Chunker
from semsearch.encoders.base import Encoder
from semsearch.types import Document, Span


class Embedder:
    """An encoder and the chunker that measures in its tokens.

    Args:
        encoder: Makes the vectors.
        max_tokens: Longest passage; what the encoder reads by default.
    """

    def __init__(self, encoder: Encoder, max_tokens: int | None = None) -> None:
        self.encoder = encoder
        self._chunker = Chunker(encoder.count_tokens, max_tokens or encoder.max_tokens)

    def spans(self, document: Document) -> list[Span]:
        """Where the document's chunks are; a document that is only a title has one, empty."""
        spans = [chunk.span for chunk in self._chunker.split(document.text, document.title)]
        return spans or ([Span(0, 0)] if document.title.strip() else [])

    def passages(self, document: Document, spans: Sequence[Span]) -> list[str]:
        """What is encoded for each span: the title and the chunk."""
        return [
            self.passage(document.title, document.text[span.start : span.end]) for span in spans
        ]

    def passage(self, title: str, chunk_text: str) -> str:
        """What is encoded for one chunk."""
        return self._chunker.passage(title, chunk_text) or title

    def encode(self, passages: Sequence[str]) -> NDArray[np.float32]:
        """`(n, dim)` float32 unit vectors of passages."""
        return self.encoder.encode_documents(passages)
