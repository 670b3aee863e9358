"""Arrow segments: immutable files of chunk keys and their vectors, memory-mapped to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semsearch.errors import IndexCorrupt, StorageError
from semsearch.points import Latents, Points
from semsearch.storage.durable import write_flushed

_HEADER_KEY = b"semsearch"


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment file says of itself, so that a swapped or foreign file is noticed.

    Attributes:
        index: Identifier of the index it belongs to.
        number: Its number, also in the file's name.
        version: Version of the commit that made it.
        fingerprint: Latent space of its vectors.
    """

    index: str
    number: int
    version: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One mapped segment.

    Attributes:
        keys: `(n,)` int64, strictly ascending.
        vectors: `(n, dim)` float32 unit rows, a view of the mapped file.
        latents: `(n, size)` float16, likewise; of size 0 in a space that does not decode.
    """

    header: SegmentHeader
    keys: NDArray[np.int64]
    vectors: NDArray[np.float32]
    latents: Latents

    @property
    def points(self) -> Points:
        """Vectors and latents."""
        return Points(self.vectors, self.latents)


def write_segment(
    path: Path, header: SegmentHeader, keys: NDArray[np.int64], points: Points
) -> None:
    """Write a segment and flush it; the points may themselves be memory-mapped.

    Raises:
        StorageError: Disk full, no permission, ...; nothing is left behind.
    """
    columns = [pa.array(keys, pa.int64()), _column(points.vectors)]
    if size := points.latents.shape[1]:
        columns.append(_column(points.latents))
    schema = _schema(points.vectors.shape[1], size, header)
    batch = pa.record_batch(columns, schema=schema)

    def write(temporary: Path) -> None:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)

    write_flushed(path, write)


def _column(rows: NDArray[Any]) -> Any:
    n, size = rows.shape
    buffer = pa.py_buffer(np.ascontiguousarray(rows))
    flat = pa.Array.from_buffers(pa.from_numpy_dtype(rows.dtype), n * size, [None, buffer])
    return pa.FixedSizeListArray.from_arrays(flat, size)


def _schema(dim: int, latent_size: int, header: SegmentHeader) -> pa.Schema:
    fields = [pa.field("id", pa.int64(), nullable=False), _field("vector", pa.float32(), dim)]
    if latent_size:
        fields.append(_field("latent", pa.float16(), latent_size))
    return pa.schema(fields, metadata={_HEADER_KEY: json.dumps(asdict(header)).encode()})


def _field(name: str, type_: Any, size: int) -> Any:
    rows = pa.list_(pa.field("item", type_, nullable=False), size)
    return pa.field(name, rows, nullable=False)


def read_segment(path: Path) -> Segment:
    """Map a segment file; only its frame is read.

    Raises:
        IndexCorrupt: Missing, cut short, or not a segment.
    """
    with _damage(path), pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        header = SegmentHeader(**json.loads((reader.schema.metadata or {})[_HEADER_KEY]))
        if reader.num_record_batches != 1:
            raise IndexCorrupt(f"{path}: expected one record batch")
        batch = reader.get_batch(0)
        batch.validate()
        sizes = {one.name: one.type.list_size for one in batch.schema if one.name != "id"}
        if not batch.schema.equals(_schema(sizes["vector"], sizes.get("latent", 0), header)):
            raise IndexCorrupt(f"{path}: not the columns of a segment")
        keys = batch.column("id").to_numpy(zero_copy_only=True)
        latents = _rows(batch, "latent") if "latent" in sizes else _no_latents(len(keys))
        return Segment(header, keys, _rows(batch, "vector"), latents)


def _rows(batch: Any, name: str) -> NDArray[Any]:
    column = batch.column(name)
    # `values` is all there is, `flatten` would heed slices, and import Arrow's compute library
    flat: NDArray[Any] = column.values.to_numpy(zero_copy_only=True)
    return flat.reshape(len(column), column.type.list_size)


def _no_latents(n: int) -> Latents:
    return np.empty((n, 0), np.float16)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise IndexCorrupt(f"{path}: the file is missing") from error
    except PermissionError as error:
        raise StorageError(f"{path}: no permission to read it") from error
    except IndexCorrupt:
        raise
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise IndexCorrupt(f"{path}: damaged ({error})") from error
