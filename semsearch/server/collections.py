"""The collections of a server: indexes that lie in one folder, each opened once."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from semsearch import encoders
from semsearch.encoders.base import AnyEncoder, Encoder
from semsearch.errors import IndexNotFound, InvalidArgument, SemsearchError, StorageError
from semsearch.index import Index
from semsearch.opening import DEFAULT_ENCODER, create
from semsearch.opening import open as open_index

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_CATALOG = "catalog.db"

NAME = f"^{_NAME.pattern}$"
"""What the name of a collection looks like."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open index, and which file it was opened from."""

    index: Index
    file: tuple[int, int]


class Collections:
    """Indexes in one folder, by the names of their folders; safe to use from several threads.

    Each is opened when it is first asked for, and stays open; all that were made with one encoder
    share it. An index that is replaced by another is opened anew.

    Args:
        folder: Where the indexes lie.
        device: Where encoders run: "cpu", "cuda", ...; the best there is by default.
        runtime: What computes vectors: "auto", "openvino" or "torch".

    Raises:
        InvalidArgument: The folder is not there, or is an index itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        runtime: str = "auto",
    ) -> None:
        if not folder.is_dir():
            raise InvalidArgument(f"{folder}: no such folder; make it, or name another")
        if (folder / _CATALOG).exists():
            raise InvalidArgument(
                f"{folder} is an index itself; name the folder it lies in: {folder.parent}"
            )
        encoders.check_runtime(runtime, device)
        self.folder = folder.absolute()
        self._device = device
        self._runtime = runtime
        self._opened: dict[str, _Opened] = {}
        self._encoders: dict[str, AnyEncoder] = {}
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """Of the indexes that are there, sorted."""
        return sorted(
            path.parent.name
            for path in self.folder.glob(f"*/{_CATALOG}")
            if _NAME.fullmatch(path.parent.name)
        )

    def get(self, name: str) -> Index:
        """The index of a name.

        Raises:
            IndexNotFound: There is none, or it cannot be a name.
            StorageError: It cannot be read.
        """
        file = _identity(self._path(name) / _CATALOG)
        if file is None:
            raise IndexNotFound(f"no collection {name!r}")
        with self._lock:
            known = self._opened.get(name)
            if known is None or known.file != file:
                # One that was replaced is not closed: a search may be under way in it.
                known = self._opened[name] = _Opened(self._open(self._path(name)), file)
            return known.index

    def create(self, name: str, *, dim: int | None, chunk_tokens: int | None) -> Index:
        """Make an empty collection, with the usual encoder or for given vectors of `dim` numbers.

        Raises:
            IndexExists: There is one.
            InvalidArgument: Not a name, or a number out of range.
        """
        path = self._path(name)
        with self._lock:
            encoder = self.encoder(DEFAULT_ENCODER) if dim is None else None
            create(path, encoder=encoder, dim=dim, chunk_tokens=chunk_tokens).close()
        return self.get(name)

    def encoder(self, name: str) -> AnyEncoder:
        """The encoder of a name, shared by all who ask for it; its model is loaded when it encodes.

        Raises:
            InvalidArgument: There is no such model.
            DependencyMissing: It is not installed.
        """
        with self._lock:
            if name not in self._encoders:
                self._encoders[name] = encoders.load_any(
                    name, device=self._device, runtime=self._runtime
                )
            return self._encoders[name]

    def text_encoder(self, name: str) -> Encoder:
        """Likewise, an encoder of texts.

        Raises:
            InvalidArgument: There is no such model, or it encodes pictures.
            DependencyMissing: It is not installed.
        """
        found = self.encoder(name)
        if not isinstance(found, Encoder):
            raise InvalidArgument(f"{name} encodes pictures; name an encoder of texts")
        return found

    def models(self) -> list[str]:
        """Names of the encoders that are in use, and of the usual one."""
        used = (self.get(name).info().encoder for name in self.names())
        return sorted({DEFAULT_ENCODER, *(name for name in used if name)})

    def told(self, error: SemsearchError) -> str:
        """What an error says, but for where the collections lie: that is nobody else's business."""
        return str(error).replace(f"{self.folder}/", "")

    def close(self) -> None:
        """Close every index."""
        with self._lock:
            for opened in self._opened.values():
                opened.index.close()
            self._opened.clear()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"{name!r} is no name of a collection: up to 100 letters, digits, _, - and dots, "
                "the first not a dot"
            )
        return self.folder / name

    def _open(self, path: Path) -> Index:
        found = open_index(path, device=self._device, runtime=self._runtime)
        name = found.info().encoder
        try:
            encoder = None if name is None else self.encoder(name)
        except (InvalidArgument, ImportError):
            return found  # it says so itself when the encoder is needed
        if encoder is None:
            return found
        found.close()
        return open_index(path, encoder=encoder)


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file it is; None when there is none."""
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}") from error
    return status.st_dev, status.st_ino
