"""The embedded VAE: a small student of FLUX.2's latent space.

TAEF2 with its costly ends replaced. Most of TAEF2's work is done at the full and the half
resolution; here a picture is folded to a quarter of its sides at once, and unfolded at the end.
What lies between, at a quarter and an eighth, is built like TAEF2's, and training begins with
TAEF2's weights there (`training/`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semsearch.encoders.taef2 import LATENT_CHANNELS, WIDTH, Block, Clamp, blocks, conv, down, up

_FOLD = 4  # pixels a side of the first fold
_FOLDED = 3 * _FOLD**2
_HALF_WIDTH = 32  # channels at half the sides, in the decoder


class CompactVAE(nn.Module):  # type: ignore[misc]  # torch is not type-checked here
    """Encoder and decoder, called like `TAEF2`.

    Pictures are `(n, 3, height, width)` in [-1, 1], latents `(n, 32, height / 8, width / 8)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(_FOLD),
            conv(_FOLDED, WIDTH),
            *(Block(), Block()),
            nn.Conv2d(WIDTH, WIDTH, 1),
        )
        self.encoder = nn.Sequential(
            *blocks(),
            *(down(), *blocks(pooled=True)),
            conv(WIDTH, LATENT_CHANNELS),
        )
        self.decoder = nn.Sequential(
            Clamp(),
            conv(LATENT_CHANNELS, WIDTH),
            nn.ReLU(),
            *(*blocks(pooled=True), *up()),
            *blocks(),
        )
        self.head = nn.Sequential(
            *(conv(WIDTH, 4 * _HALF_WIDTH), nn.PixelShuffle(2), nn.ReLU()),
            _SmallBlock(),
            *(conv(_HALF_WIDTH, 4 * 3), nn.PixelShuffle(2)),
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures to latents."""
        return self.encoder(self.stem((pictures + 1) / 2))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures; a few values lie outside of [-1, 1]."""
        return self.head(self.decoder(latents)) * 2 - 1


class _SmallBlock(nn.Module):  # type: ignore[misc]
    """Two convolutions at half the sides, where every channel costs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            conv(_HALF_WIDTH, _HALF_WIDTH), nn.ReLU(), conv(_HALF_WIDTH, _HALF_WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)
