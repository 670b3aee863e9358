"""Filtered search against a brute force that knows nothing of the engine."""

from __future__ import annotations

import gc
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import semsearch
from semsearch import nearest, view
from semsearch.errors import InvalidArgument
from semsearch.vectors import INDEX_KINDS

DIM = 8
Row = tuple[str, dict[str, Any], NDArray[np.float32]]


def holds(where: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """What a filter means, written down once more."""
    return all(clause(key, wanted, metadata) for key, wanted in where.items())


def clause(key: str, wanted: Any, metadata: dict[str, Any]) -> bool:
    if key == "$and":
        return all(holds(part, metadata) for part in wanted)
    if key == "$or":
        return any(holds(part, metadata) for part in wanted)
    if key == "$not":
        return not holds(wanted, metadata)
    there, value = key in metadata, metadata.get(key)
    operators = wanted if isinstance(wanted, dict) else {"$eq": wanted}
    return all(compare(op, value, there, arg) for op, arg in operators.items())


def compare(op: str, value: Any, there: bool, arg: Any) -> bool:
    equal = there and any(same(value, each) for each in (arg if op in ("$in", "$nin") else [arg]))
    alike = there and value is not None and isinstance(value, str) == isinstance(arg, str)
    answers: dict[str, bool] = {
        "$eq": equal,
        "$ne": not equal,
        "$in": equal,
        "$nin": not equal,
        "$exists": there == arg,
        "$contains": isinstance(value, str) and isinstance(arg, str) and arg in value,
        "$gt": alike and op == "$gt" and bool(value > arg),
        "$gte": alike and op == "$gte" and bool(value >= arg),
        "$lt": alike and op == "$lt" and bool(value < arg),
        "$lte": alike and op == "$lte" and bool(value <= arg),
    }
    return answers[op]


def same(value: Any, arg: Any) -> bool:
    return isinstance(value, str) == isinstance(arg, str) and bool(value == arg)


def random_metadata(rng: np.random.Generator) -> dict[str, Any]:
    values: list[Any] = [1990, 2005, 2020.5, 2020, "en", "de", "noir", "2020", None, -3]
    keys = ("year", "lang", "genre")
    return {key: values[rng.integers(len(values))] for key in keys if rng.random() < 0.7}


def random_filter(rng: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    if depth < 3 and rng.random() < 0.4:
        op = ("$and", "$or", "$not")[rng.integers(3)]
        if op == "$not":
            return {op: random_filter(rng, depth + 1)}
        return {op: [random_filter(rng, depth + 1) for _ in range(rng.integers(1, 4))]}
    key = ("year", "lang", "genre", "absent")[rng.integers(4)]
    number, word = (
        [1990, 2005, 2020, 2020.5, -3][rng.integers(5)],
        ["en", "de", "o"][rng.integers(3)],
    )
    ops: list[dict[str, Any]] = [
        {"$eq": number},
        {"$ne": word},
        {"$in": [number, word]},
        {"$nin": [number, word]},
        {"$exists": bool(rng.integers(2))},
        {"$contains": word},
        {"$gt": number},
        {"$gte": word},
        {"$lt": number, "$gt": -5},
        {"$lte": word},
    ]
    return {key: ops[rng.integers(len(ops))]}


def build(index: semsearch.Index, rng: np.random.Generator) -> list[Row]:
    """Several segments, deletions, replacements; equal vectors are common."""
    rows: dict[str, Row] = {}
    for _ in range(int(rng.integers(1, 5))):
        batch = [f"d{rng.integers(60)}" for _ in range(int(rng.integers(1, 30)))]
        for id_ in dict.fromkeys(batch):
            vector = rng.integers(-2, 3, DIM).astype(np.float32) + np.float32(0.25)
            rows[id_] = (id_, random_metadata(rng), vector)
        new = [rows[id_] for id_ in dict.fromkeys(batch)]
        index.add(
            [{"id": id_, "text": id_, "metadata": metadata} for id_, metadata, _ in new],
            np.stack([vector for *_, vector in new]),
        )
        gone = [f"d{rng.integers(60)}" for _ in range(int(rng.integers(0, 4)))]
        index.delete(gone)
        for id_ in gone:
            rows.pop(id_, None)
        if rng.random() < 0.2:
            index.optimize(INDEX_KINDS[rng.integers(len(INDEX_KINDS))])
    return list(rows.values())


def check(index: semsearch.Index, rows: list[Row], rng: np.random.Generator) -> None:
    where, k = random_filter(rng), int(rng.integers(1, 12))
    query = rng.normal(size=DIM).astype(np.float32)
    matching = [row for row in rows if holds(where, row[1])]
    scores = {
        id_: float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))
        for id_, _, vector in matching
    }
    hits = index.search(query, k, where=where)
    assert len(hits) == min(k, len(matching)), where
    assert {hit.id for hit in hits} <= scores.keys(), where
    best = sorted(scores.values(), reverse=True)[: len(hits)]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-6)
    np.testing.assert_allclose([hit.score for hit in hits], [scores[h.id] for h in hits], atol=1e-6)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found is held against a filter that a sample of rows met, as in large indexes."""
    monkeypatch.setattr(view, "_SAMPLED_FROM", 1)
    monkeypatch.setattr(nearest, "_MANY", 0.01)


@pytest.mark.parametrize("seed", range(12))
def test_a_filtered_search_is_the_brute_force(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with semsearch.create(tmp_path / "index", dim=DIM) as index:
        rows = build(index, rng)
        for _ in range(25):
            check(index, rows, rng)


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("seed", range(12, 20))
def test_so_it_is_by_checking_and_with_indexed_fields(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fields = ("year", "lang", "genre")
    with semsearch.create(tmp_path / "index", dim=DIM, index_fields=fields) as index:
        rows = build(index, rng)
        for _ in range(25):
            check(index, rows, rng)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_filtered_searches_are_the_brute_force(tmp_path: Path) -> None:
    for seed in range(100, 200):
        rng = np.random.default_rng(seed)
        with semsearch.create(tmp_path / str(seed), dim=DIM) as index:
            rows = build(index, rng)
            for _ in range(100):
                check(index, rows, rng)


def test_a_filter_sees_what_was_written_since(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index", dim=2) as index:
        index.add({"id": "a", "text": "a", "metadata": {"n": 1}}, [[1.0, 0.0]])
        assert [hit.id for hit in index.search([1.0, 0.0], where="n = 1")] == ["a"]
        index.add({"id": "b", "text": "b", "metadata": {"n": 1}}, [[1.0, 0.1]])
        assert [hit.id for hit in index.search([1.0, 0.0], where="n = 1")] == ["a", "b"]
        index.add({"id": "a", "text": "a", "metadata": {"n": 2}}, [[1.0, 0.0]])
        assert [hit.id for hit in index.search([1.0, 0.0], where="n = 1")] == ["b"]


def test_a_filter_and_grouping_go_together(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index", dim=2) as index:
        index.add(
            [{"id": str(n), "text": "", "metadata": {"n": n}} for n in range(9)], np.eye(9, 2) + 1
        )
        assert len(index.search([1.0, 0.0], 5, where="n >= 6", group=True)) == 3


def test_a_filter_that_cannot_be_read_points_at_the_place(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index", dim=2) as index:
        with pytest.raises(InvalidArgument, match=r"\^"):
            index.search([1.0, 0.0], where="n = = 1")
        with pytest.raises(InvalidArgument, match=r"where\.n\.\$gt"):
            index.search([1.0, 0.0], where={"n": {"$gt": []}})


def maps_of_deleted_files() -> int:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum("/index/segments/" in line and line.endswith("(deleted)") for line in lines)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's /proc")
def test_a_filter_holds_no_file_that_a_later_commit_removed(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index", dim=2) as index:
        for n in range(5):
            index.add({"id": str(n), "text": "", "metadata": {"n": n}}, [[1.0, n]])
            assert index.search([1.0, 0.0], 9, where="n >= 0")
        index.optimize()
        assert len(index.search([1.0, 0.0], 9)) == 5
        gc.collect()
        assert maps_of_deleted_files() == 0


@pytest.fixture
def numbered(tmp_path: Path) -> Iterator[semsearch.Index]:
    """200 documents about a circle, in the order of their number."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with semsearch.create(tmp_path / "index", dim=2) as index:
        index.add(
            [{"id": str(n), "text": str(n), "metadata": {"n": n}} for n in range(200)], points
        )
        yield index


def steps(index: semsearch.Index, where: str) -> str:
    return str(index.explain([1.0, 0.0], 5, where=where))


@pytest.mark.usefixtures("checked")
def test_what_is_found_is_checked_where_many_match(numbered: semsearch.Index) -> None:
    where = "not (n in (0, 3))"
    found = numbered.explain([1.0, 0.001], 5, where=where)
    assert [hit.id for hit in found.hits] == ["1", "199", "2", "198", "197"]
    assert re.search(r"about \d+% match, so what is found is checked", str(found))
    assert "looked up" not in str(found)


@pytest.mark.usefixtures("checked")
def test_matches_that_lie_elsewhere_are_looked_up(numbered: semsearch.Index) -> None:
    found = numbered.explain([1.0, 0.01], 5, where="n >= 60 and n < 140")
    assert [hit.id for hit in found.hits] == ["60", "61", "139", "62", "138"]
    assert "80 passages match, looked up" in str(found)


def test_a_filter_is_looked_up_once_a_commit(numbered: semsearch.Index) -> None:
    assert "20 passages match, looked up" in steps(numbered, "n < 20")
    assert "20 passages match, known from an earlier search" in steps(numbered, "n < 20")
    numbered.delete("7")
    assert "19 passages match, looked up" in steps(numbered, "n < 20")


@pytest.mark.usefixtures("checked")
def test_a_filter_met_often_is_looked_up(numbered: semsearch.Index) -> None:
    first = steps(numbered, "n >= 1")
    assert "is checked" in first
    for _ in range(200 // 5):
        last = steps(numbered, "n >= 1")
    assert "is checked" not in last
    assert "199 passages match" in last


def test_an_explained_search_is_the_search(numbered: semsearch.Index) -> None:
    explained = numbered.explain([1.0, 0.0], 5, where="n > 3")
    assert explained.hits == numbered.search([1.0, 0.0], 5, where="n > 3")
    assert sum(step.milliseconds for step in explained.steps) <= explained.milliseconds
    assert "segment 1: exact, 196 vectors scored" in str(explained)


# -- indexed fields ------------------------------------------------------------------------------


def test_fields_are_indexed_from_the_start_or_later(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with semsearch.create(path, dim=2, index_fields=["year"]) as index:
        index.add({"id": "a", "text": "", "metadata": {"year": 1, "by": {"name": "x"}}}, [[1, 0]])
        index.index_field("by.name", "metadata.year")
    with semsearch.open(path) as index:
        assert index.info().index_fields == ("year", "by.name")
        for where in ("year = 1", 'by.name = "x"'):
            assert [hit.id for hit in index.search([1.0, 0.0], where=where)] == ["a"]
        assert index.verify().ok
    with sqlite3.connect(path / "catalog.db") as catalog:
        plan = catalog.execute(
            "EXPLAIN QUERY PLAN SELECT key FROM documents "
            "WHERE json_extract(metadata, '$.by.name') = 'x'"
        ).fetchall()
    assert "field by.name" in plan[0][-1]


@pytest.mark.parametrize("field", ["id", "text", "[odd name]", "a..b", "", "metadata"])
def test_what_cannot_be_indexed_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(InvalidArgument):
        semsearch.create(tmp_path / "index", dim=2, index_fields=["year", field])
    assert not (tmp_path / "index").exists()
    with semsearch.create(tmp_path / "index", dim=2) as index:
        with pytest.raises(InvalidArgument):
            index.index_field("year", field)
        assert index.info().index_fields == ()
