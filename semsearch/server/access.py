"""Routes that ask for a token before they read anything of a request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from semsearch.server.problems import Problem, respond
from semsearch.server.tokens import Scope, Tokens

_BEARER = HTTPBearer(auto_error=False, description="A token of the server, if it has any.")
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What is wrong with the request"},
    "5XX": {"model": Problem, "description": "What went wrong in the server"},
}


def check(tokens: Tokens, authorization: str, needed: Scope) -> None:
    """Let a request pass, or not.

    Args:
        tokens: The server's.
        authorization: The header `Authorization`, empty when there is none.
        needed: What the token must allow.

    Raises:
        HTTPException: 401 without a token that is known, 403 when it does not allow enough.
    """
    if not tokens:
        return
    kind, _, token = authorization.partition(" ")
    scope = tokens.scope(token.strip()) if kind.lower() == "bearer" else None
    if scope is None:
        challenge = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "expected `Authorization: Bearer TOKEN` with a token", challenge)
    if needed == "write" and scope != "write":
        raise HTTPException(403, "this token may only read")


class _Read(APIRoute):
    """A route for which any token will do."""

    needed: Scope = "read"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind the check."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            authorization = request.headers.get("authorization", "")
            check(request.app.state.service.tokens, authorization, self.needed)
            return await handler(request)

        return checked


class _Write(_Read):
    """A route for which a token must allow writing."""

    needed: Scope = "write"


def router(scope: Scope, tag: str) -> APIRouter:
    """An empty router whose routes need a scope.

    Args:
        scope: What a token must allow.
        tag: Heading of its routes in the API's description.
    """
    return APIRouter(
        route_class=_Write if scope == "write" else _Read,
        dependencies=[Depends(_BEARER)],  # says in the description that a token is asked for
        responses=_PROBLEMS,
        tags=[tag],
    )


class TokenAsked:
    """ASGI middleware that asks for a token before the app sees a request.

    Args:
        app: The app; what it does is reading.
        tokens: The server's.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            try:
                check(self._tokens, Headers(scope=scope).get("authorization", ""), "read")
            except HTTPException as error:
                await respond(error.status_code, error.detail, error.headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)
