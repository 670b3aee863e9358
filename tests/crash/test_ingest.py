"""An ingest that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import semsearch
from crash.model import ENCODER

CHUNKS = 4  # of a document, at most
TESTS = Path(__file__).resolve().parent.parent
INGEST = """
import os, sys, time
import semsearch
from crash.model import HashEncoder
from semsearch import ingest

index, source, log, commit, pause = sys.argv[1:]
ingest.COMMIT_CHUNKS = int(commit)
ingest._WINDOW_RECORDS = int(commit) // 40
ingest._GROUP = int(commit) // 20

class Counting(HashEncoder):
    def encode_documents(self, texts):
        time.sleep(float(pause))  # so that there is something to kill
        with open(log, "a") as file:
            file.write(f"{len(texts)}\\n")  # what the system has is not lost with the process
        return super().encode_documents(texts)

with semsearch.open(index, encoder=Counting()) as opened:
    opened.ingest(source)
"""


def write_source(path: Path, documents: int) -> None:
    """Of one to `CHUNKS` chunks, with titles and metadata, and now and then a bad line."""
    with path.open("w") as file:
        for n in range(documents):
            words = " ".join(f"w{n}-{i}" for i in range(5 + n * 7 % 90))
            record = {"_id": f"d{n}", "title": f"Title {n % 7}", "text": words, "n": n}
            file.write(json.dumps(record) + "\n")
            if n % 1000 == 500:
                file.write("{broken\n")


class Run:
    """Ingests of one source into one index, each in a process of its own."""

    def __init__(self, folder: Path, source: Path, commit: int, pause: float) -> None:
        folder.mkdir()
        self.index = folder / "index"
        self.log = folder / "log"
        self._arguments = [self.index, source, self.log, commit, pause]
        semsearch.create(self.index, encoder=ENCODER).close()

    def start(self) -> subprocess.Popen[bytes]:
        path = f"{TESTS.parent}{os.pathsep}{TESTS}"
        return subprocess.Popen(
            [sys.executable, "-c", INGEST, *map(str, self._arguments)],
            env={**os.environ, "PYTHONPATH": path},
        )

    def embedded(self) -> int:
        return sum(map(int, self.log.read_text().split())) if self.log.exists() else 0

    def kill_after(self, chunks: int, rng: random.Random) -> bool:
        """Kill it some time after it has embedded so many more; False when it was done before."""
        target = self.embedded() + chunks
        process = self.start()
        while process.poll() is None and self.embedded() < target:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        return process.wait() != 0


def content(index: semsearch.Index) -> list[object]:
    """Everything but the vectors, in the order of the index."""
    chunks = index.chunks([document.id for document in index])
    return [(document, [chunk.span for chunk in chunks[document.id]]) for document in index] + list(
        index.rejects()
    )


def campaign(folder: Path, *, documents: int, kills: int, commit: int, seed: int) -> None:
    rng = random.Random(seed)
    source = folder / "source.jsonl"
    write_source(source, documents)
    whole = Run(folder / "whole", source, commit, 0)
    assert whole.start().wait() == 0
    killed = Run(folder / "killed", source, commit, 0.01)
    total = whole.embedded()
    done = 0
    for _ in range(kills):
        done += killed.kill_after(rng.randrange(0, 3 * total // (2 * kills)), rng)
    assert killed.start().wait() == 0
    with (
        semsearch.open(whole.index, encoder=ENCODER) as expected,
        semsearch.open(killed.index, encoder=ENCODER) as found,
    ):
        assert len(expected) == documents
        assert content(found) == content(expected)
        ids = [document.id for document in expected]
        mine, other = found.vectors(ids), expected.vectors(ids)
        for id_ in ids:
            np.testing.assert_array_equal(mine[id_], other[id_])
        assert found.verify().ok
    assert killed.embedded() - total <= done * commit, f"seed {seed}"
    print(f"\n{done} kills, {total} chunks, {killed.embedded() - total} embedded again")  # noqa: T201


def test_a_killed_ingest_goes_on_where_it_was(fast_folder: Path, crash_seed: int) -> None:
    campaign(fast_folder, documents=500, kills=2, commit=200, seed=crash_seed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_of_a_large_ingest(fast_folder: Path, crash_seed: int) -> None:
    campaign(fast_folder, documents=20_000, kills=20, commit=1_000, seed=crash_seed)
