"""What every request meets first: is it for this server, is it small enough? It is counted."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semsearch.server.metrics import Metrics
from semsearch.server.problems import respond

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names that lead to this machine and nowhere else."""


class Guard:
    """ASGI middleware around the whole app.

    Args:
        app: The app.
        metrics: Where requests are counted.
        most: Bytes of the largest request.
        local_only: Answer only what is sent to a loopback name: without tokens, a page in a
            browser must not reach the server by a name that its author lets point here.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, most: int, local_only: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._most = most
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counting = _Counting(self._metrics, scope, send)
        refused = self._refused(Headers(scope=scope))
        if refused:
            await respond(*refused)(scope, receive, counting)
        else:
            await self._app(scope, self._bounded(receive), counting)

    def _refused(self, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, if a request is not to be looked at."""
        host = headers.get("host", "")
        if self._local_only and _hostname(f"//{host}") not in LOOPBACK:
            return 403, "without tokens this server answers only to localhost"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "requests from pages of other sites are not answered"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most:
            return 413, self._too_large()
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """Also what does not say its length in advance is cut off where it is too long."""
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise HTTPException(413, self._too_large())
            return message

        return bounded

    def _too_large(self) -> str:
        return f"the request is larger than {self._most / 2**20:g} MiB; send it in parts"


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class _Counting:
    """Sends an answer and counts it when it ends."""

    def __init__(self, metrics: Metrics, scope: Scope, send: Send) -> None:
        self._metrics = metrics
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()
        self._status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._count()

    def _count(self) -> None:
        route: Any = self._scope.get("route")
        path: str = getattr(route, "path", "none")  # not the address: those are without end
        method = self._scope["method"] if route is not None else "any"
        self._metrics.requests.labels(method, path, str(self._status)).inc()
        self._metrics.seconds.labels(path).observe(time.perf_counter() - self._began)
