"""LangChain's own suite over `SemsearchVectorStore`, and what the suite does not ask."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import WordEncoder

import semsearch
from semsearch import InvalidArgument

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.indexing import InMemoryRecordManager
from langchain_core.indexing import index as synchronise
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_tests.integration_tests import vectorstores

from semsearch.integrations.langchain import SemsearchVectorStore

for _test in vars(vectorstores.VectorStoreIntegrationTests).values():
    if inspect.iscoroutinefunction(_test):
        pytest.mark.asyncio(_test)


class TestOfLangChain(vectorstores.VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, folder: Path) -> Iterator[SemsearchVectorStore]:
        store = SemsearchVectorStore(folder / "index", self.get_embeddings())
        yield store
        store.index.close()


class TestOfLangChainWithOwnEncoder(vectorstores.VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, folder: Path) -> Iterator[SemsearchVectorStore]:
        store = SemsearchVectorStore(folder / "index", encoder=WordEncoder())
        yield store
        store.index.close()


class Words(Embeddings):
    """Texts that share words are near."""

    def __init__(self) -> None:
        self._encoder = WordEncoder()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._encoder.encode_queries(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


NOTES = [
    Document(id="a", page_content="the cat sat on the mat", metadata={"id": 1, "year": 2020}),
    Document(id="b", page_content="the cat sat on a mat", metadata={"id": 2, "year": 2021}),
    Document(id="c", page_content="stock prices rose", metadata={"id": 3, "year": 2022}),
]


@pytest.fixture(params=["given", "own"])
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[SemsearchVectorStore]:
    if request.param == "given":
        made = SemsearchVectorStore.from_documents(NOTES, Words(), path=folder / "index")
    else:
        made = SemsearchVectorStore(folder / "index", encoder=WordEncoder())
        made.add_documents(NOTES)
    yield made
    made.index.close()


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def test_scores_are_cosines_and_relevance_is_from_0_to_1(store: SemsearchVectorStore) -> None:
    query = "the cat sat on the mat"
    scored = store.similarity_search_with_score(query, k=3)
    points = np.array(Words().embed_documents([query, *(note.page_content for note in NOTES)]))
    cosines = dict(zip("abc", points[1:] @ points[0], strict=True))
    assert {found.id: score for found, score in scored} == pytest.approx(cosines, abs=1e-6)
    assert ids([found for found, _ in scored]) == ["a", "b", "c"]
    opposite = SemsearchVectorStore(store.index.path, _Negative())
    relevant = opposite.similarity_search_with_relevance_scores(query, k=3)
    assert [score for _, score in relevant][-1] == 0.0
    near = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99}
    )
    assert ids(near.invoke(query)) == ["a"]
    with pytest.raises(InvalidArgument, match="are those of mode 'dense'"):
        store.similarity_search_with_relevance_scores(query, mode="keyword")
    opposite.index.close()


class _Negative(Words):
    def embed_query(self, text: str) -> list[float]:
        return [-number for number in super().embed_query(text)]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"year": {"$gte": 2021}}, ["b", "c"]),
        ({"id": 1}, ["a"]),
        ({"$or": [{"id": {"$in": [1]}}, {"$not": {"year": {"$lt": 2022}}}]}, ["a", "c"]),
        ({"metadata.id": 3}, ["c"]),
        ('id = "b" or text contains "prices"', ["b", "c"]),
        ({}, ["a", "b", "c"]),
    ],
)
def test_filters(store: SemsearchVectorStore, filter: Any, expected: list[str]) -> None:
    assert sorted(map(str, ids(store.similarity_search("cat", filter=filter)))) == expected
    by_vector = store.similarity_search_by_vector([1.0] * 16, filter=filter)
    assert sorted(map(str, ids(by_vector))) == expected
    store.delete(filter=filter)
    assert store.index.ids() == [id_ for id_ in "abc" if id_ not in expected]


def test_what_is_no_filter_or_no_option(store: SemsearchVectorStore) -> None:
    with pytest.raises(InvalidArgument, match="got a function"):
        store.similarity_search("cat", filter=lambda _: True)
    with pytest.raises(TypeError, match="fliter"):
        store.similarity_search("cat", fliter={})
    with pytest.raises(InvalidArgument, match="2 of them for 1 documents"):
        store.add_documents(NOTES[:1], ids=["a", "b"])


def test_modes(store: SemsearchVectorStore) -> None:
    assert ids(store.similarity_search("prices", mode="keyword")) == ["c"]
    assert store.similarity_search("nothing", mode="keyword") == []
    by_both = dict.fromkeys(ids(store.similarity_search("prices", mode="hybrid")))
    assert next(iter(by_both)) == "c"
    assert len(by_both) == 3
    retriever = store.as_retriever(search_kwargs={"k": 1, "mode": "hybrid"})
    assert ids(retriever.invoke("stock")) == ["c"]


def test_diversity_among_the_best(store: SemsearchVectorStore) -> None:
    query = "the cat sat on the mat"
    assert ids(store.similarity_search(query, k=2)) == ["a", "b"]
    assert ids(store.max_marginal_relevance_search(query, k=2, lambda_mult=0.2)) == ["a", "c"]
    narrow = store.max_marginal_relevance_search(query, k=2, fetch_k=2, lambda_mult=0.2)
    assert ids(narrow) == ["a", "b"]
    vector = Words().embed_query(query)
    by_vector = store.max_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.2)
    assert ids(by_vector) == ["a", "c"]
    assert store.max_marginal_relevance_search(query, filter={"year": 1}) == []


def test_deleting_without_ids_deletes_all(store: SemsearchVectorStore) -> None:
    assert store.delete()
    assert len(store.index) == 0


def test_documents_of_the_command_line_come_with_title_and_source(folder: Path) -> None:
    with semsearch.create(folder / "index", encoder=WordEncoder()) as index:
        index.add({"id": "x", "text": "a cat", "title": "Cats", "source": "cats.md"})
    store = SemsearchVectorStore(folder / "index", Words())
    (found,) = store.similarity_search("cat")
    assert found.metadata == {"title": "Cats", "source": "cats.md"}
    assert store.get_by_ids(["x", "y"]) == [found]
    store.index.close()


def test_embeddings_of_another_dimension_are_refused(store: SemsearchVectorStore) -> None:
    with pytest.raises(InvalidArgument, match="have 16 numbers, not 6"):
        SemsearchVectorStore(store.index.path, DeterministicFakeEmbedding(size=6))


def test_the_indexing_of_langchain_follows_its_sources(store: SemsearchVectorStore) -> None:
    store.delete()
    records = InMemoryRecordManager(namespace="notes")
    records.create_schema()
    notes = [Document(page_content=text, metadata={"source": text[0]}) for text in ("one", "two")]

    def counts(documents: list[Document]) -> tuple[int, int]:
        done = synchronise(
            documents,
            records,
            store,
            cleanup="full",
            source_id_key="source",
            key_encoder="sha256",
        )
        return done["num_added"], done["num_deleted"]

    assert counts(notes) == (2, 0)
    assert counts(notes) == (0, 0)
    assert counts(notes[1:]) == (0, 1)
    assert [found.page_content for found in store.similarity_search("one")] == ["two"]


@pytest.mark.asyncio
async def test_documents_added_at_the_same_time_are_all_there(store: SemsearchVectorStore) -> None:
    batches = [
        [Document(id=f"{task}/{number}", page_content=f"text {number}") for number in range(20)]
        for task in range(8)
    ]
    await asyncio.gather(*map(store.aadd_documents, batches))
    assert len(store.index) == 3 + 160
    assert store.index.verify().ok


@pytest.mark.asyncio
async def test_a_retrieval_chain_answers(store: SemsearchVectorStore) -> None:
    prompt = ChatPromptTemplate.from_template("{context}\n\nQuestion: {question}")
    asked: list[str] = []

    def noted(value: Any) -> Any:
        asked.append(value.to_string())
        return value

    chain = (
        {
            "context": store.as_retriever(search_kwargs={"k": 1})
            | (lambda found: "\n".join(document.page_content for document in found)),
            "question": RunnablePassthrough(),
        }
        | prompt
        | noted
        | FakeListChatModel(responses=["On the mat."])
        | StrOutputParser()
    )
    assert chain.invoke("where sat the cat") == "On the mat."
    assert await chain.ainvoke("stock prices") == "On the mat."
    assert "sat on" in asked[0]
    assert "stock prices rose" in asked[1]


@pytest.mark.model
def test_minilm_of_semsearch(folder: Path) -> None:
    store = SemsearchVectorStore.from_texts(
        ["The cat sat on the mat", "Stock prices rose sharply"], None, path=folder / "index"
    )
    (found,) = store.similarity_search("a kitten on a rug", k=1)
    assert found.page_content == "The cat sat on the mat"
    store.index.close()
