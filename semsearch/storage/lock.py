"""One writer at a time, across threads and processes."""

from __future__ import annotations

import json
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from semsearch.errors import IndexLocked, StorageError
from semsearch.storage.durable import storage_errors

PATIENCE = 600.0
"""Seconds that a thread waits for the other threads of its process that write."""

_turns: dict[str, threading.RLock] = {}  # by the path of the lock


class WriterLock:
    """Advisory lock on a file, released by the operating system when its holder dies.

    Threads of one process wait for each other, other processes are refused at once. The file's
    content says who holds it; it is information only, never consulted to decide.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Who holds it already gets past this, and is refused by the file: it would wait for itself.
        self._turn = _turns.setdefault(os.path.realpath(path), threading.RLock())
        self._file: BinaryIO | None = None

    def __enter__(self) -> WriterLock:
        """Take the lock.

        Raises:
            IndexLocked: Another process has it, or this very thread, or another thread did not
                give it back within `PATIENCE`; the message names pid, host and since when.
            StorageError: The lock file cannot be opened for writing.
        """
        in_turn = self._turn.acquire(timeout=PATIENCE)
        try:
            self._file = self._locked(in_turn)
        except BaseException:
            if in_turn:
                self._turn.release()
            raise
        return self

    def _locked(self, in_turn: bool) -> BinaryIO:
        import portalocker  # by writers only: readers start sooner

        with storage_errors(self._path):
            file = _open(self._path)
        try:
            if not in_turn:
                raise portalocker.AlreadyLocked
            portalocker.lock(
                file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
            )
            with storage_errors(self._path):
                _sign(file)
        except portalocker.exceptions.LockException as error:
            holder = _holder(file)
            file.close()
            raise IndexLocked(
                f"{self._path.parent}: another writer holds this index ({holder}); "
                "wait for it to finish"
            ) from error
        except BaseException:
            file.close()
            raise
        return file

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
            self._turn.release()


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
