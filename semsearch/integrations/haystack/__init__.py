"""Haystack: an index as a document store, and retrievers for it.

store = SemsearchDocumentStore("indexes/notes", dim=384)
pipeline.add_component("retriever", SemsearchEmbeddingRetriever(store, top_k=3))
"""

from semsearch.integrations.haystack.retrievers import (
    SemsearchEmbeddingRetriever,
    SemsearchHybridRetriever,
    SemsearchKeywordRetriever,
    SemsearchTextEmbedder,
)
from semsearch.integrations.haystack.store import SemsearchDocumentStore

__all__ = [
    "SemsearchDocumentStore",
    "SemsearchEmbeddingRetriever",
    "SemsearchHybridRetriever",
    "SemsearchKeywordRetriever",
    "SemsearchTextEmbedder",
]
