"""How long does a search by words take, beside SQLite ranking all words of the query together?

What single words find is kept until the next commit: a word costs when it is asked for first. An
index of 100,000 definitions of WordNet is opened and asked for pieces of definitions, no query
twice; each is then ranked by SQLite's FTS5 alone (`ORDER BY rank`), with the same words.

    python benchmarks/words.py            # measure, write the JSON and the table
    python benchmarks/words.py --table    # the table again from the JSON
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import glosses
import numpy as np
import report

import semsearch
from semsearch.storage.keywords import TITLE_WEIGHT, words_of

_K = 10
_PARTS = (0, 100, 1000, 4000)

_ALONE = (
    "SELECT rowid, rank FROM keywords WHERE keywords MATCH ? "
    f"AND rank MATCH 'bm25({TITLE_WEIGHT}, 1.0)' ORDER BY rank LIMIT {_K}"
)


def main() -> int:
    """Measure, or only write the table; 1 when a search is slower than SQLite alone."""
    parser = glosses.parser(__doc__)
    parser.add_argument("--vectors", type=Path, help=".npy of the model's vectors, to save time")
    parser.add_argument("--folder", type=Path, help="of the index `glosses`, made if not there")
    return report.main("words", parser, measure, table)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build the index, ask it and SQLite in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        path = (options.folder or Path(temporary)) / "glosses"
        vectors = None if options.vectors is None else np.load(options.vectors, mmap_mode="r")
        glosses.indexed(path, options, vectors)
        ours, alone = _asked(path, _queries(options.glosses))
    parts: list[dict[str, Any]] = [
        {
            "from": start,
            "to": end,
            "ms": _mean_and_p95(ours[start:end]),
            "alone_ms": _mean_and_p95(alone[start:end]),
        }
        for start, end in pairwise(_PARTS)
    ]
    return {
        "question": "How long does a search by words take?",
        "documents": options.documents,
        "parts": parts,
        "passed": parts[-1]["ms"][0] < parts[-1]["alone_ms"][0],
        **report.circumstances(options.folder),
    }


def _mean_and_p95(ms: list[float]) -> tuple[float, float]:
    return float(np.mean(ms)), float(np.quantile(ms, 0.95))


def _queries(path: Path) -> list[str]:
    """Pieces of definitions with a word that is looked up."""
    texts = [gloss["text"].split() for gloss in glosses.read(path)]
    random = np.random.default_rng(0)
    return [" ".join(texts[at][:8]) for at in random.permutation(len(texts))[: _PARTS[-1]]]


def _asked(path: Path, queries: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each query, ours and SQLite's."""
    uri = f"{(path / 'catalog.db').absolute().as_uri()}?mode=ro"
    with semsearch.open(path) as index, closing(sqlite3.connect(uri, uri=True)) as catalog:
        catalog.execute("PRAGMA cache_size = -32768")

        def alone(query: str) -> object:
            words = " OR ".join(f'"{word}"' for word in words_of(query))
            return catalog.execute(_ALONE, (words,)).fetchall()

        def ours(query: str) -> object:
            return index.search(query, _K, mode="keyword")

        both = [(_ms(ours, query), _ms(alone, query)) for query in queries if words_of(query)]
    return [mine for mine, _ in both], [theirs for _, theirs in both]


def _ms(search: Callable[[str], object], query: str) -> float:
    began = time.perf_counter()
    search(query)
    return 1e3 * (time.perf_counter() - began)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "| queries since the commit | search, ms, mean | p95 | SQLite alone, mean | p95 | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for part in result["parts"]:
        (mean, p95), (alone, alone_p95) = part["ms"], part["alone_ms"]
        lines.append(
            f"| {part['from']:,} to {part['to']:,} | {mean:.2f} | {p95:.2f} | {alone:.2f} "
            f"| {alone_p95:.2f} | {mean / alone:.2f} |"
        )
    about = f"{result['documents']:,} documents, k = {_K}. {report.measured_on(result)}"
    return "\n".join([*lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
