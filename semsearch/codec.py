"""Files of pictures through a VAE and back: encode, decode, morph, and measure what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch import latents as algebra
from semsearch import pictures, quality
from semsearch.encoders.vae import VAE
from semsearch.errors import InvalidArgument, LatentSpaceMismatch
from semsearch.latent_file import Latents, Picture
from semsearch.pictures import Pixels

if TYPE_CHECKING:
    from semsearch.pictures import PictureLike

_READ_AT_ONCE = 16  # pictures in memory


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What is left of a picture after it was encoded and decoded.

    Attributes:
        shape: Of the latent: channels, height, width.
        by_values: Numbers of the picture, as the VAE sees it, for each number of the latent.
        by_bytes: Bytes of the file for each byte of the latent as it is stored; None when the
            picture did not come from a file.
        psnr: Peak signal-to-noise ratio in dB, of the picture as the VAE sees it; inf when nothing
            is lost.
        ssim: Structural similarity, at most 1.
    """

    shape: tuple[int, ...]
    by_values: float
    by_bytes: float | None
    psnr: float
    ssim: float


def encode_images(vae: VAE, paths: Sequence[str | Path]) -> Latents:
    """Encode files of pictures, with the passport and the origin of each.

    Raises:
        InvalidArgument: A file cannot be read, or was given twice.
        DependencyMissing: diffusers or Pillow is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    origins: list[Picture] = []
    latents = [np.empty((0, *vae.shape), np.float32)]
    for start in range(0, len(paths), _READ_AT_ONCE):
        read = [_read(vae, Path(path)) for path in paths[start : start + _READ_AT_ONCE]]
        origins += [origin for origin, _ in read]
        latents.append(vae.encode([pixels for _, pixels in read]))
    return Latents(vae.space, np.concatenate(latents), tuple(origins))


def decode_images(vae: VAE, latents: Latents) -> NDArray[np.uint8]:
    """Decode latents to pictures, `(n, height, width, 3)` uint8 in RGB.

    Raises:
        LatentSpaceMismatch: They were not encoded by this VAE at this size.
        DependencyMissing: diffusers is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    check_space(vae, latents)
    return vae.decode(latents.values)


def decoder_of(latents: Latents, name: str, *, device: str | None = None) -> VAE:
    """The VAE of a name, at the size that these latents were encoded at.

    Raises:
        LatentSpaceMismatch: It is not the VAE that encoded them.
        InvalidArgument: There is no such VAE here.
    """
    _refuse_other_than_images(latents)
    factor = VAE(name).factor
    height, width = latents.space.shape[-2:]
    vae = VAE(name, size=(width * factor, height * factor), device=device)
    check_space(vae, latents)
    return vae


def check_space(vae: VAE, latents: Latents) -> None:
    """Make sure that a VAE can decode latents.

    Raises:
        LatentSpaceMismatch: They were not encoded by this VAE at this size; names both spaces.
    """
    _refuse_other_than_images(latents)
    if latents.space.fingerprint != vae.space.fingerprint:
        raise LatentSpaceMismatch(
            f"the latents are of {latents.space}, shape {latents.space.shape}; "
            f"the VAE's space is {vae.space}, shape {vae.space.shape}; two spaces do not mix: "
            "take the VAE and the size that encoded them"
        )


def _refuse_other_than_images(latents: Latents) -> None:
    if latents.space.modality != "image" or len(latents.space.shape) != 3:
        raise LatentSpaceMismatch(
            f"the latents are of {latents.space}, a {latents.space.modality} space: only latents "
            "of pictures can be decoded"
        )


def morph(
    vae: VAE, a: ArrayLike, b: ArrayLike, steps: int = 10, *, linear: bool = False
) -> NDArray[np.uint8]:
    """Pictures that turn one into another.

    Args:
        vae: Decodes the latents on the way.
        a: Latent of the first picture, `vae.shape`, as `vae.encode` returns it.
        b: Latent of the last picture, likewise.
        steps: How many pictures, both ends included; at least 2.
        linear: Go on the straight line instead of the arc (`slerp`), which keeps the length that
            the decoder is used to.

    Returns:
        `(steps, height, width, 3)` uint8. The first and the last are what `a` and `b` decode to.

    Raises:
        InvalidArgument: Fewer than 2 steps, or latents of the wrong shape.
        DependencyMissing: diffusers is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    if steps < 2:
        raise InvalidArgument(f"steps: expected 2 or more, got {steps}")
    ends = [np.asarray(end, np.float32) for end in (a, b)]
    for end in ends:
        if end.shape != vae.shape:
            raise InvalidArgument(f"morph: expected latents {vae.shape}, got {end.shape}")
    between = algebra.lerp if linear else algebra.slerp
    on_the_way = between(ends[0].ravel(), ends[1].ravel(), np.linspace(0, 1, steps))
    return vae.decode(on_the_way.reshape(steps, *vae.shape))


def fidelity(vae: VAE, image: PictureLike, *, half: bool = False) -> Fidelity:
    """Encode a picture, decode it again, and compare.

    Args:
        vae: The VAE to judge.
        image: A file, an image of Pillow, or uint8 `(height, width, 3)`.
        half: Keep the latent in float16 instead of float32.

    Raises:
        InvalidArgument: The picture cannot be read.
        DependencyMissing: diffusers, Pillow or scikit-image is not installed.
        BackendError: The model cannot be loaded or failed.
    """
    original = vae.prepared(image)
    latent = vae.encode([original]).astype(np.float16 if half else np.float32)
    copy = vae.decode(latent)[0]
    of_file = isinstance(image, str | Path)
    return Fidelity(
        shape=latent.shape[1:],
        by_values=original.size / latent.size,
        by_bytes=Path(str(image)).stat().st_size / latent.nbytes if of_file else None,
        psnr=quality.psnr(original, copy),
        ssim=quality.ssim(original, copy),
    )


def _read(vae: VAE, path: Path) -> tuple[Picture, Pixels]:
    pixels = pictures.read(path)
    origin = Picture(str(path), pictures.sha256(path), *pictures.size_of(pixels))
    return origin, pictures.fitted(pixels, vae.size)
