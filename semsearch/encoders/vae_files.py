"""A VAE on disk: where it is found, and what its files tell before it is loaded.

Two layouts are known: the folder of diffusers (`config.json` beside its weights, also as `vae/` of
a whole pipeline), and the pair of files `NAME_encoder` and `NAME_decoder` that the taesd family is
published in, as `.safetensors` or `.pth`. One VAE is part of this package, in a file of its own.
Nothing here imports torch, except to read a `.pth`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from semsearch.errors import BackendError, InvalidArgument
from semsearch.types import JSONObject

Kind = Literal[
    "AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderTiny", "AutoencoderDC", "TAEF2", "CompactVAE"
]

EMBEDDED = "semsearch-vae"
"""Name of the VAE whose weights are part of this package."""

FLUX2_PATCH = 2
"""FLUX.2's latents are scaled in patches of 2x2 places."""

_DIFFUSERS: tuple[Kind, ...] = (
    "AutoencoderKL",
    "AutoencoderKLFlux2",
    "AutoencoderTiny",
    "AutoencoderDC",
)
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_HUB_FILES = [f"{folder}{name}" for folder in ("", "vae/") for name in ("config.json", _WEIGHTS)]
_EMBEDDED_FILE = Path(__file__).parent / "weights" / f"{EMBEDDED}.safetensors"
_PARTS = ("encoder", "decoder")
_SUFFIXES = (".safetensors", ".pth")
_TAESD_FACTOR = 8
_POOLED = "11.pool.0.weight"  # only TAEF2 has it
_LAST_OF_ENCODER = "14.weight"
_NOT_GEOMETRY = {"_class_name", "_name_or_path", "sample_size", "force_upcast", "torch_dtype"}


class Latent(NamedTuple):
    """Channels of a latent, and how many pixels a side one of its places stands for."""

    channels: int
    factor: int


_EMBEDDED_LATENT = Latent(32, 8)


@dataclass(frozen=True, slots=True)
class VAEFiles:
    """A VAE as its files tell it.

    Attributes:
        name: What `find` takes to get it again.
        kind: Class of the model: one of diffusers, TAEF2, or CompactVAE.
        paths: The folder of diffusers, the files of encoder and decoder, or one file of both.
        config: `config.json` of diffusers; empty for files alone.
        latent: Shape of what it encodes into.
    """

    name: str
    kind: Kind
    paths: tuple[Path, ...]
    config: JSONObject
    latent: Latent

    @property
    def short_name(self) -> str:
        """For messages: the last part of the name; `sdxl-vae/vae` keeps both."""
        path = Path(self.name)
        return "/".join(path.parts[-2:]) if path.name == "vae" else path.name

    @property
    def multiple(self) -> int:
        """Width and height of a picture must be multiples of it."""
        return self.latent.factor * (FLUX2_PATCH if self.kind == "AutoencoderKLFlux2" else 1)

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files with the weights."""
        return tuple(path / _WEIGHTS if path.is_dir() else path for path in self.paths)

    def fingerprint(self, preprocessing: str) -> str:
        """Hash of all that fixes the geometry: weights, configuration and preprocessing.

        The weights are hashed as files: another container or precision of the same ones counts as
        another space.

        Raises:
            InvalidArgument: A file cannot be read.
        """
        config = {k: v for k, v in self.config.items() if k not in _NOT_GEOMETRY and k[0] != "_"}
        facts = {
            "kind": self.kind,
            "config": config,
            "weights": [_digest(path) for path in self.weights],
            "preprocessing": preprocessing,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find(name: str) -> VAEFiles:
    """Find a VAE by name: the embedded one, a folder, a pair of files, the hub's cache, the hub.

    Raises:
        InvalidArgument: There is no such VAE here, or it is of a class that is not known.
        BackendError: A weights file cannot be read.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgument(f"VAE: expected the name of a model or a path, got {name!r}")
    if name == EMBEDDED:
        return VAEFiles(name, "CompactVAE", (_EMBEDDED_FILE,), {}, _EMBEDDED_LATENT)
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path.resolve())
    if stem := _stem(path):
        return _pair(stem)
    if path.exists():
        raise InvalidArgument(
            f"{name}: expected a folder of diffusers, or a file NAME_encoder.safetensors or .pth"
        )
    return _from_hub(name)


# -- a folder of diffusers -----------------------------------------------------------------------


def _folder(path: Path, name: str | None = None) -> VAEFiles:
    folder = path / "vae" if (path / "vae" / "config.json").is_file() else path
    config = _config(folder)
    kind = next((known for known in _DIFFUSERS if known == config.get("_class_name")), None)
    if kind is None:
        raise InvalidArgument(
            f"{folder}: expected a VAE of the class {', '.join(_DIFFUSERS)}, "
            f"got {config.get('_class_name')}"
        )
    if not (folder / _WEIGHTS).is_file():
        raise InvalidArgument(f"{folder}: there is no {_WEIGHTS}")
    return VAEFiles(name or str(path), kind, (folder,), config, _latent(kind, config, folder))


def _config(folder: Path) -> JSONObject:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidArgument(f"{folder}: no VAE: there is no config.json") from error
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidArgument(f"{path}: expected a JSON object")
    return config


def _latent(kind: Kind, config: JSONObject, folder: Path) -> Latent:
    """Each of the blocks but one halves the picture."""
    prefix = {"AutoencoderTiny": "encoder_", "AutoencoderDC": "encoder_"}.get(kind, "")
    try:
        blocks = config[f"{prefix}block_out_channels"]
        return Latent(int(config["latent_channels"]), 2 ** (len(blocks) - 1))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"{folder}/config.json: no {error} for {kind}") from error


def _from_hub(name: str) -> VAEFiles:
    try:
        return _folder(_snapshot(name), name)
    except InvalidArgument:
        raise
    except Exception as error:  # offline, unknown, not a valid name, no access: all the same here
        raise InvalidArgument(
            f"no VAE named {name!r} here: give a folder of diffusers, the path of a "
            "NAME_encoder.safetensors with its decoder beside it, or the name of a model in the "
            "Hugging Face cache (or on its hub, when online)"
        ) from error


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, local_files_only=True))
        if list(path.glob(f"**/{_WEIGHTS}")):
            return path
    except LocalEntryNotFoundError:
        pass
    return Path(snapshot_download(name, allow_patterns=_HUB_FILES))


# -- a pair of files -----------------------------------------------------------------------------


def _stem(path: Path) -> Path | None:
    """`dir/taesd` for any of `dir/taesd`, `dir/taesd_encoder.pth` and `dir/taesd_decoder.pth`."""
    name = path.name
    for ending in (f"_{part}{suffix}" for part in _PARTS for suffix in _SUFFIXES):
        name = name.removesuffix(ending)
    stem = path.with_name(name) if name else path
    return stem.resolve() if name != path.name or _part(stem, "encoder") else None


def _part(stem: Path, part: str) -> Path | None:
    paths = (stem.with_name(f"{stem.name}_{part}{suffix}") for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _pair(stem: Path) -> VAEFiles:
    paths = []
    for part in _PARTS:
        path = _part(stem, part)
        if path is None:
            raise InvalidArgument(f"{stem}_{part}: there is no such .safetensors or .pth file")
        paths.append(path)
    shapes = _shapes(paths[0])
    channels = shapes.get(_LAST_OF_ENCODER, ())
    if len(channels) != 4:
        raise InvalidArgument(f"{paths[0]}: not the encoder of a VAE of the taesd family")
    kind: Kind = "TAEF2" if _POOLED in shapes else "AutoencoderTiny"
    return VAEFiles(str(stem), kind, tuple(paths), {}, Latent(channels[0], _TAESD_FACTOR))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if path.suffix == ".pth":
        return {name: tuple(tensor.shape) for name, tensor in tensors(path).items()}
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except Exception as error:  # safetensors has an error class of its own, the disk others
        raise BackendError(f"{path}: its weights cannot be read: {error}") from error


def tensors(path: Path) -> dict[str, Any]:
    """The tensors of a weights file, by name; of a `.pth` nothing but tensors is unpickled.

    Raises:
        BackendError: The file cannot be read, or is not a table of tensors.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".pth":
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            state = load_file(path)
    except Exception as error:  # pickle, zip, safetensors, torch and the disk each have their own
        raise BackendError(f"{path}: its weights cannot be read: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise BackendError(f"{path}: expected a table of tensors")
    return state


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror or error}") from error
