# ruff: noqa: E402 - what is imported below needs the extra `server`
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import semsearch
from semsearch import encoders

for _name in ("fastapi", "httptools", "multipart", "prometheus_client", "uvicorn"):
    pytest.importorskip(_name)

from encoders import WordEncoder
from serving import Client, problem, running

from semsearch.page import FOLDER
from semsearch.server.app import make_app
from semsearch.server.collections import Collections
from semsearch.server.service import Limits
from semsearch.server.tokens import Tokens

SEARCH = "/collections/notes/search"
TOKEN = "read-token-0123456789"
FILES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "load", lambda _, **__: WordEncoder())


@pytest.fixture
def root(folder: Path) -> Path:
    with semsearch.create(folder / "notes", encoder=WordEncoder()) as index:
        index.add(
            [
                {"id": "bread", "text": "A heavy loaf of bread. It was proofed too short a time."},
                {"id": "rolls", "text": "Rolls of bread for breakfast."},
                {"id": "moon", "text": "The moon shows one face. 😀 Moons do."},
            ]
        )
    return folder


def app_of(root: Path, *tokens: str) -> Any:
    return make_app(Collections(root), Tokens([("read", token) for token in tokens]), Limits())


@pytest.fixture
def client(root: Path) -> Iterator[Client]:
    with running(app_of(root)) as client:
        yield client


# -- the page ------------------------------------------------------------------------------------


def test_the_page_and_all_it_names_are_served(client: Client) -> None:
    page = client.raw("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page.body.decode()))
    modules = {f"page/{name}" for name in FILES if name.endswith(".js")}
    assert named >= {"page/app.js", "page/style.css", "page/icon.svg"}
    types = {"js": "javascript", "css": "text/css", "svg": "image/svg+xml"}
    for path in named | modules:
        answer = client.raw("GET", f"/{path}")
        assert answer.status == 200
        assert types[path.rpartition(".")[2]] in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_may_run_and_load_nothing_but_its_own_files(client: Client) -> None:
    for path in ("/", "/page/app.js"):
        policy = client.raw("GET", path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
    for name in FILES:
        if name.endswith((".html", ".css", ".js")):
            text = (FOLDER / name).read_text("utf-8")
            assert not re.search(r"https?://[a-z]", text), name
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(|\son\w+=", text), name


def test_modules_import_only_what_is_there() -> None:
    for name in FILES:
        if name.endswith(".js"):
            for path in re.findall(r'from "([^"]+)"', (FOLDER / name).read_text("utf-8")):
                assert (FOLDER / path).is_file(), f"{name}: {path}"


def test_a_page_that_was_loaded_is_not_sent_again(client: Client) -> None:
    tag = client.raw("GET", "/page/app.js").headers["etag"]
    again = client.raw("GET", "/page/app.js", If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["/page/none.js", "/page/../app.py", "/page/%2e%2e/__init__.py"])
def test_nothing_else_is_served(client: Client, path: str) -> None:
    assert client.raw("GET", path).status == 404


def test_the_page_needs_no_token_and_what_it_shows_does(root: Path) -> None:
    with running(app_of(root, TOKEN)) as client:
        assert client.raw("GET", "/").status == 200
        assert client.raw("GET", "/page/app.js").status == 200
        assert client.raw("GET", "/collections").status == 401
        assert Client(client.port, TOKEN).get("/collections")["collections"]


def test_the_page_answers_no_other_name_of_this_machine(client: Client) -> None:
    assert client.raw("GET", "/", Host="evil.example").status == 403


# -- what the page asks for ----------------------------------------------------------------------


def test_a_search_says_what_in_its_passages_answers(client: Client) -> None:
    body = {"query": "too short a time to proof", "k": 3, "highlight": True}
    found = client.post(SEARCH, body)
    marks = dict(zip((hit["id"] for hit in found["hits"]), found["highlights"], strict=True))
    text = "A heavy loaf of bread. It was proofed too short a time."
    assert text[slice(*marks["bread"]["sentence"])] == "It was proofed too short a time."
    assert [text[slice(*word)] for word in marks["bread"]["words"]] == ["proofed", "short", "time"]
    assert marks["rolls"] == {"sentence": None, "words": []}


def test_spans_count_characters_and_not_bytes(client: Client) -> None:
    body = {"query": "moons", "mode": "keyword", "highlight": True}
    (marks,) = client.post(SEARCH, body)["highlights"]
    text = "The moon shows one face. 😀 Moons do."
    assert marks["sentence"] is None  # a search by words needs no encoder
    assert [text[slice(*word)] for word in marks["words"]] == ["moon", "Moons"]


def test_a_search_says_nothing_of_that_unasked(client: Client) -> None:
    assert client.post(SEARCH, {"query": "bread"})["highlights"] is None
    vector = [1.0] * 16
    assert client.post(SEARCH, {"query": vector, "highlight": True})["highlights"] is None
    refused = client.send("POST", SEARCH, {"query": "bread", "k": 101, "highlight": True})
    assert problem(refused) == "highlight: for at most 100 hits, and k is 101"


def test_more_like_a_document_is_found_without_the_document(client: Client) -> None:
    hits = client.post(SEARCH, {"like": "bread", "k": 3})["hits"]
    assert [hit["id"] for hit in hits] == ["rolls", "moon"]
    assert "no document with id 'none'" in problem(client.send("POST", SEARCH, {"like": "none"}))


@pytest.mark.parametrize(
    "body", [{}, {"query": "bread", "like": "moon"}, {"query": [1], "like": "a"}]
)
def test_a_search_has_one_query(client: Client, body: dict[str, Any]) -> None:
    assert "either a query or like" in problem(client.send("POST", SEARCH, body))


def test_like_is_by_meaning(client: Client) -> None:
    refused = client.send("POST", SEARCH, {"like": "bread", "mode": "hybrid"})
    assert "finds words" in problem(refused)
