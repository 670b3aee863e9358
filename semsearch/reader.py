"""Reader: what can be asked of an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar, get_args, overload

import numpy as np
from numpy.typing import NDArray

from semsearch.arguments import ids_of, integer, is_vector, matrix_of
from semsearch.encoders.base import Encoder
from semsearch.errors import InvalidArgument, SemsearchError
from semsearch.filters import parse
from semsearch.latents import normalize
from semsearch.search import Queries, Scope, search
from semsearch.snapshot import Snapshot
from semsearch.types import Chunk, Document, Hit, LatentSpace, Mode

Where = Mapping[str, Any] | str

_MODES = " or ".join(map(repr, get_args(Mode)))

_Found = TypeVar("_Found")


class Reader:
    """What can be asked of an index: it has the methods of `Index` that change nothing.

    Get one from `Index.snapshot`: all its calls see the same commit. An `Index` is a reader too,
    each of whose calls sees the newest.
    """

    def __init__(
        self,
        path: Path,
        space: LatentSpace,
        encoder: Encoder | None,
        missing: SemsearchError | None,
    ) -> None:
        """Bind to an index; users call `Index.snapshot`.

        Args:
            path: The index directory.
            space: Passport of its latent space.
            encoder: Its encoder, if it has one and it is installed.
            missing: Why the encoder could not be had; raised when it is needed.
        """
        self._path = path
        self._space = space
        self._encoder = encoder
        self._missing = missing

    def _read(self, *, vectors: bool = False) -> AbstractContextManager[Snapshot]:
        """The commit that a call sees; its segments mapped when `vectors` are needed."""
        raise NotImplementedError

    # -- what it is --------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The index directory."""
        return self._path

    @property
    def space(self) -> LatentSpace:
        """Passport of the latent space."""
        return self._space

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index.

        Raises:
            InvalidArgument: The index has none: vectors are always given.
            SemsearchError: The model is not installed here.
        """
        if self._encoder is not None:
            return self._encoder
        if self._missing is not None:
            raise self._missing
        raise InvalidArgument(
            f"{self.path}: this index has no encoder; give vectors, not text, or search with "
            "mode keyword"
        )

    def __len__(self) -> int:
        """Number of documents."""
        with self._read() as snapshot:
            return snapshot.state().documents

    def __bool__(self) -> bool:
        """An index is true even when it is empty."""
        return True

    # -- reading -----------------------------------------------------------------------------

    # A str is a Sequence[str] to a type checker; the first overload that fits is the one meant.
    @overload
    def get(self, ids: str) -> Document | None: ...  # type: ignore[overload-overlap]
    @overload
    def get(self, ids: Sequence[str]) -> list[Document | None]: ...
    def get(self, ids: str | Sequence[str]) -> Document | list[Document | None] | None:
        """The document with an id, or None; for a list of ids, a list in the same order."""
        wanted = ids_of(ids)
        with self._read() as snapshot:
            found = snapshot.get(wanted)
        return found.get(ids) if isinstance(ids, str) else [found.get(id_) for id_ in wanted]

    def __contains__(self, id_: object) -> bool:
        """Whether there is a document with this id."""
        if not isinstance(id_, str):
            return False
        with self._read() as snapshot:
            return bool(snapshot.catalog.documents([id_]))

    def __iter__(self) -> Iterator[Document]:
        """All documents in the order they were added; one snapshot, whatever is written."""
        with self._read() as snapshot:
            yield from snapshot

    def vectors(self, ids: str | Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of documents, by id: `(chunks, dim)` float32 of unit length, reading order.

        Raises:
            InvalidArgument: An id is not in the index.
        """
        wanted = ids_of(ids)
        with self._read(vectors=True) as snapshot:
            found = snapshot.vectors(wanted)
        return _all_found(wanted, found)

    def chunks(self, ids: str | Sequence[str]) -> dict[str, list[Chunk]]:
        """The passages that documents were split into, by id, in reading order.

        Raises:
            InvalidArgument: An id is not in the index.
        """
        wanted = ids_of(ids)
        with self._read() as snapshot:
            found = snapshot.chunks(wanted)
        return _all_found(wanted, found)

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str | Sequence[float] | NDArray[np.floating[Any]],
        k: SupportsIndex = ...,
        *,
        mode: Mode = ...,
        where: Where | None = ...,
        group: bool = ...,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        query: Sequence[str] | Sequence[Sequence[float]] | Sequence[NDArray[np.floating[Any]]],
        k: SupportsIndex = ...,
        *,
        mode: Mode = ...,
        where: Where | None = ...,
        group: bool = ...,
    ) -> list[list[Hit]]: ...
    def search(
        self,
        query: Any,
        k: SupportsIndex = 10,
        *,
        mode: Mode = "dense",
        where: Where | None = None,
        group: bool = False,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the passages that answer a query best.

        Args:
            query: A text, a vector of `dim` numbers (any length but zero), or a list of texts or
                of vectors, which is answered with a list of answers.
            k: How many hits, at least 1. Fewer come back only when fewer match.
            mode: "dense" finds by meaning: the passages with the highest cosine similarity.
                "keyword" finds by words, with BM25: only passages that hold a word of the query.
                "hybrid" finds by both, and ranks by a score of both. The last two need texts;
                "keyword" needs no encoder.
            where: Only documents that match: a dict, `{"year": {"$gte": 2020}}`, or an expression,
                `'year >= 2020 and lang in ("en", "de")'`; see `semsearch.filters`.
            group: At most one hit, the best, for each document.

        Returns:
            Hits by descending score: see `Hit.score` for what it is in each mode.

        Raises:
            InvalidArgument: An empty query, a wrong `k` or mode, a vector of another dimension, a
                filter that cannot be read (the message points at the place).
            UnsupportedFormat: An index of format 1 has no keyword index until the next write.
            IndexCorrupt: A segment is damaged; `repair` tells more.
        """
        if hasattr(query, "__array__") and not isinstance(query, np.generic):
            query = np.asarray(query)
        single = isinstance(query, str) or is_vector(query)
        queries = [query] if single else list(query)
        asked = self._asked(queries, mode)
        wanted = integer("k", k, least=1)
        only = None if where is None else parse(where)
        with self._read(vectors=True) as snapshot:
            segments = snapshot.segments if only is None else snapshot.selected(only)
            answers = search(Scope(snapshot, segments), asked, wanted, mode=mode, group=group)
        return answers[0] if single else answers

    def _asked(self, queries: list[Any], mode: Mode) -> Queries:
        """The queries with what the mode needs of them."""
        if mode not in get_args(Mode):
            raise InvalidArgument(f"mode: expected {_MODES}, got {mode!r}")
        texts = [query for query in queries if isinstance(query, str)]
        if not all(map(str.strip, texts)):
            raise InvalidArgument("the query is empty")
        if texts and len(texts) < len(queries):
            raise InvalidArgument("a list of queries holds either texts or vectors, not both")
        if mode != "dense" and len(texts) < len(queries):
            raise InvalidArgument(f"mode {mode!r} finds words: give texts, not vectors")
        if mode == "keyword":
            return Queries(texts)
        return Queries(texts, self._query_vectors(queries))

    def _query_vectors(self, queries: list[Any]) -> NDArray[np.float32]:
        if not queries:
            return np.empty((0, self.space.dim), np.float32)
        if isinstance(queries[0], str):
            return normalize(self.encoder.encode_queries(queries))
        return normalize(matrix_of(queries, self.space.dim))


class PinnedReader(Reader):
    """Sees the commit of one snapshot in every call."""

    def __init__(self, reader: Reader, snapshot: Snapshot) -> None:
        """Ask `snapshot`, of the index that `reader` asks, with its segments mapped."""
        super().__init__(reader._path, reader._space, reader._encoder, reader._missing)
        self._snapshot = snapshot

    @contextmanager
    def _read(self, *, vectors: bool = False) -> Iterator[Snapshot]:  # noqa: ARG002
        yield self._snapshot


def _all_found(wanted: Sequence[str], found: dict[str, _Found]) -> dict[str, _Found]:
    missing = [id_ for id_ in wanted if id_ not in found]
    if missing:
        raise InvalidArgument(f"no document with id {missing[0]!r} ({len(missing)} missing)")
    return found
