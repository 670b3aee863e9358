"""Text for people: numbers, sources, one-liners, excerpts; and JSON for programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semsearch.stopwords import STOP_WORDS

if TYPE_CHECKING:
    from semsearch.types import Reject

EXCERPT_LINES = 5
"""A passage is shown in at most this many lines."""

_WIDEST = 100
_TERM = re.compile(r"\w+")
_SHORTEST_TERM = 3
# A document must not drive the terminal: no control characters but line break and tab.
_CONTROLS = {
    code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


# -- what the terminal can do ----------------------------------------------------------------


def styled() -> bool:
    """Whether stdout shows bold and dim: a terminal, and the user did not object."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def bold(text: str) -> str:
    """Bold, where that can be seen."""
    return click.style(text, bold=True) if styled() else text


def dim(text: str) -> str:
    """Dim, where that can be seen."""
    return click.style(text, dim=True) if styled() else text


def width() -> int:
    """Columns for text that is read: the terminal's, but no more than reads well."""
    return min(columns(), _WIDEST)


def columns() -> int:
    """Columns of the terminal; a fixed number when stdout is none."""
    return shutil.get_terminal_size((_WIDEST, 24)).columns


# -- numbers and names -----------------------------------------------------------------------


def error(message: object) -> str:
    """An error as one line."""
    return "error: " + " ".join(str(message).splitlines())


def count(number: int, noun: str) -> str:
    """`1 document`, `5,183 documents`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def megabytes(size: int) -> str:
    """Size in MB (10^6 bytes), as precisely as is of interest."""
    amount = size / 1e6
    return f"{amount:,.0f} MB" if amount >= 100 else f"{amount:,.2f} MB"


def duration(seconds: float) -> str:
    """`0.4 s`, `312 s`, `1 h 12 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def location(source: str) -> str:
    """A source, relative to the working directory when it is below it."""
    path = Path(source)
    here = Path.cwd()
    return harmless(str(path.relative_to(here)) if path.is_relative_to(here) else source)


def rejected(reject: Reject) -> str:
    """`source:line: reason`."""
    return one_line(str(replace(reject, source=location(reject.source))))


# -- text ------------------------------------------------------------------------------------


def harmless(text: str) -> str:
    """The text without characters that command a terminal."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    """The text with every run of white space made one blank."""
    return harmless(" ".join(text.split()))


def cells(text: str) -> int:
    """Terminal columns that a text takes: wide characters take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _head(text: str, room: int) -> str:
    """The longest beginning that takes at most `room` columns."""
    used = 0
    for position, character in enumerate(text):
        used += _cell(character)
        if used > room:
            return text[:position]
    return text


def shortened(text: str, room: int) -> str:
    """The text, its end replaced by … when it takes more than `room` columns."""
    return text if cells(text) <= room else _head(text, room - 1).rstrip() + "…"


def wrapped(text: str, room: int) -> list[str]:
    """Lines of at most `room` columns; words longer than a line are cut."""
    lines: list[str] = []
    line = ""
    room = max(1, room)
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if cells(longer) <= room:
            line = longer
            continue
        *full, line = [*([line] if line else []), *_pieces(word, room)]
        lines += full
    return [*lines, line] if line else lines


def _pieces(word: str, room: int) -> list[str]:
    pieces = []
    while cells(word) > room:
        piece = _head(word, room) or word[0]
        pieces.append(piece)
        word = word[len(piece) :]
    return [*pieces, word]


# -- passages --------------------------------------------------------------------------------


def terms(query: str) -> re.Pattern[str] | None:
    """A pattern for the words of a query that say something, also with an ending of theirs."""
    words = {word.lower() for word in _TERM.findall(query)}
    telling = {word for word in words if len(word) >= _SHORTEST_TERM and word not in STOP_WORDS}
    if not telling:
        return None
    longest_first = sorted(telling, key=lambda word: (-len(word), word))
    return re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\w{{0,3}}\b", re.IGNORECASE)


def excerpt(text: str, pattern: re.Pattern[str] | None, room: int) -> list[str]:
    """The lines of a passage that hold most of a query's terms; … where it was cut."""
    lines = wrapped(one_line(text), room - 2)
    first = _densest(lines, pattern)
    shown = lines[first : first + EXCERPT_LINES]
    if first > 0:
        shown[0] = f"… {shown[0]}"
    if first + EXCERPT_LINES < len(lines):
        shown[-1] += " …"
    return shown


def _densest(lines: Sequence[str], pattern: re.Pattern[str] | None) -> int:
    """Where the window of lines with most different terms starts; the first of equal ones."""
    starts = range(max(1, len(lines) - EXCERPT_LINES + 1))
    if pattern is None:
        return 0
    found = [{match[1].lower() for match in pattern.finditer(line)} for line in lines]
    return max(starts, key=lambda at: (len(set[str]().union(*found[at : at + EXCERPT_LINES])), -at))


def marked(line: str, pattern: re.Pattern[str] | None) -> str:
    """The line with a query's terms in bold, where that can be seen."""
    if pattern is None or not styled():
        return line
    return pattern.sub(lambda match: click.style(match[0], bold=True, underline=True), line)


# -- tables and programs ---------------------------------------------------------------------


def table(
    rows: Sequence[Sequence[str]], strong: Container[tuple[int, int]] = frozenset()
) -> list[str]:
    """Rows as lines, each column as wide as its widest cell, set to the right.

    Args:
        rows: The cells.
        strong: Row and column of those that are bold.
    """
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]

    def padded(row: int, column: int) -> str:
        cell = rows[row][column]
        blanks = " " * (widths[column] - cells(cell))
        return blanks + (bold(cell) if (row, column) in strong else cell)

    return [
        "  ".join(padded(row, column) for column in range(len(widths))) for row in range(len(rows))
    ]


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON, in one line unless `indent` is given."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not utf8, indent=indent)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as one JSON document; with `indent=None` in one line."""
    echo_exactly(json_text(value, indent=indent))


def echo_exactly(line: str) -> None:
    """Print a line for programs, from which click must not take anything that looks like style."""
    click.echo(line, color=True)
