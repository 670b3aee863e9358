"""Quality against judgements: figures from their definitions, and the command that shows them."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from click.testing import CliRunner, Result
from encoders import WordEncoder

import semsearch
from semsearch import DependencyMissing, Index, IngestError, InvalidArgument
from semsearch.cli import display, main
from semsearch.evaluate import MODES, Quality, Recall, evaluate, recall
from semsearch.sources.beir import read_collection

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "data"
DATASETS = REPOSITORY.parent / "shared/datasets/text"

CORPUS = {
    "a": "fig fig fig",
    "b": "fig plum plum plum",
    "c": "plum",
    "d": "kiwi lime",
    "e": "lime lime lime kiwi",
    "f": "nut",
}
QUERIES = {"1": "fig", "2": "plum", "3": "lime", "4": "walnut", "c": "plum"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path = tmp_path_factory.mktemp("evaluate") / "index"
    with semsearch.create(path, encoder=WordEncoder()) as made:
        made.add({"id": id_, "text": text} for id_, text in CORPUS.items())
        made.add({"id": f"x{n}", "text": f"filler{n} nut"} for n in range(20))
        yield made


def figures(row: Quality) -> list[float]:
    return [getattr(row, field.name) for field in fields(row)[1:-2]]


# --- figures ------------------------------------------------------------------------------------


def test_figures_of_one_query_worked_out_by_hand(index: Index) -> None:
    # "lime" by words: e (three of four words), then d. Of the right ones g is not in the index.
    assert [hit.id for hit in index.search("lime", mode="keyword")] == ["e", "d"]
    (row,) = evaluate(index, QUERIES, {"3": {"d": 2, "e": 0, "g": 1}}, modes=["keyword"])
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    expected = [2 / math.log2(3) / ideal, 1 / 2, 1 / 2, 1 / 2, 0]
    assert figures(row) == pytest.approx(expected)
    assert row.mode == "keyword"
    assert 0 < row.median_ms <= row.p95_ms


def test_figures_are_means_over_judged_queries_and_one_without_an_answer_counts(
    index: Index,
) -> None:
    assert index.search("walnut", mode="keyword") == []
    (row,) = evaluate(index, QUERIES, {"3": {"e": 1}, "4": {"f": 1}}, modes=["keyword"])
    assert figures(row) == [0.5] * 5


def oracle(ranked: list[str], judged: dict[str, int], k: int) -> list[float]:
    """Straight from the definitions: nDCG@10, R@10, R@k, RR@10, P@1."""
    gains = [max(0, judged.get(id_, 0)) for id_ in ranked]
    best = sorted((gain for gain in judged.values() if gain > 0), reverse=True)

    def dcg(values: list[int]) -> float:
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(values[:10], 1))

    first = next((rank for rank, gain in enumerate(gains[:10], 1) if gain), math.inf)
    return [
        dcg(gains) / dcg(best) if best else 0.0,
        sum(gain > 0 for gain in gains[:10]) / max(1, len(best)),
        sum(gain > 0 for gain in gains[:k]) / max(1, len(best)),
        1 / first,
        float(first == 1),
    ]


@pytest.mark.parametrize("k", [10, 15, 100])
def test_figures_are_those_of_the_definitions(index: Index, k: int) -> None:
    qrels = {
        "1": {"b": 1, "a": 2, "f": -1},
        "2": {"x19": 1, "a": 3, "c": 1},
        "3": {"f": 0},
        "4": {f"x{n}": 1 + n % 2 for n in range(20)},
    }
    rows = evaluate(index, QUERIES, qrels, k=k)
    assert [row.mode for row in rows] == list(MODES)
    for row in rows:
        each = [
            oracle([hit.id for hit in hits], qrels[id_], k)
            for id_ in qrels
            for hits in [index.search(QUERIES[id_], k, mode=row.mode, group=True)]
        ]
        means = [sum(column) / len(each) for column in zip(*each, strict=True)]
        assert figures(row) == pytest.approx(means)


def test_equal_scores_count_in_the_order_of_the_answer(index: Index) -> None:
    hits = index.search("nut", 30, mode="keyword")
    tied = [hit.id for hit in hits if hit.score == hits[-1].score]
    assert len(tied) == 20
    rank = 1 + [hit.id for hit in hits].index(tied[1])
    assert rank <= 10
    (row,) = evaluate(index, {"n": "nut"}, {"n": {tied[1]: 1}}, modes=["keyword"])
    assert row.mrr_at_10 == pytest.approx(1 / rank)


def test_a_document_counts_once_where_its_best_passage_stands(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "i", encoder=WordEncoder(), chunk_tokens=34) as index:
        index.add({"id": "long", "text": "fig " * 400})
        index.add({"id": "short", "text": "fig plum"})
        assert [hit.id for hit in index.search("fig", 12)] == ["long"] * 12
        (row,) = evaluate(index, {"q": "fig"}, {"q": {"short": 1}}, modes=["dense"], k=10)
    assert row.mrr_at_10 == 0.5


def test_a_query_that_is_a_document_is_not_its_own_answer(index: Index) -> None:
    assert [hit.id for hit in index.search("plum", 2)] == ["c", "b"]
    (row,) = evaluate(index, {"c": "plum"}, {"c": {"b": 1}}, modes=["dense"])
    assert row.precision_at_1 == 1
    eleventh = index.search("plum", 11)[10].id
    (row,) = evaluate(index, {"c": "plum"}, {"c": {eleventh: 1}}, modes=["dense"], k=10)
    assert row.recall_at_k == 1


def test_a_query_with_the_id_of_another_text_has_that_among_its_answers(index: Index) -> None:
    (row,) = evaluate(index, {"c": "plum fig"}, {"c": {"c": 1}}, modes=["keyword"])
    assert row.recall_at_10 == 1


def test_every_search_is_reported(index: Index) -> None:
    done: list[None] = []
    evaluate(
        index,
        QUERIES,
        {"1": {"a": 1}, "2": {"b": 1}},
        modes=["keyword", "dense"],
        progress=lambda: done.append(None),
    )
    assert len(done) == 4


@pytest.mark.parametrize(
    ("qrels", "arguments", "says"),
    [
        ({}, {}, "there are no judgements"),
        ({"9": {"a": 1}}, {}, "query '9' is not among the queries"),
        ({"1": {"a": 1}}, {"k": 9}, "k: expected an integer of at least 10, got 9"),
        ({"1": {"a": 1}}, {"modes": ["sparse"]}, "mode"),
    ],
)
def test_what_cannot_be_evaluated(
    index: Index, qrels: dict[str, dict[str, int]], arguments: Any, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        evaluate(index, QUERIES, qrels, **arguments)


# --- recall of the index ------------------------------------------------------------------------


def test_an_exact_index_finds_all_that_is_nearest(index: Index) -> None:
    found = recall(index, list(QUERIES.values()), k=5)
    assert (found.k, found.mean, found.least) == (5, 1, 1)
    assert found.median_ms > 0


def test_what_a_search_misses_counts_by_its_true_cosine(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = index.search
    # Of the two nearest to fig it finds the second, and in place of the first the farthest.
    monkeypatch.setattr(
        index,
        "search",
        lambda query, k, **options: (
            [*(search(query, k, **options)[1:]), search(query, 26, **options)[-1]]
            if query @ index.encoder.encode_queries(["fig"])[0] > 0.99
            else search(query, k, **options)
        ),
    )
    found = recall(index, ["fig", "lime"], k=2)
    assert (found.mean, found.least) == (0.75, 0.5)


def test_documents_that_are_as_near_as_the_last_are_right(index: Index) -> None:
    # The twenty fillers tie for "nut"; which of them come first is not a question of recall.
    assert recall(index, ["nut"], k=10).mean == 1


def test_recall_counts_documents_not_passages(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "i", encoder=WordEncoder(), chunk_tokens=34) as index:
        index.add({"id": "long", "text": "fig " * 400})
        index.add({"id": "short", "text": "fig plum"})
        index.add({"id": "other", "text": "kiwi"})
        assert recall(index, ["fig"], k=2) == Recall(2, 1, 1, ANY)
        assert recall(index, ["fig"], k=50).mean == 1


def test_recall_among_what_a_filter_leaves(index: Index) -> None:
    among = [document.id for document in index][3:9]
    where = {"id": {"$in": among}}
    assert recall(index, ["fig", "lime"], k=4, where=where) == Recall(4, 1, 1, ANY)
    assert recall(index, ["fig"], k=50, where=where) == Recall(50, 1, 1, ANY)
    with pytest.raises(InvalidArgument, match="documents that match"):
        recall(index, ["fig"], where={"id": "nowhere"})


def test_recall_needs_queries_and_documents(index: Index, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidArgument, match="expected queries, and an index with documents that match"
    ):
        recall(index, [])
    with (
        semsearch.create(tmp_path / "i", encoder=WordEncoder()) as empty,
        pytest.raises(
            InvalidArgument, match="expected queries, and an index with documents that match"
        ),
    ):
        recall(empty, ["fig"])


# --- collections --------------------------------------------------------------------------------


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A collection of two documents, a query that is judged and one that is not."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    write(folder / "corpus.jsonl", '{"_id": "a", "text": "fig"}', '{"_id": "b", "text": "plum"}')
    write(folder / "queries.jsonl", '{"_id": "1", "text": "fig"}', '{"_id": "2", "text": "pear"}')
    write(folder / "qrels/test.tsv", "query-id\tcorpus-id\tscore", "1\ta\t2", "1\tb\t0")
    return folder


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_a_collection_holds_its_judged_queries(beir: Path) -> None:
    found = read_collection(beir)
    assert (found.corpus, found.split) == (beir / "corpus.jsonl", "test")
    assert found.queries == {"1": "fig"}
    assert found.qrels == {"1": {"a": 2, "b": 0}}


def test_the_test_split_is_read_unless_another_is_named(beir: Path) -> None:
    write(beir / "qrels/train.tsv", "2\tb\t1")  # without a heading
    assert read_collection(beir).qrels == {"1": {"a": 2, "b": 0}}
    assert read_collection(beir, "train").qrels == {"2": {"b": 1}}
    with pytest.raises(IngestError, match=r"no dev\.tsv; name one with --split: test, train$"):
        read_collection(beir, "dev")
    (beir / "qrels/test.tsv").unlink()
    assert read_collection(beir).split == "train"


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("qrels/test.tsv", "1\ta", r"test\.tsv:4: expected query, document and score with tabs"),
        ("qrels/test.tsv", "1 0 a 1", r"test\.tsv:4: expected query, document and score"),
        ("qrels/test.tsv", "1\tc\tyes", r"test\.tsv:4: score: expected an integer, got 'yes'"),
        ("qrels/test.tsv", "1\ta\t1", r"test\.tsv:4: document 'a' had score 2 for this query"),
        ("qrels/test.tsv", "7\ta\t1", r"1 of 2 judged queries are not in queries\.jsonl.* '7'"),
        ("queries.jsonl", "{", r"queries\.jsonl:3: not JSON"),
        ("queries.jsonl", '{"_id": "1", "text": "x"}', r"queries\.jsonl:3: _id '1' was there"),
    ],
)
def test_a_wrong_line_is_named(beir: Path, name: str, line: str, says: str) -> None:
    with (beir / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidArgument, match=says):
        read_collection(beir)


def test_a_judgement_that_is_not_utf8_is_named(beir: Path) -> None:
    (beir / "qrels/test.tsv").write_bytes(b"1\ta\t1\n1\t\xff\t1\n")
    with pytest.raises(InvalidArgument, match=r"test\.tsv:2: invalid UTF-8"):
        read_collection(beir)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("corpus.jsonl", r"there is no corpus\.jsonl; expected a collection in BEIR's layout"),
        ("queries.jsonl", r"there is no queries\.jsonl"),
        ("qrels/test.tsv", r"there is no \.tsv file of judgements"),
    ],
)
def test_a_missing_file_is_named(beir: Path, name: str, says: str) -> None:
    (beir / name).unlink()
    with pytest.raises(IngestError, match=says):
        read_collection(beir)


def test_no_judgement_at_all(beir: Path) -> None:
    write(beir / "qrels/test.tsv", "query-id\tcorpus-id\tscore")
    with pytest.raises(InvalidArgument, match=r"test\.tsv: there are no judgements"):
        read_collection(beir)


# --- the command --------------------------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments)], catch_exceptions=False)


def fail(*arguments: str | Path) -> str:
    """The one line on stderr; nothing may be on stdout."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    return str(line)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says of the sample corpus; its index stays."""
    path = tmp_path_factory.mktemp("kept") / "index"
    result = run(DATA, "--index", path, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return {"path": path, **json.loads(result.stdout)}


@pytest.mark.model
def test_quality_on_the_sample_corpus(kept: dict[str, Any]) -> None:
    ndcg = {row["mode"]: row["ndcg_at_10"] for row in kept["modes"]}
    assert ndcg == pytest.approx({"dense": 0.878, "keyword": 0.362, "hybrid": 0.884}, abs=0.008)
    recall = {row["mode"]: row["recall_at_k"] for row in kept["modes"]}
    assert recall == pytest.approx({"dense": 1.0, "keyword": 0.667, "hybrid": 1.0}, abs=0.01)


@pytest.mark.model
def test_json_says_what_was_measured(kept: dict[str, Any]) -> None:
    about = {key: value for key, value in kept.items() if key not in ("path", "modes", "versions")}
    with semsearch.open(kept["path"]) as index:
        assert about == {
            "collection": str(DATA),
            "split": "test",
            "queries": 74,
            "documents": 158,
            "rejected": 0,
            "missing": 0,
            "encoder": "all-MiniLM-L6-v2",
            "fingerprint": index.space.fingerprint,
            "k": 100,
        }
    assert set(kept["versions"]) == {"python", "semsearch", "ir-measures"}
    assert set(kept["modes"][0]) == {field.name for field in fields(Quality)}


@pytest.mark.model
def test_the_table_and_an_index_that_is_there(kept: dict[str, Any]) -> None:
    result = run(DATA, "--index", kept["path"], "--mode", "hybrid", "--mode", "keyword")
    heading, blank, names, *lines = result.stdout.splitlines()
    assert heading == f"{DATA} (test), 74 queries, 158 documents, all-MiniLM-L6-v2"
    assert blank == ""
    assert names.split() == [
        *("mode", "nDCG@10", "R@10", "R@100", "MRR@10", "P@1", "median", "ms", "p95", "ms")
    ]
    measured = {row["mode"]: row for row in kept["modes"]}
    for line, mode in zip(lines, ["hybrid", "keyword"], strict=True):
        name, *written = line.split()
        expected = list(measured[mode].values())[1:6]
        assert (name, written[:5]) == (mode, [f"{one:.3f}" for one in expected])


@pytest.mark.model
def test_recall_is_told_when_asked_for(kept: dict[str, Any]) -> None:
    arguments = (DATA, "--index", kept["path"], "--mode", "dense", "--recall")
    *_, headings, every, most, some, few = run(*arguments).stdout.splitlines()
    assert headings.split("  ")[0] == "exact, 10 nearest"
    for line, among in zip(
        [every, most, some, few],
        ["among all", "where 60% match", "where 10% match", "where 1% match"],
        strict=True,
    ):
        assert re.fullmatch(rf" *{among}  1\.000 +1\.000 +\d+\.\d", line)
    told = json.loads(run(*arguments, "--json").stdout)["recall"]
    row = {"k": 10, "mean": 1, "least": 1, "median_ms": ANY}
    shares = [1, 0.6, 0.1, 0.01]
    assert told == {"kinds": "exact", "among": [{"share": share, **row} for share in shares]}


@pytest.mark.model
def test_the_best_figures_are_bold(kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "styled", lambda: True)
    result = CliRunner().invoke(
        main,
        ["eval", str(DATA), "--index", str(kept["path"]), "--mode", "keyword", "--mode", "dense"],
        color=True,
    )
    keyword, dense = result.stdout.splitlines()[-2:]
    assert dense.count("\x1b[1m") == 5
    assert keyword.count("\x1b[1m") == 2  # it is the faster one


@pytest.mark.model
def test_without_a_path_nothing_stays(
    beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("SEMSEARCH_INDEX", str(tmp_path / "other"))
    with (beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "c"}\n')
    with (beir / "qrels/test.tsv").open("a") as file:
        file.write("1\tgone\t1\n1\tc\t1\n")
    result = run(beir, "--mode", "keyword")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("left out 1 record: ")
    assert "2 documents, all-MiniLM-L6-v2, 2 judged ones are not in the collection" in result.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "other").exists()


@pytest.mark.model
def test_an_index_of_something_else_is_refused(beir: Path, kept: dict[str, Any]) -> None:
    line = fail(beir, "--index", kept["path"])
    assert f"{kept['path']} is no index of {beir / 'corpus.jsonl'}: it has not 'a'" in line
    assert f"`semsearch index {beir / 'corpus.jsonl'} --index {kept['path']}`" in line


def test_errors_come_before_any_index_is_made(beir: Path, tmp_path: Path) -> None:
    write(beir / "qrels/test.tsv", "7\ta\t1")
    line = fail(beir, "--index", tmp_path / "new")
    assert line.startswith("error: ")
    assert "judged queries are not in queries.jsonl, such as '7'" in line
    assert not (tmp_path / "new").exists()


def test_without_ir_measures_the_extra_is_named(
    beir: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ir_measures" else find(name)
    )
    needs = 'evaluating needs ir-measures: pip install "semsearch[eval]"'
    assert fail(beir) == f"error: {needs}"
    with pytest.raises(DependencyMissing, match="semsearch\\[eval\\]"):
        evaluate(index, QUERIES, {"1": {"a": 1}})


# --- public collections -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.datasets
@pytest.mark.model
@pytest.mark.filterwarnings("ignore::semsearch.encoders.base.TruncationWarning")  # CISI
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not DATASETS.is_dir(), reason="needs ../shared/datasets")
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("scifact", {"dense": 0.640, "keyword": 0.66, "hybrid": 0.71}),
        ("cisi", {"dense": 0.41, "hybrid": 0.45}),
    ],
)
def test_quality_on_public_collections(name: str, least: dict[str, float]) -> None:
    modes = [argument for mode in least for argument in ("--mode", mode)]
    result = run(DATASETS / name, "--json", *modes)
    assert result.exit_code == 0, result.output
    ndcg = {row["mode"]: row["ndcg_at_10"] for row in json.loads(result.stdout)["modes"]}
    assert all(ndcg[mode] >= bound for mode, bound in least.items()), ndcg
