"""The values that move between the layers: all frozen, none of them does I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from semsearch.errors import InvalidArgument

JSONObject = dict[str, Any]
Modality = Literal["text", "image", "vector"]
Mode = Literal["dense", "keyword", "hybrid"]
OnConflict = Literal["replace", "skip", "error"]

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

MAX_ID_LENGTH = 1024
"""Longest document id, in characters."""

MAX_METADATA_DEPTH = 100
"""Deepest nesting of metadata: SQLite's JSON functions stop at 1,000, filters much earlier."""

MAX_TEXT_BYTES = 16 * 2**20
"""Longest text of one document, in bytes of UTF-8; longer ones are rejected, not cut."""


class Span(NamedTuple):
    """Half-open range of characters: `document.text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LatentSpace:
    """The passport of a latent space: two vectors may be compared only if theirs are equal.

    Attributes:
        name: What people call it, for messages ("all-MiniLM-L6-v2").
        modality: What is encoded into it. "vector" means the caller brings the vectors.
        shape: Shape of one latent; `dim` is its product.
        fingerprint: Hash of what fixes the geometry (weights, tokenizer, pooling), not of the
            runtime that computes it. Two spaces are the same exactly when this is equal.
        metric: Always "cosine": scores are in [-1, 1], higher is nearer.
        latent: Shape of the raw latent that is kept beside each vector, so that it can be decoded;
            empty in a space that has no decoder.
    """

    name: str
    modality: Modality
    shape: tuple[int, ...]
    fingerprint: str
    metric: Literal["cosine"] = "cosine"
    latent: tuple[int, ...] = ()

    @property
    def dim(self) -> int:
        """Number of components of one vector."""
        return math.prod(self.shape)

    @property
    def latent_size(self) -> int:
        """Numbers of one raw latent; 0 in a space that has no decoder."""
        return math.prod(self.latent) if self.latent else 0

    def to_json(self) -> str:
        """Serialise for the catalog."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LatentSpace:
        """Read what `to_json` wrote.

        Raises:
            InvalidArgument: The text is not a passport.
        """
        try:
            raw = json.loads(text)
            shapes = {"shape": raw["shape"], "latent": raw.get("latent", ())}
            return cls(**raw | {key: tuple(map(int, shape)) for key, shape in shapes.items()})
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidArgument(f"not a latent space passport: {text[:80]!r}") from error

    def __str__(self) -> str:
        return f"{self.name} ({self.dim} dimensions, {self.fingerprint[:12]})"


@dataclass(frozen=True, slots=True)
class Document:
    """What a user indexes and gets back.

    Attributes:
        id: The user's own identifier, unique in an index, 1 to 1024 characters.
        text: The content. May be empty only when vectors are given.
        title: Shown with hits and encoded in front of every chunk, so that a passage from the
            middle of a document still knows what it is about.
        metadata: A JSON object.
        source: Where it was read from (a path), if anywhere.
        image: In place of a text, for an index of pictures: a file, an image of Pillow, or uint8
            `(height, width, 3)` in RGB. It is encoded and not kept: a document that comes back has
            none, and its text is the picture's address, `sha256:...`.

    Raises:
        InvalidArgument: A field has the wrong type, is too long, is not JSON, holds a NUL
            character or a lone surrogate.
    """

    id: str
    text: str
    title: str = ""
    metadata: JSONObject = field(default_factory=dict)
    source: str | None = None
    image: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_string("id", self.id)
        _check_string("text", self.text)
        _check_string("title", self.title)
        if self.source is not None:
            _check_string("source", self.source)
        if not self.id.strip():
            raise InvalidArgument("id: expected a non-empty string")
        if len(self.id) > MAX_ID_LENGTH:
            raise InvalidArgument(f"id: {len(self.id)} characters; the limit is {MAX_ID_LENGTH}")
        if len(self.text.encode()) > MAX_TEXT_BYTES:
            raise InvalidArgument(f"text: longer than {MAX_TEXT_BYTES // 2**20} MiB; split it up")
        metadata_json(self.metadata)

    @classmethod
    def from_mapping(cls, raw: object) -> Document:
        """Make a Document of a plain dict with `id`, `text` and optional fields.

        Raises:
            InvalidArgument: Not a dict, a field is missing, unknown or wrong.
        """
        if not isinstance(raw, Mapping):
            raise InvalidArgument(f"expected a Document or a dict, got {type(raw).__name__}")
        unknown = raw.keys() - {"id", "text", "title", "metadata", "source", "image"}
        if unknown:
            names = ", ".join(sorted(map(str, unknown)))
            raise InvalidArgument(f"unknown field {names}: put your own fields in metadata={{...}}")
        if "id" not in raw:
            raise InvalidArgument("missing field 'id'")
        given = {"text": "", **raw}
        if given.get("metadata") is None:
            given["metadata"] = {}
        return cls(**given)


def _check_string(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}: expected a string, got {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgument(f"{name}: holds a NUL character at {value.index(chr(0))}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name}: lone surrogate at character {error.start}") from error


def metadata_json(metadata: object) -> str:
    """Canonical JSON text of a metadata object: the form that is stored and compared.

    Raises:
        InvalidArgument: Not a dict with string keys, or not JSON (NaN, sets, too deep, ...).
    """
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise InvalidArgument("metadata: expected a dict with string keys")
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"metadata{_not_json(metadata)}: not JSON: {error}") from error
    if _depth(metadata) > MAX_METADATA_DEPTH:
        raise InvalidArgument(f"metadata: nested deeper than {MAX_METADATA_DEPTH} levels")
    if _ESCAPED_NUL.search(text):
        raise InvalidArgument("metadata: holds a NUL character")
    _check_string("metadata", text)
    return text


def _depth(value: object) -> int:
    """Levels of lists and objects; `json.dumps` has made sure that there is an end."""
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list | tuple)]:
        depth += 1
        level = [
            below for part in level for below in (part.values() if isinstance(part, dict) else part)
        ]
    return depth


def _not_json(metadata: JSONObject) -> str:
    """Names the first key whose value is not JSON."""
    for key, value in metadata.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return f"[{key!r}]"
    return ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document that became one vector.

    Attributes:
        span: Characters of the document's text.
        text: Exactly `document.text[span.start:span.end]`.
    """

    span: Span
    text: str


@dataclass(slots=True)  # frozen, making ten would take a fiftieth of a search
class Hit:
    """One answer of a search.

    Attributes:
        id: The document's id.
        score: Higher is better. Of a dense search, the cosine of query and passage, in [-1, 1]; of
            a keyword search, the BM25 score, above 0; of a hybrid one, the cosine and 0.3 times
            what the words add, which is at least 0 and at most the root of their number.
        text: The matching passage, exactly `document.text[span.start:span.end]`.
        metadata: The document's metadata.
        source: The document's source.
        span: Where the passage stands in the document.
        title: The document's title.
        chunk: Key of the passage's vector, never used twice in an index.
    """

    id: str
    score: float
    text: str
    metadata: JSONObject
    source: str | None
    span: Span
    title: str
    chunk: int

    def __repr__(self) -> str:
        text = " ".join(self.text.split())
        shown = text if len(text) <= 60 else text[:59] + "…"
        return f"Hit(id={self.id!r}, score={self.score:.4f}, text={shown!r})"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of what a search did.

    Attributes:
        what: In words.
        milliseconds: How long it took.
    """

    what: str
    milliseconds: float

    def __str__(self) -> str:
        return f"{self.milliseconds:8.2f} ms  {self.what}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a search found, and how.

    Attributes:
        hits: As `search` gives them.
        steps: What was done, in order.
        milliseconds: All of it, with what is no step.
    """

    hits: list[Hit]
    steps: tuple[Step, ...]
    milliseconds: float

    def __str__(self) -> str:
        return "\n".join(map(str, [*self.steps, Step("in all", self.milliseconds)]))


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be indexed; the rest of its source was.

    Attributes:
        source: File (or "stdin") it came from.
        position: Line, row, page, slide, section, chapter or message in the source, from 1; 0 when
            the whole file is meant.
        reason: What is wrong with it.
    """

    source: str
    position: int
    reason: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.position}" if self.position else self.source
        return f"{where}: {self.reason}"
