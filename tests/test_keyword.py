"""Search by words and by both: against BM25 and the fusion computed here from the texts alone."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from encoders import WordEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

import semsearch
from semsearch import Hit, Index, InvalidArgument, UnsupportedFormat
from semsearch.search import KEYWORD_WEIGHT
from semsearch.storage.checksum import older_row_checksum
from semsearch.storage.format import FORMAT_VERSION
from semsearch.storage.keywords import MOST_WORDS, TITLE_WEIGHT, Matches, words_of
from semsearch.storage.word_scores import WordScores
from semsearch.types import Mode

# Words that the stemmer leaves as they are, none of them a stop word.
WORDS = ["cat", "dog", "owl", "fox", "hen", "ant"]
TEXTS = {
    "codes": "The pump shows error E4012 when its valve is stuck",
    "cats": "A cat sleeps on the warm pump, another cat purrs",
    "naive": "Un caf\u00e9 na\u00eff",
    "wide": "\u65e5\u672c\u8a9e \u306e \u6587\u66f8",
}


@pytest.fixture
def index(folder: Path) -> Iterator[Index]:
    with semsearch.create(folder / "index", encoder=WordEncoder()) as index:
        index.add([{"id": id_, "text": text} for id_, text in TEXTS.items()])
        yield index


def found(index: Index, query: str, mode: Mode = "keyword") -> list[str]:
    return [hit.id for hit in index.search(query, mode=mode)]


# -- the oracles -----------------------------------------------------------------------------------


def idf(word: str, texts: Mapping[str, str]) -> float:
    n = sum(word in text.split() for text in texts.values())
    return max(1e-6, math.log((len(texts) - n + 0.5) / (n + 0.5)))


def bm25(query: list[str], texts: Mapping[str, str]) -> dict[str, float]:
    """Okapi BM25 as https://sqlite.org/fts5.html states it, of texts that hold a word."""
    mean = sum(len(text.split()) for text in texts.values()) / max(1, len(texts))
    scores = {}
    for id_, text in texts.items():
        words = text.split()
        parts = [
            idf(word, texts) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(words) / mean))
            for word in query
            if (tf := words.count(word))
        ]
        if parts:
            scores[id_] = sum(parts)
    return scores


sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
changes = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.dictionaries(st.sampled_from("abcdefg"), sentences, min_size=1)
        ),
        st.tuples(st.just("delete"), st.sets(st.sampled_from("abcdefg"))),
        st.tuples(st.just("optimize"), st.none()),
    ),
    max_size=5,
)
queries = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True)


@settings(max_examples=40, deadline=None)
@given(changes, queries)
def test_answers_are_those_of_the_oracles(
    memory: Path, changes: list[tuple[str, object]], query: list[str]
) -> None:
    texts: dict[str, str] = {}
    encoder = WordEncoder()
    number = len(list(memory.iterdir()))
    with semsearch.create(memory / f"oracle{number}", encoder=encoder) as index:
        for verb, what in changes:
            if verb == "add":
                assert isinstance(what, dict)
                index.add([{"id": id_, "text": text} for id_, text in what.items()])
                texts.update(what)
            elif verb == "delete":
                assert isinstance(what, set)
                index.delete(what)
                texts = {id_: text for id_, text in texts.items() if id_ not in what}
            else:
                index.optimize()
        asked = " ".join(query)
        words = bm25(query, texts)
        by_words = {hit.id: hit.score for hit in index.search(asked, 20, mode="keyword")}
        assert by_words == pytest.approx(words)
        assert list(by_words.values()) == sorted(by_words.values(), reverse=True)

        vector = encoder.encode_queries([asked])[0].astype(float)
        norm = 2.2 * math.hypot(*(idf(word, texts) for word in query))
        expected = {
            id_: float(vector @ encoder.encode_queries([text])[0])
            + KEYWORD_WEIGHT * words.get(id_, 0) / norm
            for id_, text in texts.items()
        }
        by_both = {hit.id: hit.score for hit in index.search(asked, 20, mode="hybrid")}
        assert by_both == pytest.approx(expected, abs=1e-5)
        assert index.verify().ok


lines = st.lists(st.sampled_from([*WORDS, "cats", "the"]), max_size=6).map(" ".join)
entries = st.dictionaries(st.sampled_from("abcdefghij"), st.tuples(lines, lines), max_size=10)


def ranked_by_sqlite(index: Index, query: str) -> list[tuple[int, float]]:
    """Chunks and scores as FTS5 alone ranks them, without the digits that rounding makes."""
    words = " OR ".join(f'"{word}"' for word in words_of(query))
    with closing(sqlite3.connect(index.path / "catalog.db")) as catalog:
        rows = catalog.execute(
            f"SELECT rowid, printf('%.13g', -bm25(keywords, {TITLE_WEIGHT}, 1.0)) FROM keywords "
            "WHERE keywords MATCH ?",
            (words,),
        ).fetchall()
    return sorted(((key, float(score)) for key, score in rows), key=lambda row: (-row[1], row[0]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(entries, st.sets(st.sampled_from("abcdefghij"))), max_size=4), st.data())
def test_words_are_ranked_as_sqlite_ranks_them(
    memory: Path, commits: list[tuple[dict[str, tuple[str, str]], set[str]]], data: st.DataObject
) -> None:
    number = len(list(memory.iterdir()))
    with semsearch.create(memory / f"ranked{number}", dim=1) as index:
        for added, deleted in [({"z": ("owl", "cat")}, set()), *commits]:
            documents = [
                {"id": id_, "title": title, "text": text, "metadata": {"even": len(text) % 2 == 0}}
                for id_, (title, text) in added.items()
            ]
            index.add(documents, np.ones((len(documents), 1)))
            index.delete(deleted)
            query = data.draw(st.lists(st.sampled_from([*WORDS, "cats", "the", "bee"]), min_size=1))
            asked = " ".join(query)
            expected = ranked_by_sqlite(index, asked)
            for _ in range(2):  # asked for the first time in this commit, and again
                for k in (1, 3, 50):
                    hits = index.search(asked, k, mode="keyword")
                    assert [hit.chunk for hit in hits] == [key for key, _ in expected[:k]]
                    assert [hit.score for hit in hits] == pytest.approx(
                        [score for _, score in expected[:k]], rel=1e-12
                    )
            even = {hit.chunk for hit in index.search([1.0], 50, where="even = true")}
            filtered = index.search(asked, 4, mode="keyword", where="even = true")
            assert [hit.chunk for hit in filtered] == [key for key, _ in expected if key in even][
                :4
            ]


def test_an_older_snapshot_goes_on_ranking_its_own_words(index: Index) -> None:
    with index.snapshot() as before:
        first = before.search("cat pump", mode="keyword")
        index.add({"id": "more", "text": "another cat at another pump, and one more cat"})
        assert index.search("cat pump", mode="keyword")[0].id == "more"
        assert before.search("cat pump", mode="keyword") == first
        assert before.search("purrs", mode="keyword") == before.search("purr", mode="keyword")


@pytest.mark.parametrize(("letters", "passages"), [(1, 500_000), (8_000_000, 0)])
def test_words_not_asked_for_lately_are_forgotten(letters: int, passages: int) -> None:
    looked_up: list[str] = []

    def look_up(words: Sequence[str]) -> list[Matches]:
        looked_up.extend(word[0] for word in words)
        return [Matches(np.arange(passages), np.ones(passages)) for _ in words]  # 8 MB in all

    kept = WordScores()
    for query in ("ab", "ac", "abd", "e", "abc"):
        words = {letter * letters for letter in query}
        assert set(kept.of(sorted(words), look_up)) == words
    assert "".join(looked_up) == "abcdec"


# -- what a query is -------------------------------------------------------------------------------


def test_a_query_is_a_bag_of_words(index: Index) -> None:
    assert found(index, "E4012") == ["codes"]
    assert found(index, "purring cats") == ["cats"]  # by their stems
    assert set(found(index, "valve OR purr")) == {"codes", "cats"}
    assert found(index, "valve NOT stuck") == ["codes"]
    assert found(index, "NAIF cafe") == ["naive"]
    assert found(index, "cafe\u0301") == ["naive"]
    assert found(index, "\u65e5\u672c\u8a9e") == ["wide"]
    assert found(index, "unheard") == []
    assert found(index, "?!") == []


@pytest.mark.parametrize(
    "word",
    ["\u0130stanbul", "\u1ecdl\u1ecd\u0301run", "\u13c3\u13b3\u13a9", "\U0001e900\U0001e901"],
    ids=["Turkish", "Yoruba", "Cherokee", "Adlam"],
)
def test_a_word_of_any_script_is_found(folder: Path, word: str) -> None:
    with semsearch.create(folder / "index", dim=1) as index:
        index.add(
            [{"id": "a", "text": f"{word} owl"}, {"id": "b", "text": "stanbul run"}], [[1]] * 2
        )
        assert found(index, word) == ["a"]
        assert len(words_of(f"{word} {word} {word.lower()}")) == 1


def test_stop_words_count_only_when_there_is_nothing_else(index: Index) -> None:
    assert found(index, "what is the cat on") == ["cats"]
    assert set(found(index, "the")) == {"codes", "cats"}
    assert words_of("How do I, the owl's friend, owl?") == ["owl", "friend"]


def test_a_title_counts_more_than_the_text(folder: Path) -> None:
    assert TITLE_WEIGHT > 1
    with semsearch.create(folder / "titles", encoder=WordEncoder()) as index:
        index.add([{"id": f"x{i}", "text": "filler words here"} for i in range(5)])
        index.add({"id": "text", "text": "owl barn", "title": "roof"})
        index.add({"id": "title", "text": "roof barn", "title": "owl"})
        assert found(index, "owl") == ["title", "text"]


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(st.characters(), min_size=1),
        st.text("\"*^:+-(){}'\0 NEARORNOT,;%_cat\ud800\u0301", min_size=1),
        st.sampled_from(
            ['"cat', "cat*", "title:cat", "cat NEAR dog", "'; DROP TABLE chunks; --", "^cat", "\0"]
        ),
    )
)
def test_no_query_is_an_error(fuzzed: Index, query: str) -> None:
    if query.strip():
        fuzzed.search(query, mode="keyword")


@pytest.fixture(scope="module")
def fuzzed(memory: Path) -> Iterator[Index]:
    with semsearch.create(memory / "fuzzed", dim=2) as index:
        index.add([{"id": "a", "text": "a cat"}], [[1, 0]])
        yield index
        assert len(index) == 1
        assert index.verify().ok


def test_a_query_of_a_megabyte(index: Index) -> None:
    long = "cat " + " ".join(f"word{n}" for n in range(150_000))
    assert len(long) > 1e6
    assert len(words_of(long)) == MOST_WORDS
    assert found(index, long) == ["cats"]


# -- modes -----------------------------------------------------------------------------------------


def test_documents_with_given_vectors_are_found_by_words(folder: Path) -> None:
    with semsearch.create(folder / "given", dim=2) as index:
        index.add([{"id": "a", "text": "an owl"}, {"id": "b", "text": ""}], [[1, 0], [0, 1]])
        assert found(index, "owls") == ["a"]
        assert index.search(["owl", "cat"], mode="keyword")[1] == []
        with pytest.raises(InvalidArgument, match="mode keyword"):
            index.search("owl", mode="hybrid")
        with pytest.raises(InvalidArgument, match="give texts"):
            index.search([1.0, 0.0], mode="hybrid")
        with pytest.raises(InvalidArgument, match="'dense' or 'keyword' or 'hybrid', got 'best'"):
            index.search("owl", mode="best")  # type: ignore[call-overload]


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
def test_filters_and_groups_hold_in_every_mode(folder: Path, mode: Mode) -> None:
    with semsearch.create(folder / "many", encoder=WordEncoder()) as index:
        text = "\n\n".join("the owl number " + str(n) for n in range(30))
        index.add([{"id": f"d{n}", "text": text, "metadata": {"n": n}} for n in range(12)])
        hits = index.search("owl", 12, mode=mode, group=True)
        assert {hit.id for hit in hits} == {f"d{n}" for n in range(12)}
        assert len(hits) == 12
        some = index.search("owl number 3", 500, mode=mode, where="n >= 10")
        assert {hit.id for hit in some} == {"d10", "d11"}
        assert len(some) == sum(len(index.vectors(id_)[id_]) for id_ in ("d10", "d11"))
        assert all("owl" in hit.text for hit in some)


def test_a_batch_answers_like_its_queries(index: Index) -> None:
    for mode in ("keyword", "hybrid"):
        asked = ["cat pump", "valve", "unheard"]
        assert index.search(asked, mode=mode) == [index.search(query, mode=mode) for query in asked]


def test_a_hybrid_score_is_the_cosine_when_no_word_matches(index: Index) -> None:
    assert index.search("unheard", mode="hybrid") == index.search("unheard")


# -- keeping ---------------------------------------------------------------------------------------


def change(index: Index, *statements: str) -> None:
    with sqlite3.connect(index.path / "catalog.db") as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO keywords(keywords, rowid, title, body) VALUES ('delete', 2, '', 'cat')",
        "INSERT INTO keywords(rowid, title, body) VALUES (77, 'a', 'b')",
        "UPDATE keywords_docsize SET sz = x'0101' WHERE id = 1",
        "UPDATE keywords_data SET block = x'00' WHERE id = 1",
        "DELETE FROM keywords_data WHERE id > 10",
    ],
)
def test_verify_sees_a_damaged_keyword_index_and_repair_mends_it(index: Index, damage: str) -> None:
    before = index.search("cat pump", mode="keyword")
    change(index, damage)
    assert "keyword index" in str(index.verify().problems)
    report = index.repair()
    assert report.after.ok
    assert report.actions == ("catalog.db: keyword index built again",)
    assert index.search("cat pump", mode="keyword") == before


def test_what_was_found_in_a_damaged_keyword_index_is_forgotten(index: Index) -> None:
    damage = "INSERT INTO keywords(keywords, rowid, title, body) VALUES ('delete', 2, '', 'cat')"
    change(index, damage)
    with semsearch.open(index.path, encoder=index.encoder) as reader:
        assert found(reader, "cat") != ["cats"]
        index.repair()
        assert found(reader, "cat") == ["cats"]


def as_version_1(index: Index) -> None:
    """What the first format was: the same tables, no keyword index."""
    change(index, "DROP TABLE keywords", "DROP VIEW passages", "PRAGMA user_version = 1")


def test_an_index_of_format_1_is_read_and_upgraded_by_the_next_write(index: Index) -> None:
    before = index.search("cat pump", mode="keyword")
    as_version_1(index)
    with semsearch.open(index.path, encoder=index.encoder) as old:
        assert old.info().format == 1
        assert found(old, "cat", "dense")[0] == "cats"
        for mode in ("keyword", "hybrid"):
            with pytest.raises(UnsupportedFormat, match="semsearch optimize"):
                old.search("cat", mode=mode)
        old.delete([])
        assert old.info().format == FORMAT_VERSION == 3
        assert old.search("cat pump", mode="keyword") == before
        assert old.verify().ok


def test_an_index_of_format_2_is_read_and_upgraded_by_the_next_write(index: Index) -> None:
    """Its passport knew of no latents, and its rows had another checksum."""
    passport = json.loads(index.space.to_json())
    del passport["latent"]
    value = json.dumps(json.dumps(passport))
    with sqlite3.connect(index.path / "catalog.db") as connection:
        connection.execute("UPDATE settings SET value = ? WHERE key = 'space'", (value,))
        for table in ("settings", "state", "segments", "documents", "chunks"):
            for number, *row in connection.execute(f"SELECT rowid, * FROM {table}").fetchall():
                connection.execute(
                    f"UPDATE {table} SET checksum = ? WHERE rowid = ?",
                    (older_row_checksum(row[:-1]), number),
                )
        connection.execute("PRAGMA user_version = 2")
    with semsearch.open(index.path, encoder=index.encoder) as old:
        assert old.info().format == 2
        assert old.space == index.space
        assert found(old, "cat", "hybrid")[0] == "cats"
        old.delete([])
        assert old.info().format == 3
        assert old.verify().ok


def test_the_text_is_not_stored_twice(index: Index) -> None:
    with sqlite3.connect(index.path / "catalog.db") as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "keywords_data" in tables
    assert "keywords_content" not in tables


def ranked(hits: list[Hit]) -> list[Any]:
    return [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in hits]


def test_given_vectors_of_texts_stand_for_the_encoder_s(index: Index, folder: Path) -> None:
    texts = ["warm pump", "a cat"]
    points = 3 * index.encoder.encode_queries(texts)
    stored = index.encoder.encode_documents(list(TEXTS.values()))
    with semsearch.create(folder / "given", dim=index.space.dim) as given:
        given.add([{"id": id_, "text": text} for id_, text in TEXTS.items()], stored)
        for mode in get_args(Mode):
            if mode != "keyword":
                expected = [ranked(hits) for hits in index.search(texts, mode=mode)]
                many = given.search(texts, mode=mode, vectors=points)
                one = given.search(texts[1], mode=mode, vectors=points[1].tolist())
                assert [[(hit.id, hit.score) for hit in hits] for hits in many] == expected
                assert [(hit.id, hit.score) for hit in one] == expected[1]
        assert given.search([], vectors=[]) == []


@pytest.mark.parametrize(
    ("query", "mode", "vectors", "message"),
    [
        ("cat", "keyword", [1.0] * 16, "for mode 'dense' or 'hybrid'"),
        ([1.0] * 16, "dense", [1.0] * 16, "vectors: those of texts"),
        ("cat", "hybrid", [1.0] * 3, r"expected shape \(n, 16\)"),
        (["cat", "owl"], "dense", [[1.0] * 16], "1 of them for 2 texts"),
    ],
)
def test_given_vectors_that_do_not_fit(
    index: Index, query: Any, mode: Mode, vectors: Any, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        index.search(query, mode=mode, vectors=vectors)
