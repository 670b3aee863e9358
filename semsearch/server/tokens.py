"""Who may do what: bearer tokens, each with a scope."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from semsearch.errors import InvalidArgument

Scope = Literal["read", "write"]
"""What a token allows; "write" includes "read"."""

ENVIRONMENT: dict[str, Scope] = {
    "SEMSEARCH_READ_TOKEN": "read",
    "SEMSEARCH_WRITE_TOKEN": "write",
}
"""Variables that a token may be in."""

SHORTEST = 16
"""Characters of the shortest token: one that can be guessed protects nothing."""


class Tokens:
    """The tokens of a server; with none of them everything is allowed.

    Only their hashes are kept.

    Args:
        tokens: Scope and token of each.

    Raises:
        InvalidArgument: One is too short or has characters that no header holds.
    """

    def __init__(self, tokens: Iterable[tuple[Scope, str]]) -> None:
        self._hashes = [(scope, _hash(_checked(token))) for scope, token in tokens]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._hashes)

    def scope(self, token: str) -> Scope | None:
        """What a token allows; None for nothing.

        Takes the same time whichever token it is like: hashes are compared, all of them, each in
        constant time.
        """
        digest = _hash(token)
        found = {scope for scope, known in self._hashes if secrets.compare_digest(digest, known)}
        return "write" if "write" in found else "read" if found else None

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Tokens:
        """The tokens of a file and of the environment.

        Args:
            file: Lines of a scope and a token, `read ...` or `write ...`; empty ones and those
                that begin with `#` are passed over.
            environment: Where `SEMSEARCH_READ_TOKEN` and `SEMSEARCH_WRITE_TOKEN` are looked for.

        Raises:
            InvalidArgument: The file cannot be read, or a line of it; the message names the line
                but not what it says. Or it holds no token at all.
        """
        given = [(scope, environment[name]) for name, scope in ENVIRONMENT.items()
                 if environment.get(name)]  # fmt: skip
        if file is not None:
            given += list(_lines(file))
        return cls(given)


def _lines(file: Path) -> Iterator[tuple[Scope, str]]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = (isinstance(error, OSError) and error.strerror) or "not UTF-8"
        raise InvalidArgument(f"{file}: tokens cannot be read: {what}") from error
    found = False
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        if len(words) != 2 or words[0] not in get_args(Scope):
            raise InvalidArgument(f"{file}:{number}: expected `read TOKEN` or `write TOKEN`")
        found = True
        yield ("read" if words[0] == "read" else "write"), words[1]
    if not found:  # one that was emptied by mistake must not open the server to everybody
        raise InvalidArgument(f"{file}: holds no token; write a line such as `read TOKEN`")


def _checked(token: str) -> str:
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidArgument(
            f"a token needs at least {SHORTEST} printable ASCII characters without blanks; make "
            "one with `openssl rand -hex 32`"
        )
    return token


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
