"""What a parser finds in a file, and the tidying of text that it found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from semsearch.types import JSONObject

_LABEL = 300  # characters of a title, a heading, an author: they stand in front of every chunk
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Part:
    """A page, a slide, a section, a message, or a whole file: it becomes a document.

    Attributes:
        text: Its text, tidied.
        title: Title of the file, or the subject of a message.
        metadata: What becomes the document's metadata.
        fragment: What tells it from the others of its file, such as `page=3`; "" for a whole file.
        position: Its number in the file, from 1; 0 for a whole file.
        share: How much of the file has been read with it, from 0 to 1.
    """

    text: str
    title: str = ""
    metadata: JSONObject = field(default_factory=dict)
    fragment: str = ""
    position: int = 0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What could not be read, and why.

    Attributes:
        reason: What is wrong.
        position: Number of the part, from 1; 0 when the file is meant, or the rest of it.
    """

    reason: str
    position: int = 0


def tidy(text: str) -> str:
    """Text with plain line ends, without control characters, and not more than one blank line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n")
    lines = [line.rstrip() for line in _CONTROLS.sub("", text).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def label(text: str | None) -> str:
    """A title, heading or name: on one line, and of bounded length."""
    line = " ".join(tidy((text or "")[: 4 * _LABEL]).split())
    return line if len(line) <= _LABEL else line[: _LABEL - 1] + "…"


def present(fields: Mapping[str, object]) -> JSONObject:
    """Metadata of the fields that hold something."""
    return {name: value for name, value in fields.items() if value not in ("", [])}
