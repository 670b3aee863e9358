"""Servers for tests: one in a thread, one in a process of its own; and a client of few words."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

import semsearch

REPOSITORY = Path(semsearch.__file__).parents[1]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Sends requests, each over a connection of its own."""

    port: int
    token: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if self.token is not None:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        try:
            connection.request(
                method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}
            )
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        return ok(self.raw("GET", path))

    def send(self, method: str, path: str, body: Any) -> Answer:
        return self.raw(method, path, json.dumps(body), Content_Type="application/json")

    def post(self, path: str, body: Any) -> Any:
        return ok(self.send("POST", path, body))

    def upload(self, path: str, name: str, content: bytes, **fields: str) -> Answer:
        parts = [
            f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = b"".join([*parts, head.encode(), content, b"\r\n--b--\r\n"])
        return self.raw("POST", path, body, Content_Type="multipart/form-data; boundary=b")


def ok(answer: Answer) -> Any:
    assert answer.status < 300, answer.body
    return answer.json


def problem(answer: Answer) -> str:
    """The message of an answer that is an error of the caller's."""
    assert 400 <= answer.status < 500, answer.body
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json.values()
    assert error.keys() == {"type", "message"}
    return str(error["message"])


@contextmanager
def running(app: ASGIApp, token: str | None = None) -> Iterator[Client]:
    """An app served by a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield Client(server.servers[0].sockets[0].getsockname()[1], token)
    finally:
        server.should_exit = True
        thread.join()


class Process:
    """`semsearch serve` as people start it."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "semsearch", "serve", str(folder), "--port", "0", *options]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.greeting = self._process.stdout.readline()
        self.client = Client(int(self.greeting.split(" (")[0].rpartition(":")[2]))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> str:
        """What it said on stderr until its end."""
        _, errors = self._process.communicate(timeout=60)
        return errors

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
