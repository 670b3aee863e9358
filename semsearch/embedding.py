"""From a document to what is encoded of it, and to its points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from semsearch import pictures
from semsearch.chunking import Chunker
from semsearch.encoders.base import AnyEncoder, Encoder, PictureEncoder
from semsearch.errors import InvalidArgument
from semsearch.pictures import Pixels
from semsearch.points import Points
from semsearch.types import Document, Span

Content = str | Pixels
"""What an encoder is given for one chunk."""


class Passage(NamedTuple):
    """What is encoded for one chunk.

    Attributes:
        span: Of the chunk, in characters of the document's text.
        content: The title and the chunk, or the picture, as the encoder is given them.
        tokens: Of a text, special ones included; 0 of a picture.
    """

    span: Span
    content: Content
    tokens: int


class Embedder(Protocol):
    """Knows what is encoded of a document.

    Safe to use from several threads, one of which splits.
    """

    def split(self, document: Document) -> list[Passage]:
        """What is encoded of it, in reading order.

        Raises:
            InvalidArgument: Its content cannot be read, or is of another kind.
        """
        ...

    def again(self, title: str, chunk_text: str, source: str | None) -> Content:
        """What was encoded for a chunk that is in the index.

        Args:
            title: Of its document.
            chunk_text: Its text.
            source: Of its document.

        Raises:
            InvalidArgument: It is not to be had any more.
        """
        ...

    def encode(self, contents: Sequence[Content]) -> Points:
        """The points of passages, with unit vectors."""
        ...


def embedder_of(encoder: AnyEncoder, max_tokens: int | None = None) -> Embedder:
    """The embedder for what an encoder encodes.

    Args:
        encoder: Makes the points.
        max_tokens: Longest passage of a text; what the encoder reads by default.
    """
    if isinstance(encoder, Encoder):
        return TextEmbedder(encoder, max_tokens)
    return PictureEmbedder(encoder)


class TextEmbedder:
    """An encoder of texts and the chunker that measures in its tokens.

    Args:
        encoder: Makes the vectors.
        max_tokens: Longest passage; what the encoder reads by default.
    """

    def __init__(self, encoder: Encoder, max_tokens: int | None = None) -> None:
        self._encoder = encoder
        self._chunker = Chunker(encoder.count_tokens, max_tokens or encoder.max_tokens)

    def split(self, document: Document) -> list[Passage]:
        """Its passages; a document that is only a title has one, of no text."""
        chunks = self._chunker.split(document.text, document.title)
        if chunks or not document.title.strip():
            return [
                Passage(span, self.again(document.title, text), tokens)
                for span, text, tokens in chunks
            ]
        title = self.again(document.title, "")
        return [Passage(Span(0, 0), title, self._encoder.count_tokens([title])[0])]

    def again(self, title: str, chunk_text: str, source: str | None = None) -> str:  # noqa: ARG002
        """The title and the chunk."""
        return self._chunker.passage(title, chunk_text) or title

    def encode(self, contents: Sequence[Content]) -> Points:
        """The points of texts."""
        return Points.of(self._encoder.encode_documents(cast(Sequence[str], contents)))


class PictureEmbedder:
    """An encoder of pictures, each of which is one passage.

    Args:
        encoder: Makes the points.
    """

    def __init__(self, encoder: PictureEncoder) -> None:
        self._encoder = encoder

    def split(self, document: Document) -> list[Passage]:
        """The picture, decoded and brought to the encoder's size."""
        return [Passage(Span(0, len(document.text)), self._prepared(document), 0)]

    def again(self, title: str, chunk_text: str, source: str | None) -> Pixels:
        """The picture, read from where it was; it must still be the same."""
        if source is None:
            raise InvalidArgument("a picture that came from no file cannot be read again")
        return self._prepared(Document(source, chunk_text, title, image=source))

    def _prepared(self, document: Document) -> Pixels:
        return self._encoder.prepared(pictures.same(document))

    def encode(self, contents: Sequence[Content]) -> Points:
        """The points of pictures."""
        return self._encoder.encode_pictures(cast(Sequence[Pixels], contents))
