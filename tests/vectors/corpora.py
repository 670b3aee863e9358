"""Matrices and queries that have broken vector indexes before."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


class Corpus(NamedTuple):
    vectors: Matrix
    queries: Matrix


def unit(rows: NDArray[np.float64]) -> Matrix:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def gaussian(n: int, dim: int, seed: int = 0) -> Matrix:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)))


def random_rows() -> Corpus:
    return Corpus(gaussian(900, 24), gaussian(20, 24, seed=1))


def clustered() -> Corpus:
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((12, 384))
    rows = centres[rng.integers(12, size=500)] + 0.3 * rng.standard_normal((500, 384))
    return Corpus(unit(rows), unit(rows[:8] + 0.1 * rng.standard_normal((8, 384))))


def duplicates() -> Corpus:
    """Every vector about 30 times, scattered."""
    few = gaussian(20, 48, seed=3)
    rows = few[np.random.default_rng(4).integers(20, size=700)]
    return Corpus(rows, np.concatenate([few[:5], gaussian(5, 48, seed=5)]))


def all_alike() -> Corpus:
    return Corpus(np.repeat(gaussian(1, 7, seed=6), 300, axis=0), gaussian(3, 7, seed=7))


def zeros_among() -> Corpus:
    rows = gaussian(400, 16, seed=8)
    rows[::3] = 0
    return Corpus(rows, np.concatenate([np.zeros((1, 16), np.float32), gaussian(6, 16, seed=9)]))


def unnormalised() -> Corpus:
    lengths = np.array([[1e-29], [1e-3], [1], [37], [1e6], [1e29]], np.float32)
    return Corpus(gaussian(500, 32, seed=10), gaussian(6, 32, seed=11) * lengths)


def near_ties() -> Corpus:
    """Rows a few float32 roundings apart: BLAS orders them wrongly, codes hardly at all."""
    rng = np.random.default_rng(12)
    base = gaussian(1, 96, seed=13).astype(np.float64)
    rows = unit(base + 1e-7 * rng.standard_normal((600, 96)))
    return Corpus(rows, np.concatenate([rows[:3], gaussian(3, 96, seed=14)]))


def one_dimension() -> Corpus:
    signs = np.random.default_rng(15).integers(-1, 2, size=(300, 1))
    return Corpus(signs.astype(np.float32), np.array([[1], [-0.5], [0], [3]], np.float32))


def three_dimensions() -> Corpus:
    return Corpus(gaussian(900, 3, seed=16), gaussian(9, 3, seed=17))


def one_row() -> Corpus:
    return Corpus(gaussian(1, 5, seed=18), gaussian(4, 5, seed=19))


def no_rows() -> Corpus:
    return Corpus(np.empty((0, 5), np.float32), gaussian(4, 5, seed=20))


CORPORA: dict[str, Callable[[], Corpus]] = {
    make.__name__: make
    for make in (
        random_rows,
        clustered,
        duplicates,
        all_alike,
        zeros_among,
        unnormalised,
        near_ties,
        one_dimension,
        three_dimensions,
        one_row,
        no_rows,
    )
}
