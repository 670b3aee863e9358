"""Parquet: every row is a record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from semsearch.errors import InvalidArgument
from semsearch.sources.fields import Fields
from semsearch.sources.record import File, Record, failure
from semsearch.types import Document, Reject

_BATCH_ROWS = 256


def read_parquet(file: File, fields: Fields) -> Iterator[Record]:
    """Read every row in batches. Position is the row, from 1.

    Nulls are left out of the metadata. Dates, times and timestamps become ISO 8601 strings,
    cut to microseconds; durations become seconds; decimals become JSON numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = done = 0
    try:
        with pq.ParquetFile(file.path) as table:
            fields.check_header(table.schema_arrow.names)
            for batch in table.iter_batches(_BATCH_ROWS):
                for item in _items(file, fields, batch, row):
                    row += 1
                    start, done = done, file.size * row // table.metadata.num_rows
                    yield Record(item, done - start, row)
    except InvalidArgument as error:
        yield Record(Reject(file.path, 0, str(error)), file.size)
    except (OSError, pa.ArrowException) as error:
        yield failure(file, error, done=done, read=row)


def _items(file: File, fields: Fields, batch: Any, before: int) -> Iterator[Document | Reject]:
    columns = [_in_microseconds(column) for column in batch.columns]
    for index in range(batch.num_rows):
        try:
            raw = _row(batch.schema.names, columns, index)
            needed = (fields.id_name(raw), fields.text_name(raw))
            present = {k: v for k, v in raw.items() if not _missing(v) or k in needed}
            yield fields.document(present, file.path)
        except InvalidArgument as error:
            yield Reject(file.path, before + index + 1, str(error))


def _in_microseconds(column: Any) -> Any:
    """Python's datetime knows no nanoseconds; pyarrow would refuse the value."""
    import pyarrow as pa

    kind = column.type
    if getattr(kind, "unit", None) != "ns":
        return column
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_time64(kind):
        return column.cast(pa.time64("us"), safe=False)
    return column.cast(pa.duration("us"), safe=False)


def _row(names: list[str], columns: list[Any], index: int) -> dict[str, Any]:
    return {name: _cell(name, column[index]) for name, column in zip(names, columns, strict=True)}


def _cell(name: str, cell: Any) -> Any:
    try:
        return _plain(cell.as_py())
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{name}: invalid UTF-8 at byte offset {error.start}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgument(f"{name}: {error}") from error


def _plain(value: Any) -> Any:
    """A value of JSON for a value of pyarrow.

    Raises:
        TypeError: There is none.
    """
    match value:
        case list() | tuple():
            return [_plain(part) for part in value]
        case dict():
            return {key: _plain(part) for key, part in value.items()}
    return _scalar(value)


def _missing(value: Any) -> bool:
    """Null, or NaN, which pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _scalar(value: Any) -> Any:
    match value:
        case None | str() | bool() | int() | float():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case UUID():
            return str(value)
    raise TypeError(f"holds {type(value).__name__}, which is not JSON; leave the column out")
