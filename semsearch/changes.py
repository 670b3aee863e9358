"""What one commit changes, and the catalog rows that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from semsearch.points import Points
from semsearch.storage.checksum import content_hash
from semsearch.storage.rows import ChunkRow, DocumentRow, State
from semsearch.types import Document, Reject, Span, metadata_json


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A document and the spans of its chunks, in reading order, not overlapping.

    Attributes:
        encoded: Whether the encoder made the vectors, so that `repair` can make them again.
    """

    document: Document
    spans: Sequence[Span]
    encoded: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit makes visible, all of it or nothing.

    Attributes:
        upserts: New documents, or new content for documents that exist.
        points: One for each span of `upserts` in order, with vectors of any length but zero; None
            when there are no upserts.
        relabels: Documents whose metadata or source changed and nothing else.
        rejects: Records that were refused.
        reread: Sources whose earlier rejects are forgotten.
    """

    upserts: Sequence[ChunkedDocument] = ()
    points: Points | None = None
    relabels: Sequence[Document] = ()
    rejects: Sequence[Reject] = ()
    reread: Sequence[str] = ()


def rows_to_insert(
    upserts: Sequence[ChunkedDocument],
    known: Mapping[str, DocumentRow],
    next_document: int,
    state: State,
) -> tuple[list[DocumentRow], list[ChunkRow]]:
    """Rows of new documents; one that exists keeps its key, chunks always get new ones."""
    documents: list[DocumentRow] = []
    chunks: list[ChunkRow] = []
    for new in upserts:
        old = known.get(new.document.id)
        key = old.key if old else next_document
        next_document += old is None
        documents.append(_document_row(key, new))
        chunks.extend(_chunk_rows(new, key, state.next_chunk + len(chunks)))
    return documents, chunks


def relabelled_rows(
    documents: Sequence[Document], known: Mapping[str, DocumentRow]
) -> list[DocumentRow]:
    """Rows of documents that got other metadata or another source."""
    return [
        known[document.id]._replace(
            metadata=metadata_json(document.metadata), source=document.source
        )
        for document in documents
    ]


def _document_row(key: int, new: ChunkedDocument) -> DocumentRow:
    return DocumentRow(
        key=key,
        id=new.document.id,
        title=new.document.title,
        metadata=metadata_json(new.document.metadata),
        source=new.document.source,
        hash=content_hash(new.document),
        encoded=new.encoded,
    )


def _chunk_rows(new: ChunkedDocument, document: int, first_key: int) -> list[ChunkRow]:
    text = new.document.text
    cuts = [0, *(span.start for span in new.spans[1:]), len(text)]
    return [
        ChunkRow(
            key=first_key + ordinal,
            document=document,
            ordinal=ordinal,
            start=span.start,
            length=span.end - span.start,
            piece=text[begin:end],
        )
        for ordinal, (span, (begin, end)) in enumerate(zip(new.spans, pairwise(cuts), strict=True))
    ]
