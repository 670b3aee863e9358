"""A commit that fails changes nothing, and one that succeeds is on the disk before it is seen."""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crash.injection import SQL, distinct, intercepted
from crash.model import Operation, State, add, check, create, holds, numbered, reopen
from crash.scenario import SCENARIOS, SLOW, Scenario
from semsearch import StorageError

FAILING = {
    name: scenario for name, scenario in SCENARIOS.items() if name != "create" and name not in SLOW
}


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def failure(step: str) -> Exception | None:
    """What the call behind a step could raise; None where a step is no call that fails."""
    if re.fullmatch(f"before ({SQL}.*|commit)", step):
        return io_error()
    if re.fullmatch("before (fsync|replace|open|unlink|copyfile|create .*)|half .*", step):
        return disk_full()
    return None


@dataclass
class Attempt:
    """Steps of what is done in its `with` block; the call at `fail_at` fails."""

    fail_at: int | None = None
    armed: bool = True
    steps: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> None:
        if not self.armed:
            return
        self.steps.append(name)
        if len(self.steps) - 1 == self.fail_at and (error := failure(name)):
            raise error


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FAILING)
def test_a_failing_call_changes_nothing_and_the_index_goes_on(
    name: str, fast_folder: Path, thorough: bool
) -> None:
    scenario = FAILING[name]
    before = scenario.prepare(fast_folder / "prepared")
    after = scenario.operation.outcome(before)
    shutil.copytree(fast_folder / "prepared", fast_folder / "unharmed")
    steps = record(scenario, fast_folder / "unharmed")
    failing = [
        at for at in (range(len(steps)) if thorough else distinct(steps)[::2]) if failure(steps[at])
    ]
    refused = 0
    for at in failing:
        path = fast_folder / str(at)
        shutil.copytree(fast_folder / "prepared", path)
        try:
            refused += fails(path, scenario.operation, at, before, after)
        except BaseException as error:
            error.add_note(f"{name!r} failing at step {at}, {steps[at]!r}")
            raise
        shutil.rmtree(path)
    assert refused
    print(f"\n{name}: {len(failing)} failures, {refused} errors")  # noqa: T201 - seen with -s


def record(scenario: Scenario, path: Path) -> list[str]:
    """The steps of an operation on an open index, when nothing goes wrong."""
    attempt = Attempt(armed=False)
    with intercepted(attempt), reopen(path) as index:
        attempt.armed = True
        scenario.operation.perform(index)
        attempt.armed = False
    return attempt.steps


def fails(path: Path, operation: Operation, at: int, before: State, after: State) -> bool:
    """Let one step fail; whether the operation failed for it (it can do without tidying up)."""
    more = numbered([2000], "later")
    attempt = Attempt(at, armed=False)
    with intercepted(attempt), reopen(path) as index:
        attempt.armed = True
        try:
            operation.perform(index)
        except StorageError:
            refused = True
        else:
            refused = False
        attempt.armed = False
        state = before if refused else after
        assert holds(index, state)
        add(index, more)
        if operation.kind == "repair":
            assert index.repair().after.ok
        check(index, {**state, **more})
    return refused


def test_create_that_fails_can_be_done_again(fast_folder: Path) -> None:
    attempt = Attempt()
    with intercepted(attempt):
        create(fast_folder / "unharmed").close()
    chosen = [at for at, step in enumerate(attempt.steps) if failure(step)]
    assert len(chosen) > 10
    for at in chosen:
        path = fast_folder / f"index {at}"
        try:
            with intercepted(Attempt(at)):
                create(path).close()
        except StorageError:
            if not (path / "catalog.db").exists():
                create(path).close()
        with reopen(path) as index:
            add(index, numbered(range(3)))
            check(index, numbered(range(3)))


@pytest.mark.parametrize("name", ["first add", "replace", "optimize", "optimize ivf"])
def test_files_and_folder_are_flushed_before_the_commit(name: str, fast_folder: Path) -> None:
    scenario = SCENARIOS[name]
    path = fast_folder / "index"
    scenario.prepare(path)
    steps = record(scenario, path)
    # A sweep is an empty transaction: no statement comes right before its commit.
    commits = [
        at for at, step in enumerate(steps) if step == "before commit" and SQL in steps[at - 1]
    ]
    # The second commit of optimize merges the keyword index.
    assert len(commits) == (2 if name.startswith("optimize") else 1)
    committed = commits[0]
    files = steps[:committed]
    written = [at for at, step in enumerate(files) if step in ("after write arrow", "after lists")]
    assert len(written) == (2 if name == "optimize ivf" else 1)
    for at in written:
        rest = [step for step in files[at:] if step.startswith("after") and SQL not in step]
        flushed = rest.index("after fsync")
        renamed = rest.index("after replace")
        assert flushed < renamed < len(rest) - 1 - rest[::-1].index("after fsync")
    assert "before replace" not in steps[committed:]


def test_every_writing_connection_waits_for_the_disk(
    fast_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connecting(*args: object, **kwargs: object) -> sqlite3.Connection:
        opened.append(connect(*args, **kwargs))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connecting)
    create(fast_folder / "index").close()
    opened.clear()
    with reopen(fast_folder / "index") as index:
        add(index, numbered(range(3)))
        assert opened
        for connection in opened:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
