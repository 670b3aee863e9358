"""Collections in BEIR's layout: a corpus, queries, and which documents answer them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from semsearch.arguments import expanded
from semsearch.errors import IngestError, InvalidArgument
from semsearch.sources.lines import lines

CORPUS = "corpus.jsonl"
"""The file of the documents; a folder that has it is a BEIR collection."""

_QUERIES = "queries.jsonl"
_QRELS = "qrels"
_USUAL_SPLIT = "test"


class Query(NamedTuple):
    """A query and the name of its answer."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Queries, and how well documents answer them.

    Attributes:
        corpus: The file of the documents.
        split: Name of the file of judgements, such as "test".
        queries: The text of each judged query, by id.
        qrels: For each query the judged documents: 0 for one that does not answer it, above
            that the better the higher.
    """

    corpus: Path
    split: str
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_collection(folder: str | Path, split: str | None = None) -> Collection:
    """Read the queries and judgements of a folder with `queries.jsonl` and `qrels/*.tsv`.

    Args:
        folder: The folder; its `corpus.jsonl` must be there and is not read.
        split: Which judgements, `qrels/<split>.tsv`; by default the only ones, or "test".

    Raises:
        IngestError: A file is missing or cannot be read, or there is no such split.
        InvalidArgument: A line is wrong, or a judged query is not among the queries.
    """
    root = expanded(folder)
    for needed in (CORPUS, _QUERIES, _QRELS):
        if not (root / needed).exists():
            raise IngestError(
                f"{root}: there is no {needed}; expected a collection in BEIR's layout: "
                f"{CORPUS}, {_QUERIES} and {_QRELS}/*.tsv"
            )
    judgements = _split_file(root / _QRELS, split)
    qrels = _read_qrels(judgements)
    with _opened(root / _QUERIES) as file:
        queries = {query.id: query.text for query in read_queries(file)}
    unknown = [id_ for id_ in qrels if id_ not in queries]
    if unknown:
        raise InvalidArgument(
            f"{judgements}: {len(unknown):,} of {len(qrels):,} judged queries are not in "
            f"{_QUERIES}, such as {unknown[0]!r}"
        )
    texts = {id_: queries[id_] for id_ in qrels}
    return Collection(root / CORPUS, judgements.stem, texts, qrels)


def _split_file(folder: Path, split: str | None) -> Path:
    files = {path.stem: path for path in sorted(folder.glob("*.tsv"))}
    if not files:
        raise IngestError(f"{folder}: there is no .tsv file of judgements")
    if split is None and len(files) == 1:
        return next(iter(files.values()))
    wanted = _USUAL_SPLIT if split is None else split
    if wanted not in files:
        raise IngestError(
            f"{folder}: there is no {wanted}.tsv; name one with --split: {', '.join(files)}"
        )
    return files[wanted]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise IngestError(f"{path}: cannot be read: {error.strerror or error}") from error


# -- judgements ------------------------------------------------------------------------------


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with _opened(path) as file:
        for line in lines(file):
            try:
                _add_judgement(qrels, line.text().rstrip("\r\n"), first=line.number == 1)
            except InvalidArgument as error:
                raise InvalidArgument(f"{path}:{line.number}: {error}") from error
    if not qrels:
        raise InvalidArgument(f"{path}: there are no judgements")
    return qrels


def _add_judgement(qrels: dict[str, dict[str, int]], text: str, *, first: bool) -> None:
    if not text.strip():
        return
    fields = text.split("\t")
    if len(fields) != 3:
        raise InvalidArgument(
            f"expected query, document and score with tabs between, got {text[:60]!r}"
        )
    query, document, written = fields
    try:
        score = int(written)
    except ValueError:
        if first:  # the heading
            return
        raise InvalidArgument(f"score: expected an integer, got {written[:60]!r}") from None
    known = qrels.setdefault(query, {}).setdefault(document, score)
    if known != score:
        raise InvalidArgument(f"document {document!r} had score {known} for this query before")


# -- queries ---------------------------------------------------------------------------------


def read_queries(file: BinaryIO) -> list[Query]:
    """Read a JSONL file whole, so that no answer is given before the last line is checked.

    Raises:
        InvalidArgument: Names the file and the line that is wrong.
    """
    queries: dict[str, Query] = {}
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            query = _query(line)
            if query.id in queries:
                raise InvalidArgument(f"_id {query.id!r} was there before")
        except InvalidArgument as error:
            raise InvalidArgument(f"{_name(file)}:{number}: {error}") from error
        queries[query.id] = query
    return list(queries.values())


def _name(file: BinaryIO) -> str:
    name = getattr(file, "name", "-")
    return "stdin" if name in ("-", "<stdin>", 0) else str(name)


def _query(line: bytes) -> Query:
    try:
        raw = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidArgument(f'expected {{"_id": ..., "text": ...}}, got {type(raw).__name__}')
    id_ = raw.get("_id", raw.get("id"))
    if isinstance(id_, int) and not isinstance(id_, bool):
        id_ = str(id_)
    if not isinstance(id_, str) or not id_.strip():
        raise InvalidArgument("_id: expected a string")
    text = raw.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument("text: expected a string that is not empty")
    return Query(id_, text)
