"""Filters over documents: a dict or an expression becomes one small tree.

These two are the same filter:

    parse({"year": {"$gte": 2020}, "lang": {"$in": ["en", "de"]}})
    parse('year >= 2020 and lang in ("en", "de")')

In a dict, several keys and several operators of one key are AND, and a plain value means `$eq`;
`{}` matches every document. In an expression, words of the language may be in any case, text is
in single or double quotes with the escapes of JSON, and a comparison may also be written `==`,
`<>`, `not in`, `not contains`. `true` and `false` alone match every document and none.

    dict        expression        matches when
    ----------  ----------------  -----------------------------------------------------------------
    $eq         f = v             the value equals v; of a list, any element
    $in         f in (v, w)       the value equals one of the values; of a list, any element
    $lt $lte    f < v   f <= v    the value is of the kind of v (number or string) and stands in
    $gt $gte    f > v   f >= v    that order to it; of a list, any element
    $contains   f contains v      a string has the substring v; a list has an element equal to v
    $exists     exists(f)         the field is there, even if null; `"$exists": false` is its `not`
    $ne $nin    f != v  f not in  exactly when $eq or $in does not: also when the field is missing
    $not        not (...)         exactly when the inner filter does not
    $and $or    and  or           all of them; at least one

    Values
    missing     Matches nothing but `$ne`, `$nin`, `$not` and `"$exists": false`. So does the
                absent `source` of a document.
    null        A value of its own: equals only null. A missing field is not null.
    booleans    Equal only themselves and have no order; `true` is not 1.
    numbers     Integers and floats compare by exact value: 1 equals 1.0, and 2**53 + 1 does not
                equal 2.0**53. An integer of a document beyond 64 bits counts as the nearest
                float; one in a filter is refused.
    strings     Compare by code point; nothing folds case or accents. "10" is not 10, and a
                comparison across kinds does not match.
    lists       Are seen element by element, as above. An element that is a list or an object
                equals nothing; an empty list behaves like a missing field, except that it exists.
    objects     Equal nothing; their fields are reached by a path.

    Fields
    id title source text    Parts of the document, always strings; `text` is the whole text.
    any other               Metadata. A dot goes into an object: `author.name`. A metadata key
                            of a name above is reached as `metadata.id`.
    [odd name]              A name in brackets is taken as it stands, dots included, and `]]` in
                            it is one `]`: `[dc.title]`, `author.[first name]`. So it is in a
                            dict, where a name without dot, leading `$` and `[` needs none.

A tree, not its text, is what two equal filters have in common: trees are hashable, and `str`
of one is an expression that parses into it again. `matches` is the meaning of a filter in plain
Python; `storage.where` must agree with it on every document.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
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

_Fail: TypeAlias = Callable[[str], InvalidArgument]

_PARTS: dict[str, Part] = {
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
        prefix = "metadata." if self.path[0] in _PARTS else ""
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
    bare = _BARE.fullmatch(step) and step.lower() not in _RESERVED
    return step if bare else f"[{step.replace(']', ']]')}]"


def _grouped(part: Filter) -> str:
    plain = not isinstance(part, And | Or | Not) or (isinstance(part, And | Or) and not part.parts)
    return str(part) if plain else f"({part})"


def parse(where: Mapping[str, Any] | str) -> Filter:
    """Read a filter: a dict of operators or an expression, as the module describes.

    Args:
        where: The filter.

    Raises:
        InvalidArgument: It is not a filter; the message points at the place.
    """
    if isinstance(where, str):
        return _Expression(where).parse()
    if isinstance(where, Mapping):
        return _Clauses().clause(where, "where", 0)
    raise InvalidArgument(f"where: expected a dict or an expression, got {_kind_name(where)}")


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
    seen = [_scalar(item) for item in (value if isinstance(value, list) else [value])]
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


def _scalar(value: object) -> Scalar | None:
    """The JSON value as it is compared; None for a list, an object or nothing at all."""
    if value is None:
        return Scalar("null", None)
    if isinstance(value, bool):
        return Scalar("boolean", value)
    if isinstance(value, int):
        return Scalar("number", int(value) if _fits(value) else _nearest(value))
    if isinstance(value, float):
        return Scalar("number", float(value))
    return Scalar("string", str.__str__(value)) if isinstance(value, str) else None


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _nearest(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


# What both ways of writing a filter share.


class _Budget:
    """Bounds what a filter costs to walk and to compile, whatever its shape."""

    def __init__(self) -> None:
        self._left = MAX_CONDITIONS

    def spend(self, depth: int, fail: _Fail) -> None:
        if depth > MAX_DEPTH:
            raise fail(f"nested deeper than {MAX_DEPTH} levels")
        if not self._left:
            raise fail(f"more than {MAX_CONDITIONS} conditions; many values go into one $in")
        self._left -= 1


def _joined(node: type[And | Or], parts: Iterable[Filter]) -> Filter:
    flat: list[Filter] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, node) else [part])
    return flat[0] if len(flat) == 1 else node(tuple(flat))


def _negated(part: Filter) -> Filter:
    return part.part if isinstance(part, Not) else Not(part)


def _field(steps: list[str], fail: _Fail) -> Field:
    for step in steps:
        _check_string(step, fail)
    if len(steps) > MAX_DEPTH:
        raise fail(f"a path of more than {MAX_DEPTH} steps")
    part = _PARTS.get(steps[0])
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


def _value(raw: object, fail: _Fail) -> Scalar:
    scalar = _scalar(raw)
    if scalar is None:
        expected = "expected a string, a number, true, false or null"
        raise fail(f"{expected}, got {_kind_name(raw)}")
    if isinstance(raw, int) and not _fits(raw):
        raise fail("an integer beyond 64 bits; such numbers are best kept as strings")
    if isinstance(scalar.value, float) and not math.isfinite(scalar.value):
        raise fail("expected a finite number")
    if isinstance(scalar.value, str):
        _check_string(scalar.value, fail)
    return scalar


def _ordered(raw: object, fail: _Fail) -> Scalar:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise fail(f"expected a number or a string, got {_kind_name(raw)}")
    return _value(raw, fail)


def _check_string(text: str, fail: _Fail) -> None:
    if "\0" in text:
        raise fail(f"a NUL character at {text.index(chr(0))}, which no document holds")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fail(f"a lone surrogate at character {error.start}") from error


def _kind_name(value: object) -> str:
    return "null" if value is None else type(value).__name__


# The dict.

_STEP = re.compile(r"(?:\[((?:[^\]]|\]\])*+)\]|([^.\[][^.]*+))(\.|\Z)")
_COMPARISONS: dict[str, Order] = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_OPERATORS = "$eq $ne $gt $gte $lt $lte $in $nin $contains $exists $not"


class _Clauses:
    """Reads the nested dicts of one filter; `path` is the place, for messages."""

    def __init__(self) -> None:
        self._budget = _Budget()

    def clause(self, where: object, path: str, depth: int) -> Filter:
        fail = _failing_at(path)
        self._budget.spend(depth, fail)
        if not isinstance(where, Mapping):
            raise fail(f"expected a dict, got {_kind_name(where)}")
        return _joined(And, [self._entry(key, where[key], path, depth) for key in where])

    def _entry(self, key: object, value: object, path: str, depth: int) -> Filter:
        if not isinstance(key, str):
            raise _failing_at(path)(f"expected a field name, got {_kind_name(key)}")
        path = f"{path}.{_shown(key)}"
        fail = _failing_at(path)
        if key in ("$and", "$or"):
            return _joined(And if key == "$and" else Or, self._list(value, path, depth))
        if key == "$not":
            return _negated(self.clause(value, path, depth + 1))
        if key.startswith("$"):
            inner = key in _OPERATORS.split()
            where = f', not an operator: {{"year": {{"{key}": ...}}}}' if inner else ""
            raise fail(f"expected a field, $and, $or or $not{where}")
        return self._tests(_field(_steps(key, fail), fail), value, path, depth)

    def _list(self, value: object, path: str, depth: int) -> list[Filter]:
        fail = _failing_at(path)
        if not isinstance(value, list | tuple) or not value:
            got = "an empty one" if isinstance(value, list | tuple) else _kind_name(value)
            raise fail(f"expected a list of dicts, got {got}")
        return [self.clause(item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]

    def _tests(self, field: Field, value: object, path: str, depth: int) -> Filter:
        if not isinstance(value, Mapping):
            return self._test(field, "$eq", value, path, depth)
        if not value:
            raise _failing_at(path)(f"expected an operator, one of {_OPERATORS}")
        return _joined(
            And, [self._test(field, key, value[key], _under(path, key), depth) for key in value]
        )

    def _test(self, field: Field, name: object, raw: object, path: str, depth: int) -> Filter:
        fail = _failing_at(path)
        self._budget.spend(depth, fail)
        if name != "$not":
            return _condition(field, name, raw, path)
        if not isinstance(raw, Mapping):
            raise fail(f"expected a dict of operators, got {_kind_name(raw)}")
        return _negated(self._tests(field, raw, path, depth + 1))


def _condition(field: Field, name: object, raw: object, path: str) -> Filter:
    fail = _failing_at(path)
    if name in ("$eq", "$ne"):
        found: Filter = In(field, frozenset([_value(raw, fail)]))
    elif name in ("$in", "$nin"):
        found = In(field, _values(raw, path))
    elif name == "$contains":
        found = Contains(field, _value(raw, fail))
    elif name == "$exists":
        if not isinstance(raw, bool):
            raise fail(f"expected true or false, got {_kind_name(raw)}")
        found = Exists(field) if raw else Not(Exists(field))
    elif isinstance(name, str) and name in _COMPARISONS:
        found = Compare(field, _COMPARISONS[name], _ordered(raw, fail))
    else:
        raise fail(f"expected one of {_OPERATORS}; nested metadata is written with a dot: 'a.b'")
    return _negated(found) if name in ("$ne", "$nin") else found


def _values(raw: object, path: str) -> frozenset[Scalar]:
    if not isinstance(raw, list | tuple | set | frozenset):
        raise _failing_at(path)(f"expected a list of values, got {_kind_name(raw)}")
    return frozenset(_value(item, _failing_at(path, at)) for at, item in enumerate(raw))


def _steps(name: str, fail: _Fail) -> list[str]:
    steps: list[str] = []
    at = 0
    while found := _STEP.match(name, at):
        bracketed, bare, more = found.groups()
        steps.append(bare if bracketed is None else bracketed.replace("]]", "]"))
        at = found.end()
        if not more:
            return steps
    raise fail("not a field: names are joined by single dots, odd ones stand in brackets, [a.b]")


def _failing_at(path: str, item: int | None = None) -> _Fail:
    place = "" if item is None else f"[{item}]"
    return lambda reason: InvalidArgument(f"{path}{place}: {reason}")


def _under(path: str, key: object) -> str:
    return f"{path}.{_shown(str(key))}"


def _shown(key: str) -> str:
    key = key if key.isprintable() else ascii(key)
    return key if len(key) <= 60 else key[:59] + "…"


# The expression.

_TOKEN = re.compile(
    r"""
    (?P<space>\s++)
    | (?P<number>[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)
    | (?P<string>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')
    | (?P<name>\[(?:[^\]]|\]\])*+\])
    | (?P<word>[^\W\d][\w-]*+)
    | (?P<symbol>==|!=|<>|<=|>=|[=<>(),.])
    """,
    re.VERBOSE | re.DOTALL,
)
_BARE = re.compile(r"[^\W\d]\w*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"} | {c: c for c in "\\/'\""}
_SYMBOLS: dict[str, Order] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_RESERVED = {"and", "or", "not", "true", "false", "null"}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Expression:
    """Recursive descent: `or` of `and` of terms, each looking one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._budget = _Budget()
        self._tokens = self._scan()
        self._next = 0

    def parse(self) -> Filter:
        found = self._either(0)
        if self._token.kind != "end":
            raise self._expected("'and', 'or' or the end")
        return found

    def _scan(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise self._failing_at(at)(_unreadable(self._text[at]))
            if found.lastgroup != "space":
                tokens.append(_Token(str(found.lastgroup), found[0], at))
            at = found.end()
        return [*tokens, _Token("end", "", at)]

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *wanted: str) -> bool:
        token = self._tokens[self._next]
        if token.text.lower() not in wanted or token.kind not in ("word", "symbol"):
            return False
        self._next += 1
        return True

    def _need(self, symbol: str) -> None:
        if not self._take(symbol):
            raise self._expected(repr(symbol))

    def _either(self, depth: int) -> Filter:
        parts = [self._both(depth)]
        while self._take("or"):
            parts.append(self._both(depth))
        return _joined(Or, parts)

    def _both(self, depth: int) -> Filter:
        parts = [self._term(depth)]
        while self._take("and"):
            parts.append(self._term(depth))
        return _joined(And, parts)

    def _term(self, depth: int) -> Filter:
        self._budget.spend(depth, self._failing_at(self._token.at))
        if self._take("not"):
            return _negated(self._term(depth + 1))
        if self._take("("):
            inner = self._either(depth + 1)
            self._need(")")
            return inner
        if self._take("true"):
            return And(())
        if self._take("false"):
            return Or(())
        return self._existence() if self._opens("exists") else self._predicate()

    def _opens(self, word: str) -> bool:
        token = self._token
        following = self._tokens[self._next + 1 : self._next + 2]
        called = bool(following) and following[0].text == "("
        return called and token.kind == "word" and token.text.lower() == word

    def _existence(self) -> Filter:
        self._next += 2
        field = self._field()
        self._need(")")
        return Exists(field)

    def _predicate(self) -> Filter:
        field = self._field()
        negated = self._take("not")
        if self._take("in"):
            found: Filter = In(field, self._values())
        elif self._take("contains"):
            found = Contains(field, self._value(_value))
        elif negated:
            raise self._expected("'in' or 'contains'")
        else:
            found = self._comparison(field)
        return _negated(found) if negated else found

    def _comparison(self, field: Field) -> Filter:
        symbol = self._token.text
        if self._take("=", "=="):
            return In(field, frozenset([self._value(_value)]))
        if self._take("!=", "<>"):
            return Not(In(field, frozenset([self._value(_value)])))
        if self._take(*_SYMBOLS):
            return Compare(field, _SYMBOLS[symbol], self._value(_ordered))
        raise self._expected("a comparison such as =, !=, <, >=, in, contains")

    def _field(self) -> Field:
        token = self._token
        if token.kind == "word" and token.text.lower() in _RESERVED:
            raise self._expected(f"a field (one of that name is written [{token.text}])")
        steps = [self._step()]
        while self._take("."):
            steps.append(self._step())
        return _field(steps, self._failing_at(token.at))

    def _step(self) -> str:
        kind, text, _ = self._token
        if kind not in ("word", "name"):
            raise self._expected("a field")
        self._next += 1
        return text if kind == "word" else text[1:-1].replace("]]", "]")

    def _values(self) -> frozenset[Scalar]:
        self._need("(")
        values: set[Scalar] = set()
        while not self._take(")"):
            if values:
                self._need(",")
            values.add(self._value(_value))
        return frozenset(values)

    def _value(self, check: Callable[[object, _Fail], Scalar]) -> Scalar:
        kind, text, at = self._token
        fail = self._failing_at(at)
        if kind == "string":
            raw: object = self._unescaped(text[1:-1], at + 1)
        elif kind == "number":
            raw = _number(text, fail)
        elif kind == "word" and text.lower() in _CONSTANTS:
            raw = _CONSTANTS[text.lower()]
        else:
            raise self._expected("a value (a number, true, false, null, or text in quotes)")
        self._next += 1
        return check(raw, fail)

    def _unescaped(self, text: str, at: int) -> str:
        def character(found: re.Match[str]) -> str:
            code = found[1]
            if len(code) == 1 and code not in _ESCAPES:
                raise self._failing_at(at + found.start())(f"no such escape: \\{code}")
            return _ESCAPES[code] if len(code) == 1 else chr(int(code[1:], 16))

        plain = _ESCAPE.sub(character, text)
        try:  # two escapes may make up one character
            return plain.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise self._failing_at(at)("a lone surrogate in the text") from error

    def _expected(self, what: str) -> InvalidArgument:
        token = self._token
        found = "the end" if token.kind == "end" else repr(_shown(token.text))
        return self._failing_at(token.at)(f"expected {what}, found {found}")

    def _failing_at(self, at: int) -> _Fail:
        return lambda reason: InvalidArgument(f"where: {reason}\n{_pointed(self._text, at)}")


def _unreadable(character: str) -> str:
    if character in "\"'":
        return f"the text is not closed: no {character} ends it"
    if character == "[":
        return "the name is not closed: no ] ends it"
    return f"unexpected character {character!r}"


def _number(text: str, fail: _Fail) -> int | float:
    if not text.lstrip("+-").isdigit():
        return float(text)
    if len(text) > 64:  # int() refuses thousands of digits with an error of its own
        raise fail("an integer beyond 64 bits; such numbers are best kept as strings")
    return int(text)


def _pointed(text: str, at: int) -> str:
    """The line that holds the place, and a caret below it."""
    start = max(text.rfind("\n", 0, at) + 1, at - 60)
    line = text[start : at + 40].split("\n", 1)[0]
    shown = "".join(c if c.isprintable() else " " for c in line)
    return f"  {shown}\n  {' ' * (at - start)}^"
