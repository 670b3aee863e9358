"""Filters written as dicts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from semsearch.errors import InvalidArgument
from semsearch.filters.building import (
    Budget,
    joined,
    kind_name,
    make_field,
    make_ordered,
    make_value,
    negate,
    shown,
)
from semsearch.filters.tree import (
    And,
    Compare,
    Contains,
    Exists,
    Fail,
    Field,
    Filter,
    In,
    Not,
    Or,
    Order,
    Scalar,
)

_STEP = re.compile(r"(?:\[((?:[^\]]|\]\])*+)\]|([^.\[][^.]*+))(\.|\Z)")
_COMPARISONS: dict[str, Order] = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_OPERATORS = "$eq $ne $gt $gte $lt $lte $in $nin $contains $exists $not"


class Clauses:
    """Reads the nested dicts of one filter; `path` is the place, for messages."""

    def __init__(self) -> None:
        self._budget = Budget()

    def clause(self, where: object, path: str, depth: int) -> Filter:
        """Read one dict."""
        fail = _failing_at(path)
        self._budget.spend(depth, fail)
        if not isinstance(where, Mapping):
            raise fail(f"expected a dict, got {kind_name(where)}")
        return joined(And, [self._entry(key, where[key], path, depth) for key in where])

    def _entry(self, key: object, value: object, path: str, depth: int) -> Filter:
        if not isinstance(key, str):
            raise _failing_at(path)(f"expected a field name, got {kind_name(key)}")
        path = f"{path}.{shown(key)}"
        fail = _failing_at(path)
        if key in ("$and", "$or"):
            return joined(And if key == "$and" else Or, self._list(value, path, depth))
        if key == "$not":
            return negate(self.clause(value, path, depth + 1))
        if key.startswith("$"):
            inner = key in _OPERATORS.split()
            where = f', not an operator: {{"year": {{"{key}": ...}}}}' if inner else ""
            raise fail(f"expected a field, $and, $or or $not{where}")
        return self._tests(make_field(_steps(key, fail), fail), value, path, depth)

    def _list(self, value: object, path: str, depth: int) -> list[Filter]:
        fail = _failing_at(path)
        if not isinstance(value, list | tuple) or not value:
            got = "an empty one" if isinstance(value, list | tuple) else kind_name(value)
            raise fail(f"expected a list of dicts, got {got}")
        return [self.clause(item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]

    def _tests(self, field: Field, value: object, path: str, depth: int) -> Filter:
        if not isinstance(value, Mapping):
            return self._test(field, "$eq", value, path, depth)
        if not value:
            raise _failing_at(path)(f"expected an operator, one of {_OPERATORS}")
        return joined(
            And, [self._test(field, key, value[key], _under(path, key), depth) for key in value]
        )

    def _test(self, field: Field, name: object, raw: object, path: str, depth: int) -> Filter:
        fail = _failing_at(path)
        self._budget.spend(depth, fail)
        if name != "$not":
            return _condition(field, name, raw, path)
        if not isinstance(raw, Mapping):
            raise fail(f"expected a dict of operators, got {kind_name(raw)}")
        return negate(self._tests(field, raw, path, depth + 1))


def _condition(field: Field, name: object, raw: object, path: str) -> Filter:
    fail = _failing_at(path)
    if name in ("$eq", "$ne"):
        found: Filter = In(field, frozenset([make_value(raw, fail)]))
    elif name in ("$in", "$nin"):
        found = In(field, _values(raw, path))
    elif name == "$contains":
        found = Contains(field, make_value(raw, fail))
    elif name == "$exists":
        if not isinstance(raw, bool):
            raise fail(f"expected true or false, got {kind_name(raw)}")
        found = Exists(field) if raw else Not(Exists(field))
    elif isinstance(name, str) and name in _COMPARISONS:
        found = Compare(field, _COMPARISONS[name], make_ordered(raw, fail))
    else:
        raise fail(f"expected one of {_OPERATORS}; nested metadata is written with a dot: 'a.b'")
    return negate(found) if name in ("$ne", "$nin") else found


def _values(raw: object, path: str) -> frozenset[Scalar]:
    if not isinstance(raw, list | tuple | set | frozenset):
        raise _failing_at(path)(f"expected a list of values, got {kind_name(raw)}")
    return frozenset(make_value(item, _failing_at(path, at)) for at, item in enumerate(raw))


def field_of(name: str) -> Field:
    """A field by its name, as in a dict.

    Raises:
        InvalidArgument: It is not the name of one.
    """
    fail = _failing_at("field")
    return make_field(_steps(name, fail), fail)


def _steps(name: str, fail: Fail) -> list[str]:
    steps: list[str] = []
    at = 0
    while found := _STEP.match(name, at):
        bracketed, bare, more = found.groups()
        steps.append(bare if bracketed is None else bracketed.replace("]]", "]"))
        at = found.end()
        if not more:
            return steps
    raise fail("not a field: names are joined by single dots, odd ones stand in brackets, [a.b]")


def _failing_at(path: str, item: int | None = None) -> Fail:
    place = "" if item is None else f"[{item}]"
    return lambda reason: InvalidArgument(f"{path}{place}: {reason}")


def _under(path: str, key: object) -> str:
    return f"{path}.{shown(str(key))}"
