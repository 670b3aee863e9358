# ruff: noqa: E402 - what is imported below needs the extras `mcp` and `server`
from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import semsearch
from semsearch import encoders

for _name in ("mcp", "fastapi", "httptools", "prometheus_client", "uvicorn"):
    pytest.importorskip(_name)

import httpx2
from encoders import WordEncoder
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from serving import REPOSITORY, running

from semsearch.server.app import guarded
from semsearch.server.collections import Collections
from semsearch.server.mcp import http_app, make_mcp
from semsearch.server.tokens import Tokens

TOKEN = "read-token-0123456789"
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "notes/bread.md", "text": "a heavy loaf of bread", "metadata": {"year": 2024}},
    {"id": "moon", "text": "the moon shows one face", "title": "Tides", "source": "https://a.b/c"},
    {"id": "tap: 1", "text": "a dripping tap", "source": "/home/me/my tap.txt"},
]


@pytest.fixture
def root(folder: Path) -> Path:
    """A folder with the index `notes`, and `cards`, which has no encoder."""
    with semsearch.create(folder / "notes", encoder=WordEncoder()) as index:
        index.add(DOCUMENTS)
    with semsearch.create(folder / "cards", dim=2) as index:
        index.add([{"id": "ace", "text": "the ace of spades and bread"}], [[1, 0]])
    return folder


@pytest.fixture
def url(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(encoders, "load", lambda _, **__: WordEncoder())
    app = guarded(http_app(make_mcp(Collections(root))), Tokens([]))
    with running(app) as client:
        yield f"{client.url}/mcp"


def stdio(root: Path) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = ["-m", "semsearch", "mcp", str(root)]
    return stdio_client(
        StdioServerParameters(command=sys.executable, args=command, env=environment)
    )


def ask(server: Any, tool: str, **arguments: Any) -> Any:
    """What a tool answers; its text says the same as its structure."""

    async def main() -> Any:
        async with Client(server) as client:
            return await client.call_tool(tool, arguments)

    answer = asyncio.run(main())
    (content,) = answer.content
    if answer.is_error:
        return content.text
    assert json.loads(content.text) == answer.structured_content
    return answer.structured_content


def test_the_tools_are_described_and_only_read(url: str) -> None:
    async def main() -> Any:
        async with Client(url) as client:
            return (await client.list_tools()).tools

    tools = asyncio.run(main())
    assert [tool.name for tool in tools] == ["search", "fetch", "list_indexes"]
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint
    assert tools[0].input_schema["required"] == ["query"]
    assert tools[1].input_schema["required"] == ["id"]


def test_a_passage_is_found_and_its_document_fetched(url: str) -> None:
    (result,) = ask(url, "search", query="dripping tap", index="notes", k=1)["results"]
    assert result.pop("score") > 0.5
    expected = {
        "id": "notes:tap: 1",
        "title": "tap: 1",
        "text": "a dripping tap",
        "url": "file:///home/me/my%20tap.txt",
        "metadata": {},
    }
    assert result == expected
    assert ask(url, "fetch", id="notes:tap: 1") == expected


def test_all_indexes_are_searched_unless_one_is_named(url: str) -> None:
    found = ask(url, "search", query="bread", k=2)["results"]
    assert {one["id"] for one in found} == {"notes:notes/bread.md", "cards:ace"}
    filtered = ask(url, "search", query="bread", where="year > 2000")["results"]
    assert [one["id"] for one in filtered] == ["notes:notes/bread.md"]
    assert filtered[0]["metadata"] == {"year": 2024}
    assert filtered[0]["url"] == "semsearch:notes/notes/bread.md"


def test_an_index_of_pictures_is_in_nobodys_way(url: str, root: Path) -> None:
    pytest.importorskip("diffusers")
    with semsearch.create(root / "photos", encoder="vae") as index:
        index.ingest(REPOSITORY / "data" / "pictures" / "sea.jpg")
    assert len(ask(url, "search", query="bread", k=2)["results"]) == 2
    assert "holds pictures" in ask(url, "search", query="bread", index="photos")
    assert len(ask(url, "list_indexes")["indexes"]) == 3


def test_a_source_that_is_an_address_is_the_url(url: str) -> None:
    assert ask(url, "fetch", id="notes:moon")["url"] == "https://a.b/c"


def test_the_indexes_are_listed(url: str) -> None:
    assert ask(url, "list_indexes")["indexes"] == [
        {"name": "cards", "documents": 1, "encoder": None},
        {"name": "notes", "documents": 3, "encoder": "words"},
    ]


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search", {"query": " "}, "the query is empty"),
        ("search", {"query": "a", "index": "none"}, "no collection 'none'"),
        ("search", {"query": "a", "index": "../notes"}, "is no name"),
        ("search", {"query": "a", "where": "year >"}, "where"),
        ("search", {"query": "a", "k": 51}, "less than or equal to 50"),
        ("fetch", {"id": "moon"}, "expected one that `search` gave"),
        ("fetch", {"id": "notes:sun"}, "no document 'sun' in index 'notes'"),
    ],
)
def test_what_is_wrong_is_told_to_the_model(
    url: str, tool: str, arguments: dict[str, Any], message: str
) -> None:
    assert message in ask(url, tool, **arguments)


def test_where_the_indexes_lie_is_not_told(url: str, root: Path) -> None:
    (root / "notes" / "catalog.db").write_text("no database")
    problem = ask(url, "search", query="bread", index="notes")
    assert "notes/catalog.db" in problem
    assert str(root) not in problem


def test_a_token_is_asked_for_over_http(root: Path) -> None:
    app = guarded(http_app(make_mcp(Collections(root))), Tokens([("read", TOKEN)]))

    async def indexes(address: str) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            return (await client.call_tool("list_indexes", {})).structured_content

    with running(app) as client:
        assert client.raw("POST", "/mcp", "{}", Content_Type="application/json").status == 401
        assert len(asyncio.run(indexes(f"{client.url}/mcp"))["indexes"]) == 2


def test_over_stdio_the_tools_are_the_same(root: Path) -> None:
    server = stdio(root)
    (result,) = ask(server, "search", query="spades", index="cards")["results"]
    assert result["id"] == "cards:ace"


def test_nothing_but_the_protocol_is_on_standard_output(root: Path) -> None:
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call",
         "params": {"name": "search", "arguments": {"query": "a", "index": "none"}}},
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "semsearch", "mcp", str(root)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
        process.stdin.flush()
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == ""
    assert [line["id"] for line in lines] == [1, 2]
    assert lines[0]["result"]["serverInfo"]["name"] == "semsearch"
    assert process.returncode == 0


@pytest.mark.model
def test_a_model_is_loaded_when_it_is_needed(folder: Path) -> None:
    with semsearch.create(folder / "notes") as index:
        index.add([{"id": "bread", "text": "A loaf is heavy when it was proofed too short."}])
        index.add([{"id": "moon", "text": "The Moon always shows us the same face."}])
    found = ask(stdio(folder), "search", query="my bread comes out like a brick", k=1)
    assert [one["id"] for one in found["results"]] == ["notes:bread"]
