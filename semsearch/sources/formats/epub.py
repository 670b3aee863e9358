"""EPUB: a part for each chapter, in the order of the book's spine."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from semsearch.errors import InvalidArgument
from semsearch.sources.formats.html import Page, decoded, parse
from semsearch.sources.formats.package import (
    Package,
    attribute,
    first_text,
    named,
    resolved,
    unpacking,
)
from semsearch.sources.formats.part import Fault, Part, label, present

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"


def read_epub(path: str) -> Iterator[Part | Fault]:
    """The chapters that hold text, and what is wrong with those that cannot be read.

    Raises:
        InvalidArgument: The book cannot be read.
    """
    with unpacking(path) as package:
        root = _root(package)
        book = package.xml(root)
        title, author = label(first_text(book, "title")), label(first_text(book, "creator"))
        names, locked = _spine(root, book), _locked(package)
        for number, name in enumerate(names, start=1):
            try:
                page = _page(package, name, locked)
            except InvalidArgument as error:
                yield Fault(f"chapter {number}: {error}", number)
                continue
            if not page.text:
                continue
            yield Part(
                text=page.text,
                title=title,
                metadata=present(
                    {
                        "chapter": number,
                        "chapters": len(names),
                        "heading": page.heading,
                        "author": author,
                    }
                ),
                fragment=f"chapter={number}",
                position=number,
                share=number / len(names),
            )


def _root(package: Package) -> str:
    for one in named(package.xml(_CONTAINER), "rootfile"):
        return attribute(one, "full-path")
    raise InvalidArgument(f"damaged: {_CONTAINER} names no book")


def _spine(root: str, book: Element) -> list[str]:
    hrefs = {attribute(one, "id"): attribute(one, "href") for one in named(book, "item")}
    ids = (attribute(one, "idref") for one in named(book, "itemref"))
    return [resolved(root, hrefs[id]) for id in ids if id in hrefs]


def _locked(package: Package) -> set[str]:
    """Parts under DRM. The fonts of an honest book may be scrambled, its chapters are not."""
    if _ENCRYPTION not in package:
        return set()
    references = named(package.xml(_ENCRYPTION), "CipherReference")
    return {resolved("", attribute(one, "URI")) for one in references}


def _page(package: Package, name: str, locked: set[str]) -> Page:
    if name in locked:
        raise InvalidArgument("protected against copying (DRM)")
    return parse(decoded(package.read(name)))
