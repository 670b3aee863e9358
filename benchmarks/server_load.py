"""How many text searches a second does a server answer to one client, and to 32 at once?

An index of 100,000 definitions of WordNet is served by a process of its own. One client asks one
query after another; then 32 do so at the same time, each over a connection it keeps; by turns, in
each mode. No query is asked twice. Clients and server share the machine's cores.

    python benchmarks/server_load.py            # measure, write the JSON and the table
    python benchmarks/server_load.py --table    # the table again from the JSON
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import glosses
import numpy as np
import report

LEAST_RATIO = 3.0
HEADERS = {"Content-Type": "application/json"}


def main() -> int:
    """Measure, or only write the table; 1 when the limit is missed."""
    return report.main("server_load", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = glosses.parser(__doc__)
    parser.add_argument("--vectors", type=Path, help=".npy of the model's vectors, to save time")
    parser.add_argument("--folder", type=Path, help="of the index `glosses`, made if not there")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build the index, serve it, ask it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        vectors = None if options.vectors is None else np.load(options.vectors, mmap_mode="r")
        glosses.indexed(folder / "glosses", options, vectors)
        queries = Queries(options.glosses)
        with served(folder) as port:
            figures = [measured(mode, port, queries, options) for mode in ("dense", "hybrid")]
    return {
        "question": "How many text searches a second does a server answer?",
        "documents": options.documents,
        "clients": options.clients,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "figures": figures,
        "passed": figures[0]["ratio"] >= LEAST_RATIO and not any(one["errors"] for one in figures),
        **report.circumstances(options.folder),
    }


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """A server's port, while the block lasts."""
    command = [sys.executable, "-m", "semsearch", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline().split(" (")[0].rpartition(":")[2])
        finally:
            server.terminate()


class Queries:
    """Pieces of definitions, each given out once."""

    def __init__(self, path: Path) -> None:
        texts = [gloss["text"].split() for gloss in glosses.read(path)]
        random = np.random.default_rng(0)
        self._texts = [" ".join(texts[at][:8]) for at in random.permutation(len(texts))]
        self._lock = threading.Lock()

    def next(self) -> str:
        """One that was not asked yet."""
        with self._lock:
            return self._texts.pop()


def measured(mode: str, port: int, queries: Queries, options: argparse.Namespace) -> dict[str, Any]:
    """Rates and latencies of a mode, one client and many by turns."""
    ask(mode, port, queries, 2, 2.0)  # loads the model, fills the caches
    one: list[float] = []
    many: list[float] = []
    errors = 0
    for _ in range(options.rounds):
        for all_taken, clients in ((one, 1), (many, options.clients)):
            taken, failed = ask(mode, port, queries, clients, options.seconds)
            all_taken.extend(taken)
            errors += failed
    spent = options.rounds * options.seconds
    return {
        "mode": mode,
        "one_rate": len(one) / spent,
        "many_rate": len(many) / spent,
        "ratio": len(many) / len(one),
        "one_ms": [1e3 * float(np.quantile(one, q)) for q in (0.5, 0.99)],
        "many_ms": [1e3 * float(np.quantile(many, q)) for q in (0.5, 0.99)],
        "errors": errors,
    }


def ask(
    mode: str, port: int, queries: Queries, clients: int, seconds: float
) -> tuple[list[float], int]:
    """Seconds of each answer that some clients get in a time, and how many were errors."""
    latencies: list[float] = []
    failed: list[str] = []
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            body = json.dumps({"query": queries.next(), "mode": mode})
            connection.request("POST", "/collections/glosses/search", body, HEADERS)
            response = connection.getresponse()
            answer = response.read()
            latencies.append(time.perf_counter() - began)
            if response.status != 200 or answer.count(b'"chunk":') != 10:
                failed.append(answer.decode())

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        print(f"{len(failed)} errors, the first: {failed[0]}", file=sys.stderr)
    return latencies, len(failed)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    clients = result["clients"]
    lines = [_line(row) for row in result["figures"]]
    about = (
        f"{result['documents']:,} documents, {result['rounds']} rounds of {result['seconds']:g} s "
        f"of each by turns. {report.measured_on(result)}"
    )
    head = (
        f"| mode | one client, searches/s | p50 / p99 ms | {clients} clients, searches/s | "
        "p50 / p99 ms | ratio | errors |"
    )
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|", *lines, "", about])


def _line(row: dict[str, Any]) -> str:
    one, many = (
        f"{row[f'{who}_rate']:.0f} | {row[f'{who}_ms'][0]:.0f} / {row[f'{who}_ms'][1]:.0f}"
        for who in ("one", "many")
    )
    return f"| {row['mode']} | {one} | {many} | {row['ratio']:.2f} | {row['errors']} |"


if __name__ == "__main__":
    sys.exit(main())
