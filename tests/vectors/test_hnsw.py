"""A graph: tuned to the recall asked for, honest about it, with lists where it is no use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semsearch.vectors import hnsw, ivf
from semsearch.vectors.base import Allowed, Vectors
from semsearch.vectors.exact import scan
from semsearch.vectors.hnsw import HNSW
from vectors.corpora import unit

ROWS, DIM, QUERIES = 6000, 64, 60


@pytest.fixture(autouse=True)
def in_a_larger_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk, and look into lists, although a scan of so few rows would be cheaper."""
    monkeypatch.setattr(hnsw, "_MET_BY_ONE", 0)
    monkeypatch.setattr(ivf, "_ROW_COST", 1e9)


def around_centres(rows: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((60, DIM))
    return unit(centres[rng.integers(60, size=rows)] + 1.5 * rng.standard_normal((rows, DIM)))


@pytest.fixture(scope="module")
def rows() -> Vectors:
    return around_centres(ROWS, 1)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return around_centres(QUERIES, 2)


@pytest.fixture(scope="module")
def index(rows: Vectors) -> HNSW:
    return HNSW.build(rows)


def recall(
    index: HNSW, rows: Vectors, queries: Vectors, k: int = 10, allowed: Allowed | None = None
) -> float:
    found = index.search(queries, k, allowed=allowed)
    truth = scan(queries, rows, k, allowed)
    assert found.rows.shape == truth.rows.shape
    return float((found.similarities >= truth.similarities[:, -1:] - 1e-5).mean())


@pytest.mark.parametrize("k", [1, 10, 50, 300])
def test_queries_it_never_saw_find_what_was_asked_for(
    index: HNSW, rows: Vectors, queries: Vectors, k: int
) -> None:
    assert index.plan(k).breadth >= k
    assert recall(index, rows, queries, k) >= 0.93


def test_the_recall_it_states_is_that_of_other_queries(
    index: HNSW, rows: Vectors, queries: Vectors
) -> None:
    """A row finds more of its neighbours than a query, where its own links lead to them."""
    quality = index.facts().quality
    assert quality is not None
    assert (quality.k, quality.sample) == (10, 256)
    assert quality.recall == pytest.approx(recall(index, rows, queries), abs=0.025)


def test_more_recall_is_had_by_walking_wider(rows: Vectors, queries: Vectors) -> None:
    few, most = (HNSW.build(rows, target_recall=target) for target in (0.6, 0.99))
    assert int(few.facts().parameters["breadth"]) < int(most.facts().parameters["breadth"])
    assert recall(few, rows, queries) < recall(most, rows, queries)
    assert recall(most, rows, queries) >= 0.97


@pytest.mark.parametrize(
    ("share", "walks"), [(0.9, True), (0.6, True), (0.3, False), (0.02, False)]
)
def test_filters_that_leave_fewer_than_half_go_to_lists(
    index: HNSW, rows: Vectors, queries: Vectors, share: float, *, walks: bool
) -> None:
    allowed = Allowed(np.random.default_rng(3).random(ROWS) < share)
    plan = index.plan(10, allowed)
    assert (bool(plan.breadth), bool(plan.lists)) == (walks, not walks)
    assert recall(index, rows, queries, 10, allowed) >= 0.93


def test_what_is_around_a_query_may_be_taken_away(
    index: HNSW, rows: Vectors, queries: Vectors
) -> None:
    """What a walk finds are then other rows; lists are looked into."""
    nearest = rows @ queries[:1].T
    far = Allowed(nearest[:, 0] < np.quantile(nearest, 0.7))
    assert index.plan(10, far).breadth
    assert recall(index, rows, queries[:1], 100, far) >= 0.95


def test_a_query_of_zeros_finds_the_first_rows(index: HNSW) -> None:
    found = index.search(np.zeros((2, DIM), np.float32), 5)
    assert found.rows.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_a_wide_filter_widens_the_walk(index: HNSW) -> None:
    half = Allowed(np.arange(ROWS) % 2 == 0)
    assert index.plan(10, half).breadth > index.plan(10).breadth


@pytest.mark.parametrize("rounding", [0, 1e-7])
def test_rows_that_are_there_dozens_of_times_are_reached(queries: Vectors, rounding: float) -> None:
    rng = np.random.default_rng(5)
    copies = around_centres(100, 4)[rng.integers(100, size=ROWS)]
    index = HNSW.build(unit(copies + rounding * rng.standard_normal(copies.shape)))
    assert 0 < index.plan(10).breadth < 500  # not by lists
    assert recall(index, index._vectors, queries) >= 0.85  # of all copies or none


def test_a_walk_that_meets_too_few_is_made_up_by_lists(
    index: HNSW, rows: Vectors, queries: Vectors
) -> None:
    links = np.flatnonzero(index._graph._links >= 0)
    with index._graph.without(links):  # no way leads anywhere
        assert (index._graph.search(queries, 10, 50)[:, -1] < 0).all()
        assert recall(index, rows, queries) >= 0.93


def test_links_taken_away_are_put_back(index: HNSW, queries: Vectors) -> None:
    before, links = index.search(queries, 10), index._graph._links.copy()
    (apart,) = index.apart([before.rows[:, 0]])
    with apart:
        assert not np.isin(index._graph.search(queries, 10, 50)[:, 0], before.rows[:, 0]).all()
    np.testing.assert_array_equal(index._graph._links, links)
    np.testing.assert_array_equal(index.search(queries, 10).rows, before.rows)


def test_its_file_holds_links_and_codes_but_no_vectors(index: HNSW, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    assert 144 * ROWS < (tmp_path / "index").stat().st_size < (144 + 4 * DIM) * ROWS


def test_a_build_can_be_stopped_at_every_step(rows: Vectors) -> None:
    steps: list[str] = []
    HNSW.build(rows[:500], report=lambda step, _done, _total: steps.append(step))
    assert list(dict.fromkeys(steps)) == ["training", "encoding", "tuning", "linking"]

    def stop(step: str, _done: int, _total: int) -> None:
        if step == "linking":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HNSW.build(rows[:500], report=stop)
