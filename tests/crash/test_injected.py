"""A process is killed before and after every step of every operation that writes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from crash.injection import distinct, intercepted
from crash.model import (
    State,
    add,
    check,
    create,
    holds,
    named_files,
    numbered,
    reopen,
    segment_files,
)
from crash.processes import child
from crash.scenario import SCENARIOS, SLOW, Scenario
from semsearch import Index, IndexNotFound


def run_to_step(connection: Connection, path: Path, name: str, last: int | None) -> None:
    """Do the operation and die at step `last`; without one, tell the names of all steps."""
    steps: list[str] = []

    def step(name: str) -> None:
        if len(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)

    with intercepted(step):
        SCENARIOS[name].run(path)
    connection.send(steps)


class Interrupted:
    """A prepared index, from which every run starts anew."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.scenario: Scenario = SCENARIOS[name]
        self.before = self.scenario.prepare(folder / "prepared")
        self.after = self.scenario.operation.outcome(self.before)
        self._folder = folder
        self._seen: set[str] = set()

    def _fresh(self, run: str) -> Path:
        prepared, path = self._folder / "prepared", self._folder / run
        if prepared.exists():
            shutil.copytree(prepared, path)
        return path

    def unharmed(self) -> list[str]:
        """Do the operation to its end, and look; gives its steps."""
        path = self._fresh("unharmed")
        with child(run_to_step, path, self.name, None) as process:
            steps: list[str] = process.receive()
        self.look(path)
        return steps

    @contextmanager
    def killed_at(self, step: int) -> Iterator[Path]:
        """Do the operation up to a step, while the block runs; gives the index."""
        path = self._fresh(f"killed at {step}")
        with child(run_to_step, path, self.name, step) as process:
            yield path
            assert process.rest() == []
            assert process.end() == -signal.SIGKILL

    def look(self, path: Path) -> None:
        """What must hold after a kill, whatever it left; looked at once for equal files."""
        left = fingerprint(path)
        if left not in self._seen:
            self._seen.add(left)
            self._check(path)
        shutil.rmtree(path)

    def _check(self, path: Path) -> None:
        kind = self.scenario.operation.kind
        if kind == "create":
            check_created(path)
        elif kind == "repair":
            check_repairable(path, self.before)
        else:
            check_recovered(path, self.before, self.after)

    @property
    def looks(self) -> int:
        """How many different folders the kills left."""
        return len(self._seen)


def fingerprint(path: Path) -> str:
    """What matters of a folder: not SQLite's shared memory, made anew, nor who held the lock."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = re.sub("[0-9a-f]{32}", "", str(file.relative_to(path)))
        without_content = file.is_dir() or name.endswith("-shm") or name == "writer.lock"
        digest.update(name.encode() + (b"" if without_content else file.read_bytes()))
    return digest.hexdigest()


def check_created(path: Path) -> None:
    try:
        index = reopen(path)
    except IndexNotFound:
        index = create(path)
    with index:
        check_goes_on(index, check(index, {}))
    assert {entry.name for entry in path.iterdir()} == {"catalog.db", "segments", "writer.lock"}


def check_recovered(path: Path, before: State, after: State) -> None:
    with reopen(path) as index:
        check_goes_on(index, check(index, before, after))


def check_goes_on(index: Index, state: State) -> None:
    """The next write works, and sweeps what the killed one left."""
    more = numbered([1000], "later")
    named = named_files(index)
    add(index, more)
    after = named_files(index)
    # What this write itself has put out of use is swept by the next one.
    assert segment_files(index) <= after | named
    index.delete([])
    assert segment_files(index) == after
    assert holds(index, {**state, **more})


def check_repairable(path: Path, state: State) -> None:
    """A write comes first, which sweeps; then repair does the whole of its work."""
    more = numbered([1000], "later")
    with reopen(path) as index:
        assert holds(index, state)
        add(index, more)
        report = index.repair()
        assert report.after.ok, report
        check(index, {**state, **more})
        index.delete([])
        assert segment_files(index) == named_files(index)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SCENARIOS]
)
def test_a_kill_at_any_step_leaves_the_state_before_or_after(
    name: str, fast_folder: Path, thorough: bool
) -> None:
    interrupted = Interrupted(name, fast_folder)
    steps = interrupted.unharmed()
    chosen = list(range(len(steps))) if thorough else distinct(steps)[::2]
    pending: tuple[int, Path] | None = None
    for step in chosen:
        with interrupted.killed_at(step) as path:  # one is running while the last is looked at
            look(interrupted, steps, pending)
        pending = (step, path)
    look(interrupted, steps, pending)
    print(f"\n{name}: {len(chosen)} kills at {len(steps)} steps, {interrupted.looks} results")  # noqa: T201 - seen with -s


def look(interrupted: Interrupted, steps: list[str], killed: tuple[int, Path] | None) -> None:
    """Look at one, and tell which it was if it is not whole."""
    if killed is None:
        return
    step, path = killed
    try:
        interrupted.look(path)
    except BaseException as error:
        around = steps[max(0, step - 2) : step + 2]
        error.add_note(f"{interrupted.name!r} killed at step {step}, the third of {around}")
        raise
