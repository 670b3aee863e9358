"""One store in a process of its own: build it, tune it, ask it; the figures as JSON on stdout.

python -m engines.worker NAME DATA FOLDER
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.base import Engine, Record, Vector, Where, matching

K = 10
TARGET = 0.95
_WARM_UP = 5
_MOST_SECONDS = 20.0  # of one case: a slow store is asked fewer queries, but these at least:
_LEAST_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Case:
    """Queries with their exact answers, `(queries, K)` ids, nearest first."""

    name: str
    where: Where | None
    truth: NDArray[np.str_]


def main(name: str, data: Path, folder: Path) -> None:
    """Measure the store called `name`."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    engine: Engine = importlib.import_module(f"engines.{name}").Engine(folder)
    records = [Record(*json.loads(line)) for line in (data / "records.jsonl").open()]
    began = time.perf_counter()
    engine.build(records, np.load(data / "vectors.npy"))
    seconds = time.perf_counter() - began
    del records
    queries = np.load(data / "queries.npy")
    everything, *filtered = cases(data)
    result: dict[str, Any] = {
        "version": version(engine.package),
        "index": engine.index,
        "build_seconds": seconds,
        "cases": {everything.name: tuned(engine, queries, everything)},
        "knob": f"{engine.knob} {engine.effort}" if engine.knob else "",
    }
    for case in filtered:
        try:
            result["cases"][case.name] = measured(engine, queries, case)
        except NotImplementedError:
            result["cases"][case.name] = None
    engine.close()
    result["bytes"] = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    print(json.dumps(result))


def cases(data: Path) -> list[Case]:
    """The unfiltered one first."""
    found = json.loads((data / "cases.json").read_text())
    return [
        Case(name, Where(*where) if where else None, np.load(data / f"{name}.npy"))
        for name, where in found.items()
    ]


def tuned(engine: Engine, queries: Vector, case: Case) -> dict[str, float]:
    """With the least effort that reaches the target; with the greatest if none does."""
    for effort in engine.efforts or (0,):
        engine.effort = effort
        figures = measured(engine, queries, case)
        if figures["recall"] >= TARGET:
            break
    return figures


def measured(engine: Engine, queries: Vector, case: Case) -> dict[str, float]:
    """Times and answers of one query after the other."""
    for query in queries[:_WARM_UP]:
        engine.search(query, K, case.where)
    times: list[float] = []
    right, short = 0, 0
    for query, truth in zip(queries, case.truth, strict=True):
        began = time.perf_counter()
        hits = engine.search(query, K, case.where)
        times.append(time.perf_counter() - began)
        check(hits, case.where)
        right += len({hit.id for hit in hits} & set(truth.tolist()))
        short += len(hits) < K
        if sum(times) > _MOST_SECONDS and len(times) >= _LEAST_QUERIES:
            break
    p50, p99 = 1e3 * np.percentile(times, [50, 99])
    return {
        "queries": len(times),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "recall": right / (K * len(times)),
        "short": short,
    }


def check(hits: list[Record], where: Where | None) -> None:
    """Figures count only if hits are whole and match.

    Raises:
        RuntimeError: One is not.
    """
    for hit in hits:
        if not hit.text or not matching(hit, where):
            raise RuntimeError(f"{hit} does not match {where}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
