"""Damage, a full disk, no permission: a clear error or the right answer, nothing else lost."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaging import ENCODER, SIZE, TEXTS, VECTORS, build, document, flip, observe, reopen, same

import semsearch
from semsearch import (
    Index,
    IndexCorrupt,
    IndexExists,
    IndexLocked,
    IndexNotFound,
    SemsearchError,
    StorageError,
    UnsupportedFormat,
)
from semsearch.segment_file import DegradedIndexWarning
from semsearch.storage import checksum
from semsearch.storage.lock import WriterLock

HERE = Path(__file__).parent
SQ8, EXACT, NEWEST = "segments/000002.arrow", "segments/000003.arrow", "segments/000004.arrow"
DERIVED = "segments/000002.faiss"

# --- ways to damage a file ----------------------------------------------------------------------


def cut(keep: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, keep(path.stat().st_size))


def flipped(at: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at(len(content))] ^= 0x10
        path.write_bytes(content)

    return damage


def replaced(put: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        put(path)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "emptied": lambda path: os.truncate(path, 0),
    "cut by a byte": cut(lambda size: size - 1),
    "cut to half": cut(lambda size: size // 2),
    "a byte longer": cut(lambda size: size + 1),
    "header flipped": flipped(lambda size: min(size, 42) // 2),
    "middle flipped": flipped(lambda size: size // 2),
    "footer flipped": flipped(lambda size: size - 12),
    "deleted": Path.unlink,
    "text in its place": replaced(lambda path: path.write_text("Dear diary\n" * 99)),
    "a folder in its place": replaced(Path.mkdir),
    "a dead link in its place": replaced(lambda path: path.symlink_to("nowhere")),
    "a link to itself in its place": replaced(lambda path: path.symlink_to(path.name)),
    "a pipe in its place": replaced(os.mkfifo),
}


def swap(one: Path, two: Path) -> None:
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


@pytest.fixture(scope="module")
def sound(memory: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=memory)) / "sound"
    build(path)
    return path


@pytest.fixture(scope="module")
def expected(sound: Path) -> dict[str, Any]:
    seen = observe(sound)
    assert not [name for name, value in seen.items() if isinstance(value, Exception)]
    return seen


@pytest.fixture(scope="module")
def other(memory: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=memory)) / "other"
    build(path, "other ")
    return path


@pytest.fixture
def copy(sound: Path, folder: Path) -> Path:
    return Path(shutil.copytree(sound, folder / "index"))


def problems(path: Path) -> str:
    with reopen(path) as index:
        return "\n".join(map(str, index.verify().problems))


def texts_are_whole(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all(found[name] == expected[name] for name in TEXTS)


# --- segments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SQ8, EXACT])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_segment_is_told_and_made_again(
    copy: Path, expected: dict[str, Any], name: str, damage: str
) -> None:
    DAMAGES[damage](copy / name)
    found = observe(copy)
    assert texts_are_whole(found, expected)
    for access in VECTORS:
        assert isinstance(found[access], IndexCorrupt)
        assert re.search(rf"{name}: .*run `semsearch repair`", str(found[access]))
    assert Path(name).name in problems(copy)
    with reopen(copy) as index:
        report = index.repair()
    assert report.after.ok, report
    assert report.actions
    after = observe(copy)
    after["info"] = expected["info"]
    assert same(after, expected)


@pytest.mark.parametrize("damage", ["deleted", "middle flipped", "a folder in its place"])
def test_beside_a_damaged_segment_documents_are_added_and_deleted(copy: Path, damage: str) -> None:
    DAMAGES[damage](copy / EXACT)
    with reopen(copy) as index:
        index.add(document(100))
        index.add([document(n) for n in range(101, 120)])
        assert index.delete(["18", "7", "101"]) == 3
        assert index.get("18") is None
        assert index.get("100") is not None
        assert index.repair().after.ok
        assert len(index) == SIZE - 3 + 20 + 1 - 3
        assert len(index.search("cat", 100, group=True)) == len(index)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("optimized", [False, True])
def test_given_vectors_that_are_lost_stay_reported_and_nothing_else_is_lost(
    folder: Path, damage: str, *, optimized: bool
) -> None:
    path = folder / "index"
    rows = np.eye(8, dtype=np.float32)
    with semsearch.create(path, dim=8) as index:
        for n in range(0, 8, 2):
            index.add([{"id": f"{n}"}, {"id": f"{n + 1}"}], rows[n : n + 2])
        index.delete("3")
    DAMAGES[damage](path / SQ8)
    others = {p: p.read_bytes() for p in (path / "segments").glob("00000[134].*")}
    with semsearch.open(path) as index:
        report = index.repair()
        assert not report.after.ok
        assert "000002.arrow" in str(report.after.problems)
        with pytest.raises(IndexCorrupt, match=r"000002\.arrow"):
            index.search(rows[0])
        if optimized:
            with pytest.raises(IndexCorrupt, match=r"000002\.arrow"):
                index.optimize()
        assert {p: p.read_bytes() for p in others} == others
        index.delete("2")  # the only one of the damaged segment
        assert index.verify().ok
        assert [hit.id for hit in index.search(rows[6], 1)] == ["6"]
        index.add({"id": "2"}, rows[2:3])
        assert len(index.search(rows[2], 10)) == 7


def test_two_segments_that_were_swapped_go_back(copy: Path, expected: dict[str, Any]) -> None:
    swap(copy / EXACT, copy / NEWEST)
    found = observe(copy)
    assert texts_are_whole(found, expected)
    assert all(isinstance(found[access], IndexCorrupt) for access in VECTORS)
    encoded = len(ENCODER.encoded)
    with reopen(copy) as index:
        report = index.repair()
    assert report.after.ok
    assert [action.split(": ")[1] for action in report.actions[:2]] == [
        "put back from 000004.arrow",
        "put back from 000003.arrow",
    ]
    assert len(ENCODER.encoded) == encoded
    assert same(observe(copy), expected)


def test_a_segment_under_another_name_goes_back(copy: Path, expected: dict[str, Any]) -> None:
    (copy / EXACT).rename(copy / "segments" / "a copy of mine")
    with reopen(copy) as index:
        assert index.repair().after.ok
    assert same(observe(copy), expected)


def test_a_segment_of_another_index_is_not_taken_for_ours(
    copy: Path, other: Path, expected: dict[str, Any]
) -> None:
    for name in (SQ8, EXACT):
        shutil.copy(other / name, copy / name)
    found = observe(copy)
    assert texts_are_whole(found, expected)
    assert all(isinstance(found[access], IndexCorrupt) for access in VECTORS)
    with reopen(copy) as index:
        assert index.repair().after.ok
    after = observe(copy)
    after["info"] = expected["info"]
    assert same(after, expected)
    for name in (SQ8, EXACT):  # it may be the only copy of the other index's
        kept = copy / "set-aside" / Path(name).name
        assert kept.read_bytes() == (other / name).read_bytes()


def test_the_segments_of_another_index_are_set_aside(
    copy: Path, other: Path, expected: dict[str, Any]
) -> None:
    theirs = {file.name: file.read_bytes() for file in (other / "segments").iterdir()}
    shutil.rmtree(copy / "segments")
    shutil.copytree(other / "segments", copy / "segments")
    found = observe(copy)
    assert texts_are_whole(found, expected)
    assert all(isinstance(found[access], IndexCorrupt) for access in VECTORS)
    with reopen(copy) as index:
        assert index.repair().after.ok
    after = observe(copy)
    after["info"] = expected["info"]
    assert same(after, expected)
    aside = {file.name: file.read_bytes() for file in (copy / "set-aside").iterdir()}
    assert {name for name in theirs if name.endswith(".arrow")} == set(aside)
    assert all(theirs[name] == content for name, content in aside.items())


@pytest.mark.parametrize("there", ["nothing", "a file"])
def test_without_the_folder_of_segments(copy: Path, expected: dict[str, Any], there: str) -> None:
    shutil.rmtree(copy / "segments")
    if there == "a file":
        (copy / "segments").write_text("not a folder")
    found = observe(copy)
    assert texts_are_whole(found, expected)
    assert all(isinstance(found[access], StorageError) for access in VECTORS)
    assert "000003.arrow" in problems(copy)
    with reopen(copy) as index:
        if there == "a file":
            with pytest.raises(StorageError, match="segments"):
                index.repair()
            (copy / "segments").unlink()
        assert index.repair().after.ok
    after = observe(copy)
    after["info"] = expected["info"]
    assert same(after, expected)


def test_an_empty_index_needs_no_folder_of_segments(folder: Path) -> None:
    with semsearch.create(folder / "index", dim=2) as index:
        (folder / "index" / "segments").rmdir()
        index.add({"id": "a"}, [[1, 0]])
        assert index.verify().ok
        assert len(index.search([1, 0])) == 1


def test_a_link_to_the_right_segment_is_as_good_as_the_segment(
    copy: Path, expected: dict[str, Any]
) -> None:
    moved = copy.parent / "elsewhere.arrow"
    (copy / EXACT).rename(moved)
    (copy / EXACT).symlink_to(moved)
    assert same(observe(copy), expected)
    with reopen(copy) as index:
        assert index.verify().ok


def test_files_of_others_are_left_alone(copy: Path) -> None:
    for name in ("notes.txt", ".DS_Store"):
        (copy / "segments" / name).write_text("mine")
    (copy / "segments" / "folder").mkdir()
    with reopen(copy) as index:
        index.add(document(50))
        index.optimize()
        assert index.repair().after.ok
    assert (copy / "segments" / "notes.txt").read_text() == "mine"
    assert (copy / "segments" / "folder").is_dir()


@pytest.fixture
def small_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small segments are then like large ones: what is between the ends is not read to open."""
    monkeypatch.setattr(checksum, "_ENDS", 1024)


@pytest.fixture
def large(small_ends: None, folder: Path) -> tuple[Path, np.ndarray[Any, np.dtype[np.float32]]]:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with semsearch.create(folder / "index", dim=16) as index:
        index.add([{"id": f"{n}"} for n in range(400)], rows)
        index.delete(["7", "100"])
    return folder / "index", rows


def vectors_begin(content: bytes, rows: np.ndarray[Any, np.dtype[np.float32]]) -> int:
    return content.index(rows[0].tobytes()[:8])


def test_damage_between_the_ends_is_found_by_verify_and_never_copied(
    large: tuple[Path, np.ndarray[Any, np.dtype[np.float32]]],
) -> None:
    path, rows = large
    rng = random.Random(1)
    file = path / "segments" / "000001.arrow"
    content = file.read_bytes()
    with semsearch.open(path) as index:
        stored = index.vectors("0")["0"]
    begin = content.index(stored.tobytes())
    for _ in range(6):
        changed = bytearray(content)
        changed[rng.randrange(begin + 64, len(content) - 1100)] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        with semsearch.open(path) as index:
            assert "000001.arrow" in str(index.verify().problems)
            try:
                index.search(rows[:3].mean(axis=0), 400)
            except SemsearchError as error:
                assert "000001.arrow" in str(error)  # noqa: PT017 - or an answer, off by one bit
            with pytest.raises(IndexCorrupt, match=r"000001\.arrow"):
                index.optimize()
            index.delete([f"{n}" for n in range(250)])  # it would be rewritten, but is damaged
            index.add({"id": "new"}, rows[:1])
            assert "000001.arrow" in str(index.verify().problems)
        shutil.rmtree(path)
        with semsearch.create(path, dim=16) as index:
            index.add([{"id": f"{n}"} for n in range(400)], rows)
            index.delete(["7", "100"])
        content = file.read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, 17.0])
def test_a_vector_that_cannot_be_is_told_by_the_search_that_meets_it(
    large: tuple[Path, np.ndarray[Any, np.dtype[np.float32]]], value: float
) -> None:
    path, rows = large
    file = path / "segments" / "000001.arrow"
    with semsearch.open(path) as index:
        stored = index.vectors("200")["200"]
    content = file.read_bytes()
    at = content.index(stored.tobytes())
    file.write_bytes(content[:at] + np.float32(value).tobytes() + content[at + 4 :])
    with semsearch.open(path) as index:
        assert "000001.arrow" in str(index.verify().problems)
        for query in (rows[200], -rows[200], rows[3]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                try:
                    hits = index.search(query, 400)
                except SemsearchError as error:
                    assert "000001.arrow" in str(error)  # noqa: PT017
                else:
                    pytest.fail(f"{len(hits)} hits, one of them with the vector {value}")


def test_keys_of_a_segment_are_checked_when_it_is_opened(
    large: tuple[Path, np.ndarray[Any, np.dtype[np.float32]]],
) -> None:
    path, rows = large
    file = path / "segments" / "000001.arrow"
    content = file.read_bytes()
    at = content.index(np.arange(200, 203).tobytes())
    file.write_bytes(content[:at] + np.full(2, 200).tobytes() + content[at + 16 :])
    with semsearch.open(path) as index, pytest.raises(IndexCorrupt, match="keys"):
        index.search(rows[0])


# --- derived files ------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [*DAMAGES, "another index's"])
def test_a_damaged_derived_file_is_done_without_and_built_again(
    copy: Path, other: Path, expected: dict[str, Any], damage: str
) -> None:
    if damage == "another index's":
        shutil.copy(other / DERIVED, copy / DERIVED)
    else:
        DAMAGES[damage](copy / DERIVED)
    assert same(observe(copy), expected)
    assert "000002.faiss" in problems(copy)
    with reopen(copy) as index:
        with pytest.warns(DegradedIndexWarning, match=r"000002\.faiss: .*semsearch repair"):
            index.search("cat")
        report = index.repair()
        assert report.after.ok
        assert index.info().segments[0].kind == "ivf"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = observe(copy)
    after["info"] = expected["info"]
    assert same(after, expected)


# --- the catalog --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_catalog_is_refused_or_reported_and_its_backup_brings_all_back(
    copy: Path, sound: Path, expected: dict[str, Any], damage: str
) -> None:
    before = {file.name: file.read_bytes() for file in (copy / "segments").iterdir()}
    DAMAGES[damage](copy / "catalog.db")
    found = observe(copy)
    if "open" in found:
        assert re.search(r"catalog\.db: .*(restore|not a semsearch index)", str(found["open"]))
    elif damage in ("a byte longer", "middle flipped"):
        assert same(found, expected) or problems(copy)
    else:
        assert "catalog.db" in problems(copy)
    assert {file.name: file.read_bytes() for file in (copy / "segments").iterdir()} == before
    place = copy / "catalog.db"
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    shutil.copy(sound / "catalog.db", place)
    assert same(observe(copy), expected)


TABLES = ["settings", "state", "documents", "chunks", "segments", "deletions", "rejects"]


ROWIDS = {  # SQLite puts nothing but integers there
    ("state", "id"),
    ("documents", "key"),
    ("chunks", "key"),
    ("segments", "number"),
}


def columns() -> Iterator[tuple[str, str]]:
    from semsearch.storage import schema

    for name in TABLES:
        for column in schema.metadata.tables[name].columns:
            if (name, column.name) != ("deletions", "seq"):  # only its order is ever looked at
                yield name, column.name


@pytest.mark.parametrize(("table", "column"), list(columns()))
@pytest.mark.parametrize("value", [b"\xff\0", "y"])
def test_a_changed_value_in_any_column_is_found(
    copy: Path, expected: dict[str, Any], table: str, column: str, value: object
) -> None:
    with sqlite3.connect(copy / "catalog.db") as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})",
            [10**6 if (table, column) in ROWIDS else value],
        )
    connection.close()
    found = observe(copy)
    if "open" in found:
        assert isinstance(found["open"], IndexCorrupt)
        assert "catalog.db" in str(found["open"])
        return
    assert "catalog.db" in problems(copy)
    for name, value_ in found.items():
        assert isinstance(value_, SemsearchError) or value_ == expected[name] or name == "len"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE documents SET title = 'another' WHERE id = '8'",
        "UPDATE documents SET metadata = '{}' WHERE id = '8'",
        "UPDATE documents SET source = NULL WHERE id = '8'",
        "UPDATE documents SET encoded = 0 WHERE id = '8'",
        "UPDATE chunks SET start = start + 1 WHERE document = 9",
        "UPDATE chunks SET piece = piece || ' ' WHERE document = 9",
    ],
)
def test_a_damaged_document_is_named_and_can_be_deleted_or_added_again(
    copy: Path, expected: dict[str, Any], change: str
) -> None:
    with sqlite3.connect(copy / "catalog.db") as connection:
        assert connection.execute(change).rowcount > 0
    connection.close()
    assert "document '8'" in problems(copy)
    with reopen(copy) as index:
        with pytest.raises(IndexCorrupt, match=r"document '8': .*add it again"):
            index.get("8")
        with pytest.raises(IndexCorrupt):
            list(index)
        assert index.get("9") == expected["get"][9]
        assert not index.repair().after.ok  # a text is nowhere but in the catalog
        assert index.delete("8") == 1
        assert index.verify().ok
        index.add(document(8))
        assert index.verify().ok
        assert index.get("8") == expected["get"][8]


def test_the_catalog_of_another_index_does_not_cost_the_segments(
    copy: Path, sound: Path, other: Path, expected: dict[str, Any]
) -> None:
    """Also where its writer would sweep, or write, files of the same numbers."""
    with reopen(copy) as index:
        index.add([document(n) for n in range(60, 90)])
    kept = observe(copy)
    ours = (copy / "catalog.db").read_bytes()
    before = {file.name: file.read_bytes() for file in (copy / "segments").iterdir()}
    shutil.copy(other / "catalog.db", copy / "catalog.db")
    found = observe(copy)
    assert all(isinstance(found[access], IndexCorrupt) for access in VECTORS)
    assert "belongs to another index" in problems(copy)
    with reopen(copy) as index:
        for write in (lambda: index.add(document(1)), lambda: index.delete("1"), index.optimize):
            with pytest.raises(IndexCorrupt, match=r"another index.*backup.*semsearch repair"):
                write()
    (copy / "catalog.db").write_bytes(ours)
    assert {file.name: file.read_bytes() for file in (copy / "segments").iterdir()} == before
    assert same(observe(copy), kept)


def test_an_old_copy_of_the_catalog_does_not_cost_what_came_after(copy: Path, sound: Path) -> None:
    with reopen(copy) as index:
        for n in range(70, 80):
            index.add(document(n))
        index.optimize()
    kept = observe(copy)
    newest = (copy / "catalog.db").read_bytes()
    shutil.copy(sound / "catalog.db", copy / "catalog.db")
    assert "an old copy" in problems(copy)
    with reopen(copy) as index:
        with pytest.raises(IndexCorrupt, match="an old copy"):
            index.add(document(1))
        report = index.repair()
        assert any(action.endswith("set-aside") for action in report.actions)
        assert report.after.ok
        assert len(index) == SIZE - 2
    segment = next((copy / "set-aside").iterdir())
    segment.rename(copy / "segments" / segment.name)
    (copy / "catalog.db").write_bytes(newest)
    found = observe(copy)
    assert texts_are_whole(found, kept)


def test_a_catalog_one_optimize_old_does_not_cost_the_merged_segment(folder: Path) -> None:
    path = folder / "index"
    with semsearch.create(path, dim=4) as index:
        index.add({"id": "a"}, [[1, 0, 0, 0]])
        index.add({"id": "b"}, [[0, 1, 0, 0]])
    old = (path / "catalog.db").read_bytes()
    with semsearch.open(path) as index:
        index.optimize()
    (path / "catalog.db").write_bytes(old)
    with semsearch.open(path) as index:
        with pytest.raises(IndexCorrupt, match="missing"):
            index.add({"id": "c"}, [[1, 0, 0, 0]])
        assert "it may hold what" in str(index.verify().problems)
        assert not index.repair().after.ok
    assert (path / "set-aside" / "000003.arrow").exists()


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"Dear diary", bytes(5000)])
def test_what_is_no_database_is_refused(folder: Path, content: bytes) -> None:
    (folder / "catalog.db").write_bytes(content)
    with pytest.raises(IndexCorrupt, match=r"catalog\.db"):
        semsearch.open(folder)
    with pytest.raises(IndexExists):
        semsearch.create(folder, dim=3)
    assert (folder / "catalog.db").read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_alone(folder: Path) -> None:
    with sqlite3.connect(folder / "catalog.db") as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    content = (folder / "catalog.db").read_bytes()
    with pytest.raises(UnsupportedFormat, match="not a semsearch index"):
        semsearch.open(folder)
    assert (folder / "catalog.db").read_bytes() == content


def test_a_newer_format_is_refused(copy: Path) -> None:
    with sqlite3.connect(copy / "catalog.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UnsupportedFormat, match=r"format 99.*upgrade semsearch"):
        semsearch.open(copy)


def test_paths_that_are_no_index(folder: Path, copy: Path) -> None:
    (folder / "file").write_text("x")
    for path in (folder / "file", folder / "nothing", folder, folder / "file" / "below"):
        with pytest.raises(IndexNotFound, match=re.escape(str(path))):
            semsearch.open(path)
    for path in (folder / "file", folder / "file" / "below"):
        with pytest.raises(StorageError, match="file"):
            semsearch.create(path, dim=3)
    with pytest.raises(StorageError, match="not empty"):
        semsearch.create(folder, dim=3)
    with pytest.raises(IndexExists, match=re.escape(str(copy))):
        semsearch.create(copy, dim=3)
    assert (folder / "file").read_text() == "x"
    (copy / "catalog.db").unlink()
    with pytest.raises(IndexCorrupt, match=r"catalog\.db: the file is missing.*backup"):
        semsearch.open(copy)
    with pytest.raises(StorageError, match="not empty"):
        semsearch.create(copy, dim=3)


# --- random flips -------------------------------------------------------------------------------


def run_fuzzer(index: Path, name: str, count: int, seed: int) -> dict[str, int]:
    command = [sys.executable, str(HERE / "damaging.py"), "fuzz", str(index), name]
    done = subprocess.run(
        [*command, str(count), str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "silent" not in done.stderr, done.stderr
    outcomes: dict[str, int] = json.loads(done.stdout)
    assert sum(outcomes.values()) == count
    return outcomes


@pytest.mark.parametrize(
    ("count", "seed"), [(170, 1), pytest.param(3000, 2, marks=pytest.mark.slow)]
)
def test_any_flip_in_the_catalog_is_harmless_or_told(
    sound: Path, expected: object, count: int, seed: int
) -> None:
    """A read may be wrong, and reported: an index of SQLite misses a row, or names another."""
    outcomes = run_fuzzer(sound, "catalog.db", count, seed)
    assert outcomes.get("silent", 0) == 0
    assert outcomes.get("reported, a read wrong", 0) <= 0.03 * count
    hurt = outcomes["reported, reads raise"] + outcomes["reported, keywords wrong"]
    assert hurt >= 0.1 * count


@pytest.mark.parametrize("name", [SQ8, EXACT])
def test_any_flip_in_a_segment_is_told(sound: Path, expected: object, name: str) -> None:
    assert run_fuzzer(sound, name, 15, 2) == {"reported, reads raise": 15}


def test_any_flip_in_a_derived_file_is_told_and_costs_no_hit(sound: Path, expected: object) -> None:
    assert run_fuzzer(sound, DERIVED, 15, 3) == {"reported, all reads right": 15}


# --- the write-ahead log ------------------------------------------------------------------------

NEW = ["30", "31", "32", "33"]
KILLED = """
import os, signal, sys
from damaging import document, reopen
index = reopen(sys.argv[1])
for n in range(30, 34):
    index.add(document(n))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(sound: Path, memory: Path) -> Path:
    """An index whose last writer was killed after four commits that are only in the log."""
    path = Path(shutil.copytree(sound, Path(tempfile.mkdtemp(dir=memory)) / "killed"))
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=HERE)
    assert (path / "catalog.db-wal").stat().st_size > 0
    return path


@pytest.fixture
def log(killed: Path, folder: Path) -> Path:
    return Path(shutil.copytree(killed, folder / "index"))


@pytest.mark.parametrize("name", ["catalog.db-shm", "writer.lock"])
@pytest.mark.parametrize("damage", ["none", *DAMAGES])
def test_shared_memory_and_lock_are_nothing_to_lose(log: Path, name: str, damage: str) -> None:
    if damage != "none":
        DAMAGES[damage](log / name)
    try:
        with reopen(log) as index:
            ids = {document.id for document in index}
            assert index.verify().ok
            index.delete("30")
    except StorageError as error:
        assert "place" in damage
        assert re.search(r"catalog\.db|writer\.lock", str(error))  # noqa: PT017
        place = log / name
        if place.is_dir():
            place.rmdir()
        else:
            place.unlink()
        with reopen(log) as index:
            assert index.verify().ok
            ids = {document.id for document in index} | {"30"}
    assert {"30", "31", "32", "33"} <= ids


def commits(path: Path) -> int | SemsearchError:
    """How many of the killed writer's commits there are; they are there in order."""
    try:
        with reopen(path) as index:
            found = [id_ for id_ in (document.id for document in index) if id_ in NEW]
    except SemsearchError as error:
        return error
    assert found == NEW[: len(found)]
    return len(found)


@pytest.mark.parametrize("damage", [*DAMAGES, *(f"flips {seed}" for seed in range(12))])
def test_a_damaged_log_loses_whole_commits_from_the_end_and_the_next_writer_says_so(
    log: Path, damage: str
) -> None:
    """SQLite drops the log from the first frame whose checksum is wrong: that is its design."""
    wal = log / "catalog.db-wal"
    if damage in DAMAGES:
        DAMAGES[damage](wal)
    else:
        flip(wal, random.Random(damage), wal.stat().st_size)
    segments = set((log / "segments").glob("*.arrow"))
    there = commits(log)
    if isinstance(there, SemsearchError):
        assert "catalog.db" in str(there)
        return
    with reopen(log) as index:
        report = index.verify()
        if there >= 3:  # one lost commit looks like one that was never finished
            assert report.ok
            return
        assert not report.ok
        with pytest.raises(IndexCorrupt, match=r"catalog\.db-wal was lost|may hold"):
            index.add(document(60))
        assert set((log / "segments").glob("*.arrow")) == segments
        assert index.repair().after.ok
        index.add(document(60))
    assert (log / "set-aside").is_dir()


def test_the_log_of_another_index_is_noticed(killed: Path, folder: Path, other: Path) -> None:
    path = Path(shutil.copytree(other, folder / "index"))
    shutil.copy(killed / "catalog.db-wal", path / "catalog.db-wal")
    found = observe(path)
    errors = [value for value in found.values() if isinstance(value, SemsearchError)]
    assert errors
    if "open" not in found:
        try:
            assert problems(path)
        except SemsearchError as error:
            assert "catalog.db" in str(error)  # noqa: PT017


# --- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave `free` bytes."""
    filler = disk / "filler"
    status = os.statvfs(disk)
    with filler.open("wb") as file:
        file.write(bytes(max(0, status.f_bavail * status.f_frsize - free)))
    return filler


def contents(index: Index) -> list[Any]:
    return [list(index), index.search("cat dog", 100)]


ACTIONS: dict[str, Callable[[Index], object]] = {
    "add": lambda index: index.add([document(n) for n in range(200, 260)]),
    "delete": lambda index: index.delete([str(n) for n in range(20)]),
    "optimize": lambda index: index.optimize("ivf"),
    "compact": lambda index: [index.add(document(n)) for n in range(300, 320)],
}


@pytest.mark.parametrize("action", ACTIONS)
def test_on_a_full_disk_nothing_changes_and_with_room_the_same_object_goes_on(
    tiny_disk: Path, action: str
) -> None:
    refused = 0
    with semsearch.create(tiny_disk / "index", encoder=ENCODER) as index:
        index.add([document(n) for n in range(40)])
        for n in range(40, 46):
            index.add(document(n))
        for free in (0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128):
            before = contents(index)
            filler = fill(tiny_disk, free * 1024)
            try:
                ACTIONS[action](index)
            except StorageError as error:
                refused += 1
                assert "disk" in str(error)  # noqa: PT017
                assert "full" in str(error)  # noqa: PT017
                if action != "compact":
                    assert contents(index) == before
            filler.unlink()
            assert index.verify().ok
        ACTIONS[action](index)
        index.add(document(500))
        assert index.verify().ok
        assert not list((tiny_disk / "index" / "segments").glob("*.tmp"))
    assert refused >= 2


def test_an_index_is_not_made_on_a_full_disk_and_is_once_there_is_room(tiny_disk: Path) -> None:
    for free in (0, 8, 16, 32, 64):
        filler = fill(tiny_disk, free * 1024)
        try:
            semsearch.create(tiny_disk / "index", dim=4).close()
        except StorageError as error:
            assert "full" in str(error)  # noqa: PT017
        else:
            assert free > 16
            shutil.rmtree(tiny_disk / "index")
        filler.unlink()
    with semsearch.create(tiny_disk / "index", dim=4) as index:
        index.add({"id": "a"}, [[1, 2, 3, 4]])
        assert index.verify().ok


LIMITED = """
import resource, sys
import semsearch
from damaging import ENCODER, document
from semsearch.errors import StorageError
with semsearch.create(sys.argv[1], encoder=ENCODER) as index:
    index.add([document(n) for n in range(40)])
    for limit in (20, 200, 2_000, 4_000, 40_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for write in (
            lambda: index.add([document(n) for n in range(100, 150)]),
            lambda: index.optimize("ivf"),
        ):
            try:
                write()
            except StorageError as error:
                assert "full" in str(error), error
                assert len(index) == 40
            else:
                assert limit > 200 or len(index) == 40
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert index.verify().ok, index.verify()
        if len(index) > 40:
            index.delete([str(n) for n in range(100, 150)])
    index.add([document(n) for n in range(100, 150)])
    index.optimize("ivf")
    assert len(index) == 90 and index.verify().ok
"""


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(folder: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(folder / "index")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY


# --- permissions --------------------------------------------------------------------------------

NOBODY = 65534


def probe(index: Path) -> dict[str, str]:
    """What works for a user who is not root."""
    uid = NOBODY if os.geteuid() == 0 else 0
    for parent in index.parents:
        if parent.owner() == index.owner() and str(parent).startswith(str(index.parents[1])):
            parent.chmod(0o755)
    command = [sys.executable, str(HERE / "damaging.py"), "probe", str(index), str(uid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, str] = json.loads(done.stdout)
    return results


@pytest.fixture
def readable(folder: Path, memory: Path) -> Iterator[Callable[[Path], Path]]:
    """Give a copy of an index that nobody may write, but everybody read."""
    memory.chmod(0o755)

    def make(index: Path) -> Path:
        path = Path(shutil.copytree(index, folder / "index"))
        for entry in [path, *path.rglob("*")]:
            entry.chmod(0o555 if entry.is_dir() else 0o444)
        return path

    yield make
    for entry in [folder / "index", *(folder / "index").rglob("*")]:
        entry.chmod(0o755 if entry.is_dir() else 0o644)


WRITES = ("create", "add", "delete", "optimize", "repair")


def test_in_a_read_only_folder_reading_works_and_writing_says_why_not(
    sound: Path, readable: Callable[[Path], Path]
) -> None:
    results = probe(readable(sound))
    assert [results[name] for name in ("open", "list", "search", "verify")] == ["ok"] * 4
    for name in WRITES:
        assert re.match(r"StorageError: .*permission", results[name]), results


def test_a_read_only_folder_with_a_log_left_by_a_killed_writer(
    killed: Path, readable: Callable[[Path], Path]
) -> None:
    """What is in the log can be read while its shared memory is there."""
    path = readable(killed)
    results = probe(path)
    assert [results[name] for name in ("open", "list", "search", "verify")] == ["ok"] * 4
    path.chmod(0o755)
    (path / "catalog.db-shm").unlink()
    path.chmod(0o555)
    opened = probe(path)["open"]
    assert opened == "ok" or re.match(r"StorageError: .*catalog\.db-wal", opened)


def test_an_unreadable_segment_is_told_and_the_texts_are_read(
    sound: Path, readable: Callable[[Path], Path]
) -> None:
    path = readable(sound)
    (path / EXACT).chmod(0)
    results = probe(path)
    assert [results[name] for name in ("open", "list")] == ["ok"] * 2
    for name in ("search", "verify"):
        assert re.search(r"000003\.arrow: no permission to read it", results[name]), results


def test_an_unreadable_derived_file_is_done_without(
    sound: Path, readable: Callable[[Path], Path]
) -> None:
    path = readable(sound)
    (path / DERIVED).chmod(0)
    results = probe(path)
    assert results["search"] == "ok"
    assert re.search(r"000002\.faiss: no permission to read it", results["verify"])


@pytest.mark.parametrize("name", ["catalog.db", ".", "segments"])
def test_what_cannot_be_entered_or_read_is_named(
    sound: Path, readable: Callable[[Path], Path], name: str
) -> None:
    path = readable(sound)
    (path / name).chmod(0)
    results = probe(path)
    failed = results["search"] if name == "segments" else results["open"]
    (path / name).chmod(0o755)
    assert re.match(r"StorageError: .*permission", failed)
    assert (str(path / name) if name != "." else str(path)) in failed


# --- a second writer ----------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_reading_goes_on(copy: Path) -> None:
    with WriterLock(copy / "writer.lock"), reopen(copy) as index:
        writes: list[Callable[[], object]] = [
            lambda: index.add(document(60)),
            lambda: index.delete("1"),
            index.optimize,
            index.repair,
        ]
        for write in writes:
            with pytest.raises(IndexLocked, match=rf"pid {os.getpid()} on .* since"):
                write()
        assert index.search("cat")
        assert index.verify().ok
    with reopen(copy) as index:
        index.add(document(60))


def test_a_damaged_field_index_is_built_again(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with semsearch.create(path, dim=2, index_fields=["place"]) as index:
        index.add(
            [{"id": str(n), "text": str(n), "metadata": {"place": f"Xanadu{n}"}} for n in range(9)],
            np.eye(2, dtype=np.float32)[[0] * 9],
        )
    catalog = path / "catalog.db"
    content = catalog.read_bytes()
    # In a row the value stands in the JSON, between quotes; in the index by itself.
    (at,) = (m.start() for m in re.finditer(rb'(?<!")Xanadu5', content))
    catalog.write_bytes(content[:at] + b"Z" + content[at + 1 :])
    wanted = 'place = "Xanadu5"'
    with semsearch.open(path) as index, semsearch.open(path) as reader:
        assert not index.verify().ok
        assert reader.search([1, 0], where=wanted) == []
        report = index.repair()
        assert report.actions == ("catalog.db: index of place built again",)
        assert report.after.ok
        assert index.ids(wanted) == ["5"]
        assert [hit.id for hit in reader.search([1, 0], where=wanted)] == ["5"]
