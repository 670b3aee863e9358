"""An index of pictures is as safe as one of texts: killed at every step, and while it fills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from encoders import PixelEncoder
from PIL import Image

import semsearch
from crash.injection import distinct, intercepted
from crash.model import named_files, segment_files
from crash.processes import child
from semsearch import Index

TESTS = Path(__file__).resolve().parent.parent
State = dict[str, int]
"""Number of the picture of each document."""

INGEST = r"""
import os, sys, time
import semsearch
from encoders import PixelEncoder
from semsearch import ingest, preparation

ingest.COMMIT_BYTES = 20 * 384
preparation.PICTURE = ingest._WINDOW_CHARACTERS // 10

class Slow(PixelEncoder):
    def encode_pictures(self, prepared):
        time.sleep(0.02)
        os.write(1, b"%d\n" % len(prepared))  # whole: two threads encode
        return super().encode_pictures(prepared)

with semsearch.open(sys.argv[1], encoder=Slow()) as index:
    index.ingest(sys.argv[2])
"""


def pixels(number: int) -> np.typing.NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)


def put(index: Index, numbers: Iterable[int], shift: int = 0) -> State:
    """Add pictures in one call; those of another `shift` are others under the same ids."""
    state = {str(number): number + shift for number in numbers}
    index.add([{"id": id_, "image": pixels(number)} for id_, number in state.items()])
    return state


def opened(path: Path) -> Index:
    return semsearch.open(path, encoder=PixelEncoder())


def prepared(path: Path) -> State:
    """Seven small segments and some dead rows, so that the next commit merges."""
    state: State = {}
    with semsearch.create(path, encoder=PixelEncoder()) as index:
        for first in range(0, 21, 3):
            state |= put(index, range(first, first + 3))
        index.delete(["4"])
    return {id_: number for id_, number in state.items() if id_ != "4"}


Operation = Callable[[Index], State]
OPERATIONS: dict[str, Operation] = {
    "add that compacts": lambda index: put(index, range(30, 33)),
    "replace": lambda index: put(index, [1, 6], 500),
}


def run_to_step(connection: Connection, path: Path, name: str, last: int | None) -> None:
    """Do the operation and die at step `last`; without one, tell the names of all steps."""
    steps: list[str] = []

    def step(name: str) -> None:
        if len(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)

    with intercepted(step), opened(path) as index:
        OPERATIONS[name](index)
    connection.send(steps)


def check(index: Index, *states: State) -> None:
    """All is whole and is one of `states`: documents, latents, answers."""
    assert index.verify().ok
    found = index.decode(index.ids())
    fitting = [
        state
        for state in states
        if state.keys() == found.keys()
        and all(np.array_equal(found[id_], pixels(number)) for id_, number in state.items())
    ]
    assert fitting
    answers = index.search([semsearch.image(pixels(n)) for n in fitting[0].values()], k=1)
    assert [hits[0].id for hits in answers] == list(fitting[0])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_any_step_leaves_the_state_before_or_after(
    name: str, fast_folder: Path, thorough: bool
) -> None:
    origin = fast_folder / "prepared"
    before = prepared(origin)
    shutil.copytree(origin, fast_folder / "done")
    with opened(fast_folder / "done") as index:
        after = before | OPERATIONS[name](index)
    shutil.copytree(origin, fast_folder / "unharmed")
    with child(run_to_step, fast_folder / "unharmed", name, None) as process:
        steps: list[str] = process.receive()
    for step in range(len(steps)) if thorough else distinct(steps)[::6]:
        path = fast_folder / str(step)
        shutil.copytree(origin, path)
        with child(run_to_step, path, name, step) as process:
            assert process.rest() == []
            assert process.end() == -signal.SIGKILL
        with opened(path) as index:
            check(index, before, after)
            put(index, [99])
            index.delete([])
            assert segment_files(index) == named_files(index)
            assert index.verify().ok


def test_a_killed_ingest_goes_on_where_it_was(fast_folder: Path) -> None:
    photos = fast_folder / "photos"
    photos.mkdir()
    for number in range(240):
        Image.fromarray(pixels(number)).save(photos / f"{number:03d}.png")
    path = fast_folder / "index"
    semsearch.create(path, encoder=PixelEncoder()).close()
    kept = 0
    for least in (90, 90):
        encoded = run_until(path, photos, least)
        with opened(path) as index:
            assert index.verify().ok
            lost = encoded - (len(index) - kept)
            kept = len(index)
        # What waits for a commit and what is being written, and what was encoded ahead.
        assert 0 <= lost <= 2 * (20 + 10) + 8 * 10
    assert 0 < kept < 240
    assert run_until(path, photos, None) == 240 - kept
    with opened(path) as index:
        check(index, {f"photos/{number:03d}.png": number for number in range(240)})


def run_until(path: Path, photos: Path, least: int | None) -> int:
    """Ingest, killed once so many are encoded; gives how many were."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    command = [sys.executable, "-c", INGEST, str(path), str(photos)]
    encoded = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            encoded += int(line)
            if least is not None and encoded >= least:
                time.sleep(0.02)
                process.kill()
                least = None
    return encoded
