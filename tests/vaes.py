"""VAEs for tests: small ones of random weights, and where the published ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DATASETS = Path(__file__).resolve().parents[2] / "shared" / "datasets"
TAESD = DATASETS / "weights" / "taesd-family"
KODAK = DATASETS / "images" / "kodak24"

_BLOCKS = {"layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}
_KL = {
    **_BLOCKS,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
}
_DC = {
    "latent_channels": 4,
    "attention_head_dim": 4,
    "scaling_factor": 0.4,
    **{f"{part}_block_out_channels": (8, 16) for part in ("encoder", "decoder")},
    **{f"{part}_layers_per_block": (1, 1) for part in ("encoder", "decoder")},
    **{f"{part}_qkv_multiscales": ((), ()) for part in ("encoder", "decoder")},
}
_TINY = {
    "latent_channels": 4,
    **{f"{part}_block_out_channels": (8, 8) for part in ("encoder", "decoder")},
    **{f"num_{part}_blocks": (1, 1) for part in ("encoder", "decoder")},
}

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "shifted": ("AutoencoderKL", {**_KL, "scaling_factor": 0.5, "shift_factor": 0.25}),
    "standardised": (
        "AutoencoderKL",
        {**_KL, "scaling_factor": 0.5, "latents_mean": [0.1] * 4, "latents_std": [1, 2, 3, 4]},
    ),
    "flux2": ("AutoencoderKLFlux2", _KL),
    "dc": ("AutoencoderDC", _DC),
    "tiny": ("AutoencoderTiny", _TINY),
}


def small_model(name: str) -> Any:
    """One of `SMALL`, halving each side, with random weights that are always the same."""
    import diffusers
    import torch

    kind, config = SMALL[name]
    torch.manual_seed(0)
    model = getattr(diffusers, kind)(**config).eval()
    if name == "flux2":
        model.bn.running_mean.uniform_(-1, 1)
        model.bn.running_var.uniform_(0.5, 2)
    return model
