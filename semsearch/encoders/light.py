"""The runtime that starts at once: BERT in NumPy, for a process that encodes a text or two.

The weights are mapped where they lie, and no library is loaded for them: the first vector is there
before OpenVINO has been imported. Many texts it encodes several times slower than OpenVINO.
Devlin et al., "BERT: Pre-training of deep bidirectional transformers", NAACL 2019; Vaswani et al.,
"Attention is all you need", NeurIPS 2017.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.base import NotConvertible
from semsearch.encoders.batching import Tokens
from semsearch.encoders.model_folder import ModelFolder

Matrix = NDArray[np.float32]

_CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
"""What `config.json` must say; where it says nothing it means the same, but for the first."""

_POOLING: dict[str, Callable[[Matrix], Matrix]] = {
    "mean": lambda states: states.mean(axis=0),
    "cls": lambda states: states[0],
}


class LightRuntime:
    """A model of the kind of BERT; safe to use from several threads.

    Args:
        weights: By the names that transformers gives them, float32.
        folder: What the model is.
    """

    def __init__(self, weights: Mapping[str, Matrix], folder: ModelFolder) -> None:
        config = folder.transformer.config
        self._weights = weights
        self._layers = int(config["num_hidden_layers"])
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._pool = _POOLING[str(folder.pooling)]
        self._dim = folder.dim

    @property
    def name(self) -> str:
        """Runtime and precision."""
        return "light f32"

    def encode(self, rows: Sequence[Tokens], prompt_length: int = 0) -> Matrix:  # noqa: ARG002
        """Vectors `(n, dim)` float32 of any length; see `Runtime`."""
        return np.stack([self._pool(self._states(row))[: self._dim] for row in rows])

    def _states(self, row: Tokens) -> Matrix:
        """`(tokens, hidden)`: the last layer's."""
        table = "embeddings.{}_embeddings.weight".format
        states = self._weights[table("word")][np.asarray(row)]
        states = states + self._weights[table("position")][: len(row)]
        states += self._weights[table("token_type")][0]
        states = self._normalized(states, "embeddings.LayerNorm")
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            mixed = self._dense(self._attended(states, layer), f"{layer}.attention.output.dense")
            states = self._normalized(mixed + states, f"{layer}.attention.output.LayerNorm")
            inner = _gelu(self._dense(states, f"{layer}.intermediate.dense"))
            outer = self._dense(inner, f"{layer}.output.dense")
            states = self._normalized(outer + states, f"{layer}.output.LayerNorm")
        return states

    def _attended(self, states: Matrix, layer: str) -> Matrix:
        """Each head mixes the values of all tokens, as their keys fit the query of each."""
        query, key, value = (
            self._dense(states, f"{layer}.attention.self.{part}")
            .reshape(len(states), self._heads, -1)
            .swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        fits = query @ key.swapaxes(1, 2) / np.float32(math.sqrt(query.shape[2]))
        shares = np.exp(fits - fits.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        mixed: Matrix = (shares @ value).swapaxes(0, 1).reshape(states.shape)
        return mixed

    def _dense(self, states: Matrix, name: str) -> Matrix:
        product: Matrix = states @ self._weights[f"{name}.weight"].T
        product += self._weights[f"{name}.bias"]
        return product

    def _normalized(self, states: Matrix, name: str) -> Matrix:
        centred = states - states.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(self._epsilon))
        scaled: Matrix = centred * self._weights[f"{name}.weight"]
        return scaled + self._weights[f"{name}.bias"]


def load(folder: ModelFolder) -> LightRuntime:
    """The model, its weights mapped.

    Raises:
        NotConvertible: It is not known to be computed right here, or its weights are not one file
            of safetensors in float32.
    """
    config = folder.transformer.config
    for name, expected in _CONFIG.items():
        if config.get(name, None if name == "model_type" else expected) != expected:
            raise NotConvertible(f"its {name} is {config.get(name)}, not {expected}")
    if folder.pooling not in _POOLING or folder.leaves_prompts_out:
        raise NotConvertible("its vectors are not the mean of its states, nor the first of them")
    file = folder.transformer.path / "model.safetensors"
    try:
        runtime = LightRuntime(_mapped(file), folder)
        runtime.encode([np.zeros(1, np.int32)])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise NotConvertible(f"{file}: not the weights of a BERT in float32: {error}") from error
    return runtime


def _mapped(file: Path) -> dict[str, Matrix]:
    """The tensors of a file: https://huggingface.co/docs/safetensors#format."""
    data = np.memmap(file, np.uint8, "r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, facts in header.items():
        if facts["dtype"] == "F32":
            begin, end = (start + offset for offset in facts["data_offsets"])
            tensors[name] = data[begin:end].view(np.float32).reshape(facts["shape"])
    return tensors


def _gelu(x: Matrix) -> Matrix:
    half: Matrix = np.float32(0.5) * x * (1 + _erf(x * np.float32(math.sqrt(0.5))))
    return half


def _erf(x: Matrix) -> Matrix:
    """The error function, off by less than 5e-7.

    Abramowitz and Stegun, "Handbook of mathematical functions", 7.1.26.
    """
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    terms = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    total = np.zeros_like(t)
    for term in terms:
        total = (total + np.float32(term)) * t
    positive: Matrix = 1 - total * np.exp(-size * size)
    return np.copysign(positive, x)
