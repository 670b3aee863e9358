# ruff: noqa: E402 - what is imported below needs the extra `server`
from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semsearch
from semsearch import encoders, maps, pictures

for _name in ("fastapi", "httptools", "multipart", "prometheus_client", "uvicorn"):
    pytest.importorskip(_name)

from encoders import WordEncoder
from serving import Client, ok, problem, running

from semsearch.errors import DependencyMissing
from semsearch.page import FOLDER
from semsearch.server import pictures as server_pictures
from semsearch.server.app import make_app
from semsearch.server.collections import Collections
from semsearch.server.service import Limits
from semsearch.server.tokens import Tokens

SEARCH = "/collections/notes/search"
PICTURES = Path(__file__).parent.parent / "data" / "pictures"
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


# -- maps ----------------------------------------------------------------------------------------

MAP = "/collections/notes/map"


class Projection:
    """Puts points on a line, each time a little further up, when it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.times = 0

    def __call__(self, vectors: Any, progress: Any) -> Any:
        self.times += 1
        progress(0.25)
        while not self.may.wait(0.01):
            progress(0.5)
        rows = np.arange(len(vectors), dtype=np.float32)
        return np.stack([rows, np.full_like(rows, self.times)], axis=1)


@pytest.fixture
def projection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Projection]:
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path))
    made = Projection()
    monkeypatch.setattr(maps, "project", made)
    yield made
    made.may.set()


def drawn(client: Client) -> Any:
    """The map, when it is done."""
    while (answer := client.raw("GET", MAP)).status == 202:
        time.sleep(0.01)
    assert answer.status == 200, answer.body
    return answer.json


def test_a_map_is_drawn_while_the_server_goes_on(client: Client, projection: Projection) -> None:
    projection.may.clear()
    assert client.raw("GET", MAP).status == 202
    while client.get(MAP)["share"] < 0.5:
        time.sleep(0.01)
    assert client.post(SEARCH, {"query": "moon", "k": 1})["hits"][0]["id"] == "moon"
    projection.may.set()
    found = drawn(client)
    assert found["ids"] == ["bread", "rolls", "moon"]
    assert (found["x"], found["y"]) == ([0, 1, 2], [1, 1, 1])
    assert found["labels"][2] == "The moon shows one face. 😀 Moons do."
    assert found["total"] == 3
    assert found["topics"] == []
    hits = client.post(SEARCH, {"query": "moon"})["hits"]
    assert {hit["chunk"] for hit in hits} == set(found["chunks"])
    assert client.get(MAP) == found
    assert projection.times == 1


def test_a_map_is_drawn_anew_when_the_collection_changed(
    client: Client, projection: Projection
) -> None:
    old = drawn(client)
    client.post("/collections/notes/delete", {"ids": ["rolls"]})
    new = drawn(client)
    assert new["ids"] == ["bread", "moon"]
    assert new["version"] > old["version"]
    assert projection.times == 2


def test_under_steady_writing_there_is_a_map_all_the_same(
    client: Client, projection: Projection
) -> None:
    projection.may.clear()
    assert client.raw("GET", MAP).status == 202
    client.post("/collections/notes/delete", {"ids": ["rolls"]})
    projection.may.set()
    drawn(client)
    assert projection.times == 1  # the one that was begun, seen by somebody before the next


def test_a_server_that_ends_does_not_wait_for_a_map(root: Path, projection: Projection) -> None:
    projection.may.clear()
    with running(app_of(root)) as client:
        assert client.raw("GET", MAP).status == 202
        while client.get(MAP)["share"] < 0.5:
            time.sleep(0.01)
    assert not projection.may.is_set()


def test_a_map_is_of_a_collection_and_for_those_with_a_token(
    client: Client, root: Path, projection: Projection
) -> None:
    assert client.raw("GET", "/collections/none/map").status == 404
    with running(app_of(root, TOKEN)) as guarded:
        assert guarded.raw("GET", MAP).status == 401
        assert drawn(Client(guarded.port, TOKEN))["total"] == 3


def test_without_its_extra_a_map_is_refused_with_its_name(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise DependencyMissing("a map needs openTSNE: pip install 'semsearch[map]'")

    monkeypatch.setattr(maps, "draw", missing)
    while (answer := client.raw("GET", MAP)).status == 202:
        time.sleep(0.01)
    assert answer.status == 501
    assert "semsearch[map]" in answer.json["error"]["message"]


# -- pictures ------------------------------------------------------------------------------------


@pytest.fixture
def gallery(root: Path) -> Iterator[Client]:
    with semsearch.create(root / "pictures", encoder="vae") as index:
        index.ingest(PICTURES)
    with running(app_of(root)) as client:
        yield client


def test_collections_of_pictures_are_seen_and_asked_with_a_picture(gallery: Client) -> None:
    assert gallery.get("/collections/pictures")["modality"] == "image"
    assert gallery.get("/collections/notes")["modality"] == "text"
    path = "/collections/pictures/search/picture"
    content = (PICTURES / "grapes-small-file.jpg").read_bytes()
    found = ok(gallery.upload(path, "mine.jpg", content, k="2"))["hits"]
    assert [hit["id"] for hit in found] == ["pictures/grapes-small-file.jpg", "pictures/grapes.jpg"]
    only = "id in ('pictures/sea.jpg', 'pictures/night.jpg')"
    assert len(ok(gallery.upload(path, "mine.jpg", content, where=only))["hits"]) == 2
    seen = gallery.raw("GET", "/collections/pictures/picture?id=pictures/sea.jpg")
    assert (seen.status, seen.headers["content-type"]) == (200, "image/png")
    assert pictures.decoded(seen.body, "seen").shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("collection", "content", "fields", "says"),
    [
        ("pictures", b"", {}, "mine.jpg: the file is empty"),
        ("pictures", b"text", {}, "mine.jpg: not a picture of a format Pillow reads"),
        ("pictures", None, {"k": "1001"}, "k: at most 1,000"),
        ("pictures", None, {"where": "year >"}, "where: expected a value"),
        ("notes", None, {}, "this index holds no pictures"),
        ("nowhere", None, {}, "no collection"),
    ],
)
def test_what_cannot_be_asked_with_is_refused(
    gallery: Client, collection: str, content: bytes | None, fields: dict[str, str], says: str
) -> None:
    content = (PICTURES / "sea.jpg").read_bytes() if content is None else content
    path = f"/collections/{collection}/search/picture"
    assert says in problem(gallery.upload(path, "mine.jpg", content, **fields))


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("pictures/picture?id=nothing", 404, "no document with id 'nothing'"),
        ("notes/picture?id=nothing", 404, "no document with id 'nothing'"),
        ("notes/picture?id=bread", 400, "this index holds no pictures"),
        ("pictures/picture", 400, "id: Field required"),
        ("nowhere/picture?id=a", 404, "no collection"),
        ("pictures/morph?start=nothing&end=pictures/sea.jpg", 404, "no document with id 'nothing'"),
        ("pictures/morph?start=pictures/sea.jpg&end=nothing", 404, "no document with id 'nothing'"),
        ("pictures/morph?start=pictures/sea.jpg", 400, "end: Field required"),
        ("pictures/morph?start=a&end=b&steps=1", 400, "steps: "),
        ("pictures/morph?start=a&end=b&steps=65", 400, "steps: "),
        ("notes/morph?start=bread&end=moon", 400, "this index holds no pictures"),
        ("nowhere/morph?start=a&end=b", 404, "no collection"),
    ],
)
def test_only_pictures_that_are_there_can_be_seen(
    gallery: Client, path: str, status: int, says: str
) -> None:
    answer = gallery.raw("GET", f"/collections/{path}")
    assert answer.status == status
    assert says in problem(answer)


def test_a_picture_that_is_uploaded_can_be_found(gallery: Client) -> None:
    content = (PICTURES / "sea.jpg").read_bytes()
    job = ok(gallery.upload("/collections/pictures/ingest", "mine.jpg", content))
    while job["state"] in ("waiting", "running"):
        time.sleep(0.01)
        job = gallery.get(f"/jobs/{job['id']}")
    assert (job["state"], job["report"]["added"], job["report"]["rejects"]) == ("done", 1, [])
    body = {"like": "mine.jpg", "k": 1}
    (hit,) = gallery.post("/collections/pictures/search", body)["hits"]
    assert (hit["id"], hit["score"]) == ("pictures/sea.jpg", pytest.approx(1))
    (found,) = gallery.post("/collections/pictures/get", {"ids": ["mine.jpg"]})["documents"]
    assert found["source"] == "mine.jpg"
    text = gallery.upload("/collections/pictures/ingest", "a.txt", b"text")
    assert "a.txt" in problem(text)


def test_no_message_tells_where_collections_lie(gallery: Client, root: Path) -> None:
    for body in ({"query": "sea"}, {"query": [1.0] * 256, "mode": "keyword"}):
        told = problem(gallery.send("POST", "/collections/pictures/search", body))
        assert "pictures" in told
        assert str(root) not in told


def test_the_map_of_pictures_has_their_names(gallery: Client, projection: Projection) -> None:
    path = "/collections/pictures/map"
    while (answer := gallery.raw("GET", path)).status == 202:
        time.sleep(0.01)
    assert "pictures/sea.jpg" in answer.json["labels"]
    assert answer.json["labels"] == answer.json["ids"]


def test_pictures_asked_for_at_the_same_time_are_each_their_own(
    gallery: Client, root: Path
) -> None:
    with semsearch.open(root / "pictures") as index:
        expected = index.decode(index.ids())

    def seen(id_: str) -> Any:
        answer = gallery.raw("GET", f"/collections/pictures/picture?id={id_}")
        return pictures.decoded(answer.body, id_)

    with ThreadPoolExecutor(len(expected)) as pool:
        for id_, found in zip(expected, pool.map(seen, expected), strict=True):
            assert np.abs(found.astype(int) - expected[id_]).max() <= 1  # of another batch


@pytest.mark.parametrize("linear", [False, True])
def test_one_picture_is_turned_into_another(gallery: Client, root: Path, linear: bool) -> None:
    query = f"start=pictures/sea.jpg&end=pictures/apple.jpg&steps=5&linear={linear}"
    steps = gallery.get(f"/collections/pictures/morph?{query}")["steps"]
    ends = semsearch.like("pictures/sea.jpg"), semsearch.like("pictures/apple.jpg")
    with semsearch.open(root / "pictures") as index:
        frames = semsearch.imagine_between(index, *ends, steps=5, linear=linear)
        nearest = index.between(*ends, steps=5)
    assert [step["share"] for step in steps] == [0, 0.25, 0.5, 0.75, 1]
    assert [step["nearest"]["id"] for step in steps] == [hits[0].id for hits in nearest]
    assert steps[0]["nearest"]["id"] == "pictures/sea.jpg"
    for step, frame in zip(steps, frames, strict=True):
        made = pictures.decoded(base64.b64decode(step["picture"]), "step")
        assert np.array_equal(made, frame)
    assert not np.array_equal(frames[2], frames[0])


def test_a_morph_of_large_pictures_has_fewer_steps(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_pictures, "MOST_PIXELS", 5 * 128 * 128)
    with semsearch.create(root / "large", encoder="vae@128") as index:
        index.ingest(PICTURES / "sea.jpg")
    path = "/collections/large/morph?start=sea.jpg&end=sea.jpg&steps"
    with running(app_of(root)) as client:
        assert len(client.get(f"{path}=5")["steps"]) == 5
        told = problem(client.raw("GET", f"{path}=6"))
        assert told == "steps: at most 5 of pictures of 128x128, got 6"
