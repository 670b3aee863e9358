"""The fast runtime of a CPU: a model compiled by OpenVINO, kept in the per-user cache.

A model is converted once (`conversion.py`, with torch); from then on its compiled form is mapped
from the cache, and torch is not imported.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders import cache
from semsearch.encoders.base import NotConvertible
from semsearch.encoders.batching import Batch, Tokens, batches
from semsearch.encoders.model_folder import ModelFolder, Source
from semsearch.errors import BackendError, DependencyMissing

if TYPE_CHECKING:
    import openvino as ov

CONVERSION = 2
"""Number of the way models are converted; another number is another entry of the cache."""

_COMPILED, _FACTS = "model.blob", "model.json"
_BUDGET = 2_048  # tokens of a batch: more of them fall out of the second-level cache
_LEAST_BUDGET = 256
_FEW_TOKENS = 512  # up to here all cores work on one batch, above each on its own


class OpenVinoRuntime:
    """A compiled model that turns token ids into vectors; safe to use from several threads.

    Args:
        core: OpenVINO.
        blob: The compiled model, as it was exported, uint8.
        precision: What it computes in, "bf16" or "f32".
        pad: Id that fills rows up.
        folder: What the model is.
    """

    def __init__(
        self, core: ov.Core, blob: NDArray[np.uint8], precision: str, pad: int, folder: ModelFolder
    ) -> None:
        self._core = core
        self._blob = blob
        self._precision = precision
        self._pad = pad
        self._folder = folder
        self._requests: dict[str, _Requests] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Runtime and precision."""
        return f"openvino {self._precision}"

    def encode(self, rows: Sequence[Tokens], prompt_length: int = 0) -> NDArray[np.float32]:  # noqa: ARG002
        """Vectors `(n, dim)` float32 of any length; see `Runtime`."""
        total = sum(map(len, rows))
        try:
            requests = self._of("LATENCY" if total <= _FEW_TOKENS else "THROUGHPUT")
            return requests.encode(rows, self._budget(total, requests.parallel))
        except RuntimeError as error:  # all that OpenVINO raises
            raise BackendError(f"OpenVINO: encoding failed: {error}") from error

    def _budget(self, total: int, parallel: int) -> int:
        return min(_BUDGET, max(_LEAST_BUDGET, -(-total // parallel)))

    def _of(self, hint: str) -> _Requests:
        import openvino as ov

        with self._lock:
            if hint not in self._requests:
                properties = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": self._precision}
                compiled = self._core.import_model(ov.Tensor(self._blob), "CPU", properties)
                self._requests[hint] = _Requests(compiled, self._pad, self._folder)
            return self._requests[hint]


class _Requests:
    """Requests of one compiled model, shared by its callers.

    Twice as many as run at the same time: one is always waiting to be begun, whatever Python does
    meanwhile, and the last batches of one caller run beside the first of the next.
    """

    def __init__(self, compiled: ov.CompiledModel, pad: int, folder: ModelFolder) -> None:
        self.parallel = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._free: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(2 * self.parallel):
            self._free.put(compiled.create_infer_request())
        self._pad = pad
        self._folder = folder

    def encode(self, rows: Sequence[Tokens], budget: int) -> NDArray[np.float32]:
        vectors = np.empty((len(rows), self._folder.dim), np.float32)
        running: deque[tuple[ov.InferRequest, Batch]] = deque()
        try:
            for batch in batches(rows, budget, self._pad, self._folder.max_tokens):
                if running and self._free.empty():
                    self._take(running, vectors)
                request = self._free.get()
                running.append((request, batch))
                request.start_async([batch.ids, batch.mask])
            while running:
                self._take(running, vectors)
        finally:
            while running:  # one has failed
                with suppress(RuntimeError):
                    self._take(running, vectors)
        return vectors

    def _take(
        self, running: deque[tuple[ov.InferRequest, Batch]], vectors: NDArray[np.float32]
    ) -> None:
        """Wait for the one that was begun first, and give its request back."""
        request, batch = running.popleft()
        try:
            request.wait()
            vectors[batch.places] = request.get_output_tensor(0).data
        finally:
            self._free.put(request)


def load(source: Source, folder: ModelFolder, fingerprint: str) -> OpenVinoRuntime:
    """The model from the cache; converts it first where it is not there or is damaged.

    Raises:
        DependencyMissing: OpenVINO is not installed.
        NotConvertible: OpenVINO cannot run this model, or not exactly enough, or the cache cannot
            be written.
        BackendError: The model cannot be loaded at all.
    """
    core = _core()
    entry = cache.cache_folder() / "openvino" / _key(core, fingerprint)
    runtime = _cached(core, entry, folder)
    if runtime is not None:
        return runtime
    try:
        entry.mkdir(parents=True, exist_ok=True)
        with _converting(entry):
            runtime = _cached(core, entry, folder)  # another process may have been quicker
            if runtime is None:
                _convert(core, entry, source, folder)
                runtime = _cached(core, entry, folder)
    except OSError as error:
        raise NotConvertible(
            f"the cache {entry} cannot be written ({error.strerror or error}); set SEMSEARCH_CACHE "
            "to a folder that can"
        ) from error
    if runtime is None:
        raise NotConvertible(f"the cache {entry} does not keep what is written to it")
    return runtime


def _core() -> ov.Core:
    try:
        with absent("openvino_telemetry", "openvino.tools.ovc"):
            import openvino as ov
    except ImportError as error:
        raise DependencyMissing(
            "OpenVINO, the fast runtime of a CPU, is not installed: pip install 'semsearch[cpu]'"
        ) from error
    return ov.Core()


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """Keep packages from being imported, those that are not yet.

    OpenVINO does without both it names: its converter is a sixth of a search's start and
    is imported by who converts; the telemetry would report its use over the network.
    """
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type] # an import raises ImportError
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


def precisions(core: ov.Core) -> list[str]:
    """What this CPU computes in, the fastest first."""
    native = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["bf16", "f32"] if "BF16" in native else ["f32"]


def _key(core: ov.Core, fingerprint: str) -> str:
    import openvino as ov

    processor = [core.get_property("CPU", "FULL_DEVICE_NAME"), *precisions(core)]
    facts = [fingerprint, CONVERSION, ov.__version__, platform.system(), processor]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _cached(core: ov.Core, entry: Path, folder: ModelFolder) -> OpenVinoRuntime | None:
    """The runtime of a whole entry; None when there is none or it is damaged.

    Raises:
        NotConvertible: The entry says so.
    """
    facts = cache.read_json(entry / _FACTS)
    if facts is None:
        return None
    if "refused" in facts:
        raise NotConvertible(facts["refused"])
    file = entry / _COMPILED
    try:
        if cache.file_digest(file) != facts["sha256"]:
            return None
        blob = np.memmap(file, np.uint8, "r")
    except OSError:
        return None
    return OpenVinoRuntime(core, blob, facts["precision"], facts["pad"], folder)


@contextmanager
def _converting(entry: Path) -> Iterator[None]:
    """One process converts, the others wait; the system frees the lock of one that dies."""
    import portalocker

    with (entry / "lock").open("ab") as file:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE)
        except portalocker.exceptions.LockException as error:
            raise OSError(f"cannot be locked: {error}") from error
        yield


def _convert(core: ov.Core, entry: Path, source: Source, folder: ModelFolder) -> None:
    """Fill an entry of the cache: with the compiled model, or with why there is none."""
    from semsearch.encoders.conversion import convert

    try:
        converted = convert(core, source, folder, precisions(core))
    except NotConvertible as error:
        cache.write_json(entry / _FACTS, {"refused": str(error)})
        return
    with cache.writing(entry / _COMPILED) as new:
        new.write_bytes(converted.blob)
        digest = cache.file_digest(new)
    facts = {"precision": converted.precision, "pad": converted.pad, "sha256": digest}
    cache.write_json(entry / _FACTS, facts)
