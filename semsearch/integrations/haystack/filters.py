"""Filters of Haystack as filters of semsearch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from semsearch.integrations.opening import missing
from semsearch.types import JSONObject

try:
    from haystack.errors import FilterError
except ModuleNotFoundError as error:
    raise missing("haystack-ai", "haystack") from error

_ORDERS = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_NOTHING: JSONObject = {"$not": {}}
_PARTS = {"id": "id", "content": "text"}
_NOT_KEPT = {"embedding", "blob", "sparse_embedding", "score"}


def translated(filters: Mapping[str, Any] | None) -> JSONObject:
    """The same filter for `Index.search`; of None or an empty one, what every document matches.

    As in Haystack a missing field is null, only numbers and ISO dates have an order, and `in`
    wants a list. Dates are compared as the texts that they are, so write all in one format. A
    list in the metadata matches when an element does.

    Raises:
        FilterError: It is not a filter of Haystack.
    """
    return _clause(filters) if filters else {}


def _clause(clause: Any) -> JSONObject:
    if not isinstance(clause, Mapping):
        raise FilterError(f"expected a filter, a dict, got {clause!r}")
    return _condition(clause) if "field" in clause else _group(clause)


def _group(clause: Mapping[str, Any]) -> JSONObject:
    operator, conditions = _named(clause, "operator"), _named(clause, "conditions")
    parts = [_clause(part) for part in conditions]
    every: JSONObject = {"$and": parts} if parts else {}
    match operator:
        case "AND":
            return every
        case "OR":
            return {"$or": parts} if parts else _NOTHING
        case "NOT":
            return {"$not": every}
        case _:
            raise FilterError(f"operator {operator!r}: expected AND, OR or NOT")


def _condition(clause: Mapping[str, Any]) -> JSONObject:
    field, operator, value = (_named(clause, name) for name in ("field", "operator", "value"))
    test = _TESTS.get(operator)
    if test is None:
        raise FilterError(f"operator {operator!r}: expected one of {', '.join(_TESTS)}")
    return test(_path(field), operator, value)


def _named(clause: Mapping[str, Any], name: str) -> Any:
    if name not in clause:
        raise FilterError(f"{name!r} is missing in {dict(clause)}")
    return clause[name]


def _path(field: str) -> str:
    if field in _PARTS:
        return _PARTS[field]
    if field in _NOT_KEPT:
        raise FilterError(f"field {field!r}: semsearch filters by id, content and meta")
    steps = field.removeprefix("meta.").split(".")
    return ".".join(["metadata", *(f"[{step.replace(']', ']]')}]" for step in steps)])


def _equal(path: str, _: str, value: Any) -> JSONObject:
    return _one_of(path, "in", [value])


def _not_equal(path: str, _: str, value: Any) -> JSONObject:
    return {"$not": _one_of(path, "in", [value])}


def _one_of(path: str, operator: str, values: Any) -> JSONObject:
    if not isinstance(values, list):
        raise FilterError(f"operator {operator!r}: expected a list, got {values!r}")
    if any(isinstance(value, list | dict) for value in values):
        raise FilterError(f"operator {operator!r}: expected text, numbers, booleans or None")
    found: JSONObject = {path: {"$in": values}}
    if None not in values:
        return found
    none = {"text": ""} if path == "text" else {path: {"$exists": False}}
    return {"$or": [found, none]}


def _none_of(path: str, operator: str, values: Any) -> JSONObject:
    return {"$not": _one_of(path, operator, values)}


def _ordered(path: str, operator: str, value: Any) -> JSONObject:
    if value is None:
        return _NOTHING
    if isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, int | float) and not _is_date(value):
        raise FilterError(f"operator {operator!r}: expected a number or an ISO date, got {value!r}")
    return {path: {_ORDERS[operator]: value}}


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


_TESTS: dict[str, Callable[[str, str, Any], JSONObject]] = {
    "==": _equal,
    "!=": _not_equal,
    "in": _one_of,
    "not in": _none_of,
    **dict.fromkeys(_ORDERS, _ordered),
}
