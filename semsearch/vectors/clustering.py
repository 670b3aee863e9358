"""Spherical k-means: the centroids that part a matrix of unit vectors into lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from semsearch.vectors import scoring
from semsearch.vectors.base import Report, Vectors
from semsearch.vectors.faiss import gpu_neighbours

_SAMPLE = 40
"""Vectors looked at for each centroid."""

_ROUNDS = 8
_BLOCK_SCORES = 2**22


def centroids(vectors: Vectors, n_lists: int, rng: np.random.Generator, report: Report) -> Vectors:
    """Find `n_lists` directions that the rows of `vectors` gather around.

    Lloyd's rounds on a sample, by inner product, each mean scaled to unit length (Dhillon and
    Modha, Concept decompositions for large sparse text data, 2001).

    Returns:
        `(n_lists, dim)` float32, of unit length where the vectors are.
    """
    if not len(vectors):
        return np.zeros((n_lists, vectors.shape[1]), np.float32)
    size = min(len(vectors), _SAMPLE * n_lists)
    sample = vectors[np.sort(rng.choice(len(vectors), size, replace=False))]
    found = sample[rng.choice(size, n_lists, replace=False)]
    for done in range(_ROUNDS):
        report("training", done, _ROUNDS)
        owners, scores = nearest(sample, found)
        means = _means(sample, owners, found)
        # A list that nothing fell into takes over what lies farthest from its own centroid.
        empty = np.setdiff1d(np.arange(n_lists), owners)
        means[empty] = sample[np.argsort(scores, kind="stable")[: len(empty)]]
        found = means
    report("training", _ROUNDS, _ROUNDS)
    return found


def nearest(vectors: Vectors, centres: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The centre with the highest inner product with each row, and that product.

    By the GPU where FAISS has one.
    """
    found = gpu_neighbours(vectors, centres, 1)
    if found is not None:
        return found.rows[:, 0], found.similarities[:, 0]
    owners = np.empty(len(vectors), np.int64)
    scores = np.empty(len(vectors), np.float32)
    for part in scoring.blocks(len(vectors), max(1, _BLOCK_SCORES // len(centres))):
        products = vectors[part] @ centres.T
        owners[part] = products.argmax(axis=1)
        scores[part] = products.max(axis=1)
    return owners, scores


def _means(sample: Vectors, owners: NDArray[np.int64], old: Vectors) -> Vectors:
    """Direction of the mean of each list's vectors; the old one where there is none."""
    order = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[order], np.arange(len(old) + 1))
    means = old.copy()
    for place, (first, last) in enumerate(pairwise(bounds.tolist())):
        mean = sample[order[first:last]].sum(axis=0)
        length = np.linalg.norm(mean)
        if length > 0:
            means[place] = mean / length
    return means
