"""TAEF2: the tiny autoencoder of FLUX.2's latent space, which diffusers does not have.

The architecture is that of taesd.py by Ollin Boer Bohan (https://github.com/madebyollin/taesd,
MIT licence), `arch_variant="flux_2"`, written anew here: that of AutoencoderTiny, but the blocks
at the lowest resolution first add a branch that is normalised over the whole picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LATENT_CHANNELS = 32
_WIDTH = 64
_GROUPS = 4


class TAEF2(nn.Module):  # type: ignore[misc]  # torch is not type-checked here
    """Encoder and decoder; modules are numbered as in the published weights.

    Pictures are `(n, 3, height, width)` in [-1, 1], as in diffusers; latents
    `(n, 32, height / 8, width / 8)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            _conv(3, _WIDTH),
            _Block(),
            *(_down(), *_blocks()),
            *(_down(), *_blocks()),
            *(_down(), *_blocks(pooled=True)),
            _conv(_WIDTH, LATENT_CHANNELS),
        )
        self.decoder = nn.Sequential(
            _Clamp(),
            _conv(LATENT_CHANNELS, _WIDTH),
            nn.ReLU(),
            *(*_blocks(pooled=True), *_up()),
            *(*_blocks(), *_up()),
            *(*_blocks(), *_up()),
            _Block(),
            _conv(_WIDTH, 3),
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures to latents."""
        return self.encoder((pictures + 1) / 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures; a few values lie outside of [-1, 1]."""
        return self.decoder(latents) * 2 - 1


class _Clamp(nn.Module):  # type: ignore[misc]
    """Bounds latents to (-3, 3), nearly linear in the middle."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


class _Block(nn.Module):  # type: ignore[misc]
    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(_conv(_WIDTH, _WIDTH), nn.ReLU()),
            *(_conv(_WIDTH, _WIDTH), nn.ReLU()),
            _conv(_WIDTH, _WIDTH),
        )
        self.pool = _pool() if pooled else None
        self.fuse = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return self.fuse(self.conv(x) + x)


def _pool() -> nn.Module:
    wide = 4 * _WIDTH
    return nn.Sequential(
        nn.Conv2d(_WIDTH, wide, 1, bias=False),
        nn.GroupNorm(_GROUPS, wide),
        nn.ReLU(),
        nn.Conv2d(wide, _WIDTH, 1, bias=False),
    )


def _blocks(*, pooled: bool = False) -> list[nn.Module]:
    return [_Block(pooled=pooled) for _ in range(3)]


def _conv(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def _down() -> nn.Module:
    return nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1, bias=False)


def _up() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)]
