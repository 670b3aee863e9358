"""What both ways of writing a filter share: checked values and fields, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable

from semsearch.filters.tree import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    PARTS,
    And,
    Fail,
    Field,
    Filter,
    Not,
    Or,
    Scalar,
    fits_64_bits,
    scalar_of,
)


class Budget:
    """Bounds what a filter costs to walk and to compile, whatever its shape."""

    def __init__(self) -> None:
        self._left = MAX_CONDITIONS

    def spend(self, depth: int, fail: Fail) -> None:
        """Count one condition or group at this depth, or fail."""
        if depth > MAX_DEPTH:
            raise fail(f"nested deeper than {MAX_DEPTH} levels")
        if not self._left:
            raise fail(f"more than {MAX_CONDITIONS} conditions; many values go into one $in")
        self._left -= 1


def joined(node: type[And | Or], parts: Iterable[Filter]) -> Filter:
    """Join parts; a group within a group of its kind is one with it, a single part stands alone."""
    flat: list[Filter] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, node) else [part])
    return flat[0] if len(flat) == 1 else node(tuple(flat))


def negate(part: Filter) -> Filter:
    """The contrary; of a contrary, what it was."""
    return part.part if isinstance(part, Not) else Not(part)


def make_field(steps: list[str], fail: Fail) -> Field:
    """The field of a path, its first step perhaps a part of the document."""
    for step in steps:
        check_string(step, fail)
    if len(steps) > MAX_DEPTH:
        raise fail(f"a path of more than {MAX_DEPTH} steps")
    part = PARTS.get(steps[0])
    if part is None:
        return Field("metadata", tuple(steps))
    if part == "metadata":
        if len(steps) == 1:
            raise fail("'metadata' is all of it; name a key, as in metadata.year")
        return Field(part, tuple(steps[1:]))
    if len(steps) > 1:
        path = ".".join(steps)
        raise fail(f"{part!r} is a string of the document; the metadata is metadata.{path}")
    return Field(part)


def make_value(raw: object, fail: Fail) -> Scalar:
    """A value that a document could hold."""
    scalar = scalar_of(raw)
    if scalar is None:
        expected = "expected a string, a number, true, false or null"
        raise fail(f"{expected}, got {kind_name(raw)}")
    if isinstance(raw, int) and not fits_64_bits(raw):
        raise fail("an integer beyond 64 bits; such numbers are best kept as strings")
    if isinstance(scalar.value, float) and not math.isfinite(scalar.value):
        raise fail("expected a finite number")
    if isinstance(scalar.value, str):
        check_string(scalar.value, fail)
    return scalar


def make_ordered(raw: object, fail: Fail) -> Scalar:
    """A value that has an order: a number or a string."""
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise fail(f"expected a number or a string, got {kind_name(raw)}")
    return make_value(raw, fail)


def check_string(text: str, fail: Fail) -> None:
    """Refuse what no document holds."""
    if "\0" in text:
        raise fail(f"a NUL character at {text.index(chr(0))}, which no document holds")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fail(f"a lone surrogate at character {error.start}") from error


def kind_name(value: object) -> str:
    """What a value is, for messages."""
    return "null" if value is None else type(value).__name__


def shown(key: str) -> str:
    """A key or a word, cut short and quoted safely for messages."""
    key = key if key.isprintable() else ascii(key)
    return key if len(key) <= 60 else key[:59] + "…"
