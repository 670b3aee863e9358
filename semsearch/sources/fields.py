"""Which fields of a record become which parts of a document."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from semsearch.errors import InvalidArgument
from semsearch.types import Document

_FIELDS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields that hold id and text.

    Attributes:
        id: Field of the id; None means `_id`, else `id`.
        text: Field of the text; None means `text`.
    """

    id: str | None = None
    text: str | None = None

    def id_name(self, present: Collection[str]) -> str:
        """The field of the id among those present.

        Raises:
            InvalidArgument: There is none.
        """
        return _choose("id", ("_id", "id") if self.id is None else (self.id,), present)

    def text_name(self, present: Collection[str]) -> str:
        """The field of the text among those present.

        Raises:
            InvalidArgument: There is none.
        """
        return _choose("text", ("text",) if self.text is None else (self.text,), present)

    def check_header(self, names: list[str]) -> None:
        """See that a table has an id and a text column, and no column twice.

        Raises:
            InvalidArgument: It does not.
        """
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise InvalidArgument(f"two columns are called {_shown(name)}; rename one")
            seen.add(name)
        self.id_name(names)
        self.text_name(names)

    def document(self, raw: Mapping[str, Any], source: str) -> Document:
        """Make a document of a record.

        `title` is the title. Every other field becomes metadata; an object called `metadata` is
        merged into it, and where both have a key, the record's own field wins.

        Raises:
            InvalidArgument: A field is missing or wrong.
        """
        id_name, text_name = self.id_name(raw), self.text_name(raw)
        rest = {name: value for name, value in raw.items() if name not in (id_name, text_name)}
        title = rest.pop("title", None)
        text = _string(text_name, raw[text_name])
        title = "" if title is None else _string("title", title)
        if not (text.strip() or title.strip()):  # collections hold documents that are only a title
            raise InvalidArgument(f"{text_name}: empty")
        return Document(
            id=_id(id_name, raw[id_name]),
            text=text,
            title=title,
            metadata=_merged(rest),
            source=source,
        )


def _choose(role: str, wanted: tuple[str, ...], present: Collection[str]) -> str:
    for name in wanted:
        if name in present:
            return name
    names = ", ".join(_shown(name) for name in islice(present, _FIELDS_SHOWN))
    more = ", ..." if len(present) > _FIELDS_SHOWN else ""
    raise InvalidArgument(
        f"no {role} field: expected {' or '.join(map(repr, wanted))}, "
        f"the fields are {names or 'none'}{more}; name yours with --{role}-field"
    )


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else name[:57] + "...")


def _id(name: str, value: object) -> str:
    if type(value) is int:  # bool is an int, and True is no id
        return str(value)
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}: expected a string or an integer, got {_kind(value)}")
    return value


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}: expected a string, got {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _merged(rest: dict[str, Any]) -> dict[str, Any]:
    if "metadata" in rest and rest["metadata"] is None:
        del rest["metadata"]
    if isinstance(rest.get("metadata"), dict):
        return {**rest.pop("metadata"), **rest}
    return rest
