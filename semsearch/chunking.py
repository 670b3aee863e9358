"""Cutting a document into chunks: spans that an encoder reads whole.

Chunks are measured in the encoder's own tokens, with the title that is encoded in front of them.
semchunk finds the cuts: paragraphs, lines, sentences, clauses, words. It measures its attempts by
a sum over words that are counted once each; every passage is then counted for real.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import semchunk

from semsearch.errors import InvalidArgument
from semsearch.types import Span

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Tokens of each text, special ones included; an encoder's `count_tokens`."""

MIN_TOKENS = 32
"""Smallest chunk size accepted, in tokens without the special ones."""

_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|\w{1,24}|[^\w\s]")
_WORDS_KEPT = 200_000
_BLOCK = 100_000  # characters given to semchunk at a time: its time grows faster than its input
_FAR = 1.1  # times the limit: a text estimated beyond that is cut without being counted
_SLACK = 1.15  # of the mean chunk, so that a cut can wait for the end of a sentence


class Cut(NamedTuple):
    """A chunk of a text.

    Attributes:
        span: Characters of the text.
        text: Exactly `text[span.start:span.end]`.
        tokens: Of its passage: special ones and the title included.
    """

    span: Span
    text: str
    tokens: int


class Chunker:
    """Cuts texts into chunks of at most `max_tokens` tokens, title included.

    Args:
        count_tokens: Tokens of each text; an encoder's `count_tokens`.
        max_tokens: Largest passage, in tokens with the special ones; an encoder's `max_tokens`
            or less.

    Raises:
        InvalidArgument: `max_tokens` is under `MIN_TOKENS` (after special tokens and prompt).
    """

    def __init__(self, count_tokens: TokenCounter, max_tokens: int) -> None:
        self._count = count_tokens
        self._fixed = count_tokens([""])[0]
        self._words: dict[str, int] = {}
        self._cached_head = lru_cache(maxsize=256)(self._head)
        self._estimate = lru_cache(maxsize=64)(self._summed)  # a part is asked for again soon
        self.max_tokens = max_tokens
        if max_tokens - self._fixed < MIN_TOKENS:
            least = MIN_TOKENS + self._fixed
            raise InvalidArgument(f"max_tokens: expected at least {least}, got {max_tokens}")

    def __repr__(self) -> str:
        return f"Chunker(max_tokens={self.max_tokens})"

    def passage(self, title: str, chunk_text: str) -> str:
        r"""What is given to the encoder for a chunk: the title, a line break, the chunk.

        The title is left out where the chunk begins with it (as in a Markdown file), and cut to a
        quarter of `max_tokens` where it is longer. An empty chunk is the title alone.
        """
        title = title.strip()
        if not title or _begins_with(chunk_text, title):
            return chunk_text
        return f"{self._cached_head(title).text}\n{chunk_text}".rstrip("\n")

    def split(self, text: str, title: str = "") -> list[Cut]:
        """Cut a text into chunks.

        Returns:
            Chunks in the order of the text. They do not overlap, none is blank, every character
            that is not whitespace is in exactly one, and `passage(title, chunk.text)` has at most
            `max_tokens` tokens. A blank text has none.
        """
        waiting = [part for block in _blocks(text) if (part := _trimmed(text, block))]
        chunks: list[Cut] = []
        while waiting:
            fitting = self._fitting(text, title, waiting)
            chunks += fitting
            done = {cut.span for cut in fitting}
            waiting = [
                smaller
                for part in waiting
                if part not in done
                for smaller in self._parts(text, title, part)
            ]
        return sorted(chunks)

    def _fitting(self, text: str, title: str, parts: Sequence[Span]) -> list[Cut]:
        """Those that are read whole; counted for real, all in one call, unless far too long."""
        limit = _FAR * self.max_tokens
        near = [(part, text[part.start : part.end]) for part in parts]
        near = [(part, content) for part, content in near if self._estimate(content) <= limit]
        counts = self._count([self.passage(title, content) for _, content in near])
        return [
            Cut(part, content, tokens)
            for (part, content), tokens in zip(near, counts, strict=True)
            if tokens <= self.max_tokens or len(content) == 1
        ]

    def _parts(self, text: str, title: str, whole: Span) -> Iterator[Span]:
        for start, end in self._cuts(text[whole.start : whole.end], title):
            part = _trimmed(text, Span(whole.start + start, whole.start + end))
            if part:
                yield part

    def _cuts(self, content: str, title: str) -> list[tuple[int, int]]:
        """Cut into parts of like size: a tail of a few words would be a chunk about nothing."""
        room = self.max_tokens - self._fixed - self._cached_head(title.strip()).tokens
        tokens = self._estimate(content)
        parts = max(2, math.ceil(tokens / room))
        size = max(1, min(room, int(_SLACK * tokens / parts)))
        _, offsets = semchunk.chunk(content, size, self._estimate, memoize=False, offsets=True)
        if len(offsets) > 1:
            return list(offsets)
        middle = len(content) // 2
        return [(0, middle), (middle, len(content))]

    def _summed(self, text: str) -> int:
        """Tokens of a text without the special ones, as the sum over its words."""
        words = _WORD.findall(text)
        try:
            return sum(map(self._words.__getitem__, words))
        except KeyError:
            self._learn(set(words))
        return sum(map(self._words.__getitem__, words))

    def _learn(self, words: set[str]) -> None:
        known = self._words if len(self._words) < _WORDS_KEPT else {}
        unknown = [word for word in words if word not in known]
        counts = self._count(unknown)
        known.update((word, n - self._fixed) for word, n in zip(unknown, counts, strict=True))
        self._words = known

    def _head(self, title: str) -> _Head:
        """Cut a title to its share and count it."""
        limit = self.max_tokens // 4
        head = title
        while (tokens := self._count([head])[0] - self._fixed) > limit and len(head) > 1:
            fair = max(1, len(head) * limit // tokens)
            words_end = head.rfind(" ", 0, fair)
            head = head[: words_end if words_end > 0 else fair].rstrip()
        return _Head(head, tokens)


class _Head(NamedTuple):
    """What is encoded of a title."""

    text: str
    tokens: int


def _blocks(text: str) -> Iterator[Span]:
    """Parts of a long text, cut at a paragraph, a line or a word."""
    start = 0
    while len(text) - start > _BLOCK:
        limit = start + _BLOCK
        found = (
            (text.rfind(mark, start + _BLOCK // 2, limit), len(mark))
            for mark in ("\n\n", "\n", ". ", " ")
        )
        cut = next((place + length for place, length in found if place > 0), limit)
        yield Span(start, cut)
        start = cut
    yield Span(start, len(text))


def _trimmed(text: str, span: Span) -> Span | None:
    """The span without the blanks around it; None when there is nothing else."""
    part = text[span.start : span.end]
    start = span.end - len(part.lstrip())
    return Span(start, span.start + len(part.rstrip())) if start < span.end else None


def _begins_with(chunk_text: str, title: str) -> bool:
    start = chunk_text.lstrip("#").lstrip()
    following = start[len(title) : len(title) + 1]
    return start.startswith(title) and not following.isalnum()
