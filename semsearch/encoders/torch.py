"""The runtime for a GPU, and for a model that OpenVINO cannot run: sentence-transformers."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.batching import Tokens, batches
from semsearch.encoders.model_folder import ModelFolder, Source
from semsearch.encoders.reference import (
    LEAST_COSINE,
    SAMPLES,
    least_cosine,
    load_model,
    pad_id,
    reference_vectors,
)
from semsearch.errors import BackendError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_CPU_BUDGET = 2_048  # tokens of a batch
_GPU_BUDGET = 65_536


class TorchRuntime:
    """A model of sentence-transformers, fed with token ids; one caller at a time.

    Args:
        model: On its device, in its precision.
        folder: What the model is.
    """

    def __init__(self, model: SentenceTransformer, folder: ModelFolder) -> None:
        self._model = model
        self._folder = folder
        self._pad = pad_id(model)
        self._budget = _CPU_BUDGET if model.device.type == "cpu" else _GPU_BUDGET
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Runtime, device and precision."""
        return f"torch {self._model.device} {str(self._model.dtype).removeprefix('torch.')}"

    def encode(self, rows: Sequence[Tokens], prompt_length: int = 0) -> NDArray[np.float32]:
        """Vectors `(n, dim)` float32 of any length; see `Runtime`."""
        try:
            with self._lock:
                return self._encode(rows, prompt_length)
        except Exception as error:  # torch raises RuntimeError and subclasses of its own
            raise BackendError(f"PyTorch: encoding failed: {error}") from error

    def _encode(self, rows: Sequence[Tokens], prompt_length: int) -> NDArray[np.float32]:
        import torch

        places, vectors = [], []
        prompt: dict[str, Any] = {"prompt_length": prompt_length} if prompt_length else {}
        device = self._model.device
        with torch.inference_mode():
            # Nothing waits for a GPU here: it computes while the next batch is put together.
            for batch in batches(rows, self._budget, self._pad, self._folder.max_tokens):
                ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
                features = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
                vectors.append(self._model(features | prompt)["sentence_embedding"])
                places.append(batch.places)
            found = torch.cat(vectors)[:, : self._folder.dim].float().cpu().numpy()
        ordered = np.empty(found.shape, np.float32)
        ordered[np.concatenate(places)] = found
        return ordered


def load(source: Source, folder: ModelFolder, device: str | None) -> TorchRuntime:
    """The model on a device; on a GPU in half precision, where that keeps its vectors.

    Raises:
        InvalidArgument: No such device.
        BackendError: The model cannot be loaded.
    """
    model = load_model(source, folder, device)
    return TorchRuntime(model if model.device.type == "cpu" else halved(model), folder)


def halved(model: SentenceTransformer) -> SentenceTransformer:
    """The model in half precision; the model itself where that changes its vectors too much."""
    half = copy.deepcopy(model).half()
    found, expected = (reference_vectors(one, SAMPLES) for one in (half, model))
    return half if least_cosine(found, expected) >= LEAST_COSINE else model
