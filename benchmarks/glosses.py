"""The definitions of WordNet and their vectors, which several runners index and ask for."""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TypedDict

import numpy as np
import report
from numpy.typing import NDArray

import semsearch

FILE = report.DATASETS / "text" / "wordnet-glosses" / "wordnet30.jsonl.gz"

Vectors = NDArray[np.float32]


class Gloss(TypedDict):
    """A line of the file."""

    _id: str
    title: str
    text: str


def parser(doc: str | None, documents: int = 100_000) -> argparse.ArgumentParser:
    """Of a runner on so many definitions: `--glosses` and `--documents`."""
    made = report.parser(doc)
    made.add_argument("--glosses", type=Path, default=FILE)
    made.add_argument("--documents", type=int, default=documents)
    return made


def read(path: Path, most: int | None = None) -> list[Gloss]:
    """The first definitions, or all."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, most)]


def text(gloss: Gloss) -> str:
    """What is embedded of it: as an index does with a title and a text."""
    return f"{gloss['title']}\n\n{gloss['text']}"


def encoded(glosses: list[Gloss], path: Path | None) -> Vectors:
    """`(n, dim)` unit vectors of all glosses; kept in `path`, if one is given.

    Raises:
        SystemExit: The file there is of other glosses.
    """
    if path is None or not path.exists():
        print("encoding the glosses", file=sys.stderr)
        vectors = semsearch.encoder().encode_documents([text(gloss) for gloss in glosses])
        if path is None:
            return vectors
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    kept: Vectors = np.load(path, mmap_mode="r")
    if len(kept) != len(glosses):
        raise SystemExit(f"{path} has {len(kept):,} vectors of {len(glosses):,} glosses")
    return kept


def indexed(path: Path, options: argparse.Namespace, vectors: Vectors | None = None) -> None:
    """An index of the first definitions, unless it is there; `vectors` saves the encoding."""
    if path.exists():
        return
    glosses = read(options.glosses, options.documents)
    with semsearch.create(path) as index:
        index.add(
            ({"id": one["_id"], "title": one["title"], "text": one["text"]} for one in glosses),
            None if vectors is None else vectors[: len(glosses)],
        )
        index.optimize()
