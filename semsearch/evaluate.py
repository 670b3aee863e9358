"""How good retrieval is, against judgements (ir-measures: here and nowhere else)."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex, get_args

import numpy as np

from semsearch.arguments import integer
from semsearch.errors import DependencyMissing, InvalidArgument
from semsearch.reader import Reader
from semsearch.types import Document, Mode

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one mode of search answered, averaged over all queries.

    Documents count, not passages: each stands in an answer once, where its best passage does.

    Attributes:
        mode: How was searched.
        ndcg_at_10: Are the best documents first? nDCG over the first 10, from 0 to 1.
        recall_at_10: Share of the right documents that are among the first 10.
        recall_at_k: Share of the right documents that are among the first `k`.
        mrr_at_10: 1 divided by the rank of the first right document; 0 below rank 10.
        precision_at_1: Share of the queries whose first document is right.
        median_ms: Milliseconds that a search for `k` documents took, for half of the queries
            less. Queries were asked one at a time, after one that was not counted.
        p95_ms: The same, for 95 of 100 queries.
    """

    mode: Mode
    ndcg_at_10: float
    recall_at_10: float
    recall_at_k: float
    mrr_at_10: float
    precision_at_1: float
    median_ms: float
    p95_ms: float


class _Answer(NamedTuple):
    query: str
    documents: list[str]  # ids, best first
    seconds: float


def check_installed() -> None:
    """See that quality can be measured.

    Raises:
        DependencyMissing: It cannot; names the extra.
    """
    if importlib.util.find_spec("ir_measures") is None:
        raise DependencyMissing('evaluating needs ir-measures: pip install "semsearch[eval]"')


def evaluate(
    index: Reader,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    modes: Sequence[Mode] = MODES,
    k: SupportsIndex = 100,
    progress: Callable[[], object] | None = None,
) -> list[Quality]:
    """Measure how well an index answers queries whose right answers are known.

    A query that is itself a document of the index, of the same id and words, is not counted as
    its own answer. A right document that is not in the index counts as not found.

    Args:
        index: The index, or a snapshot of it.
        queries: Texts by id; those without judgements are left out.
        qrels: For each query the judged documents: 0 for one that does not answer it, above
            that the better the higher.
        modes: How to search.
        k: How many documents to look for, at least 10.
        progress: Called after each search: once for each mode and query.

    Returns:
        One for each mode, in their order.

    Raises:
        InvalidArgument: There are no judgements, a judged query has no text, or no such mode.
        DependencyMissing: ir-measures is not installed.
    """
    check_installed()
    depth = integer("k", k, least=10)
    texts = _judged(queries, qrels)
    own = _own(index, texts)
    rows = []
    for mode in modes:
        answers = []
        for answer in _answers(index, texts, own, mode, depth):
            answers.append(answer)
            if progress is not None:
                progress()
        rows.append(_quality(mode, answers, qrels, depth))
    return rows


def _judged(queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """The judged queries."""
    if not qrels:
        raise InvalidArgument("qrels: there are no judgements")
    unknown = [id_ for id_ in qrels if id_ not in queries]
    if unknown:
        raise InvalidArgument(f"qrels: query {unknown[0]!r} is not among the queries")
    return {id_: queries[id_] for id_ in qrels}


def _own(index: Reader, texts: Mapping[str, str]) -> set[str]:
    """Queries that are documents of the index; BEIR leaves these out of their own answers.

    It goes by the id alone, but where queries and documents are numbered, query 7 has nothing to
    do with document 7.
    """
    documents = index.get(list(texts))
    return {
        id_
        for (id_, text), document in zip(texts.items(), documents, strict=True)
        if document is not None and _is(text, document)
    }


def _is(text: str, document: Document) -> bool:
    words = text.split()
    return words in (document.text.split(), f"{document.title} {document.text}".split())


def _answers(
    index: Reader, texts: Mapping[str, str], own: Container[str], mode: Mode, k: int
) -> Iterator[_Answer]:
    """Ask one query at a time; the first search, which loads the model, is not one of them."""
    index.search(next(iter(texts.values())), k, mode=mode, group=True)
    for id_, text in texts.items():
        itself = id_ if id_ in own else None
        began = time.perf_counter()
        hits = index.search(text, k + (itself is not None), mode=mode, group=True)
        seconds = time.perf_counter() - began
        yield _Answer(id_, [hit.id for hit in hits if hit.id != itself][:k], seconds)


def _quality(
    mode: Mode, answers: Sequence[_Answer], qrels: Mapping[str, Mapping[str, int]], k: int
) -> Quality:
    from ir_measures import RR, P, R, calc_aggregate, nDCG

    # By rank, not by score: trec_eval would order equal scores by id.
    run = {
        answer.query: {document: float(-rank) for rank, document in enumerate(answer.documents)}
        for answer in answers
    }
    measures = [nDCG @ 10, R @ 10, R @ k, RR @ 10, P @ 1]
    figures = calc_aggregate(measures, {id_: dict(judged) for id_, judged in qrels.items()}, run)
    median, p95 = 1000 * np.percentile([answer.seconds for answer in answers], [50, 95])
    return Quality(
        mode=mode,
        ndcg_at_10=figures[nDCG @ 10],
        recall_at_10=figures[R @ 10],
        recall_at_k=figures[R @ k],
        mrr_at_10=figures[RR @ 10],
        precision_at_1=figures[P @ 1],
        median_ms=float(median),
        p95_ms=float(p95),
    )
