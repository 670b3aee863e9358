"""TAEF2: the tiny autoencoder of FLUX.2's latent space, which diffusers does not have.

The architecture is that of taesd.py by Ollin Boer Bohan (https://github.com/madebyollin/taesd,
MIT licence), `arch_variant="flux_2"`, written anew here: that of AutoencoderTiny, but the blocks
at the lowest resolution first add a branch that is normalised over the whole picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LATENT_CHANNELS = 32
WIDTH = 64
_GROUPS = 4


class TAEF2(nn.Module):  # type: ignore[misc]  # torch is not type-checked here
    """Encoder and decoder; modules are numbered as in the published weights.

    Pictures are `(n, 3, height, width)` in [-1, 1], as in diffusers; latents
    `(n, 32, height / 8, width / 8)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(3, WIDTH),
            Block(),
            *(down(), *blocks()),
            *(down(), *blocks()),
            *(down(), *blocks(pooled=True)),
            conv(WIDTH, LATENT_CHANNELS),
        )
        self.decoder = nn.Sequential(
            Clamp(),
            conv(LATENT_CHANNELS, WIDTH),
            nn.ReLU(),
            *(*blocks(pooled=True), *up()),
            *(*blocks(), *up()),
            *(*blocks(), *up()),
            Block(),
            conv(WIDTH, 3),
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures to latents."""
        return self.encoder((pictures + 1) / 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures; a few values lie outside of [-1, 1]."""
        return self.decoder(latents) * 2 - 1


class Clamp(nn.Module):  # type: ignore[misc]
    """Bounds latents to (-3, 3), nearly linear in the middle."""

    def forward(self, latents: Tensor) -> Tensor:
        """Bounded."""
        return torch.tanh(latents / 3) * 3


class Block(nn.Module):  # type: ignore[misc]
    """Three convolutions and a way around them."""

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(conv(WIDTH, WIDTH), nn.ReLU()),
            *(conv(WIDTH, WIDTH), nn.ReLU()),
            conv(WIDTH, WIDTH),
        )
        self.pool = _pool() if pooled else None
        self.fuse = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        if self.pool is not None:
            x = x + self.pool(x)
        return self.fuse(self.conv(x) + x)


def _pool() -> nn.Module:
    wide = 4 * WIDTH
    return nn.Sequential(
        nn.Conv2d(WIDTH, wide, 1, bias=False),
        nn.GroupNorm(_GROUPS, wide),
        nn.ReLU(),
        nn.Conv2d(wide, WIDTH, 1, bias=False),
    )


def blocks(*, pooled: bool = False) -> list[nn.Module]:
    """As many as stand at one resolution."""
    return [Block(pooled=pooled) for _ in range(3)]


def conv(channels_in: int, channels_out: int) -> nn.Module:
    """3x3, the sides stay."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def down() -> nn.Module:
    """To half the sides."""
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)


def up() -> list[nn.Module]:
    """To twice the sides."""
    return [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]
