"""From what a caller asks for to texts, their points, and how much is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, get_args

import numpy as np
from numpy.typing import NDArray

from semsearch import pictures
from semsearch.arguments import integer, matrix_of, number
from semsearch.blend import Blend, Image, Like, Part, Text, Vector
from semsearch.encoders.base import Encoder, PictureEncoder
from semsearch.errors import InvalidArgument
from semsearch.latents import combine, normalize
from semsearch.search import Queries, Rerank, Wanted, Without
from semsearch.types import LatentSpace, Mode

_MODES = get_args(Mode)

_ROUNDING = 2.0**-23
"""How far from 1 the squared length of a unit vector is that was rounded to float32."""


class Asked(Protocol):
    """What a query needs of the reader that is asked."""

    @property
    def path(self) -> Path:
        """The index directory."""
        ...

    @property
    def space(self) -> LatentSpace:
        """Passport of the latent space."""
        ...

    @property
    def encoder(self) -> Encoder:
        """The encoder of an index of texts; raises where there is none."""
        ...

    @property
    def picture_encoder(self) -> PictureEncoder:
        """The encoder of an index of pictures; raises where there is none."""
        ...

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of documents, by id."""
        ...


def wanted(
    k: SupportsIndex,
    *,
    offset: SupportsIndex,
    group: bool,
    min_score: float | None,
    diversity: float,
    rerank: Rerank | None,
) -> Wanted:
    """How many hits, and which: the numbers checked."""
    return Wanted(
        k=integer("k", k, least=1),
        offset=integer("offset", offset, least=0),
        group=group,
        min_score=None if min_score is None else number("min_score", min_score),
        diversity=number("diversity", diversity, least=0, most=1),
        rerank=rerank,
    )


def asked(
    reader: Asked,
    queries: list[Any],
    mode: Mode,
    rerank: Rerank | None = None,
    given: Any = None,
) -> Queries:
    """The queries with what the mode needs of them; `given` in place of encoded texts."""
    if mode not in _MODES:
        expected = " or ".join(map(repr, _MODES))
        raise InvalidArgument(f"mode: expected {expected}, got {mode!r}")
    kinds = {_kind(query) for query in queries}
    if reader.space.modality == "image" and "texts" in kinds:
        _ = reader.encoder  # says that there is none
    if reader.space.modality == "image" and mode != "dense":
        raise InvalidArgument(
            f"mode {mode!r} finds words, and {reader.path} holds pictures; use mode 'dense'"
        )
    if len(kinds) > 1:
        both = " and ".join(sorted(kinds))
        raise InvalidArgument(f"a list of queries holds one kind, not both {both}")
    if not kinds <= {"texts"} and (mode != "dense" or rerank is not None):
        what = "rerank reads" if mode == "dense" else f"mode {mode!r} finds"
        raise InvalidArgument(f"{what} words: give texts, not {kinds.pop()}")
    if given is not None and (not kinds <= {"texts"} or mode == "keyword"):
        raise InvalidArgument("vectors: those of texts, for mode 'dense' or 'hybrid'")
    match kinds.pop() if kinds else "texts":
        case "texts":
            if not all(map(str.strip, queries)):
                raise InvalidArgument("the query is empty")
            if mode == "keyword":
                return Queries(queries)
            return Queries(queries, _encoded(reader, queries, given))
        case "blends":
            return _blended(reader, queries)
        case _:
            return Queries(vectors=_units(matrix_of(queries, reader.space.dim)))


def point(reader: Asked, query: Any) -> NDArray[np.float32]:
    """`(dim,)`: where one query is."""
    vectors = asked(reader, [query], "dense").vectors
    where: NDArray[np.float32] = normalize(np.array(vectors))[0]
    return where


def _encoded(reader: Asked, texts: list[str], given: Any = None) -> NDArray[np.float32]:
    if not texts:
        return np.empty((0, reader.space.dim), np.float32)
    if given is not None:
        rows = matrix_of(given, reader.space.dim)
        if len(rows) != len(texts):
            raise InvalidArgument(f"vectors: {len(rows)} of them for {len(texts)} texts")
        return _units(rows)
    return _units(reader.encoder.encode_queries(texts))


def _units(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """`(n, dim)` of unit length; as they are when all are so already, as encoders give them."""
    if vectors.dtype == np.float32:
        exact = vectors.astype(np.float64)
        if all(abs(row.dot(row) - 1) <= _ROUNDING for row in exact):
            return vectors
    return normalize(vectors)


def _seen(reader: Asked, image: Image) -> NDArray[np.float32]:
    """`(dim,)`: the point of a picture."""
    encoder = reader.picture_encoder
    picture = encoder.prepared(pictures.read(image.picture))
    vector: NDArray[np.float32] = encoder.encode_pictures([picture]).vectors[0]
    return vector


def _blended(reader: Asked, blends: list[Blend]) -> Queries:
    """The points of blends; each part counts by its direction."""
    texts = list(dict.fromkeys(text for blend in blends for text in blend.texts))
    ids = list(dict.fromkeys(id_ for blend in blends for id_ in blend.ids))
    encoded = dict(zip(texts, _encoded(reader, texts), strict=True))
    means = {id_: rows.mean(axis=0) for id_, rows in reader.vectors(ids).items()}
    seen = {part: _seen(reader, part) for blend in blends for part in blend.images}

    def place(part: Part) -> Any:
        match part:
            case Text(text):
                return encoded[text]
            case Image():
                return seen[part]
            case Like(id_):
                return means[id_]
            case Vector(numbers):
                return numbers

    points = [
        combine(
            blend.weights, matrix_of([place(part) for _, part in blend.terms], reader.space.dim)
        )
        for blend in blends
    ]
    without = [
        Without(frozenset(blend.ids), frozenset(map(str.strip, blend.texts))) for blend in blends
    ]
    return Queries(vectors=np.stack(points), without=without)


def _kind(query: object) -> str:
    match query:
        case str():
            return "texts"
        case Blend():
            return "blends"
        case _:
            return "vectors"
