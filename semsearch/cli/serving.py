"""serve and mcp: the indexes in a folder over HTTP, and as tools of a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import display
from semsearch.cli.options import PathName, device_option, examples, number_option, runtime_option
from semsearch.errors import DependencyMissing

if TYPE_CHECKING:
    from semsearch.server.collections import Collections
    from semsearch.server.tokens import Tokens

_folder = click.argument("folder", type=PathName())
_host = click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to bind to."
)
_port = click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    default=8765,
    show_default=True,
    help="Port; 0 takes any that is free.",
)
_tokens = click.option(
    "--tokens",
    "token_file",
    type=PathName(),
    metavar="FILE",
    help="Lines of `read TOKEN` or `write TOKEN`. $SEMSEARCH_READ_TOKEN and $SEMSEARCH_WRITE_TOKEN "
    "count as well.",
)


@click.command(
    epilog=examples(
        "semsearch serve indexes",
        "semsearch serve indexes --host 0.0.0.0 --port 8080 --tokens tokens.txt",
    )
)
@_folder
@_host
@_port
@_tokens
@number_option(
    "--max-request",
    "Size of the largest request, an uploaded file included.",
    default=64,
    metavar="MIB",
)
@number_option("--max-k", "Most hits of one search.", default=1000)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Longest time that a search takes, or that a write waits for its turn.",
)
@device_option
@runtime_option
def serve(
    *,
    folder: Path,
    host: str,
    port: int,
    token_file: Path | None,
    max_request: int,
    max_k: int,
    timeout: float,
    device: str | None,
    runtime: str,
) -> None:
    """Serve the indexes in a FOLDER over HTTP.

    Each index in it is a collection: search, add, get and delete documents, upload files. A part
    of the API is OpenAI's (embeddings, vector stores). /openapi.json describes all of it. Without
    tokens only this machine is served. Ends with Ctrl-C or SIGTERM, after what is under way.
    Needs the extra semsearch[server].
    """
    try:
        from semsearch.server import serve as serving
        from semsearch.server.app import make_app
    except ImportError as error:
        raise DependencyMissing(
            f"serving needs {error.name}: pip install 'semsearch[server]'"
        ) from error
    from semsearch.server.collections import Collections
    from semsearch.server.service import Limits
    from semsearch.server.tokens import Tokens

    tokens = Tokens.load(token_file)
    serving.check_address(host, tokens)
    collections = Collections(folder, device=device, runtime=runtime)
    app = make_app(collections, tokens, Limits(max_request * 2**20, max_k, timeout))

    serving.serve(app, host, port, _greeting(collections, tokens))


@click.command(
    epilog=examples(
        "semsearch mcp indexes", "semsearch mcp indexes --http --port 8080 --tokens tokens.txt"
    )
)
@_folder
@click.option("--http", is_flag=True, help="Over streamable HTTP at /mcp, in place of stdio.")
@_host
@_port
@_tokens
@device_option
@runtime_option
def mcp(
    *,
    folder: Path,
    http: bool,
    host: str,
    port: int,
    token_file: Path | None,
    device: str | None,
    runtime: str,
) -> None:
    """Give a language model the indexes in a FOLDER as tools.

    Speaks the Model Context Protocol on standard input and output, for a program that starts it
    (such as an editor or a chat client), or with --http over a network. The tools search, fetch
    documents and list indexes; none of them writes. Needs the extra semsearch[mcp], and for --http
    semsearch[server] as well.
    """
    try:
        from semsearch.server import mcp as tools
        from semsearch.server.collections import Collections
    except ImportError as error:
        raise DependencyMissing(f"this needs {error.name}: pip install 'semsearch[mcp]'") from error
    collections = Collections(folder, device=device, runtime=runtime)
    server = tools.make_mcp(collections)
    if not http:
        server.run()
        return
    try:
        from semsearch.server import serve as serving
        from semsearch.server.app import guarded
    except ImportError as error:
        raise DependencyMissing(
            f"--http needs {error.name}: pip install 'semsearch[server]'"
        ) from error
    from semsearch.server.tokens import Tokens

    tokens = Tokens.load(token_file)
    serving.check_address(host, tokens)
    app = guarded(tools.http_app(server), tokens)
    serving.serve(app, host, port, _greeting(collections, tokens, "/mcp"))


def _greeting(collections: Collections, tokens: Tokens, path: str = "") -> Callable[[str], None]:
    """Tells what is served, once it is."""

    def started(url: str) -> None:
        number = display.count(len(collections.names()), "collection")
        access = "with tokens" if tokens else "for this machine, without tokens"
        click.echo(f"Serving {number} of {collections.folder} at {url}{path} ({access})")

    return started
