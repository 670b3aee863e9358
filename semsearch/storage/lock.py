"""One writer at a time, across processes."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from semsearch.errors import IndexLocked, StorageError
from semsearch.storage.durable import storage_errors


class WriterLock:
    """Advisory lock on a file, released by the operating system when its holder dies.

    The file's content says who holds it; it is information only, never consulted to decide.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> WriterLock:
        """Take the lock.

        Raises:
            IndexLocked: Another writer has it; the message names pid, host and since when.
            StorageError: The lock file cannot be opened for writing.
        """
        import portalocker  # by writers only: readers start sooner

        with storage_errors(self._path):
            file = _open(self._path)
        try:
            portalocker.lock(
                file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
            )
        except portalocker.exceptions.LockException as error:
            holder = _holder(file)
            file.close()
            raise IndexLocked(
                f"{self._path.parent}: another writer holds this index ({holder}); "
                "wait for it to finish"
            ) from error
        self._file = file
        try:
            with storage_errors(self._path):
                _sign(file)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def check(self) -> None:
        """Make sure that the file that is locked is still the one that other writers would lock.

        Raises:
            StorageError: It was deleted or replaced.
        """
        with storage_errors(self._path):
            if (
                self._file is None
                or not self._path.exists()
                or not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
            ):
                raise StorageError(
                    f"{self._path}: the lock file was deleted while it was held, so another "
                    "writer may have been let in; try again"
                )

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()  # closing releases the lock
            self._file = None


def _open(path: Path) -> BinaryIO:
    # A link could lead out of the index, and what it leads to would be overwritten.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "rb+", buffering=0)


def _sign(file: BinaryIO) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder).encode())


def _holder(file: BinaryIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"pid {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "it has not signed the lock file"
