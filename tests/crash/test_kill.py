"""A writer is killed at random moments, again and again on one index.

`pytest tests/crash/test_kill.py --crash-rounds 200 -s` runs it longer and shows the figures.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from crash.model import (
    Content,
    Operation,
    State,
    check,
    create,
    named_files,
    reopen,
    segment_files,
)
from crash.processes import child
from semsearch import Index

MOST_DOCUMENTS = 500
BEGUN, DONE = "begun", "done"


def random_operation(rng: random.Random, state: State) -> Operation:
    ids = sorted(state)
    kinds = ["new", "new", "new", "replace", "relabel", "delete", "optimize"]
    kind = rng.choice(kinds) if ids else "new"
    if kind == "new" and len(ids) > MOST_DOCUMENTS:
        return Operation("delete", ids=rng.sample(ids, rng.randint(1, len(ids))))
    some = rng.sample(ids, min(len(ids), rng.randint(1, 40)))
    if kind == "delete":
        return Operation("delete", ids=some)
    if kind == "optimize":
        return Operation("optimize", index_kind=rng.choice(["exact", "ivf"]))
    if kind == "relabel":
        encoded = [id_ for id_ in some if not state[id_].given]
        label = {"label": rng.random()}
        return Operation("add", {id_: Content(state[id_].text, label) for id_ in encoded})
    given = rng.random() < 0.5
    if kind == "new":
        some = [f"{rng.getrandbits(48):012x}" for _ in range(rng.randint(1, 60))]
    return Operation("add", {id_: random_content(rng, given) for id_ in some})


def random_content(rng: random.Random, given: bool) -> Content:
    words = rng.choice([3, 3, 3, 30, 150])  # the longest have several chunks
    text = " ".join(f"word{rng.getrandbits(32)}" for _ in range(words))
    return Content(text, {"number": rng.random()}, given)


def write_until_killed(connection: Connection, path: Path, seed: int, state: State) -> None:
    """Announce every operation, do it, acknowledge it; without end."""
    rng = random.Random(seed)
    with reopen(path) as index:
        while True:
            operation = random_operation(rng, state)
            connection.send((BEGUN, operation))
            operation.perform(index)
            connection.send((DONE, operation))
            state = operation.outcome(state)


class Campaign:
    """One index, killed many times."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.rng = random.Random(seed)
        self.state: State = {}
        self.reader: Index | None = None
        self.operations = 0
        self.inside: Counter[str] = Counter()
        self.in_flight_kept = 0
        create(path).close()

    def round(self) -> None:
        """Write, kill, look."""
        before, begun = self._killed_after(self.rng.uniform(0.005, 0.4))
        states = [before] if begun is None else [before, begun.outcome(before)]
        # Half the time a reader stays open over the next kill, so that SQLite's log stays too.
        index = self.reader or reopen(self.path)
        self.state = check(index, *states)
        if begun is not None:
            self.inside[begun.kind] += 1
            self.in_flight_kept += self.state is not before
        self.reader = index if self.rng.random() < 0.5 else None
        if self.reader is None:
            index.close()

    def _killed_after(self, seconds: float) -> tuple[State, Operation | None]:
        """What was acknowledged, and the operation that was in flight, if one was."""
        state, begun = self.state, None
        with child(write_until_killed, self.path, self.rng.getrandbits(32), state) as writer:
            messages = [
                writer.receive(),
                writer.receive(),
            ]  # killed after the first acknowledgement
            deadline = time.monotonic() + seconds
            while writer.poll(deadline - time.monotonic()):
                messages.append(writer.receive())
            writer.kill()
            messages += writer.rest()
        assert writer.process.exitcode == -signal.SIGKILL
        for what, operation in messages:
            begun = operation if what == BEGUN else None
            if what == DONE:
                state = operation.outcome(state)
                self.operations += 1
        return state, begun

    def finish(self) -> None:
        """The index is as good as new."""
        if self.reader:
            self.reader.close()
        with reopen(self.path) as index:
            index.delete([])  # the next writer sweeps
            assert segment_files(index) == named_files(index)
            index.optimize()
            check(index, self.state)


@pytest.mark.timeout(3600)
def test_a_killed_writer_loses_nothing_and_leaves_nothing_half_done(
    tmp_path: Path, crash_rounds: int, crash_seed: int
) -> None:
    campaign = Campaign(tmp_path / "index", crash_seed)
    began = time.monotonic()
    for number in range(crash_rounds):
        try:
            campaign.round()
        except BaseException as error:
            error.add_note(f"round {number} of --crash-seed {crash_seed}")
            raise
    campaign.finish()
    print(  # noqa: T201 - the figures, seen with -s
        f"\n{crash_rounds} kills (seed {crash_seed}), {campaign.operations} operations "
        f"acknowledged, {campaign.inside.total()} kills inside an operation "
        f"({dict(campaign.inside)}), of these {campaign.in_flight_kept} were committed by then; "
        f"{len(campaign.state)} documents at the end; {time.monotonic() - began:.0f} s"
    )
