"""What goes wrong, as one JSON shape: a status, a type for programs, a message for people."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from semsearch.errors import (
    DependencyMissing,
    IndexExists,
    IndexLocked,
    IndexNotFound,
    IngestError,
    InvalidArgument,
    LatentSpaceMismatch,
    SemsearchError,
)

_log = logging.getLogger("semsearch.server")

_TYPES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    501: "not_installed",
    503: "timeout",
}
_STATUS: list[tuple[type[SemsearchError], int]] = [
    (DependencyMissing, 501),
    (IndexNotFound, 404),
    (IndexExists, 409),
    (IndexLocked, 409),
    (InvalidArgument, 400),
    (IngestError, 400),
    (LatentSpaceMismatch, 409),
]
_PLACES_SHOWN = 3


class Detail(BaseModel):
    """What went wrong.

    Attributes:
        type: One word for it.
        message: What was expected, what came, what to do.
    """

    type: str
    message: str


class Problem(BaseModel):
    """The body of every answer that is an error."""

    error: Detail

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"error": {"type": "not_found", "message": "no collection 'notes'"}}
        }
    )


def respond(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that tells of a problem."""
    kind = _TYPES.get(status, "invalid_request" if status < 500 else "internal")
    return JSONResponse({"error": {"type": kind, "message": message}}, status, headers)


def answer_with_problems(app: FastAPI) -> None:
    """Let every error of an app be answered in the one shape."""

    async def semsearch_error(request: Request, error: SemsearchError) -> JSONResponse:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        if status == 500:
            _log.error("%s", error)
        return respond(status, _printable(request.app.state.service.collections.told(error)))

    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return respond(400, _printable(_summary(error.errors())))

    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return respond(error.status_code, _printable(error.detail), error.headers)

    async def late(_: Request, __: TimeoutError) -> JSONResponse:
        return respond(503, "it took too long; try again, or ask for less", {"Retry-After": "1"})

    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return respond(500, "an error of the server; its log tells more")

    handlers: dict[Any, Any] = {
        SemsearchError: semsearch_error,
        RequestValidationError: invalid,
        HTTPException: http,
        TimeoutError: late,
        Exception: unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _summary(errors: Any) -> str:
    """`k: Input should be ...; mode: ...`, without what was sent."""
    if errors and errors[0]["type"] == "json_invalid":
        reason, at = errors[0]["ctx"]["error"], errors[0]["loc"][-1]
        return f"the body is not JSON: {reason} at character {at}"
    places = [
        f"{'.'.join(str(step) for step in error['loc'] if step != 'body') or 'body'}: "
        f"{error['msg']}"
        for error in errors
    ]
    more = f"; and {len(places) - _PLACES_SHOWN} more" if len(places) > _PLACES_SHOWN else ""
    return "; ".join(places[:_PLACES_SHOWN]) + more


def _printable(message: str) -> str:
    """Without lone surrogates, which no answer can hold."""
    return message.encode(errors="backslashreplace").decode()
