"""storage/: the catalog's transactions, segment files, the lock, durable writes, checksums."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from enum import Enum, IntEnum
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from semsearch import IndexCorrupt, IndexLocked, Reject, Span, StorageError, UnsupportedFormat
from semsearch.points import Points
from semsearch.storage import lock, schema
from semsearch.storage.catalog import Catalog
from semsearch.storage.checksum import (
    ends_checksum,
    file_checksum,
    older_row_checksum,
    row_checksum,
)
from semsearch.storage.durable import rename_flushed, storage_errors, write_flushed
from semsearch.storage.lock import WriterLock
from semsearch.storage.rows import (
    ChunkRow,
    DocumentRow,
    SegmentRow,
    State,
    chunk_row,
    document_row,
    intact,
    passage_of,
    span_of,
)
from semsearch.storage.segments import SegmentHeader, read_segment, write_segment
from semsearch.storage.writing import WriteTransaction

HEADER = SegmentHeader(index="an index", number=7, version=3, fingerprint="a space")


# --- segments -----------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn) -> NDArray[np.float32]:
    shape = draw(st.tuples(st.integers(0, 20), st.integers(1, 9)))
    numbers = st.floats(width=32, allow_nan=False)
    return draw(arrays(np.float32, shape, elements=numbers))


@given(vectors=matrices(), first=st.integers(1, 2**62), step=st.integers(1, 1000))
@settings(max_examples=60, deadline=None)
def test_a_segment_gives_back_what_was_written(
    memory: Path, vectors: NDArray[np.float32], first: int, step: int
) -> None:
    path = memory / "round-trip.arrow"
    keys = np.arange(len(vectors), dtype=np.int64) * step + first
    write_segment(path, HEADER, keys, Points.of(vectors))
    segment = read_segment(path)
    assert segment.header == HEADER
    np.testing.assert_array_equal(segment.keys, keys)
    np.testing.assert_array_equal(segment.vectors, vectors)
    assert segment.vectors.shape == vectors.shape
    assert segment.vectors.dtype == np.float32


def test_a_segment_may_be_written_from_a_mapped_one_and_from_strided_rows(folder: Path) -> None:
    vectors = np.arange(24, dtype=np.float32).reshape(6, 4)
    keys = np.arange(3, dtype=np.int64)
    write_segment(folder / "1.arrow", HEADER, keys, Points.of(vectors[::2]))
    write_segment(folder / "2.arrow", HEADER, keys, read_segment(folder / "1.arrow").points)
    np.testing.assert_array_equal(read_segment(folder / "2.arrow").vectors, vectors[::2])


def test_a_segment_is_mapped_and_cannot_be_written_through(folder: Path) -> None:
    write_segment(folder / "1.arrow", HEADER, np.arange(2), Points.of(np.ones((2, 4), np.float32)))
    segment = read_segment(folder / "1.arrow")
    with pytest.raises(ValueError, match="read-only"):
        segment.vectors[0] = 0


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("id", pa.int64())], metadata={"semsearch": json.dumps({"index": "x"})}),
        pa.schema([("id", pa.int64())]),
        pa.schema(
            [("id", pa.int64()), ("vector", pa.list_(pa.float32(), 2))],
            metadata={"semsearch": json.dumps({"index": "", "number": 1, "version": 1})},
        ),
        pa.schema(
            [("id", pa.int64()), ("vector", pa.list_(pa.float32(), 2))],
            metadata={
                "semsearch": json.dumps(
                    {"index": "", "number": 1, "version": 1, "fingerprint": "nullable columns"}
                )
            },
        ),
    ],
)
def test_another_arrow_file_is_not_a_segment(folder: Path, schema: pa.Schema) -> None:
    path = folder / "1.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([], field.type) for field in schema], schema))
    with pytest.raises(IndexCorrupt, match=r"1\.arrow"):
        read_segment(path)


def test_a_segment_of_several_batches_is_not_ours(folder: Path) -> None:
    path = folder / "1.arrow"
    write_segment(path, HEADER, np.arange(2), Points.of(np.ones((2, 4), np.float32)))
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
        writer.write_table(table)
    with pytest.raises(IndexCorrupt, match="one record batch"):
        read_segment(path)


# --- durable writes -----------------------------------------------------------------------------


def test_a_failed_write_leaves_nothing(folder: Path) -> None:

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="the disk is full"):
        write_flushed(folder / "file", fail)
    assert not list(folder.iterdir())


def test_a_file_is_replaced_as_a_whole(folder: Path) -> None:
    path = folder / "file"
    path.write_text("old")
    write_flushed(folder / "new", lambda new: (new.write_text("new"), None)[1])
    rename_flushed(folder, {"new": "file"})
    assert path.read_text() == "new"
    assert [entry.name for entry in folder.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "the disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "no permission"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_of_the_system_say_where_and_what(folder: Path, number: int, says: str) -> None:
    with pytest.raises(StorageError, match=says) as caught, storage_errors(folder):
        raise OSError(number, os.strerror(number), str(folder))
    assert str(folder) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


# --- checksums ----------------------------------------------------------------------------------


def test_a_row_checksum_knows_types_borders_and_order() -> None:
    rows: list[tuple[object, ...]] = [
        (),
        ("",),
        ("", ""),
        ("ab", "c"),
        ("a", "bc"),
        ("c", "ab"),
        (b"ab", "c"),
        (1, 2),
        (12,),
        ("12",),
        (b"12",),
        (12.0,),
        (None,),
        ("None",),
        (-1,),
        ("é",),
        ("\\xe9",),
        ("e\u0301",),
        ("'",),
        ('"',),
    ]
    for checksum in (row_checksum, older_row_checksum):
        assert len({checksum(row) for row in rows}) == len(rows)


class Word(str, Enum):  # noqa: UP042 (as users have them)
    ONE = "one"


class Number(IntEnum):
    ONE = 1


def test_a_row_is_sealed_as_it_will_be_read() -> None:
    with sqlite3.connect(":memory:") as connection:
        for source, position in [(np.str_("a"), Number.ONE), (Word.ONE, True)]:
            (row,) = schema.sealed(
                schema.rejects, [{"source": source, "position": position, "reason": ""}]
            )
            read = connection.execute("SELECT ?, ?, ?, ?", tuple(row.values())).fetchone()
            assert intact(read)


def test_rows_of_older_formats_are_intact() -> None:
    values = ("a.md", 1, "no text")
    assert intact((*values, older_row_checksum(values)))
    assert not intact((*values[:2], "a text", older_row_checksum(values)))


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 131_072, 200_000])
def test_the_checksum_of_the_ends_sees_every_byte_of_them_and_the_size(
    folder: Path, size: int
) -> None:
    path = folder / "file"
    content = bytearray(os.urandom(size))
    path.write_bytes(content)
    ends, whole = ends_checksum(path), file_checksum(path)
    path.write_bytes(content + b"x")
    assert ends_checksum(path) != ends
    assert file_checksum(path) != whole
    for at in {0, size - 1, min(size, 65_536) - 1, max(0, size - 65_536)} if size else ():
        changed = content.copy()
        changed[at] ^= 1
        path.write_bytes(changed)
        assert ends_checksum(path) != ends


# --- the lock -----------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from semsearch.storage.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_hears_who_holds_the_lock_and_a_killed_one_frees_it(folder: Path) -> None:
    path = folder / "writer.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(IndexLocked, match=rf"pid {holder.pid} on .* since 20.*wait"):
            WriterLock(path).__enter__()
        holder.kill()
    with WriterLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_the_lock_excludes_within_a_thread_too_and_can_be_taken_again(folder: Path) -> None:
    path = folder / "writer.lock"
    for _ in range(2):
        with WriterLock(path), pytest.raises(IndexLocked):
            WriterLock(path).__enter__()


def test_threads_of_a_process_wait_for_their_turn(folder: Path) -> None:
    inside, most = 0, 0

    def write(number: int) -> None:
        nonlocal inside, most
        link = folder / f"link-{number}"
        link.symlink_to(folder)  # another name of the same index
        with WriterLock(link / "writer.lock"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert most == 1


def test_a_thread_does_not_wait_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    path = folder / "writer.lock"

    def write() -> None:
        with WriterLock(path):
            pass

    with ThreadPoolExecutor(1) as pool:
        with WriterLock(path), pytest.raises(IndexLocked, match=f"pid {os.getpid()} on"):
            pool.submit(write).result()
        pool.submit(write).result()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"[1]", b"{}", b"x" * 10_000])
def test_what_stands_in_the_lock_file_never_matters(folder: Path, content: bytes) -> None:
    path = folder / "writer.lock"
    path.write_bytes(content)
    with WriterLock(path):
        assert json.loads(path.read_bytes())["pid"] == os.getpid()
        path.write_bytes(content)
        with pytest.raises(IndexLocked, match="has not signed"):
            WriterLock(path).__enter__()


def test_a_link_in_place_of_the_lock_is_refused_and_its_target_untouched(folder: Path) -> None:
    target = folder / "precious"
    target.write_text("mine")
    (folder / "writer.lock").symlink_to(target)
    with pytest.raises(StorageError, match=r"writer\.lock"):
        WriterLock(folder / "writer.lock").__enter__()
    assert target.read_text() == "mine"


def test_a_folder_in_place_of_the_lock_is_refused(folder: Path) -> None:
    with pytest.raises(StorageError, match=str(folder)):
        WriterLock(folder).__enter__()


# --- the catalog --------------------------------------------------------------------------------


@pytest.fixture
def catalog(folder: Path) -> Iterator[Catalog]:
    Catalog.create(folder / "catalog.db", {"name": "x", "list": [1, None], "text": "日本"})
    with closing(Catalog.open(folder / "catalog.db")) as catalog:
        yield catalog


def document(key: int, **changes: object) -> DocumentRow:
    row = DocumentRow(key, f"id {key}", "title", '{"a": 1}', None, b"hash", encoded=True)
    return row._replace(**changes)  # type: ignore[arg-type]


def chunk(key: int, owner: int, ordinal: int = 0) -> ChunkRow:
    return ChunkRow(key, owner, ordinal, 1, 3, " abc d")


def test_a_new_catalog_is_empty_and_keeps_its_settings(catalog: Catalog) -> None:
    with catalog.read() as transaction:
        kept = transaction.settings()
        assert {key: kept[key] for key in ("name", "list", "text")} == {
            "name": "x",
            "list": [1, None],
            "text": "日本",
        }
        assert transaction.state() == State(1, 1, 1, 0, 0)
        assert transaction.segments() == []
        assert transaction.rejects() == []
        assert transaction.counted() == (0, 0)
        assert transaction.integrity_problems() == []


def test_rows_come_back_as_they_were_put(catalog: Catalog) -> None:
    odd = document(2, id="ü'\"%_", title="", metadata="{}", source="s", encoded=False)
    segment = SegmentRow(3, 10, 12, 3, 1, 99, "sha", "ends", "ivf", 5, "sha too", "ends too")
    reject = Reject("file", 3, "why")
    with catalog.write() as transaction:
        transaction.put_documents([document(1), odd])
        transaction.insert_chunks([chunk(10, 1), chunk(11, 2, 1), chunk(12, 2)])
        transaction.put_segment(segment)
        transaction.put_rejects([reject])
        transaction.put_state(State(2, 4, 13, 2, 3))
    with catalog.read() as transaction:
        assert transaction.documents([odd.id, "nobody"]) == {odd.id: odd}
        assert transaction.document_page(0) == [document(1), odd]
        assert transaction.document_page(1) == [odd]
        found = transaction.found([10, 12, 13])
        parts = {key: (chunk_row(row[:7]), document_row(row[7:])) for key, row in found.items()}
        assert parts == {
            10: (chunk(10, 1), document(1)),
            12: (chunk(12, 2), odd),
        }
        assert (span_of(found[10]), passage_of(found[10])) == (Span(1, 4), "abc")
        assert not any(row.damage for row in found.values())
        assert transaction.chunks_of([2, 7]) == {2: [chunk(12, 2), chunk(11, 2, 1)], 7: []}
        assert transaction.chunk_documents([10, 12]) == {10: 1, 12: 2}
        assert transaction.chunk_keys_between(10, 11) == [10, 11]
        assert transaction.segments() == [segment]
        assert transaction.rejects() == [reject]
        assert transaction.reject_count() == 1
        assert (transaction.state().version, transaction.version()) == (2, 2)
        assert transaction.integrity_problems() == []
        assert span_of(chunk(10, 1)) == Span(1, 4)
        assert passage_of(chunk(10, 1)) == "abc"


def test_more_ids_than_sqlite_takes_variables(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        transaction.put_documents([document(key) for key in range(1, 1201)])
    with catalog.read() as transaction:
        assert len(transaction.documents([f"id {n}" for n in range(100_000)])) == 1200
        assert [len(transaction.document_page(n)) for n in (0, 1000, 1200)] == [1000, 200, 0]


def test_a_document_key_is_above_all_others(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        assert transaction.next_document() == 1
        transaction.put_documents([document(1), document(7)])
        assert transaction.next_document() == 8


def test_deletions_are_told_once_each_in_order(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        transaction.put_documents([document(1), document(2)])
        transaction.insert_chunks([chunk(10, 1), chunk(11, 2)])
        assert transaction.delete_chunks_of([2]) == [11]
        assert transaction.delete_chunks_of([1]) == [10]
        transaction.delete_documents([1, 2])
    with catalog.read() as transaction:
        (first, eleven), (second, ten) = transaction.deletions_after(0)
        assert (eleven, ten) == (11, 10)
        assert transaction.deletions_after(first) == [(second, 10)]
        assert transaction.counted() == (0, 0)
    with catalog.write() as transaction:
        transaction.forget_deletions(10, 10)
        assert [key for _, key in transaction.deletions_after(0)] == [11]


def test_a_transaction_that_fails_changes_nothing(catalog: Catalog) -> None:
    def fail(transaction: WriteTransaction) -> NoReturn:
        transaction.put_documents([document(1)])
        transaction.put_state(State(2, 2, 2, 2, 2))
        raise RuntimeError

    with pytest.raises(RuntimeError), catalog.write() as transaction:
        fail(transaction)
    with catalog.read() as later:
        assert later.counted() == (0, 0)
        assert later.version() == 1


def test_a_reader_keeps_its_commit_while_another_is_made(catalog: Catalog) -> None:
    with catalog.read() as old:
        assert old.version() == 1
        with catalog.write() as transaction:
            transaction.put_state(State(2, 1, 1, 0, 0))
        assert old.version() == 1
        with catalog.read() as new:
            assert new.version() == 2


def test_a_chunk_of_no_document_is_refused(catalog: Catalog) -> None:
    with pytest.raises(IndexCorrupt, match="FOREIGN KEY"), catalog.write() as transaction:
        transaction.insert_chunks([chunk(1, 99)])


def test_asking_for_the_document_of_a_chunk_that_is_not_there_is_an_error(
    catalog: Catalog,
) -> None:
    with catalog.read() as transaction, pytest.raises(IndexCorrupt, match="no chunk"):
        transaction.chunk_documents([5])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")
def test_a_file_that_is_no_database_is_closed_at_once(folder: Path) -> None:
    path = folder / "catalog.db"
    path.write_text("no database" * 1000)
    with pytest.raises(IndexCorrupt) as kept:
        Catalog.open(path)
    files = [file for file in Path("/proc/self/fd").iterdir() if file.exists()]
    assert not any(file.samefile(path) for file in files), kept


def test_the_commit_is_flushed_and_the_log_is_write_ahead(catalog: Catalog, folder: Path) -> None:
    with catalog.read() as transaction:
        assert transaction._pragma("synchronous") == 2
        assert transaction._pragma("foreign_keys") == 1
    with sqlite3.connect(folder / "catalog.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("pragma", "says"),
    [
        ("user_version = 99", "format 99, but this semsearch reads up to 3; upgrade"),
        ("user_version = 0", "no format 0"),
        ("application_id = 0", "not a semsearch index"),
    ],
)
def test_a_format_that_is_not_ours_is_refused(folder: Path, pragma: str, says: str) -> None:
    path = folder / "catalog.db"
    Catalog.create(path, {})
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA {pragma}")
    connection.close()
    with pytest.raises(UnsupportedFormat, match=says):
        Catalog.open(path)
