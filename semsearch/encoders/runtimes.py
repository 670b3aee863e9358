"""What computes a model's vectors: OpenVINO on a CPU, PyTorch on a GPU, NumPy for one query."""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders import light, openvino
from semsearch.encoders.base import NotConvertible, RuntimeFallbackWarning
from semsearch.encoders.batching import Tokens
from semsearch.encoders.model_folder import ModelFolder, Source
from semsearch.errors import DependencyMissing, InvalidArgument

RUNTIMES = ("auto", "light", "openvino", "torch")
"""What may be asked for."""


class Runtime(Protocol):
    """A loaded model; safe to use from several threads."""

    @property
    def name(self) -> str:
        """What runs it, where and in which precision."""
        ...

    def encode(self, rows: Sequence[Tokens], prompt_length: int = 0) -> NDArray[np.float32]:
        """Vectors `(n, dim)` float32 of any length, in the order of the rows; n is at least 1.

        Args:
            rows: Token ids of each text, as many as the model reads at most.
            prompt_length: How many of them in front are the prompt.

        Raises:
            BackendError: The library below failed.
        """
        ...


def check(runtime: str, device: str | None) -> None:
    """Make sure that there is such a runtime and that it runs on this device.

    Raises:
        InvalidArgument: There is not, or it does not.
    """
    if runtime not in RUNTIMES:
        expected = ", ".join(RUNTIMES)
        raise InvalidArgument(f"runtime: expected one of {expected}; got {runtime!r}")
    if runtime == "openvino" and device not in (None, "cpu"):
        raise InvalidArgument(
            f"runtime 'openvino' runs on the CPU, not on device {device!r}; leave one of them out"
        )


def load(
    source: Source, folder: ModelFolder, fingerprint: str, runtime: str, device: str | None
) -> Runtime:
    """Load a model where it runs fastest, or where it is told to.

    "light" is for a process that encodes a text or two: what starts at once, if it knows the model
    and no GPU was asked for; else it is "auto".

    Warns:
        RuntimeFallbackWarning: With "auto", on a CPU: OpenVINO is not installed or cannot run it.

    Raises:
        InvalidArgument: No such device.
        DependencyMissing, NotConvertible: OpenVINO was asked for and cannot be had.
        BackendError: The model cannot be loaded.
    """
    if runtime == "light":
        if device in (None, "cpu"):
            with suppress(NotConvertible):
                return light.load(folder)
        runtime = "auto"
    if runtime == "openvino":
        return openvino.load(source, folder, fingerprint)
    if runtime == "auto" and (device == "cpu" or (device is None and not _cuda())):
        try:
            return openvino.load(source, folder, fingerprint)
        except (DependencyMissing, NotConvertible) as error:
            warnings.warn(
                f"{source.name} runs on PyTorch, several times slower than it could: {error}",
                RuntimeFallbackWarning,
                stacklevel=2,
            )
            device = "cpu"
    from semsearch.encoders import torch

    return torch.load(source, folder, device)


def _cuda() -> bool:
    """Whether PyTorch can use a GPU; asking it takes seconds, so a driver is looked for first."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return bool(torch.cuda.is_available())
