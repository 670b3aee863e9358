"""One writer at a time, across processes, whatever becomes of them and of the lock file."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from crash.injection import distinct, intercepted
from crash.model import (
    Operation,
    State,
    add,
    check,
    create,
    named_files,
    numbered,
    reopen,
    segment_files,
)
from crash.processes import child
from semsearch import Index, IndexLocked, StorageError


def hold(connection: Connection, path: Path) -> None:
    """Begin an `add` and stop in the middle of it, until told to go on."""

    def documents() -> Iterator[dict[str, str]]:
        yield {"id": "held", "text": "the first"}
        connection.send("held")
        connection.recv()

    with reopen(path) as index:
        index.add(documents())
    connection.send("added")


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with create(path) as index, child(hold, path) as holder:
        assert holder.receive() == "held"
        with pytest.raises(IndexLocked) as refused:
            add(index, numbered([1]))
        message = str(refused.value)
        assert f"pid {holder.process.pid} on {socket.gethostname()} since 20" in message
        assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", message)
        assert str(path) in message
        for refuse in (index.optimize, index.repair, lambda: index.delete("held")):
            with pytest.raises(IndexLocked):
                refuse()
        check(index, {})
        holder.send("go on")
        assert holder.receive() == "added"
        add(index, numbered([1]))
        assert {document.id for document in index} == {"held", "d1"}


def test_two_indexes_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with create(path) as one, reopen(path) as other:

        def documents() -> Iterator[dict[str, str]]:
            yield {"id": "a", "text": "from one"}
            with pytest.raises(IndexLocked, match=rf"pid {os.getpid()} on .* since"):
                other.add({"id": "b", "text": "from the other"})

        one.add(documents())
        other.add({"id": "b", "text": "from the other"})
        assert [document.id for document in one] == ["a", "b"]


def test_the_lock_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with create(path) as index, child(hold, path) as holder:
        assert holder.receive() == "held"
        holder.kill()
        add(index, numbered([1]))
        check(index, numbered([1]))


OURS = numbered(range(5), "ours")
THEIRS = numbered(range(3, 9), "theirs")
FIRST = numbered(range(2, 4), "first")
THIRD = numbered(range(20, 25), "third")
LATER = numbered([50], "later")


def pause(connection: Connection, path: Path, operation: Operation, at: int | None) -> None:
    """Do an operation, wait at one of its steps to be told to go on; tell what became of it."""
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) - 1 == at:
            connection.send(None)
            connection.recv()

    outcome = "done"
    with reopen(path) as index, intercepted(step):
        try:
            operation.perform(index)
        except StorageError as error:
            outcome = f"{type(error).__name__}: {error}"
    connection.send((outcome, steps))


def interleave(path: Path, operation: Operation, at: int) -> list[str]:
    """Delete the lock of a writer that waits at a step, and write as another; what became of both.

    The second may have to wait for SQLite, so the first goes on after a while.
    """
    with child(pause, path, operation, at) as first:
        assert first.receive() is None
        (path / "writer.lock").unlink(missing_ok=True)
        with child(pause, path, Operation("add", THEIRS), None) as second:
            second.poll(0.3)
            first.send("go on")
            return [first.receive()[0], second.receive()[0]]


@pytest.mark.parametrize("operation", [Operation("add", OURS), Operation("optimize")])
def test_a_deleted_lock_file_lets_no_commit_be_lost_or_mixed(
    operation: Operation, fast_folder: Path, thorough: bool
) -> None:
    before = {**FIRST, **THIRD}
    prepared = fast_folder / "prepared"
    with create(prepared) as index:
        add(index, FIRST)
        add(index, THIRD)
        index.delete([])
    shutil.copytree(prepared, fast_folder / "unharmed")
    with child(pause, fast_folder / "unharmed", operation, None) as process:
        _, steps = process.receive()
    refused: Counter[str] = Counter()
    for at in range(len(steps)) if thorough else distinct(steps)[::3]:
        path = fast_folder / str(at)
        shutil.copytree(prepared, path)
        outcomes = interleave(path, operation, at)
        try:
            with reopen(path) as index:
                check_both(index, before, operation, outcomes)
        except BaseException as error:
            error.add_note(f"paused at {steps[at]!r}, step {at}: {outcomes}")
            raise
        refused.update(outcome for outcome in outcomes if outcome != "done")
    assert refused
    assert all("lock" in message.lower() for message in refused), refused


def check_both(index: Index, before: State, operation: Operation, outcomes: list[str]) -> None:
    """What was acknowledged is there, one after the other, and nothing else."""
    assert "done" in outcomes
    done = [
        each
        for each, outcome in zip([operation, Operation("add", THEIRS)], outcomes, strict=True)
        if outcome == "done"
    ]
    orders = []
    for order in (done, done[::-1]):
        state = before
        for each in order:
            state = each.outcome(state)
        orders.append(state)
    state = check(index, *orders)
    add(index, LATER)
    index.delete([])
    assert segment_files(index) == named_files(index)
    check(index, {**state, **LATER})
