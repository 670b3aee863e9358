"""What a reader sees: the documents, passages and vectors of one commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import IndexCorrupt
from semsearch.filters import Filter
from semsearch.points import Latents, Points
from semsearch.segment_file import Layout, corrupt
from semsearch.storage.checksum import content_hash
from semsearch.storage.keywords import Matches, words_of
from semsearch.storage.reading import ReadTransaction
from semsearch.storage.rows import (
    ChunkRow,
    DocumentRow,
    FoundRow,
    State,
    passage_of,
    span_of,
)
from semsearch.types import Chunk, Document, Hit, LatentSpace
from semsearch.view import LiveSegment, Selection, View, sampled_keys

_LARGEST_SCORE = 1.001

_DECODER = json.JSONDecoder()
"""Of metadata as stored, without what `json.loads` does for other texts."""


class Snapshot:
    """One commit, consistent in all its parts while its transaction lasts."""

    def __init__(self, layout: Layout, transaction: ReadTransaction, view: View) -> None:
        self._layout = layout
        self._view = view
        self.catalog = transaction

    @property
    def space(self) -> LatentSpace:
        """Latent space of the vectors."""
        return self._layout.space

    @property
    def index(self) -> str:
        """Id that the index was given when it was made."""
        return self._layout.index_id

    @property
    def version(self) -> int:
        """Number of the commit."""
        return self._view.version

    @property
    def segments(self) -> tuple[LiveSegment, ...]:
        """Live segments, in the order of their chunk keys."""
        return self._view.segments

    def selected(self, where: Filter) -> tuple[LiveSegment, ...]:
        """The segments with only the chunks of matching documents alive."""
        selection = self.selection(where)
        if selection.segments is None:
            matching = self.catalog.matching_chunks(where)
            selection.segments = tuple(live.narrowed(matching) for live in self.segments)
        return selection.segments

    def selection(self, where: Filter) -> Selection:
        """What is known of a filter."""
        return self._view.selections.of(where, lambda: self._share(where))

    def _share(self, where: Filter) -> float:
        """Share of the chunks that match, from a sample; 0 where there are few."""
        sample = sampled_keys(self.segments)
        if not len(sample):
            return 0.0
        return float(np.isin(sample, self.catalog.matching_among(sample.tolist(), where)).mean())

    def words(self, queries: Sequence[str]) -> list[list[Matches]]:
        """The passages that hold each word that is looked up, by query and word."""
        asked = [words_of(query) for query in queries]
        found = self._view.words.of(chain.from_iterable(asked), self.catalog.word_scores)
        return [[found[word] for word in words] for words in asked]

    def state(self) -> State:
        """Counters of the commit."""
        return self.catalog.state()

    def get(self, ids: Iterable[str]) -> dict[str, Document]:
        """The documents that exist among `ids`.

        Raises:
            IndexCorrupt: One of them is damaged.
        """
        rows = self.catalog.documents(ids)
        pieces = self.catalog.chunks_of(row.key for row in rows.values())
        return {id_: self._document(row, pieces[row.key]) for id_, row in rows.items()}

    def __iter__(self) -> Iterator[Document]:
        """All documents, in the order they were added.

        Raises:
            IndexCorrupt: The next one is damaged.
        """
        after = 0
        while page := self.catalog.document_page(after):
            pieces = self.catalog.chunks_of(row.key for row in page)
            for row in page:
                yield self._document(row, pieces[row.key])
            after = page[-1].key

    def _document(self, row: DocumentRow, chunks: Sequence[ChunkRow]) -> Document:
        self._check(row, chunks)
        return _document(row, chunks)

    def _check(self, row: DocumentRow, chunks: Sequence[ChunkRow]) -> None:
        damage = document_damage(row, chunks)
        if damage:
            raise IndexCorrupt(
                f"{self._layout.folder / 'catalog.db'}: document {row.id!r}: {damage}; "
                "delete it and add it again, or restore the file from a backup"
            )

    def hits(self, keys: Sequence[int], scores: Sequence[float]) -> list[Hit]:
        """Hits for chunk keys and their scores, in the order given.

        Raises:
            IndexCorrupt: A live vector has no chunk.
        """
        found = self.catalog.found(keys)
        if len(found) != len(set(keys)):
            raise self._damaged("a chunk that was found is missing")
        return [self._hit(found[key], score) for key, score in zip(keys, scores, strict=True)]

    def _hit(self, row: FoundRow, score: float) -> Hit:
        if row.damage:
            raise self._damaged(row.damage)
        return Hit(
            id=row.id,
            score=score,
            text=passage_of(row),
            metadata=_DECODER.raw_decode(row.metadata)[0],
            source=row.source,
            span=span_of(row),
            title=row.title,
            chunk=row.key,
        )

    def cosines(
        self, keys: NDArray[np.int64], scores: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Products of chunk vectors with a query as cosines: rounding may have passed the ends.

        Raises:
            IndexCorrupt: One is beyond, which tells of a damaged vector without reading its file.
        """
        if all(-1 <= score <= 1 for score in scores.tolist()):
            return scores.astype(np.float64)
        beyond = ~(np.abs(scores) <= _LARGEST_SCORE)
        if beyond.any():
            key, score = keys[beyond][0], scores[beyond][0]
            firsts = [live.row.first for live in self.segments]
            file = self.segments[int(np.searchsorted(firsts, key, side="right")) - 1].file
            raise corrupt(file.path, f"a vector in it is damaged (score {score})")
        return np.minimum(np.maximum(scores.astype(np.float64), -1.0), 1.0)

    def _damaged(self, what: str) -> IndexCorrupt:
        path = self._layout.folder / "catalog.db"
        return IndexCorrupt(f"{path}: {what}; `semsearch verify` says which")

    def vectors(self, ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of the documents that exist among `ids`: `(chunks, dim)` in reading order.

        Raises:
            IndexCorrupt: A document or a segment is damaged.
        """
        return {
            id_: self.chunk_vectors([chunk.key for chunk in chunks])
            for id_, chunks in self._chunks(ids).items()
        }

    def latents(self, ids: Iterable[str]) -> dict[str, Latents]:
        """Raw latents of the documents that exist among `ids`: `(chunks, size)` float16.

        Raises:
            IndexCorrupt: A document or a segment is damaged.
        """
        return {
            id_: self._points([chunk.key for chunk in chunks]).latents
            for id_, chunks in self._chunks(ids).items()
        }

    def chunks(self, ids: Iterable[str]) -> dict[str, list[Chunk]]:
        """Chunks of the documents that exist among `ids`, in reading order.

        Raises:
            IndexCorrupt: A document is damaged.
        """
        return {
            id_: [Chunk(span_of(chunk), passage_of(chunk)) for chunk in chunks]
            for id_, chunks in self._chunks(ids).items()
        }

    def _chunks(self, ids: Iterable[str]) -> dict[str, list[ChunkRow]]:
        rows = self.catalog.documents(ids)
        chunks = self.catalog.chunks_of(row.key for row in rows.values())
        for row in rows.values():
            self._check(row, chunks[row.key])
        return {id_: chunks[row.key] for id_, row in rows.items()}

    def encoded(
        self, ids: Iterable[str]
    ) -> Iterator[tuple[str, str, list[tuple[str, NDArray[np.float32]]]]]:
        """Id, title, and text and vector of every chunk of those `ids` with several chunks.

        The segments are read whole: a copy of a damaged vector would pass for sound.

        Raises:
            IndexCorrupt: A document or a segment is damaged.
        """
        rows = self.catalog.documents(ids)
        chunks = self.catalog.chunks_of(row.key for row in rows.values())
        for row in rows.values():
            if len(found := chunks[row.key]) > 1:
                self._check(row, found)
                vectors = self.chunk_vectors([chunk.key for chunk in found], whole=True)
                texts = [passage_of(chunk) for chunk in found]
                yield row.id, row.title, list(zip(texts, vectors, strict=True))

    def chunk_vectors(self, keys: Sequence[int], *, whole: bool = False) -> NDArray[np.float32]:
        """`(len(keys), dim)` float32 unit vectors of chunks, `keys` ascending.

        Args:
            keys: Keys of chunks.
            whole: Hold the files that they are in against their checksums first.

        Raises:
            IndexCorrupt: A chunk is in no segment, or a file is damaged.
        """
        return self._points(keys, whole=whole).vectors

    def _points(self, keys: Sequence[int], *, whole: bool = False) -> Points:
        wanted = np.asarray(keys, np.int64)
        firsts = [live.row.first for live in self.segments]
        owners = np.searchsorted(firsts, wanted, side="right") - 1
        if len(owners) and owners.min() < 0:
            raise self._damaged("a chunk is in no segment")
        used = np.unique(owners).tolist()
        if whole:
            for owner in used:
                self.segments[owner].file.check_once()
        parts = [self.segments[owner].points(wanted[owners == owner]) for owner in used]
        return Points.joined(parts, self.space)


def document_damage(row: DocumentRow, chunks: Sequence[ChunkRow]) -> str | None:
    """What is wrong with a document and all its chunks, if anything."""
    if not row.intact:
        return "its row was changed"
    if not all(chunk.intact for chunk in chunks):
        return "a chunk of it was changed"
    if [chunk.ordinal for chunk in chunks] != list(range(len(chunks))) or not chunks:
        return "a chunk of it is missing"
    if content_hash(_document(row, chunks)) != row.hash:
        return "its text is not the one that was added"
    return None


def _document(row: DocumentRow, chunks: Sequence[ChunkRow]) -> Document:
    return Document(
        id=row.id,
        text="".join(chunk.piece for chunk in chunks),
        title=row.title,
        metadata=json.loads(row.metadata),
        source=row.source,
    )
