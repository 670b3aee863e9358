"""Retrieval for a language model: a question in, cited passages within a token budget out.

    retriever = Retriever(index, budget=1500)
    context = retriever.retrieve("how do I keep aphids off my beans?")
    prompt = f"{context.question} Answer from these passages: {context.as_context()}"

No model answers here: what to do with the passages is the caller's.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from semsearch.errors import InvalidArgument
from semsearch.index import Index
from semsearch.reader import Reader, Where
from semsearch.types import Document, Hit, JSONObject, Mode, Span

Style = Literal["markdown", "plain", "xml"]
STYLES: tuple[Style, ...] = ("markdown", "plain", "xml")

CountTokens = Callable[[str], int]
"""How many tokens a text is to the model that will read it."""

_SAME = 0.9  # share of a passage's word triples that another holds, from which it says no more
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Passage:
    """One stretch of a document: a hit with its neighbours, several hits where they adjoin.

    Attributes:
        number: What it is cited by, from 1.
        id: The document's id.
        span: Where it stands: `text == document.text[span.start:span.end]`.
        score: The best of its hits.
    """

    number: int
    id: str
    title: str
    source: str | None
    metadata: JSONObject
    span: Span
    text: str
    score: float

    @property
    def label(self) -> str:
        """Title (or id), page and source, for a reader."""
        page = self.metadata.get("page")
        name = self.title or self.id
        where = [f"page {page}"] if page is not None else []
        where += [self.source] if self.source and self.source != name else []
        return f"{name} ({', '.join(where)})" if where else name

    def cut(self, length: int) -> Passage:
        """Its first `length` characters."""
        span = Span(self.span.start, self.span.start + length)
        return replace(self, span=span, text=self.text[:length])


@dataclass(frozen=True, slots=True)
class Context:
    """The passages found for a question, best first.

    Attributes:
        passages: Numbered from 1 in this order.
        style: How `as_context` writes them.
    """

    question: str
    passages: tuple[Passage, ...]
    style: Style

    def as_context(self) -> str:
        """The passages as one block of a prompt, empty when nothing was found."""
        return _rendered(self.passages, self.style)

    def __iter__(self) -> Iterator[Passage]:
        """The passages."""
        return iter(self.passages)

    def __len__(self) -> int:
        """How many passages."""
        return len(self.passages)


class Retriever:
    """Finds what a language model should read before it answers.

    Hits that adjoin become one passage in reading order, each with its neighbours in the document;
    a passage that repeats an earlier one is dropped; passages are taken, best first, while the
    whole block fits the budget. One that does not fit is tried without its neighbours; a first
    one that never fits is cut at a word.

    Args:
        index: Where to look. Stays the caller's to close.
        budget: Most tokens of the block that `as_context` gives, whatever its style adds.
        count_tokens: The reading model's own count; by default the index's encoder counts.
        k: How many hits to look at.
        neighbours: How many chunks before and after a hit belong to its passage.
        mode: How they are found, as in `Index.search`.
        style: "markdown", "plain" or "xml".

    Raises:
        InvalidArgument: A number or a name out of range.
    """

    def __init__(
        self,
        index: Index,
        *,
        budget: int = 2000,
        count_tokens: CountTokens | None = None,
        k: int = 20,
        neighbours: int = 1,
        mode: Mode = "hybrid",
        style: Style = "markdown",
    ) -> None:
        if style not in STYLES:
            raise InvalidArgument(f"style: {style!r} is not {' or '.join(STYLES)}")
        for name, number, least in (("budget", budget, 1), ("neighbours", neighbours, 0)):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise InvalidArgument(f"{name}: expected an integer of at least {least}")
        self.index = index
        self._budget = budget
        self._count = count_tokens or (lambda text: index.encoder.count_tokens([text])[0])
        self._k = k
        self._neighbours = neighbours
        self._mode: Mode = mode
        self._style: Style = style

    def retrieve(self, question: str, *, where: Where | None = None) -> Context:
        """The passages to answer a question from, all of one commit.

        Raises:
            InvalidArgument: The question is empty, or the filter cannot be read.
        """
        with self.index.snapshot() as snapshot:
            hits = snapshot.search(question, self._k, mode=self._mode, where=where)
            found = _stretches(snapshot, _distinct(hits), self._neighbours)
        return Context(question, tuple(self._fitting(found)), self._style)

    def _fitting(self, found: Iterable[_Stretch]) -> list[Passage]:
        """The passages that fit the budget, numbered."""
        taken: list[Passage] = []
        for stretch in found:
            number = len(taken) + 1
            tries = (stretch.passage(number), stretch.best(number))
            passage = next((each for each in tries if self._fits([*taken, each])), None)
            if passage is None and not taken:
                passage = self._cut(stretch.best(number))
            if passage is not None:
                taken.append(passage)
        return taken

    def _fits(self, passages: Sequence[Passage]) -> bool:
        return self._count(_rendered(passages, self._style)) <= self._budget

    def _cut(self, passage: Passage) -> Passage | None:
        """The longest beginning, in whole words, that fits alone; None when none does."""
        ends = [match.end() for match in _WORD.finditer(passage.text)]
        # A tokenizer's counts grow with the text but for a token or so, hence the last look.
        fitting = bisect_left(ends, True, key=lambda end: not self._fits([passage.cut(end)]))
        cuts = (passage.cut(end) for end in reversed(ends[:fitting]))
        return next((cut for cut in cuts if self._fits([cut])), None)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Chunks `first` to `last` of a document, and the best hit among them."""

    document: Document
    chunks: Sequence[Span]
    first: int
    last: int
    hit: Hit

    def passage(self, number: int) -> Passage:
        """All of it."""
        span = Span(self.chunks[self.first].start, self.chunks[self.last].end)
        return self._passage(number, span)

    def meets(self, id_: str, first: int, last: int) -> bool:
        """Whether chunks `first` to `last` of a document overlap it, or begin where it ends."""
        return self.document.id == id_ and first <= self.last + 1 and self.first <= last + 1

    def best(self, number: int) -> Passage:
        """Its best hit alone."""
        return self._passage(number, self.hit.span)

    def _passage(self, number: int, span: Span) -> Passage:
        document = self.document
        return Passage(
            number=number,
            id=document.id,
            title=document.title,
            source=document.source,
            metadata=document.metadata,
            span=span,
            text=document.text[span.start : span.end],
            score=self.hit.score,
        )


def _distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Hits without those that say what a better one said already."""
    kept: list[Hit] = []
    said: list[set[tuple[str, ...]]] = []
    for hit in hits:
        triples = _triples(hit.text)
        if not any(len(triples & other) >= _SAME * len(triples) for other in said):
            kept.append(hit)
            said.append(triples)
    return kept


def _triples(text: str) -> set[tuple[str, ...]]:
    """Its runs of three words; one of fewer words is a run by itself."""
    words = _WORD.findall(text.casefold())
    return {tuple(words[at : at + 3]) for at in range(max(len(words) - 2, 1))}


def _stretches(reader: Reader, hits: Sequence[Hit], neighbours: int) -> list[_Stretch]:
    """Hits with their neighbours, those that meet made one; in the order of their best hits."""
    ids = list(dict.fromkeys(hit.id for hit in hits))
    documents = {document.id: document for document in reader.get(ids) if document}
    chunks = reader.chunks(ids)
    found: list[_Stretch] = []
    for hit in hits:
        spans = [chunk.span for chunk in chunks[hit.id]]
        at = spans.index(hit.span)
        first, last = max(at - neighbours, 0), min(at + neighbours, len(spans) - 1)
        met = [one for one in found if one.meets(hit.id, first, last)]
        if not met:
            found.append(_Stretch(documents[hit.id], spans, first, last, hit))
            continue
        first, last = min(first, *(one.first for one in met)), max(last, *(one.last for one in met))
        found[found.index(met[0])] = replace(met[0], first=first, last=last)
        found = [one for one in found if one not in met[1:]]
    return found


def _rendered(passages: Sequence[Passage], style: Style) -> str:
    """The block of a prompt."""
    return "\n\n".join(_RENDER[style](passage) for passage in passages)


def _markdown(passage: Passage) -> str:
    return f"**[{passage.number}] {passage.label}**\n\n{passage.text}"


def _plain(passage: Passage) -> str:
    return f"[{passage.number}] {passage.label}\n{passage.text}"


def _xml(passage: Passage) -> str:
    source = quoteattr(passage.label)
    return (
        f'<passage number="{passage.number}" source={source}>\n{escape(passage.text)}\n</passage>'
    )


_RENDER: dict[Style, Callable[[Passage], str]] = {
    "markdown": _markdown,
    "plain": _plain,
    "xml": _xml,
}
