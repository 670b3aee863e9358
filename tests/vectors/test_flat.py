"""Codes of all rows: the same hits as by the rows themselves, proved for each query."""

from __future__ import annotations

import numpy as np
import pytest

from semsearch.vectors.base import Allowed
from semsearch.vectors.exact import NumpyExact
from semsearch.vectors.flat import EightBits, FaissExact, FlatCodes, HalfPrecision
from vectors.corpora import Matrix, gaussian, unit

CODES = [HalfPrecision, EightBits]


class Scans:
    """How often all rows were scored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        search = FaissExact.search

        def counted(index: FaissExact, queries: Matrix, k: int, **others: Allowed | None) -> object:
            self.count += 1
            return search(index, queries, k, **others)

        monkeypatch.setattr(FaissExact, "search", counted)


@pytest.mark.parametrize("made", CODES)
def test_codes_are_off_by_no_more_than_was_measured(made: type[FlatCodes]) -> None:
    vectors = gaussian(20_000, 24)
    index = made.build(vectors)
    decoded = index._index.reconstruct_n(0, len(vectors)).astype(np.float64)
    lost = np.linalg.norm(decoded - vectors, axis=1)
    assert lost.max() == index._off_by
    assert 0 < index._off_by < 0.02


@pytest.mark.parametrize("made", CODES)
@pytest.mark.parametrize("share", [None, 0.7])
def test_usually_few_rows_are_scored(
    made: type[FlatCodes], share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = gaussian(5_000, 48), gaussian(50, 48, seed=1)
    allowed = None if share is None else Allowed(np.random.default_rng(0).random(5_000) < share)
    index, scans = made.build(vectors), Scans(monkeypatch)
    truth = NumpyExact.build(vectors).search(queries, 10, allowed=allowed)
    for place, query in enumerate(queries):
        found = index.search(query[np.newaxis], 10, allowed=allowed)
        np.testing.assert_array_equal(found.rows[0], truth.rows[place])
        np.testing.assert_array_equal(found.similarities[0], truth.similarities[place])
    assert scans.count <= 2
    assert index.plan(10, allowed).codes == (5_000 if allowed is None else allowed.count)


@pytest.mark.parametrize("made", CODES)
def test_rows_that_codes_cannot_tell_apart_are_all_scored(
    made: type[FlatCodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    near = rng.standard_normal(48) + 1e-5 * rng.standard_normal((2_000, 48))
    vectors = unit(np.concatenate([near, rng.standard_normal((2_000, 48))]))
    index, scans = made.build(vectors), Scans(monkeypatch)
    query = vectors[:1]
    truth = NumpyExact.build(vectors).search(query, 10)
    np.testing.assert_array_equal(index.search(query, 10).rows, truth.rows)
    assert scans.count == 1


def test_codes_take_a_half_and_a_quarter() -> None:
    vectors = gaussian(1_000, 96)
    sizes = [made.build(vectors)._index.code_size for made in CODES]
    assert sizes == [2 * 96, 96]
