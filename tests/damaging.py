"""Indexes to damage, everything that can be asked of one, and a fuzzer that runs as a program.

python damaging.py fuzz INDEX FILE COUNT SEED   flip bits of FILE in copies of INDEX
python damaging.py probe INDEX UID              try each operation as another user
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from encoders import WordEncoder

import semsearch
from semsearch import Index, SemsearchError
from semsearch.segment_file import DegradedIndexWarning

ENCODER = WordEncoder()
WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "kite", "lynx"]
QUERIES = ["cat dog", "owl lynx", "topic 7"]
SIZE = 26


def document(n: int, tag: str = "") -> dict[str, Any]:
    rng = np.random.default_rng(n)
    return {
        "id": f"{tag}{n}",
        "text": " ".join(rng.choice(WORDS, 50)),
        "title": f"topic {n} {tag}",
        "metadata": {"n": n, "name": "Zoë"},
        "source": f"/s{n % 3}",
    }


def build(path: Path, tag: str = "") -> None:
    """Make an index with all kinds of files: an ivf segment, exact ones, deletions, rejects."""
    bad = path.with_name("bad.jsonl")
    bad.write_text('{"_id": "x", "text": "cat"}\nnot json\n{"text": 1}\n', encoding="utf-8")
    with semsearch.create(path, encoder=ENCODER) as index:
        index.add([document(n, tag) for n in range(16)])
        index.delete([f"{tag}3"])
        index.optimize("ivf")
        index.add([document(n, tag) for n in range(16, 21)])
        index.add([document(n, tag) for n in range(21, SIZE)])
        index.delete([f"{tag}5", f"{tag}17"])
        index.ingest(bad)


def reopen(path: Path) -> Index:
    return semsearch.open(path, encoder=ENCODER)


def observe(path: Path) -> dict[str, Any]:
    """Ask for everything: what each access gives, or the SemsearchError that it raises."""
    try:
        index = reopen(path)
    except SemsearchError as error:
        return {"open": error}
    with index:
        return ask_all(index)


def ask_all(index: Index) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegradedIndexWarning)
        return {name: outcome(ask, index) for name, ask in ACCESSES.items()}


def outcome(ask: Callable[[Index], Any], index: Index) -> Any:
    try:
        return ask(index)
    except SemsearchError as error:
        return error


ACCESSES: dict[str, Callable[[Index], Any]] = {
    "len": len,
    "list": list,
    "get": lambda index: index.get([str(n) for n in range(SIZE)]),
    "get one": lambda index: index.get("7"),
    "in": lambda index: "7" in index,
    "rejects": lambda index: index.rejects(),
    "info": lambda index: (index.info().chunk_tokens, index.space, index.info().encoder),
    "search": lambda index: index.search(QUERIES, 7),
    "keyword": lambda index: index.search(QUERIES, 99, mode="keyword"),
    "group": lambda index: [
        [(hit.id, hit.score) for hit in hits] for hits in index.search(QUERIES, 99, group=True)
    ],
    "vectors": lambda index: {
        id_: rows.tolist() for id_, rows in index.vectors(["7", "19", "24"]).items()
    },
}
TEXTS = ("len", "list", "get", "get one", "in", "rejects", "info")
VECTORS = ("search", "group", "vectors")


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether two observations agree, but for the keys of chunks that were encoded again."""
    return set(found) == set(expected) and all(
        _plain(found[name]) == _plain(expected[name]) for name in expected
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, semsearch.Hit):
        return (value.id, value.score, value.text, value.span, value.metadata, value.title)
    return value


def flip(path: Path, rng: random.Random, size: int) -> list[int]:
    """Flip one bit, sometimes four: anywhere, or among the first or last bytes."""
    content = bytearray(path.read_bytes())
    near = min(600, size)
    places = [rng.randrange(near), rng.randrange(size), size - 1 - rng.randrange(near)]
    chosen = [rng.choice(places) for _ in range(rng.choice([1, 1, 1, 4]))]
    for place in chosen:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return chosen


def fuzz(index: Path, name: str, count: int, seed: int) -> dict[str, int]:
    """Damage one file of copies; any exception but SemsearchError is let through.

    Returns:
        How often what came of it. "silent" is the outcome that must not be: `verify` is content
        although an access fails or gives something else.
    """
    expected = observe(index)
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=index.parent) as scratch:
        for round_ in range(count):
            copy = Path(scratch) / str(round_)
            shutil.copytree(index, copy)
            places = flip(copy / name, rng, (copy / name).stat().st_size)
            kind = judge(copy, expected)
            outcomes[kind] += 1
            if kind == "silent":
                sys.stderr.write(f"silent: flipped bytes {places} of {name}\n")
            shutil.rmtree(copy)
    return dict(outcomes)


def judge(index: Path, expected: dict[str, Any]) -> str:
    try:
        opened = reopen(index)
    except SemsearchError:
        return "refused"
    with opened:
        found = ask_all(opened)
        sound = outcome(lambda index: index.verify().ok, opened) is True
    if same(found, expected):
        return "harmless" if sound else "reported, all reads right"
    if sound:
        return "silent"
    wrong = [
        name
        for name in expected
        if not isinstance(found[name], SemsearchError)
        and _plain(found[name]) != _plain(expected[name])
    ]
    if wrong == ["keyword"]:  # it has no checksums of its own; `verify` compares it with the texts
        return "reported, keywords wrong"
    return "reported, a read wrong" if wrong else "reported, reads raise"


def probe(index: Path, uid: int) -> dict[str, str]:
    """Try each operation as another user: "ok", or the error."""
    with tempfile.TemporaryDirectory(dir=index.parent) as scratch:  # imports what will be needed
        build(Path(scratch) / "index")
        attempts(Path(scratch) / "index")
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    return attempts(index)


def attempts(index: Path) -> dict[str, str]:
    results = {}

    def attempt(name: str, do: Callable[[], object]) -> None:
        try:
            do()
            results[name] = "ok"
        except SemsearchError as error:
            results[name] = f"{type(error).__name__}: {error}"

    def create() -> None:
        semsearch.create(index / "new", dim=3).close()

    attempt("create", create)
    attempt("open", lambda: reopen(index).close())
    if results["open"] == "ok":
        with reopen(index) as opened:
            attempt("list", lambda: list(opened))
            attempt("search", lambda: opened.search("cat"))
            attempt("verify", lambda: _prove(opened))
            attempt("add", lambda: opened.add(document(99)))
            attempt("delete", lambda: opened.delete("1"))
            attempt("optimize", opened.optimize)
            attempt("repair", opened.repair)
    return results


def _prove(index: Index) -> None:
    problems = index.verify().problems
    if problems:
        raise SemsearchError("; ".join(map(str, problems)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fuzz", folder, file, count, seed]:
            sys.stdout.write(json.dumps(fuzz(Path(folder), file, int(count), int(seed))))
        case ["probe", folder, uid]:
            sys.stdout.write(json.dumps(probe(Path(folder), int(uid))))
