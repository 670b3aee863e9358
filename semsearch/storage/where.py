"""Filters as SQL over the catalog: the same meaning as `filters.matches`, found by SQLite."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.sql.elements import Grouping

from semsearch.errors import InvalidArgument
from semsearch.filters import (
    And,
    Compare,
    Contains,
    Exists,
    Field,
    Filter,
    In,
    Kind,
    Not,
    Or,
    Order,
    Scalar,
)
from semsearch.storage.schema import chunks, documents

_ORDERS: dict[Order, Callable[[Any, Any], ColumnElement[bool]]] = {
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}
# Names of `json_type`; the false and true of JSON come as 0 and 1, so a type is always compared.
_ARRAY = literal_column("'array'", Text)
_OBJECT = literal_column("'object'", Text)
_TEXT = literal_column("'text'", Text)
_NULL = literal_column("'null'", Text)
_NUMBER = [literal_column("'integer'", Text), literal_column("'real'", Text)]
_STRING = [_TEXT]
_KINDS = {"number": _NUMBER, "string": _STRING}
_ESCAPED = re.compile(r'["\\\x00-\x1f]')

_FEW = 8

_Join = Callable[..., ColumnElement[bool]]
_Test = Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[bool]]


def condition(filter: Filter) -> ColumnElement[bool]:
    """The filter as the WHERE clause of a statement that selects from `schema.documents`.

    It is true for the documents that match and false or NULL for the others, so to negate it,
    negate the filter.
    """
    if isinstance(filter, And | Or) and not filter.parts:
        return true() if isinstance(filter, And) else false()
    if isinstance(filter, And):
        return _joined(and_, "AND", filter.parts)
    if isinstance(filter, Or):
        return _joined(or_, "OR", filter.parts)
    if isinstance(filter, Not):
        return condition(filter.part).is_not(true())  # a NULL inside is "does not match"
    place = _place(filter.field)
    found = place.kind.is_not(None) if isinstance(filter, Exists) else _tested(filter, place)
    return found if place.frame is None else place.frame.where(found).correlate(documents).exists()


def indexed(field: Field) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Value and kind of a field, as conditions on it compare them: what an index on it holds.

    It serves all of them but `$contains`, `$exists` and those that negate.

    Raises:
        InvalidArgument: It is no metadata, or a name of its path is not plain.
    """
    if field.part != "metadata" or not all(map(str.isidentifier, field.path)):
        raise InvalidArgument(
            f"{field}: only metadata can be indexed, of names of letters, digits and underscores"
        )
    place = _place(field)
    return place.value, place.kind


def _joined(join: _Join, word: str, nodes: Iterable[Filter]) -> ColumnElement[bool]:
    """All parts, the deepest first and outside of any further group.

    SQLite's parser has a stack of 100 for the groups it is inside of and what stands before it.
    """
    first, *rest = map(condition, sorted(nodes, key=_depth, reverse=True))
    return join(first, _halved(join, word, rest)) if rest else first


def _halved(join: _Join, word: str, parts: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Many parts as groups of groups: SQLite bounds the depth of an expression, and a list is deep.

    Of its own and_ and or_, SQLAlchemy would make one long list again.
    """
    if len(parts) <= _FEW:
        return join(*parts)
    middle = len(parts) // 2
    left, right = (_halved(join, word, half) for half in (parts[:middle], parts[middle:]))
    return Grouping(left).bool_op(word)(Grouping(right))


def _depth(node: Filter) -> int:
    if isinstance(node, And | Or):
        return 1 + max(map(_depth, node.parts), default=0)
    return 1 + _depth(node.part) if isinstance(node, Not) else 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the values of a field are found.

    Attributes:
        value: The value, as SQLite extracts it: a list or an object is its JSON text.
        kind: `json_type` of it; NULL when the field is missing.
        elements: Table of `value` and `type` of a list's elements; None when it is never a list.
        frame: What brings value and kind to hand; None when they are in the document's row.
    """

    value: ColumnElement[Any]
    kind: ColumnElement[Any]
    elements: FromClause | None
    frame: Select[Any] | None = None


def _place(field: Field) -> _Place:
    if field.part == "text":
        return _Place(_whole_text(), _TEXT, None)
    if field.part != "metadata":
        column = documents.c[field.part]
        return _Place(column, case((column.is_not(None), _TEXT)), None)
    if any(map(_ESCAPED.search, field.path)):
        return _walked(field.path)
    path = _json_path(field.path)
    return _Place(
        func.json_extract(documents.c.metadata, path),
        func.json_type(documents.c.metadata, path),
        func.json_each(documents.c.metadata, path).table_valued("value", "type"),
    )


def _json_path(steps: tuple[str, ...]) -> ColumnElement[str]:
    """Plain names go into the text of the statement, where an index on them is recognised."""
    plain = all(map(str.isidentifier, steps))
    names = steps if plain else [f'"{step}"' for step in steps]
    return literal(".".join(["$", *names]), literal_execute=plain)


def _walked(steps: tuple[str, ...]) -> _Place:
    """Object by object: versions of SQLite read quotes and escapes in a path differently."""
    container: ColumnElement[Any] = documents.c.metadata
    frame: Select[Any] = select(literal_column("1"))
    for step in steps:
        members = func.json_each(container).table_valued(
            "key", "value", "type", joins_implicitly=True
        )
        frame = frame.select_from(members).where(members.c.key == step)
        value, kind = members.c.value, members.c.type
        container = case((kind == _OBJECT, value), else_="{}")
    elements = func.json_each(case((kind == _ARRAY, value), else_="[]"))
    return _Place(value, kind, elements.table_valued("value", "type"), frame)


def _whole_text() -> ColumnElement[str]:
    pieces = (
        select(chunks.c.piece)
        .where(chunks.c.document == documents.c.key)
        .order_by(chunks.c.ordinal)
        .correlate(documents)
        .subquery()
    )
    whole = select(func.group_concat(pieces.c.piece, "")).scalar_subquery()
    return func.coalesce(whole, "")


def _tested(node: Compare | In | Contains, place: _Place) -> ColumnElement[bool]:
    if isinstance(node, Compare):
        return _any(place, _order_test(node), _order_test(node))
    if isinstance(node, In):
        equality = _equality_test(node.values)
        return _any(place, equality, equality)
    return _any(place, _substring_test(node.value), _equality_test({node.value}))


def _any(place: _Place, test: _Test, element_test: _Test) -> ColumnElement[bool]:
    """The value itself passes, or it is a list of which an element does."""
    itself = test(place.value, place.kind)
    if place.elements is None:
        return itself
    row = place.elements.c
    found = exists().select_from(place.elements).where(element_test(row.value, row.type))
    # The JSON text of a list starts with "[", and "\" comes next: a range that an index finds.
    in_range = and_(place.value >= "[", place.value < "\\")
    return or_(itself, and_(in_range, place.kind == _ARRAY, found.correlate_except(place.elements)))


def _order_test(node: Compare) -> _Test:
    return lambda value, kind: and_(
        _ORDERS[node.order](value, node.value.value), kind.in_(_KINDS[node.value.kind])
    )


def _substring_test(wanted: Scalar) -> _Test:
    if wanted.kind != "string":
        return _never
    return lambda value, kind: and_(func.instr(value, wanted.value) > 0, kind.in_(_STRING))


def _never(_value: ColumnElement[Any], _kind: ColumnElement[Any]) -> ColumnElement[bool]:
    return false()


def _equality_test(values: Iterable[Scalar]) -> _Test:
    by_kind: dict[Kind, list[Any]] = {}
    for kind, value in values:
        by_kind.setdefault(kind, []).append(value)
    tests = [_one_of(kind, by_kind[kind]) for kind in sorted(by_kind)]
    return lambda value, kind: or_(false(), *(test(value, kind) for test in tests))


def _one_of(of: Kind, wanted: list[Any]) -> _Test:
    if of == "null":
        return lambda value, kind: and_(value.is_(None), kind == _NULL)
    if of == "boolean":
        names = [str(flag).lower() for flag in wanted]
        return lambda value, kind: and_(value.in_(list(map(int, wanted))), kind.in_(names))
    if len(wanted) == 1:
        return lambda value, kind: and_(value == wanted[0], kind.in_(_KINDS[of]))
    # One bound JSON array, because SQLite bounds the number of variables.
    listed = json.dumps(wanted, ensure_ascii=False)
    return lambda value, kind: and_(value.in_(_items(listed)), kind.in_(_KINDS[of]))


def _items(listed: str) -> Select[Any]:
    return select(func.json_each(listed).table_valued("value").c.value)
