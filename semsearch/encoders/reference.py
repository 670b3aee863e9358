"""The reference: sentence-transformers, and what it means to give the same vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.model_folder import ModelFolder, Source, quiet
from semsearch.errors import BackendError, InvalidArgument

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LEAST_COSINE = 0.9999
"""Least cosine similarity to the reference's vector, on every sample, of a runtime that is used."""

SAMPLES = (
    "",
    "a",
    "The cat sat on the mat.",
    "Где находится библиотека? 東京 🙂 مرحبا بالعالم",
    "def add(a, b):\n    return a + b  # 3.14159",
    "Prices rose 4.2% in Q3 2021, to $1,299.99; analysts had expected a decline.",
    "Deep learning finds structure in large data sets. " * 12,
    "One sentence after another fills all that the model reads, whatever that is. " * 200,
)
"""What a runtime is proven on: lengths from none to the limit, in one call."""


def load_model(source: Source, folder: ModelFolder, device: str | None) -> SentenceTransformer:
    """The model on a device; None takes CUDA if there is one, else the CPU.

    Raises:
        InvalidArgument: No such device.
        BackendError: The model cannot be loaded, or reads another number of tokens than its
            folder says.
    """
    try:
        with quiet():
            model = _sentence_transformer(source, device)
    except InvalidArgument:
        raise
    except Exception as error:  # whatever torch, transformers, safetensors or the disk raise
        raise BackendError(f"{source.name}: cannot be loaded: {error}") from error
    if model.max_seq_length != folder.max_tokens:
        raise BackendError(
            f"{source.name}: sentence-transformers reads {model.max_seq_length} tokens, "
            f"the folder's JSON files say {folder.max_tokens}; set max_seq_length in them"
        )
    return model


def _sentence_transformer(source: Source, device: str | None) -> SentenceTransformer:
    import torch
    from sentence_transformers import SentenceTransformer

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:  # CPU-only torch asserts
        raise InvalidArgument(f"device {device!r} is not usable: {error}") from error
    return SentenceTransformer(str(source.path), device=device, local_files_only=True)


def reference_vectors(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float32]:
    """What sentence-transformers itself makes of texts without a prompt, `(n, dim)` float32."""
    rows = model.encode(list(texts), prompt="", show_progress_bar=False)
    return np.asarray(rows, np.float32)


def pad_id(model: SentenceTransformer) -> int:
    """Id that fills rows up; for some models it also tells where the text ends."""
    pad = model.tokenizer.pad_token_id
    return 0 if pad is None else int(pad)


def least_cosine(rows: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The least of the cosine similarities of row to row; lengths do not matter."""
    products = np.einsum("ij,ij->i", rows, expected)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    return float(np.min(products / np.maximum(lengths, 1e-12)))
