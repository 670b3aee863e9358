"""Reader: what can be asked of an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, SupportsIndex, TypeVar, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch import asking
from semsearch.arguments import ids_of, integer, is_vector, number
from semsearch.blend import Blend
from semsearch.direction import Direction
from semsearch.duplicates import Duplicates, duplicates
from semsearch.encoders.base import AnyEncoder, Encoder, PictureEncoder
from semsearch.errors import InvalidArgument, SemsearchError
from semsearch.filters import And, parse
from semsearch.latents import normalize, slerp
from semsearch.nearest import Scope
from semsearch.sample import Sample, draw
from semsearch.search import Queries, Rerank, Wanted, search
from semsearch.snapshot import Snapshot
from semsearch.types import Chunk, Document, Explanation, Hit, LatentSpace, Mode, Step

Where = Mapping[str, Any] | str

DIRECTIONS = "direction/"
"""How the names of settings begin that are directions."""

DUPLICATE_PICTURES = 0.8
"""The cosine from which on two pictures are taken for copies (decision 0017)."""

_LOWEST_THRESHOLD = 0.01

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
        encoder: AnyEncoder | None,
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
        """The encoder of an index of texts.

        Raises:
            InvalidArgument: The index has none: vectors are always given, or it holds pictures.
            SemsearchError: The model is not installed here.
        """
        found = self._any_encoder()
        if self.space.modality == "image":
            raise InvalidArgument(
                f"{self.path}: this index holds pictures, which have no words; ask with a picture: "
                "--image FILE, or semsearch.image(FILE); or with --like ID"
            )
        return cast(Encoder, found)

    @property
    def picture_encoder(self) -> PictureEncoder:
        """The encoder of an index of pictures, which decodes too.

        Raises:
            InvalidArgument: It is no index of pictures.
            SemsearchError: The model is not installed here.
        """
        if self.space.modality != "image":
            raise InvalidArgument(
                f"{self.path}: this index holds no pictures (its space is {self.space.name}): "
                "nothing in it can be decoded or compared with one; make an index of pictures "
                "with `semsearch index FOLDER --encoder vae`"
            )
        return cast(PictureEncoder, self._any_encoder())

    def _any_encoder(self) -> AnyEncoder:
        if self._encoder is not None:
            return self._encoder
        if self._missing is not None:
            raise self._missing
        raise InvalidArgument(
            f"{self.path}: this index has no encoder; give vectors, not text, or search with "
            "mode keyword"
        )

    @property
    def version(self) -> int:
        """Number of the newest commit, or of the snapshot's; each write makes it greater."""
        with self._read() as snapshot:
            return snapshot.version

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

    def ids(self, where: Where | None = None) -> list[str]:
        """Ids of the documents that match a filter, in the order they were added.

        Args:
            where: As in `search`; None for all.

        Raises:
            InvalidArgument: The filter cannot be read.
        """
        only = And(()) if where is None else parse(where)
        with self._read() as snapshot:
            return snapshot.catalog.matching_ids(only)

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

    def latents(self, ids: str | Sequence[str]) -> dict[str, NDArray[np.float16]]:
        """Raw latents of pictures, by id, in the order asked: float16 of the shape `space.latent`.

        Raises:
            InvalidArgument: An id is not in the index, or it is no index of pictures.
        """
        _ = self.picture_encoder
        wanted = ids_of(ids)
        with self._read(vectors=True) as snapshot:
            found = snapshot.latents(wanted)
        kept = _all_found(wanted, found)
        return {id_: kept[id_][0].reshape(self.space.latent) for id_ in wanted}

    def decode(self, ids: str | Sequence[str]) -> dict[str, NDArray[np.uint8]]:
        """Pictures that their latents decode to, by id: `(height, width, 3)` uint8 in RGB.

        The files that they came from are not read.

        Raises:
            InvalidArgument: An id is not in the index, or it is no index of pictures.
            DependencyMissing: diffusers is not installed.
            BackendError: The model cannot be loaded or failed.
        """
        kept = self.latents(ids)
        rows = np.reshape(list(kept.values()), (len(kept), self.space.latent_size))
        return dict(zip(kept, self.picture_encoder.decode(rows), strict=True))

    def directions(self) -> dict[str, Direction]:
        """The directions that the index keeps, by name; see `semsearch.fit_direction`."""
        with self._read() as snapshot:
            kept = snapshot.catalog.settings_below(DIRECTIONS)
        return {name: Direction.from_json(text) for name, text in kept.items()}

    def chunks(self, ids: str | Sequence[str]) -> dict[str, list[Chunk]]:
        """The passages that documents were split into, by id, in reading order.

        Raises:
            InvalidArgument: An id is not in the index.
        """
        wanted = ids_of(ids)
        with self._read() as snapshot:
            found = snapshot.chunks(wanted)
        return _all_found(wanted, found)

    def sample(self, most: SupportsIndex) -> Sample:
        """Passages with their vectors, all of one commit: all there are, or `most` drawn evenly.

        Args:
            most: How many, at least 1. Asked for the same commit again, the same are drawn.

        Raises:
            IndexCorrupt: A text or a vector is damaged.
        """
        number = integer("most", most, least=1)
        with self._read(vectors=True) as snapshot:
            return draw(snapshot, number)

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str | Blend | Sequence[float] | NDArray[np.floating[Any]],
        k: SupportsIndex = ...,
        *,
        vectors: ArrayLike | None = ...,
        mode: Mode = ...,
        where: Where | None = ...,
        group: bool = ...,
        offset: SupportsIndex = ...,
        min_score: float | None = ...,
        diversity: float = ...,
        rerank: Rerank | None = ...,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        query: Sequence[str]
        | Sequence[Blend]
        | Sequence[Sequence[float]]
        | Sequence[NDArray[np.floating[Any]]],
        k: SupportsIndex = ...,
        *,
        vectors: ArrayLike | None = ...,
        mode: Mode = ...,
        where: Where | None = ...,
        group: bool = ...,
        offset: SupportsIndex = ...,
        min_score: float | None = ...,
        diversity: float = ...,
        rerank: Rerank | None = ...,
    ) -> list[list[Hit]]: ...
    def search(
        self,
        query: Any,
        k: SupportsIndex = 10,
        *,
        vectors: ArrayLike | None = None,
        mode: Mode = "dense",
        where: Where | None = None,
        group: bool = False,
        offset: SupportsIndex = 0,
        min_score: float | None = None,
        diversity: float = 0.0,
        rerank: Rerank | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the passages that answer a query best.

        Args:
            query: A text, a vector of `dim` numbers (any length but zero), or a blend of texts,
                pictures, documents and vectors (`semsearch.text("king") - semsearch.text("man") +
                semsearch.text("woman")`, `semsearch.like("a.md")`, `semsearch.image("a.jpg")`),
                whose own texts and documents are left out of the answer; or a list of such, which
                is answered with a list of answers.
            k: How many hits, at least 1. Fewer come back only when fewer match.
            vectors: Of a text, its `(dim,)` vector in place of the encoder's, for an index of given
                vectors; of a list of texts `(n, dim)`. Any length but zero.
            mode: "dense" finds by meaning: the passages with the highest cosine similarity.
                "keyword" finds by words, with BM25: only passages that hold a word of the query.
                "hybrid" finds by both, and ranks by a score of both. The last two need texts;
                "keyword" needs no encoder.
            where: Only documents that match: a dict, `{"year": {"$gte": 2020}}`, or an expression,
                `'year >= 2020 and lang in ("en", "de")'`; see `semsearch.filters`.
            group: At most one hit, the best, for each document.
            offset: Leave out the first so many: `offset=10` gives the second page of ten. Pages
                belong together within one `Index.snapshot()`. What is hybrid, reranked or diverse
                is put in order a hundred at a time, so that its pages agree up to there.
            min_score: Leave out hits that score less; in the scale of the mode, or of `rerank`.
            diversity: From 0 to 1: how much a hit loses for resembling those before it (maximal
                marginal relevance among the best hundred). Hits then come in that order, with
                their own scores.
            rerank: Reads the best hundred passages together with the query and scores them anew:
                `semsearch.Reranker`. Only for texts.

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
        single = isinstance(query, str | Blend) or is_vector(query)
        wanted = asking.wanted(
            k,
            offset=offset,
            group=group,
            min_score=min_score,
            diversity=diversity,
            rerank=rerank,
        )
        given = [vectors] if single and vectors is not None else vectors
        queries = [query] if single else list(query)
        answers = self._answers(queries, wanted, mode, where, given=given)
        return answers[0] if single else answers

    def explain(
        self,
        query: str | Blend | Sequence[float] | NDArray[np.floating[Any]],
        k: SupportsIndex = 10,
        *,
        mode: Mode = "dense",
        where: Where | None = None,
        group: bool = False,
        offset: SupportsIndex = 0,
        min_score: float | None = None,
        diversity: float = 0.0,
        rerank: Rerank | None = None,
    ) -> Explanation:
        """Search for one query, and tell what was done: how a filter was kept to, what was read.

        Args:
            query: As in `search`, as all that follows.
            k: How many hits.
            mode: "dense", "keyword" or "hybrid".
            where: Only documents that match.
            group: At most one hit for each document.
            offset: Leave out the first so many.
            min_score: Leave out hits that score less.
            diversity: From 0 to 1.
            rerank: Scores anew.

        Returns:
            The hits, and each step with its milliseconds; printed, it is a table of the steps.

        Raises:
            InvalidArgument: As `search` does.
        """
        steps: list[Step] = []
        began = perf_counter()
        wanted = asking.wanted(
            k,
            offset=offset,
            group=group,
            min_score=min_score,
            diversity=diversity,
            rerank=rerank,
        )
        (hits,) = self._answers([query], wanted, mode, where, steps=steps)
        return Explanation(hits, tuple(steps), 1e3 * (perf_counter() - began))

    def _answers(
        self,
        queries: list[Any],
        wanted: Wanted,
        mode: Mode,
        where: Where | None,
        *,
        given: Any = None,
        steps: list[Step] | None = None,
    ) -> list[list[Hit]]:
        began = perf_counter()
        asked = asking.asked(self, queries, mode, wanted.rerank, given)
        only = None if where is None else parse(where)
        with self._read(vectors=True) as snapshot:
            scope = Scope(snapshot, only, steps)
            scope.note("query: read, encoded, snapshot taken", began)
            return search(scope, asked, wanted, mode=mode)

    def between(
        self,
        start: str | Blend | Sequence[float] | NDArray[np.floating[Any]],
        end: str | Blend | Sequence[float] | NDArray[np.floating[Any]],
        *,
        steps: SupportsIndex = 10,
        k: SupportsIndex = 1,
        where: Where | None = None,
    ) -> list[list[Hit]]:
        """What lies on the way from one point to another.

        Args:
            start: A text, a vector or a blend.
            end: Likewise.
            steps: How many points of the arc between them, both ends included, at least 2.
            k: How many hits at each.
            where: As in `search`.

        Returns:
            One list of hits for each step, nearest first.

        Raises:
            InvalidArgument: As `search` does; or the ends point in opposite directions.
        """
        count = integer("steps", steps, least=2)
        wanted = Wanted(integer("k", k, least=1))
        points = slerp(asking.point(self, start), asking.point(self, end), np.linspace(0, 1, count))
        only = None if where is None else parse(where)
        with self._read(vectors=True) as snapshot:
            asked = Queries(vectors=normalize(points))
            return search(Scope(snapshot, only), asked, wanted, mode="dense")

    def duplicates(
        self, threshold: float | None = None, *, where: Where | None = None
    ) -> list[Duplicates]:
        """Groups of documents that are copies of each other, or nearly.

        Two documents belong together when a passage of one and a passage of the other (of pictures:
        the pictures) have a cosine of at least `threshold`, and groups that share a document are
        one. Of each passage at most the 64 nearest are looked at.

        Args:
            threshold: From above 0 to 1; needed for texts. By default, for pictures, 0.8: see
                decision 0017 for how many copies it finds, and how many others.
            where: As in `search`.

        Returns:
            The groups, those that resemble each other most first.

        Raises:
            InvalidArgument: A threshold out of range, or none for an index of texts.
        """
        least = self._threshold(threshold)
        only = None if where is None else parse(where)
        with self._read(vectors=True) as snapshot:
            return duplicates(Scope(snapshot, only), least)

    def _threshold(self, wanted: float | None) -> float:
        if wanted is not None:
            return number("threshold", wanted, least=_LOWEST_THRESHOLD, most=1)
        if self.space.modality == "image":
            return DUPLICATE_PICTURES
        raise InvalidArgument(
            "threshold: from which cosine on texts are copies depends on the texts; give one, "
            "such as 0.95"
        )


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
