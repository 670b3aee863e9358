"""From latents to search vectors: the slowest cosines, left and right as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from semsearch.errors import InvalidArgument
from semsearch.search_vectors import RECIPE, dim_of, from_latents

RNG = np.random.default_rng(3)


def test_the_vector_is_of_the_cosine_transform_of_what_fades_to_its_borders() -> None:
    assert RECIPE == "5 cosines down, 3 even ones across, borders at 0.7"  # what is computed here
    latents = RNG.standard_normal((3, 2, 8, 12)).astype(np.float32)
    down, across = (0.7 + 0.3 * np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (8, 12))
    faded = latents * np.outer(down, across)
    waves = dctn(faded, axes=(2, 3), norm="ortho")[:, :, :5, :5:2] / np.sqrt(8 * 12)
    vectors = from_latents(latents)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, waves.reshape(3, -1), atol=1e-6)


@pytest.mark.parametrize("width", [8, 7, 13])
def test_a_mirrored_latent_has_the_same_vector(width: int) -> None:
    latents = RNG.standard_normal((2, 3, 9, width))
    np.testing.assert_allclose(from_latents(latents[..., ::-1]), from_latents(latents), atol=1e-7)


def test_what_is_upside_down_has_another_vector() -> None:
    latents = RNG.standard_normal((3, 2, 8, 8))
    assert not np.allclose(from_latents(latents[:, :, ::-1]), from_latents(latents), atol=0.1)


def test_the_dimension_is_fifteen_for_each_channel_whatever_the_size() -> None:
    for height, width in [(2, 2), (4, 4), (64, 64), (5, 3), (24, 33)]:
        assert from_latents(np.ones((1, 5, height, width))).shape == (1, dim_of(5)) == (1, 75)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.ones((2, 8, 8)), r"got float64 \(2, 8, 8\)"),
        (np.array([[[["a"]]]]), "real numbers"),
    ],
)
def test_what_does_not_fit_is_refused(latents: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        from_latents(latents)  # type: ignore[arg-type]
