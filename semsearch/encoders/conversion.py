"""From sentence-transformers to OpenVINO: the modules traced, compiled, and proven on samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semsearch.encoders.base import NotConvertible
from semsearch.encoders.model_folder import ModelFolder, Source, quiet
from semsearch.encoders.openvino import OpenVinoRuntime
from semsearch.encoders.reference import (
    LEAST_COSINE,
    SAMPLES,
    least_cosine,
    load_model,
    pad_id,
    reference_vectors,
)
from semsearch.encoders.tokens import Tokenizing
from semsearch.errors import BackendError

if TYPE_CHECKING:
    import openvino as ov
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True, slots=True)
class Converted:
    """A model that OpenVINO compiled.

    Attributes:
        blob: The compiled model, as `import_model` takes it.
        precision: "bf16" or "f32".
        pad: Id that fills rows up.
    """

    blob: bytes
    precision: str
    pad: int


def convert(
    core: ov.Core, source: Source, folder: ModelFolder, precisions: Sequence[str]
) -> Converted:
    """Convert a model, in the first precision that keeps its vectors.

    Raises:
        NotConvertible: It cannot be, or no precision keeps them.
        BackendError: The model cannot be loaded, or its vectors are not finite.
    """
    if folder.leaves_prompts_out:
        raise NotConvertible("its pooling leaves the prompt out, which OpenVINO is not told")
    model = load_model(source, folder, "cpu")
    try:
        return _proven(core, _traced(model, folder), folder, precisions, model)
    except BackendError:
        raise
    except Exception as error:  # whatever the tracer, the frontend or the compiler raise
        raise NotConvertible(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def _traced(model: SentenceTransformer, folder: ModelFolder) -> ov.Model:
    import openvino as ov
    import torch

    class Vectors(torch.nn.Module):  # type: ignore[misc] # torch is Any here
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            vectors: torch.Tensor = self.model(features)["sentence_embedding"]
            return vectors[:, : folder.dim]

    ids = torch.full((2, min(7, folder.max_tokens)), pad_id(model))
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with quiet(), torch.inference_mode():
        return ov.convert_model(Vectors().eval(), example_input=example)


def _proven(
    core: ov.Core,
    graph: ov.Model,
    folder: ModelFolder,
    precisions: Sequence[str],
    model: SentenceTransformer,
) -> Converted:
    expected = reference_vectors(model, SAMPLES)
    if not np.isfinite(expected).all():
        raise BackendError(
            f"{folder.transformer.path}: a vector is not finite; are the weights damaged?"
        )
    tokenizing, pad = Tokenizing(folder), pad_id(model)
    rows = [tokenizing.cut(text) for text in SAMPLES]
    least = {}
    for precision in precisions:
        properties = {"INFERENCE_PRECISION_HINT": precision}
        blob = core.compile_model(graph, "CPU", properties).export_model().getvalue()
        runtime = OpenVinoRuntime(core, np.frombuffer(blob, np.uint8), precision, pad, folder)
        least[precision] = least_cosine(runtime.encode(rows), expected)
        if least[precision] >= LEAST_COSINE:
            return Converted(blob, precision, pad)
    raise NotConvertible(
        f"its vectors are not those of sentence-transformers: cosine {least}, "
        f"expected at least {LEAST_COSINE}"
    )
