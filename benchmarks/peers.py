"""How does semsearch compare with its peers, on the same vectors, queries and filters?

Glosses of WordNet, encoded once by MiniLM, are stored with their text, a year and a category, and
searched one vector at a time for the ten nearest: all of them, and with a filter that few and one
that many records match. Years and categories are drawn at random. Each store runs in a process
and a virtual environment of its own, one after the other, pinned to one core; where it has a
knob, that is turned until 95% of the true ten are found without a filter. Linux only.

    python benchmarks/peers.py                          # measure, write the JSON and the table
    python benchmarks/peers.py --only chroma            # that one again; the others' rows stay
    python benchmarks/peers.py --table                  # the table again from the JSON
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import glosses
import numpy as np
import report
from engines.base import Record, Where, matching
from engines.worker import TARGET, K
from numpy.typing import NDArray
from platformdirs import user_cache_path

OURS = "semsearch"
PEERS = {
    "faiss": ["faiss-cpu", "numpy"],
    "hnswlib": ["hnswlib", "numpy"],
    "usearch": ["usearch", "numpy"],
    "chroma": ["chromadb"],
    "lancedb": ["lancedb", "pylance"],
    "qdrant_edge": ["qdrant-edge-py", "numpy"],
    "qdrant_local": ["qdrant-client", "numpy"],
    "milvus_lite": ["pymilvus[milvus-lite]", "setuptools"],
    "txtai": ["txtai", "torch<2.14"],
    "sqlite_vec": ["sqlite-vec", "apsw", "numpy"],
}
"""What each store's environment holds; the module of `engines/` has its name."""

FILTERS = {"few": Where("year", 2000), "many": Where("category", "a")}
_YEARS = range(1776, 2026)  # of 250, one is 0.4%
_CATEGORIES = {"a": 0.6, "b": 0.3, "c": 0.1}


def main() -> int:
    """Measure, or only write the table; 1 when semsearch misses the target or a store failed."""
    return report.main("peers", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = glosses.parser(__doc__)
    parser.add_argument("--queries", type=int, default=300, help="glosses that are not stored")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=[OURS, *PEERS], help="may be repeated")
    parser.add_argument("--through", default="", help="command that starts each, such as 'nice'")
    cache = user_cache_path("semsearch-benchmarks")
    parser.add_argument("--cache", type=Path, default=cache, help="vectors and environments")
    return parser


# -- measuring -----------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run every store on the same data, one after the other."""
    rows = _kept(options)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        matching = write(data, options)
        for engine in options.only or [OURS, *PEERS]:
            print(f"{engine} ...", file=sys.stderr)
            rows[engine] = {**run(engine, data, options), "commit": report.commit()}
        raw = (data / "vectors.npy").stat().st_size
    figures = [{"engine": name, **rows[name]} for name in (OURS, *PEERS) if name in rows]
    return {
        "question": "How does semsearch compare with its peers?",
        "documents": options.documents,
        "queries": options.queries,
        "seed": options.seed,
        "target_recall": TARGET,
        "matching": matching,
        "raw_bytes": raw,
        "figures": figures,
        "passed": _passed(rows),
        **report.circumstances(),
    }


def _kept(options: argparse.Namespace) -> dict[str, Any]:
    """Rows of the last run that are not measured again, of the same data only."""
    if not options.only or not options.out.exists():
        return {}
    before = json.loads(options.out.read_text())
    if any(before[name] != getattr(options, name) for name in ("documents", "queries", "seed")):
        raise SystemExit(f"{options.out} is of other data; measure all of them, or give --out")
    return {row.pop("engine"): row for row in before["figures"]}


def _passed(rows: dict[str, Any]) -> bool:
    ours = rows.get(OURS, {}).get("cases", {}).values()
    return (
        bool(ours)
        and all(case["recall"] >= TARGET and case["short"] == 0 for case in ours)
        and not any("failed" in row for row in rows.values())
    )


def write(data: Path, options: argparse.Namespace) -> dict[str, float]:
    """Vectors, records, queries and exact answers, for all stores alike.

    Returns:
        Which share of the records each filter matches.
    """
    every = glosses.read(options.glosses)
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(every))
    stored, asked = np.split(order[: options.documents + options.queries], [options.documents])
    if len(asked) < options.queries:
        raise SystemExit(f"{options.glosses} has {len(every):,} glosses; ask for fewer")
    encoded = glosses.encoded(every, options.cache / "wordnet.npy")
    vectors, queries = encoded[stored], encoded[asked]
    np.save(data / "vectors.npy", vectors)
    np.save(data / "queries.npy", queries)
    records = described([every[row] for row in stored], rng)
    with (data / "records.jsonl").open("w") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)
    return write_answers(data, records, queries @ vectors.T)


def described(chosen: list[glosses.Gloss], rng: np.random.Generator) -> list[Record]:
    """Records of glosses, years and categories drawn at random."""
    years = rng.choice(_YEARS, len(chosen)).tolist()
    categories = rng.choice(list(_CATEGORIES), len(chosen), p=list(_CATEGORIES.values())).tolist()
    return [
        Record(gloss["_id"], glosses.text(gloss), year, category)
        for gloss, year, category in zip(chosen, years, categories, strict=True)
    ]


def write_answers(
    data: Path, records: list[Record], scores: NDArray[np.float32]
) -> dict[str, float]:
    """The ids of the best by `scores`, `(queries, records)`, for each filter and without.

    Returns:
        Which share of the records each filter matches.
    """
    cases: dict[str, Where | None] = {"all": None, **FILTERS}
    (data / "cases.json").write_text(json.dumps(cases))
    ids = np.array([record.id for record in records])
    shares = {}
    for name, where in cases.items():
        matches = np.array([matching(record, where) for record in records])
        best = np.argsort(-np.where(matches, scores, -2), axis=1, kind="stable")[:, :K]
        np.save(data / f"{name}.npy", ids[best])
        shares[name] = float(matches.mean())
    return shares


def run(engine: str, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one store, or how it failed."""
    try:
        python = environment(engine, options.cache)
        with tempfile.TemporaryDirectory() as folder:
            words = [*shlex.split(options.through), python, "-m", "engines.worker", engine]
            done = subprocess.run(
                [*words, str(data), folder],
                cwd=report.HERE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
    except subprocess.CalledProcessError as error:
        return {"failed": str(error)}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def environment(engine: str, cache: Path) -> str:
    """The Python of a store's virtual environment, made or renewed when it has to be.

    Raises:
        CalledProcessError: pip failed.
    """
    if engine == OURS:
        return sys.executable
    folder = cache / "engines" / engine
    python, installed = str(folder / "bin" / "python"), folder / "installed.txt"
    wanted = "\n".join(PEERS[engine])
    if not installed.exists() or installed.read_text() != wanted:
        print(f"installing {engine} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[engine]], check=True)
        installed.write_text(wanted)
    return python


# -- reporting -----------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: without filters, then with."""
    rows = [row for row in result["figures"] if "failed" not in row]
    failed = [row["engine"] for row in result["figures"] if "failed" in row]
    ours = next((row["cases"] for row in rows if row["engine"] == OURS), None)
    about = (
        f"{result['documents']:,} vectors, {result['queries']} queries, seed {result['seed']}, one "
        f"core each. *x* is p50 over semsearch's; *disk* is bytes over those of the raw vectors. "
        f"{', '.join(failed) + ' failed. ' if failed else ''}{report.measured_on(result)}"
    )
    few, many = (f"{100 * result['matching'][name]:.1f}%" for name in FILTERS)
    return "\n".join(
        [
            "| without a filter | index | knob | build s | disk | p50 ms | x | p99 ms | recall |",
            "|---|---|---|---:|---:|---:|---:|---:|---:|",
            *(_unfiltered(row, ours, result["raw_bytes"]) for row in rows),
            "",
            f"| with a filter | {few}: p50 ms | x | p99 ms | recall | fewer than {K} "
            f"| {many}: p50 ms | x | p99 ms | recall | fewer than {K} |",
            "|---|" + "---:|" * 10,
            *(_filtered(row, ours) for row in rows),
            "",
            about,
        ]
    )


def _unfiltered(row: dict[str, Any], ours: dict[str, Any] | None, raw: int) -> str:
    times = " | ".join(_times(row["cases"]["all"], ours and ours["all"]))
    return (
        f"| {row['engine']} {row['version']} | {row['index']} | {row['knob']} "
        f"| {row['build_seconds']:.0f} | {row['bytes'] / raw:.2f} | {times} |"
    )


def _filtered(row: dict[str, Any], ours: dict[str, Any] | None) -> str:
    cells = [row["engine"]]
    for name in FILTERS:
        case = row["cases"][name]
        if case is None:
            cells += ["no filters", "", "", "", ""]
        else:
            short = f"{case['short']} of {case['queries']}"
            cells += [*_times(case, ours and ours[name]), short]
    return "| " + " | ".join(cells) + " |"


def _times(case: dict[str, float], ours: dict[str, float] | None) -> list[str]:
    ratio = f"{case['p50_ms'] / ours['p50_ms']:.2f}" if ours else ""
    return [f"{case['p50_ms']:.2f}", ratio, f"{case['p99_ms']:.2f}", f"{case['recall']:.3f}"]


if __name__ == "__main__":
    sys.exit(main())
