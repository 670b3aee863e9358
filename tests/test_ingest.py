"""Ingest: what is embedded and what is not, what is pruned, what survives an interruption."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from encoders import WordEncoder
from numpy.typing import NDArray

import semsearch
from semsearch import Index, IngestError, ingest


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def index(folder: Path, encoder: WordEncoder) -> Iterator[Index]:
    with semsearch.create(folder / "index", encoder=encoder) as opened:
        yield opened


def paragraphs(n: int) -> list[str]:
    return [f"Paragraph {i} tells " + f"of the w{i} " * 8 + "and ends." for i in range(n)]


def table(path: Path, records: dict[str, str]) -> Path:
    lines = (json.dumps({"_id": id_, "text": text}) for id_, text in records.items())
    path.write_text("".join(line + "\n" for line in lines))
    return path


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "semsearch" in thread.name]


# --- stages -------------------------------------------------------------------------------------


def test_the_order_of_the_index_is_the_order_of_arrival(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_WINDOW_RECORDS", 50)
    monkeypatch.setattr(ingest, "COMMIT_CHUNKS", 60)
    monkeypatch.setattr(ingest, "_GROUP", 7)
    texts = {f"d{n}": f"w{n} " * (1 + n * 37 % 90) for n in range(300)}
    report = index.add({"id": id_, "text": text} for id_, text in texts.items())
    assert report.added == 300
    assert [document.id for document in index] == list(texts)
    assert {document.id: document.text for document in index} == texts
    assert index.verify().ok
    assert threads() == []


def test_documents_are_read_in_the_thread_of_the_caller(index: Index) -> None:
    rows = sqlite3.connect(":memory:")  # of this thread alone
    rows.execute("CREATE TABLE t (id TEXT)")
    rows.executemany("INSERT INTO t VALUES (?)", [(f"d{n}",) for n in range(30)])
    index.add({"id": id_, "text": "cat"} for (id_,) in rows.execute("SELECT id FROM t"))
    assert len(index) == 30


def test_two_groups_are_encoded_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_GROUP", 5)
    both = threading.Barrier(2, timeout=30)

    class Meeting(WordEncoder):
        def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
            both.wait()
            return super().encode_documents(texts)

    with semsearch.create(folder / "two", encoder=Meeting()) as index:
        index.add({"id": str(n), "text": f"note {n}"} for n in range(20))
        assert index.verify().ok


class Failing(WordEncoder):
    """Fails at one text, and where it counts another."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any("poison" in text for text in texts):
            raise semsearch.BackendError("encoding failed")
        return super().encode_documents(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if any("hemlock" in text for text in texts):
            raise semsearch.BackendError("counting failed")
        return super().count_tokens(texts)


@pytest.mark.parametrize(("word", "says"), [("poison", "encoding"), ("hemlock", "counting")])
def test_an_error_of_a_stage_is_raised_and_no_thread_is_left(
    folder: Path, word: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_WINDOW_RECORDS", 10)
    monkeypatch.setattr(ingest, "COMMIT_CHUNKS", 10)
    with semsearch.create(folder / "failing", encoder=Failing()) as index:
        texts = [f"note {n} {word if n == 55 else ''}" for n in range(200)]
        with pytest.raises(semsearch.BackendError, match=f"{says} failed"):
            index.add({"id": str(n), "text": text} for n, text in enumerate(texts))
        assert threads() == []
        assert len(index) % 10 == 0
        assert len(index) <= 50
        assert index.verify().ok
        index.add({"id": "after", "text": "cat"})


def test_an_error_of_the_documents_is_raised_as_it_is(index: Index) -> None:
    def documents() -> Iterator[dict[str, str]]:
        yield {"id": "a", "text": "cat"}
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        index.add(documents())
    assert threads() == []
    assert len(index) == 0


# --- vectors that are kept ----------------------------------------------------------------------


def test_an_edited_paragraph_is_all_that_is_embedded(index: Index, encoder: WordEncoder) -> None:
    written = paragraphs(40)
    index.add({"id": "book", "title": "Book", "text": "\n\n".join(written)})
    index.optimize("ivf")
    before = len(encoder.encoded)
    written[20] = "Another paragraph in its place, of other words."
    report = index.add({"id": "book", "title": "Book", "text": "\n\n".join(written)})
    embedded = len(encoder.encoded) - before
    assert report.replaced == 1
    assert report.chunks - report.reused == embedded <= 2
    assert report.reused >= 37
    assert index.verify().ok
    with semsearch.create(index.path.parent / "anew", encoder=encoder) as anew:
        anew.add(index.get("book") or {})
        np.testing.assert_allclose(
            index.vectors("book")["book"], anew.vectors("book")["book"], atol=1e-6
        )


def test_another_title_embeds_everything_anew(index: Index, encoder: WordEncoder) -> None:
    text = "\n\n".join(paragraphs(5))
    index.add({"id": "book", "title": "Book", "text": text})
    report = index.add({"id": "book", "title": "Volume", "text": text})
    assert (report.chunks, report.reused) == (5, 0)


def test_given_vectors_are_not_kept(index: Index, encoder: WordEncoder) -> None:
    text = "\n\n".join(paragraphs(1))
    index.add({"id": "book", "text": text}, np.ones((1, 16)))
    assert index.add({"id": "book", "text": text + "\n\n" + text}).reused == 0


def test_a_damaged_vector_is_not_kept(folder: Path) -> None:
    with semsearch.create(folder / "wide", encoder=WordEncoder(dim=2048)) as index:
        written = paragraphs(40)
        index.add({"id": "book", "text": "\n\n".join(written)})
        (file,) = (index.path / "segments").glob("*.arrow")
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1  # far from the ends, which are checked whenever it is mapped
        file.write_bytes(data)
        report = index.add({"id": "book", "text": "\n\n".join([*written, "One more."])})
        assert report.reused == 0
        assert index.verify().ok


# --- prune --------------------------------------------------------------------------------------


@pytest.fixture
def notes(folder: Path) -> Path:
    (folder / "notes" / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "deep/c.txt"):
        (folder / "notes" / name).write_text(f"the text of {name}")
    return folder / "notes"


def ids(index: Index) -> list[str]:
    return [document.id for document in index]


def test_what_is_gone_from_a_folder_is_pruned_when_asked(index: Index, notes: Path) -> None:
    index.add({"id": "other", "text": "cat"})
    index.ingest(notes)
    (notes / "deep" / "c.txt").unlink()
    assert index.ingest(notes).pruned == 0
    report = index.ingest(notes, prune=True)
    assert (report.pruned, report.unchanged) == (1, 2)
    assert ids(index) == ["other", "notes/a.txt", "notes/b.txt"]
    assert index.ingest(notes, prune=True).pruned == 0
    assert index.verify().ok


def test_a_file_that_is_a_folder_now_is_gone(index: Index, notes: Path) -> None:
    index.ingest(notes)
    (notes / "a.txt").unlink()
    (notes / "a.txt").mkdir()
    assert index.ingest(notes, prune=True).pruned == 1


def test_source_code_that_is_empty_now_is_gone(index: Index, notes: Path) -> None:
    (notes / "code.py").write_text("print()")
    index.ingest(notes)
    (notes / "code.py").write_text("")
    assert index.ingest(notes, prune=True).pruned == 1


def test_what_a_link_led_to_is_pruned_by_force(index: Index, notes: Path, folder: Path) -> None:
    (folder / "link").symlink_to(notes)
    index.ingest(folder / "link")
    notes.rename(folder / "elsewhere")
    assert index.ingest(folder / "link", prune=True, force=True).pruned == 3


def test_a_record_that_is_gone_from_a_table_is_pruned(index: Index, folder: Path) -> None:
    one = table(folder / "one.jsonl", {"a": "cat", "b": "dog"})
    two = table(folder / "two.jsonl", {"c": "owl"})
    index.ingest(one, two)
    table(one, {"b": "dog"})
    table(two, {"d": "owl"})
    assert index.ingest(one, prune=True).pruned == 1
    assert ids(index) == ["b", "c"]


def test_a_record_that_moved_to_another_table_stays(index: Index, folder: Path) -> None:
    one = table(folder / "one.jsonl", {"a": "cat", "b": "dog"})
    index.ingest(one)
    table(one, {"b": "dog"})
    two = table(folder / "two.jsonl", {"a": "cat"})
    report = index.ingest(one, two, prune=True)
    assert (report.pruned, report.moved) == (0, 1)


def test_a_file_that_cannot_be_looked_at_is_not_pruned(index: Index, notes: Path) -> None:
    index.ingest(notes)
    (notes / "deep").rename(notes.parent / "elsewhere")
    (notes / "deep").symlink_to("deep")  # as good as a disk that does not answer
    assert index.ingest(notes, prune=True).pruned == 0
    (notes / "deep").unlink()
    assert index.ingest(notes, prune=True).pruned == 1


def test_what_is_refused_is_not_pruned(index: Index, notes: Path, folder: Path) -> None:
    lines = table(folder / "one.jsonl", {"a": "cat", "b": "dog"})
    index.ingest(notes, lines)
    (notes / "a.txt").write_bytes(b"\xff")
    lines.write_text(lines.read_text().splitlines()[1] + "\n{broken\n")
    report = index.ingest(notes, lines, prune=True)
    assert (report.pruned, report.rejected) == (0, 2)
    assert len(index) == 5


def test_a_table_in_a_folder_that_is_read_for_its_texts_is_not_pruned(
    index: Index, notes: Path
) -> None:
    inside = table(notes / "table.jsonl", {"a": "cat"})
    index.ingest(notes, inside)
    assert index.ingest(notes, prune=True).pruned == 0
    inside.unlink()
    assert index.ingest(notes, prune=True).pruned == 1


def test_a_source_of_which_nothing_is_left_is_pruned_by_force_alone(
    index: Index, notes: Path, folder: Path
) -> None:
    lines = table(folder / "one.jsonl", {"a": "cat"})
    index.ingest(notes, lines)
    lines.write_text("")
    with pytest.raises(IngestError, match=r"one\.jsonl holds nothing now.* 1 of its documents"):
        index.ingest(notes, lines, prune=True)
    for name in ("a.txt", "b.txt", "deep/c.txt"):
        (notes / name).unlink()
    with pytest.raises(IngestError, match=r"notes holds nothing now.* 3 of its documents"):
        index.ingest(notes, prune=True)
    assert len(index) == 4
    assert index.ingest(notes, prune=True, force=True).pruned == 3
    lines.unlink()
    with pytest.raises(IngestError, match="there is no file"):
        index.ingest(lines, prune=True)
    assert index.ingest(lines, prune=True, force=True).pruned == 1
    assert len(index) == 0


def test_an_interrupted_ingest_prunes_nothing(index: Index, folder: Path) -> None:
    lines = table(folder / "one.jsonl", {str(n): f"w{n}" for n in range(10)})
    index.ingest(lines)
    table(lines, {"0": "other"})

    def interrupt(progress: semsearch.Progress) -> None:
        if progress.documents:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.ingest(lines, prune=True, progress=interrupt)
    assert len(index) == 10
    assert threads() == []


def test_standard_input_is_not_pruned(index: Index) -> None:
    with pytest.raises(IngestError, match="standard input keeps no files"):
        index.ingest("-", prune=True)
