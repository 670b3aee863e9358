"""A map as a table, for programs such as embedding-atlas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semsearch.maps import Map

if TYPE_CHECKING:
    import pyarrow

_OWN = ("id", "chunk", "title", "text", "source", "x", "y")


def write_table(drawn: Map, path: Path) -> None:
    """Write a Parquet file with a row for each passage.

    Its columns are id, chunk, title, text (of pictures the id), source, x and y, and one for each
    field of the metadata; a field of a name above is called `metadata.id`. A field whose values
    are of several kinds is a column of JSON.

    Raises:
        OSError: The file cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    passages = drawn.sample.passages
    columns: dict[str, Any] = {
        name: [getattr(hit, name) for hit in passages] for name in _OWN if name not in ("x", "y")
    }
    columns["text"] = [drawn.sample.text(hit) for hit in passages]
    columns |= {"x": drawn.points[:, 0], "y": drawn.points[:, 1]}
    for field in dict.fromkeys(name for hit in passages for name in hit.metadata):
        name = f"metadata.{field}" if field in _OWN else field
        columns[name] = _column([hit.metadata.get(field) for hit in passages])
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def _column(values: list[Any]) -> pyarrow.Array:
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False)
                 for value in values]  # fmt: skip
        return pyarrow.array(texts, pyarrow.string())
