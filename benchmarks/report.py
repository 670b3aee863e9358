"""What every runner does with its figures: JSON to results/, a table to the README.

A runner calls `main` with its parser, a function that measures, and one that makes the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
DATASETS = HERE.parent.parent / "shared" / "datasets"
"""Public collections beside the repository, each with its SOURCE.md."""

_LIBRARIES = (
    "numpy",
    "pyarrow",
    "sqlalchemy",
    "faiss-cpu",
    "faiss-gpu",
    "torch",
    "sentence-transformers",
    "openvino",
    "diffusers",
    "pillow",
)


def main(
    name: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> int:
    """Measure, write `results/<name>.json` and the table between the README's markers `name`.

    Args:
        name: Of the runner.
        parser: With the runner's own options; `--out` and `--table` are added.
        measure: Gives the result; its `passed` says whether every limit was kept.
        table: The result as Markdown.

    Returns:
        0, or 1 when `passed` is false.
    """
    usual = HERE / "results" / f"{name}.json"
    parser.add_argument("--out", type=Path, default=usual)
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    options = parser.parse_args()
    if not options.table:
        result = measure(options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    result = json.loads(options.out.read_text())
    print(table(result))
    if options.out.resolve() == usual:
        write_table(README, name, table(result))
    return 0 if result["passed"] else 1


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser without options, that describes itself by the first line of a runner's docstring."""
    return argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)


def circumstances(folder: Path | None = None) -> dict[str, Any]:
    """Commit, machine, threads and versions.

    Args:
        folder: Where the files under test lie; the temporary folder by default.
    """
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


def measured_on(result: dict[str, Any]) -> str:
    """Commit, date, machine and versions of a result, for the line below its table."""
    machine = result["machine"]
    return (
        f"Commit {result['commit']}, {result['date']}, {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['file_system']}, "
        + ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        + "."
    )


def write_table(page: Path, name: str, text: str) -> None:
    """Put `text` between the page's markers of that name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page}: no markers for {name}")
    page.write_text(f"{before}{begin}{text}\n{end}{after}")
