"""Haystack's own suites over `SemsearchDocumentStore`, and what they do not ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import WordEncoder

import semsearch
from semsearch import InvalidArgument

pytest.importorskip("haystack")
pytest.importorskip("pytest_asyncio")

from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder
from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
from haystack.components.joiners import DocumentJoiner
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.testing import document_store as suite
from haystack.testing import document_store_async as async_suite

from semsearch.integrations.haystack import (
    SemsearchDocumentStore,
    SemsearchEmbeddingRetriever,
    SemsearchHybridRetriever,
    SemsearchKeywordRetriever,
    SemsearchTextEmbedder,
)


def unit(document: Document) -> Document:
    """The document as the store gives it: without a score, its embedding at unit length."""
    vector = document.embedding
    if vector is None:
        return replace(document, score=None)
    exact = np.round(np.array(vector) / np.linalg.norm(vector), 6)
    return replace(document, score=None, embedding=(exact + 0.0).tolist())


class _Suites:
    @pytest.fixture
    def document_store(self, folder: Path) -> Iterator[SemsearchDocumentStore]:
        store = SemsearchDocumentStore(str(folder / "index"), dim=768)
        yield store
        store.index.close()

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        assert [replace(unit(each), embedding=None) for each in received] == [
            replace(unit(each), embedding=None) for each in expected
        ]
        for got, wanted in zip(map(unit, received), map(unit, expected), strict=True):
            assert got.embedding == pytest.approx(wanted.embedding, abs=2e-6)


class TestOfHaystack(
    _Suites,
    suite.DocumentStoreBaseExtendedTests,
    suite.CountDocumentsByFilterTest,
    suite.CountUniqueMetadataByFilterTest,
    suite.GetMetadataFieldsInfoTest,
    suite.GetMetadataFieldMinMaxTest,
    suite.GetMetadataFieldUniqueValuesTest,
):
    def test_write_documents(self, document_store: SemsearchDocumentStore) -> None:
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])


class TestOfHaystackAsync(
    _Suites,
    async_suite.CountDocumentsAsyncTest,
    async_suite.WriteDocumentsAsyncTest,
    async_suite.DeleteDocumentsAsyncTest,
    async_suite.DeleteAllAsyncTest,
    async_suite.DeleteByFilterAsyncTest,
    async_suite.UpdateByFilterAsyncTest,
    async_suite.FilterDocumentsAsyncTest,
    async_suite.CountDocumentsByFilterAsyncTest,
    async_suite.CountUniqueMetadataByFilterAsyncTest,
    async_suite.GetMetadataFieldsInfoAsyncTest,
    async_suite.GetMetadataFieldMinMaxAsyncTest,
    async_suite.GetMetadataFieldUniqueValuesAsyncTest,
):
    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store: SemsearchDocumentStore) -> None:
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])


# --- what the suites do not ask -----------------------------------------------------------------


TEXTS = {
    "cats": "the cat sat on the mat",
    "pets": "the cat sat on a mat",
    "prices": "stock prices rose",
}


def words(text: str) -> list[float]:
    (vector,) = WordEncoder().encode_queries([text])
    return vector.tolist()


@pytest.fixture
def store(folder: Path) -> Iterator[SemsearchDocumentStore]:
    store = SemsearchDocumentStore(str(folder / "index"), dim=16)
    store.write_documents(
        Document(id=id_, content=text, meta={"n": n}, embedding=words(text))
        for n, (id_, text) in enumerate(TEXTS.items())
    )
    yield store
    store.index.close()


def ids(found: dict[str, list[Document]]) -> list[str]:
    return [document.id for document in found["documents"]]


def test_a_document_comes_back_whole(store: SemsearchDocumentStore) -> None:
    blob = ByteStream(b"\x00\xff", meta={"name": "x"}, mime_type="image/png")
    sparse = SparseEmbedding(indices=[1, 7], values=[0.5, 0.25])
    given = Document(id="all", content="all", meta={"a": {"b": [1, None]}}, blob=blob)
    given = replace(given, sparse_embedding=sparse)
    store.write_documents([given, Document(id="bare")])
    found = {document.id: document for document in store.filter_documents()}
    assert found["all"] == given
    assert found["bare"] == Document(id="bare")
    assert store.update_by_filter({"field": "id", "operator": "==", "value": "all"}, {"c": 1}) == 1
    (again,) = store.filter_documents({"field": "meta.c", "operator": "==", "value": 1})
    assert again == replace(given, meta={**given.meta, "c": 1})
    with pytest.raises(ValueError, match="semsearch's own"):
        store.update_by_filter({}, {"_haystack": 1})
    with pytest.raises(ValueError, match="semsearch's own"):
        store.write_documents([Document(content="x", meta={"_haystack": 1})])


def test_documents_without_an_embedding_are_found_by_words_alone(
    store: SemsearchDocumentStore,
) -> None:
    store.write_documents([Document(id="bare", content="the dog sat on the mat")])
    first = np.eye(1, 16)[0].tolist()  # what stands for no embedding must not be near
    assert "bare" not in ids(SemsearchEmbeddingRetriever(store).run(first))
    assert "bare" not in ids(SemsearchHybridRetriever(store).run("dog", first))
    assert ids(SemsearchKeywordRetriever(store).run("dog")) == ["bare"]
    assert store.filter_documents()[-1].embedding is None


def test_an_index_with_an_encoder_embeds_what_has_no_embedding(folder: Path) -> None:
    with semsearch.create(folder / "index", encoder=WordEncoder()) as index:
        index.add({"id": "old", "text": "an old cat", "title": "Cats", "source": "cats.md"})
        store = SemsearchDocumentStore(str(index.path))
        store._index = index  # its encoder has no name to be found by
        mixed = [Document(id="new", content="a dog"), Document(id="far", embedding=words("owl"))]
        assert store.write_documents(mixed) == 2
        embedding = SemsearchTextEmbedder(store).run("dog")["embedding"]
        found = SemsearchEmbeddingRetriever(store).run(embedding)["documents"]
        assert next(document.id for document in found) == "new"
        assert {document.id for document in found} == {"old", "new", "far"}
        (old,) = store.filter_documents({"field": "id", "operator": "==", "value": "old"})
        assert old.meta == {"title": "Cats", "source": "cats.md"}
        long = "an owl sat on the mat. " * 20
        index.add({"id": "long", "text": long, "title": "Owls"})
        before = index.vectors(["old", "new", "far", "long"])
        assert store.update_by_filter({}, {"seen": True}) == 4
        after = index.vectors(list(before))
        assert all(np.array_equal(before[id_], after[id_]) for id_ in before)
        assert len(after["long"]) > 1
        assert index.get("old") == semsearch.Document(
            "old", "an old cat", title="Cats", source="cats.md", metadata={"seen": True}
        )
        assert ids(SemsearchHybridRetriever(store).run("old cat"))[0] == "old"


def test_scores_are_cosines_and_bm25(store: SemsearchDocumentStore) -> None:
    found = SemsearchEmbeddingRetriever(store).run(words("stock prices rose"))["documents"]
    assert (found[0].id, found[0].score) == ("prices", pytest.approx(1, abs=1e-6))
    by_word = SemsearchKeywordRetriever(store).run("prices")["documents"]
    expected = store.index.search("prices", mode="keyword")
    assert [document.score for document in by_word] == [hit.score for hit in expected]
    assert all(document.embedding is None for document in found)


@pytest.mark.parametrize("policy", list(DuplicatePolicy))
def test_an_id_twice_in_one_call(store: SemsearchDocumentStore, policy: DuplicatePolicy) -> None:
    twice = [Document(id="x", content="first"), Document(id="x", content="second")]
    if policy in (DuplicatePolicy.NONE, DuplicatePolicy.FAIL):
        with pytest.raises(DuplicateDocumentError):
            store.write_documents(twice, policy)
        assert store.count_documents() == 3
        return
    skips = policy == DuplicatePolicy.SKIP
    assert store.write_documents(twice, policy) == (1 if skips else 2)
    assert store.filter_documents()[-1].content == ("first" if skips else "second")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"field": "content", "operator": "==", "value": "stock prices rose"}, ["prices"]),
        ({"field": "content", "operator": "==", "value": None}, []),
        ({"field": "n", "operator": "not in", "value": [0, None]}, ["pets", "prices"]),
        ({"field": "meta.a.b", "operator": "==", "value": None}, list(TEXTS)),
        ({"operator": "AND", "conditions": []}, list(TEXTS)),
        ({"operator": "OR", "conditions": []}, []),
    ],
)
def test_filters(store: SemsearchDocumentStore, filters: Any, expected: list[str]) -> None:
    assert [document.id for document in store.filter_documents(filters)] == expected
    assert store.count_documents_by_filter(filters) == len(expected)


@pytest.mark.parametrize(
    "filters",
    [
        {"field": "meta.n", "operator": "~", "value": 1},
        {"field": "meta.n", "operator": "==", "value": [1]},
        {"field": "embedding", "operator": "==", "value": 1},
        {"operator": "XOR", "conditions": []},
        {"operator": "AND", "conditions": ["n"]},
    ],
)
def test_what_is_no_filter(store: SemsearchDocumentStore, filters: Any) -> None:
    with pytest.raises(FilterError):
        store.filter_documents(filters)


def test_filters_and_limits_of_a_run_replace_or_join_those_of_the_retriever(
    store: SemsearchDocumentStore,
) -> None:
    low = {"field": "meta.n", "operator": "<", "value": 2}
    high = {"field": "meta.n", "operator": ">", "value": 0}
    retriever = SemsearchEmbeddingRetriever(store, filters=low, top_k=1)
    assert ids(retriever.run(words("the cat sat on a mat"))) == ["pets"]
    assert ids(retriever.run(words("the cat sat on a mat"), filters=high, top_k=5)) == [
        "pets",
        "prices",
    ]
    assert ids(retriever.run(words("cat"), top_k=0)) == []
    cats = {"field": "content", "operator": "!=", "value": TEXTS["prices"]}
    both = SemsearchEmbeddingRetriever(store, filters=cats, filter_policy=FilterPolicy.MERGE)
    assert ids(both.run(words("the cat sat on a mat"), filters=high)) == ["pets"]
    for wrong in ({"document_store": None}, {"document_store": store, "top_k": 0}):
        with pytest.raises(InvalidArgument):
            SemsearchKeywordRetriever(**wrong)


@pytest.mark.parametrize(
    "cls",
    [SemsearchEmbeddingRetriever, SemsearchKeywordRetriever, SemsearchHybridRetriever],
)
def test_a_retriever_is_described_and_made_again(store: SemsearchDocumentStore, cls: Any) -> None:
    filters = {"field": "meta.n", "operator": "<", "value": 2}
    made = cls(store, filters=filters, top_k=2, filter_policy=FilterPolicy.MERGE)
    again = cls.from_dict(made.to_dict())
    assert again.to_dict() == made.to_dict()
    assert (again.top_k, again.filters, again.filter_policy) == (2, filters, FilterPolicy.MERGE)
    assert again.document_store.count_documents() == 3
    again.document_store.index.close()


# --- the pipelines of Haystack's documentation --------------------------------------------------


def test_an_indexing_and_a_hybrid_query_pipeline(folder: Path) -> None:
    store = SemsearchDocumentStore(str(folder / "index"), dim=16)
    indexing = Pipeline()
    indexing.add_component("embedder", MockDocumentEmbedder(embedding_fn=words))
    indexing.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    indexing.connect("embedder", "writer")
    written = indexing.run(
        {"documents": [Document(id=id_, content=text) for id_, text in TEXTS.items()]}
    )
    assert written["writer"]["documents_written"] == 3

    query = Pipeline()
    query.add_component("embedder", MockTextEmbedder(embedding_fn=words))
    query.add_component("nearest", SemsearchEmbeddingRetriever(store))
    query.add_component("words", SemsearchKeywordRetriever(store))
    query.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=1))
    query.add_component(
        "prompt",
        PromptBuilder(
            "{% for document in documents %}{{ document.content }}{% endfor %}: {{ question }}",
            required_variables="*",
        ),
    )
    query.connect("embedder.embedding", "nearest.query_embedding")
    query.connect("nearest", "joiner")
    query.connect("words", "joiner")
    query.connect("joiner", "prompt.documents")
    asked = "stock prices"
    answer = query.run(
        {"embedder": {"text": asked}, "words": {"query": asked}, "prompt": {"question": asked}}
    )
    assert answer["prompt"]["prompt"] == "stock prices rose: stock prices"
    store.index.close()


@pytest.mark.asyncio
async def test_documents_written_at_the_same_time_are_all_there(
    store: SemsearchDocumentStore,
) -> None:
    before = store.count_documents()
    batches = [
        [Document(id=f"{task}/{number}", content=f"text {number}") for number in range(20)]
        for task in range(8)
    ]
    written = await asyncio.gather(*map(store.write_documents_async, batches))
    assert sum(written) == store.count_documents() - before == 160


@pytest.mark.asyncio
async def test_a_pipeline_runs_async_and_from_its_file(store: SemsearchDocumentStore) -> None:
    pipeline = Pipeline()
    pipeline.add_component("hybrid", SemsearchHybridRetriever(store, top_k=1))
    pipeline.add_component("words", SemsearchKeywordRetriever(store))
    pipeline.add_component("nearest", SemsearchEmbeddingRetriever(store, top_k=1))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["semsearch.integrations.*"])
    vector = words("stock prices rose")
    found = await again.run_async(
        {
            "hybrid": {"query": "prices", "query_embedding": vector},
            "words": {"query": "prices"},
            "nearest": {"query_embedding": vector},
        }
    )
    assert {name: ids(part) for name, part in found.items()} == {key: ["prices"] for key in found}
    assert len(found) == 3
    for name in found:
        again.get_component(name).document_store.index.close()


@pytest.mark.model
def test_minilm_of_semsearch(folder: Path) -> None:
    store = SemsearchDocumentStore(str(folder / "index"))
    texts = ["The cat sat on the mat", "Stock prices rose sharply"]
    store.write_documents([Document(content=text) for text in texts])
    pipeline = Pipeline()
    pipeline.add_component("embedder", SemsearchTextEmbedder(store))
    pipeline.add_component("retriever", SemsearchEmbeddingRetriever(store, top_k=1))
    pipeline.connect("embedder", "retriever")
    found = pipeline.run({"embedder": {"text": "a kitten on a rug"}})
    assert found["retriever"]["documents"][0].content == texts[0]
    store.index.close()
