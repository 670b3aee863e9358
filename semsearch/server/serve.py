"""A server at an address, from its socket to its last commit."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from semsearch.errors import InvalidArgument, StorageError
from semsearch.server.tokens import Tokens

_GRACE = 30  # s that requests under way get when the server is told to end


def check_address(host: str, tokens: Tokens) -> None:
    """Refuse to serve a network without a token.

    Raises:
        InvalidArgument: The address is not this machine's own, and there are no tokens.
    """
    if not tokens and not _is_loopback(host):
        raise InvalidArgument(
            f"--host {host}: others could read and write without a token; give tokens with "
            "--tokens FILE, or serve 127.0.0.1"
        )


def serve(app: ASGIApp, host: str, port: int, started: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        app: What is served.
        host: Address to bind to.
        port: 0 for any that is free.
        started: Told the URL when requests are taken.

    Raises:
        StorageError: The address cannot be bound to.
    """
    with _bound(host, port) as bound:
        number = bound.getsockname()[1]
        started(f"http://{f'[{host}]' if ':' in host else host}:{number}")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE
        )
        uvicorn.Server(config).run(sockets=[bound])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise StorageError(
            f"{host} port {port} cannot be served: {error.strerror}; choose another with --port"
        ) from error
    # asyncio does so only to sockets that it makes; else the end of an answer waits up to 40 ms
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
