"""Arguments of the public interface, checked before anything is done with them."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument
from semsearch.types import Document

DocumentLike = Document | Mapping[str, Any]


def expanded(path: str | Path) -> Path:
    """A path with the home folder for `~`; as it is where there is no such user.

    `Path.expanduser` raises a RuntimeError there.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def ids_of(ids: str | Iterable[str]) -> list[str]:
    """One id or several, as a list.

    Raises:
        InvalidArgument: Not strings.
    """
    if not isinstance(ids, Iterable):
        raise InvalidArgument(f"ids: expected a string or several, got {type(ids).__name__}")
    wanted = [ids] if isinstance(ids, str) else list(ids)
    for id_ in wanted:
        if not isinstance(id_, str):
            raise InvalidArgument(f"ids: expected strings, got {type(id_).__name__}")
    return wanted


def documents_of(
    documents: DocumentLike | Iterable[DocumentLike], *, text_needed: bool, pictures: bool = False
) -> Iterator[Document]:
    """Documents, or dicts made documents, one by one.

    Raises:
        InvalidArgument: One is wrong, empty where `text_needed`, or has an image where there is no
            place for `pictures`; says which.
    """
    given = [documents] if isinstance(documents, Document | Mapping) else documents
    if not isinstance(given, Iterable):
        raise InvalidArgument(f"documents: expected several, got {type(given).__name__}")
    for position, raw in enumerate(given):
        try:
            document = raw if isinstance(raw, Document) else Document.from_mapping(raw)
        except InvalidArgument as error:
            raise InvalidArgument(f"document {position}: {error}") from error
        if document.image is not None and not pictures:
            raise InvalidArgument(
                f"document {position} ({document.id!r}): the index holds no pictures; make one of "
                "pictures with encoder='vae'"
            )
        if text_needed and not (document.text.strip() or document.title.strip()):
            raise InvalidArgument(f"document {position} ({document.id!r}): the text is empty")
        yield document


def is_vector(query: object) -> bool:
    """Whether a query is one vector rather than several queries.

    Raises:
        InvalidArgument: Neither, nor a text.
    """
    if isinstance(query, np.ndarray):
        if query.ndim != 1:
            raise InvalidArgument(
                f"query: expected one vector, got shape {query.shape}; for several give a list: "
                "search(list(vectors))"
            )
        return True
    if not isinstance(query, Sequence):
        raise InvalidArgument(f"query: expected text or a vector, got {type(query).__name__}")
    return len(query) > 0 and isinstance(query[0], float | int | np.number)


def matrix_of(rows: Any, dim: int) -> NDArray[Any]:
    """Numbers of any real type, `(n, dim)`; also what converts to arrays, such as Arrow's."""
    try:
        matrix = np.asarray(rows)
        if matrix.dtype == object and len(matrix):
            matrix = np.stack([np.asarray(row) for row in matrix])
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"vectors: expected numbers, (n, {dim}): {error}") from error
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise InvalidArgument(f"vectors: expected shape (n, {dim}), got {matrix.shape}")
    if matrix.dtype.kind not in "fiu":
        raise InvalidArgument(f"vectors: expected numbers, (n, {dim}), got {matrix.dtype}")
    return matrix


def integer(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """An integer within bounds, whatever type it has.

    Raises:
        InvalidArgument: Not an integer, or out of bounds.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least:,} to {most:,}"
        raise InvalidArgument(f"{name}: expected an integer {bounds}, got {value!r}")
    return number


def number(name: str, value: Any, *, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within bounds, whatever type it has.

    Raises:
        InvalidArgument: Not a number, or out of bounds.
    """
    if (
        isinstance(value, int | float | np.number)
        and math.isfinite(value)
        and least <= value <= most
    ):
        return float(value)
    bounds = "" if math.isinf(least) else f" from {least:g} to {most:g}"
    raise InvalidArgument(f"{name}: expected a finite number{bounds}, got {value!r}")
