"""The per-user cache: what can be made again, and so may be deleted at any time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

_SETTLED_NS = 2_000_000_000  # a file written later than this ago may change within one time stamp


def cache_folder() -> Path:
    """`$SEMSEARCH_CACHE`, or the system's place for a user's caches."""
    given = os.environ.get("SEMSEARCH_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("semsearch", appauthor=False)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its name when the block ends without an error.

    Whoever reads `path` meets a whole file: the old one or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    new = Path(name)
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small file that `read_json` takes only as a whole.

    Raises:
        OSError: Disk full, no permission, ...
    """
    body = json.dumps(content, sort_keys=True)
    with writing(path) as new:
        new.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None when it is absent, unreadable or not what was written."""
    try:
        check, _, body = path.read_text(encoding="utf-8").rstrip("\n").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(body.encode()).hexdigest() != check:
        return None
    content: dict[str, Any] = json.loads(body)
    return content


def file_digest(path: Path) -> str:
    """SHA-256 of a file; remembered, also by other processes, until the file changes.

    Raises:
        OSError: The file cannot be read.
    """
    state = path.stat()
    identity = (str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ino)
    return _digest_of_state(path, identity)


@lru_cache(maxsize=256)
def _digest_of_state(path: Path, identity: tuple[str, int, int, int]) -> str:
    name = hashlib.sha256(identity[0].encode("utf-8", "surrogateescape")).hexdigest()
    entry = cache_folder() / "digests" / f"{name}.json"
    known = read_json(entry)
    if known is not None and known["file"] == list(identity):
        return str(known["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - identity[2] > _SETTLED_NS:
        with suppress(OSError):  # hashing again costs time, nothing else
            write_json(entry, {"file": list(identity), "sha256": digest})
    return digest
