"""Write docs/cli.md and docs/api.md from the code, or check that they are what it would write.

    python docs/generate.py            # write
    python docs/generate.py --check    # exit 1 and name the pages that are out of date

The command reference is click's own help. The API reference is the public names of `semsearch`,
what their methods return, their signatures and docstrings. Nothing here depends on the terminal,
the environment or the version of Python, so that the committed pages can be compared.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_overloads

import click

import semsearch
from semsearch import (
    cli,
    codec,
    duplicates,
    evaluate,
    info,
    ingest,
    latent_file,
    maintenance,
    rag,
    sample,
)
from semsearch.encoders import Encoder, PictureEncoder
from semsearch.sources import beir

HERE = Path(__file__).resolve().parent
WIDTH = 100

FUNCTIONS = ("create", "open", "encoder")
POINTS = ("text", "image", "like", "vector")
IMAGE_FUNCTIONS = ("encode_images", "decode_images", "morph", "fidelity")
IMAGINING = ("imagine", "imagine_between", "fit_direction", "apply_direction")
EXCHANGE = ("export_latents", "import_latents")
VALUES = (
    "Direction",
    "Document",
    "Hit",
    "Explanation",
    "Step",
    "Chunk",
    "Span",
    "LatentSpace",
    "Reject",
)
REPORTS = (
    info.IndexInfo,
    info.SegmentInfo,
    sample.Sample,
    ingest.IngestReport,
    duplicates.Duplicates,
    ingest.Progress,
    maintenance.VerifyReport,
    maintenance.Problem,
    maintenance.RepairReport,
)

_SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Warns", "Yields")


def main(arguments: list[str]) -> int:
    """Write both pages, or compare them with `--check`."""
    pages = {HERE / "cli.md": cli_page(), HERE / "api.md": api_page()}
    if "--check" in arguments:
        stale = [path.name for path, text in pages.items() if _read(path) != text]
        for name in stale:
            print(f"docs/{name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# -- command line --------------------------------------------------------------------------------


def cli_page() -> str:
    """All commands with their help."""
    parts = [
        "# Command line",
        "Generated from the code by `make docs`. The same text as `semsearch COMMAND --help`.",
    ]
    for context in commands(click_context(cli.main, "semsearch")):
        parts.append(f"## {context.command_path}")
        parts.append(_fenced(_help(context), "text"))
    return "\n\n".join(parts) + "\n"


def click_context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """Where a command's help is made, by the same settings as when it runs."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, parent, info_name=name, **settings)


def commands(context: click.Context) -> Iterator[click.Context]:
    """A command and all below it."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            below = group.get_command(context, name)
            if below is not None and not below.hidden:
                yield from commands(click_context(below, name, context))


def _help(context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in context.get_help().splitlines())


# -- Python --------------------------------------------------------------------------------------


def api_page() -> str:
    """Every public name."""
    functions = [_function(getattr(semsearch, name), f"semsearch.{name}") for name in FUNCTIONS]
    values = [_class(getattr(semsearch, name)) for name in VALUES]
    errors = [name for name in semsearch.__all__ if _is_error(getattr(semsearch, name))]
    images = [_function(getattr(semsearch, name), f"semsearch.{name}") for name in IMAGE_FUNCTIONS]
    of_index = (*IMAGINING, *EXCHANGE)
    imagining = [_function(getattr(semsearch, name), f"semsearch.{name}") for name in of_index]
    left_out = {*semsearch.__all__} - {
        *FUNCTIONS,
        *VALUES,
        *errors,
        *POINTS,
        *IMAGE_FUNCTIONS,
        *IMAGINING,
        *EXCHANGE,
        *("Blend", "Index", "Latents", "Reader", "Reranker", "VAE"),
    }
    if left_out:
        raise SystemExit(f"docs/generate.py has no section for {', '.join(sorted(left_out))}")
    parts = [
        "# Python API",
        "Generated from the code by `make docs`. Everything here is a name of `semsearch`, except "
        "what stands under *Reports* and *Encoder*: those are given to you, or given by you. What "
        "stands under *Retrieval for RAG* is in `semsearch.rag`, under *Evaluation* in "
        "`semsearch.evaluate` and `semsearch.sources.beir`.",
        "## Functions",
        *functions,
        "## Index",
        *_class_body(semsearch.Index),
        "## Reader",
        _markdown(semsearch.Reader.__doc__),
        "## Queries that are points",
        *(_function(getattr(semsearch, name), f"semsearch.{name}") for name in POINTS),
        _class(semsearch.Blend),
        "## Reranking",
        _class(semsearch.Reranker),
        "## Retrieval for RAG",
        *(_class(one) for one in (rag.Retriever, rag.Context, rag.Passage)),
        "## Evaluation",
        _function(evaluate.evaluate, "semsearch.evaluate.evaluate"),
        _class(evaluate.Quality),
        _function(beir.read_collection, "semsearch.sources.beir.read_collection"),
        _class(beir.Collection),
        "## Values",
        *values,
        "## Images",
        _class(semsearch.VAE),
        *images,
        *imagining,
        *(_class(value) for value in (semsearch.Latents, latent_file.Picture, codec.Fidelity)),
        "## Reports",
        *(_class(report) for report in REPORTS),
        "## Encoder",
        *_class_body(Encoder),
        _class(PictureEncoder),
        "## Errors",
        _fenced(_error_tree(), "text"),
    ]
    return "\n\n".join(parts) + "\n"


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, semsearch.SemsearchError)


def _error_tree() -> str:
    return inspect.cleandoc(inspect.getmodule(semsearch.SemsearchError).__doc__ or "")


def _class(cls: type) -> str:
    return "\n\n".join([f"### {cls.__name__}", *_class_body(cls)])


def _class_body(cls: type) -> Iterator[str]:
    if dataclasses.is_dataclass(cls):
        yield _fenced(_signature(cls.__name__, _field_words(cls)), "python")
    elif issubclass(cls, tuple):
        words = [f"{name}: {_name(kind)}" for name, kind in inspect.get_annotations(cls).items()]
        yield _fenced(_signature(cls.__name__, words), "python")
    elif cls is semsearch.VAE:
        yield _fenced(_call("VAE", cls.__init__, cls.__init__), "python")
    yield _markdown(cls.__doc__)
    for name, member in _members(cls):
        if isinstance(member, property):
            kind = inspect.get_annotations(member.fget)["return"] if member.fget else ""
            yield f"#### {cls.__name__}.{name}"
            yield _fenced(f"{name}: {kind}", "python")
            yield _markdown(member.__doc__)
        else:
            yield _function(member, f"{cls.__name__}.{name}")


_OPERATORS = ("__len__", "__contains__", "__iter__")


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, those it inherits first, in the order they are written."""
    classes = [base for base in reversed(cls.__mro__) if base.__module__.startswith("semsearch")]
    for name, raw in {name: raw for each in classes for name, raw in vars(each).items()}.items():
        member = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        public = not name.startswith("_") or (cls is semsearch.Index and name in _OPERATORS)
        if public and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def _name(annotation: object) -> str:
    """An annotation as it is written; NamedTuple wraps it (ForwardRef)."""
    return str(getattr(annotation, "__forward_arg__", annotation))


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _field_words(cls: type) -> list[str]:
    return [
        f"{field.name}: {field.type}{_default(field)}"
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {_literal(field.default)}"
    if field.default_factory is not dataclasses.MISSING:
        return f" = {getattr(field.default_factory, '__name__', '...')}()"
    return ""


def _function(function: Callable[..., Any], name: str) -> str:
    """A heading, the signature (or all of its overloads) and the docstring."""
    plain = inspect.unwrap(function)
    shown = name.removeprefix("semsearch.") if name.startswith("semsearch.") else name
    short = name.rpartition(".")[2]
    signatures = [_call(short, one, plain) for one in get_overloads(plain) or [plain]]
    level = "###" if name.startswith("semsearch.") else "####"
    return "\n\n".join(
        [f"{level} {shown}", _fenced("\n".join(signatures), "python"), _markdown(plain.__doc__)]
    )


def _call(name: str, function: Callable[..., Any], defaults: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    known = inspect.signature(defaults).parameters
    words: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            starred = any(word.startswith("*") for word in words)
            words += [] if starred else ["*"]
        words.append(_parameter(parameter, known[parameter.name].default))
    return _signature(name, words, signature.return_annotation)


def _parameter(parameter: inspect.Parameter, default: object) -> str:
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    given = "" if parameter.default is parameter.empty else f" = {_literal(default)}"
    return f"{star}{parameter.name}: {parameter.annotation}{given}"


def _signature(name: str, words: list[str], returns: object = None) -> str:
    arrow = f" -> {returns}" if isinstance(returns, str) else ""
    line = f"{name}({', '.join(words)}){arrow}"
    if len(line) <= WIDTH:
        return line
    inner = "".join(f"    {word},\n" for word in words)
    return f"{name}(\n{inner}){arrow}"


# -- docstrings ----------------------------------------------------------------------------------


def _markdown(docstring: str | None) -> str:
    """A Google-style docstring as Markdown: its sections become lists."""
    if not docstring:
        return ""
    lines = inspect.cleandoc(docstring).splitlines()
    parts: list[str] = []
    text: list[str] = []
    while lines:
        line = lines.pop(0)
        section = line.removesuffix(":")
        if line.endswith(":") and section in _SECTIONS:
            body = _take_indented(lines)
            parts += ["\n".join(text).strip(), f"**{section}**", _section(section, body)]
            text = []
        else:
            text.append(line)
    parts.append("\n".join(text).strip())
    return "\n\n".join(part for part in parts if part)


def _take_indented(lines: list[str]) -> str:
    body: list[str] = []
    while lines and (not lines[0].strip() or lines[0].startswith("    ")):
        body.append(lines.pop(0))
    return textwrap.dedent("\n".join(body)).strip()


def _section(name: str, body: str) -> str:
    if name in ("Returns", "Yields"):
        return body
    items: list[str] = []
    for line in body.splitlines():
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        elif line.strip():
            items.append(line.strip())
    return "\n".join(_item(item) for item in items)


def _item(item: str) -> str:
    found = re.match(r"([\w.*, ]+?)(?: \(.*?\))?: (.*)", item)
    return f"- `{found[1]}`: {found[2]}" if found else f"- {item}"


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
