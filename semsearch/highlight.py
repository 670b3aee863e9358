"""What in a passage answers a query: its nearest sentence, and the words of the query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.base import Encoder
from semsearch.storage.word_marks import word_spans
from semsearch.types import Span

_SENTENCE = re.compile(
    r"""
    \S (?: [^\n]*? (?: (?<!\b\w) [.!?…] ["'”’)\]]* (?=\s)  # but an initial: Philip K. Dick
                   | [。！？] )
        | [^\n]* )
    """,  # noqa: RUF001 - full stops of Chinese and Japanese, with no blank behind them
    re.VERBOSE,
)
_SHORTEST = 8  # characters: "Dr.", "1.", "e.g." are no sentences
_MOST = 100  # sentences of a passage that are looked at


@dataclass(frozen=True, slots=True)
class Highlight:
    """What to look at in a passage.

    Attributes:
        sentence: The one nearest to the query by meaning; None of a passage that is one sentence,
            and where no encoder was given.
        words: Words of the query, in any form with the same stem; ascending.
    """

    sentence: Span | None
    words: list[Span]


def highlights(
    query: str, passages: Sequence[str], encoder: Encoder | None = None
) -> list[Highlight]:
    """What to look at in each passage; all spans are characters of the passage.

    Args:
        query: A text.
        passages: Such as the texts of hits.
        encoder: That of the index, to find the nearest sentences; None for words only.
    """
    words = word_spans(passages, query)
    nearest = _nearest(query, passages, encoder) if encoder else [None] * len(passages)
    return [Highlight(*pair) for pair in zip(nearest, words, strict=True)]


def _nearest(query: str, passages: Sequence[str], encoder: Encoder) -> list[Span | None]:
    """The sentence of each passage with the highest cosine; None where there is no choice."""
    split = [_readable(passage, encoder) for passage in passages]
    texts = [
        passage[slice(*span)]
        for passage, spans in zip(passages, split, strict=True)
        for span in spans
    ]
    if not texts:
        return [None] * len(passages)
    cosines = encoder.encode_documents(texts) @ encoder.encode_queries([query])[0]
    ends = accumulate(map(len, split), initial=0)
    return [
        _best(spans, cosines[start:end])
        for spans, (start, end) in zip(split, pairwise(ends), strict=True)
    ]


def _readable(passage: str, encoder: Encoder) -> list[Span]:
    """The sentences to choose from, if there is a choice; none that the encoder cannot read whole.

    Passages whose vectors were given may be whole books: of them the first sentences.
    """
    found = sentences(passage)[:_MOST]
    counts = encoder.count_tokens([passage[slice(*span)] for span in found])
    return [
        span
        for span, tokens in zip(found, counts, strict=True)
        if len(found) > 1 and tokens <= encoder.max_tokens
    ]


def _best(spans: Sequence[Span], cosines: NDArray[np.float32]) -> Span | None:
    return spans[int(np.argmax(cosines))] if spans else None


def sentences(text: str) -> list[Span]:
    """Spans of the sentences of a text, blanks around them left out.

    What is too short to be a sentence belongs to the one behind it.
    """
    found: list[Span] = []
    for match in _SENTENCE.finditer(text):
        start, end = match.start(), match.start() + len(match[0].rstrip())
        if found and found[-1].end - found[-1].start < _SHORTEST:
            start = found.pop().start
        found.append(Span(start, end))
    return found
