"""How long does the first answer of a fresh process take?

An index of 100,000 definitions of WordNet, made by semsearch, is searched by fresh processes, in
turn with a process that imports sentence-transformers, loads the model and encodes the same query
without searching anything. All files are in the system's cache, the model in semsearch's. Then the
warm query: `Index.search` in one process, in turn with the encoder alone.

    python benchmarks/cold_search.py            # measure, write the JSON and the table
    python benchmarks/cold_search.py --table    # the table again from the JSON
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import glosses
import report

import semsearch
from semsearch.encoders.model_folder import resolve

MOST_SECONDS, LEAST_RATIO, MOST_WARM = 1.0, 8.0, 1.3
QUERY = "a device that keeps food cold"

_SEARCH = """
import sys
from semsearch import cli
try:
    cli.main(sys.argv[1:], standalone_mode=False)
finally:
    heavy = {"torch", "transformers", "sentence_transformers"} & sys.modules.keys()
    if heavy:
        sys.exit(f"imported: {heavy}")
"""
_REFERENCE = """
import sys
from sentence_transformers import SentenceTransformer
print(SentenceTransformer(sys.argv[1], device="cpu").encode(sys.argv[2])[:3])
"""


def main() -> int:
    """Measure, or only write the table; 1 when a limit is missed."""
    return report.main("cold_search", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = glosses.parser(__doc__)
    parser.add_argument("--processes", type=int, default=7, help="fresh ones of each kind")
    parser.add_argument("--warm", type=int, default=300, help="warm queries")
    parser.add_argument("--index", type=Path, help="made there, or used if it is there")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build the index, run the processes in turn, then the warm queries."""
    with tempfile.TemporaryDirectory() as folder:
        path = options.index or Path(folder) / "index"
        glosses.indexed(path, options)
        model = str(resolve("all-MiniLM-L6-v2").path)
        commands = {
            "semsearch search": [_SEARCH, "search", QUERY, "--index", str(path)],
            "sentence-transformers, encode": [_REFERENCE, model, QUERY],
        }
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(options.processes + 1):
            for name, (code, *arguments) in commands.items():
                cost = process([sys.executable, "-c", code, *arguments])
                if number:  # the first of each fills the caches
                    costs[name].append(cost)
        warm = warm_queries(path, options.warm)
    return summary(costs, warm, options)


def process(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process.

    Raises:
        CalledProcessError: It failed.
    """
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    children = (after.children_user, after.children_system)
    return wall, sum(children) - before.children_user - before.children_system


def warm_queries(path: Path, n: int) -> dict[str, float]:
    """Median milliseconds of a search and of the encoder alone, in turn."""
    with semsearch.open(path) as index:
        actions: dict[str, Callable[[str], object]] = {
            "search": index.search,
            "encoder": lambda query: index.encoder.encode_queries([query]),
        }
        taken: dict[str, list[float]] = {name: [] for name in actions}
        for number in range(n + 20):
            for name, action in actions.items():
                began = time.perf_counter()
                action(f"{QUERY} {number} {name}")
                taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(times[20:]) for name, times in taken.items()}


def summary(
    costs: dict[str, list[tuple[float, float]]],
    warm: dict[str, float],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Medians, ratios, and what they were measured on."""
    medians = {
        name: [statistics.median(column) for column in zip(*taken, strict=True)]
        for name, taken in costs.items()
    }
    (ours, our_cpu), (theirs, their_cpu) = medians.values()
    ratio = theirs / ours
    warm_ratio = warm["search"] / warm["encoder"]
    return {
        "question": "How long does the first answer of a fresh process take?",
        "documents": options.documents,
        "processes": options.processes,
        "figures": [
            {"subject": name, "seconds": wall, "cpu_seconds": cpu}
            for name, (wall, cpu) in medians.items()
        ],
        "ratio": ratio,
        "cpu_ratio": their_cpu / our_cpu,
        "warm": warm,
        "warm_ratio": warm_ratio,
        "passed": ours <= MOST_SECONDS and ratio >= LEAST_RATIO and warm_ratio <= MOST_WARM,
        **report.circumstances(options.index),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"| {row['subject']} | {row['seconds']:.2f} | {row['cpu_seconds']:.2f} |"
        for row in result["figures"]
    ]
    warm = result["warm"]
    about = (
        f"{result['documents']:,} documents, {result['processes']} processes of each in turn; "
        f"semsearch is {result['ratio']:.1f} times faster ({result['cpu_ratio']:.1f} in CPU time) "
        f"and imports no torch. Warm: a search takes {warm['search']:.1f} ms, the encoder alone "
        f"{warm['encoder']:.1f} ms, {result['warm_ratio']:.2f} times that. "
        f"{report.measured_on(result)}"
    )
    head = "| fresh process | wall seconds, median | CPU seconds, median |"
    return "\n".join([head, "|---|---:|---:|", *lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
