"""Mail: a part for each message; attachments are named, not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from email import message_from_bytes
from email.message import EmailMessage, MIMEPart
from email.policy import default
from email.utils import getaddresses, parsedate_to_datetime
from itertools import islice
from pathlib import Path

from semsearch.errors import InvalidArgument
from semsearch.sources.formats.html import parse
from semsearch.sources.formats.part import Fault, Part, label, present, tidy

MESSAGE_LIMIT = 64 * 2**20
"""Largest message that is read, in bytes with its attachments."""

_TOO_LONG = f"message: longer than {MESSAGE_LIMIT // 2**20} MiB"
_PIECE = 2**16
_QUOTED = re.compile(rb">+From ")
_NAMES = 50  # of receivers and of attachments that are kept
_HEADER = 16_384  # characters of a header that are read


def read_eml(path: str) -> Iterator[Part]:
    """The message of a file.

    Raises:
        InvalidArgument: It is too long, or none.
    """
    with Path(path).open("rb") as stream:
        data = stream.read(MESSAGE_LIMIT + 1)
    if len(data) > MESSAGE_LIMIT:
        raise InvalidArgument(_TOO_LONG)
    message = _parsed(data)
    if not any(name in message for name in ("From", "Subject", "Date", "Received")):
        raise InvalidArgument("no message: expected headers such as From: and Subject:")
    part = _part(message)
    if part.text or part.title:
        yield part


def read_mbox(path: str) -> Iterator[Part | Fault]:
    """The messages of a mailbox; one that cannot be read does not stop the rest.

    Raises:
        InvalidArgument: It is no mailbox.
    """
    size = max(1, Path(path).stat().st_size)
    for number, (data, end) in enumerate(_messages(path), start=1):
        try:
            if data is None:
                raise InvalidArgument(_TOO_LONG)
            part = _part(_parsed(data))
        except Exception as error:  # the parser raises what it likes at what it did not expect
            yield Fault(f"message {number}: {error or type(error).__name__}"[:200], number)
            continue
        if part.text or part.title:
            yield replace(
                part,
                metadata={"message": number, **part.metadata},
                fragment=f"message={number}",
                position=number,
                share=end / size,
            )


def _messages(path: str) -> Iterator[tuple[bytes | None, int]]:
    """The bytes of each message (None when it is too long), and where in the file it ends.

    A message begins with a line `From ...` at the start or behind a blank line (RFC 4155). Such
    a line of a text has been quoted with `>`, which is taken away.
    """
    with Path(path).open("rb") as stream:
        line = stream.readline(_PIECE)
        if not line.startswith(b"From "):
            raise InvalidArgument("no mailbox: expected its first line to begin with 'From '")
        while line:
            data, blank = bytearray(), False
            while (line := stream.readline(_PIECE)) and not (blank and line.startswith(b"From ")):
                blank = line in (b"\n", b"\r\n")
                if len(data) <= MESSAGE_LIMIT:
                    data += line[1:] if _QUOTED.match(line) else line
            whole = len(data) <= MESSAGE_LIMIT
            yield (bytes(data) if whole else None), stream.tell() - len(line)


def _parsed(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=default)


def _part(message: EmailMessage) -> Part:
    metadata = {
        "from": label(_header(message, "From")),
        "to": [label(name) for name in _receivers(_header(message, "To"))[:_NAMES]],
        "date": _date(_header(message, "Date")),
        "message_id": label(_header(message, "Message-ID")),
        "attachments": _attachments(message),
    }
    return Part(_body(message), label(_header(message, "Subject")), present(metadata))


def _receivers(header: str) -> list[str]:
    try:
        found = getaddresses([header])
    except RecursionError:  # as of 10,000 brackets
        return []
    return [
        f"{name} <{address}>" if name and address else name or address
        for name, address in found
        if name or address
    ]


def _header(message: EmailMessage, name: str) -> str:
    raw = next(
        (str(value) for key, value in message.raw_items() if key.lower() == name.lower()), ""
    )
    if len(raw) > _HEADER:  # parsing takes the square of its length
        return raw[:_HEADER]
    try:
        return str(message[name] or "")
    except Exception:  # a malformed header breaks the parser in many ways: then as it was sent
        return raw


def _date(header: str) -> str:
    """ISO 8601 in UTC, so that dates compare as strings; "" when it is no date."""
    try:
        date = parsedate_to_datetime(header)
        return date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC).isoformat()
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""


def _attachments(message: EmailMessage) -> list[str]:
    names = (label(part.get_filename()) for part in message.walk())
    return list(islice(filter(None, names), _NAMES))


def _body(message: EmailMessage) -> str:
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        content = _decoded(part) if part else ""
        text = parse(content).text if kind == "html" else tidy(content)
        if text.strip():
            return text
    return ""


def _decoded(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except LookupError:  # a charset that Python does not know
        payload = part.get_payload(decode=True)
        return payload.decode(errors="replace") if isinstance(payload, bytes) else ""
