"""Pictures to latents and back: the VAE of this package, of diffusers, or of the taesd family.

A VAE squeezes a picture into a latent: a small picture of a few channels, each place of which
stands for a square of pixels. What the model is (its space, its shape) is read from its files;
torch and diffusers, which take seconds to import, are loaded at the first encode or decode.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch import pictures
from semsearch.encoders.vae_files import EMBEDDED, find
from semsearch.errors import BackendError, InvalidArgument
from semsearch.pictures import Pixels, Size
from semsearch.types import LatentSpace

if TYPE_CHECKING:
    from semsearch.encoders.autoencoder import Autoencoder
    from semsearch.pictures import PictureLike

DEFAULT_SIZE = 512
"""Width and height in pixels to which pictures are brought before they are encoded."""

_PIXELS_AT_ONCE = 2**20  # of one batch: four pictures of 512x512
_SMALLEST = 16


class VAE:
    """Encodes pictures to latents, and decodes latents to pictures.

    Safe to use from several threads; one computes at a time.

    Args:
        name: "semsearch-vae", the small one that is part of this package; a folder of diffusers
            with an AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny or AutoencoderDC (also as
            its `vae/`); the files of the taesd family as `DIR/NAME_encoder.safetensors` or
            `DIR/NAME`; or a model of the Hugging Face hub: its local cache is looked up first,
            then it is downloaded.
        size: Width and height of the pictures in pixels, or one number for both. Part of the
            space: latents of two sizes are of two spaces.
        device: "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one. Checked when the
            weights are loaded.

    Raises:
        InvalidArgument: There is no such VAE here, or the size does not fit it.
        BackendError: Its weights cannot be read.
    """

    def __init__(
        self,
        name: str = EMBEDDED,
        *,
        size: int | tuple[int, int] = DEFAULT_SIZE,
        device: str | None = None,
    ) -> None:
        self._files = find(name)
        self._size = _size(size, self._files.multiple)
        self._device = device
        self._model: Autoencoder | None = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        loaded = "loaded" if self._model else "not loaded"
        return f"VAE({self.name!r}, size={self.size}, device={self._device!r}, {loaded})"

    @property
    def name(self) -> str:
        """What `VAE` takes to get this one again."""
        return self._files.name

    @property
    def size(self) -> Size:
        """Width and height of the pictures, in pixels."""
        return self._size

    @property
    def factor(self) -> int:
        """Pixels a side that one place of a latent stands for."""
        return self._files.latent.factor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one latent: channels, height, width."""
        width, height = self.size
        return self._files.latent.channels, height // self.factor, width // self.factor

    @cached_property
    def space(self) -> LatentSpace:
        """Passport of the space; hashes the weights, but does not load them."""
        recipe = f"{pictures.PREPROCESSING}, {self.size}, scaled latents"
        fingerprint = self._files.fingerprint(recipe)
        return LatentSpace(self._files.short_name, "image", self.shape, fingerprint)

    def encode(self, images: Sequence[PictureLike]) -> NDArray[np.float32]:
        """Encode pictures, `(n, channels, height, width)` float32, in the order given.

        A picture is a file of any size and mode, an image of Pillow, or uint8 `(height, width, 3)`
        in RGB. It is turned upright as its EXIF says, laid over white where it is transparent, and
        the largest part of the right shape is cut out of its middle and resized to `size`.

        The latents are scaled as the diffusion model of the VAE's family sees them (raw latents
        less the model's shift, times its scaling factor): about zero mean and unit variance. They
        are the mode of the posterior, so a picture has one latent, always.

        Raises:
            InvalidArgument: Not a list of pictures, one cannot be read, or no such device.
            DependencyMissing: diffusers or Pillow is not installed.
            BackendError: The model cannot be loaded or failed.
        """
        given = _listed(images)
        batches = [self._encoded(given[part]) for part in self._parts(len(given))]
        return np.concatenate([np.empty((0, *self.shape), np.float32), *batches])

    def decode(self, latents: ArrayLike) -> NDArray[np.uint8]:
        """Decode latents to pictures, `(n, height, width, 3)` uint8 in RGB, of this VAE's size.

        Args:
            latents: `(n, channels, height, width)`, scaled as `encode` returns them.

        Raises:
            InvalidArgument: Not latents of this shape, or not finite; or no such device.
            DependencyMissing: diffusers is not installed.
            BackendError: The model cannot be loaded or failed.
        """
        given = self._checked(latents)
        batches = [self._decoded(given[part]) for part in self._parts(len(given))]
        nothing = np.empty((0, self.size.height, self.size.width, 3), np.uint8)
        return np.concatenate([nothing, *batches])

    def prepared(self, image: PictureLike) -> Pixels:
        """The picture as the model sees it: `(height, width, 3)` uint8, of this VAE's size.

        Raises:
            InvalidArgument: It cannot be read.
            DependencyMissing: Pillow is not installed.
        """
        return pictures.fitted(pictures.read(image), self.size)

    def _parts(self, n: int) -> Iterator[slice]:
        step = max(1, _PIXELS_AT_ONCE // (self.size.width * self.size.height))
        return (slice(start, start + step) for start in range(0, n, step))

    def _encoded(self, images: Sequence[Any]) -> NDArray[np.float32]:
        import torch

        pixels = np.stack([self.prepared(image) for image in images])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        latents = np.asarray(self._computed("encode", batch), np.float32)
        if latents.shape[1:] != self.shape:
            raise BackendError(f"{self.name}: expected latents {self.shape}, got {latents.shape}")
        return latents

    def _decoded(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        import torch

        output = self._computed("decode", torch.from_numpy(latents))
        pixels = ((output + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
        return np.ascontiguousarray(pixels.numpy().astype(np.uint8))

    def _computed(self, step: str, batch: Any) -> Any:
        from semsearch.encoders.autoencoder import Autoencoder

        with self._lock:
            if self._model is None:
                self._model = Autoencoder(self._files, self._device)
            try:
                output = getattr(self._model, step)(batch)
            except Exception as error:  # torch raises RuntimeError and subclasses of its own
                raise BackendError(f"{self.name}: {step} failed: {error}") from error
        if not output.isfinite().all():
            raise BackendError(f"{self.name}: {step} gave NaN or infinity; are its files damaged?")
        return output

    def _checked(self, latents: ArrayLike) -> NDArray[np.float32]:
        array = np.asarray(latents)
        if array.ndim != 4 or array.shape[1:] != self.shape or array.dtype.kind != "f":
            raise InvalidArgument(
                f"latents: {self._files.short_name} at {self.size} decodes floats (n, "
                f"{', '.join(map(str, self.shape))}), got {array.dtype} {array.shape}"
            )
        if not np.isfinite(array).all():
            raise InvalidArgument("latents: a value is NaN or infinite")
        return np.ascontiguousarray(array, np.float32)


def _size(size: int | tuple[int, int], multiple: int) -> Size:
    width, height = (size, size) if isinstance(size, int) else size
    if any(edge < _SMALLEST or edge % multiple for edge in (width, height)):
        raise InvalidArgument(
            f"size {width}x{height}: expected multiples of {multiple}, {_SMALLEST} or more"
        )
    return Size(width, height)


def _listed(images: Any) -> Sequence[Any]:
    if isinstance(images, str | Path) or not hasattr(images, "__getitem__"):
        kind = type(images).__name__
        raise InvalidArgument(f"images: expected a list of pictures, got one {kind}")
    listed: Sequence[Any] = images
    return listed
