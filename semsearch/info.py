"""What an index is made of, as `Index.info` tells it."""

from __future__ import annotations

from dataclasses import dataclass

from semsearch.types import LatentSpace
from semsearch.vectors.base import Quality
from semsearch.view import LiveSegment


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One segment of an index.

    Attributes:
        rows: Vectors in the file.
        dead: Of these, deleted ones.
        kind: How it is searched.
        bytes: Size of its files.
        index_bytes: Of these, what the kind needs beside the vectors.
        parameters: What the kind was built with, or tuned to on the vectors themselves.
        quality: The recall that was measured with vectors of the segment as queries; None when
            every search is exact.
    """

    number: int
    rows: int
    dead: int
    kind: str
    bytes: int
    index_bytes: int
    parameters: dict[str, int | float | str]
    quality: Quality | None

    @classmethod
    def of(cls, live: LiveSegment) -> SegmentInfo:
        """Read what its files say."""
        facts = live.file.facts()
        return cls(
            number=live.row.number,
            rows=live.row.rows,
            dead=len(live.dead),
            kind=live.row.kind,
            bytes=live.row.bytes + live.row.index_bytes,
            index_bytes=live.row.index_bytes,
            parameters=dict(facts.parameters),
            quality=facts.quality,
        )


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index is made of.

    Attributes:
        version: Number of its newest commit.
        encoder: Name of the encoder; None when vectors are always given.
        chunk_tokens: Longest passage in tokens; None for what the encoder reads.
        bytes: Size of all its files on disk.
        rejects: Records refused by the last ingest of each source.
        index_fields: Metadata fields that are indexed for filters.
    """

    path: str
    format: int
    version: int
    documents: int
    chunks: int
    space: LatentSpace
    encoder: str | None
    chunk_tokens: int | None
    bytes: int
    rejects: int
    index_fields: tuple[str, ...]
    segments: tuple[SegmentInfo, ...]
