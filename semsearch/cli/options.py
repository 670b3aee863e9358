"""Options that several commands share, and what they lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from semsearch.index import Index

_Command = TypeVar("_Command", bound=Callable[..., Any])

PARTLY = 3
"""Exit code: done, but not for everything."""

DEFAULT_INDEX = Path("indexes/default")


class PathName(click.Path):
    """A path; no empty one, such as a variable of the shell leaves that is not set."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        """Of a file or a folder, or with `dir_okay=False` of a file only."""
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path as a `Path`."""
        if value == "":
            self.fail("a path is empty; for the current folder, use .", param, ctx)
        return super().convert(value, param, ctx)


index_option = click.option(
    "--index",
    "path",
    metavar="PATH",
    type=PathName(),
    default=DEFAULT_INDEX,
    envvar="SEMSEARCH_INDEX",
    show_default=True,
    show_envvar=True,
    help="Folder of the index.",
)
where_option = click.option(
    "--where",
    metavar="FILTER",
    help='Only documents whose metadata match, such as \'year >= 2020 and lang in ("en", "de")\'.',
)
out_option = click.option(
    "-o",
    "out",
    metavar="PATH",
    required=True,
    type=PathName(),
    help="Where to write.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
device_option = click.option(
    "--device", metavar="DEVICE", help="Where the encoder runs: cpu, cuda, ...  [default: the best]"
)
_RUNTIMES = click.Choice(["auto", "light", "openvino", "torch"])
runtime_option = click.option(
    "--runtime",
    type=_RUNTIMES,
    default="auto",
    help="What computes the vectors.  [default: openvino on a CPU, torch on a GPU]",
)
query_runtime_option = click.option(
    "--runtime",
    type=_RUNTIMES,
    help="What computes the vectors.  [default: light, which starts soonest, for one query; else "
    "openvino on a CPU, torch on a GPU]",
)


def number_option(
    name: str, about: str, *, default: int, least: int = 1, metavar: str = "N"
) -> Callable[[_Command], _Command]:
    """An option of a whole number; its default is shown."""
    number = click.IntRange(min=least)
    return click.option(
        name, type=number, metavar=metavar, default=default, show_default=True, help=about
    )


def examples(*lines: str) -> str:
    """The end of a command's help; its lines stay lines."""
    heading = "Examples:" if len(lines) > 1 else "Example:"
    return "\n  ".join(["\b\n" + heading, *lines])


def open_index(
    path: Path, *, encoder: str | None = None, device: str | None = None, runtime: str = "auto"
) -> Index:
    """Open an index; the engine is imported only now."""
    from semsearch import opening

    return opening.open(path, encoder=encoder, device=device, runtime=runtime)
