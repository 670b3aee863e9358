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

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from semsearch.errors import InvalidArgument
from semsearch.filters.building import kind_name
from semsearch.filters.clauses import Clauses, field_of
from semsearch.filters.expression import Expression
from semsearch.filters.tree import (
    MAX_CONDITIONS,
    MAX_DEPTH,
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
    matches,
)

__all__ = [
    "MAX_CONDITIONS",
    "MAX_DEPTH",
    "And",
    "Compare",
    "Contains",
    "Exists",
    "Field",
    "Filter",
    "In",
    "Kind",
    "Not",
    "Or",
    "Order",
    "Scalar",
    "field_of",
    "matches",
    "parse",
]


def parse(where: Mapping[str, Any] | str) -> Filter:
    """Read a filter: a dict of operators or an expression, as the module describes.

    Args:
        where: The filter.

    Raises:
        InvalidArgument: It is not a filter; the message points at the place.
    """
    if isinstance(where, str):
        return _expression(where)
    if isinstance(where, Mapping):
        return Clauses().clause(where, "where", 0)
    raise InvalidArgument(f"where: expected a dict or an expression, got {kind_name(where)}")


@lru_cache(maxsize=256)
def _expression(text: str) -> Filter:
    """Kept: the same few are asked again and again."""
    return Expression(text).parse()
