"""Filtered search against a brute force that knows nothing of the engine."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import semsearch
from semsearch.errors import InvalidArgument

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
            index.optimize(("exact", "sq8")[rng.integers(2)])
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


@pytest.mark.parametrize("seed", range(12))
def test_a_filtered_search_is_the_brute_force(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with semsearch.create(tmp_path / "index", dim=DIM) as index:
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
