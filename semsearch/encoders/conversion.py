"""From sentence-transformers to OpenVINO: the modules traced, compiled, and proven on samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from semsearch.encoders.base import NotConvertible
from semsearch.encoders.model_folder import ModelFolder, Source, quiet
from semsearch.encoders.openvino import OpenVinoRuntime, absent
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
    import torch

    with absent("openvino_telemetry"):
        from openvino.tools.ovc import convert_model

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
        return convert_model(Vectors().eval(), example_input=example)


def _with_row_masks(graph: ov.Model) -> ov.Model:
    """The same model, attention written out, its mask one number for each token of a text.

    A traced model masks every pair of tokens; that the padding alone is masked, OpenVINO cannot
    know. It runs this form 5 to 10% faster. A model that masks more than padding is not the same
    any more: the samples tell, and the traced form is taken.
    """
    from openvino import opset13 as op

    graph = graph.clone()
    mask = op.convert(graph.input("attention_mask"), "f32")
    hidden = op.multiply(op.subtract(mask, np.float32(1)), np.float32(1e4))  # 0, or very unlikely
    row = op.unsqueeze(hidden, np.array([1, 2]))
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            query, key, value = (node.input_value(n) for n in range(3))
            width = key.get_partial_shape()[-1]
            if width.is_dynamic:
                continue
            scale = np.float32(width.get_length() ** -0.5)
            scores = op.multiply(op.matmul(query, key, False, True), scale)
            shares = op.softmax(op.add(scores, row), -1)
            mixed = op.matmul(shares, value, False, False)
            node.output(0).replace(mixed.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


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
    forms = [_with_row_masks(graph), graph]
    least = {}
    for precision, form in product(precisions, forms):
        properties = {"INFERENCE_PRECISION_HINT": precision}
        blob = core.compile_model(form, "CPU", properties).export_model().getvalue()
        runtime = OpenVinoRuntime(core, np.frombuffer(blob, np.uint8), precision, pad, folder)
        least[precision] = least_cosine(runtime.encode(rows), expected)
        if least[precision] >= LEAST_COSINE:
            return Converted(blob, precision, pad)
    raise NotConvertible(
        f"its vectors are not those of sentence-transformers: cosine {least}, "
        f"expected at least {LEAST_COSINE}"
    )
