from __future__ import annotations

import pytest
from encoders import WordEncoder
from hypothesis import given
from hypothesis import strategies as st

from semsearch.highlight import highlights, sentences
from semsearch.storage.word_marks import word_spans

TEXT = "A cat slept. The dogs were barking at the moon! Nobody minded them at all."


def parts(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[slice(*span)] for span in spans]


def test_the_nearest_sentence_and_the_words_are_found() -> None:
    (found,) = highlights("why do dogs bark", [TEXT], WordEncoder())
    assert found.sentence is not None
    assert parts(TEXT, [found.sentence]) == ["The dogs were barking at the moon!"]
    assert parts(TEXT, list(found.words)) == ["dogs", "barking"]  # by their stems


def test_without_an_encoder_there_are_only_words() -> None:
    (found,) = highlights("the moon", [TEXT])
    assert found.sentence is None
    assert parts(TEXT, list(found.words)) == ["moon"]  # "the" says nothing


def test_a_passage_of_one_sentence_has_none_that_is_nearest() -> None:
    first, second, third = highlights("cat", ["a cat", "", TEXT], WordEncoder())
    assert first.sentence is None
    assert second == type(second)(None, [])
    assert third.sentence is not None


def test_each_passage_has_its_own() -> None:
    texts = ["Rain fell all day long. A cat slept.", "A cat slept all day. Rain fell on the roof."]
    spans = [one.sentence for one in highlights("rain", texts, WordEncoder(64))]
    assert spans[0]
    assert spans[1]
    assert parts(texts[0], [spans[0]]) == ["Rain fell all day long."]
    assert parts(texts[1], [spans[1]]) == ["Rain fell on the roof."]


def test_a_sentence_that_the_encoder_cannot_read_whole_is_not_chosen() -> None:
    text = "The dog " + "ran " * 50 + "home. A dog slept here."
    (found,) = highlights("dog", [text], WordEncoder(max_tokens=40))
    assert found.sentence is not None
    assert parts(text, [found.sentence]) == ["A dog slept here."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One fine day. Another one!", ["One fine day.", "Another one!"]),
        ('He said: "It is late!" Then he left.', ['He said: "It is late!"', "Then he left."]),
        ("Dr. Who met Philip K. Dick in May.", ["Dr. Who met Philip K. Dick in May."]),
        ("Pi is about 3.14159 or so. Is it?", ["Pi is about 3.14159 or so.", "Is it?"]),
        ("no stop at the end\n\n  of these lines ", ["no stop at the end", "of these lines"]),
        (
            "猫は屋根の上で一日中眠っていました。犬は吠えた。",
            ["猫は屋根の上で一日中眠っていました。", "犬は吠えた。"],
        ),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_says(text: str, expected: list[str]) -> None:
    assert parts(text, list(sentences(text))) == expected


@given(st.text(st.sampled_from("aB1.!? \n\t\"'。…"), max_size=60))
def test_sentences_leave_out_only_blanks(text: str) -> None:
    spans = sentences(text)
    ends = [0, *(at for span in spans for at in span), len(text)]
    assert ends == sorted(ends)
    gaps = zip(ends[::2], ends[1::2], strict=True)
    assert not any(text[slice(*gap)].strip() for gap in gaps)
    assert all(part and part == part.strip() for part in parts(text, list(spans)))


def test_words_are_found_without_accents_and_behind_any_character() -> None:
    text = "😀 \ufdd0 Émile's café; CAFES\ufdd1"
    assert parts(text, list(word_spans([text], "emile cafés")[0])) == ["Émile", "café", "CAFES"]


@pytest.mark.parametrize("query", ["", "?!", '"', "AND OR NOT", "a* NEAR(b)"])
def test_nothing_in_a_query_is_an_operator(query: str) -> None:
    assert word_spans(["nothing of it, and no more"], query) in ([[]], [[(15, 18)]])
