# ruff: noqa: E402 - what is imported below needs the extra `server`
from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import semsearch
from semsearch import encoders
from semsearch.errors import InvalidArgument

for _name in ("fastapi", "httptools", "multipart", "prometheus_client", "uvicorn"):
    pytest.importorskip(_name)

from encoders import Vectors, WordEncoder
from serving import REPOSITORY, Answer, Client, Process, ok, problem, running

from semsearch.server.app import make_app
from semsearch.server.collections import Collections
from semsearch.server.lanes import Lanes
from semsearch.server.serve import check_address
from semsearch.server.service import Limits
from semsearch.server.tokens import Tokens

READ, WRITE = "read-token-0123456789", "write-token-0123456789"
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "notes/bread.md", "text": "a heavy loaf of bread", "metadata": {"year": 2024}},
    {"id": "moon", "text": "the moon shows one face", "metadata": {"year": 1969, "id": "x"}},
    {"id": "tap", "text": "a dripping tap", "title": "Plumbing", "source": "/home/me/tap.txt"},
]


class SlowWords(WordEncoder):
    """Takes its time over a query, so that others arrive meanwhile."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        time.sleep(0.02)
        return super().encode_queries(texts)


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is one of words: what a server does is not about a model's quality."""
    monkeypatch.setattr(encoders, "load", lambda _, **__: WordEncoder())
    monkeypatch.delenv("SEMSEARCH_READ_TOKEN", raising=False)
    monkeypatch.delenv("SEMSEARCH_WRITE_TOKEN", raising=False)


@pytest.fixture
def root(folder: Path) -> Path:
    """A folder with the collections `notes` and `points`."""
    with semsearch.create(folder / "notes", encoder=WordEncoder()) as index:
        index.add(DOCUMENTS)
    with semsearch.create(folder / "points", dim=2) as index:
        index.add([{"id": "east", "text": "east"}, {"id": "north", "text": ""}], [[1, 0], [0, 1]])
    return folder


def app_of(root: Path, tokens: Tokens | None = None, limits: Limits | None = None) -> Any:
    return make_app(Collections(root), tokens or Tokens([]), limits or Limits())


@pytest.fixture
def client(root: Path) -> Iterator[Client]:
    with running(app_of(root)) as client:
        yield client


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


# -- searching -----------------------------------------------------------------------------------


def test_search_gives_what_the_index_gives(client: Client, root: Path) -> None:
    with semsearch.open(root / "notes", encoder=WordEncoder()) as index:
        for mode in ("dense", "keyword", "hybrid"):
            body = {"query": "one heavy loaf", "mode": mode, "k": 2}
            hits = client.post("/collections/notes/search", body)["hits"]
            expected = index.search("one heavy loaf", 2, mode=mode)
            assert [(hit["id"], hit["score"]) for hit in hits] == [
                (hit.id, pytest.approx(hit.score)) for hit in expected
            ]


def test_a_hit_has_all_that_is_known_of_its_passage(client: Client) -> None:
    (hit,) = client.post("/collections/notes/search", {"query": "dripping tap", "k": 1})["hits"]
    assert hit.pop("score") > 0.5
    assert hit == {
        "id": "tap",
        "text": "a dripping tap",
        "title": "Plumbing",
        "metadata": {},
        "source": "/home/me/tap.txt",
        "span": [0, 14],
        "chunk": 3,
    }


@pytest.mark.parametrize("where", [{"year": {"$lt": 2000}}, "year < 2000"])
def test_a_filter_is_a_dict_or_an_expression(client: Client, where: object) -> None:
    body = {"query": "a heavy loaf of bread", "where": where}
    assert ids(client.post("/collections/notes/search", body)) == ["moon"]


def test_a_query_may_be_a_vector(client: Client) -> None:
    body = {"query": [0.1, 2.0], "offset": 1}
    assert ids(client.post("/collections/points/search", body)) == ["east"]


def test_the_server_says_what_collections_there_are(client: Client) -> None:
    listed = client.get("/collections")["collections"]
    assert [(one["name"], one["documents"]) for one in listed] == [("notes", 3), ("points", 2)]
    assert client.get("/collections/notes") == listed[0]
    assert listed[0]["encoder"] == "words"
    assert listed[1]["encoder"] is None


def test_what_another_process_commits_is_seen_by_the_next_search(
    client: Client, root: Path
) -> None:
    search = {"query": "penguins", "mode": "keyword"}
    assert ids(client.post("/collections/notes/search", search)) == []
    with semsearch.open(root / "notes", encoder=WordEncoder()) as index:
        index.add({"id": "new", "text": "penguins on the ice"})
    assert ids(client.post("/collections/notes/search", search)) == ["new"]


def test_an_index_that_was_made_anew_is_opened_anew(client: Client, root: Path) -> None:
    assert client.get("/collections/points")["documents"] == 2
    (root / "points").rename(root / ".old")
    assert client.raw("GET", "/collections/points").status == 404
    semsearch.create(root / "points", dim=3).close()
    assert client.get("/collections/points")["dim"] == 3


# -- writing -------------------------------------------------------------------------------------


def test_documents_are_added_got_replaced_and_deleted(client: Client) -> None:
    document = {"id": "a", "text": "one", "title": "t", "metadata": {"n": [1]}, "source": "s"}
    counts = client.post("/collections/notes/upsert", {"documents": [document]})
    assert counts == {"added": 1, "replaced": 0, "unchanged": 0, "skipped": 0, "chunks": 1}
    found = client.post("/collections/notes/get", {"ids": ["a", "b"]})
    assert found == {"documents": [document], "missing": ["b"]}
    changed = {"documents": [{"id": "a", "text": "two"}]}
    assert client.post("/collections/notes/upsert", changed)["replaced"] == 1
    assert client.post("/collections/notes/delete", {"ids": ["a", "b"]}) == {"deleted": 1}
    assert client.post("/collections/notes/get", {"ids": ["a"]})["missing"] == ["a"]


def test_vectors_may_be_given(client: Client) -> None:
    body = {"documents": [{"id": "south"}], "vectors": [[0, -1]]}
    assert client.post("/collections/points/upsert", body)["added"] == 1
    assert ids(client.post("/collections/points/search", {"query": [0, -1], "k": 1})) == ["south"]


def test_a_collection_is_made(client: Client) -> None:
    made = ok(client.send("PUT", "/collections/new", {}))
    assert made["encoder"] == "words"
    assert ok(client.send("PUT", "/collections/own", {"dim": 3}))["dim"] == 3
    assert "already" in problem(client.send("PUT", "/collections/new", {}))
    assert client.post("/collections/new/upsert", {"documents": DOCUMENTS[:1]})["added"] == 1


def test_writes_to_one_collection_take_turns(client: Client) -> None:
    def write(number: int) -> Answer:
        body = {"documents": [{"id": f"d{number}", "text": f"text {number}"}]}
        return client.send("POST", "/collections/notes/upsert", body)

    with ThreadPoolExecutor(8) as pool:
        assert [answer.status for answer in pool.map(write, range(24))] == [200] * 24
    found = client.post("/collections/notes/get", {"ids": [f"d{number}" for number in range(24)]})
    assert found["missing"] == []
    assert client.get("/collections/notes")["documents"] == 27


HOLD = """
import sys
from pathlib import Path
from semsearch.storage.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_writer_in_another_process_is_a_conflict(client: Client, root: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(root / "notes" / "writer.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        answer = client.send("POST", "/collections/notes/delete", {"ids": ["tap"]})
        assert answer.status == 409
        assert f"another writer holds this index (pid {holder.pid} on" in problem(answer)
        holder.kill()
    assert client.post("/collections/notes/delete", {"ids": ["tap"]}) == {"deleted": 1}


# -- what is refused -----------------------------------------------------------------------------

SEARCH, UPSERT = "/collections/notes/search", "/collections/notes/upsert"
REFUSED: list[tuple[str, str, str, int, str]] = [
    ("POST", SEARCH, '{"query": ', 400, "the body is not JSON"),
    ("POST", SEARCH, "[" * 100_000, 400, "body"),
    ("POST", SEARCH, "{}", 400, "either a query or like"),
    ("POST", SEARCH, '{"query": "a", "limit": 3}', 400, "limit: Extra inputs"),
    ("POST", SEARCH, '{"query": "a", "k": 0}', 400, "k: "),
    ("POST", SEARCH, '{"query": "a", "k": 1001}', 400, "k and offset: together at most 1,000"),
    ("POST", SEARCH, '{"query": "a", "k": 1, "offset": 1000}', 400, "at most 1,000"),
    ("POST", SEARCH, '{"query": " "}', 400, "the query is empty"),
    ("POST", SEARCH, '{"query": [1, 2]}', 400, "expected shape (n, 16)"),
    ("POST", SEARCH, '{"query": [], "mode": "dense"}', 400, ""),
    ("POST", SEARCH, '{"query": [NaN]}', 400, ""),
    ("POST", SEARCH, '{"query": "a", "mode": "fuzzy"}', 400, "mode: "),
    ("POST", SEARCH, '{"query": "a", "where": "year >"}', 400, "where"),
    ("POST", SEARCH, '{"query": "a", "where": {"year": {"$near": 1}}}', 400, "where.year"),
    ("POST", SEARCH, '{"query": "a", "min_score": 1e999}', 400, "min_score"),
    ("POST", "/collections/points/search", '{"query": "text"}', 400, "no encoder"),
    ("POST", "/collections/nothing/search", '{"query": "a"}', 404, "no collection 'nothing'"),
    ("POST", "/collections/nothing/upsert", '{"documents": [{"id": "a"}]}', 404, "no collection"),
    ("POST", UPSERT, '{"documents": []}', 400, "documents: "),
    ("POST", UPSERT, '{"documents": [{"text": "a"}]}', 400, "documents.0.id: Field required"),
    ("POST", UPSERT, '{"documents": [{"id": "a", "text": ""}]}', 400, "the text is empty"),
    ("POST", UPSERT, '{"documents": [{"id": "a", "text": "\\u0000"}]}', 400, "NUL"),
    ("POST", UPSERT, '{"documents": [{"id": "a", "text": "b"}, {"id": "a", "text": "c"}]}', 400,
     "given twice"),
    ("POST", UPSERT, '{"documents": [{"id": "a", "text": "b"}], "vectors": [[1]]}', 400, "shape"),
    ("POST", UPSERT, '{"documents": [{"id": "tap", "text": "b"}], "on_conflict": "error"}', 400,
     "tap"),
    ("POST", "/collections/notes/get", '{"ids": []}', 400, "ids: "),
    ("PUT", "/collections/.hidden", "{}", 400, "name: "),
    ("PUT", "/collections/a%00b", "{}", 400, "name: "),
    ("PUT", "/collections/..", "{}", 400, "name: "),
    ("PUT", "/collections/new", '{"dim": 0}', 400, "dim: "),
    ("PUT", "/collections/new", '{"chunk_tokens": 1}', 400, "chunk_tokens: "),
    ("PUT", "/collections/a%2F..%2F..%2Fb", "{}", 404, ""),
    ("GET", "/collections/..%2F..%2Fetc", "", 404, ""),
    ("GET", "/jobs/none", "", 404, "no job 'none'"),
    ("GET", "/nothing", "", 404, ""),
    ("DELETE", "/collections/notes", "", 405, ""),
    ("POST", "/v1/embeddings", '{"input": "a", "model": "/etc"}', 404, "no model '/etc'"),
    ("POST", "/v1/embeddings", '{"input": [], "model": "words"}', 400, "input: "),
    ("POST", "/v1/embeddings", '{"input": [1, 2], "model": "words"}', 400, "input"),
    ("POST", "/v1/embeddings", '{"input": "a", "model": "words", "dimensions": 3}', 400, "16"),
]  # fmt: skip


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


def test_a_wrong_request_is_told_what_is_wrong_and_writes_nothing(
    client: Client, root: Path
) -> None:
    client.get("/collections")  # opens them
    before = everything(root)
    for method, path, body, status, message in REFUSED:
        answer = client.raw(method, path, body, Content_Type="application/json")
        assert (answer.status, path, body) == (status, path, body), answer.body
        assert message in problem(answer)
    assert everything(root) == before


def test_a_request_that_is_too_large_is_cut_off(root: Path) -> None:
    large = json.dumps({"query": "a" * 5000})
    with running(app_of(root, limits=Limits(bytes=4096))) as client:
        answer = client.raw("POST", SEARCH, large, Content_Type="application/json")
        assert answer.status == 413
        assert "larger than 0.00390625 MiB" in problem(answer)
        chunked = client.raw(
            "POST", SEARCH, iter([large.encode()]), Content_Type="application/json"
        )
        assert chunked.status == 413
        assert "larger" in problem(chunked)
        assert client.post(SEARCH, {"query": "bread"})["hits"]


def test_a_search_that_takes_too_long_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "load", lambda _, **__: SlowWords())
    with running(app_of(root, limits=Limits(seconds=0.005))) as client:
        answer = client.send("POST", SEARCH, {"query": "bread"})
        assert answer.status == 503
        assert answer.json["error"]["type"] == "timeout"


# -- who may do what -----------------------------------------------------------------------------


@pytest.fixture
def guarded(root: Path) -> Iterator[Client]:
    with running(app_of(root, Tokens([("read", READ), ("write", WRITE)]))) as client:
        yield client


def test_tokens_say_who_may_read_and_write(guarded: Client) -> None:
    delete = ("POST", "/collections/notes/delete", {"ids": ["tap"]})
    search = ("POST", SEARCH, {"query": "bread"})
    for token in (None, "", "wrong-token-012345678", READ[:-1], READ.upper()):
        client = Client(guarded.port, token)
        for request in (delete, search):
            answer = client.send(*request)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in problem(answer)
        assert client.raw("GET", "/metrics").status == 401
        assert client.raw("GET", "/v1/models").status == 401
        assert client.get("/healthz")["status"] == "ok"
    reader, writer = Client(guarded.port, READ), Client(guarded.port, WRITE)
    assert reader.send(*search).status == writer.send(*search).status == 200
    assert "only read" in problem(reader.send(*delete))
    assert reader.upload("/collections/notes/ingest", "a.txt", b"a").status == 403
    assert reader.send("PUT", "/collections/new", {}).status == 403
    assert writer.send(*delete).json == {"deleted": 1}


def test_a_token_is_asked_for_before_anything_is_read(guarded: Client) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as connection:
        connection.sendall(
            b"POST /collections/notes/upsert HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_every_route_but_health_and_description_asks_for_a_token(guarded: Client) -> None:
    described = guarded.get("/openapi.json")["paths"]
    for path, methods in described.items():
        for method in methods:
            answer = guarded.raw(method.upper(), path.replace("{name}", "notes"))
            assert (answer.status == 401) == (path != "/healthz")
    assert len(described) > 12


def test_without_tokens_only_this_machine_is_answered(client: Client) -> None:
    answer = client.raw("GET", "/collections", Host="evil.example")
    assert answer.status == 403
    assert "localhost" in problem(answer)
    assert client.raw("GET", "/collections", Host=f"localhost:{client.port}").status == 200


def test_pages_of_other_sites_are_not_answered(client: Client, guarded: Client) -> None:
    for server in (client, Client(guarded.port, WRITE)):
        host = f"127.0.0.1:{server.port}"
        assert server.raw("GET", "/collections", Origin="http://evil.example").status == 403
        assert server.raw("GET", "/collections", Origin=f"http://{host}").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_others_are_not_served_without_a_token(host: str) -> None:
    with pytest.raises(InvalidArgument, match="without a token"):
        check_address(host, Tokens([]))
    check_address(host, Tokens([("read", READ)]))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_is_served_without_a_token(host: str) -> None:
    check_address(host, Tokens([]))


def test_tokens_are_read_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# mine\n\nread {READ}\n")
    tokens = Tokens.load(file, {"SEMSEARCH_WRITE_TOKEN": WRITE})
    assert (tokens.scope(READ), tokens.scope(WRITE), tokens.scope("x")) == ("read", "write", None)
    assert not Tokens.load(None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no token"),
        ("# only this\n", "holds no token"),
        ("read secret", "at least 16"),
        ("admin secret-secret-secret", "tokens:1: expected"),
        ("read\n", "tokens:1: expected"),
        ("read secret-sécret-secret", "ASCII"),
    ],
)
def test_a_wrong_tokens_file_is_refused_without_showing_it(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        Tokens.load(file, {})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


# -- uploads -------------------------------------------------------------------------------------

INGEST = "/collections/notes/ingest"
TABLE = b'{"_id": "a", "text": "red"}\n{"_id": "b", "text": ""}\n{"_id": "a", "text": "blue"}\n'


def finished(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    while job["state"] in ("waiting", "running"):
        time.sleep(0.01)
        job = client.get(f"/jobs/{job['id']}")
    return job


def test_an_uploaded_file_is_ingested_by_a_job(client: Client, root: Path) -> None:
    answer = client.upload(INGEST, "table.jsonl", TABLE)
    assert answer.status == 202
    job = finished(client, answer.json)
    assert (job["state"], job["share"], job["documents"], job["rejected"]) == ("done", 1.0, 1, 2)
    assert job["report"]["added"] == 1
    reasons = [reject["reason"] for reject in job["report"]["rejects"]]
    assert "the first one, at table.jsonl:1, is kept" in reasons[1]
    assert all(reject["source"] == "table.jsonl" for reject in job["report"]["rejects"])
    (document,) = client.post("/collections/notes/get", {"ids": ["a"]})["documents"]
    assert document["source"] == "table.jsonl"
    assert client.get("/jobs")["jobs"] == [job]


def test_a_file_sent_again_replaces_what_it_held_before(client: Client) -> None:
    for text, prune in (("one\ntwo", "false"), ("three", "false"), ("four", "true")):
        lines = [json.dumps({"_id": word, "text": word}) for word in text.split()]
        upload = client.upload(INGEST, "words.jsonl", "\n".join(lines).encode(), prune=prune)
        job = finished(client, ok(upload))
    assert job["report"]["pruned"] == 3
    found = client.post("/collections/notes/get", {"ids": ["one", "two", "three", "four", "tap"]})
    assert found["missing"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.zip", "'a.zip' is packed"),
        ("", "file"),
        ("..", "no name of a file"),
        ("../a.txt", "no name of a file"),
        ("/etc/a.txt", "no name of a file"),
        ("..\\\\a.txt", "no name of a file"),
        ("a" * 300 + ".txt", "cannot be kept"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused(client: Client, name: str, message: str) -> None:
    assert message in problem(client.upload(INGEST, name, b"text"))
    assert client.get("/jobs") == {"jobs": []}


def test_no_file_is_taken_where_no_text_can_be_encoded(client: Client) -> None:
    answer = client.upload("/collections/points/ingest", "a.txt", b"text")
    assert "no encoder" in problem(answer)


class SlowIngest(WordEncoder):
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        time.sleep(0.1)
        return super().encode_documents(texts)


MANY = "\n".join(json.dumps({"_id": str(n), "text": f"number {n}"}) for n in range(4000)).encode()


class HeldIngest(WordEncoder):
    """Encodes `MANY` only once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        assert not texts[0].startswith("number") or self.may.wait(60)
        return super().encode_documents(texts)


def test_an_upload_keeps_others_from_writing_only_while_it_is_ingested(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = HeldIngest()
    monkeypatch.setattr(encoders, "load", lambda _, **__: encoder)
    semsearch.create(root / "cards", encoder=WordEncoder()).close()
    with running(app_of(root, limits=Limits(seconds=2))) as client:
        first = ok(client.upload(INGEST, "many.jsonl", MANY))
        second = ok(client.upload("/collections/cards/ingest", "table.jsonl", TABLE))
        body = {"documents": [{"id": "ace", "text": "the ace of spades"}]}
        assert client.post("/collections/cards/upsert", body)["added"] == 1
        states = [client.get(f"/jobs/{job['id']}")["state"] for job in (first, second)]
        assert states == ["running", "waiting"]
        into_notes = "/collections/notes/upsert"
        late = client.raw("POST", into_notes, json.dumps(body), Content_Type="application/json")
        encoder.may.set()
        assert late.status == 409
        assert "perhaps by an upload" in problem(late)


def test_a_server_that_ends_commits_what_a_job_has_encoded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "load", lambda _, **__: SlowIngest())
    with running(app_of(root)) as client:
        job = ok(client.upload(INGEST, "many.jsonl", MANY))
        while client.get(f"/jobs/{job['id']}")["documents"] < 500:
            time.sleep(0.01)
        assert client.get("/collections/notes")["documents"] == 3  # nothing is committed yet
    with semsearch.open(root / "notes", encoder=WordEncoder()) as index:
        assert 500 < len(index) < 4000
        assert index.verify().ok


# -- batches -------------------------------------------------------------------------------------


def test_what_arrives_while_a_lane_is_busy_is_answered_together() -> None:
    batches: list[tuple[str, list[int]]] = []

    async def answer(key: str, items: Sequence[int]) -> list[int]:
        batches.append((key, list(items)))
        await asyncio.sleep(0.01)
        return [10 * item for item in items]

    async def main() -> list[int]:
        lanes = Lanes[str, int, int](answer, most=3)
        asked = [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("a", 5), ("a", 6)]
        return await asyncio.gather(*(lanes.ask(key, item) for key, item in asked))

    assert asyncio.run(main()) == [10, 20, 30, 40, 50, 60]
    assert batches == [("a", [1, 2, 4]), ("b", [3]), ("a", [5, 6])]


def test_what_is_wrong_with_one_does_no_harm_to_the_others() -> None:
    async def answer(_: str, items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        return [10 // item for item in items]

    async def main() -> list[int | BaseException]:
        lanes = Lanes[str, int, int](answer)
        return await asyncio.gather(
            *(lanes.ask("a", item) for item in (5, 1, 0, 2)), return_exceptions=True
        )

    first, second, third, fourth = asyncio.run(main())
    assert (first, second, fourth) == (2, 10, 5)
    assert isinstance(third, ZeroDivisionError)


def test_nobody_is_answered_who_does_not_wait_any_more() -> None:
    seen: list[int] = []

    async def answer(_: str, items: Sequence[int]) -> list[int]:
        seen.extend(items)
        await asyncio.sleep(0.01)
        return list(items)

    async def main() -> int:
        lanes = Lanes[str, int, int](answer)
        tasks = [asyncio.create_task(lanes.ask("a", item)) for item in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await tasks[2]

    assert asyncio.run(main()) == 2
    assert seen == [0, 2]


def test_searches_at_the_same_time_are_answered_together_and_rightly(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "load", lambda _, **__: SlowWords())
    queries = ["heavy loaf", "moon face", "dripping tap"] * 8
    with running(app_of(root)) as client, ThreadPoolExecutor(24) as pool:

        def ask(query: str) -> str:
            return ids(client.post(SEARCH, {"query": query, "k": 1}))[0]

        answers = list(pool.map(ask, queries))
        metrics = client.raw("GET", "/metrics").body.decode()
    assert answers == ["notes/bread.md", "moon", "tap"] * 8
    found = re.search(r"^semsearch_search_batch_size_count (\d+)", metrics, re.MULTILINE)
    assert found
    assert int(found[1]) < 16


def test_searches_that_differ_are_encoded_together_and_answered_apart(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    class Counting(SlowWords):
        def encode_queries(self, texts: Sequence[str]) -> Vectors:
            batches.append(len(texts))
            return super().encode_queries(texts)

    monkeypatch.setattr(encoders, "load", lambda _, **__: Counting())
    with running(app_of(root)) as client, ThreadPoolExecutor(24) as pool:

        def ask(number: int) -> tuple[str, int]:
            mode = "dense" if number % 2 else "hybrid"
            body = {"query": "moon face", "k": 1 + number, "mode": mode, "where": "id != 'tap'"}
            found = ids(client.post(SEARCH, body))
            return found[0], len(found)

        assert list(pool.map(ask, range(24))) == [("moon", 1), *[("moon", 2)] * 23]
    assert sum(batches) == 24
    assert len(batches) < 16


# -- metrics and description ---------------------------------------------------------------------


def test_requests_are_counted_by_route(client: Client) -> None:
    for name in ("notes", "points", "none"):
        client.raw("GET", f"/collections/{name}")
    client.raw("GET", "/elsewhere")
    text = client.raw("GET", "/metrics").body.decode()
    assert (
        'semsearch_requests_total{method="GET",route="/collections/{name}",status="200"} 2.0'
        in text
    )
    assert 'route="/collections/{name}",status="404"} 1.0' in text
    assert 'semsearch_requests_total{method="any",route="none",status="404"} 1.0' in text
    assert "elsewhere" not in text


def test_the_description_has_examples_and_problems(client: Client) -> None:
    described = client.get("/openapi.json")
    for methods in described["paths"].values():
        for operation in methods.values():
            assert operation["description"]
            assert operation["tags"]
    text = json.dumps(described)
    assert text.count('"example') > 10
    assert "HTTPValidationError" not in text


# -- OpenAI's client -----------------------------------------------------------------------------


@pytest.fixture
def openai_client(client: Client) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{client.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_openai_client_embeds(openai_client: Any) -> None:
    texts = ["a heavy loaf", "the moon"]
    answer = openai_client.embeddings.create(model="words", input=texts)  # base64 by default
    expected = WordEncoder().encode_documents(texts)
    assert [one.embedding for one in answer.data] == [pytest.approx(row) for row in expected]
    assert answer.usage.total_tokens == 7
    plain = openai_client.embeddings.create(
        model="words", input=texts[0], encoding_format="float", dimensions=16
    )
    assert plain.data[0].embedding == pytest.approx(expected[0])
    assert "words" in [model.id for model in openai_client.models.list()]


def test_embeddings_in_base64_are_little_endian_floats(client: Client) -> None:
    body = {"model": "words", "input": "moon", "encoding_format": "base64"}
    (one,) = client.post("/v1/embeddings", body)["data"]
    numbers = struct.unpack("<16f", base64.b64decode(one["embedding"]))
    assert numbers == pytest.approx(WordEncoder().encode_documents(["moon"])[0])


def test_openai_client_finds_vector_stores(openai_client: Any) -> None:
    stores = list(openai_client.vector_stores.list(limit=1))  # two pages
    assert [store.id for store in stores] == ["notes", "points"]
    store = openai_client.vector_stores.retrieve("notes")
    assert (store.name, store.status, store.file_counts.completed) == ("notes", "completed", 3)
    assert store.usage_bytes > 0


def test_openai_client_searches_a_vector_store(openai_client: Any) -> None:
    search = openai_client.vector_stores.search
    (hit,) = search("notes", query="heavy bread", max_num_results=1)
    assert (hit.file_id, hit.filename) == ("notes/bread.md", "bread.md")
    assert hit.content[0].text == "a heavy loaf of bread"
    assert hit.attributes == {"year": 2024}
    several = search("notes", query=["heavy bread", "dripping tap"], max_num_results=2)
    assert {hit.file_id for hit in several} == {"notes/bread.md", "tap"}
    strict = search("notes", query="heavy bread", ranking_options={"score_threshold": 5.0})
    assert list(strict) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": "eq", "key": "year", "value": 1969}, {"moon"}),
        ({"type": "ne", "key": "year", "value": 1969}, {"notes/bread.md", "tap"}),
        ({"type": "gte", "key": "year", "value": 1970}, {"notes/bread.md"}),
        ({"type": "in", "key": "year", "value": [1969, 2024]}, {"moon", "notes/bread.md"}),
        ({"type": "eq", "key": "id", "value": "x"}, {"moon"}),
        ({"type": "eq", "key": "odd].key", "value": "x"}, set()),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "lt", "key": "year", "value": 1970},
                    {"type": "and", "filters": [{"type": "gt", "key": "year", "value": 2020}]},
                ],
            },
            {"moon", "notes/bread.md"},
        ),
    ],
)
def test_openai_client_filters(openai_client: Any, filters: Any, expected: set[str]) -> None:
    found = openai_client.vector_stores.search("notes", query="a", filters=filters)
    assert {hit.file_id for hit in found} == expected


def test_openai_client_raises_its_own_errors(openai_client: Any, guarded: Client) -> None:
    import openai

    with pytest.raises(openai.NotFoundError, match="no collection 'none'"):
        openai_client.vector_stores.search("none", query="a")
    with pytest.raises(openai.BadRequestError, match="max_num_results"):
        openai_client.vector_stores.search("notes", query="a", max_num_results=51)
    for key, error in ((READ, None), ("wrong", openai.AuthenticationError)):
        with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=key, max_retries=0) as made:
            if error is None:
                assert made.vector_stores.retrieve("notes").id == "notes"
            else:
                with pytest.raises(error):
                    made.vector_stores.retrieve("notes")


# -- processes -----------------------------------------------------------------------------------


def pour(client: Client, thread: int, acknowledged: list[str], rest: threading.Event) -> None:
    """Add documents, three at a time, until the server does not answer any more."""
    try:
        for number in range(100_000):
            given = [f"{thread}/{number}/{part}" for part in range(3)]
            body = {
                "documents": [{"id": id_, "text": "some text"} for id_ in given],
                "vectors": [[1 + number, thread], [1, 2], [2, 1]],
            }
            answer = client.send("POST", "/collections/points/upsert", body)
            if answer.status != 200:
                return
            acknowledged += given
            client.post("/collections/points/search", {"query": [1, 2], "k": 3})
            if len(acknowledged) >= 60:
                rest.set()
    except (OSError, http.client.HTTPException):  # the connection is cut
        return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_acknowledged_survives_the_end_of_the_server(
    root: Path, number: signal.Signals
) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()
    with Process(root) as server:
        threads = [
            threading.Thread(target=pour, args=(server.client, thread, acknowledged, enough))
            for thread in range(4)
        ]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        server.signal(number)
        assert server.end() == ""
        for thread in threads:
            thread.join()
    with semsearch.open(root / "points") as index:
        assert index.verify().ok
        assert len(acknowledged) >= 60
        assert all(index.get(acknowledged))
        batches = {id_.rpartition("/")[0] for id_ in (one.id for one in index) if "/" in id_}
        assert len(index) == 2 + 3 * len(batches)  # whole requests or nothing


def test_a_server_says_where_it_is_and_ends_quietly(root: Path) -> None:
    with Process(root) as server:
        address = re.escape(f"{root} at {server.client.url}")
        assert re.fullmatch(rf"Serving 2 collections of {address} \(.*\)\n", server.greeting)
        assert server.client.get("/healthz") == {"status": "ok", "version": semsearch.__version__}
        server.signal(signal.SIGTERM)
        assert server.end() == ""


def test_no_token_is_in_the_list_of_processes(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"write {WRITE}\n")
    with Process(root, "--tokens", str(file)) as server:
        listed = subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=False).stdout
        assert WRITE not in listed
        assert server.client.raw("GET", "/collections").status == 401
        assert Client(server.client.port, WRITE).get("/collections")["collections"]


def fails(*arguments: str) -> str:
    command = [sys.executable, "-m", "semsearch", "serve", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_what_cannot_be_served_is_told_in_a_line(root: Path) -> None:
    assert "no such folder" in fails(str(root / "none"))
    assert "is an index itself" in fails(str(root / "notes"))
    assert "without a token" in fails(str(root), "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another" in fails(str(root), "--port", str(taken.getsockname()[1]))


THAT_ARE_THERE = """
[parameters]
"path.name" = "real"

[[operations]]
include-operation-id = ["retrieve_vector_store", "search_vector_store"]
parameters = { "path.id" = "real" }

[[operations]]
include-operation-id = ["picture", "search_with_picture", "morph"]

[operations.parameters]
"path.name" = "pictures"
"query.id" = "pictures/sea.jpg"
"query.start" = "pictures/sea.jpg"
"query.end" = "pictures/apple.jpg"
"""


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1200)
def test_no_request_makes_the_server_fail(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    with semsearch.create(root / "real", encoder=encoders.TextEncoder()) as index:
        index.add(DOCUMENTS)
    with semsearch.create(root / "pictures", encoder="vae") as index:
        index.ingest(REPOSITORY / "data" / "pictures")
    (tmp_path / "schemathesis.toml").write_text(THAT_ARE_THERE)
    with Process(root) as server:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "schemathesis"), "run"),
                *(f"{server.client.url}/openapi.json", "--max-examples", "60", "--seed", "1"),
                *("--checks", "not_a_server_error,content_type_conformance"),
                *("--checks", "response_schema_conformance,status_code_conformance"),
                *("--no-color", "--request-timeout", "60"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        cases = re.search(r"([\d,]+) generated", done.stdout)
        assert cases
        assert int(cases[1].replace(",", "")) >= 2000
        metrics = server.client.raw("GET", "/metrics").body.decode()
        assert set(re.findall(r'status="(\d)', metrics)) == {"2", "4"}
        for route in (
            *("/collections/{name}/search", "/v1/vector_stores/{id}/search"),
            *("/collections/{name}/picture", "/collections/{name}/morph"),
        ):
            assert f'route="{route}",status="200"' in metrics  # it came that far
