"""Does the cost of one added or deleted document grow with the index?

Two indexes of random unit vectors, a small and a large one, get the same changes in turn, one
document a commit. Measured around every call: wall time, bytes handed to the disk (`write_bytes`
of /proc/self/io: pages made dirty, so mapped files count too) and bytes written by system calls
(`wchar`, as a check). Means count the occasional merge of segments and checkpoint of the log;
medians show the usual call. Linux only.

    python benchmarks/small_changes.py            # measure, write the JSON and the table
    python benchmarks/small_changes.py --table    # the table again from the JSON
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import report
from numpy.typing import NDArray

import semsearch

LIMIT = 2.0
"""The large index may cost this many times what the small one costs."""

_BATCH = 10_000
_WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call cost."""

    seconds: float
    disk: int
    calls: int


@dataclass(slots=True)
class Subject:
    """An index under test: what may be deleted of it, and what its changes cost."""

    index: semsearch.Index
    documents: int
    ids: list[str]
    adds: list[Cost]
    deletes: list[Cost]


def main() -> int:
    """Measure, or only write the table; 1 when a ratio is over the limit."""
    return report.main("small_changes", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = report.parser(__doc__)
    parser.add_argument("--small", type=int, default=2_000, help="documents of the small index")
    parser.add_argument("--large", type=int, default=200_000, help="documents of the large index")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--changes", type=int, default=600, help="adds, and deletes, of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to build; must be on a real disk")
    return parser


# -- measuring -----------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build both indexes, change them in turn, sum up."""
    rng = np.random.default_rng(options.seed)
    chosen = random.Random(options.seed)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        subjects = [
            build(Path(folder) / str(n), n, options.dim, rng)
            for n in (options.small, options.large)
        ]
        for subject in subjects:
            chosen.shuffle(subject.ids)
        began = time.perf_counter()
        for number in range(options.changes + _WARM_UP):
            vector = unit(rng, 1, options.dim)
            # The order alternates, so that neither index always runs behind the other's flush.
            for subject in subjects if number % 2 else reversed(subjects):
                change(subject, number, vector, counted=number >= _WARM_UP)
            if number % 50 == 0:
                print(f"{number} changes, {time.perf_counter() - began:.0f} s", file=sys.stderr)
        for subject in subjects:
            check(subject)
            subject.index.close()
    return summary(subjects, options)


def build(path: Path, n: int, dim: int, rng: np.random.Generator) -> Subject:
    """Make an index of `n` documents of random unit vectors."""
    print(f"building an index of {n:,} documents", file=sys.stderr)
    index = semsearch.create(path, dim=dim)
    for start in range(0, n, _BATCH):
        ids = [f"d{number}" for number in range(start, min(start + _BATCH, n))]
        index.add([document(id_) for id_ in ids], vectors=unit(rng, len(ids), dim))
    return Subject(index, n, [f"d{number}" for number in range(n)], [], [])


def document(id_: str) -> dict[str, Any]:
    """A document of the length of a short note."""
    text = f"Note {id_}. " + "A sentence about nothing in particular, of the usual length. " * 8
    return {"id": id_, "text": text, "metadata": {"year": 2020, "lang": "en"}}


def unit(rng: np.random.Generator, n: int, dim: int) -> NDArray[np.float32]:
    """`(n, dim)` random directions, float32, unit length."""
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def change(subject: Subject, number: int, vector: NDArray[np.float32], *, counted: bool) -> None:
    """Add one document and delete another, each a commit of its own."""
    added = cost(lambda: subject.index.add(document(f"new{number}"), vectors=vector))
    deleted = cost(lambda: subject.index.delete(subject.ids[number]))
    if counted:
        subject.adds.append(added)
        subject.deletes.append(deleted)


def cost(action: Callable[[], object]) -> Cost:
    """Run `action` and measure it."""
    disk, calls = written()
    began = time.perf_counter()
    action()
    seconds = time.perf_counter() - began
    disk_after, calls_after = written()
    return Cost(seconds, disk_after - disk, calls_after - calls)


def written() -> tuple[int, int]:
    """`write_bytes` and `wchar` of this process so far; see proc_pid_io(5)."""
    lines = (line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    values = {key: int(value) for key, value in lines}
    return values["write_bytes"], values["wchar"]


def check(subject: Subject) -> None:
    """The figures count only if the index did what it was asked.

    Raises:
        RuntimeError: The number of documents is wrong or the index is damaged.
    """
    found = subject.index.verify()
    if len(subject.index) != subject.documents or not found.ok:
        raise RuntimeError(f"{subject.index!r} is wrong after the changes: {found.problems}")


# -- reporting -----------------------------------------------------------------------------------


def summary(subjects: list[Subject], options: argparse.Namespace) -> dict[str, Any]:
    """Figures of both indexes, their ratios, and what they were measured on."""
    small, large = subjects
    operations = {
        "add": (averages(small.adds), averages(large.adds)),
        "delete": (averages(small.deletes), averages(large.deletes)),
    }
    figures = [
        {"operation": operation, "figure": name, "small": below[name], "large": above[name],
         "ratio": above[name] / below[name] if below[name] else None}
        for operation, (below, above) in operations.items()
        for name in below
    ]  # fmt: skip
    judged = [row["ratio"] for row in figures if not str(row["figure"]).startswith("calls")]
    return {
        "question": "What does one added or deleted document cost, by the size of the index?",
        "small": small.documents,
        "large": large.documents,
        "dim": options.dim,
        "changes": options.changes,
        "seed": options.seed,
        "limit": LIMIT,
        "passed": all(isinstance(ratio, float) and ratio <= LIMIT for ratio in judged),
        "figures": figures,
        **report.circumstances(options.folder),
    }


def averages(costs: list[Cost]) -> dict[str, float]:
    """Median and mean of each measure: milliseconds and bytes."""
    rows = [asdict(one) for one in costs]
    measures = {
        "milliseconds": [1e3 * row["seconds"] for row in rows],
        "disk bytes": [row["disk"] for row in rows],
        "calls bytes": [row["calls"] for row in rows],
    }
    return {
        f"{name}, {kind.__name__}": float(kind(values))
        for name, values in measures.items()
        for kind in (statistics.median, statistics.mean)
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    head = f"| one document | {result['small']:,} | {result['large']:,} | ratio |"
    rows = [
        f"| {row['operation']}: {row['figure']} | {row['small']:,.1f} | {row['large']:,.1f} "
        f"| {row['ratio']:.2f} |"
        if row["ratio"] is not None
        else f"| {row['operation']}: {row['figure']} | {row['small']} | {row['large']} | - |"
        for row in result["figures"]
    ]
    verdict = "all at most" if result["passed"] else "**not** all at most"
    about = (
        f"{result['changes']} adds and as many deletes of each index, in turn; {result['dim']} "
        f"dimensions, seed {result['seed']}. Ratios of time and disk bytes are {verdict} "
        f"{result['limit']:g}. {report.measured_on(result)}"
    )
    return "\n".join([head, "|---|---:|---:|---:|", *rows, "", about])


if __name__ == "__main__":
    sys.exit(main())
