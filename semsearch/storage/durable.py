"""Writing files so that they are whole or absent, also after a power cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from semsearch.errors import StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{path}: the disk is full ({error.strerror}); free some space and try again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}: no permission ({error.strerror}); check the owner and mode of {path}"
    return f"{where}: {error.strerror or error}"


def write_flushed(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new file and flush it; its name lasts only after `rename_flushed`.

    Raises:
        StorageError: Disk full, no permission, ...; the file is removed.
    """
    with storage_errors(path.parent):
        try:
            write(path)
            sync(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def rename_flushed(folder: Path, names: Mapping[str, str]) -> None:
    """Give files in a folder their new names, whatever had those before, and flush the folder.

    Raises:
        StorageError: No permission, a file is gone, ...
    """
    with storage_errors(folder):
        for old, new in names.items():
            os.replace(folder / old, folder / new)  # noqa: PTH105 - one seam for fault injection
        sync(folder)


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
