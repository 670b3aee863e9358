"""How good retrieval is, by judgements (ir-measures: here alone) and beside an exact search."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex, get_args

import numpy as np
from numpy.typing import NDArray

from semsearch.arguments import integer
from semsearch.errors import DependencyMissing, InvalidArgument
from semsearch.reader import Reader, Where
from semsearch.types import Document, Mode

_BATCH = 4096  # documents whose vectors are read at a time
_ROUNDING = 1e-5  # of a cosine, summed in another order

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


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of what is nearest an index finds: 1 for one that is searched exactly.

    Documents count, as in `Quality`. One that is as near as the last of the nearest is right.

    Attributes:
        k: How many nearest documents were looked for.
        mean: Share of the true ones that were found, over all queries.
        least: The same, of the query with the fewest.
        median_ms: Milliseconds that a search took, the query's encoding left out.
    """

    k: int
    mean: float
    least: float
    median_ms: float


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


def recall(
    index: Reader, texts: Sequence[str], *, k: SupportsIndex = 10, where: Where | None = None
) -> Recall:
    """Measure how much of an exact search over all its vectors an index finds.

    Reads every vector once; it takes memory for the ids of the documents.

    Args:
        index: The index; a snapshot of it, if others write meanwhile.
        texts: Queries.
        k: How many nearest documents to look for, at least 1.
        where: Only among the documents that match; see `Index.search`.

    Raises:
        InvalidArgument: There are no queries, nothing is in the index or nothing matches, or the
            filter cannot be read.
    """
    k = integer("k", k, least=1)
    ids = index.ids(where)
    if not texts or not ids:
        raise InvalidArgument("recall: expected queries, and an index with documents that match")
    points = index.encoder.encode_queries(list(texts))
    index.search(points[0], k, where=where, group=True)  # it maps the files
    shares, seconds = [], []
    for point, least in zip(points, _kth_best(index, ids, points, k), strict=True):
        began = time.perf_counter()
        hits = index.search(point, k, where=where, group=True)
        seconds.append(time.perf_counter() - began)
        found = _cosines(index, [hit.id for hit in hits], point[None])
        shares.append((found >= least - _ROUNDING).sum() / min(k, len(ids)))
    return Recall(
        k=k,
        mean=float(np.mean(shares)),
        least=float(min(shares)),
        median_ms=float(1000 * np.median(seconds)),
    )


def _kth_best(
    index: Reader, ids: list[str], points: NDArray[np.float32], k: int
) -> NDArray[np.float32]:
    """`(n,)`: the cosine of each point to the `k`-th nearest of these documents, or to the last."""
    best = np.empty((len(points), 0), np.float32)
    for at in range(0, len(ids), _BATCH):
        best = np.hstack([best, _cosines(index, ids[at : at + _BATCH], points)])
        best = -np.sort(-best, axis=1)[:, :k]
    last: NDArray[np.float32] = best[:, -1]
    return last


def _cosines(index: Reader, ids: list[str], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(points, ids)`: of the best passage of each document."""
    if not ids:
        return np.empty((len(points), 0), np.float32)
    found = index.vectors(ids)
    rows = [found[id_] for id_ in ids]
    starts = np.cumsum([0, *map(len, rows[:-1])])
    best: NDArray[np.float32] = np.maximum.reduceat(points @ np.vstack(rows).T, starts, axis=1)
    return best
