"""Filters: both ways of writing one, what it means, and that SQLite agrees with Python."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, delete, insert, select
from sqlalchemy.dialects import sqlite

from semsearch.errors import InvalidArgument
from semsearch.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Compare,
    Contains,
    Exists,
    Field,
    Filter,
    In,
    Not,
    Or,
    Scalar,
    matches,
    parse,
)
from semsearch.storage import field_index, schema
from semsearch.storage.where import condition
from semsearch.types import Document, metadata_json

Ask = Callable[[Filter, Sequence[Document]], list[str]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("filters") / "catalog.db"
    engine = create_engine(f"sqlite:///{path}")
    schema.metadata.create_all(engine, tables=[schema.documents, schema.chunks])
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def ask(engine: Engine) -> Ask:
    """Ids of the documents that the SQL of a filter finds, in the order they were given."""

    def run(filter: Filter, documents: Sequence[Document]) -> list[str]:
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(delete(schema.chunks))
            connection.execute(delete(schema.documents))
            for key, document in enumerate(documents, 1):
                connection.execute(insert(schema.documents), _row(key, document))
                connection.execute(insert(schema.chunks), _pieces(key, document.text))
            table = schema.documents.c
            query = select(table.id).where(condition(filter)).order_by(table.key)
            found = list(connection.scalars(query))
            transaction.rollback()
        return found

    return run


def _row(key: int, document: Document) -> dict[str, Any]:
    return {
        "key": key,
        "id": document.id,
        "title": document.title,
        "metadata": metadata_json(document.metadata),
        "source": document.source,
        "hash": b"",
        "encoded": 1,
        "checksum": b"",
    }


def _pieces(key: int, text: str) -> list[dict[str, Any]]:
    """Three characters each, written last first: their order is that of `ordinal`."""
    starts = range(0, max(len(text), 1), 3)
    return [
        {
            "key": 1000 * key + 999 - ordinal,
            "document": key,
            "ordinal": ordinal,
            "start": start,
            "length": 3,
            "piece": text[start : start + 3],
            "checksum": b"",
        }
        for ordinal, start in reversed(list(enumerate(starts)))
    ]


def _document(metadata: dict[str, Any], **parts: Any) -> Document:
    return Document(**{"id": "a", "text": "", "metadata": metadata, **parts})


# What a filter means.

DOCUMENT = _document(
    {
        "year": 2020,
        "score": 0.5,
        "lang": "en",
        "tags": ["noir", 7, True, None, ["deep"], {"a": 1}],
        "author": {"name": "Ann", "first name": "A.", "born": {"year": 1970}},
        "draft": True,
        "none": None,
        "empty": [],
        "big": 2**53 + 1,
        "huge": 2**64,
        "zero": -0.0,
        "digits": "10",
        "dc.title": "flat",
        "id": "in metadata",
        "größe": "ß",
        "": "no name",
        "$and": "dollar",
        "a]b": "bracket",
        'q"\\\n': {"x": "quoted"},
        "like": "100%",
        "listlike": "[1]",
    },
    id="doc-1",
    text="The whole text, in pieces.",
    title="A title",
    source="notes/a.txt",
)

MATCHING = """
    year = 2020             year == 2020.0          year != 2021            year >= 2020
    year < 2020.5           year in (1, 2020)       year not in (1, 2)      score < 1
    lang = "en"             lang > "de"             lang > "EN"             lang contains "n"
    lang contains ""        lang not contains "N"   lang in ("en", "de")    not lang = "de"
    tags = "noir"           tags contains "noir"    tags contains 7         tags = 7.0
    tags contains true      tags = null             tags > 6                tags < "z"
    tags in ("x", "noir")   tags != "deep"          not tags contains "noi"
    tags not contains 1     not tags contains "deep"                        not tags = "noi"
    author.name = "Ann"     author.born.year < 1971  author.[first name] = "A."
    author != "Ann"         exists(author)          exists(author.born)     not exists(author.age)
    draft = true            draft != 1              draft != "true"         not draft > 0
    none = null             exists(none)            none != 0               none != false
    exists(empty)           empty != null           not empty = null        empty not contains 1
    big > 9007199254740992.0                        big != 9007199254740992.0
    big = 9007199254740993  huge > 9223372036854775807
    huge = 18446744073709551616.0                   not huge < 18446744073709551616.0
    zero = 0                zero >= 0               digits = "10"           digits != 10
    not digits > 9          not digits < 11         digits < "9"            year != "2020"
    missing != 1            missing not in (1)      not missing = null      not missing > 1
    not exists(missing)     missing not in ()       not year in ()          metadata.year = 2020
    [dc.title] = "flat"     not exists(dc.title)    metadata.id = "in metadata"
    id = "doc-1"            id in ("x", "doc-1")    id contains "-"         id != 1
    title >= "A"            source contains "/a"    exists(source)          exists(text)
    text contains "text, in pieces"                 text contains "e w"     text not contains "THE"
    text = "The whole text, in pieces."             text > "The"            text != null
    größe = "ß"             [] = "no name"          [$and] = "dollar"       [a]]b] contains "rack"
    like contains "%"       listlike = "[1]"        listlike != 1           listlike contains "1"
    true                    not false               YEAR != 1 AND NOT (lang = 'de' OR false)
"""


@pytest.mark.parametrize("text", re.split(r"\s{2,}", MATCHING.strip()))
def test_one_meaning_in_python_and_in_sql(ask: Ask, text: str) -> None:
    filter = parse(text)
    assert matches(filter, DOCUMENT)
    assert ask(filter, [DOCUMENT]) == ["doc-1"]
    opposite = parse(f"not ({text})")
    assert not matches(opposite, DOCUMENT)
    assert ask(opposite, [DOCUMENT]) == []


def test_keys_that_json_must_escape(ask: Ask) -> None:
    filter = parse({'[q"\\\n].x': {"$contains": "quote"}})
    assert matches(filter, DOCUMENT)
    assert ask(filter, [DOCUMENT]) == ["doc-1"]
    assert ask(parse({'[q"\\\n].y': "quoted"}), [DOCUMENT]) == []


def test_a_document_without_a_source_lacks_the_field(ask: Ask) -> None:
    document = _document({}, source=None)
    for text, expected in {
        "exists(source)": False,
        "source = null": False,
        'source != "x"': True,
        'source < "x"': False,
        'not source contains "x"': True,
    }.items():
        assert matches(parse(text), document) is expected
        assert bool(ask(parse(text), [document])) is expected


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        ({}, "true"),
        ({"year": 2020}, "year = 2020"),
        ({"year": {"$gte": 2020, "$lt": 2024}}, "year >= 2020 and year < 2024"),
        ({"a": 1, "b": {"$ne": "x"}}, "a = 1 and b != 'x'"),
        ({"lang": {"$in": ["en", "de"]}}, 'lang in ("de", "en")'),
        ({"lang": {"$nin": ["en"]}}, 'lang not in ("en")'),
        ({"lang": {"$not": {"$eq": "en", "$exists": True}}}, 'not (lang = "en" and exists(lang))'),
        ({"$not": {"a": {"$ne": None}}}, "a = null"),
        ({"$or": [{"a": {"$lte": 1}}, {"b": {"$gt": 2}}]}, "a <= 1 or b > 2"),
        ({"$and": [{"$or": [{"a": 1}, {"b": 2}]}, {"c": True}]}, "(a = 1 or b = 2) and c = true"),
        ({"text": {"$contains": 'a"\n'}}, 'text contains "a\\"\\n"'),
        ({"a.b": {"$exists": False}}, "not exists(a.b)"),
        ({"[a.b].c": 1.5}, "[a.b].c = 15e-1"),
        ({"A·": "not a word of the language"}, '[A·] = "not a word of the language"'),
        ({"x-y 1": "é😀"}, "[x-y 1] = '\\u00e9\\ud83d\\ude00'"),
    ],
)
def test_both_ways_of_writing_give_one_tree(where: dict[str, Any], expression: str) -> None:
    assert parse(where) == parse(expression) == parse(str(parse(where)))


def test_true_is_not_one_even_as_a_key_of_a_cache() -> None:
    assert parse({"a": True}) != parse({"a": 1})
    assert len({parse({"a": True}), parse({"a": 1}), parse({"a": 1.0})}) == 2


def test_and_binds_closer_than_or() -> None:
    assert parse("a=1 or b=2 and c=3") == parse("a=1 or (b=2 and c=3)")
    assert parse("not a=1 and b=2") == parse("(not a=1) and b=2")


# What is refused, and where the message points.


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (None, "where: expected a dict or an expression, got null"),
        (b"year = 1", "where: expected a dict or an expression, got bytes"),
        ({"$and": [{}, {"year": {"$gt": [1]}}]}, "where.$and[1].year.$gt: expected a number or a"),
        ({"year": {"$gt": None}}, "where.year.$gt: expected a number or a string, got null"),
        ({"year": {"$gt": True}}, "where.year.$gt: expected a number or a string, got bool"),
        (
            {"year": [2020]},
            "where.year: expected a string, a number, true, false or null, got list",
        ),
        ({"year": {"$in": 5}}, "where.year.$in: expected a list of values, got int"),
        ({"year": {"$in": [1, 2, {}]}}, "where.year.$in[2]: expected a string, a number"),
        ({"year": {"$exists": 1}}, "where.year.$exists: expected true or false, got int"),
        ({"year": {}}, "where.year: expected an operator, one of $eq"),
        ({"year": {"$regex": "x"}}, "where.year.$regex: expected one of $eq"),
        ({"author": {"name": "x"}}, "where.author.name: expected one of $eq"),
        ({"year": {"$not": 5}}, "where.year.$not: expected a dict of operators, got int"),
        ({"$gt": 5}, 'where.$gt: expected a field, $and, $or or $not, not an operator: {"year"'),
        ({"$nor": []}, "where.$nor: expected a field, $and, $or or $not"),
        ({"$or": []}, "where.$or: expected a list of dicts, got an empty one"),
        ({"$or": {"a": 1}}, "where.$or: expected a list of dicts, got dict"),
        ({"$or": [5]}, "where.$or[0]: expected a dict, got int"),
        ({"$not": [{}]}, "where.$not: expected a dict, got list"),
        ({5: 1}, "where: expected a field name, got int"),
        ({"a..b": 1}, "where.a..b: not a field"),
        ({"": 1}, "where.: not a field"),
        ({"a.": 1}, "where.a.: not a field"),
        ({"[a": 1}, "where.[a: not a field"),
        (
            {"id.x": 1},
            "where.id.x: 'id' is a string of the document; the metadata is metadata.id.x",
        ),
        ({"metadata": 1}, "where.metadata: 'metadata' is all of it"),
        ({"a\0": 1}, "where.'a\\x00': a NUL character"),
        ({"a": "\0"}, "where.a: a NUL character at 0"),
        ({"a": "x\ud800"}, "where.a: a lone surrogate at character 1"),
        ({"a": float("nan")}, "where.a: expected a finite number"),
        ({"a": {"$in": [1, float("inf")]}}, "where.a.$in[1]: expected a finite number"),
        ({"a": 2**63}, "where.a: an integer beyond 64 bits"),
        ({"a": {"$lt": -(2**63) - 1}}, "where.a.$lt: an integer beyond 64 bits"),
        ({".".join("a" * 33): 1}, ": a path of more than 32 steps"),
    ],
)
def test_a_bad_dict_is_refused_at_its_place(where: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(where)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", 0, "expected a field, found the end"),
        ("year", 4, "expected a comparison such as"),
        ("year >= ", 8, "expected a value (a number, true, false, null, or text in quotes), found"),
        ("year >= )", 8, "expected a value"),
        ("lang = en", 7, "expected a value"),
        ("year > null", 7, "expected a number or a string, got null"),
        ("year = 1 lang = 2", 9, "expected 'and', 'or' or the end, found 'lang'"),
        ("(year = 1", 9, "expected ')', found the end"),
        ("year in 5", 8, "expected '('"),
        ("year in (1 2)", 11, "expected ','"),
        ("year in (1,)", 11, "expected a value"),
        ("year not 5", 9, "expected 'in' or 'contains'"),
        ("a = 'x", 4, "the text is not closed: no ' ends it"),
        ("[a = 1", 0, "the name is not closed: no ] ends it"),
        ("a = 'x\\q'", 6, "no such escape: \\q"),
        ("a = '\\ud800'", 5, "a lone surrogate"),
        ("a = '\\u0000'", 4, "a NUL character"),
        ("a = 1e999", 4, "expected a finite number"),
        ("a = 9223372036854775808", 4, "an integer beyond 64 bits"),
        ("a = " + "9" * 10_000, 4, "an integer beyond 64 bits"),
        ("a = 1; drop table documents", 5, "unexpected character ';'"),
        ("and = 1", 0, "one of that name is written [and]"),
        ("a. = 1", 3, "expected a field"),
        ("exists(year", 11, "expected ')'"),
        ("id.x = 1", 0, "'id' is a string of the document"),
    ],
)
def test_a_bad_expression_is_refused_with_a_caret(text: str, at: int, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    reason, line, caret = str(caught.value).split("\n")
    assert message in reason
    assert line.strip() in text
    assert caret == "  " + " " * at + "^"


def test_the_caret_stands_under_its_place_in_a_long_text_of_many_lines() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse('a = 1 and\n\tb = "' + "x" * 200 + '" and c = ?\nand d = 2')
    _, line, caret = str(caught.value).split("\n")
    assert line[len(caret) - 1] == "?"
    assert len(line) < 110


def test_nesting_is_bounded_whatever_its_form() -> None:
    deep: dict[str, Any] = {"a": 1}
    field: dict[str, Any] = {"$eq": 1}
    for _ in range(10_000):
        deep, field = {"$and": [deep]}, {"$not": field}
    cycle: dict[str, Any] = {}
    cycle["$or"] = [cycle, cycle]
    for where in (
        deep,
        {"a": field},
        cycle,
        "(" * 10_000 + "a=1" + ")" * 10_000,
        "not " * 10_000 + "a=1",
    ):
        with pytest.raises(InvalidArgument, match="nested deeper than 32 levels"):
            parse(where)


def test_the_number_of_conditions_is_bounded() -> None:
    shared: dict[str, Any] = {}
    for _ in range(30):
        shared = {"$or": [shared, shared]}
    for where in ({"$or": [{"a": 1}] * 501}, " or ".join(["a = 1"] * 501), shared):
        with pytest.raises(InvalidArgument, match="more than 500 conditions"):
            parse(where)


def _caterpillar(depth: int, legs: int) -> Filter:
    """Levels of alternating groups, each with `legs` conditions before the next level."""
    leaf: Filter = Contains(Field("metadata", ("a",)), Scalar("string", "x"))
    node: Filter = In(Field("metadata", ("a",)), frozenset([Scalar("number", 1)]))
    for level in range(depth):
        node = Not(And((leaf,) * legs + (node,)) if level % 2 else Or((leaf,) * legs + (node,)))
    return node


def _bush(depth: int, legs: int) -> Filter:
    """A full tree: every group has `legs` groups."""
    if not depth:
        return Compare(Field("metadata", ("a", 'q"')), "<", Scalar("number", 1))
    return (And if depth % 2 else Or)((_bush(depth - 1, legs),) * legs)


@pytest.mark.parametrize(
    "filter",
    [
        _caterpillar(MAX_DEPTH, 1),
        _caterpillar(MAX_DEPTH, MAX_CONDITIONS // MAX_DEPTH),
        _caterpillar(1, MAX_CONDITIONS),
        _bush(8, 2),
        _bush(2, 22),
    ],
)
def test_the_largest_filters_compile_and_run(ask: Ask, engine: Engine, filter: Filter) -> None:
    documents = [_document({"a": 1}, id="1"), _document({}, id="2")]
    assert ask(filter, documents) == [d.id for d in documents if matches(filter, d)]
    with engine.connect() as connection:  # as deep as a planner may put it
        inner = select(schema.documents.c.key).where(condition(filter))
        outer = select(schema.chunks.c.key).where(schema.chunks.c.document.in_(inner)).subquery()
        connection.execute(select(outer).where(outer.c.key > 0)).all()


def test_a_hundred_thousand_values(ask: Ask) -> None:
    numbers = list(range(100_000))
    documents = [_document({"n": n}, id=str(n)) for n in (5, 99_999, 100_000)]
    started = time.perf_counter()
    assert ask(parse({"n": {"$in": numbers}}), documents) == ["5", "99999"]
    assert ask(parse({"n": {"$nin": numbers}}), documents) == ["100000"]
    assert ask(parse({"id": {"$in": [str(n) for n in numbers]}}), documents) == ["5", "99999"]
    assert ask(parse(f"n in ({', '.join(map(str, numbers))})"), documents) == ["5", "99999"]
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("year = 2020", "field year"),
        ("year > 2020 and not lang = 'x'", "field year"),
        ("year in (1, 2, 3)", "field year"),
        ("year = true", "field year"),
        ("year in (true, null, 3)", "field year"),
        ("id in ('a', 'b')", "autoindex"),
    ],
)
def test_an_index_on_a_field_serves_its_conditions(
    engine: Engine, text: str, searched: str
) -> None:
    (definition,) = field_index.definitions(["year"]).values()
    query = select(schema.documents.c.key).where(condition(parse(text)))
    sql = query.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    values = tuple(sql.params[name] for name in sql.positiontup or ())
    with engine.connect() as connection:
        connection.exec_driver_sql(definition)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()
        connection.exec_driver_sql('DROP INDEX "field year"')
    steps = [row[3] for row in plan]
    assert any("documents" in step and searched in step for step in steps), steps
    assert not any("SCAN documents" in step for step in steps), steps


# At random: whatever the documents and the filter, SQLite finds what Python says.

KEYS = [
    "A·",
    "year",
    "a",
    "b",
    "größe",
    "",
    "a.b",
    "x y",
    'q"',
    "back\\slash",
    "[0]",
    "0",
    "$.a",
    "id",
]
keys = st.sampled_from(KEYS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
words = st.sampled_from(["", "a", "ab", "b", "A", "[", "[1]", "\\", "1", "é", "%", "true", "null"])
texts = words | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
numbers = st.sampled_from(
    [0, 1, -1, 2, -0.0, 0.5, 1.5, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, -(2**63), 1e300, 2.0**63]
)
floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | numbers | integers | floats | texts
huge = st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**20, 10**400, -(10**400)])
values = st.recursive(
    scalars | huge,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
documents = st.lists(
    st.builds(
        Document,
        id=st.just("x"),
        text=texts,
        title=texts,
        source=st.none() | texts,
        metadata=st.dictionaries(keys, values, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def _escaped(step: str) -> str:
    return f"[{step.replace(']', ']]')}]"


paths = st.lists(keys, min_size=1, max_size=3).map(
    lambda steps: "metadata." + ".".join(map(_escaped, steps))
)
fields = st.sampled_from(["year", "a", "b", "a.b", "id", "title", "source", "text"]) | paths
orders = st.sampled_from(["$lt", "$lte", "$gt", "$gte"])
ordered = numbers | integers | floats | texts
operators = st.one_of(
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), scalars, min_size=1),
    st.dictionaries(orders, ordered, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=4), min_size=1),
    st.fixed_dictionaries({"$contains": scalars}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
)
tests = scalars | operators | st.fixed_dictionaries({"$not": operators})
wheres = st.recursive(
    st.dictionaries(fields, tests, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=5,
)


@st.composite
def cases(draw: Any) -> tuple[list[Document], dict[str, Any]]:
    """Documents and a filter; often about a value that one of them really has."""
    drawn = draw(documents)
    numbered = [
        Document(str(n), d.text, d.title, d.metadata, d.source) for n, d in enumerate(drawn)
    ]
    where = draw(wheres)
    present = [(path, value) for d in numbered for path, value in _leaves(d.metadata, "metadata")]
    if present and draw(st.booleans()):
        path, value = draw(st.sampled_from(present))
        where = {"$or": [where, {path: draw(_tests_near(value))}]}
    return numbered, where


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{_escaped(key)}")
    elif isinstance(value, list):
        yield from ((path, item) for item in value if not isinstance(item, list | dict))
    else:
        yield path, value


def _tests_near(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = 2.0**63
    names = ["$eq", "$ne", "$contains"]
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        names += ["$lt", "$lte", "$gt", "$gte"]
    plain = st.sampled_from(names).map(lambda name: {name: value})
    return plain | st.sampled_from(["$in", "$nin"]).map(lambda name: {name: [value, 7, "seven"]})


def check_against_python(ask: Ask, case: tuple[list[Document], dict[str, Any]]) -> None:
    found, where = case
    filter = parse(where)
    assert ask(filter, found) == [d.id for d in found if matches(filter, d)]
    assert parse(str(filter)) == filter


RELAXED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=200, deadline=None, suppress_health_check=RELAXED)
@given(case=cases())
def test_sql_finds_what_python_says(ask: Ask, case: tuple[list[Document], dict[str, Any]]) -> None:
    check_against_python(ask, case)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=RELAXED)
@given(case=cases())
def test_sql_finds_what_python_says_in_ten_thousand_cases(
    ask: Ask, case: tuple[list[Document], dict[str, Any]]
) -> None:
    check_against_python(ask, case)


ATTACKS = [
    "' OR 1=1 --",
    "x'; DROP TABLE documents; --",
    '$."a"; DELETE FROM documents',
    "'||(SELECT metadata FROM documents)||'",
    ":year",
    "?",
    "%(x)s",
    "a\\'",
    "$.",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_sql_in_a_name_or_a_value_is_only_text(ask: Ask, attack: str) -> None:
    documents = [_document({attack: attack}, id="hit"), _document({"a": "b"}, id="other")]
    name = f"[{attack}]"
    for where in ({name: attack}, {name: {"$contains": attack}}, {name: {"$in": [attack, "x"]}}):
        assert ask(parse(where), documents) == ["hit"]
    assert ask(parse(f"{name} = {json.dumps(attack)}"), documents) == ["hit"]
    assert ask(parse({"a": attack}), documents) == []


FRAGMENTS = (
    "year and or not in ( ) = >= 'a' \" ' [ ] . , 5 exists contains null true - \\ 1e999 ; --"
)
fragments = st.sampled_from([*FRAGMENTS.split(), "\0", "\ud800", "id"])
objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.sampled_from(list("$.[]ab")), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$and", "$or", "$not", "$eq", "$in", "$gt", "$contains", "$exists"])
            | fields,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=RELAXED)
@given(where=st.text() | st.lists(fragments, max_size=9).map(" ".join) | objects)
@example(where="a = '" + "\\" * 1001 + "'")
@example(where=float("nan"))
def test_anything_is_a_filter_or_refused(ask: Ask, where: Any) -> None:
    with suppress(InvalidArgument):
        filter = parse(where)
        assert ask(filter, [DOCUMENT]) == (["doc-1"] if matches(filter, DOCUMENT) else [])


def test_a_tree_reads_as_an_expression() -> None:
    filter = parse({"$or": [{"a": {"$in": ["x", 1, None]}}, {"$not": {"metadata.id": 1}}]})
    assert str(filter) == 'a in (null, 1, "x") or (not metadata.id = 1)'
    assert str(And((Or(()), Not(Exists(Field("title")))))) == "false and (not exists(title))"
