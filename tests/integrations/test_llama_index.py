"""The vector store of LlamaIndex: held against its own in-memory one, and in its pipelines.

LlamaIndex publishes no suite for vector stores. `SimpleVectorStore` with `build_metadata_filter_fn`
is what it has in place of one, so every query and filter here is put to both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from encoders import WordEncoder

import semsearch
from semsearch import InvalidArgument

pytest.importorskip("llama_index.core")
pytest.importorskip("pytest_asyncio")

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    SimpleVectorStore,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode

from semsearch.integrations.llama_index import SemsearchEmbedding, SemsearchVectorStore

METADATA: dict[str, dict[str, Any]] = {
    "cats": {"year": 2020, "tags": ["pet", "home"], "who": "Ann", "id": "1"},
    "pets": {"year": 2021, "tags": ["pet"], "who": "ann", "id": "2"},
    "prices": {"year": 2022, "tags": [], "who": ""},
    "bare": {"year": None},
}
TEXTS = {
    "cats": "the cat sat on the mat",
    "pets": "the cat sat on a mat",
    "prices": "stock prices rose",
    "bare": "an owl",
}


def words(text: str) -> list[float]:
    (vector,) = WordEncoder().encode_queries([text])
    return vector.tolist()


def nodes() -> list[TextNode]:
    return [
        TextNode(
            id_=id_,
            text=text,
            metadata=METADATA[id_],
            embedding=words(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"{id_[0]}.md")},
        )
        for id_, text in TEXTS.items()
    ]


@pytest.fixture
def store(folder: Path) -> Iterator[SemsearchVectorStore]:
    store = SemsearchVectorStore(str(folder / "index"), dim=16)
    assert store.add(nodes()) == list(TEXTS)
    yield store
    store.client.close()


@pytest.fixture
def simple() -> SimpleVectorStore:
    store = SimpleVectorStore()
    store.add(nodes())
    return store


def asking(text: str, **options: Any) -> VectorStoreQuery:
    given = {"query_str": text, "query_embedding": words(text), "similarity_top_k": 9, **options}
    return VectorStoreQuery(**given)


FILTERS = [
    *[("year", operator, 2021) for operator in ("==", "!=", ">", "<", ">=", "<=")],
    ("year", "in", [2020, 2022]),
    ("year", "nin", [2020, 2022]),
    ("tags", "any", ["home", "work"]),
    ("tags", "all", ["home", "pet"]),
    ("tags", "contains", "pet"),
    ("who", "text_match", "nn"),
    ("id", "==", "1"),
    *[(key, "is_empty", None) for key in ("year", "tags", "who", "none")],
]


def filtering(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=FilterOperator(operator), value=value)


@pytest.mark.parametrize("condition", [None, *FilterCondition])
@pytest.mark.parametrize("given", FILTERS, ids=str)
def test_filters_mean_what_they_do_in_llama_index(
    store: SemsearchVectorStore,
    simple: SimpleVectorStore,
    given: tuple[str, str, Any],
    condition: FilterCondition | None,
) -> None:
    parts: list[Any] = [filtering(*given)]
    if condition is not None:
        parts.append(filtering("year", "==", 2020))
    filters = MetadataFilters(filters=parts, condition=condition)
    expected = simple.query(asking("a cat", filters=filters)).ids
    assert store.query(asking("a cat", filters=filters)).ids == expected
    assert {node.node_id for node in store.get_nodes(filters=filters)} == set(expected or [])


def test_filters_nest_and_join_the_ids_of_a_query(store: SemsearchVectorStore) -> None:
    inner = MetadataFilters(
        filters=[filtering("year", "==", 2020), filtering("year", "==", 2022)],
        condition=FilterCondition.OR,
    )
    outer = MetadataFilters(filters=[inner, filtering("id", "!=", "1")])
    assert store.query(asking("a cat", filters=outer)).ids == ["prices"]
    assert store.query(asking("a cat", node_ids=["cats", "none"])).ids == ["cats"]
    assert store.query(asking("a cat", doc_ids=["p.md"], node_ids=["pets"])).ids == ["pets"]
    assert len(store.query(asking("a cat", node_ids=[], doc_ids=[])).ids or []) == 4
    assert store.get_nodes(node_ids=[]) == []
    assert len(store.get_nodes(filters=MetadataFilters(filters=[]))) == 4


def test_filters_that_semsearch_has_not(store: SemsearchVectorStore) -> None:
    for key, operator, value in [("who", "text_match_insensitive", "ann"), ("tags", "all", "pet")]:
        with pytest.raises(InvalidArgument, match=f"filter.*{operator}"):
            store.get_nodes(filters=MetadataFilters(filters=[filtering(key, operator, value)]))


def test_similarities_are_those_of_llama_index(
    store: SemsearchVectorStore, simple: SimpleVectorStore
) -> None:
    found, expected = (each.query(asking("the cat sat")) for each in (store, simple))
    assert found.ids == expected.ids
    assert found.similarities == pytest.approx(expected.similarities, abs=1e-6)
    assert [node.node_id for node in found.nodes or []] == found.ids


def test_modes(store: SemsearchVectorStore, simple: SimpleVectorStore) -> None:
    for mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH):
        asked = asking("prices", mode=mode, query_embedding=None)
        assert store.query(asked).ids == ["prices"]
    by_both = store.query(asking("prices", mode=VectorStoreQueryMode.HYBRID, hybrid_top_k=2))
    assert len(by_both.ids or []) == 2
    assert (by_both.ids or [])[0] == "prices"
    assert (by_both.similarities or [])[0] > 0.3  # what words add to the cosine
    asked = asking("the cat sat on the mat", mode=VectorStoreQueryMode.MMR, similarity_top_k=2)
    for threshold in (0.2, 1.0):
        expected = simple.query(asked, mmr_threshold=threshold).ids
        assert store.query(asked, mmr_threshold=threshold).ids == expected
    with pytest.raises(InvalidArgument, match="has no mode svm"):
        store.query(asking("cat", mode=VectorStoreQueryMode.SVM))
    with pytest.raises(InvalidArgument, match="has no alpha"):
        store.query(asking("cat", mode=VectorStoreQueryMode.HYBRID, alpha=0.5))


@pytest.mark.parametrize(
    "node",
    [
        TextNode(id_="n", text="x", metadata={"a": 1}, embedding=[1.0] * 16),
        ImageNode(id_="n", text="x", image="aGVsbG8=", embedding=[1.0] * 16),
        IndexNode(id_="n", text="x", index_id="other", embedding=[1.0] * 16),
    ],
)
def test_a_node_comes_back_as_it_was(store: SemsearchVectorStore, node: BaseNode) -> None:
    store.add([node])
    (found,) = store.get_nodes(["n"])
    assert type(found) is type(node)
    assert found.to_dict() == {**node.to_dict(), "embedding": None}


def test_deleting(store: SemsearchVectorStore) -> None:
    store.delete("p.md")
    assert store.client.ids() == ["cats", "bare"]
    store.delete_nodes(["cats"], MetadataFilters(filters=[filtering("year", "==", 1)]))
    assert len(store.client) == 2
    store.delete_nodes(["cats", "none"])
    assert store.client.ids() == ["bare"]
    with pytest.raises(InvalidArgument, match="clear"):
        store.delete_nodes()
    store.clear()
    assert store.get_nodes() == []


@pytest.mark.asyncio
async def test_async(store: SemsearchVectorStore) -> None:
    assert (await store.aquery(asking("stock prices rose"))).ids == store.query(
        asking("stock prices rose")
    ).ids
    await store.adelete("p.md")
    assert [node.node_id for node in await store.aget_nodes()] == ["cats", "bare"]
    await store.adelete_nodes(["cats"])
    assert await store.async_add(nodes()[:1]) == ["cats"]
    assert len(store.client) == 2
    await store.aclear()
    assert len(store.client) == 0


@pytest.mark.asyncio
async def test_nodes_added_at_the_same_time_are_all_there(store: SemsearchVectorStore) -> None:
    batches = [
        [TextNode(id_=f"{task}/{number}", text="text", embedding=words(f"text {number}"))
         for number in range(20)]
        for task in range(8)
    ]  # fmt: skip
    await asyncio.gather(*map(store.async_add, batches))
    assert len(store.client) == 4 + 160


def test_a_store_is_described_and_opened_again(store: SemsearchVectorStore) -> None:
    again = SemsearchVectorStore.from_dict(store.to_dict())
    assert again.client.ids() == store.client.ids()
    again.client.close()
    with pytest.raises(InvalidArgument, match="have 16 numbers, not 3"):
        SemsearchVectorStore(store.path, dim=3)


def test_an_index_of_the_command_line(folder: Path) -> None:
    with semsearch.create(folder / "index", encoder=WordEncoder()) as index:
        index.add({"id": "x", "text": "a cat", "title": "Cats", "source": "cats.md"})
    store = SemsearchVectorStore(str(folder / "index"), dim=16)
    embedding = SemsearchEmbedding(WordEncoder())
    retriever = VectorStoreIndex.from_vector_store(store, embed_model=embedding).as_retriever()
    (found,) = retriever.retrieve("a cat")
    assert (found.text, found.metadata) == ("a cat", {"title": "Cats", "source": "cats.md"})
    assert found.score == pytest.approx(1, abs=0.2)
    store.client.close()


# --- the pipelines of LlamaIndex's documentation ------------------------------------------------


@pytest.mark.asyncio
async def test_documents_are_ingested_queried_and_deleted(folder: Path) -> None:
    store = SemsearchVectorStore(str(folder / "index"), dim=16)
    documents = [
        Document(text=text, id_=id_, metadata={"name": id_}) for id_, text in TEXTS.items()
    ]
    embedding = SemsearchEmbedding(WordEncoder())
    index = VectorStoreIndex.from_documents(
        documents,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=embedding,
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)],
    )
    assert len(store.client) == 4
    filters = MetadataFilters(filters=[filtering("name", "==", "prices")])
    retriever = index.as_retriever(similarity_top_k=2, filters=filters)
    assert [found.text for found in retriever.retrieve("cat")] == ["stock prices rose"]
    fusion = QueryFusionRetriever(
        [
            index.as_retriever(similarity_top_k=2),
            index.as_retriever(vector_store_query_mode="text_search", similarity_top_k=2),
        ],
        llm=MockLLM(),
        num_queries=1,
        mode="reciprocal_rerank",
        use_async=False,
    )
    assert fusion.retrieve("stock prices")[0].text == "stock prices rose"
    answer = await index.as_query_engine(llm=MockLLM()).aquery("stock prices rose")
    assert "stock prices rose" in str(answer)
    index.delete_ref_doc("prices")
    assert len(store.client) == 3
    store.client.close()


def test_an_ingestion_pipeline_writes_into_the_store(folder: Path) -> None:
    store = SemsearchVectorStore(str(folder / "index"), dim=16)
    embedding = SemsearchEmbedding(WordEncoder())
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0), embedding],
        vector_store=store,
    )
    pipeline.run(documents=[Document(text=text) for text in TEXTS.values()])
    index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
    assert index.as_retriever(similarity_top_k=1).retrieve("an owl")[0].text == "an owl"
    store.client.close()


@pytest.mark.model
def test_minilm_of_semsearch(folder: Path) -> None:
    store = SemsearchVectorStore(str(folder / "index"))
    store.add([TextNode(text=text) for text in ("The cat sat on the mat", "Stock prices rose")])
    asked = VectorStoreQuery(query_str="a kitten on a rug", similarity_top_k=1)
    own = store.query(asked)
    embedding = SemsearchEmbedding()
    given = store.query(
        VectorStoreQuery(query_embedding=embedding.get_query_embedding("a kitten on a rug"))
    )
    assert own.ids == given.ids
    assert own.similarities == pytest.approx(given.similarities, abs=1e-5)
    assert (own.nodes or [])[0].get_content() == "The cat sat on the mat"
    store.client.close()
