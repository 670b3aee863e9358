"""How fast are texts embedded, and are the vectors still the reference's?

3,000 passages of four public collections, of mixed lengths, are encoded in turn by
`SentenceTransformer.encode` with its defaults and by each runtime of semsearch, tokenising
included. Every runtime's vectors are compared with the reference's, and each ranks the pairs of
the STS benchmark's test part (Spearman's correlation with people's scores). In the same rounds it
is measured what the device would allow at most.

    python benchmarks/embedding.py            # measure, write the JSON and the table
    python benchmarks/embedding.py --table    # the table again from the JSON
    python benchmarks/embedding.py --device cuda --passages 12000 --out embedding_cuda.json
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import report
import roofline
from numpy.typing import NDArray

from semsearch.encoders import TextEncoder
from semsearch.encoders.batching import batches
from semsearch.encoders.model_folder import resolve

LEAST_RATIO, LEAST_COSINE = 5.5, 0.9999
PUBLISHED, TOLERANCE = 0.8203, 0.001

_COLLECTIONS = {
    "wordnet-glosses/wordnet30.jsonl.gz": 0.5,
    "movies/movies.jsonl.gz": 0.2,
    "scifact/corpus.jsonl": 0.15,
    "cisi/corpus.jsonl": 0.15,
}
_RUNTIMES = {"cpu": ("openvino", "torch"), "cuda": ("torch",)}

Encode = Callable[[list[str]], NDArray[np.float32]]


def main() -> int:
    """Measure, or only write the table; 1 when a limit is missed."""
    return report.main("embedding", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = report.parser(__doc__)
    parser.add_argument(
        "--texts", type=Path, default=report.DATASETS / "text", help="folder of the collections"
    )
    parser.add_argument("--device", choices=list(_RUNTIMES), default="cpu")
    parser.add_argument("--passages", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3, help="the best of each is taken")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Encode in turn, compare, rank."""
    device = options.device
    encoders = {name: TextEncoder(runtime=name, device=device) for name in _RUNTIMES[device]}
    passages = sample(encoders["torch"], options)
    lengths = encoders["torch"].count_tokens(passages)
    config = json.loads((resolve("all-MiniLM-L6-v2").path / "config.json").read_text())
    subjects = {"SentenceTransformer.encode": sentence_transformer(device)}
    subjects |= {f"runtime {name}": one.encode_documents for name, one in encoders.items()}
    for encode in subjects.values():
        encode(passages[:256])
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
    vectors: dict[str, NDArray[np.float32]] = {}
    limits = []
    for number in range(1, options.rounds + 1):
        # Blanks at the end change no token, but make it another text, not one just tokenised.
        texts = [text + " " * number for text in passages]
        for name, encode in subjects.items():
            wall, cpu = time.perf_counter(), time.process_time()
            vectors[name] = encode(texts)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            print(f"{name}: {times[name][-1][0]:.1f} s", file=sys.stderr)
        limits.append(roofline.tokens_per_second(config, lengths, device))
    rows = [
        {"subject": name, **figures(name, encode, options, vectors, times)}
        for name, encode in subjects.items()
    ]
    return summary(rows, lengths, limits, options)


def sentence_transformer(device: str) -> Encode:
    """What a user would call otherwise, with its defaults."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(resolve("all-MiniLM-L6-v2").path), device=device)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(model.encode(texts, show_progress_bar=False), np.float32)

    return encode


def sample(encoder: TextEncoder, options: argparse.Namespace) -> list[str]:
    """Passages that the model reads whole, some of each collection, shuffled."""
    chosen = random.Random(options.seed)
    passages: list[str] = []
    for name, share in _COLLECTIONS.items():
        texts = [record["text"] for record in records(options.texts / name) if record["text"]]
        candidates = chosen.sample(texts, min(len(texts), round(6 * share * options.passages)))
        lengths = encoder.count_tokens(candidates)
        whole = [
            text
            for text, tokens in zip(candidates, lengths, strict=True)
            if tokens <= encoder.max_tokens
        ]
        passages += whole[: round(share * options.passages)]
    chosen.shuffle(passages)
    return passages


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a JSON Lines file."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def figures(
    name: str,
    encode: Encode,
    options: argparse.Namespace,
    vectors: dict[str, NDArray[np.float32]],
    times: dict[str, list[tuple[float, float]]],
) -> dict[str, float]:
    """Best times, the least cosine to the reference, and Spearman's correlation on STSb."""
    reference = next(iter(vectors.values()))
    return {
        "seconds": min(wall for wall, _ in times[name]),
        "cpu_seconds": min(cpu for _, cpu in times[name]),
        "cosine": float(np.min(np.sum(vectors[name] * reference, axis=1))),
        "spearman": spearman(encode, options.texts / "stsb" / "stsb-en-test.csv"),
    }


def spearman(encode: Encode, path: Path) -> float:
    """Correlation of the ranks of cosine and of people's scores."""
    from scipy.stats import spearmanr

    with path.open(encoding="utf-8", newline="") as file:
        left, right, scores = zip(*csv.reader(file), strict=True)
    cosines = np.sum(encode(list(left)) * encode(list(right)), axis=1)
    return float(spearmanr(cosines, [float(score) for score in scores]).statistic)


def summary(
    rows: list[dict[str, Any]],
    lengths: list[int],
    limits: list[dict[str, float]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Figures of all subjects, and what they were measured on."""
    total, reference = sum(lengths), rows[0]
    for row in rows:
        row["tokens_per_second"] = total / row["seconds"]
        row["ratio"] = reference["seconds"] / row["seconds"]
        row["cpu_ratio"] = reference["cpu_seconds"] / row["cpu_seconds"]
    fast = rows[1]["ratio"] >= LEAST_RATIO or options.device != "cpu"
    ranked = all(abs(row["spearman"] - PUBLISHED) <= TOLERANCE for row in rows)
    near = all(row["cosine"] >= LEAST_COSINE for row in rows)
    return {
        "question": "How fast are texts embedded, with the reference's vectors?",
        "passages": len(lengths),
        "tokens": total,
        "padding": padding(lengths),
        "rounds": options.rounds,
        "seed": options.seed,
        "passed": ranked and near and fast,
        "figures": rows,
        "limits": {name: max(limit[name] for limit in limits) for name in limits[0]},
        **report.circumstances(),
    }


def padding(lengths: list[int]) -> float:
    """Share of what OpenVINO computes that is padding."""
    made = batches([np.zeros(n, np.int32) for n in lengths], 2_048, 0, 256)
    area = sum(batch.ids.size for batch in made)
    return 1 - sum(lengths) / area


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    head = "| | tokens/s | ratio | ratio of CPU time | least cosine | STSb test, Spearman |"
    lines = [
        f"| {row['subject']} | {row['tokens_per_second']:,.0f} | {row['ratio']:.2f} "
        f"| {row['cpu_ratio']:.2f} | {row['cosine']:.6f} | {row['spearman']:.4f} |"
        for row in result["figures"]
    ]
    reference = result["figures"][0]["tokens_per_second"]
    lines += [
        f"| *limit by {name}* | {limit:,.0f} | {limit / reference:.2f} | | | |"
        for name, limit in result["limits"].items()
    ]
    about = (
        f"{result['passages']:,} passages, {result['tokens']:,} tokens, the best of "
        f"{result['rounds']} rounds in turn; {result['padding']:.1%} of what the OpenVINO runtime "
        f"computes is padding. {report.measured_on(result)}"
    )
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|", *lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
