"""Checksums of rows and files: SQLite itself does not notice a changed byte in a value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from semsearch.types import Document

_ENDS = 2**16


def row_checksum(values: tuple[object, ...]) -> bytes:
    """8 bytes that change with any value of a row, or its type: as SQLite gives them back."""
    # Python's ASCII form names types and borders, and is made in half the time of one by hand.
    return hashlib.blake2b(ascii(values).encode(), digest_size=8).digest()


def older_row_checksum(values: Iterable[object]) -> bytes:
    """What `row_checksum` was in formats 1 and 2."""
    parts = []
    for value in values:
        if isinstance(value, str):
            tag, data = b"s", value.encode()
        elif isinstance(value, int):
            tag, data = b"i", b"%d" % value
        elif isinstance(value, bytes):
            tag, data = b"b", value
        else:  # no value of ours is a real number, a damaged one may be
            tag, data = b"-", repr(value).encode()
        parts.append(b"%s%d:%s" % (tag, len(data), data))
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


def content_hash(document: Document) -> bytes:
    """16 bytes that change with whatever is encoded: the title and the text."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (document.title, document.text):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's whole content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ends_checksum(path: Path) -> str:
    """SHA-256 of a file's size and its first and last 64 KiB, in hex.

    All that a reader trusts of a file's structure stands there, so that it can be checked each
    time a file is mapped, whatever its size.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        for at in (0, max(0, size - _ENDS)):
            file.seek(at)
            digest.update(file.read(_ENDS))
    return digest.hexdigest()
