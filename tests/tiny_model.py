"""A BERT of 40 kB with random weights, for tests that need a model's files but no quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

DIM, WORDS, POSITIONS = 8, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "query", "doc"), 16
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": DIM,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "vocab_size": len(WORDS),
}
POOLING = {"word_embedding_dimension": DIM, "pooling_mode_mean_tokens": True}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def change_json(path: Path, **changes: object) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def write_tokenizer(path: Path) -> None:
    vocabulary = {word: n for n, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(path))


def bert_weights() -> dict[str, NDArray[np.float32]]:
    """Random weights for `CONFIG`, under the names that transformers gives them."""
    layer, wide = "encoder.layer.0.", CONFIG["intermediate_size"]
    shapes: dict[str, Any] = {
        "embeddings.word_embeddings.weight": (len(WORDS), DIM),
        "embeddings.position_embeddings.weight": (POSITIONS, DIM),
        "embeddings.token_type_embeddings.weight": (2, DIM),
        f"{layer}intermediate.dense.weight": (wide, DIM),
        f"{layer}intermediate.dense.bias": (wide,),
        f"{layer}output.dense.weight": (DIM, wide),
        f"{layer}output.dense.bias": (DIM,),
        "pooler.dense.weight": (DIM, DIM),
        "pooler.dense.bias": (DIM,),
    }
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes[f"{layer}attention.{part}.weight"] = (DIM, DIM)
        shapes[f"{layer}attention.{part}.bias"] = (DIM,)
    for norm in ("embeddings", f"{layer}attention.output", f"{layer}output"):
        shapes[f"{norm}.LayerNorm.weight"] = shapes[f"{norm}.LayerNorm.bias"] = (DIM,)
    random = np.random.default_rng(7)
    return {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def write_model(folder: Path) -> Path:
    """A whole model of sentence-transformers with random weights, in a folder that it makes."""
    write_json(folder / "modules.json", MODULES)
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 10})
    write_json(folder / "1_Pooling" / "config.json", POOLING)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "tokenizer_class": "TokenizersBackend"}
    write_json(folder / "tokenizer_config.json", special)
    write_tokenizer(folder / "tokenizer.json")
    save_file(bert_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
