"""Vectors to points of the plane (openTSNE: here and nowhere else; decision 0019)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import DependencyMissing

METHOD = "opentsne-1"
"""Changes with whatever changes where points are."""

_COMPONENTS = 50  # principal ones that neighbours are looked for in
_PERPLEXITY = 30.0  # neighbours that a point is drawn to, about
_FEW = 12  # passages that have no neighbourhoods to be kept
_EARLY, _LATE, _TOLD_EVERY = 250, 500, 25  # iterations


def project(
    vectors: NDArray[np.float32], progress: Callable[[float], None] = lambda _: None
) -> NDArray[np.float32]:
    """Points whose neighbours are, as far as the plane allows, those of the vectors.

    t-SNE by interpolation (Linderman et al., "Fast interpolation-based t-SNE", Nature Methods
    2019), begun at the two principal components. The same vectors give the same points.

    Args:
        vectors: `(n, dim)` of unit length.
        progress: Told the share that is done, from 0 to 1.

    Returns:
        `(n, 2)`, from 0 on; the longer side is 1.

    Raises:
        DependencyMissing: openTSNE is not installed.
    """
    components = _principal(vectors)
    flat = components[:, :2] if len(vectors) < _FEW else _neighbourly(components, progress)
    progress(1.0)
    flat = flat - flat.min(axis=0, initial=np.inf if len(flat) else 0.0)
    side = flat.max(initial=0.0) or 1.0
    points: NDArray[np.float32] = (flat / side).astype(np.float32)
    return points


def _principal(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first principal components, the largest first; at least two."""
    centred = vectors - vectors.mean(axis=0) if len(vectors) else vectors
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    found: NDArray[np.float64] = centred @ directions[:, ::-1][:, :_COMPONENTS]
    return np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))


def _neighbourly(
    components: NDArray[np.float64], progress: Callable[[float], None]
) -> NDArray[np.float64]:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise DependencyMissing("a map needs openTSNE: pip install 'semsearch[map]'") from error
    steps = 0

    def told(*_: Any) -> None:
        nonlocal steps
        steps += _TOLD_EVERY
        progress(min(1.0, steps / (_EARLY + _LATE)))

    progress(0.0)
    made = TSNE(
        perplexity=min(_PERPLEXITY, (len(components) - 1) / 3),
        initialization=_beginning(components),
        early_exaggeration_iter=_EARLY,
        n_iter=_LATE,
        n_jobs=max(1, (os.cpu_count() or 1) // 2),  # whoever searches meanwhile gets an answer
        random_state=0,
        callbacks=[told],
        callbacks_every_iters=_TOLD_EVERY,
    ).fit(components)
    return np.asarray(made, np.float64)


def _beginning(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two principal components, as small as t-SNE wants them; equal points a little apart."""
    first = components[:, :2]
    noise = np.random.default_rng(0).normal(scale=1e-6, size=first.shape)
    return first / (first[:, 0].std() or 1.0) * 1e-4 + noise
