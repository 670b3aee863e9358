"""Watching: real files, a real process, and readers and writers beside it."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from encoders import WordEncoder

import semsearch
from semsearch.errors import IndexLocked

pytest.importorskip("watchfiles")

TESTS = Path(__file__).parent
WATCHER = """
import sys
import semsearch
from encoders import WordEncoder
from semsearch.watching import follow

with semsearch.open(sys.argv[1], encoder=WordEncoder()) as index:
    try:
        for update in follow(index, sys.argv[2:]):
            print(repr(update), flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


class Watcher:
    """A process that watches, and the lines it prints."""

    def __init__(self, command: list[str]) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self, seconds: float = 60) -> str:
        return self._lines.get(timeout=seconds)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def notes(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("about cats")
    return folder / "notes"


@pytest.fixture
def index(folder: Path) -> Iterator[semsearch.Index]:
    with semsearch.create(folder / "notes-index", encoder=WordEncoder()) as opened:
        yield opened


@pytest.fixture
def watch(folder: Path, index: semsearch.Index) -> Iterator[Callable[..., Watcher]]:
    started: list[Watcher] = []

    def start(*paths: Path) -> Watcher:
        started.append(Watcher(["-c", WATCHER, str(index.path), *map(str, paths)]))
        return started[-1]

    yield start
    for watcher in started:
        watcher.close()


def holds(index: semsearch.Index, texts: dict[str, str], seconds: float = 60) -> bool:
    """Whether the index, seen from here, comes to hold these documents and no others."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if {document.id: document.text for document in index} == texts:
            return True
        time.sleep(0.05)
    return False


def add_when_free(index: semsearch.Index, document: dict[str, str], seconds: float = 60) -> None:
    """What is seen is committed, but its writer may be a moment from being done."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(IndexLocked):
            index.add(document)
            return
        time.sleep(0.05)
    raise TimeoutError


def test_an_index_follows_its_folder(
    index: semsearch.Index, notes: Path, watch: Callable[..., Watcher]
) -> None:
    watcher = watch(notes)
    assert "added=1" in watcher.line()
    assert holds(index, {"notes/a.txt": "about cats"})

    (notes / "b.txt").write_text("about dogs")
    assert holds(index, {"notes/a.txt": "about cats", "notes/b.txt": "about dogs"})

    (notes / "a.txt~").write_text("about owls")  # as editors save
    (notes / "a.txt~").rename(notes / "a.txt")
    assert holds(index, {"notes/a.txt": "about owls", "notes/b.txt": "about dogs"})

    add_when_free(index, {"id": "mine", "text": "of another writer"})  # in this process

    (notes / "b.txt").unlink()
    assert holds(index, {"notes/a.txt": "about owls", "mine": "of another writer"})

    (notes.parent / "more" / "deep").mkdir(parents=True)
    (notes.parent / "more" / "deep" / "c.txt").write_text("about hens")
    (notes.parent / "more").rename(notes / "more")
    c = {"notes/more/deep/c.txt": "about hens"}
    assert holds(index, {"notes/a.txt": "about owls", "mine": "of another writer", **c})
    shutil.rmtree(notes / "more")
    assert holds(index, {"notes/a.txt": "about owls", "mine": "of another writer"})

    assert watcher.stop() == 0
    assert index.verify().ok


def test_only_what_was_touched_is_read_and_an_error_does_not_end_it(
    index: semsearch.Index, notes: Path, watch: Callable[..., Watcher]
) -> None:
    table = notes.parent / "table.jsonl"
    table.write_text('{"_id": "t", "text": "first"}\n')
    watcher = watch(notes, table)
    assert "added=2" in watcher.line()
    (notes / "b.txt").write_text("about dogs")
    line = watcher.line()
    assert "added=1" in line
    assert "unchanged=0" in line
    table.write_text("")
    line = watcher.line()
    assert "IngestError" in line
    assert "holds nothing now" in line
    table.write_text('{"_id": "t", "text": "second"}\n')
    assert "replaced=1" in watcher.line()
    assert watcher.stop() == 0
    assert watcher.line() == "stopped"


def test_what_changes_while_a_source_is_away_is_not_missed(
    index: semsearch.Index, notes: Path, watch: Callable[..., Watcher]
) -> None:
    todo = notes.parent / "todo.txt"
    todo.write_text("milk")
    watcher = watch(notes, todo)
    assert "added=2" in watcher.line()
    todo.unlink()
    assert "holds nothing now" in watcher.line()
    (notes / "a.txt").unlink()
    (notes / "b.txt").write_text("about dogs")
    assert holds(index, {"notes/b.txt": "about dogs", "todo.txt": "milk"})
    todo.write_text("bread")
    assert holds(index, {"notes/b.txt": "about dogs", "todo.txt": "bread"})


def test_a_folder_that_was_emptied_or_made_anew_is_followed(
    index: semsearch.Index, notes: Path, watch: Callable[..., Watcher]
) -> None:
    watcher = watch(notes)
    watcher.line()
    (notes / "a.txt").unlink()
    assert "holds nothing now" in watcher.line()
    assert len(index) == 1
    (notes / "b.txt").write_text("about dogs")
    assert holds(index, {"notes/b.txt": "about dogs"})
    watcher.line()
    shutil.rmtree(notes)
    assert "holds nothing now" in watcher.line()
    notes.mkdir()
    (notes / "d.txt").write_text("about pigs")
    assert holds(index, {"notes/d.txt": "about pigs"})
    watcher.line()
    shutil.rmtree(notes)
    notes.mkdir()  # at once: it may get the number of the old one
    (notes / "c.txt").write_text("about owls")
    assert holds(index, {"notes/c.txt": "about owls"})
    (notes / "c.txt").write_text("about hens")
    assert holds(index, {"notes/c.txt": "about hens"})


def test_an_empty_folder_of_which_there_is_nothing_to_lose_is_no_error(
    notes: Path, watch: Callable[..., Watcher]
) -> None:
    (notes.parent / "empty").mkdir()
    watcher = watch(notes, notes.parent / "empty")
    watcher.line()
    (notes.parent / "empty" / "a.unknown").write_text("x")
    time.sleep(1.5)
    (notes / "b.txt").write_text("about dogs")
    assert "added=1" in watcher.line()


def test_of_two_with_one_id_the_first_is_kept_whatever_is_touched(
    index: semsearch.Index, notes: Path, watch: Callable[..., Watcher]
) -> None:
    other = notes.parent / "other" / "notes"
    other.mkdir(parents=True)
    (other / "a.txt").write_text("the same id")
    one, two = (notes.parent / name for name in ("one.jsonl", "two.jsonl"))
    one.write_text('{"_id": "t", "text": "first"}\n')
    two.write_text('{"_id": "t", "text": "second"}\n')
    first = {"notes/a.txt": "about cats", "t": "first"}
    watcher = watch(notes, other, one, two)
    assert "rejected=2" in watcher.line()
    assert holds(index, first)
    (other / "a.txt").write_text("the same id, changed")
    assert "rejected=1" in watcher.line()
    two.write_text('{"_id": "t", "text": "changed"}\n')
    assert "rejected=1" in watcher.line()
    assert holds(index, first)
    (notes / "b.txt").write_text("so that it is not emptied")
    (notes / "a.txt").unlink()
    one.write_text('{"_id": "u", "text": "another"}\n')
    rest = {"notes/b.txt": "so that it is not emptied", "u": "another", "t": "changed"}
    assert holds(index, {"notes/a.txt": "the same id, changed", **rest})


def test_what_another_writer_holds_up_is_made_up_for(
    index: semsearch.Index, notes: Path, watch: Callable[..., Watcher]
) -> None:
    watcher = watch(notes)
    watcher.line()

    def documents() -> Iterator[semsearch.Document]:
        (notes / "b.txt").write_text("about dogs")
        assert "IndexLocked" in watcher.line()
        yield semsearch.Document("mine", "of another writer")

    index.add(documents())
    expected = {
        "notes/a.txt": "about cats", "notes/b.txt": "about dogs", "mine": "of another writer",
    }  # fmt: skip
    assert holds(index, expected)


@pytest.mark.model
@pytest.mark.parametrize(
    ("options", "first", "pruned"),
    [
        ([], "Indexed 1 document (1 new, 0 changed, 0 unchanged)", "0 unchanged, 1 pruned"),
        (["--json"], '{"index": ', '"pruned": 1,'),
    ],
)
def test_the_command_prints_a_line_for_each_update(
    folder: Path, notes: Path, options: list[str], first: str, pruned: str
) -> None:
    command = ["-m", "semsearch", "watch", str(notes), "--index", str(notes / "index"), *options]
    watcher = Watcher(command)
    try:
        assert watcher.line().startswith(first)
        (notes / "b.txt").write_text("about dogs")
        assert watcher.line().startswith(first)
        (notes / "b.txt").unlink()
        assert pruned in watcher.line()
        with pytest.raises(queue.Empty):  # commits inside the watched folder are no changes
            watcher.line(1)
        assert watcher.stop() == 0
        assert watcher.line() == "stopped watching"
    finally:
        watcher.close()
