"""What every kind of vector index must do, compared with the oracle: rows and scores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from semsearch.errors import IndexCorrupt, InvalidArgument
from semsearch.vectors import KINDS, backend, hnsw, ivf
from semsearch.vectors.base import Allowed, Neighbours, VectorIndex
from semsearch.vectors.exact import NumpyExact
from vectors.corpora import CORPORA, Corpus, Matrix, clustered, gaussian, unit

Mask = NDArray[np.bool_]
DERIVED = [kind for kind in KINDS if backend(kind).derived]


def only(mask: Mask | None) -> Allowed | None:
    return None if mask is None else Allowed(mask)


IN_LARGER_MATRICES = [f"large {kind}" for kind in ("ivf", "ivf-sq8", "ivf-rabitq", "hnsw")]


@pytest.fixture(params=[*KINDS, *IN_LARGER_MATRICES])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind, and those for many rows as they search where a scan would cost more."""
    large, _, kind = str(request.param).rpartition(" ")
    if large:
        monkeypatch.setattr(ivf, "_ROW_COST", 1e9)
        monkeypatch.setattr(hnsw, "_MET_BY_ONE", 0)
    return kind


@pytest.fixture(params=CORPORA)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    return CORPORA[request.param]()


def brute_force(corpus: Corpus, k: int, allowed: Mask) -> Neighbours:
    """The definition, in float64, by other means than the package's."""
    scores = corpus.queries.astype(np.float64) @ corpus.vectors.astype(np.float64).T
    scores[:, ~allowed] = -np.inf
    rows = np.argsort(-scores.astype(np.float32), axis=1, kind="stable")[:, : min(k, allowed.sum())]
    return Neighbours(rows, np.take_along_axis(scores, rows, axis=1).astype(np.float32))


def pair_scores(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    found = corpus.vectors[rows].astype(np.float64)
    scores: NDArray[np.float64] = (found @ corpus.queries.astype(np.float64)[:, :, None])[..., 0]
    return scores


def masks(n: int) -> dict[str, Mask]:
    rng = np.random.default_rng(n)
    shares = {f"{share:.0%}": rng.random(n) < share for share in (0.02, 0.3, 0.8)}
    one = np.zeros(n, bool)
    one[n // 2 : n // 2 + 1] = True
    return {"none": np.zeros(n, bool), "one": one, "but one": ~one, **shares, "all": one | True}


def check(index: VectorIndex, corpus: Corpus, k: int, allowed: Mask | None = None) -> Neighbours:
    """Search, and hold the answer against the contract and the oracle."""
    mask = np.ones(len(corpus.vectors), bool) if allowed is None else allowed
    found = index.search(corpus.queries, k, allowed=only(allowed))
    check_form(found, corpus, k, mask)
    truth = NumpyExact.build(corpus.vectors).search(corpus.queries, k, allowed=only(allowed))
    if index.exact:
        np.testing.assert_array_equal(found.rows, truth.rows)
        np.testing.assert_array_equal(found.similarities, truth.similarities)
    elif truth.rows.size:
        assert (found.similarities >= truth.similarities[:, -1:]).mean() >= least_recall(corpus)
    return found


def least_recall(corpus: Corpus) -> float:
    """What a kind tuned for 0.95 must find of a corpus: few queries measure that roughly.

    Of 60 neighbours, the fewest that are looked for, the deviation is 0.03. Rows that differ by
    float32 roundings are told apart by no code.
    """
    spread = np.ptp(corpus.vectors @ corpus.vectors[0])
    return 0.8 if 0 < spread < 1e-4 else 0.95


def check_form(found: Neighbours, corpus: Corpus, k: int, allowed: Mask) -> None:
    """Shape, types, allowed rows only and once each, order, and each score its pair's own."""
    rows, scores = found
    shape = (len(corpus.queries), min(k, int(allowed.sum())))
    assert (rows.shape, scores.shape) == (shape, shape)
    assert [rows.dtype.name, scores.dtype.name] == ["int64", "float32"]
    if not rows.size:
        return
    assert rows.min() >= 0
    assert allowed[rows].all()
    assert all(len(set(line)) == len(line) for line in rows.tolist())
    lengths = np.linalg.norm(corpus.queries.astype(np.float64), axis=1, keepdims=True)
    assert (np.abs(scores - pair_scores(corpus, rows)) <= 1e-6 * lengths).all()
    falls = scores[:, 1:] < scores[:, :-1]
    ties = (scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] > rows[:, :-1])
    assert (falls | ties).all()


@pytest.mark.parametrize("k", [1, 10, 64, 5000])
def test_the_oracle_agrees_with_brute_force(corpus: Corpus, k: int) -> None:
    oracle = NumpyExact.build(corpus.vectors)
    for allowed in masks(len(corpus.vectors)).values():
        found = oracle.search(corpus.queries, k, allowed=only(allowed))
        truth = brute_force(corpus, k, allowed)
        np.testing.assert_array_equal(found.rows, truth.rows)
        np.testing.assert_allclose(found.similarities, truth.similarities, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("k", [1, 10, 64, 5000])
def test_agrees_with_the_oracle(kind: str, corpus: Corpus, k: int) -> None:
    check(backend(kind).build(corpus.vectors), corpus, k)


def test_agrees_with_the_oracle_under_every_mask(kind: str, corpus: Corpus) -> None:
    index = backend(kind).build(corpus.vectors)
    for allowed in masks(len(corpus.vectors)).values():
        for k in (1, 10, 5000):
            check(index, corpus, k, allowed)


@pytest.mark.parametrize("share", [None, 0.02, 0.3, 0.8])
def test_an_answer_does_not_depend_on_the_batch(kind: str, share: float | None) -> None:
    vectors, _ = clustered()
    allowed = None if share is None else np.random.default_rng(0).random(len(vectors)) < share
    index = backend(kind).build(vectors)
    queries = gaussian(200, 384, seed=21)
    together = index.search(queries, 10, allowed=only(allowed))
    for size in (1, 19, 20):
        parts = [
            index.search(queries[at : at + size], 10, allowed=only(allowed))
            for at in range(0, 5 * size, size)
        ]
        rows = np.concatenate([part.rows for part in parts])
        scores = np.concatenate([part.similarities for part in parts])
        np.testing.assert_array_equal(rows, together.rows[: 5 * size])
        np.testing.assert_array_equal(scores, together.similarities[: 5 * size])


def test_a_score_does_not_depend_on_the_plan(kind: str) -> None:
    """Batch, mask, place in the matrix and number of rows beside it: the bits are the same."""
    vectors, queries = clustered()
    index = backend(kind).build(vectors)
    index_reversed = backend(kind).build(vectors[::-1].copy())
    for query, target in zip(queries, range(8), strict=True):
        one = np.arange(len(vectors)) == target
        scores = {
            index.search(query[None], 1, allowed=Allowed(one)).similarities[0, 0].tobytes(),
            index_reversed.search(query[None], 1, allowed=Allowed(one[::-1]))
            .similarities[0, 0]
            .tobytes(),
            backend(kind).build(vectors[target][None]).search(query[None], 1)[1][0, 0].tobytes(),
        }
        for allowed in (None, one | (np.arange(len(vectors)) % 2 == 0)):
            rows, similarities = index.search(queries, len(vectors), allowed=only(allowed))
            scores.add(similarities[target][rows[target] == target][0].tobytes())
        assert len(scores) == 1


def test_equal_scores_across_the_last_place_give_the_lowest_rows(kind: str) -> None:
    index = backend(kind)
    if not index.exact:
        pytest.skip("only exact kinds promise which of equal rows they find")
    few = gaussian(2, 33, seed=22)
    vectors = few[np.arange(900) % 2]
    found = index.build(vectors).search(few[1:], 7)
    np.testing.assert_array_equal(found.rows[0], [1, 3, 5, 7, 9, 11, 13])
    assert len(set(found.similarities[0].tolist())) == 1


def test_no_queries_give_no_answers(kind: str, corpus: Corpus) -> None:
    check(backend(kind).build(corpus.vectors), Corpus(corpus.vectors, corpus.queries[:0]), 3)


def test_other_layouts_and_types_of_queries_are_converted(kind: str) -> None:
    vectors, queries = clustered()
    index = backend(kind).build(vectors)
    truth = index.search(queries, 5)
    for same in (queries.astype(np.float64), np.asfortranarray(queries), queries.repeat(2, 0)[::2]):
        found = index.search(same, 5)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.rows, truth.rows)
        np.testing.assert_array_equal(found.similarities, truth.similarities)


@pytest.mark.parametrize(
    "queries",
    [
        np.ones(3, np.float32),
        np.ones((1, 2), np.float32),
        np.ones((1, 1, 3), np.float32),
        np.array([["a", "b", "c"]]),
        np.ones((1, 3), np.complex64),
        np.array([[1, np.nan, 0]], np.float32),
        np.array([[np.inf, 0, 0]], np.float32),
        np.array([[1e38, 0, 0]], np.float32),
        np.array([[1e-40, 0, 0]], np.float32),
        np.array([[1e200, 0, 0]]),
    ],
)
def test_wrong_queries_are_refused(kind: str, queries: Matrix) -> None:
    with pytest.raises(InvalidArgument, match="queries: "):
        backend(kind).build(gaussian(30, 3)).search(queries, 1)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
@pytest.mark.parametrize("n", [0, 30])
def test_wrong_k_is_refused(kind: str, n: int, k: int) -> None:
    with pytest.raises(InvalidArgument, match="k: "):
        backend(kind).build(gaussian(n, 3)).search(gaussian(1, 3), k)


@pytest.mark.parametrize("allowed", [np.ones(29, bool), np.ones((30, 1), bool), np.ones(30, int)])
def test_wrong_mask_is_refused(kind: str, allowed: Mask) -> None:
    with pytest.raises(InvalidArgument, match="allowed: "):
        backend(kind).build(gaussian(30, 3)).search(gaussian(1, 3), 1, allowed=only(allowed))


@pytest.mark.parametrize(
    "vectors",
    [np.ones(3, np.float32), np.ones((2, 3)), np.ones((3, 2), np.float32).T, gaussian(4, 3)[:, :0]],
)
def test_wrong_vectors_are_refused(kind: str, vectors: Matrix, tmp_path: Path) -> None:
    for make in (backend(kind).build, lambda rows: backend(kind).load(tmp_path / "x", rows)):
        with pytest.raises(InvalidArgument, match="vectors: "):
            make(vectors)


def test_a_reloaded_index_answers_the_same(kind: str, corpus: Corpus, tmp_path: Path) -> None:
    index = backend(kind).build(corpus.vectors)
    index.save(tmp_path / "index")
    assert (tmp_path / "index").exists() == index.derived
    again = backend(kind).load(tmp_path / "index", corpus.vectors)
    for mask in (None, *masks(len(corpus.vectors)).values()):
        before, after = check(index, corpus, 10, mask), check(again, corpus, 10, mask)
        np.testing.assert_array_equal(before.rows, after.rows)
        np.testing.assert_array_equal(before.similarities, after.similarities)


def test_mapped_read_only_vectors_are_searched(kind: str, tmp_path: Path) -> None:
    vectors, queries = clustered()
    np.save(tmp_path / "rows.npy", vectors)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    check(backend(kind).build(mapped), Corpus(mapped, queries), 10)


def test_concurrent_searches_agree(kind: str) -> None:
    vectors, queries = clustered()
    index = backend(kind).build(vectors)
    allowed = np.arange(len(vectors)) % 3 > 0

    def search(turn: int) -> bytes:
        found = index.search(queries, 10, allowed=only(allowed) if turn % 2 else None)
        return found.rows.tobytes() + found.similarities.tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(search, range(40)))) == 2


@pytest.mark.parametrize("damaged", DERIVED)
@pytest.mark.parametrize("n", [0, 1, 50])
def test_every_truncation_is_corrupt(damaged: str, n: int, tmp_path: Path) -> None:
    vectors, path = gaussian(n, 6), tmp_path / "index"
    backend(damaged).build(vectors).save(path)
    whole = path.read_bytes()
    for size in {0, 1, 3, 4, 8, 40, *range(0, len(whole), 41), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(IndexCorrupt, match="rebuild"):
            backend(damaged).load(path, vectors)
    path.write_bytes(whole + b"\0")
    with pytest.raises(IndexCorrupt, match="rebuild"):
        backend(damaged).load(path, vectors)


@pytest.mark.parametrize("damaged", DERIVED)
def test_foreign_files_are_corrupt(damaged: str, tmp_path: Path) -> None:
    vectors, path = gaussian(50, 6), tmp_path / "index"
    with pytest.raises(IndexCorrupt, match="rebuild"):
        backend(damaged).load(path, vectors)
    for other in (gaussian(49, 6), gaussian(51, 6), gaussian(50, 7), gaussian(100, 3)):
        backend(damaged).build(other).save(path)
        with pytest.raises(IndexCorrupt, match="rebuild"):
            backend(damaged).load(path, vectors)
    backend(damaged).build(vectors).save(path)
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))
    with pytest.raises(IndexCorrupt, match="rebuild"):
        backend(damaged).load(path, vectors)


@pytest.mark.parametrize("damaged", DERIVED)
def test_no_flipped_byte_crashes(damaged: str, tmp_path: Path) -> None:
    """Damaged codes only the store's checksum can see; they may cost recall, never the form."""
    corpus, path = Corpus(gaussian(40, 2), gaussian(3, 2, seed=1)), tmp_path / "index"
    backend(damaged).build(corpus.vectors).save(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        flipped = bytes([whole[at] ^ (0xFF if at % 2 else 0x80)])
        path.write_bytes(whole[:at] + flipped + whole[at + 1 :])
        try:
            index = backend(damaged).load(path, corpus.vectors)
        except IndexCorrupt:
            continue
        check_form(index.search(corpus.queries, 5), corpus, 5, np.ones(40, bool))


SMALL = st.integers(0, 40).flatmap(
    lambda n: st.integers(1, 5).flatmap(
        lambda dim: st.tuples(
            hnp.arrays(np.float64, (n, dim), elements=st.integers(-2, 2)),
            hnp.arrays(np.float32, (3, dim), elements=st.integers(-3, 3)),
            hnp.arrays(np.bool_, n),
        )
    )
)


@settings(max_examples=40, deadline=None)
@given(SMALL, st.integers(1, 50))
@pytest.mark.parametrize("any_kind", KINDS)
def test_small_matrices_full_of_ties(
    any_kind: str, case: tuple[NDArray[np.float64], Matrix, Mask], k: int
) -> None:
    rows, queries, allowed = case
    corpus = Corpus(unit(rows), queries)
    check(backend(any_kind).build(corpus.vectors), corpus, k, allowed)
