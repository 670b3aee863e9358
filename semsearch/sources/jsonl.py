"""JSON Lines, plain or gzip: every line is a record."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from semsearch.errors import InvalidArgument
from semsearch.sources.fields import Fields
from semsearch.sources.lines import Line, Stream, lines
from semsearch.sources.record import READ_ERRORS, File, Record, failure
from semsearch.types import Document, Reject


def read_jsonl(file: File, fields: Fields) -> Iterator[Record]:
    """Read every line; blank ones are skipped. Position is the physical line."""
    done = number = 0
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(Path(file.path).open("rb"))
            for line in lines(_unpacked(file, raw, stack)):
                number = line.number
                if line.data is not None and not line.data.strip():
                    continue
                item = _item(file, fields, line)
                start, done = done, raw.tell()
                yield Record(item, done - start, number)
    except READ_ERRORS as error:
        yield failure(file, error, done=done, read=number)


def _unpacked(file: File, raw: BinaryIO, stack: ExitStack) -> Stream:
    if file.kind != "jsonl.gz":
        return raw
    # Not wrapped in a larger buffer: that would lose good lines when a read of it fails.
    return stack.enter_context(gzip.GzipFile(fileobj=raw))


def _item(file: File, fields: Fields, line: Line) -> Document | Reject:
    try:
        return fields.document(_parsed(line.text()), file.path)
    except InvalidArgument as error:
        return Reject(file.path, line.number, str(error))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _parsed(text: str) -> dict[str, Any]:
    try:
        raw = _DECODER.decode(text.rstrip())
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"invalid JSON: {error.msg} at character {error.pos + 1}") from error
    except ValueError as error:  # NaN, or more digits than Python turns into an int
        raise InvalidArgument(f"invalid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgument("JSON nested too deeply; flatten it") from error
    if not isinstance(raw, dict):
        raise InvalidArgument(f"expected a JSON object, got {type(raw).__name__}")
    return raw
