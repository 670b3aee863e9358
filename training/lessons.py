"""What the teacher says of the crops: its latents, asked for once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from semsearch.encoders.taef2 import TAEF2
from semsearch.encoders.vae_files import find, tensors

SIDE = 64
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Lessons:
    """Pictures and their latents, in files mapped into memory.

    Attributes:
        pictures: `(n, 3, 64, 64)` uint8.
        latents: Of those, `(n, 32, 8, 8)` float16.
        small: Latents of the same at half their sides, `(n, 32, 4, 4)` float16.
    """

    pictures: Any
    latents: Any
    small: Any

    def batch(self, n: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Some of them at random; pictures in [-1, 1]."""
        rows = np.sort(random.integers(len(self.pictures), size=n))
        pictures, *latents = (
            torch.from_numpy(array[rows]).float()
            for array in (self.pictures, self.latents, self.small)
        )
        return pictures / 127.5 - 1, *latents


def taef2(name: str) -> TAEF2:
    """The teacher with its weights."""
    model = TAEF2()
    for part, path in zip((model.encoder, model.decoder), find(name).paths, strict=True):
        part.load_state_dict(tensors(path))
    model.eval()
    return model


def asked(teacher: TAEF2, work: Path) -> Lessons:
    """Have the teacher encode every crop, cut or shrunk to 64 pixels; once, then kept."""
    paths = [work / f"{name}.npy" for name in ("pictures", "latents", "small")]
    if not all(path.exists() for path in paths):
        _ask(teacher, np.load(work / "crops.npy", mmap_mode="r"), paths)
    return Lessons(*(np.load(path, mmap_mode="r") for path in paths))


def _ask(teacher: TAEF2, crops: Any, paths: list[Path]) -> None:
    kinds: list[Any] = [np.uint8, np.float16, np.float16]
    shapes = [(3, SIDE, SIDE), (32, SIDE // 8, SIDE // 8), (32, SIDE // 16, SIDE // 16)]
    parts = [path.with_suffix(".part") for path in paths]
    files = [
        np.lib.format.open_memmap(path, "w+", kind, (len(crops), *shape))
        for path, kind, shape in zip(parts, kinds, shapes, strict=True)
    ]
    random = np.random.default_rng(0)
    fast = teacher.encoder.bfloat16().to(memory_format=torch.channels_last)
    for start in range(0, len(crops), _AT_ONCE):
        whole = torch.from_numpy(np.array(crops[start : start + _AT_ONCE])).permute(0, 3, 1, 2)
        part = slice(start, start + len(whole))
        pictures = _of_side(whole.float(), random)
        files[0][part] = pictures.byte().numpy()
        for file, batch in zip(files[1:], (pictures, shrunk(pictures)), strict=True):
            with torch.inference_mode():
                file[part] = fast((batch / 255).bfloat16()).float().numpy()
    teacher.float()
    for path, final in zip(parts, paths, strict=True):
        path.rename(final)


def _of_side(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Shrunk to half the side, or cut to it."""
    if random.random() < 0.5:
        return shrunk(crops).round()
    top, left = (int(random.integers(crops.shape[2] - SIDE + 1)) for _ in range(2))
    return crops[:, :, top : top + SIDE, left : left + SIDE]


def shrunk(pictures: Tensor) -> Tensor:
    """At half the sides."""
    return functional.avg_pool2d(pictures, 2)
