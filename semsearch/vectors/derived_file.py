"""The file of a vector index: what it is of, and its bytes, under one checksum."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from semsearch.errors import BackendError, IndexCorrupt
from semsearch.vectors.base import Vectors
from semsearch.vectors.scoring import check_vectors

_DIGEST = 32
_LENGTH = 8


def _magic(kind: str) -> bytes:
    return f"semsearch {kind} 1\n".encode()


def _write(path: Path, kind: str, header: Mapping[str, Any], parts: Sequence[memoryview]) -> None:
    """Write a header and some bytes, and first a checksum of both.

    Args:
        path: The file.
        kind: Of the index.
        header: JSON; "rows" and "dim" are those of its vectors.
        parts: What comes after it, one after the other.

    Raises:
        OSError: It cannot be written.
    """
    described = json.dumps(header).encode()
    body: list[bytes | memoryview] = [len(described).to_bytes(_LENGTH, "little"), described, *parts]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    with path.open("wb") as file:
        file.write(_magic(kind) + digest.digest())
        for part in body:
            file.write(part)


def _read(path: Path, kind: str, vectors: Vectors) -> tuple[dict[str, Any], memoryview]:
    """Header and bytes of what `_write` wrote, all of it in memory.

    FAISS is given nothing that has not passed the checksum, because it trusts what it reads.

    Args:
        path: The file.
        kind: Of the index.
        vectors: The rows that it should be the index of.

    Raises:
        IndexCorrupt: It is missing, damaged, or not such an index of these vectors.
    """
    magic = _magic(kind)
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise IndexCorrupt(f"{path}: cannot be read: {error}; rebuild it") from error
    start = len(magic) + _DIGEST
    if data[: len(magic)] != magic:
        raise IndexCorrupt(f"{path}: not an {kind} index; rebuild it")
    body = data[start:]
    if hashlib.sha256(body).digest() != data[len(magic) : start]:
        raise IndexCorrupt(f"{path}: damaged; rebuild it")
    end = _LENGTH + int.from_bytes(body[:_LENGTH], "little")
    header = json.loads(bytes(body[_LENGTH:end]))
    shape = (header.get("rows"), header.get("dim"))
    if shape != vectors.shape:
        raise IndexCorrupt(
            f"{path}: the index of {shape[0]} x {shape[1]} vectors, not of "
            f"{len(vectors)} x {vectors.shape[1]}; rebuild it"
        )
    return header, body[end:]


class Derived(ABC):
    """A kind that keeps what it made of the vectors in a file of its own."""

    kind: ClassVar[str]
    derived: ClassVar[bool] = True

    @abstractmethod
    def described(self) -> tuple[dict[str, Any], list[memoryview]]:
        """What `of` makes it of again: JSON with "rows" and "dim", and bytes."""

    @classmethod
    @abstractmethod
    def of(cls, header: dict[str, Any], data: memoryview, vectors: Vectors) -> Self:
        """Make it of what `described` gave, the bytes joined, over the same vectors.

        Raises:
            KeyError, TypeError, BackendError: It is of another version.
        """

    def save(self, path: Path) -> None:
        """See `VectorIndex.save`."""
        _write(path, self.kind, *self.described())

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """See `VectorIndex.load`; reads all of the file."""
        vectors = check_vectors(vectors)
        header, data = _read(path, cls.kind, vectors)
        try:
            return cls.of(header, data, vectors)
        except (KeyError, TypeError) as error:
            raise IndexCorrupt(f"{path}: of another version of semsearch; rebuild it") from error
        except BackendError as error:
            raise IndexCorrupt(f"{path}: {error}; rebuild it") from error
