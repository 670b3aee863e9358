"""Paragraphs of Office's XML: the same elements in Word and in PowerPoint."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree.ElementTree import Element, iterparse

from semsearch.errors import InvalidArgument
from semsearch.sources.formats.package import Package, attribute, first_text, local
from semsearch.sources.formats.part import label

_DEPTH = 1000
_JOINED = {"tc": " ", "tr": " | ", "tbl": "\n"}

# The old place of text that was moved; and what repeats a text box for programs before 2010.
_PASSED_OVER = ("moveFrom", "Fallback")

# Slide number, date, header and footer stand on every slide and say nothing about it.
_FURNITURE = ("sldNum", "dt", "ftr", "hdr")
_TITLES = ("title", "ctrTitle")


class Paragraph(NamedTuple):
    """A paragraph, or a whole table with a line for each row.

    Attributes:
        text: What it says.
        style: Id of its style (Word), or `title` in a title's placeholder (PowerPoint).
        outline: Its own outline level, from "0"; "" for none.
    """

    text: str
    style: str = ""
    outline: str = ""


class Properties(NamedTuple):
    """Title and author of a file, "" where it has none."""

    title: str
    author: str


def properties(package: Package) -> Properties:
    """What the file says of itself."""
    for name in package.related("core-properties"):
        core = package.xml(name)
        return Properties(label(first_text(core, "title")), label(first_text(core, "creator")))
    return Properties("", "")


def main_part(package: Package) -> str:
    """Name of the part with the document or the presentation; "" when there is none."""
    return next(iter(package.related("officeDocument")), "")


def paragraphs(data: bytes) -> Iterator[Paragraph]:
    """The paragraphs of an XML part in their order; deleted text is left out.

    Text boxes, content controls, groups and insertions under review count: everything is
    looked at by the name of its element, wherever it stands.

    Raises:
        InvalidArgument: It is nested deeper than any that Office writes.
    """
    walk = _Walk()
    depth = 0
    for event, element in iterparse(io.BytesIO(data), ("start", "end")):
        name = local(element.tag)
        depth += 1 if event == "start" else -1
        if depth > _DEPTH:
            raise InvalidArgument(f"damaged: nested deeper than {_DEPTH:,} levels")
        if event == "start":
            walk.enter(name, element)
        else:
            walk.leave(name, element)
            yield from walk.finished()
            if name in ("p", "tbl"):
                element.clear()


@dataclass(slots=True)
class _Open:
    """A paragraph that has begun."""

    runs: list[str] = field(default_factory=list)
    style: str = ""
    outline: str = ""


class _Walk:
    def __init__(self) -> None:
        self._open: list[_Open] = []  # a text box stands inside a paragraph
        self._tables: list[list[str]] = []
        self._done: list[Paragraph] = []
        self._hidden = 0
        self._placeholder = ""

    def finished(self) -> list[Paragraph]:
        """The paragraphs that have ended since the last call."""
        done, self._done = self._done, []
        return done

    def enter(self, name: str, element: Element) -> None:
        """Begin an element."""
        if name in _PASSED_OVER:
            self._hidden += 1
        elif name == "p":
            self._open.append(_Open())
        elif name in _JOINED:
            self._tables.append([])
        elif name == "ph":
            self._placeholder = attribute(element, "type")

    def leave(self, name: str, element: Element) -> None:
        """End an element, whose text and attributes are known now."""
        if name == "p":
            self._end_paragraph(self._open.pop())
        elif name in _JOINED:
            self._emit(Paragraph(_JOINED[name].join(self._tables.pop())))
        elif name in _PASSED_OVER:
            self._hidden -= 1
        elif name == "sp":
            self._placeholder = ""
        elif self._open and not self._hidden:
            self._inside(self._open[-1], name, element)

    def _inside(self, paragraph: _Open, name: str, element: Element) -> None:
        match name:
            case "pStyle":
                paragraph.style = attribute(element, "val")
            case "outlineLvl":
                paragraph.outline = attribute(element, "val")
            case "t":
                paragraph.runs.append(element.text or "")
            case "br" | "cr":
                paragraph.runs.append("\n")
            case "tab" if not element.attrib:  # with attributes it is a stop on the ruler
                paragraph.runs.append("\t")
            case "noBreakHyphen":
                paragraph.runs.append("-")

    def _end_paragraph(self, paragraph: _Open) -> None:
        style = "title" if self._placeholder in _TITLES else paragraph.style
        self._emit(Paragraph("".join(paragraph.runs).strip(), style, paragraph.outline))

    def _emit(self, paragraph: Paragraph) -> None:
        if self._placeholder in _FURNITURE or not paragraph.text.strip(" |\n"):
            return
        if self._tables:
            self._tables[-1].append(paragraph.text)
        else:
            self._done.append(paragraph)
