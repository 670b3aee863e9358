"""Inverted lists: tuned to the recall asked for, complete under every filter."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semsearch.vectors import ivf
from semsearch.vectors.base import Allowed, Vectors
from semsearch.vectors.exact import NumpyExact, scan
from semsearch.vectors.ivf import IVF, RaBitQIVF, ScalarIVF
from semsearch.vectors.tuning import Effort
from vectors.corpora import unit

ROWS, DIM, QUERIES = 8000, 256, 60


@pytest.fixture(autouse=True)
def by_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look into lists although a scan of so few rows would be cheaper."""
    monkeypatch.setattr(ivf, "_ROW_COST", 1e9)


@pytest.fixture(scope="module")
def clusters() -> tuple[Vectors, Vectors]:
    """Rows about 60 centres, in no sharp clusters, and queries of the same kind."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, DIM))
    of = rng.integers(60, size=ROWS + QUERIES)
    rows = unit(centres[of] + 1.5 * rng.standard_normal((ROWS + QUERIES, DIM)))
    return rows[:ROWS], rows[ROWS:]


@pytest.fixture(scope="module", params=[IVF, ScalarIVF, RaBitQIVF])
def each(request: pytest.FixtureRequest, clusters: tuple[Vectors, Vectors]) -> IVF:
    """An index of each form of codes."""
    made: type[IVF] = request.param
    return made.build(clusters[0])


@pytest.fixture(scope="module")
def index(clusters: tuple[Vectors, Vectors]) -> IVF:
    return IVF.build(clusters[0])


def recall(index: IVF, clusters: tuple[Vectors, Vectors], allowed: Allowed | None, k: int) -> float:
    rows, queries = clusters
    found = index.search(queries, k, allowed=allowed).rows
    truth = scan(queries, rows, k, allowed).rows
    assert found.shape == truth.shape
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("k", [1, 10, 50, 300])
def test_queries_it_never_saw_find_what_was_asked_for(
    each: IVF, clusters: tuple[Vectors, Vectors], k: int
) -> None:
    assert recall(each, clusters, None, k) >= 0.93


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_deleted_or_excluded_rows_do_not_cost_recall(
    each: IVF, clusters: tuple[Vectors, Vectors], share: float
) -> None:
    allowed = Allowed(np.random.default_rng(1).random(ROWS) < share)
    assert recall(each, clusters, allowed, 10) >= 0.92


@pytest.mark.parametrize("side", [1, -1])
def test_rows_that_lie_together_are_found_from_afar(
    each: IVF, clusters: tuple[Vectors, Vectors], side: int
) -> None:
    products = side * (clusters[0] @ clusters[0][7])
    assert recall(each, clusters, Allowed(products >= np.quantile(products, 0.9)), 10) >= 0.9


@pytest.mark.parametrize("share", [0.9, 0.7])
def test_what_is_around_a_query_may_be_taken_away(
    each: IVF, clusters: tuple[Vectors, Vectors], share: float
) -> None:
    rows, queries = clusters
    for query in queries[:10, np.newaxis]:
        products = (rows @ query.T)[:, 0]
        allowed = Allowed(products < np.quantile(products, share))
        assert recall(each, (rows, query), allowed, 100) >= 0.9


def test_more_recall_is_had_by_looking_further(clusters: tuple[Vectors, Vectors]) -> None:
    few, most = (IVF.build(clusters[0], target_recall=target) for target in (0.6, 0.99))
    assert int(few.facts().parameters["probed"]) < int(most.facts().parameters["probed"])
    assert recall(few, clusters, None, 10) < 0.9
    assert recall(most, clusters, None, 10) >= 0.98


def test_the_recall_it_states_is_that_of_other_queries(
    each: IVF, clusters: tuple[Vectors, Vectors]
) -> None:
    quality = each.facts().quality
    assert quality is not None
    assert (quality.k, quality.sample) == (10, 256)
    assert quality.recall == pytest.approx(recall(each, clusters, None, 10), abs=0.03)


def test_lists_that_hold_too_few_are_not_the_end(
    index: IVF, clusters: tuple[Vectors, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    least = Effort((10,), (1,), (12,))
    monkeypatch.setattr(index, "_header", replace(index._header, effort=least))
    queries = clusters[1]
    allowed = Allowed(np.arange(ROWS) % 97 == 0)
    assert index.search(queries, 40).rows.shape == (QUERIES, 40)
    found = index.search(queries, 40, allowed=allowed)
    assert allowed.mask[found.rows].all()
    assert found.rows.shape == (QUERIES, 40)


def test_the_same_rows_give_the_same_file(
    index: IVF, clusters: tuple[Vectors, Vectors], tmp_path: Path
) -> None:
    index.save(tmp_path / "one")
    IVF.build(clusters[0]).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_few_allowed_rows_are_all_scored(
    index: IVF, clusters: tuple[Vectors, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    rows, queries = clusters
    allowed = Allowed(np.arange(ROWS) % 100 == 0)
    truth = NumpyExact.build(rows).search(queries, 10, allowed=allowed)
    np.testing.assert_array_equal(index.search(queries, 10, allowed=allowed).rows, truth.rows)


def test_what_was_learned_of_a_filter_goes_with_it(
    index: IVF, clusters: tuple[Vectors, Vectors]
) -> None:
    allowed = Allowed(np.arange(ROWS) % 3 == 0)
    index.search(clusters[1], 10, allowed=allowed)
    assert allowed in index._reaches
    del allowed
    gc.collect()
    assert not index._reaches


def test_a_build_can_be_stopped_at_every_step(clusters: tuple[Vectors, Vectors]) -> None:
    steps: list[str] = []
    IVF.build(clusters[0][:500], report=lambda step, _done, _total: steps.append(step))
    assert list(dict.fromkeys(steps)) == ["training", "encoding", "tuning"]

    def stop(step: str, _done: int, _total: int) -> None:
        if step == "tuning":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        IVF.build(clusters[0][:500], report=stop)
