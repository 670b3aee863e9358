"""The command line: one group, one file per group of verbs, one place where errors become lines.

Only click is imported here and at the top of the command modules, each of which is imported when a
command of it is called; the engine is loaded by the command that needs it.
"""

from __future__ import annotations

import atexit
import gc
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import click

from semsearch import __version__
from semsearch.cli import display
from semsearch.cli.options import examples
from semsearch.errors import SemsearchError

__all__ = ["main"]

_EXAMPLES = examples(
    "semsearch index notes/",
    'semsearch search "how do I keep bread from going stale"',
)
_EPILOG = f"""{_EXAMPLES}

\b
Exit codes:
  0    done
  1    an error, told in one line on stderr
  2    wrong usage
  3    done, but not for everything: records were rejected (index), problems
       were found or are left (verify, repair), ids were not there (get, delete)
  130  interrupted
"""


class Failure(click.ClickException):
    """An error as one line on stderr."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line."""
        click.echo(display.error(self.message), file=file, err=True)


class Interrupted(click.ClickException):
    """The user pressed Ctrl-C."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line, below the ^C that a terminal shows."""
        after_echo = "\n" if sys.stderr.isatty() else ""
        click.echo(after_echo + self.message, file=file, err=True)


_COMMANDS = {
    "index": "indexing.index",
    "watch": "watching.watch",
    "search": "searching.search",
    "between": "searching.between",
    "duplicates": "duplicates.duplicates",
    "eval": "evaluating.evaluate",
    "get": "documents.get",
    "list": "documents.list_",
    "delete": "documents.delete",
    "info": "keeping.info",
    "verify": "keeping.verify",
    "repair": "keeping.repair",
    "optimize": "keeping.optimize",
    "map": "mapping.map_",
    "serve": "serving.serve",
    "mcp": "serving.mcp",
    "latent": "latent.latent",
}
"""Commands, those needed first before the others, and where in this package each of them is."""


class Commands(click.Group):
    """Imports the command that is called; turns what it raises into lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Names, not sorted."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, if there is one."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].rpartition(".")
        command: click.Command = getattr(import_module(f"semsearch.cli.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises:
            Failure: The command raised a SemsearchError.
            Interrupted: The user pressed Ctrl-C.
        """
        try:
            with _own_warnings():
                return super().invoke(ctx)
        except SemsearchError as error:
            raise Failure(str(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:  # standard output on a full disk, a closed standard input
            raise Failure(f"{error.filename or 'output'}: {error.strerror or error}") from error
        except KeyboardInterrupt as error:
            raise _interrupted(ctx) from error
        except RuntimeError as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # in the midst of taking a lock
                raise _interrupted(ctx) from error
            if sys.stdin is not None:
                raise
            raise Failure("standard input is closed; pipe something into it") from error


def _interrupted(ctx: click.Context) -> Interrupted:
    """What to raise for Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # pressed again, it ends this at once
    if ctx.invoked_subcommand not in ("index", "watch"):
        return Interrupted("interrupted")
    return Interrupted(
        "interrupted: what was committed is kept; run the same command again to go on"
    )


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Show semsearch's warnings in one line each, and no other library's."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if category.__module__.startswith("semsearch."):
            click.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@click.group(
    cls=Commands,
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="semsearch")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Search your documents by meaning, on this machine.

    Add files with `semsearch index`, ask with `semsearch search`.
    """
    _spare_the_collector()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character: "?"
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _spare_the_collector() -> None:
    """Look for garbage rarely, and not at all at the end.

    What a command imports are some hundred thousand objects that all stay; going through them
    again and again is a fifth of the time that a search takes.
    """
    gc.set_threshold(100_000, 20, 100)
    atexit.register(gc.freeze)
