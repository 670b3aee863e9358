"""Zip packages of XML (Word, PowerPoint, EPUB), unpacked a bounded part at a time."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple
from urllib.parse import unquote
from xml.etree.ElementTree import Element, fromstring
from zipfile import BadZipFile, ZipFile

from semsearch.errors import InvalidArgument

UNPACKED_LIMIT = 64 * 2**20
"""Largest part that is unpacked, in bytes. Pictures and films are never unpacked at all."""

_OLE = b"\xd0\xcf\x11\xe0"  # what Office wraps an encrypted file in, and its files before 2007


class Relation(NamedTuple):
    """A reference from one part to another.

    Attributes:
        kind: Last word of its type, such as "slide".
        part: Name of the part that is meant.
    """

    kind: str
    part: str


class Package:
    """The parts of a file, by name.

    Whatever the directory claims, no more than `UNPACKED_LIMIT` bytes of a part are unpacked.
    """

    def __init__(self, file: ZipFile) -> None:
        self._file = file
        self._names = set(file.namelist())

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        """The bytes of a part.

        Raises:
            InvalidArgument: There is none, it is encrypted or too large.
        """
        if name not in self:
            raise InvalidArgument(f"damaged, or of another kind: holds no {name[:100]!r}")
        if self._file.getinfo(name).flag_bits & 1:
            raise InvalidArgument("encrypted; save it without a password")
        with self._file.open(name) as stream:
            data = stream.read(UNPACKED_LIMIT + 1)
        if len(data) > UNPACKED_LIMIT:
            limit = UNPACKED_LIMIT // 2**20
            raise InvalidArgument(f"{name[:100]!r} in it unpacks to more than {limit} MiB")
        return data

    def xml(self, name: str) -> Element:
        """The root of a small XML part. No entity from outside is ever fetched."""
        return fromstring(self.read(name))

    def relations(self, part: str = "") -> dict[str, Relation]:
        """References of a part (or of the package), by their id (Open Packaging Conventions)."""
        folder, base = posixpath.split(part)
        name = posixpath.join(folder, "_rels", f"{base}.rels")
        if name not in self:
            return {}
        return {
            one.get("Id", ""): Relation(
                one.get("Type", "").rpartition("/")[2],
                resolved(part, one.get("Target", "")).lstrip("/"),
            )
            for one in self.xml(name)
            if one.get("TargetMode") != "External"
        }

    def related(self, kind: str, part: str = "") -> list[str]:
        """The parts of a kind that a part refers to, those that are there."""
        found = (one.part for one in self.relations(part).values() if one.kind == kind)
        return [name for name in found if name in self]


@contextmanager
def unpacking(path: str) -> Iterator[Package]:
    """Open a package.

    Raises:
        InvalidArgument: It is none.
    """
    with open(path, "rb") as stream:  # noqa: PTH123
        _check_magic(stream)
        try:
            file = ZipFile(stream)
        except BadZipFile as error:
            raise InvalidArgument(f"damaged, or of another kind: {error}") from error
        with file:
            yield Package(file)


def _check_magic(stream: IO[bytes]) -> None:
    if stream.read(len(_OLE)) == _OLE:
        raise InvalidArgument(
            "encrypted, or of a kind before 2007; save it anew, without a password"
        )


def resolved(part: str, target: str) -> str:
    """Name of the part that a reference in another part means."""
    name = unquote(target.partition("#")[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(part), name))


def local(tag: str) -> str:
    """A name without its namespace: those of strict and transitional files differ."""
    return tag.rpartition("}")[2]


def named(element: Element, name: str) -> Iterator[Element]:
    """The descendants with a local name, in their order."""
    return (one for one in element.iter() if local(str(one.tag)) == name)


def attribute(element: Element, name: str) -> str:
    """The value of the attribute with a local name, "" when there is none."""
    return next((value for key, value in element.items() if local(key) == name), "")


def first_text(element: Element, name: str) -> str:
    """The text of the first descendant with a local name, "" when there is none."""
    return next((one.text or "" for one in named(element, name)), "")
