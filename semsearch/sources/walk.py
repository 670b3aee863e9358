"""The documents of a folder."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from semsearch.sources.kinds import LANGUAGES, Kinds, suffix_of
from semsearch.sources.record import File
from semsearch.types import Reject

NO_SUFFIX = "no suffix"
LINKED_FOLDER = "linked folder"
INSTALLED = "installed packages"
EMPTY = "empty"


def printable(path: str) -> str:
    """A path that can be shown and stored, whatever bytes the file system has in it."""
    return os.fsencode(path).decode(errors="backslashreplace")


@dataclass(slots=True)
class Walk:
    """What was found in a folder.

    Attributes:
        root: The folder, resolved.
        kinds: Which files are read.
        parts: Its files of a kind that is read, and what looked like one and cannot be read.
        empty: Source code without a character: nothing to read, and nothing is wrong with it.
        skipped: How many files no reader reads, by suffix; folders behind links and
            folders of installed packages count too, and what is empty.
    """

    root: Path
    kinds: Kinds
    parts: list[File | Reject] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Find the files that are read, in the order of their paths; hidden ones are left out."""
        folders = [str(self.root)]
        while folders:
            for entry in self._entries(folders.pop()):
                if not _is_folder(entry):
                    self._take(entry)
                elif _is_installed(entry):
                    self.skipped[INSTALLED] += 1
                else:
                    folders.append(entry.path)
        self.parts.sort(key=lambda part: part.path if isinstance(part, File) else part.source)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            self._refuse(folder, f"cannot be read: {error.strerror}")
            return []

    def _take(self, entry: os.DirEntry[str]) -> None:
        status, problem = _status(entry)
        suffix = suffix_of(entry.name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            self.skipped[LINKED_FOLDER] += 1
        elif suffix not in self.kinds.in_folders:
            self.skipped[suffix or NO_SUFFIX] += 1
        elif status is not None and not status.st_size and suffix in LANGUAGES:
            self.skipped[EMPTY] += 1  # such as __init__.py
            self.empty.append(printable(entry.path))
        elif status is None:
            self._refuse(entry.path, f"cannot be read: {problem}")
        elif not stat.S_ISREG(status.st_mode):
            self._refuse(entry.path, "not a regular file")
        elif printable(entry.path) != entry.path:
            self._refuse(entry.path, "its path is not UTF-8; rename it")
        else:
            kind = self.kinds.in_folders[suffix]
            self.parts.append(File(kind, entry.path, self._id(entry.path), status.st_size))

    def _id(self, path: str) -> str:
        below = path.removeprefix(str(self.root)).lstrip(os.sep)
        return f"{self.root.name}/{below.replace(os.sep, '/')}"

    def _refuse(self, path: str, reason: str) -> None:
        self.parts.append(Reject(printable(path), 0, reason))


def _is_installed(folder: os.DirEntry[str]) -> bool:
    """Whether a folder holds what npm or a Python environment installed: the code of others."""
    return folder.name == "node_modules" or os.access(f"{folder.path}/pyvenv.cfg", os.F_OK)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # _status meets it again and says it
        return False


def _status(entry: os.DirEntry[str]) -> tuple[os.stat_result | None, str | None]:
    try:
        return entry.stat(), None
    except OSError as error:  # a link to nowhere, to itself, or behind a locked folder
        return None, error.strerror
