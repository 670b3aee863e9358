"""The app: all routes around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from semsearch import __version__
from semsearch.server import api, openai_api
from semsearch.server.access import TokenAsked
from semsearch.server.collections import Collections
from semsearch.server.guard import Guard
from semsearch.server.jobs import Jobs
from semsearch.server.maps import Maps
from semsearch.server.metrics import Metrics
from semsearch.server.problems import answer_with_problems
from semsearch.server.service import Limits, Service
from semsearch.server.tokens import Tokens
from semsearch.server.web import add_page

_DESCRIPTION = """
Search collections of documents by meaning and by words.

What a request to write answers is durable. An error is `{"error": {"type": ..., "message": ...}}`
with a status of 400 (the request is wrong), 401 or 403 (its token is), 404, 409 (others are
writing), 413 (it is too large), 501 (the server lacks an extra) or 503 (it took too long).
"""


def make_app(collections: Collections, tokens: Tokens, limits: Limits) -> FastAPI:
    """An ASGI app that serves collections; it closes them when it ends.

    Args:
        collections: The indexes.
        tokens: Who may do what; with none, everybody everything, but only from this machine.
        limits: How much one request may ask for.
    """
    metrics = Metrics()
    service = Service(collections, tokens, limits, metrics)
    jobs = Jobs(service)
    maps = Maps(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await jobs.stop()
        await maps.stop()
        await service.finish()

    app = FastAPI(
        title="semsearch",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        docs_url=None,  # its page would load scripts from a network
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    answer_with_problems(app)
    for router in (*api.routes(service, jobs, maps), openai_api.routes(service)):
        app.include_router(router)
    add_page(app)
    app.add_middleware(Guard, metrics=metrics, most=limits.bytes, local_only=not tokens)
    return app


def guarded(app: ASGIApp, tokens: Tokens) -> ASGIApp:
    """An app that only reads, behind the same door: its host, its size and a token are checked."""
    asked = TokenAsked(app, tokens)
    return Guard(asked, metrics=Metrics(), most=Limits().bytes, local_only=not tokens)
