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
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import semsearch

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "small_changes.json"
README = HERE / "README.md"
LIMIT = 2.0
"""The large index may cost this many times what the small one costs."""

_BATCH = 10_000
_WARM_UP = 8
_LIBRARIES = ("numpy", "pyarrow", "sqlalchemy", "faiss-cpu", "faiss-gpu")


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
    options = _options()
    if not options.table:
        result = measure(options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    result = json.loads(options.out.read_text())
    print(table(result))
    if options.out.resolve() == RESULT:
        write_table(README, "small_changes", table(result))
    return 0 if result["passed"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", type=int, default=2_000, help="documents of the small index")
    parser.add_argument("--large", type=int, default=200_000, help="documents of the large index")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--changes", type=int, default=600, help="adds, and deletes, of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to build; must be on a real disk")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    return parser.parse_args()


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
    report = subject.index.verify()
    if len(subject.index) != subject.documents or not report.ok:
        raise RuntimeError(f"{subject.index!r} is wrong after the changes: {report.problems}")


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
        **circumstances(options.folder),
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


def circumstances(folder: Path | None) -> dict[str, Any]:
    """Commit, machine, threads and versions."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.release()}",
            "file_system": file_system(folder or Path(tempfile.gettempdir())),
        },
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "versions": {"python": platform.python_version(), **dict(versions())},
    }


def commit() -> str:
    """The commit that was measured; says so when the working tree differs from it."""
    head = _git("rev-parse", "--short=12", "HEAD") or "none"
    return f"{head} with changes" if _git("status", "--porcelain") else head


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def processor() -> str:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def file_system(path: Path) -> str:
    """Type of the file system that holds `path`: that of the longest mount point above it."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    above = [(len(at), kind) for _, at, kind, *_ in mounts if path.resolve().is_relative_to(at)]
    return max(above)[1]


def versions() -> Iterator[tuple[str, str]]:
    """Versions of what takes part, as far as installed."""
    for name in ("semsearch", *_LIBRARIES):
        try:
            yield name, version(name)
        except ImportError:
            continue


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    machine = result["machine"]
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
        f"{result['limit']:g}. Commit {result['commit']}, {result['date']}, "
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['file_system']}, "
        + ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        + "."
    )
    return "\n".join([head, "|---|---:|---:|---:|", *rows, "", about])


def write_table(page: Path, name: str, text: str) -> None:
    """Put `text` between the page's markers of that name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page}: no markers for {name}")
    page.write_text(f"{before}{begin}{text}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
