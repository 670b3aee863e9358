"""What the readers hand out, and the file they are given."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from semsearch.sources.kinds import Kind
from semsearch.types import Document, Reject

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a file, plain or gzip, may raise once it is open."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the input: read, or refused.

    Attributes:
        item: The good document, or why there is none.
        bytes: Bytes of input that this record consumed, as they lie on disk; for progress. Over
            a run they add up to at most `Sources.total_bytes`.
        position: Line, row, page, slide, section, chapter or message of the record in its source,
            from 1; 0 when it is the whole file.
    """

    item: Document | Reject
    bytes: int
    position: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """One file of the plan.

    Attributes:
        kind: Which reader reads it.
        path: Absolute path; the source of its documents.
        id: Document id, for a file that is one document.
        size: Bytes on disk when the plan was made.
    """

    kind: Kind
    path: str
    id: str
    size: int


def failure(file: File, error: Exception, *, done: int = 0, read: int = 0) -> Record:
    """The one reject of a file that could not be read, or not to its end.

    Args:
        file: The file.
        error: What reading raised.
        done: Bytes of it that records have accounted for.
        read: Line or row that was read last.
    """
    what = (isinstance(error, OSError) and error.strerror) or str(error)
    kept = "; the records before it were read" if read else ""
    position = read + 1 if read else 0
    reject = Reject(file.path, position, f"cannot be read: {what}{kept}")
    return Record(reject, max(0, file.size - done), position)
