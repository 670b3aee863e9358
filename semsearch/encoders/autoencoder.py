"""The models behind a VAE: loaded into torch, all called in one way.

`TAEF2` and `CompactVAE` are our own modules, the others are diffusers'. Whatever the class,
pictures are `(n, 3, height, width)` in [-1, 1] and latents are scaled as the diffusion model of
their family sees them: about zero mean and unit variance.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semsearch.encoders.compact import CompactVAE
from semsearch.encoders.taef2 import TAEF2
from semsearch.encoders.vae_files import FLUX2_PATCH, Kind, VAEFiles, tensors
from semsearch.errors import BackendError, DependencyMissing, InvalidArgument


class Autoencoder:
    """A loaded model on its device, in the precision that is sound there."""

    def __init__(self, files: VAEFiles, device: str | None = None) -> None:
        """Load it.

        Raises:
            InvalidArgument: No such device.
            DependencyMissing: diffusers is not installed.
            BackendError: The weights cannot be read or are not this model's.
        """
        self._device = _usable(device)
        self._dtype = _precision(files, self._device)
        self._latents_of = _LATENTS_OF[files.kind]
        self._model, self._scaling = _loaded(files, self._device, self._dtype)

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures to scaled latents; of a distribution its mode, so the same every time."""
        with torch.inference_mode():
            raw = self._latents_of(self._model.encode(self._on_device(pictures)))
            return self._scaling.apply(raw.float().cpu())

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to pictures; a few values lie outside of [-1, 1]."""
        with torch.inference_mode():
            output = self._model.decode(self._on_device(self._scaling.undo(latents)))
            pictures = output if isinstance(output, Tensor) else output.sample
            return pictures.float().cpu()

    def _on_device(self, batch: Tensor) -> Tensor:
        return batch.to(self._device, self._dtype, memory_format=torch.channels_last)


_LATENTS_OF: dict[Kind, Callable[[Any], Tensor]] = {
    "AutoencoderKL": lambda output: output.latent_dist.mode(),
    "AutoencoderKLFlux2": lambda output: output.latent_dist.mode(),
    "AutoencoderTiny": lambda output: output.latents,
    "AutoencoderDC": lambda output: output.latent,
    "TAEF2": lambda output: output,
    "CompactVAE": lambda output: output,
}


@dataclass(frozen=True, slots=True)
class _Scaling:
    """What a diffusion model's pipeline does with raw latents: (raw - offset) * scale.

    Attributes:
        offset: `(1, channels or 1, 1, 1)`.
        scale: Likewise.
        patch: So many places a side are seen as channels of one place (FLUX.2).
    """

    offset: Tensor
    scale: Tensor
    patch: int = 1

    def apply(self, raw: Tensor) -> Tensor:
        """Raw to scaled."""
        patches = nn.functional.pixel_unshuffle(raw, self.patch)
        return nn.functional.pixel_shuffle((patches - self.offset) * self.scale, self.patch)

    def undo(self, scaled: Tensor) -> Tensor:
        """Scaled to raw."""
        patches = nn.functional.pixel_unshuffle(scaled, self.patch)
        return nn.functional.pixel_shuffle(patches / self.scale + self.offset, self.patch)


def _scaling(model: Any, kind: Kind) -> _Scaling:
    if kind in ("TAEF2", "CompactVAE"):  # distilled from scaled latents
        return _Scaling(_channels(0), _channels(1))
    if kind == "AutoencoderKLFlux2":
        variance = model.bn.running_var + model.config.batch_norm_eps
        return _Scaling(_channels(model.bn.running_mean), _channels(variance.rsqrt()), FLUX2_PATCH)
    config = model.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    offset = config.get("shift_factor") or 0 if mean is None else mean
    scale = _channels(config.get("scaling_factor") or 1)
    return _Scaling(_channels(offset), scale if std is None else scale / _channels(std))


def _channels(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).detach().cpu().reshape(1, -1, 1, 1)


# -- loading -------------------------------------------------------------------------------------


def _loaded(files: VAEFiles, device: str, dtype: torch.dtype) -> tuple[Any, _Scaling]:
    try:
        model = _model(files)
        scaling = _scaling(model, files.kind)  # before the model loses precision
        # torch's own method: that of diffusers warns of a cast, whether there is one or not.
        nn.Module.to(model.eval(), device, dtype, memory_format=torch.channels_last)
    except (DependencyMissing, BackendError):
        raise
    except Exception as error:  # whatever torch, diffusers, safetensors or the disk raise
        raise BackendError(f"{files.name}: cannot be loaded: {error}") from error
    return model, scaling


def _model(files: VAEFiles) -> Any:
    if files.kind == "CompactVAE":
        return _from_one_file(files)
    return _from_pair(files) if len(files.paths) > 1 else _from_folder(files)


def _from_folder(files: VAEFiles) -> Any:
    diffusers = _diffusers()
    with _quiet():
        return getattr(diffusers, files.kind).from_pretrained(
            str(files.paths[0]),
            local_files_only=True,
            use_safetensors=True,
            torch_dtype=torch.float32,
        )


def _from_pair(files: VAEFiles) -> Any:
    """Make the model and fill it; the keys of the files begin with the number of the layer."""
    if files.kind == "TAEF2":
        model, inside, clamp = TAEF2(), "", 0
    else:
        # The decoder's clamp is no layer of its own in diffusers: the numbers are lower by one.
        model = _diffusers().AutoencoderTiny(latent_channels=files.latent.channels)
        inside, clamp = "layers.", 1
    encoder, decoder = (tensors(path) for path in files.paths)
    state = {f"encoder.{inside}{key}": value for key, value in encoder.items()}
    for key, value in decoder.items():
        number, _, rest = key.partition(".")
        state[f"decoder.{inside}{int(number) - clamp}.{rest}"] = value
    model.load_state_dict(state)
    return model


def _from_one_file(files: VAEFiles) -> Any:
    model = CompactVAE()
    model.load_state_dict(tensors(*files.paths))
    return model


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise DependencyMissing(
            "VAEs need diffusers, which is not installed: pip install 'semsearch[images]'"
        ) from error
    return diffusers


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and log lines of diffusers, once it was imported, while it loads a model."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _usable(device: str | None) -> str:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:  # CPU-only torch asserts
        raise InvalidArgument(f"device {device!r} is not usable: {error}") from error
    return device


def _precision(files: VAEFiles, device: str) -> torch.dtype:
    """Half only on CUDA, and only where the model is known to bear it.

    The published VAE of SDXL overflows in float16, and says `force_upcast`. One that says nothing
    of it is not trusted either; the taesd family is published in half precision.
    """
    tiny = files.kind in ("AutoencoderTiny", "TAEF2", "CompactVAE")
    bears_half = files.config.get("force_upcast", not tiny) is False
    return torch.float16 if device.startswith("cuda") and bears_half else torch.float32
