"""Encoders: content in, points of a latent space out."""

from __future__ import annotations

from semsearch.encoders.base import (
    Encoder,
    NotConvertible,
    RuntimeFallbackWarning,
    TruncationWarning,
)
from semsearch.encoders.model_folder import MINILM
from semsearch.encoders.runtimes import check as check_runtime
from semsearch.encoders.text import TextEncoder

__all__ = [
    "MINILM",
    "Encoder",
    "NotConvertible",
    "RuntimeFallbackWarning",
    "TextEncoder",
    "TruncationWarning",
    "check_runtime",
    "load",
]


def load(name: str = MINILM, *, device: str | None = None, runtime: str = "auto") -> Encoder:
    """Find an encoder by name; its weights are read when it first encodes.

    Args:
        name: A model folder, "all-MiniLM-L6-v2" (packaged), or a model of the Hugging Face hub.
        device: "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one.
        runtime: "auto" takes OpenVINO on a CPU and PyTorch on a GPU; "openvino" or "torch" insists.
            "light" starts soonest, for a text or two.

    Raises:
        InvalidArgument: There is no such model here, it is not a text encoder, or no such runtime.
        DependencyMissing: The packaged weights are not installed.
    """
    return TextEncoder(name, device=device, runtime=runtime)
