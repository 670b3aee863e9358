"""The indexes in a folder as tools of a language model, over the Model Context Protocol.

`search` and `fetch` have the shapes that clients of the protocol expect of tools of these names.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field
from starlette.types import ASGIApp

from semsearch import __version__
from semsearch.errors import IndexNotFound, InvalidArgument, SemsearchError
from semsearch.server.collections import Collections
from semsearch.types import Document, Hit, Mode

_MOST = 50
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_INSTRUCTIONS = (
    "Finds passages in the user's own documents, by meaning and by words. Search first; fetch a "
    "document when a passage is not enough; name titles or urls as your sources."
)

Done = TypeVar("Done")


class Result(BaseModel):
    """A passage that was found."""

    id: str = Field(description="What `fetch` takes to get the whole document.")
    title: str
    text: str = Field(description="The passage.")
    url: str
    metadata: dict[str, Any]
    score: float = Field(description="Higher is better; to be compared within one index only.")


class Results(BaseModel):
    """Passages, best first."""

    results: list[Result]


class Fetched(BaseModel):
    """A whole document."""

    id: str
    title: str
    text: str
    url: str
    metadata: dict[str, Any]


class IndexSummary(BaseModel):
    """An index that can be searched."""

    name: str
    documents: int
    encoder: str | None = Field(description="None: it is searched by words only.")


class Indexes(BaseModel):
    """The indexes there are."""

    indexes: list[IndexSummary]


def make_mcp(collections: Collections) -> MCPServer[Any]:
    """A server of the protocol with the tools `search`, `fetch` and `list_indexes`."""
    server: MCPServer[Any] = MCPServer(
        "semsearch", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )

    @server.tool(annotations=_READS)
    async def search(
        query: Annotated[str, Field(description="What to look for, as a question or in keywords.")],
        index: Annotated[
            str | None, Field(description="Only in this index; in all of them by default.")
        ] = None,
        k: Annotated[int, Field(ge=1, le=_MOST, description="How many documents.")] = 10,
        where: Annotated[
            str | None,
            Field(description="Only documents whose metadata match, such as `year >= 2020`."),
        ] = None,
    ) -> Results:
        """Find passages in the user's documents by meaning and by words, one of each document."""
        return await _told(collections, lambda: _search(collections, query, index, k, where))

    @server.tool(annotations=_READS)
    async def fetch(
        id: Annotated[str, Field(description="Of a result of `search`.")],
    ) -> Fetched:
        """The whole text of a document that `search` found."""
        return await _told(collections, lambda: _fetch(collections, id))

    @server.tool(annotations=_READS)
    async def list_indexes() -> Indexes:
        """Names and sizes of the indexes that can be searched."""
        return await _told(collections, lambda: _indexes(collections))

    return server


def http_app(server: MCPServer[Any]) -> ASGIApp:
    """The server at `/mcp` over streamable HTTP; what asks is checked by who wraps it."""
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return server.streamable_http_app(transport_security=unchecked, stateless_http=True)


async def _told(collections: Collections, work: Callable[[], Done]) -> Done:
    """Do it in a thread; what is wrong with the request is told to the model."""
    try:
        return await asyncio.to_thread(work)
    except SemsearchError as error:
        raise ToolError(collections.told(error)) from error


def _search(
    collections: Collections, query: str, name: str | None, k: int, where: str | None
) -> Results:
    names = _of_texts(collections) if name is None else [name]
    answers = [_ask(collections, one, query, k, where) for one in names]
    # By rank, not by score: scores of two models cannot be compared.
    ranked = itertools.chain.from_iterable(itertools.zip_longest(*answers))
    return Results(results=[one for one in ranked if one is not None][:k])


def _of_texts(collections: Collections) -> list[str]:
    """Names of the indexes that words can be looked for in: all but those of pictures."""
    return [name for name in collections.names() if collections.get(name).space.modality != "image"]


def _ask(
    collections: Collections, name: str, query: str, k: int, where: str | None
) -> list[Result]:
    index = collections.get(name)
    mode: Mode = "keyword" if index.space.modality == "vector" else "hybrid"
    hits = index.search(query, k, mode=mode, where=where, group=True)
    return [_result(name, hit) for hit in hits]


def _result(name: str, hit: Hit) -> Result:
    return Result(
        id=f"{name}:{hit.id}",
        title=hit.title or hit.id,
        text=hit.text,
        url=_url(name, hit),
        metadata=hit.metadata,
        score=hit.score,
    )


def _fetch(collections: Collections, id_: str) -> Fetched:
    name, colon, document_id = id_.partition(":")
    if not colon:
        raise InvalidArgument(f"id: expected one that `search` gave, INDEX:ID, got {id_!r}")
    document = collections.get(name).get(document_id)
    if document is None:
        raise IndexNotFound(f"no document {document_id!r} in index {name!r}")
    return Fetched(
        id=id_,
        title=document.title or document.id,
        text=document.text,
        url=_url(name, document),
        metadata=document.metadata,
    )


def _indexes(collections: Collections) -> Indexes:
    infos = [(name, collections.get(name).info()) for name in collections.names()]
    return Indexes(
        indexes=[
            IndexSummary(name=name, documents=info.documents, encoder=info.encoder)
            for name, info in infos
        ]
    )


def _url(name: str, found: Hit | Document) -> str:
    """Where it can be looked up: its source, if that is an address or a file."""
    source = found.source or ""
    if "://" in source:
        return source
    path = PurePath(source)
    return path.as_uri() if path.is_absolute() else f"semsearch:{name}/{quote(found.id)}"
