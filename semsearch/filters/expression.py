"""Filters written as expressions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from semsearch.errors import InvalidArgument
from semsearch.filters.building import (
    Budget,
    joined,
    make_field,
    make_ordered,
    make_value,
    negate,
    shown,
)
from semsearch.filters.tree import (
    RESERVED_WORDS,
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
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"} | {c: c for c in "\\/'\""}
_SYMBOLS: dict[str, Order] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class Expression:
    """Recursive descent: `or` of `and` of terms, each looking one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._budget = Budget()
        self._tokens = self._scan()
        self._next = 0

    def parse(self) -> Filter:
        """Read the whole expression."""
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
        return joined(Or, parts)

    def _both(self, depth: int) -> Filter:
        parts = [self._term(depth)]
        while self._take("and"):
            parts.append(self._term(depth))
        return joined(And, parts)

    def _term(self, depth: int) -> Filter:
        self._budget.spend(depth, self._failing_at(self._token.at))
        if self._take("not"):
            return negate(self._term(depth + 1))
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
        contrary = self._take("not")
        if self._take("in"):
            found: Filter = In(field, self._values())
        elif self._take("contains"):
            found = Contains(field, self._value(make_value))
        elif contrary:
            raise self._expected("'in' or 'contains'")
        else:
            found = self._comparison(field)
        return negate(found) if contrary else found

    def _comparison(self, field: Field) -> Filter:
        symbol = self._token.text
        if self._take("=", "=="):
            return In(field, frozenset([self._value(make_value)]))
        if self._take("!=", "<>"):
            return Not(In(field, frozenset([self._value(make_value)])))
        if self._take(*_SYMBOLS):
            return Compare(field, _SYMBOLS[symbol], self._value(make_ordered))
        raise self._expected("a comparison such as =, !=, <, >=, in, contains")

    def _field(self) -> Field:
        token = self._token
        if token.kind == "word" and token.text.lower() in RESERVED_WORDS:
            raise self._expected(f"a field (one of that name is written [{token.text}])")
        steps = [self._step()]
        while self._take("."):
            steps.append(self._step())
        return make_field(steps, self._failing_at(token.at))

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
            values.add(self._value(make_value))
        return frozenset(values)

    def _value(self, check: Callable[[object, Fail], Scalar]) -> Scalar:
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
        found = "the end" if token.kind == "end" else repr(shown(token.text))
        return self._failing_at(token.at)(f"expected {what}, found {found}")

    def _failing_at(self, at: int) -> Fail:
        return lambda reason: InvalidArgument(f"where: {reason}\n{_pointed(self._text, at)}")


def _unreadable(character: str) -> str:
    if character in "\"'":
        return f"the text is not closed: no {character} ends it"
    if character == "[":
        return "the name is not closed: no ] ends it"
    return f"unexpected character {character!r}"


def _number(text: str, fail: Fail) -> int | float:
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
