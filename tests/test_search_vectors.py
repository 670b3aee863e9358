"""From latents to search vectors: folded, pooled, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from semsearch.errors import InvalidArgument
from semsearch.search_vectors import from_latents

RNG = np.random.default_rng(3)
LATENTS = RNG.standard_normal((3, 2, 8, 8)).astype(np.float32)


def test_known_vector() -> None:
    # One channel whose every 2x2 cell holds its row and column: 10 * row + column.
    cells = np.add.outer(10 * np.arange(4), np.arange(4)).astype(np.float32)
    latent = np.kron(cells, np.ones((2, 2), np.float32))[None, None]
    folded = cells[:, :2] / 2 + cells[:, :1:-1] / 2  # columns 0 with 3, 1 with 2
    weights = np.array([[0.5625, 0.75], [0.75, 1], [0.75, 1], [0.5625, 0.75]])
    vector = from_latents(latent)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, (folded * weights).reshape(1, 8), rtol=1e-6)


@pytest.mark.parametrize("width", [8, 7, 13])
def test_a_mirrored_latent_has_the_same_vector(width: int) -> None:
    latents = RNG.standard_normal((2, 3, 9, width))
    np.testing.assert_allclose(from_latents(latents[..., ::-1]), from_latents(latents), atol=1e-7)


def test_what_is_upside_down_has_another_vector() -> None:
    assert not np.allclose(from_latents(LATENTS[:, :, ::-1]), from_latents(LATENTS), atol=0.1)


def test_the_dimension_is_eight_for_each_channel_whatever_the_size() -> None:
    for height, width in [(4, 4), (64, 64), (5, 3), (24, 33)]:
        assert from_latents(np.ones((1, 5, height, width))).shape == (1, 40)


def test_the_mean_of_a_collection_can_be_taken_away() -> None:
    vectors = from_latents(LATENTS)
    centred = from_latents(LATENTS, vectors.mean(axis=0))
    np.testing.assert_allclose(centred, vectors - vectors.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(centred.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("latents", "centre", "message"),
    [
        (np.ones((2, 8, 8)), None, r"got float64 \(2, 8, 8\)"),
        (np.ones((1, 2, 3, 8)), None, "too small"),
        (np.array([[[["a"]]]]), None, "real numbers"),
        (LATENTS, np.ones(15), r"expected shape \(16,\)"),
    ],
)
def test_what_does_not_fit_is_refused(latents: object, centre: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        from_latents(latents, centre)  # type: ignore[arg-type]
