"""How fast an encoder could be at most on a device: by its arithmetic, and by its memory.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52 (4),
2009. Rates are those that PyTorch reaches here and now, not those of a data sheet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

_ROWS = {"cpu": 2_048, "cuda": 65_536}  # tokens of a batch, as the runtimes make them
_COPIED = 2**28  # bytes, far more than any cache holds
_TIMES = 10


def tokens_per_second(
    config: Mapping[str, Any], lengths: Sequence[int], device: str
) -> dict[str, float]:
    """The rates at which products of matrices alone, and memory alone, would take these texts.

    Args:
        config: Of a BERT, as transformers keeps it.
        lengths: Tokens of each text.
        device: "cpu" or "cuda".

    Returns:
        "arithmetic", in the faster of single precision and bfloat16, and "memory", for what each
        operation of a layer reads and writes in 16 bits, as if none kept anything in a cache.
    """
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    layers = int(config["num_hidden_layers"])
    read = np.square(lengths).sum() / np.sum(lengths)  # tokens that a token attends to, on average
    operations = layers * (8 * hidden**2 + 4 * hidden * inner + 4 * hidden * read)
    # Query, key, value 4, attention 4, its product 2, sum and norm 3, two products, sum and norm 5;
    # inside of them GELU reads and writes once more.
    moved = 2 * layers * (18 * hidden + 4 * inner)
    return {
        "arithmetic": _multiplied(_ROWS[device], hidden, inner, device) / operations,
        "memory": _copied(device) / moved,
    }


def _multiplied(rows: int, hidden: int, inner: int, device: str) -> float:
    """Operations a second in products of the size that cost an encoder most."""

    def seconds(dtype: torch.dtype) -> float:
        left = torch.randn(rows, hidden, dtype=dtype, device=device)
        right = torch.randn(hidden, inner, dtype=dtype, device=device)
        return _least(lambda: left @ right, device)

    return 2 * rows * hidden * inner / min(map(seconds, (torch.float32, torch.bfloat16)))


def _copied(device: str) -> float:
    """Bytes a second that memory is read and written with."""
    source = torch.ones(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * _COPIED / _least(lambda: target.copy_(source), device)


def _least(action: Callable[[], object], device: str) -> float:
    """Seconds, the best of some times after the first."""
    found = []
    for _ in range(_TIMES + 1):
        began = time.perf_counter()
        action()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])
