"""How near a reconstructed picture is to its original: PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import DependencyMissing

_PEAK = 255


def psnr(original: NDArray[np.uint8], copy: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and channels; inf for equal pictures."""
    error = np.mean((original.astype(np.float64) - copy.astype(np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(_PEAK**2 / error))


def ssim(original: NDArray[np.uint8], copy: NDArray[np.uint8]) -> float:
    """Structural similarity, at most 1, which equal pictures have; the mean over the channels.

    The Gaussian window of Wang et al., "Image quality assessment", IEEE TIP 2004, section III.C.

    Args:
        original: `(height, width, 3)`, at least 11 pixels a side.
        copy: Likewise.

    Raises:
        DependencyMissing: scikit-image is not installed.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise DependencyMissing(
            "SSIM needs scikit-image, which is not installed: pip install 'semsearch[images]'"
        ) from error
    value = structural_similarity(
        original,
        copy,
        channel_axis=-1,
        data_range=_PEAK,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)
