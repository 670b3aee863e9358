"""Chunking: what it promises of every text, with real tokens and with a stand-in for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semsearch.chunking import MIN_TOKENS, Chunker, Cut, TokenCounter
from semsearch.encoders import TextEncoder
from semsearch.errors import DependencyMissing, InvalidArgument

SMALL = 40
SENTENCE = "The quick brown fox jumps over the lazy dog. "
AWKWARD = st.sampled_from(
    [
        *" \n\t.?!,",
        "\r\n",
        "\n\n",
        "word ",
        "tokenization",
        SENTENCE,
        "漢字。",
        "한국어",
        "e\u0301",
        "👨\u200d👩\u200d👧🏽",
        "\ufdfa",
        "\x1f",
        "\u200b",
        "x" * 150,
    ]
)
TEXTS = st.lists(st.one_of(AWKWARD, st.text(max_size=6)), max_size=120).map("".join)
TITLES = st.sampled_from(["", " ", "T", "word", "A long title " * 30, "x" * 500, "漢" * 90])


def count_characters(texts: Sequence[str]) -> list[int]:
    """A tokenizer whose tokens are characters, with two special ones."""
    return [len(text) + 2 for text in texts]


def count_nonlinear(texts: Sequence[str]) -> list[int]:
    """Long texts have more tokens than their words say: every cut must be proved."""
    return [2 + len(text.split()) + len(text) ** 2 // 4000 for text in texts]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    try:
        return TextEncoder()
    except DependencyMissing:
        pytest.skip("the all-MiniLM-L6-v2 weights are not installed")


def check(chunker: Chunker, count: TokenCounter, text: str, title: str = "") -> list[Cut]:
    """Assert all that `Chunker.split` promises."""
    chunks = chunker.split(text, title)
    ends = [0, *(chunk.span.end for chunk in chunks)]
    starts = [*(chunk.span.start for chunk in chunks), len(text)]
    gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    assert not "".join(gaps).strip()
    for chunk in chunks:
        assert chunk.text == text[chunk.span.start : chunk.span.end]
        assert chunk.text == chunk.text.strip() != ""
    passages = [chunker.passage(title, chunk.text) for chunk in chunks]
    assert count(passages) == [chunk.tokens for chunk in chunks]
    assert max(count(passages), default=0) <= chunker.max_tokens
    return chunks


@pytest.mark.model
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, title=TITLES)
def test_every_text_is_cut_as_promised(encoder: TextEncoder, text: str, title: str) -> None:
    check(Chunker(encoder.count_tokens, SMALL), encoder.count_tokens, text, title)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, title=TITLES)
def test_the_promise_holds_where_counts_do_not_add_up(text: str, title: str) -> None:
    check(Chunker(count_nonlinear, SMALL), count_nonlinear, text, title)
    check(Chunker(count_characters, SMALL), count_characters, text, title)


@pytest.mark.parametrize("text", ["", " ", "\r\n\t \u3000"])
def test_a_blank_text_has_no_chunks(text: str) -> None:
    assert Chunker(count_characters, 64).split(text, "title") == []


def test_a_short_text_is_one_chunk_without_the_blanks_around_it() -> None:
    chunks = Chunker(count_characters, 64).split("\n  one line\n\n another \t")
    assert [(chunk.span, chunk.text) for chunk in chunks] == [((3, 21), "one line\n\n another")]


def test_a_text_that_just_fits_is_one_chunk_and_one_more_token_makes_two() -> None:
    chunker = Chunker(count_characters, 64)
    assert len(chunker.split("abcd " * 12 + "ab")) == 1
    assert len(chunker.split("abcd " * 12 + "abc")) == 2


def test_cuts_fall_between_paragraphs_then_lines_then_sentences_then_words() -> None:
    chunker = Chunker(count_characters, 64)
    first = "a" * 20 + ". " + "b" * 20
    for boundary in ("\n\n", "\r\n\r\n", "\n", ". ", " "):
        text = first.replace(". ", " ") + boundary + "c" * 8 + " " + "d" * 30
        assert chunker.split(text)[0].text == (first.replace(". ", " ") + boundary).rstrip()


def test_a_text_a_little_too_long_is_cut_in_the_middle_not_at_its_last_word() -> None:
    chunks = Chunker(count_characters, 102).split("abcd " * 21)
    assert len(chunks) == 2
    assert min(len(chunk.text) for chunk in chunks) > 30


def test_the_title_stands_on_its_own_line_before_the_chunk() -> None:
    chunker = Chunker(count_characters, 64)
    assert chunker.passage(" Title ", "text") == "Title\ntext"
    assert chunker.passage("", "text") == "text"
    assert chunker.passage("Title", "") == "Title"


def test_a_chunk_that_begins_with_the_title_is_not_given_it_twice() -> None:
    chunker = Chunker(count_characters, 64)
    assert chunker.passage("Cats", "# Cats\n\nThey purr") == "# Cats\n\nThey purr"
    assert chunker.passage("Cats", "Cats purr") == "Cats purr"
    assert chunker.passage("Cat", "Catalogue") == "Cat\nCatalogue"


def test_a_long_title_takes_a_quarter_of_the_passage() -> None:
    chunker = Chunker(count_characters, 80)
    assert chunker.passage("title " * 50, "text") == "title title title\ntext"
    assert len(chunker.passage("x" * 5_000_000, "text")) <= 25


@pytest.mark.parametrize("max_tokens", [0, -1, MIN_TOKENS + 1])
def test_chunks_too_small_to_hold_anything_are_refused(max_tokens: int) -> None:
    with pytest.raises(InvalidArgument, match="expected at least 34"):
        Chunker(count_characters, max_tokens)


@pytest.mark.model
@pytest.mark.parametrize(
    "text",
    [
        "abcdefghij" * 20_000,
        "?!.,;" * 20_000,
        "漢字仮名" * 10_000,
        "👨\u200d👩\u200d👧🏽" * 10_000,
        "e" + "\u0301" * 100_000,
        "a" + " " * 300_000 + "b",
        "line\r\n" * 20_000,
        SENTENCE * 5_000,
    ],
    ids=["word", "punctuation", "cjk", "emoji", "marks", "blanks", "crlf", "prose"],
)
def test_a_long_text_of_any_kind_takes_seconds(encoder: TextEncoder, text: str) -> None:
    chunker = Chunker(encoder.count_tokens, encoder.max_tokens)
    start = time.process_time()
    chunker.split(text, "Title")
    spent = time.process_time() - start
    check(chunker, encoder.count_tokens, text, "Title")
    assert spent < 10


@pytest.mark.model
def test_time_grows_with_the_length_not_with_its_square(encoder: TextEncoder) -> None:
    chunker = Chunker(encoder.count_tokens, 256)

    def spent(text: str) -> float:
        start = time.process_time()
        chunker.split(text)
        return time.process_time() - start

    spent(SENTENCE * 100)
    assert spent("漢字仮名" * 40_000) < 40 * max(spent("漢字仮名" * 4_000), 0.01)


def test_chunks_of_a_text_longer_than_a_block_follow_each_other() -> None:
    text = "".join(f"Sentence number {n}. " for n in range(20_000))
    chunks = check(Chunker(count_characters, 500), count_characters, text)
    assert all(a.span.end < b.span.start for a, b in pairwise(chunks))
    assert all(chunk.text.endswith(".") for chunk in chunks)
