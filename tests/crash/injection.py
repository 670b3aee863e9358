"""Steps of an operation, seen from outside the package: every call that changes what is on disk.

`intercepted(step)` wraps those calls, so that `step(name)` is called before and after each, and
where a file is half written. What `step` does, kill or raise, is the test's affair.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from semsearch.vectors.ivf import IVF

Step = Callable[[str], None]

SQL = "sql: "
"""How the name of a step that is a statement begins."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_WITHOUT_EFFECT = re.compile(
    r"select|begin|rollback|"
    r"pragma (?!auto_vacuum|journal_mode|incremental|wal_|\w+_(id|version) =)",
    re.I,
)
"""SQL that leaves the files as they are; a kill there is a kill at the next step."""


def distinct(steps: list[str]) -> list[int]:
    """Positions of the steps at which the files are not as they were at the one before.

    After one step is before the next; and in a transaction SQLite keeps all changes to itself
    until the commit, so of a run of statements the first and the last will do.
    """
    chosen = [
        at
        for at, (step, following) in enumerate(zip(steps, [*steps[1:], ""], strict=True))
        if not (step.startswith("after") and following.startswith("before"))
    ]
    return [
        at
        for before, at, after in zip([-1, *chosen], chosen, [*chosen[1:], -1], strict=False)
        if not all(steps[other].startswith(f"before {SQL}") for other in (before, at, after))
    ]


@contextmanager
def intercepted(step: Step) -> Iterator[None]:
    """Call `step` around everything that changes files, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "rename", "unlink", "remove", "mkdir", "ftruncate"):
            patch.setattr(os, name, _around(getattr(os, name), name, step))
        patch.setattr(os, "open", _opening(os.open, step, _descriptor_writes))
        opening = _opening(builtins.open, step, _file_writes)
        patch.setattr(builtins, "open", opening)
        patch.setattr(io, "open", opening)
        patch.setattr(shutil, "copyfile", _halved(shutil.copyfile, "copyfile", 1, step))
        patch.setattr(IVF, "save", _halved(IVF.save, "lists", 1, step))
        patch.setattr(pa, "OSFile", lambda path, _mode: _ArrowFile(path, step))
        patch.setattr(sqlite3, "connect", _connecting(sqlite3.connect, step))
        yield


def _around(function: Callable[..., Any], name: str, step: Step) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        step(f"before {name}")
        result = function(*args, **kwargs)
        step(f"after {name}")
        return result

    return wrapped


def _opening(
    function: Callable[..., Any], step: Step, writes: Callable[..., bool]
) -> Callable[..., Any]:
    around = _around(function, "open", step)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return (around if writes(*args, **kwargs) else function)(*args, **kwargs)

    return wrapped


def _file_writes(_path: object, mode: str = "r", *_args: Any, **_kwargs: Any) -> bool:
    return bool(set(mode) & set("wax+"))


def _descriptor_writes(_path: object, flags: int, *_args: Any, **_kwargs: Any) -> bool:
    return bool(flags & _WRITING)


def _halved(
    function: Callable[..., Any], name: str, path_at: int, step: Step
) -> Callable[..., Any]:
    """The file that `function` writes is also seen half written."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        target = args[path_at]
        if not isinstance(target, str | Path):  # written to memory
            return function(*args, **kwargs)
        step(f"before {name}")
        result = function(*args, **kwargs)
        _see_half(Path(target), Path(target).stat().st_size, step)
        step(f"after {name}")
        return result

    return wrapped


class _ArrowFile(io.FileIO):
    """In the place of `pyarrow.OSFile`: the file is seen not yet there, empty, half and whole."""

    def __init__(self, path: str, step: Step) -> None:
        step("before create arrow")
        super().__init__(path, "wb")
        self._path = path
        self._step = step
        step("after create arrow")

    def close(self) -> None:
        if self.closed:
            return
        size = self.tell()
        super().close()
        _see_half(Path(self._path), size, self._step)
        self._step("after write arrow")


def _see_half(path: Path, size: int, step: Step) -> None:
    whole = path.read_bytes()
    os.truncate(path, size // 2)
    step(f"half written {path.suffix}")
    path.write_bytes(whole)


def _connecting(connect: Callable[..., Any], step: Step) -> Callable[..., Any]:
    def do(name: str, function: Callable[..., Any], *args: Any) -> Any:
        step(f"before {name}")
        result = function(*args)
        step(f"after {name}")
        return result

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> Any:
            if _WITHOUT_EFFECT.match(sql):
                return super().execute(sql, *args)
            return do(_named(sql), super().execute, sql, *args)

        def executemany(self, sql: str, rows: Iterable[Any], /) -> Any:
            return do(_named(sql), super().executemany, sql, rows)

    class ConnectionWithSteps(sqlite3.Connection):
        def cursor(self, *_args: Any) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(Cursor)

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return self.cursor().execute(sql, *args)

        def commit(self) -> None:
            if self.in_transaction:
                do("commit", super().commit)

        def close(self) -> None:
            do("close", super().close)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return do("connect", lambda: connect(*args, factory=ConnectionWithSteps, **kwargs))

    return wrapped


def _named(sql: str) -> str:
    return SQL + " ".join(sql.split()[:4]).lower()
