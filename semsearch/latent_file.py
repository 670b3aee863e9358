"""Latents of pictures in one file: a safetensors table with the passport of their space.

Any program that reads safetensors can read it: one tensor for each picture, under the name of its
file. The metadata hold the passport, and of each picture its hash and size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import BackendError, InvalidArgument
from semsearch.types import LatentSpace

_FORMAT = "semsearch-latents-1"
_RESERVED = "__metadata__"


@dataclass(frozen=True, slots=True)
class Picture:
    """Where a latent came from.

    Attributes:
        name: Path of the file, as it was given.
        sha256: Hash of the file's bytes.
        width: Of the picture in pixels, before it was brought to the size of the VAE.
        height: Likewise.
    """

    name: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Latents:
    """Latents of pictures, with the passport of their space.

    Attributes:
        space: The passport.
        values: `(n, *space.shape)` float32, scaled as `VAE.encode` returns them.
        pictures: What they are latents of, in the same order.

    Raises:
        InvalidArgument: The parts do not fit together, or a picture's name comes twice.
    """

    space: LatentSpace
    values: NDArray[np.float32]
    pictures: tuple[Picture, ...]

    def __post_init__(self) -> None:
        expected = (len(self.pictures), *self.space.shape)
        if self.values.shape != expected:
            raise InvalidArgument(f"latents: expected shape {expected}, got {self.values.shape}")
        names = [picture.name for picture in self.pictures]
        twice = {name for name in names if names.count(name) > 1}
        if twice or _RESERVED in names:
            raise InvalidArgument(f"{min(twice or {_RESERVED})}: given twice, or no name to use")

    def __len__(self) -> int:
        return len(self.pictures)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write a safetensors file.

        Args:
            path: Replaced if it is there.
            half: Store float16 instead of float32: half the size, and a difference that is not
                seen in what they decode to.

        Raises:
            InvalidArgument: The file cannot be written.
        """
        from safetensors.numpy import save

        dtype = np.float16 if half else np.float32
        values = zip(self.pictures, self.values, strict=True)
        table = {
            picture.name: np.ascontiguousarray(latent.astype(dtype)) for picture, latent in values
        }
        facts = {picture.name: asdict(picture) for picture in self.pictures}
        metadata = {
            "format": _FORMAT,
            "space": self.space.to_json(),
            "pictures": json.dumps(facts),
        }
        try:
            Path(path).write_bytes(save(table, metadata))
        except OSError as error:
            raise InvalidArgument(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path) -> Latents:
        """Read what `save` wrote, as float32 whatever was stored.

        Raises:
            InvalidArgument: There is no such file, or it is not one of latents.
            BackendError: It is damaged.
        """
        table, metadata = _read(Path(path))
        if metadata.get("format") != _FORMAT:
            raise InvalidArgument(
                f"{path}: not a file of latents: expected one that `semsearch latent encode` wrote"
            )
        try:
            space = LatentSpace.from_json(metadata["space"])
            pictures = tuple(Picture(**one) for one in json.loads(metadata["pictures"]).values())
            values = [np.asarray(table[picture.name], np.float32) for picture in pictures]
            return cls(space, _stacked(values, space), pictures)
        except (KeyError, TypeError, ValueError) as error:
            raise BackendError(f"{path}: damaged: {error}") from error


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise InvalidArgument(f"{path}: not a safetensors file: {error}") from error
    except OSError as error:
        reason = "a folder" if path.is_dir() else error.strerror or error
        raise InvalidArgument(
            f"{path}: expected a file that `semsearch latent encode` wrote, found: {reason}"
        ) from error


def _stacked(values: Sequence[NDArray[np.float32]], space: LatentSpace) -> NDArray[np.float32]:
    return np.stack(values) if values else np.empty((0, *space.shape), np.float32)
