"""Encoders: content in, points of a latent space out."""

from __future__ import annotations

from semsearch.encoders.base import (
    AnyEncoder,
    Encoder,
    NotConvertible,
    PictureEncoder,
    RuntimeFallbackWarning,
    TruncationWarning,
    of_pictures,
)
from semsearch.encoders.model_folder import MINILM
from semsearch.encoders.runtimes import check as check_runtime
from semsearch.encoders.text import TextEncoder
from semsearch.errors import InvalidArgument

__all__ = [
    "MINILM",
    "AnyEncoder",
    "Encoder",
    "NotConvertible",
    "PictureEncoder",
    "RuntimeFallbackWarning",
    "TextEncoder",
    "TruncationWarning",
    "check_runtime",
    "load",
    "load_any",
]


def load(name: str = MINILM, *, device: str | None = None, runtime: str = "auto") -> Encoder:
    """Find an encoder of texts by name; its weights are read when it first encodes.

    Args:
        name: A model folder, "all-MiniLM-L6-v2" (packaged), or a model of the Hugging Face hub.
        device: "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one.
        runtime: "auto" takes OpenVINO on a CPU and PyTorch on a GPU; "openvino" or "torch" insists.
            "light" starts soonest, for a text or two.

    Raises:
        InvalidArgument: There is no such model here, it is not a text encoder, or no such runtime.
        DependencyMissing: The packaged weights are not installed.
    """
    if of_pictures(name):
        raise InvalidArgument(f"{name} encodes pictures; name an encoder of texts")
    return TextEncoder(name, device=device, runtime=runtime)


def load_any(name: str, *, device: str | None = None, runtime: str = "auto") -> AnyEncoder:
    """Find an encoder of texts or of pictures by name: what an index was made with.

    Args:
        name: As for `load`; or, of pictures, "vae:" and what `semsearch.VAE` takes.
        device: As for `load`.
        runtime: As for `load`; pictures are always encoded by PyTorch.

    Raises:
        InvalidArgument: There is no such model here, or no such runtime for it.
        DependencyMissing: The packaged weights are not installed.
        BackendError: The weights of a VAE cannot be read.
    """
    if not of_pictures(name):
        return load(name, device=device, runtime=runtime)
    from semsearch.encoders.picture import VAEEncoder  # only where pictures are

    check_runtime(runtime, device)
    if runtime == "openvino":
        raise InvalidArgument(f"runtime 'openvino' does not run {name}; leave it out")
    return VAEEncoder(name, device=device)
