"""How much of the encoder's own rate does an ingest keep, and how much memory does it need?

Four figures, each of a process of its own: tokens a second of `encode_documents` alone on the
passages of SciFact; of the whole ingest of the same documents, from files to committed; of the
ingest with an encoder that costs nothing but its tokenizer (random vectors), which is what the
pipeline itself could sustain; and the largest resident set while very many short passages are
ingested with that encoder. An ingest of what is there unchanged is timed in documents a second.

    python benchmarks/ingest.py                          # measure, write the JSON and the table
    python benchmarks/ingest.py --documents 500          # of the first 500 abstracts
    python benchmarks/ingest.py --table                  # the table again from the JSON
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import report
from numpy.typing import NDArray

import semsearch
from semsearch.embedding import TextEmbedder
from semsearch.encoders.text import TextEncoder
from semsearch.sources import Sources
from semsearch.types import Document

LEAST_RATIO = 0.85
LEAST_PIPELINE = 100_000  # tokens a second
MOST_MEMORY = 1.5  # GB

_SCIFACT = report.DATASETS / "text" / "scifact"


class TokenizerOnly(TextEncoder):
    """The tokenizer of the real encoder, and random vectors."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Directions of no meaning, not of unit length."""
        return np.random.default_rng(len(texts)).standard_normal(
            (len(texts), self.space.dim), np.float32
        )


def main() -> int:
    """Measure, or only write the table; 1 when a limit is broken."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_ONE[sys.argv[2]](*sys.argv[3:])))
        return 0
    return report.main("ingest", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = report.parser(__doc__)
    parser.add_argument("--scifact", type=Path, default=_SCIFACT, help="folder of the collection")
    parser.add_argument("--documents", type=int, default=5183, help="abstracts of SciFact")
    parser.add_argument("--passages", type=int, default=1_000_000, help="short ones, for memory")
    parser.add_argument("--rounds", type=int, default=3, help="encoder and ingest, in turn")
    parser.add_argument("--folder", type=Path, help="where to build; must be on a real disk")
    return parser


# -- measuring -----------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure in a process of its own; encoder and ingest in turn, the best round counts."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        abstracts, short = folder / "abstracts.jsonl", folder / "short.jsonl"
        with (options.scifact / "corpus.jsonl").open() as lines:
            abstracts.write_text("".join(islice(lines, options.documents)))
        write_short(short, options.passages)
        rounds = [
            {
                "encoder": one("encoder", abstracts),
                "ingest": one("ingest", abstracts, folder / f"{n}"),
            }
            for n in range(options.rounds)
        ]
        alone = one("pipeline", abstracts, folder / "pipeline")
        memory = one("pipeline", short, folder / "memory")
    encoder = max(each["encoder"]["rate"] for each in rounds)
    ingest = max(each["ingest"]["rate"] for each in rounds)
    return {
        "question": "How much of the encoder's rate does an ingest keep, in how much memory?",
        "documents": options.documents,
        "passages": options.passages,
        "rounds": rounds,
        "encoder": encoder,
        "ingest": ingest,
        "ratio": ingest / encoder,
        "pipeline": alone,
        "memory": memory,
        "passed": ingest >= LEAST_RATIO * encoder
        and alone["rate"] >= LEAST_PIPELINE
        and memory["gigabytes"] <= MOST_MEMORY,
        **report.circumstances(options.folder),
    }


def write_short(path: Path, n: int) -> None:
    """`n` passages of about 15 tokens, each its own."""
    with path.open("w") as file:
        for number in range(n):
            text = f"a small thing of wood or metal that holds another in its place {number}"
            file.write(json.dumps({"_id": str(number), "text": text}) + "\n")


def one(what: str, *arguments: Path) -> dict[str, Any]:
    """Measure one thing in a new process."""
    command = [sys.executable, __file__, "--one", what, *map(str, arguments)]
    result: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    print(what, result, file=sys.stderr)
    return result


def encoder_alone(source: str) -> dict[str, Any]:
    """Tokens a second of the encoder on all passages, in calls as large as it likes."""
    encoder = TextEncoder()
    embedder = TextEmbedder(TextEncoder())  # of its own: what it counts is not tokenised already
    documents = [record.item for record in Sources([source])]
    passages = [
        passage
        for document in documents
        if isinstance(document, Document)
        for passage in embedder.split(document)
    ]
    texts = [str(passage.content) for passage in passages]
    encoder.encode_documents(texts[:64])
    began, computed = time.perf_counter(), time.process_time()
    encoder.encode_documents(texts)
    seconds = time.perf_counter() - began
    return {
        "rate": sum(passage.tokens for passage in passages) / seconds,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - computed,
    }


def ingest_with(encoder: TextEncoder, source: str, path: str) -> dict[str, Any]:
    """Tokens a second from file to committed, then documents a second of a run for nothing."""
    encoder.encode_documents(["the model is loaded"])
    with semsearch.create(path, encoder=encoder) as index:
        computed = time.process_time()
        first = index.ingest(source)
        computed = time.process_time() - computed
        again = index.ingest(source)
    return {
        "rate": first.tokens / first.seconds,
        "seconds": first.seconds,
        "cpu_seconds": computed,
        "chunks": first.chunks,
        "tokens": first.tokens,
        "unchanged": again.unchanged / again.seconds,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


_ONE: dict[str, Callable[..., dict[str, Any]]] = {
    "encoder": encoder_alone,
    "ingest": lambda source, path: ingest_with(TextEncoder(), source, path),
    "pipeline": lambda source, path: ingest_with(TokenizerOnly(), source, path),
}


# -- reporting -----------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    alone, memory = result["pipeline"], result["memory"]
    rows = [
        ("encoder alone, tokens/s", f"{result['encoder']:,.0f}", ""),
        ("whole ingest, tokens/s", f"{result['ingest']:,.0f}", ""),
        ("ratio", f"{result['ratio']:.2f}", f"at least {LEAST_RATIO}"),
        (
            "ingest without encoding, tokens/s",
            f"{alone['rate']:,.0f}",
            f"at least {LEAST_PIPELINE:,}",
        ),
        ("unchanged abstracts, documents/s", f"{alone['unchanged']:,.0f}", ""),
        ("unchanged short passages, documents/s", f"{memory['unchanged']:,.0f}", ""),
        (
            f"largest resident set, {result['passages']:,} short passages, GB",
            f"{memory['gigabytes']:.2f}",
            f"at most {MOST_MEMORY}",
        ),
    ]  # fmt: skip
    lines = [f"| {name} | {figure} | {limit} |" for name, figure, limit in rows]
    about = (
        f"The first {result['documents']:,} abstracts of SciFact; the best of "
        f"{len(result['rounds'])} rounds in turn. {report.measured_on(result)}"
    )
    return "\n".join(["| | measured | limit |", "|---|---:|---:|", *lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
