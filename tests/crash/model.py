"""What an index must hold after a sequence of operations, and how to ask it whether it does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import semsearch
from semsearch import Index, LatentSpace
from semsearch.embedding import TextEmbedder

DIM = 16


def hashed(text: str) -> NDArray[np.float32]:
    """A unit vector that any change of the text changes altogether."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class HashEncoder:
    """A small deterministic encoder: a token is a word, an embedding is a hash of the text."""

    name = "hash"
    max_tokens = 40
    space = LatentSpace("hash", "text", (DIM,), hashlib.sha256(b"hash encoder/16").hexdigest())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([hashed(text) for text in texts], np.float32).reshape(len(texts), DIM)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode_documents(texts)


ENCODER = HashEncoder()
_EMBEDDER = TextEmbedder(ENCODER)


@lru_cache(maxsize=10_000)
def given_vector(text: str) -> NDArray[np.float32]:
    """`(1, DIM)`: what is given for a text."""
    return hashed("given " + text)[np.newaxis]


@lru_cache(maxsize=10_000)
def encoded_vectors(text: str) -> NDArray[np.float32]:
    """`(chunks, DIM)`: what the encoder makes of a text."""
    document = semsearch.Document("any", text)
    return _EMBEDDER.encode([passage.content for passage in _EMBEDDER.split(document)]).vectors


@dataclass(frozen=True)
class Content:
    """A document without its id.

    Attributes:
        given: Its vector is given with it rather than encoded.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    given: bool = False

    def vectors(self) -> NDArray[np.float32]:
        """`(chunks, DIM)`: what the index must keep for it."""
        return given_vector(self.text) if self.given else encoded_vectors(self.text)


State = dict[str, Content]
Kind = Literal["create", "add", "delete", "optimize", "repair"]


@dataclass(frozen=True)
class Operation:
    """One call of the public face; `documents` are all given or all encoded."""

    kind: Kind
    documents: Mapping[str, Content] = field(default_factory=dict)
    ids: Sequence[str] = ()
    index_kind: str = "exact"

    def perform(self, index: Index) -> None:
        """Do it."""
        if self.kind == "add":
            add(index, self.documents)
        elif self.kind == "delete":
            index.delete(self.ids)
        elif self.kind == "optimize":
            index.optimize(self.index_kind)
        elif self.kind == "repair":
            index.repair()

    def outcome(self, state: State) -> State:
        """What is there when it was done in `state`."""
        kept = {id_: content for id_, content in state.items() if id_ not in set(self.ids)}
        return {**kept, **self.documents}


def add(index: Index, documents: Mapping[str, Content]) -> None:
    """Add documents, with their vectors if they are given, in one call."""
    given = any(content.given for content in documents.values())
    vectors = [content.vectors()[0] for content in documents.values()]
    index.add(
        [
            {"id": id_, "text": content.text, "metadata": dict(content.metadata)}
            for id_, content in documents.items()
        ],
        vectors if given else None,
    )


def numbered(ids: Iterable[int], tag: str = "first", *, given: bool = False) -> State:
    """Documents of one chunk, different for each id and tag."""
    return {
        f"d{i}": Content(f"document {i} of the {tag} kind", {"tag": tag, "i": i}, given)
        for i in ids
    }


def create(path: Path) -> Index:
    return semsearch.create(path, encoder=ENCODER)


def reopen(path: Path) -> Index:
    return semsearch.open(path, encoder=ENCODER)


def contents(index: Index) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Texts and metadata of all documents."""
    return {document.id: (document.text, document.metadata) for document in index}


def holds(index: Index, state: State) -> bool:
    """Whether texts and metadata are those of `state`."""
    return contents(index) == {
        id_: (content.text, content.metadata) for id_, content in state.items()
    }


def difference(index: Index, state: State) -> str:
    """Where an index and a state differ, for a message."""
    found = contents(index)
    expected = {id_: (content.text, content.metadata) for id_, content in state.items()}
    changed = [id_ for id_ in found.keys() & expected.keys() if found[id_] != expected[id_]]
    return (
        f"missing {sorted(expected.keys() - found.keys())[:20]}, "
        f"unexpected {sorted(found.keys() - expected.keys())[:20]}, changed {sorted(changed)[:20]}"
    )


def check(index: Index, *states: State) -> State:
    """All is whole and is one of `states`: texts, metadata, vectors, answers. Gives which."""
    report = index.verify()
    assert report.ok, report.problems
    fitting = [state for state in states if holds(index, state)]
    assert fitting, " | ".join(difference(index, state) for state in states)
    state = fitting[0]
    assert len(index) == len(state)
    vectors = index.vectors(list(state))
    for id_, content in state.items():
        np.testing.assert_allclose(vectors[id_], content.vectors(), atol=1e-6, err_msg=id_)
    if state:
        answers = index.search([vectors[id_][-1] for id_ in state], k=1)
        assert [answer[0].id for answer in answers] == list(state)
        assert all(answer[0].score > 0.9999 for answer in answers)
    return state


def segment_files(index: Index) -> set[str]:
    """Names in the segments folder."""
    return {path.name for path in (index.path / "segments").iterdir()}


def named_files(index: Index) -> set[str]:
    """Names that the catalog has segments for."""
    names = set()
    for segment in index.info().segments:
        names.add(f"{segment.number:06d}.arrow")
        if segment.kind != "exact":
            names.add(f"{segment.number:06d}.faiss")
    return names
