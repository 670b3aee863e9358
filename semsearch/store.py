"""Store: owns an index directory, its writer lock, its snapshots and its commits."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from semsearch.errors import (
    IndexCorrupt,
    IndexExists,
    IndexNotFound,
    InvalidArgument,
    StorageError,
)
from semsearch.segment_file import Layout
from semsearch.snapshot import Snapshot
from semsearch.storage.catalog import Catalog
from semsearch.storage.durable import storage_errors, sync
from semsearch.storage.lock import WriterLock
from semsearch.storage.segments import read_segment
from semsearch.types import LatentSpace
from semsearch.view import View

_OURS = re.compile(r"\d+\.(arrow|faiss)|.*\.tmp")


@dataclass(frozen=True, slots=True)
class Stray:
    """A file in `segments/` that no commit names.

    Attributes:
        evidence: What it proves about the index, so that it must not just be removed.
    """

    path: Path
    evidence: str | None


class Store:
    """An open index directory. Readers in any number, one writer, across processes."""

    def __init__(self, layout: Layout, catalog: Catalog, settings: Mapping[str, Any]) -> None:
        self.layout = layout
        self.settings = settings
        self.catalog = catalog
        self._view: View | None = None
        self._view_lock = threading.Lock()
        self._closed = False

    @classmethod
    def create(
        cls,
        path: Path,
        space: LatentSpace,
        settings: Mapping[str, Any],
        index_fields: Sequence[str] = (),
    ) -> Self:
        """Make an empty index.

        Raises:
            InvalidArgument: A field cannot be indexed.
            IndexExists: There is one already.
            StorageError: Disk full, no permission, `path` is a file or a folder of other things.
        """
        from semsearch.storage import field_index

        field_index.definitions(index_fields)
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            _check_free(path)  # before a lock file is put into a folder of other things
            with WriterLock(path / "writer.lock"):
                _check_free(path)
                (path / "segments").mkdir(exist_ok=True)
                all_settings = {**settings, "index": uuid.uuid4().hex, "space": space.to_json()}
                Catalog.create(path / "catalog.db", all_settings, index_fields)
            sync(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index.

        Raises:
            IndexNotFound: No index at `path`.
            UnsupportedFormat: A newer format, or not a semsearch index.
            IndexCorrupt: The catalog is damaged or missing.
        """
        file = path / "catalog.db"
        with storage_errors(path):
            if not file.exists():
                raise _no_catalog(path)
        catalog = Catalog.open(file)
        try:
            with catalog.read() as transaction:
                settings = transaction.settings()
            layout = Layout(path, settings["index"], LatentSpace.from_json(settings["space"]))
        except (KeyError, InvalidArgument) as error:
            catalog.close()
            raise IndexCorrupt(
                f"{file}: its settings are damaged ({error}); restore it from a backup"
            ) from error
        except BaseException:
            catalog.close()
            raise
        return cls(layout, catalog, settings)

    @property
    def path(self) -> Path:
        """The index directory."""
        return self.layout.folder

    @property
    def space(self) -> LatentSpace:
        """Latent space of all vectors."""
        return self.layout.space

    @contextmanager
    def read(self, *, vectors: bool = False) -> Iterator[Snapshot]:
        """The newest commit, unchanged until the block ends.

        Args:
            vectors: Map every segment first, so that a concurrent optimize cannot remove one.

        Raises:
            IndexCorrupt: A segment file is missing or damaged (only with `vectors`).
        """
        self.check_open()
        while True:
            with self.catalog.read() as transaction:
                snapshot = Snapshot(self.layout, transaction, self._current_view(transaction))
                if not vectors or self._mapped(snapshot):
                    yield snapshot
                    return

    def strays(self, snapshot: Snapshot) -> list[Stray]:
        """Files beside the segments of a snapshot that it does not name.

        Raises:
            StorageError: The folder cannot be read.
        """
        named = {file for live in snapshot.segments for file in live.files}
        folder = self.layout.segments
        with storage_errors(folder):
            found = {path for path in folder.iterdir() if path.is_file() or path.is_symlink()}
        lost = sorted(path.name for path in named - found if path.suffix == ".arrow")
        return [
            Stray(path, self._evidence(path, snapshot.version, lost))
            for path in sorted(found - named)
            if _OURS.fullmatch(path.name)
        ]

    def _evidence(self, path: Path, version: int, lost: list[str]) -> str | None:
        """What a file that no commit names proves.

        A dead writer leaves files of the next commit at most, and removes others only after it.
        """
        try:
            header = read_segment(path).header
        except StorageError:
            return None
        if header.index != self.layout.index_id:
            return "it belongs to another index: catalog.db or the segments were swapped"
        if header.version > version + 1:
            return (
                f"it is of commit {header.version}, but catalog.db ends at commit {version}: "
                "catalog.db-wal was lost, or catalog.db is an old copy"
            )
        if header.version > version and lost:
            return f"it may hold what {lost[0]} held, which is missing"
        return None

    def _mapped(self, snapshot: Snapshot) -> bool:
        """Map all segments; False when a writer replaced them while we looked."""
        try:
            for live in snapshot.segments:
                live.file.hold()
        except StorageError:
            with self.catalog.read() as newer:
                if newer.version() != snapshot.version:
                    return False
            for live in snapshot.segments:  # a derived file can be done without, these cannot
                _ = live.file.data
        return True

    def _current_view(self, transaction: Any) -> View:
        version = transaction.version()
        with self._view_lock:
            known = self._view
            if known is not None and known.version == version:
                return known
            if known is not None and known.version > version:  # another thread is ahead of us
                return View.of(transaction, self.layout, None)
            self._view = View.of(transaction, self.layout, known)
            return self._view

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def bytes_on_disk(self) -> int:
        """Size of all files of the index."""
        total = 0
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # a writer may sweep meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    def forget_files(self) -> None:
        """Map all files anew at the next read: they were changed under us."""
        with self._view_lock:
            self._view = None

    def close(self) -> None:
        """Release files and connections; the store cannot be used any more."""
        self._closed = True
        self._view = None
        self.catalog.close()

    def check_open(self) -> None:
        """Raise InvalidArgument when the store is closed."""
        if self._closed:
            raise InvalidArgument(f"{self.path}: the index is closed; open it again")


def _check_free(path: Path) -> None:
    if (path / "catalog.db").exists():
        raise IndexExists(f"{path}: there is an index already; open it, or choose another path")
    # What an earlier create leaves when it is killed is not in the way.
    others = {entry.name for entry in path.iterdir()} - {
        "writer.lock",
        "segments",
        "catalog.db.tmp",
        "catalog.db.tmp-wal",
        "catalog.db.tmp-shm",
        "catalog.db.tmp-journal",
    }
    segments = path / "segments"
    if others or (segments.is_dir() and any(segments.iterdir())):
        raise StorageError(f"{path}: the folder is not empty; choose a new or an empty one")


def _no_catalog(path: Path) -> StorageError:
    segments = path / "segments"
    if segments.is_dir() and any(segments.glob("*.arrow")):
        return IndexCorrupt(f"{path}/catalog.db: the file is missing; restore it from a backup")
    return IndexNotFound(
        f"{path}: no index here; make one with `semsearch index SOURCE --index {path}`"
    )
