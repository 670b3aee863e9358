"""The child process: it parses the files that it is told, and may be ended at any time.

Requests come over standard input and answers go over standard output, each a line of JSON: a
Part, a Fault, and null behind the last one of a file.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import BinaryIO

from semsearch.errors import InvalidArgument, SemsearchError
from semsearch.sources.formats.part import Fault, Part

SECONDS = 60
"""Time that a file may take, for parsing alone; a second more for each MiB of it."""

MEMORY = 2 * 2**30
"""Address space of the process, in bytes, where the system can limit it (Linux)."""

TEXT_LIMIT = 64 * 2**20
"""Characters that a file may hold, its own size beside them: a small one may hide much."""

PARTS_LIMIT = 100_000
"""Parts that a file may hold, one for each KiB of its size beside them."""

OUT_OF_MEMORY = f"needs more than {MEMORY // 2**30} GiB of memory"

EXIT_MEMORY = 3
"""Exit status when memory ran out where no fault could be told any more."""

_READERS = {
    "pdf": ("pdf", "read_pdf"),
    "docx": ("docx", "read_docx"),
    "pptx": ("pptx", "read_pptx"),
    "html": ("html", "read_html"),
    "epub": ("epub", "read_epub"),
    "eml": ("mail", "read_eml"),
    "mbox": ("mail", "read_mbox"),
}


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints does no harm
    _limit_memory()
    try:
        for request in sys.stdin.buffer:
            _answer(answers, **json.loads(request))
    except MemoryError:
        os._exit(EXIT_MEMORY)


def allowed_seconds(size: int) -> int:
    """How long a file of `size` bytes may take."""
    return SECONDS + size // 2**20


def _limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):  # Windows has none, macOS may refuse
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _answer(answers: BinaryIO, kind: str, path: str, size: int) -> None:
    found = _or_nothing(_within_limits(_guarded(kind, path), size))
    left = float(allowed_seconds(size))
    while True:
        began = time.monotonic()
        # It ends the process from a thread of its own, even out of a loop in a library's C code.
        faulthandler.dump_traceback_later(max(left, 0.001), exit=True, file=sys.stderr)
        item = next(found, None)
        faulthandler.cancel_dump_traceback_later()
        left -= time.monotonic() - began
        answers.write(json.dumps(item and asdict(item)).encode() + b"\n")
        answers.flush()
        if item is None:
            return


def _guarded(kind: str, path: str) -> Iterator[Part | Fault]:
    """What the reader finds; whatever stops it becomes the last fault."""
    module, reader = _READERS[kind]
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise InvalidArgument("not a regular file")
        yield from getattr(import_module(f"semsearch.sources.formats.{module}"), reader)(path)
    except SemsearchError as error:
        yield Fault(str(error))
    except OSError as error:
        yield Fault(f"cannot be read: {error.strerror or error}")
    except MemoryError:
        yield Fault(OUT_OF_MEMORY)
    except Exception as error:  # of a parser, at a file that is not as it should be
        yield Fault(f"damaged, or not {kind}: {error or type(error).__name__}"[:200])


def _within_limits(found: Iterator[Part | Fault], size: int) -> Iterator[Part | Fault]:
    text_left, parts_left = TEXT_LIMIT + size, PARTS_LIMIT + size // 2**10
    for item in found:
        text_left -= len(item.text) if isinstance(item, Part) else 0
        parts_left -= 1
        if text_left < 0:
            yield Fault(f"holds more than {(TEXT_LIMIT + size) // 2**20} MiB of text; split it up")
            return
        if parts_left < 0:
            yield Fault(f"holds more than {PARTS_LIMIT + size // 2**10:,} parts; split it up")
            return
        yield item


def _or_nothing(found: Iterator[Part | Fault]) -> Iterator[Part | Fault]:
    """What was found; nothing at all is a fault."""
    first = next(found, None)
    yield first or Fault("holds no text")
    yield from found


if __name__ == "__main__":
    main()
