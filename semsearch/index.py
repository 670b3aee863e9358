"""Index: what users hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from numpy.typing import ArrayLike

from semsearch import pictures
from semsearch.arguments import DocumentLike, documents_of, ids_of, matrix_of
from semsearch.encoders.base import AnyEncoder
from semsearch.errors import InvalidArgument, LatentSpaceMismatch, SemsearchError
from semsearch.info import IndexInfo, SegmentInfo
from semsearch.latents import normalize
from semsearch.reader import DIRECTIONS, PinnedReader, Reader, Where
from semsearch.snapshot import Snapshot
from semsearch.store import Store
from semsearch.types import Document, OnConflict, Reject
from semsearch.vectors import check_wanted
from semsearch.vectors.base import TARGET_RECALL, unreported

if TYPE_CHECKING:
    from semsearch.direction import Direction
    from semsearch.embedding import Embedder
    from semsearch.ingest import IngestReport, Progress
    from semsearch.maintenance import RepairReport, VerifyReport
    from semsearch.preparation import Item
    from semsearch.sources import Sources


class Index(Reader):
    """A directory of documents that can be searched by meaning and by words.

    Get one from `semsearch.create` or `semsearch.open`; use it in a `with` block, or `close` it.
    Any number of processes and threads may read while one writes; each call of a reading method
    sees the newest commit. Writing takes the index's lock for the duration of one call.
    """

    def __init__(
        self, store: Store, encoder: AnyEncoder | None, missing: SemsearchError | None = None
    ) -> None:
        """Bind a store to its encoder; users call `create` or `open`.

        Args:
            store: The open store.
            encoder: Its encoder, if it has one and it is installed.
            missing: Why the encoder could not be had; raised when it is needed.

        Raises:
            LatentSpaceMismatch: The encoder's space is not the index's.
        """
        if encoder is not None and encoder.space.fingerprint != store.space.fingerprint:
            raise LatentSpaceMismatch(
                f"{store.path}: its vectors are of {store.space}, but the encoder's space is "
                f"{encoder.space}; open it with the encoder it was made with, or index anew"
            )
        super().__init__(store.path, store.space, encoder, missing)
        self._store = store

    # -- what it is --------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self._store.closed:
            return f"<Index {str(self.path)!r} closed>"
        return (
            f"<Index {str(self.path)!r}: {len(self)} documents, "
            f"{self.space.name}, {self.space.dim} dimensions>"
        )

    def info(self) -> IndexInfo:
        """Sizes, versions, segments."""
        with self._store.read() as snapshot:
            state = snapshot.state()
            rejects, format_ = snapshot.catalog.reject_count(), snapshot.catalog.format
            index_fields = snapshot.catalog.indexed_fields()
            segments = tuple(map(SegmentInfo.of, snapshot.segments))
        return IndexInfo(
            path=str(self.path),
            format=format_,
            version=state.version,
            documents=state.documents,
            chunks=state.chunks,
            space=self.space,
            encoder=self._store.settings.get("encoder"),
            chunk_tokens=self._store.settings.get("chunk_tokens"),
            bytes=self._store.bytes_on_disk(),
            rejects=rejects,
            index_fields=index_fields,
            segments=segments,
        )

    # -- reading -----------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """The newest commit, unchanged while the block lasts, whatever others write.

        Pages of one search, or a search and what is fetched for its hits, belong together only
        within one. It is for one thread. A long one keeps the log of changes from shrinking.

        Raises:
            IndexCorrupt: A segment file is missing or damaged.
        """
        with self._store.read(vectors=True) as snapshot:
            yield PinnedReader(self, snapshot)

    def _read(self, *, vectors: bool = False) -> AbstractContextManager[Snapshot]:
        return self._store.read(vectors=vectors)

    # -- writing -----------------------------------------------------------------------------
    # What writes is imported by the calls that write: a process that only asks starts sooner.

    @cached_property
    def _embedder(self) -> Embedder | None:
        from semsearch.embedding import embedder_of

        if self._encoder is None:
            return None
        return embedder_of(self._encoder, self._store.settings.get("chunk_tokens"))

    def add(
        self,
        documents: DocumentLike | Iterable[DocumentLike],
        vectors: ArrayLike | None = None,
        *,
        on_conflict: OnConflict = "replace",
    ) -> IngestReport:
        """Add documents, or replace those with the same id.

        When the call returns, its documents are on the disk and visible to every process. A call
        of up to 8,192 chunks that takes less than 10 s is one commit: all of it or nothing. A
        longer one commits as it goes. A document that is there already, exactly so, costs no
        encoding. Metadata come back as JSON does: tuples as lists, keys as strings, sorted.

        Args:
            documents: Documents or dicts with `id`, `text` (in an index of pictures `image`, a
                file, an image of Pillow or an array), optional `title`, `metadata`, `source`; any
                iterable, read once.
            vectors: `(n, dim)`, one for each document, in place of the encoder's; then a document
                is one chunk, and its text may be empty. Any length but zero.
            on_conflict: What to do about an id that is in the index: "replace" the document,
                "skip" the new one, or "error", which adds nothing: however long the call, it is
                one commit, whose vectors are held in memory.

        Raises:
            InvalidArgument: A document or a vector is not acceptable, or an id is given twice;
                says which.
            IndexLocked: Another process is writing.
        """
        from semsearch import ingest

        if on_conflict not in ("replace", "skip", "error"):
            raise InvalidArgument(f"on_conflict: {on_conflict!r} is not replace, skip or error")
        rows = None if vectors is None else matrix_of(vectors, self.space.dim)
        of_pictures = self.space.modality == "image"
        if rows is None:
            self._any_encoder()
        elif of_pictures:
            raise InvalidArgument("vectors: an index of pictures makes its own, with their latents")
        else:
            rows = normalize(rows)  # all of them now: a bad one must not be found half way
        text_needed = rows is None and not of_pictures
        checked = documents_of(documents, text_needed=text_needed, pictures=of_pictures)
        if of_pictures:
            checked = map(_addressed, checked)
        return self.add_items(ingest.items_of(checked, rows), on_conflict=on_conflict)

    def add_items(
        self, items: Iterable[Item], *, on_conflict: OnConflict = "replace"
    ) -> IngestReport:
        """Like `add`, of documents that were already looked at."""
        from semsearch import ingest

        return ingest.add(self._store, self._embedder, items, on_conflict=on_conflict)

    def ingest(
        self,
        *sources: str | Path,
        id_field: str | None = None,
        text_field: str | None = None,
        prune: bool = False,
        force: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Add files and folders: .txt, .md, .jsonl, .csv, .tsv, .parquet, or "-" for stdin.

        Into an index of pictures: .jpg, .png, .webp, .gif, .tif and others that Pillow reads.

        Commits as it goes; run again, it encodes only what changed. What a source no longer holds
        stays in the index unless you `prune`. Bad records do not stop it: they are counted in
        the report and kept, see `rejects`.

        The id of a file in a folder is `<folder name>/<path in it>`: two folders of one name share
        their ids, and the report's `moved` counts documents that another source held before.

        Args:
            sources: Files or folders. A folder with a `corpus.jsonl` is a BEIR collection.
            id_field: Field of a table that is the id; `_id` or `id` by default.
            text_field: Field of a table that is the text; `text` by default.
            prune: When all was read, delete the documents that came from these sources and are
                not in them any more. What has rejects, or is there and was not read, stays.
            force: Prune also what is left with nothing at all, or does not exist.
            progress: Called often with how far it is.

        Raises:
            IngestError: A source does not exist or is of no kind that is read, or is to be pruned
                and holds nothing.
            IndexLocked: Another process is writing.
        """
        from semsearch.sources import Sources

        planned = Sources(
            sources,
            id_field=id_field,
            text_field=text_field,
            missing_ok=prune and force,
            modality=self.space.modality,
        )
        return self.ingest_sources(planned, prune=prune, force=force, progress=progress)

    def ingest_sources(
        self,
        sources: Sources,
        *,
        prune: bool = False,
        force: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Like `ingest`, of sources that were already looked at."""
        from semsearch import ingest

        self._any_encoder()
        return ingest.ingest_sources(
            self._store, self._embedder, sources, prune=prune, force=force, report=progress
        )

    def rejects(self) -> list[Reject]:
        """Records that the last ingest of their source refused, by source and position."""
        with self._store.read() as snapshot:
            return snapshot.catalog.rejects()

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Delete documents in one commit; gives how many there were.

        Args:
            ids: One id or several; those that are not in the index are passed over.
            where: In place of ids: all documents that match, as in `search`; `{}` matches every
                one.

        Raises:
            InvalidArgument: Both or neither is given, or the filter cannot be read.
            IndexLocked: Another process is writing.
        """
        from semsearch.writer import writing

        if (ids is None) == (where is None):
            raise InvalidArgument("delete: expected ids, or where=..., and not both")
        with writing(self._store) as writer:  # under the lock, what matches stays so
            return writer.delete(self.ids(where) if ids is None else ids_of(ids))

    # -- keeping -----------------------------------------------------------------------------

    def optimize(
        self,
        kind: str = "auto",
        *,
        target_recall: float = TARGET_RECALL,
        memory: float | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """Merge all segments into one, drop deleted vectors, give free space back.

        Args:
            kind: How the merged segment is searched. All vectors are scored by "exact"; or codes of
                16 or 8 bits a component of all of them and then the best, by "fp16" and "sq8",
                which find the same. Approximate are "ivf", which ranks short codes in the nearest
                of many lists and scores the best exactly ("ivf-sq8" and "ivf-rabitq": with other
                codes), and "hnsw", which walks a graph of near vectors. "auto" takes "exact" below
                20,000 vectors and then "ivf", "sq8" for a `target_recall` of 1, and what
                `memory` allows.
            target_recall: Share of the true ten nearest that an approximate kind is tuned to find,
                on the vectors themselves: above 0, at most 0.999; with "auto" or an exact kind also
                1. `info` tells what was measured.
            memory: Bytes that "auto" may count on when the index is searched: "hnsw" where there
                are 300,000 vectors or more and they fit with their links; "exact", which reads
                vectors from the disk, where not even codes do.
            progress: Called often while a kind is built with the step, how much of it is done, and
                of how much. What it raises ends the build; the index is then as before.

        Raises:
            InvalidArgument: No such kind, or a recall or a memory out of range.
            IndexLocked: Another process is writing.
        """
        from semsearch.recipe import Recipe
        from semsearch.writer import writing

        check_wanted(kind, target_recall, memory)
        with writing(self._store) as writer:
            recipe = Recipe(kind, float(target_recall), memory, progress or unreported)
            writer.optimize(recipe)

    def index_field(self, *fields: str) -> None:
        """Index metadata fields, so that a filter on one reads only what matches it.

        Every filter works without. An index makes a narrow one quick the first time it is met
        after a commit, and costs some 20 bytes a document.

        Args:
            fields: Names as in a filter: `year`, `author.name`. Those indexed already stay so.

        Raises:
            InvalidArgument: No field of metadata, or not of letters, digits and underscores.
            IndexLocked: Another process is writing.
        """
        from semsearch.writer import writing

        with writing(self._store) as writer:
            writer.index_fields(fields)

    def keep_direction(self, name: str, direction: Direction) -> None:
        """Keep a direction under a name, in place of an older one.

        Raises:
            InvalidArgument: The name is empty, or the direction is of another space.
            IndexLocked: Another process is writing.
        """
        from semsearch.writer import writing

        if not name.strip() or direction.latent.shape != (self.space.latent_size,):
            raise InvalidArgument(
                f"direction {name!r}: expected a name, and {self.space.latent_size} numbers, got "
                f"{direction.latent.shape}"
            )
        with writing(self._store) as writer:
            writer.keep_setting(DIRECTIONS + name, direction.to_json())

    def verify(self) -> VerifyReport:
        """Check all files and all texts against their checksums and against each other."""
        from semsearch import maintenance

        return maintenance.verify(self._store)

    def repair(self) -> RepairReport:
        """Mend what can be made again: derived files, and vectors that the encoder made.

        Raises:
            IndexLocked: Another process is writing.
        """
        from semsearch import maintenance

        return maintenance.repair(self._store, self._embedder)

    def close(self) -> None:
        """Release its files; the index cannot be used any more."""
        self._store.close()

    def __enter__(self) -> Self:
        """Give the index itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _addressed(document: Document) -> Document:
    try:
        return pictures.addressed(document)
    except InvalidArgument as error:
        raise InvalidArgument(f"document {document.id!r}: {error}") from error
