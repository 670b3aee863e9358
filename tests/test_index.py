"""The Python face: what each call of an Index does, on vectors given and on texts encoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from encoders import WordEncoder
from numpy.typing import NDArray

import semsearch
from semsearch import (
    Document,
    Index,
    IndexExists,
    IndexNotFound,
    IngestError,
    InvalidArgument,
    LatentSpaceMismatch,
    SemsearchError,
)
from semsearch.embedding import TextEmbedder
from semsearch.ingest import IngestReport, Progress
from semsearch.segment_file import DegradedIndexWarning
from semsearch.types import JSONObject, OnConflict
from semsearch.vectors import INDEX_KINDS

DIM = 8


@pytest.fixture
def index(folder: Path) -> Iterator[Index]:
    """Of given vectors."""
    with semsearch.create(folder / "index", dim=DIM) as index:
        yield index


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def texts(folder: Path, encoder: WordEncoder) -> Iterator[Index]:
    """Of texts."""
    with semsearch.create(folder / "texts", encoder=encoder) as index:
        yield index


def nested(levels: int) -> JSONObject:
    inner: Any = {}
    for _ in range(levels - 1):
        inner = {"n": inner}
    return dict(inner)


def axis(n: int) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = np.eye(DIM, dtype=np.float32)[n]
    return vector


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.skipped


# --- create and open ----------------------------------------------------------------------------


def test_a_new_index_is_empty_and_true(index: Index) -> None:
    assert len(index) == 0
    assert list(index) == []
    assert index.search(axis(0)) == []
    assert index.search(axis(0), group=True) == []
    assert index.search([axis(0), axis(1)]) == [[], []]
    assert index.rejects() == []
    assert index.verify().ok
    assert index


def test_all_is_there_when_it_is_opened_again(folder: Path, index: Index) -> None:
    document = Document("a", "text", "title", {"year": 1999, "nested": [{"ü": None}]}, "source")
    index.add(document, [axis(0)])
    index.close()
    with semsearch.open(folder / "index") as again:
        assert list(again) == [document]
        assert again.space == index.space
        assert again.search(axis(0))[0].score == 1.0


def test_an_index_of_texts_opens_with_its_encoder_only(
    folder: Path, texts: Index, encoder: WordEncoder
) -> None:
    texts.add({"id": "a", "text": "cat"})
    other = WordEncoder(dim=12)
    with pytest.raises(LatentSpaceMismatch, match=r"16 dimensions.*12 dimensions"):
        semsearch.open(folder / "texts", encoder=other)
    with semsearch.open(folder / "texts", encoder=WordEncoder()) as again:
        assert again.search("cat")[0].id == "a"
        assert again.encoder.space == encoder.space


def test_without_its_encoder_an_index_can_be_read_and_asked_with_vectors(
    folder: Path, texts: Index, encoder: WordEncoder
) -> None:
    texts.add({"id": "a", "text": "cat"})
    with semsearch.open(folder / "texts") as again:  # "words" is no model that is installed
        assert again.get("a") == Document("a", "cat")
        assert again.search(encoder.encode_queries(["cat"])[0])[0].id == "a"
        with pytest.raises(SemsearchError, match="words"):
            again.search("cat")
        with pytest.raises(SemsearchError, match="words"):
            again.add({"id": "b", "text": "dog"})
        assert again.delete("a") == 1


def test_creating_twice_or_opening_nothing_is_an_error(folder: Path, index: Index) -> None:
    with pytest.raises(IndexExists):
        semsearch.create(folder / "index", dim=DIM)
    with pytest.raises(IndexNotFound):
        semsearch.open(folder / "nothing")


@pytest.mark.parametrize("dim", [0, -1, 65_537, True, 2.0, "3"])
def test_a_dimension_that_cannot_be(folder: Path, dim: Any) -> None:
    with pytest.raises(InvalidArgument, match="dim"):
        semsearch.create(folder / "new", dim=dim)
    assert not (folder / "new").exists()


def test_a_dimension_and_an_encoder_exclude_each_other(folder: Path, encoder: WordEncoder) -> None:
    with pytest.raises(InvalidArgument, match="no encoder"):
        semsearch.create(folder / "new", dim=3, encoder=encoder)


@pytest.mark.parametrize("tokens", [0, 15, 41])
def test_chunks_that_are_too_short_or_too_long(
    folder: Path, encoder: WordEncoder, tokens: int
) -> None:
    with pytest.raises(InvalidArgument, match="chunk_tokens: expected"):
        semsearch.create(folder / "new", encoder=encoder, chunk_tokens=tokens)


def test_the_chunk_size_is_kept(folder: Path, encoder: WordEncoder) -> None:
    semsearch.create(folder / "new", encoder=encoder, chunk_tokens=34).close()
    with semsearch.open(folder / "new", encoder=encoder) as index:
        index.add({"id": "a", "text": "word " * 100})
        assert max(encoder.count_tokens(encoder.encoded)) <= 34
        assert index.info().chunk_tokens == 34


def test_repr_and_info_say_what_it_is(index: Index) -> None:
    index.add([{"id": "a"}, {"id": "b"}], [axis(0), axis(1)])
    index.delete("a")
    path = str(index.path)
    assert repr(index) == f"<Index {path!r}: 1 documents, given vectors, 8 dimensions>"
    info = index.info()
    assert (info.documents, info.chunks, info.rejects, info.encoder) == (1, 1, 0, None)
    (segment,) = info.segments
    assert (segment.rows, segment.dead, segment.kind) == (2, 1, "exact")
    assert info.bytes > segment.bytes > 0
    index.close()
    assert repr(index) == f"<Index {path!r} closed>"


def test_a_closed_index_says_so(folder: Path) -> None:
    with semsearch.create(folder / "index", dim=DIM) as index:
        pass
    for use in (
        lambda: len(index),
        lambda: list(index),
        lambda: index.get("a"),
        lambda: "a" in index,
        lambda: index.search(axis(0)),
        lambda: index.add({"id": "a"}, [axis(0)]),
        lambda: index.delete("a"),
        index.verify,
        index.repair,
        index.optimize,
        index.info,
    ):
        with pytest.raises(InvalidArgument, match="closed"):
            use()
    index.close()


# --- add ----------------------------------------------------------------------------------------


def test_dicts_and_documents_mixed_and_a_generator(texts: Index) -> None:
    mixed: list[Any] = [{"id": "a", "text": "cat"}, Document("b", "dog", metadata={"n": 1})]
    assert counts(texts.add(mixed)) == (2, 0, 0, 0)
    assert counts(texts.add({"id": str(n), "text": f"fox {n}"} for n in range(3))) == (3, 0, 0, 0)
    assert counts(texts.add(Document("c", "owl"))) == (1, 0, 0, 0)
    assert [document.id for document in texts] == ["a", "b", "0", "1", "2", "c"]
    assert counts(texts.add([])) == (0, 0, 0, 0)


def test_adding_again_replaces_and_keeps_the_place(texts: Index) -> None:
    texts.add([{"id": "a", "text": "cat"}, {"id": "b", "text": "dog"}])
    assert counts(texts.add({"id": "a", "text": "owl", "metadata": {"x": 1}})) == (0, 1, 0, 0)
    assert [(d.id, d.text, d.metadata) for d in texts] == [("a", "owl", {"x": 1}), ("b", "dog", {})]
    assert texts.search("owl", 1)[0].id == "a"
    assert [hit.id for hit in texts.search("cat", 9)].count("a") == 1


def test_what_is_there_exactly_so_costs_no_encoding(texts: Index, encoder: WordEncoder) -> None:
    documents = [{"id": f"{n}", "text": f"cat {n}", "title": "t"} for n in range(5)]
    texts.add(documents)
    version, encoded = texts.info().version, len(encoder.encoded)
    report = texts.add(documents)
    assert counts(report) == (0, 0, 5, 0)
    assert (report.chunks, report.tokens) == (0, 0)
    assert len(encoder.encoded) == encoded == 5
    assert texts.info().version == version


@pytest.mark.parametrize("change", [{"metadata": {"a": 2}}, {"source": "elsewhere"}])
def test_another_label_costs_no_encoding(
    texts: Index, encoder: WordEncoder, change: dict[str, Any]
) -> None:
    texts.add({"id": "a", "text": "cat", "metadata": {"a": 1}, "source": "here"})
    before = texts.search("cat")[0]
    report = texts.add({"id": "a", "text": "cat", "metadata": {"a": 1}, "source": "here"} | change)
    assert counts(report) == (0, 1, 0, 0)
    assert len(encoder.encoded) == 1
    after = texts.search("cat")[0]
    assert (after.score, after.chunk) == (before.score, before.chunk)
    assert {"metadata": after.metadata, "source": after.source}.items() >= change.items()


@pytest.mark.parametrize("change", [{"text": "cats"}, {"title": "T"}])
def test_another_text_or_title_is_encoded(
    texts: Index, encoder: WordEncoder, change: dict[str, Any]
) -> None:
    texts.add({"id": "a", "text": "cat", "title": "t"})
    assert texts.add({"id": "a", "text": "cat", "title": "t"} | change).replaced == 1
    assert len(encoder.encoded) == 2


def test_skip_leaves_what_is_there(texts: Index, encoder: WordEncoder) -> None:
    texts.add({"id": "a", "text": "cat"})
    report = texts.add([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], on_conflict="skip")
    assert counts(report) == (1, 0, 0, 1)
    assert cast(Document, texts.get("a")).text == "cat"
    assert encoder.encoded == ["cat", "y"]


@pytest.mark.parametrize("many", [1, 1500])
def test_error_adds_nothing_at_all(texts: Index, many: int) -> None:
    texts.add({"id": "a", "text": "cat"})
    new = [{"id": f"{n}", "text": "new"} for n in range(many)]
    with pytest.raises(InvalidArgument, match="'a' is in the index already"):
        texts.add([*new, {"id": "a", "text": "x"}], on_conflict="error")
    with pytest.raises(InvalidArgument, match="'0' is given twice"):
        texts.add([*new, {"id": "0", "text": "x"}], on_conflict="error")
    assert [document.id for document in texts] == ["a"]
    assert counts(texts.add(new, on_conflict="error")) == (many, 0, 0, 0)


def test_an_unknown_word_for_conflicts(texts: Index) -> None:
    with pytest.raises(InvalidArgument, match="on_conflict: 'ignore'"):
        texts.add([], on_conflict=cast(OnConflict, "ignore"))


@pytest.mark.parametrize("on_conflict", ["replace", "error"])
def test_an_id_given_twice_in_one_call_adds_nothing(texts: Index, on_conflict: OnConflict) -> None:
    twice = [{"id": "a", "text": "cat"}, {"id": "b", "text": "dog"}, {"id": "a", "text": "owl"}]
    with pytest.raises(InvalidArgument, match="'a' is given twice"):
        texts.add(twice, on_conflict=on_conflict)
    assert len(texts) == 0


def test_error_on_conflict_adds_nothing_however_long_the_call(index: Index) -> None:
    index.add({"id": "17000"}, [axis(0)])
    documents = ({"id": str(n)} for n in range(17_500))
    with pytest.raises(InvalidArgument, match="'17000' is in the index already"):
        index.add(documents, np.ones((17_500, DIM)), on_conflict="error")
    assert len(index) == 1


def test_a_bad_vector_at_the_end_of_a_long_call_adds_nothing(index: Index) -> None:
    rows = np.ones((17_500, DIM))
    rows[17_000] = 0
    with pytest.raises(InvalidArgument, match="row 17000 is zero"):
        index.add(({"id": str(n)} for n in range(17_500)), rows)
    assert len(index) == 0


def test_an_error_of_the_callers_generator_is_the_callers(index: Index) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        yield {"id": "a"}
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller") as caught:
        index.add(documents(), [axis(0), axis(1)])
    assert not isinstance(caught.value, InvalidArgument)


def test_an_open_index_stays_the_same_when_the_process_changes_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        monkeypatch.chdir(folder / name)
        semsearch.create("index", dim=DIM).close()
    monkeypatch.chdir(folder / "a")
    with semsearch.open("index") as index:
        monkeypatch.chdir(folder / "b")
        index.add({"id": "x"}, [axis(0)])
        assert index.path == folder / "a" / "index"
        assert index.verify().ok
    with semsearch.open("index") as other:
        assert len(other) == 0
        assert other.verify().ok


def test_an_id_with_a_nul_is_no_other_id(index: Index) -> None:
    index.add({"id": "a"}, [axis(0)])
    assert index.delete(["a\0"]) == 0
    assert "a\0b" not in index
    assert index.get("a\0") is None
    assert len(index) == 1


def test_scores_never_pass_one(folder: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 17)).astype(np.float32)
    with semsearch.create(folder / "wide", dim=17) as index:
        index.add(({"id": str(n)} for n in range(2000)), rows)
        found = index.search(list(rows), 1)
    assert max(hits[0].score for hits in found) <= 1.0


def test_vectors_of_any_kind_of_number_and_of_arrow(index: Index) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0] * DIM, pa.float32()), DIM)
    index.add([{"id": "a"}, {"id": "b"}], column)
    index.add({"id": "tiny"}, [[1e-50] + [0.0] * (DIM - 1)])
    assert index.search([1e-300] + [0.0] * (DIM - 1), 1)[0].id == "tiny"
    with pytest.raises(InvalidArgument, match="expected numbers"):
        index.search(np.array(["1"] * DIM))


def test_rejects_go_when_their_source_is_read_again_without_them(
    texts: Index, folder: Path
) -> None:
    notes = folder / "notes"
    notes.mkdir()
    (notes / "bad.txt").write_bytes(b"\xff")
    (folder / "table.jsonl").write_text("{}\n")
    assert texts.ingest(notes, folder / "table.jsonl").rejected == 2
    (notes / "bad.txt").unlink()
    (folder / "table.jsonl").write_text("")
    texts.ingest(notes)
    assert [reject.source for reject in texts.rejects()] == [str(folder / "table.jsonl")]
    texts.ingest(folder / "table.jsonl")
    assert texts.rejects() == []


def test_a_document_of_another_source_is_counted_as_moved(texts: Index, folder: Path) -> None:
    for parent, word in (("one", "cat"), ("two", "dog")):
        (folder / parent / "notes").mkdir(parents=True)
        (folder / parent / "notes" / "todo.txt").write_text(word)
    assert texts.ingest(folder / "one" / "notes").moved == 0
    report = texts.ingest(folder / "two" / "notes")
    assert (report.replaced, report.moved) == (1, 1)


def test_optimize_chooses_the_kind_by_size(index: Index) -> None:
    index.add(
        ({"id": str(n)} for n in range(100)), np.random.default_rng(1).normal(size=(100, DIM))
    )
    index.optimize("ivf")
    index.delete([str(n) for n in range(60)])
    index.add({"id": "new"}, [axis(0)])
    index.optimize()
    assert [segment.kind for segment in index.info().segments] == ["exact"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"dim": 0},
        {"dim": "3"},
        {"encoder": object()},
        {"encoder": WordEncoder(), "chunk_tokens": "64"},
        {"encoder": WordEncoder(), "dim": 3},
    ],
)
def test_create_names_the_argument_that_is_wrong(folder: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=next(reversed(arguments))):
        semsearch.create(folder / "new", **arguments)
    assert not (folder / "new").exists()


def test_of_duplicates_with_skip_the_first_counts(texts: Index) -> None:
    texts.add([{"id": "a", "text": "cat"}, {"id": "a", "text": "owl"}], on_conflict="skip")
    assert [(d.id, d.text) for d in texts] == [("a", "cat")]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "expected the name of a folder"),
        ("a\0b", "expected the name of a folder"),
        (7, "expected the name of a folder"),
        ("i\udcff", r"'i\\udcff' is not UTF-8"),
    ],
)
def test_what_is_no_name_of_a_folder_is_refused(path: Any, says: str) -> None:
    for verb in (semsearch.create, semsearch.open):
        with pytest.raises(InvalidArgument, match=f"path: {says}"):
            verb(path)


def test_a_document_may_be_a_title_only(texts: Index) -> None:
    texts.add([{"id": "a", "title": "cat"}, {"id": "b", "text": " \n ", "title": "dog"}])
    hit = texts.search("cat", 1)[0]
    assert (hit.id, hit.text, hit.title, hit.span) == ("a", "", "cat", (0, 0))
    assert texts.get("b") == Document("b", " \n ", "dog")
    assert texts.verify().ok
    assert counts(texts.add({"id": "a", "title": "cat"})) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"text": "x"}, "missing field 'id'"),
        ({"id": 7, "text": "x"}, "id: expected a string, got int"),
        ({"id": " ", "text": "x"}, "id: expected a non-empty"),
        ({"id": "a" * 1025, "text": "x"}, "id: 1025 characters"),
        ({"id": "a", "text": None}, "text: expected a string"),
        ({"id": "a", "text": ""}, "the text is empty"),
        ({"id": "a", "text": "\n\t "}, "the text is empty"),
        ({"id": "a", "text": "x\0y"}, "NUL"),
        ({"id": "a", "text": "\ud800"}, "surrogate"),
        ({"id": "a\ud800", "text": "x"}, "surrogate"),
        ({"id": "a", "text": "x" * (2**24 + 1)}, "longer than 16 MiB"),
        ({"id": "a", "text": "x", "title": 3}, "title: expected a string"),
        ({"id": "a", "text": "x", "source": 3}, "source: expected a string"),
        ({"id": "a", "text": "x", "year": 1999}, "unknown field year.*metadata"),
        ({"id": "a", "text": "x", "metadata": []}, "metadata: expected a dict"),
        ({"id": "a", "text": "x", "metadata": {1: 2}}, "metadata: expected a dict with string"),
        ({"id": "a", "text": "x", "metadata": {"n": float("nan")}}, r"metadata.*: not JSON"),
        ({"id": "a", "text": "x", "metadata": {"n": {1}}}, r"metadata.*: not JSON"),
        ({"id": "a", "text": "x", "metadata": nested(101)}, "metadata: nested deeper than 100"),
        ({"id": "a", "text": "x", "metadata": nested(900)}, "metadata: nested deeper than 100"),
        ("just a text", "expected a Document or a dict"),
        (["id", "text"], "expected a Document or a dict"),
    ],
)
def test_a_bad_document_is_named_by_its_position_and_nothing_is_added(
    texts: Index, raw: Any, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"document 1.*{says}"):
        texts.add([{"id": "good", "text": "cat"}, raw])
    assert len(texts) == 0
    assert texts.verify().ok


def test_something_that_is_no_list_of_documents(texts: Index) -> None:
    for wrong in (7, None):
        with pytest.raises(InvalidArgument, match="documents"):
            texts.add(cast(Any, wrong))
    with pytest.raises(InvalidArgument, match="expected a Document or a dict"):
        texts.add(cast(Any, "a text"))


# --- given vectors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.ones((2, DIM + 1)), r"expected shape \(n, 8\), got \(2, 9\)"),
        (np.ones(DIM), r"expected shape \(n, 8\), got \(8,\)"),
        (np.ones((1, 2, DIM)), r"expected shape \(n, 8\)"),
        ([[1] * DIM, [1] * 3], "expected numbers"),
        ([["x"] * DIM] * 2, "expected numbers"),
        (None, "no encoder"),
        (np.ones((3, DIM)), "one for each document"),
        (np.ones((1, DIM)), "one for each document"),
        ([axis(0), np.zeros(DIM)], "row 1 is zero"),
        ([axis(0), np.full(DIM, np.nan)], "row 1 holds NaN"),
        ([axis(0), np.full(DIM, np.inf)], "row 1 holds NaN or inf"),
    ],
)
def test_vectors_that_do_not_fit_add_nothing(index: Index, vectors: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        index.add([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], vectors)
    assert len(index) == 0
    assert index.verify().ok


def test_given_vectors_are_kept_as_unit_vectors(index: Index) -> None:
    rows = np.random.default_rng(0).standard_normal((5, DIM)) * [[1e-30], [1e-3], [1], [9], [1e30]]
    index.add([{"id": f"{n}"} for n in range(5)], rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = index.vectors([f"{n}" for n in range(5)])
    for n in range(5):
        assert found[f"{n}"].shape == (1, DIM)
        assert found[f"{n}"].dtype == np.float32
        np.testing.assert_allclose(found[f"{n}"][0], unit[n], atol=1e-7)


def test_a_vector_may_be_given_for_a_text(texts: Index, encoder: WordEncoder) -> None:
    texts.add({"id": "a", "text": "cat " * 500}, np.ones((1, 16)))
    assert encoder.encoded == []
    assert texts.vectors("a")["a"].shape == (1, 16)
    assert texts.search("cat")[0].text == "cat " * 500
    assert texts.add({"id": "a", "text": "cat " * 500}).replaced == 1  # now by the encoder
    assert len(texts.vectors("a")["a"]) > 1


# --- read ---------------------------------------------------------------------------------------


def test_get_contains_and_vectors(texts: Index, encoder: WordEncoder) -> None:
    texts.add([{"id": "a", "text": "cat"}, {"id": "b", "text": "dog " * 100}])
    assert texts.get("a") == Document("a", "cat")
    assert texts.get("nobody") is None
    assert [d and d.id for d in texts.get(["b", "no", "a", "b"])] == ["b", None, "a", "b"]
    assert texts.get([]) == []
    assert "a" in texts
    assert "no" not in texts
    assert 7 not in texts
    found = texts.vectors(["b", "a"])
    split = TextEmbedder(encoder).split(Document("b", "dog " * 100))
    passages = [str(passage.content) for passage in split]
    np.testing.assert_array_equal(found["b"], encoder.encode_queries(passages))
    assert len(found["b"]) > 1
    with pytest.raises(InvalidArgument, match="no document with id 'no'"):
        texts.vectors(["a", "no"])
    for wrong in (7, [7]):
        with pytest.raises(InvalidArgument, match="ids: expected"):
            texts.get(cast(Any, wrong))


def test_passages_are_exact_pieces_of_the_text(texts: Index) -> None:
    text = "  Ein Hund. \n\n" + " ".join(f"Wörter{n}, 猫 🙂." for n in range(60)) + " \n "
    texts.add(Document("a", text, "title"))
    hits = texts.search("Hund", 99)
    assert len(hits) > 1
    for hit in hits:
        assert text[hit.span.start : hit.span.end] == hit.text
    assert cast(Document, texts.get("a")).text == text


def test_iteration_is_one_snapshot(index: Index) -> None:
    index.add([{"id": f"{n}"} for n in range(1100)], np.tile(axis(0), (1100, 1)))
    seen: list[str] = []
    for document in index:
        if not seen:
            index.delete("1099")
            index.add({"id": "new"}, [axis(1)])
        seen.append(document.id)
    assert seen == [f"{n}" for n in range(1100)]
    assert len(index) == 1100
    assert [document.id for document in index][-1] == "new"


# --- delete -------------------------------------------------------------------------------------


def test_deleting(index: Index) -> None:
    index.add([{"id": f"{n}"} for n in range(DIM)], np.eye(DIM))
    assert index.delete("3") == 1
    assert index.delete("3") == 0
    assert index.delete(["1", "no", "1"]) == 1
    assert index.delete(str(n) for n in (5, 6)) == 2
    assert index.delete([]) == 0
    assert [hit.id for hit in index.search(axis(3), 99)] == ["0", "2", "4", "7"]
    assert index.get("3") is None
    assert len(index) == 4
    assert index.delete([f"{n}" for n in range(DIM)]) == 4
    assert index.info().segments == ()
    assert index.search(axis(0)) == []
    index.add({"id": "3"}, [axis(3)])
    assert index.search(axis(3))[0].id == "3"
    assert index.verify().ok


def test_ids_of_what_matches_and_deleting_it(index: Index) -> None:
    documents = [{"id": f"{n}", "metadata": {"odd": n % 2, "n": n}} for n in range(DIM)]
    index.add(documents, np.eye(DIM))
    assert index.ids() == [f"{n}" for n in range(DIM)]
    assert index.ids({"odd": 1}) == ["1", "3", "5", "7"]
    assert index.ids("n > 99") == []
    with index.snapshot() as before:
        assert index.delete(where="odd = 1 and n < 6") == 3
        assert before.ids({"odd": 1}) == ["1", "3", "5", "7"]
    assert index.ids({"odd": 1}) == ["7"]
    assert index.delete(where="n > 99") == 0
    assert index.delete(where={}) == 5
    assert index.ids() == [] == index.search(axis(0))
    assert index.verify().ok


@pytest.mark.parametrize("arguments", [{}, {"ids": "1", "where": {}}])
def test_deleting_wants_ids_or_a_filter(index: Index, arguments: dict[str, Any]) -> None:
    index.add([{"id": "1"}], [axis(1)])
    with pytest.raises(InvalidArgument, match="expected ids, or where="):
        index.delete(**arguments)
    with pytest.raises(InvalidArgument, match="where: expected a dict or an expression"):
        index.delete(where=3)  # type: ignore[arg-type]
    assert len(index) == 1


# --- search -------------------------------------------------------------------------------------


def test_all_forms_of_a_query(texts: Index, encoder: WordEncoder) -> None:
    texts.add([{"id": "cat", "text": "cat"}, {"id": "dog", "text": "dog"}])
    cat, dog = encoder.encode_queries(["cat", "dog"])

    def first(answer: Any) -> Any:
        return answer[0].id if isinstance(answer[0], semsearch.Hit) else [a[0].id for a in answer]

    assert first(texts.search("cat")) == "cat"
    assert first(texts.search(dog)) == "dog"
    assert first(texts.search(dog.tolist())) == "dog"
    assert first(texts.search(dog.astype(np.float64) * 1e5)) == "dog"
    assert first(texts.search(["dog", "cat"])) == ["dog", "cat"]
    assert first(texts.search([cat, dog])) == ["cat", "dog"]
    assert first(texts.search(list(np.stack([cat, dog])))) == ["cat", "dog"]
    assert first(texts.search(("dog",))) == ["dog"]
    assert texts.search([]) == []
    assert texts.search("cat")[0].score == pytest.approx(1.0, abs=1e-6)
    assert len(texts.search("cat", 99)) == 2


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "the query is empty"),
        (" \n", "the query is empty"),
        (["cat", ""], "the query is empty"),
        (["cat", [1.0] * 16], "not both"),
        ([1.0] * 15, r"\(n, 16\)"),
        ([[1.0] * 16, [1.0] * 3], "vectors: expected"),
        ([0.0] * 16, "is zero"),
        ([float("nan")] * 16, "NaN"),
        (np.ones((2, 16)), "expected one vector, got shape"),
        (np.float32(3), "expected text or a vector, got float32"),
        (np.array(3.0), "expected one vector"),
        (7, "expected text or a vector, got int"),
        (None, "expected text or a vector"),
        ({"cat": 1}, "expected text or a vector, got dict"),
        ([None], "vectors: expected"),
    ],
)
def test_queries_that_cannot_be(texts: Index, query: Any, says: str) -> None:
    texts.add({"id": "a", "text": "cat"})
    with pytest.raises(InvalidArgument, match=says):
        texts.search(query)


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3", None])
def test_a_k_that_cannot_be(index: Index, k: Any) -> None:
    with pytest.raises(InvalidArgument, match="k: expected an integer of at least 1"):
        index.search(axis(0), k)


def test_a_text_needs_an_encoder(folder: Path, index: Index) -> None:
    (folder / "a.txt").write_text("cat")
    with pytest.raises(InvalidArgument, match="no encoder; give vectors"):
        index.search("cat")
    with pytest.raises(InvalidArgument, match="no encoder"):
        index.add({"id": "a", "text": "cat"})
    with pytest.raises(InvalidArgument, match="no encoder"):
        index.ingest(folder / "a.txt")


@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_grouped_never_a_document_twice_and_always_k(
    folder: Path, encoder: WordEncoder, kind: str
) -> None:
    """One document has more chunks near the query than all others together."""
    with semsearch.create(folder / "new", encoder=encoder) as index:
        index.add({"id": "long", "text": "cat dog " * 2000})
        index.add([{"id": f"{n}", "text": f"cat w{n}"} for n in range(30)])
        index.delete("3")
        index.optimize(kind)
        index.add({"id": "late", "text": "dog"})
        for k in (1, 5, 31, 32):
            hits = index.search("cat dog", k, group=True)
            assert len({hit.id for hit in hits}) == len(hits) == min(k, 31)
            assert hits[0].id == "long"
            assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
        plain = index.search("cat dog", 9999)
        best: dict[str, float] = {}
        for hit in plain:
            best.setdefault(hit.id, hit.score)
        grouped = index.search("cat dog", 99, group=True)
        assert {hit.id: hit.score for hit in grouped} == best
        assert [len(answer) for answer in index.search(["cat", "w7"], 31, group=True)] == [31, 31]


def test_equal_scores_come_in_the_order_they_were_added(index: Index) -> None:
    for n in range(12):
        index.add({"id": f"{n}"}, [axis(2)])
    assert [hit.id for hit in index.search(axis(2), 12)] == [f"{n}" for n in range(12)]


class Model:
    """What an index must answer: ids and unit vectors, searched by numpy."""

    def __init__(self) -> None:
        self.rows: dict[str, NDArray[np.float64]] = {}

    def put(self, ids: list[str], rows: NDArray[np.float32]) -> None:
        for id_, row in zip(ids, rows.astype(np.float64), strict=True):
            self.rows[id_] = row / np.linalg.norm(row)

    def scores(self, query: NDArray[np.float32]) -> dict[str, float]:
        unit = query / np.linalg.norm(query.astype(np.float64))
        return {id_: float(row @ unit) for id_, row in self.rows.items()}


def check(index: Index, model: Model, rng: np.random.Generator, dim: int) -> None:
    assert {document.id for document in index} == set(model.rows)
    assert len(index) == len(model.rows)
    for query in rng.standard_normal((3, dim)).astype(np.float32):
        k = int(rng.integers(1, len(model.rows) + 5))
        hits = index.search(query, k)
        expected = model.scores(query)
        order = sorted(expected, key=lambda id_: -expected[id_])[:k]
        assert [hit.id for hit in hits] == order
        np.testing.assert_allclose(
            [hit.score for hit in hits], [expected[id_] for id_ in order], atol=1e-6
        )


@pytest.mark.parametrize(("seed", "dim"), [(0, 8), (1, 16), (2, 32), (3, 9)])
def test_search_is_that_of_numpy_whatever_was_done_before(
    folder: Path, seed: int, dim: int
) -> None:
    """Adds, replacements, deletions, optimizing and reopening in a random order."""
    rng, model = np.random.default_rng(seed), Model()
    index = semsearch.create(folder / "index", dim=dim)
    for _ in range(40):
        match rng.choice(["add", "add", "add", "delete", "optimize", "open"]):
            case "add":
                ids = list({f"{n}" for n in rng.integers(0, 150, rng.integers(1, 25))})
                rows = rng.standard_normal((len(ids), dim)).astype(np.float32)
                index.add([{"id": id_} for id_ in ids], rows)
                model.put(ids, rows)
            case "delete":
                ids = [f"{n}" for n in rng.integers(0, 150, rng.integers(1, 40))]
                gone = {id_ for id_ in ids if model.rows.pop(id_, None) is not None}
                assert index.delete(ids) == len(gone)
            case "optimize":
                index.optimize("exact")
                assert len(index.info().segments) <= 1
            case "open":
                index.close()
                index = semsearch.open(folder / "index")
        check(index, model, rng, dim)
    assert index.verify().ok
    assert len(index.info().segments) < 20
    index.close()


def test_two_objects_of_one_index_see_each_other_at_once(folder: Path, index: Index) -> None:
    with semsearch.open(folder / "index") as other:
        for n in range(12):
            index.add({"id": f"{n}"}, [axis(n % DIM)])
            assert len(other.search(axis(0), 99)) == n + 1
        other.delete("0")
        assert "0" not in index
        index.optimize("ivf")
        assert len(other.search(axis(0), 99)) == 11


# --- files --------------------------------------------------------------------------------------


def test_files_are_read_and_their_rejects_kept_until_they_are_read_again(
    folder: Path, texts: Index, encoder: WordEncoder
) -> None:
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("The cat sat.", encoding="utf-8")
    (corpus / "b.md").write_text("# Dogs\n\nA dog ran.", encoding="utf-8")
    (corpus / "bad.txt").write_bytes(b"\xff\xfe\xff")
    table = folder / "table.jsonl"
    good = {"_id": "j1", "text": "An owl flew", "title": "Owls", "year": 1999}
    table.write_text(f"{json.dumps(good)}\nnot json\n[1]\n" + '{"_id": "j2"}\n', encoding="utf-8")
    report = texts.ingest(corpus, table)
    assert (report.added, report.rejected) == (3, 4)
    rejects = texts.rejects()
    assert [(Path(r.source).name, r.position) for r in rejects] == [
        ("bad.txt", rejects[0].position),
        ("table.jsonl", 2),
        ("table.jsonl", 3),
        ("table.jsonl", 4),
    ]
    assert report.rejects == tuple(rejects) or set(report.rejects) == set(rejects)
    assert texts.info().rejects == 4
    assert texts.search("owl", 1)[0].metadata == {"year": 1999}
    assert texts.search("owl", 1)[0].source == str(table)

    encoded = len(encoder.encoded)
    again = texts.ingest(corpus, table)
    assert (again.unchanged, again.added, again.rejected) == (3, 0, 4)
    assert len(encoder.encoded) == encoded
    assert texts.rejects() == rejects

    table.write_text(json.dumps(good) + "\n", encoding="utf-8")
    texts.ingest(table)
    assert [Path(reject.source).name for reject in texts.rejects()] == ["bad.txt"]
    (corpus / "bad.txt").write_text("A gnu stood.", encoding="utf-8")
    assert texts.ingest(corpus).added == 1
    assert texts.rejects() == []
    assert texts.verify().ok


def test_progress_is_told(folder: Path, texts: Index) -> None:
    (folder / "lines.jsonl").write_text(
        "".join(json.dumps({"_id": f"{n}", "text": f"cat {n}"}) + "\n" for n in range(50))
    )
    told: list[Progress] = []
    texts.ingest(folder / "lines.jsonl", progress=told.append)
    assert (told[-1].documents, told[-1].chunks, told[-1].rejected) == (50, 50, 0)
    assert told[-1].bytes == (folder / "lines.jsonl").stat().st_size
    assert told[-1].tokens == 150


def test_a_source_that_is_not_there_changes_nothing(folder: Path, texts: Index) -> None:
    with pytest.raises(IngestError, match="nothing"):
        texts.ingest(folder / "nothing")
    assert len(texts) == 0


# --- optimize -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in INDEX_KINDS if kind != "exact"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_optimizing_mends_what_a_kind_keeps(folder: Path, kind: str, damage: str) -> None:
    rows = np.random.default_rng(5).standard_normal((300, DIM))
    with semsearch.create(folder / "new", dim=DIM) as index:
        index.add([{"id": f"{n}"} for n in range(300)], rows)
        index.optimize(kind)
        before = index.search(rows[7], 5)
    (derived,) = (folder / "new" / "segments").glob("*.faiss")
    if damage == "missing":
        derived.unlink()
    else:
        derived.write_bytes(derived.read_bytes()[:-1] + b"?")
    with semsearch.open(folder / "new") as index:
        with pytest.warns(DegradedIndexWarning, match="searched exactly"):
            assert index.search(rows[7], 1) == before[:1]
        index.optimize(kind)
        assert index.verify().ok
        assert index.search(rows[7], 5) == before


def test_optimizing_mends_what_was_changed_while_the_index_was_open(folder: Path) -> None:
    rows = np.random.default_rng(5).standard_normal((300, DIM))
    with semsearch.create(folder / "new", dim=DIM) as index:
        index.add([{"id": f"{n}"} for n in range(300)], rows)
        for kind in ("ivf", "sq8"):
            index.optimize(kind)
            index.search(rows[7], 5)
            (derived,) = (folder / "new" / "segments").glob("*.faiss")
            derived.write_bytes(derived.read_bytes()[:-1] + b"?")
            index.optimize(kind)
            assert index.verify().ok


def test_optimizing_merges_and_drops_the_dead(index: Index) -> None:
    rows = np.random.default_rng(5).standard_normal((40, DIM))
    for n in range(0, 40, 4):
        index.add([{"id": f"{m}"} for m in range(n, n + 4)], rows[n : n + 4])
    index.delete(["1", "20"])
    before = index.search(rows[7], 99)
    for kind in reversed(INDEX_KINDS):
        index.optimize(kind)
        (segment,) = index.info().segments
        assert (segment.rows, segment.dead, segment.kind) == (38, 0, kind)
        version = index.info().version
        index.optimize(kind)
        assert index.info().version == version
        assert index.search(rows[7], 99) == before
        assert index.verify().ok
    with pytest.raises(InvalidArgument, match=r"kind: expected one of auto, .* hnsw, got 'fast'"):
        index.optimize("fast")


# --- snapshots ----------------------------------------------------------------------------------


def test_the_version_grows_with_each_write_and_not_in_a_snapshot(index: Index) -> None:
    before = index.version
    with index.snapshot() as pinned:
        index.add({"id": "a"}, [[1.0] * DIM])
        assert pinned.version == before
    assert index.version == index.info().version > before


def test_a_snapshot_does_not_move_and_the_index_does(texts: Index) -> None:
    texts.add([{"id": "a", "text": "red"}, {"id": "b", "text": "green"}])
    with texts.snapshot() as snapshot:
        texts.add({"id": "a", "text": "blue sky"})
        texts.delete("b")
        texts.optimize()
        assert [len(snapshot), len(texts)] == [2, 1]
        assert [hit.text for hit in snapshot.search("green", k=5)] == ["green", "red"]
        assert [hit.text for hit in texts.search("green", k=5)] == ["blue sky"]
        assert {document.id: document.text for document in snapshot} == {"a": "red", "b": "green"}
        assert "b" in snapshot
        assert snapshot.get("b") is not None
        assert snapshot.vectors("b")["b"].shape == (1, texts.space.dim)
    assert "b" not in texts


def test_a_snapshot_has_the_encoder_and_the_space_of_its_index(texts: Index, index: Index) -> None:
    with texts.snapshot() as snapshot:
        assert (snapshot.encoder, snapshot.space) == (texts.encoder, texts.space)
        assert snapshot.path == texts.path
    with index.snapshot() as snapshot, pytest.raises(InvalidArgument, match="no encoder"):
        snapshot.search("text")


def test_chunks_are_the_passages_in_reading_order(folder: Path, encoder: WordEncoder) -> None:
    text = "  One two three four. " * 40
    with semsearch.create(folder / "long", encoder=encoder, chunk_tokens=34) as index:
        index.add([{"id": "a", "text": text}, {"id": "b", "text": "", "title": "Only a title"}])
        chunks = index.chunks(["a", "b"])
        hits = index.search("one", k=100)
    assert [chunk.text for chunk in chunks["b"]] == [""]
    assert len(chunks["a"]) > 2
    assert [chunk.span for chunk in chunks["a"]] == sorted(
        hit.span for hit in hits if hit.id == "a"
    )
    assert all(text[slice(*chunk.span)] == chunk.text for chunk in chunks["a"])


def test_chunks_of_an_unknown_document(texts: Index) -> None:
    with pytest.raises(InvalidArgument, match="no document with id 'x'"):
        texts.chunks("x")
