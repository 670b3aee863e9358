"""Encoder of pictures: a VAE's latent, and the vector that it is searched by.

Every picture is brought to one small size: to find pictures again, more pixels were not better
(decision 0017), and they cost in proportion.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch import search_vectors
from semsearch.encoders.base import PICTURES
from semsearch.encoders.vae import VAE
from semsearch.encoders.vae_files import EMBEDDED
from semsearch.pictures import Pixels
from semsearch.points import Points
from semsearch.types import LatentSpace

SIZE = 64
"""Width and height of the pictures of an index in pixels, unless the name says another."""

_NAME = re.compile(r"(?P<vae>.+?)(?:@(?P<size>\d+))?")
_SHORTEST = 1e-12


class VAEEncoder:
    """Encodes pictures with a VAE for an index, and decodes what the index keeps.

    Safe to use from several threads; one computes at a time.

    Args:
        name: "vae" for the VAE of this package, or "vae:" and what `VAE` takes; with `@SIZE` behind
            it, pictures are brought to so many pixels a side in place of `SIZE`: "vae@128",
            "vae:DIR/taef2@256".
        device: As for `VAE`.

    Raises:
        InvalidArgument: There is no such VAE here, or the size does not fit it.
        BackendError: Its weights cannot be read.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        found = _NAME.fullmatch(_vae_of(name))
        assert found is not None
        self.vae = VAE(found["vae"], size=int(found["size"] or SIZE), device=device)

    def __repr__(self) -> str:
        return f"VAEEncoder({self.name!r}, {self.vae!r})"

    @property
    def name(self) -> str:
        """What `VAEEncoder` takes to get this encoder again."""
        size = self.vae.size.width
        return f"{PICTURES}:{self.vae.name}" + (f"@{size}" if size != SIZE else "")

    @cached_property
    def space(self) -> LatentSpace:
        """Passport of the vectors; hashes the weights, but does not load them."""
        latents = self.latent_space
        recipe = f"{latents.fingerprint}, {search_vectors.RECIPE}"
        return LatentSpace(
            latents.name,
            "image",
            (search_vectors.dim_of(self.vae.shape[0]),),
            hashlib.sha256(recipe.encode()).hexdigest(),
            latent=self.vae.shape,
        )

    @property
    def latent_space(self) -> LatentSpace:
        """Passport of the latents: the VAE's, at this size."""
        return self.vae.space

    def prepared(self, picture: Pixels) -> Pixels:
        """The picture as it is encoded: `(height, width, 3)` uint8 of this encoder's size."""
        return self.vae.prepared(picture)

    def encode_pictures(self, prepared: Sequence[Pixels]) -> Points:
        """Encode pictures that were prepared, in the order given.

        Raises:
            DependencyMissing: diffusers is not installed.
            InvalidArgument: No such device.
            BackendError: The model cannot be loaded or failed.
        """
        return self.points_of(self.vae.encode(prepared))

    def points_of(self, latents: NDArray[np.float32]) -> Points:
        """The points of latents, `(n, *latent_space.shape)`, as `VAE.encode` gives them."""
        pooled = search_vectors.from_latents(latents)
        lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
        flat = latents.reshape(len(latents), self.space.latent_size)
        return Points(pooled / np.maximum(lengths, _SHORTEST), flat.astype(np.float16))

    def decode(self, latents: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """Decode kept latents, `(n, size)`, to pictures: `(n, height, width, 3)` uint8 in RGB.

        Raises:
            DependencyMissing: diffusers is not installed.
            BackendError: The model cannot be loaded or failed.
        """
        return self.vae.decode(latents.reshape(-1, *self.vae.shape).astype(np.float32))


def _vae_of(name: str) -> str:
    """The VAE that an encoder's name means, and its size."""
    given = name.removeprefix(PICTURES).removeprefix(":")
    return EMBEDDED + given if not given or given.startswith("@") else given
