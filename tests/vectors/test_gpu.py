"""What FAISS finds on a GPU: the same rows and scores.

Without one, FAISS itself answers on the CPU what is asked of the GPU: that it is asked the right
thing can be tested anywhere. The tests marked `gpu` ask a real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import pytest

from semsearch.vectors import faiss as module
from semsearch.vectors.base import Allowed, Neighbours
from semsearch.vectors.clustering import nearest
from semsearch.vectors.exact import NumpyExact
from semsearch.vectors.faiss import gpu_neighbours
from semsearch.vectors.flat import _GPU_QUERIES as MANY
from semsearch.vectors.flat import FaissExact
from semsearch.vectors.ivf import IVF
from vectors.corpora import Matrix, duplicates, gaussian, unit


class Asked(list[tuple[int, int, int]]):
    """Queries, rows and neighbours of each call; fails where it is told to."""

    full = False

    def knn_gpu(self, _: object, queries: Matrix, rows: Matrix, k: int, *, metric: int) -> Any:
        if self.full:
            raise RuntimeError("StandardGpuResources: alloc fail")
        assert k <= 2_048
        self.append((len(queries), len(rows), k))
        return faiss.knn(queries, rows, k, metric)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """FAISS as it is with a GPU."""
    calls = Asked()
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", calls.knn_gpu)
    module._gpu.cache_clear()
    yield calls
    module._gpu.cache_clear()


def assert_same(found: Neighbours, truth: Neighbours) -> None:
    np.testing.assert_array_equal(found.rows, truth.rows)
    np.testing.assert_array_equal(found.similarities, truth.similarities)


def assert_exact(vectors: Matrix, queries: Matrix, k: int) -> None:
    assert_same(
        FaissExact.build(vectors).search(queries, k), NumpyExact.build(vectors).search(queries, k)
    )


def repeated(queries: Matrix) -> Matrix:
    return np.resize(queries, (MANY, queries.shape[1]))


@pytest.mark.parametrize("k", [1, 10, 200, 1_000])
def test_many_queries_have_the_answers_of_the_oracle(asked: Asked, k: int) -> None:
    assert_exact(gaussian(1_000, 24), gaussian(MANY, 24, seed=1), k)
    assert len(asked) == 1


def test_blocks_of_rows_are_merged(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GPU_FLOATS", 24 * 7)
    assert_exact(gaussian(100, 24), gaussian(MANY, 24, seed=1), 10)
    assert asked == [(MANY, 7, 7)] * 14 + [(MANY, 2, 2)]


def test_rows_that_are_all_alike_are_told_apart_here(asked: Asked) -> None:
    vectors, queries = duplicates()
    assert_exact(vectors, repeated(queries), 10)
    assert asked


def test_what_a_gpu_does_no_sooner_or_not_at_all_is_done_here(asked: Asked) -> None:
    vectors = gaussian(3_000, 4)
    queries = gaussian(MANY, 4, seed=1)
    assert_exact(vectors, queries[:-1], 10)
    assert_exact(vectors, queries, 2_100)
    even = Allowed(np.arange(3_000) % 2 == 0)
    assert_same(
        FaissExact.build(vectors).search(queries, 10, allowed=even),
        NumpyExact.build(vectors).search(queries, 10, allowed=even),
    )
    assert asked == []


def test_a_gpu_without_room_is_done_without(asked: Asked) -> None:
    asked.full = True
    assert_exact(gaussian(500, 24), gaussian(MANY, 24, seed=1), 10)
    owners, scores = nearest(gaussian(500, 24), gaussian(30, 24, seed=1))
    assert len(owners) == len(scores) == 500


def test_an_index_is_built_with_it(asked: Asked) -> None:
    rng = np.random.default_rng(4)
    vectors = unit(
        rng.standard_normal((40, 32))[rng.integers(40, size=4_000)] * 3
        + rng.standard_normal((4_000, 32))
    )
    quality = IVF.build(vectors).facts().quality
    assert quality is not None
    assert quality.recall >= 0.95
    assert (4_000, 126, 1) in asked  # a round of training
    assert any(rows == 4_000 for _, rows, _ in asked)  # the true neighbours, for tuning


# --- a real one ---------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_has_the_answers_of_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    if not faiss.get_num_gpus():
        pytest.skip("needs faiss-gpu and a CUDA device")
    vectors, queries = gaussian(20_000, 384), gaussian(MANY, 384, seed=1)
    assert gpu_neighbours(queries, vectors, 26) is not None
    assert_exact(vectors, queries, 10)
    assert_exact(vectors, queries, 1_000)
    alike, few = duplicates()
    assert_exact(alike, repeated(few), 10)
    monkeypatch.setattr(module, "_GPU_FLOATS", 384 * 3_000)
    assert_exact(vectors, queries, 10)
