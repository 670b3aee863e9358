"""Arrow segments: immutable files of chunk keys and their vectors, memory-mapped to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semsearch.errors import IndexCorrupt, StorageError
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
    """

    header: SegmentHeader
    keys: NDArray[np.int64]
    vectors: NDArray[np.float32]


def write_segment(
    path: Path, header: SegmentHeader, keys: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    """Write a segment and flush it; `vectors` may itself be memory-mapped.

    Raises:
        StorageError: Disk full, no permission, ...; nothing is left behind.
    """
    n, dim = vectors.shape
    flat = pa.Array.from_buffers(
        pa.float32(), n * dim, [None, pa.py_buffer(np.ascontiguousarray(vectors))]
    )
    batch = pa.record_batch(
        [pa.array(keys, pa.int64()), pa.FixedSizeListArray.from_arrays(flat, dim)],
        schema=_schema(dim, header),
    )

    def write(temporary: Path) -> None:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)

    write_flushed(path, write)


def _schema(dim: int, header: SegmentHeader) -> pa.Schema:
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), dim)
    return pa.schema(
        [pa.field("id", pa.int64(), nullable=False), pa.field("vector", vector, nullable=False)],
        metadata={_HEADER_KEY: json.dumps(asdict(header)).encode()},
    )


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
        dim = batch.schema.field("vector").type.list_size
        if not batch.schema.equals(_schema(dim, header)):
            raise IndexCorrupt(f"{path}: not the columns of a segment")
        keys = batch.column("id").to_numpy(zero_copy_only=True)
        # `values` is all there is, `flatten` would heed slices, and import Arrow's compute library
        vectors = batch.column("vector").values.to_numpy(zero_copy_only=True)
        return Segment(header, keys, vectors.reshape(len(keys), dim))


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
