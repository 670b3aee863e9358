"""Readers search without pause while a writer commits and optimizes."""

from __future__ import annotations

import os
import threading
import time
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

import semsearch
import semsearch.search
from crash.model import DIM, hashed
from crash.processes import CONTEXT, child
from semsearch import Hit, Index

DOCUMENTS = [f"d{i}" for i in range(10)]
K = 500
QUERY = hashed("query")
WARM_UP = 30
MOST_GROWTH_MB = 30.0
MOST_DELETED_MAPS = 64
"""Maps of files that a writer has removed; each segment is kept until the next query at most."""


class Shared(Protocol):
    """An integer that processes share."""

    value: int


def text(id_: str, generation: int) -> str:
    return f"document {id_} of generation {generation}"


def vectors(texts: list[str]) -> NDArray[np.float32]:
    return np.array([hashed(each) for each in texts], np.float32).reshape(-1, DIM)


def write_generation(index: Index, generation: int) -> None:
    """One commit: the same ten documents in a new generation, and one more document."""
    ids = [*DOCUMENTS, f"extra {generation}"]
    texts = [text(id_, generation) for id_ in ids]
    index.add(
        [
            {"id": id_, "text": each, "metadata": {"generation": generation}}
            for id_, each in zip(ids, texts, strict=True)
        ],
        vectors(texts),
    )


def write_all(index: Index, commits: int, acknowledged: Shared) -> None:
    """Commit, optimize now and then, delete some of the extra documents."""
    for generation in range(1, commits + 1):
        write_generation(index, generation)
        acknowledged.value = generation
        if generation % 25 == 0:
            index.optimize("ivf" if generation % 50 else "exact")
        if generation % 10 == 0:
            index.delete(f"extra {old}" for old in range(generation - 9, generation - 3))


def generation_of(hits: list[Hit]) -> int:
    """The one generation of an answer.

    Raises:
        AssertionError: It is of several, or not whole.
    """
    documents = {hit.id: hit for hit in hits if not hit.id.startswith("extra")}
    assert sorted(documents) == sorted(DOCUMENTS), sorted(documents)
    assert len({hit.chunk for hit in hits}) == len(hits) == len({hit.id for hit in hits})
    generations = {hit.metadata["generation"] for hit in documents.values()}
    assert len(generations) == 1, generations
    generation = int(generations.pop())
    for id_, hit in documents.items():
        assert hit.text == text(id_, generation)
        assert abs(hit.score - float(QUERY @ hashed(hit.text))) < 1e-5
    return generation


def look(index: Index, turn: int) -> int:
    """Ask in one of several ways; gives the generation that the answer is of."""
    if turn % 8 == 3:
        found = index.get(DOCUMENTS)
        assert len({document.metadata["generation"] for document in found if document}) == 1
        return int(found[0].metadata["generation"]) if found[0] else -1
    if turn % 8 == 5:
        matrix = np.concatenate(list(index.vectors(DOCUMENTS).values()))
        generation = generation_of(index.search(QUERY, k=K))
        newest = vectors([text(id_, generation) for id_ in DOCUMENTS])
        assert np.isfinite(matrix).all()
        assert matrix.shape == newest.shape
        return generation
    if turn % 8 == 7:
        answers = index.search([QUERY, QUERY], k=K, group=True)
        assert generation_of(answers[0]) == generation_of(answers[1])
        return generation_of(answers[0])
    return generation_of(index.search(QUERY, k=K))


@dataclass(frozen=True)
class Figures:
    """What became of a reader."""

    queries: int
    generations: int
    warm_mb: float
    end_mb: float
    warm_files: int
    end_files: int
    most_deleted: int
    end_deleted: int


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def deleted_maps() -> int:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum("/segments/" in line and line.endswith("(deleted)") for line in lines)


def read_until(connection: Connection, path: Path, acknowledged: Shared, stop: Event) -> None:
    """Look without pause; every answer is whole and at least as new as was acknowledged."""
    warnings.simplefilter("error")
    seen: set[int] = set()
    last, turn, most_deleted = 0, 0, 0
    warm: tuple[float, int] | None = None
    with semsearch.open(path) as index:
        while not stop.is_set() or last < acknowledged.value:
            floor = acknowledged.value
            generation = look(index, turn)
            assert generation >= max(floor, last), (generation, floor, last)
            last = generation
            seen.add(generation)
            turn += 1
            if turn == 1:
                connection.send("reading")
            if turn % 16 == 0:
                most_deleted = max(most_deleted, deleted_maps())
            if warm is None and turn >= WARM_UP and generation >= WARM_UP:
                warm = memory_mb(), open_files()
        warm = warm or (memory_mb(), open_files())
        look(index, 0)
        connection.send(
            Figures(
                turn, len(seen), warm[0], memory_mb(), warm[1], open_files(),
                most_deleted, deleted_maps(),
            )
        )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with semsearch.create(tmp_path / "index", dim=DIM) as index:
        write_generation(index, 0)
    return tmp_path / "index"


@pytest.mark.timeout(900)
def test_readers_see_whole_commits_at_once_and_stay_small(path: Path, thorough: bool) -> None:
    commits = 200 if thorough else 60
    acknowledged = CONTEXT.Value("q", 0, lock=False)
    stop = CONTEXT.Event()
    arguments = (path, acknowledged, stop)
    began = time.monotonic()
    with (
        child(read_until, *arguments) as first,
        child(read_until, *arguments) as second,
        child(read_until, *arguments) as third,
        semsearch.open(path) as index,
    ):
        readers = [first, second, third]
        assert [reader.receive() for reader in readers] == ["reading"] * 3
        write_all(index, commits, acknowledged)
        stop.set()
        figures: list[Figures] = [reader.receive() for reader in readers]
        assert index.verify().ok
    for each in figures:
        print(each)  # noqa: T201 - seen with -s
        assert each.queries > commits / 4
        assert each.generations > 10
        assert each.end_mb - each.warm_mb < MOST_GROWTH_MB
        assert each.end_files <= each.warm_files + 8
        assert each.most_deleted <= MOST_DELETED_MAPS
        assert each.end_deleted <= 8
    print(f"{commits} commits in {time.monotonic() - began:.0f} s")  # noqa: T201


def test_a_derived_file_may_go_while_it_is_about_to_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = semsearch.search.search

    def late(*args: Any, **kwargs: Any) -> list[list[Hit]]:
        began = time.monotonic()
        with semsearch.open(path) as other:
            other.optimize("exact")
        assert time.monotonic() - began < 10  # it does not wait for readers
        assert not list(path.glob("segments/*.faiss"))
        return search(*args, **kwargs)

    with semsearch.open(path) as index:
        write_generation(index, 1)
        index.optimize("ivf")
    with semsearch.open(path) as index:
        monkeypatch.setattr("semsearch.reader.search", late)
        assert generation_of(index.search(QUERY, k=K)) == 1


def write_in_child(connection: Connection, path: Path, commits: int, shared: Any) -> None:
    with semsearch.open(path) as index:
        write_all(index, commits, shared)
    connection.send("written")


@pytest.mark.timeout(300)
def test_threads_share_an_index_while_another_process_writes(path: Path) -> None:
    acknowledged = CONTEXT.Value("q", 0, lock=False)
    stop = threading.Event()
    failures: list[BaseException] = []
    queries = [0] * 4

    def read(number: int, index: Index) -> None:
        last = 0
        try:
            while not stop.is_set() or last < acknowledged.value:
                floor = acknowledged.value
                generation = look(index, queries[number])
                assert generation >= max(floor, last), (generation, floor, last)
                last = generation
                queries[number] += 1
        except BaseException as error:
            failures.append(error)

    with semsearch.open(path) as index:
        threads = [threading.Thread(target=read, args=(n, index)) for n in range(4)]
        with child(write_in_child, path, 30, acknowledged) as writer:
            for thread in threads:
                thread.start()
            try:
                assert writer.receive(120) == "written"
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
    if failures:
        raise failures[0]
    assert min(queries) > 10
    print(f"\nqueries of each thread: {queries}")  # noqa: T201 - seen with -s
