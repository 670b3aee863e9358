"""The tree of a filter, and what it means."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from semsearch.errors import InvalidArgument
from semsearch.types import Document, metadata_json

MAX_DEPTH = 32
"""Levels that a filter may nest, and steps that a path may have."""

MAX_CONDITIONS = 500
"""Conditions and groups of one filter; an `$in` is one, however many values it has."""

Kind: TypeAlias = Literal["null", "boolean", "number", "string"]
Order: TypeAlias = Literal["<", "<=", ">", ">="]
Part: TypeAlias = Literal["id", "title", "source", "text", "metadata"]

Fail: TypeAlias = Callable[[str], InvalidArgument]

PARTS: dict[str, Part] = {
    "id": "id",
    "title": "title",
    "source": "source",
    "text": "text",
    "metadata": "metadata",
}
_ORDERS: dict[Order, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
BARE_NAME = re.compile(r"[^\W\d]\w*")
RESERVED_WORDS = {"and", "or", "not", "true", "false", "null"}
_MISSING = object()


class Scalar(NamedTuple):
    """A JSON value that is no list or object; the kind keeps `true` from being equal to 1."""

    kind: Kind
    value: str | int | float | bool | None

    def __str__(self) -> str:
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Field:
    """What a condition looks at.

    Attributes:
        part: The part of the document.
        path: Keys of nested objects from the metadata down; empty for the other parts.
    """

    part: Part
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.part != "metadata":
            return self.part
        prefix = "metadata." if self.path[0] in PARTS else ""
        return prefix + ".".join(map(_step_text, self.path))


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts; of none: every document."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(_grouped(part) for part in self.parts) or "true"


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts; of none: no document."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(_grouped(part) for part in self.parts) or "false"


@dataclass(frozen=True, slots=True)
class Not:
    """Exactly the documents that the part does not match."""

    part: Filter

    def __str__(self) -> str:
        return f"not {_grouped(self.part)}"


@dataclass(frozen=True, slots=True)
class Compare:
    """A number or a string that stands in an order to `value`."""

    field: Field
    order: Order
    value: Scalar

    def __str__(self) -> str:
        return f"{self.field} {self.order} {self.value}"


@dataclass(frozen=True, slots=True)
class In:
    """A value that equals one of `values`; equality is the case of a single one."""

    field: Field
    values: frozenset[Scalar]

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{self.field} = {next(iter(self.values))}"
        return f"{self.field} in ({', '.join(map(str, sorted(self.values)))})"


@dataclass(frozen=True, slots=True)
class Contains:
    """A string with the substring `value`, or a list with an element equal to it."""

    field: Field
    value: Scalar

    def __str__(self) -> str:
        return f"{self.field} contains {self.value}"


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there."""

    field: Field

    def __str__(self) -> str:
        return f"exists({self.field})"


Filter: TypeAlias = And | Or | Not | Compare | In | Contains | Exists


def _step_text(step: str) -> str:
    bare = BARE_NAME.fullmatch(step) and step.lower() not in RESERVED_WORDS
    return step if bare else f"[{step.replace(']', ']]')}]"


def _grouped(part: Filter) -> str:
    plain = not isinstance(part, And | Or | Not) or (isinstance(part, And | Or) and not part.parts)
    return str(part) if plain else f"({part})"


def matches(filter: Filter, document: Document) -> bool:
    """Tell whether a document passes: the reference that every other evaluation agrees with."""
    return _matches(filter, document, json.loads(metadata_json(document.metadata)))


def _matches(node: Filter, document: Document, metadata: object) -> bool:
    if isinstance(node, And):
        return all(_matches(part, document, metadata) for part in node.parts)
    if isinstance(node, Or):
        return any(_matches(part, document, metadata) for part in node.parts)
    if isinstance(node, Not):
        return not _matches(node.part, document, metadata)
    return _holds(node, _look_up(node.field, document, metadata))


def _look_up(field: Field, document: Document, metadata: object) -> object:
    if field.part != "metadata":
        found = getattr(document, field.part)
        return _MISSING if found is None else found
    value = metadata
    for step in field.path:
        if not isinstance(value, dict) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _holds(node: Compare | In | Contains | Exists, value: object) -> bool:
    if isinstance(node, Exists):
        return value is not _MISSING
    seen = [scalar_of(item) for item in (value if isinstance(value, list) else [value])]
    if isinstance(node, In):
        return any(item in node.values for item in seen)
    if isinstance(node, Contains):
        if isinstance(value, list):
            return node.value in seen
        wanted = node.value.value
        return isinstance(value, str) and isinstance(wanted, str) and wanted in value
    return any(
        item is not None
        and item.kind == node.value.kind
        and _ORDERS[node.order](item.value, node.value.value)
        for item in seen
    )


def scalar_of(value: object) -> Scalar | None:
    """The JSON value as it is compared; None for a list, an object or nothing at all."""
    if value is None:
        return Scalar("null", None)
    if isinstance(value, bool):
        return Scalar("boolean", value)
    if isinstance(value, int):
        return Scalar("number", int(value) if fits_64_bits(value) else _nearest(value))
    if isinstance(value, float):
        return Scalar("number", float(value))
    return Scalar("string", str.__str__(value)) if isinstance(value, str) else None


def fits_64_bits(value: int) -> bool:
    """Whether SQLite keeps the integer exactly."""
    return -(2**63) <= value < 2**63


def _nearest(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
