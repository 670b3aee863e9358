"""The house around the code: public names, light import, and documentation that stays true."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import semsearch
from semsearch import cli, errors

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    *("torch", "diffusers", "PIL", "faiss", "sqlalchemy", "pyarrow", "numpy"),
    *("sentence_transformers", "sqlite3", "fastapi", "uvicorn", "pydantic", "mcp"),
}

PUBLIC = [
    "VAE",
    "BackendError",
    "Blend",
    "Chunk",
    "DependencyMissing",
    "Direction",
    "Document",
    "Explanation",
    "Hit",
    "Index",
    "IndexCorrupt",
    "IndexExists",
    "IndexLocked",
    "IndexNotFound",
    "IngestError",
    "InvalidArgument",
    "LatentSpace",
    "LatentSpaceMismatch",
    "Latents",
    "Reader",
    "Reject",
    "Reranker",
    "SemsearchError",
    "Span",
    "Step",
    "StorageError",
    "TextTooLong",
    "UnsupportedFormat",
    "apply_direction",
    "create",
    "decode_images",
    "encode_images",
    "encoder",
    "export_latents",
    "fidelity",
    "fit_direction",
    "image",
    "imagine",
    "imagine_between",
    "import_latents",
    "like",
    "morph",
    "open",
    "text",
    "vector",
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def imported_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter loads for a statement."""
    log = run("-X", "importtime", "-c", statement).stderr
    names = re.findall(r"^import time:.*\| +(\S+)$", log, flags=re.MULTILINE)
    return {name.partition(".")[0] for name in names}


# -- names ---------------------------------------------------------------------------------------


def test_public_names_are_these() -> None:
    assert semsearch.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(semsearch, name)
    assert value.__doc__
    assert name in dir(semsearch)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = semsearch.nothing


def test_public_methods_are_documented() -> None:
    methods = inspect.getmembers(semsearch.Index, inspect.isfunction)
    undocumented = [name for name, method in methods if name[0] != "_" and not method.__doc__]
    assert not undocumented


def test_importing_semsearch_loads_nothing_heavy() -> None:
    loaded = imported_by("import semsearch")
    assert "semsearch" in loaded  # the log was understood
    assert not loaded & HEAVY


def test_help_of_the_command_line_loads_nothing_heavy() -> None:
    loaded = imported_by("import semsearch.cli")
    assert "click" in loaded
    assert not loaded & HEAVY


# -- errors --------------------------------------------------------------------------------------


def error_classes() -> list[type[BaseException]]:
    values = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(value, BaseException) for value in values)
    return values


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
def test_error_stands_in_the_tree_below_its_base(cls: type[BaseException]) -> None:
    tree = (errors.__doc__ or "").splitlines()
    names = [re.sub(r"^[ |+-]*", "", line).split(" ")[0] for line in tree]
    place = names.index(cls.__name__)
    if cls is not errors.SemsearchError:
        depth = tree[place].index(cls.__name__)
        above = (
            name
            for name, line in zip(reversed(names[:place]), reversed(tree[:place]), strict=True)
            if name and line.index(name) < depth
        )
        assert next(above) == cls.__bases__[0].__name__
    assert cls.__doc__
    assert issubclass(cls, errors.SemsearchError)


def test_every_error_is_public() -> None:
    assert {cls.__name__ for cls in error_classes()} <= set(semsearch.__all__)


# -- command line --------------------------------------------------------------------------------


def commands(context: click.Context) -> Iterator[click.Context]:
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command
            yield from commands(click.Context(command, context, info_name=name))


COMMANDS = list(commands(click.Context(cli.main, info_name="semsearch")))


def test_the_commands_are_these() -> None:
    assert [context.info_name for context in COMMANDS[1:]] == [
        "index",
        "watch",
        "search",
        "between",
        "duplicates",
        "eval",
        "get",
        "list",
        "delete",
        "info",
        "verify",
        "repair",
        "optimize",
        "map",
        "serve",
        "mcp",
        "latent",
        "analogy",
        "decode",
        "direction",
        "apply",
        "fit",
        "list",
        "encode",
        "export",
        "import",
        "morph",
        "report",
    ]


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_command_and_its_options_have_help(context: click.Context) -> None:
    assert context.command.help
    options = [one for one in context.command.params if isinstance(one, click.Option)]
    assert not [one.name for one in options if not one.help]


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_command_is_in_the_reference(context: click.Context) -> None:
    reference = read("docs/cli.md")
    assert f"\n## {context.command_path}\n" in reference
    section = reference.split(f"\n## {context.command_path}\n")[1].split("\n## ")[0]
    flags = [flag for option in context.command.params for flag in option.opts if flag[0] == "-"]
    assert not [flag for flag in flags if flag not in section]


@pytest.mark.parametrize("context", COMMANDS[1:], ids=lambda context: context.command_path)
def test_command_answers_its_help_option(context: click.Context) -> None:
    assert context.command.help is not None
    path = context.command_path.split()
    shown = run("-m", *path, "--help").stdout
    assert shown.startswith(f"Usage: {context.command_path} ")


# -- documents -----------------------------------------------------------------------------------


def test_reference_is_what_the_code_says() -> None:
    run("docs/generate.py", "--check")


@pytest.mark.model
def test_python_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    found = re.search(r"```python\n((?:.*\n)+?)```\n\n((?:    .*\n)+)", read("README.md"))
    assert found
    shown = "".join(line[4:] + "\n" for line in found[2].splitlines())
    assert run("-c", found[1], cwd=tmp_path).stdout == shown


@pytest.mark.model
def test_python_of_the_quick_start_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", read("docs/quickstart.md"), re.DOTALL)
    assert len(blocks) == 4
    answer = run("-c", "\n".join(blocks), cwd=tmp_path).stdout
    assert "cat" in answer


def test_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    asked = set(re.findall(r"^    make (\w+)", read("README.md"), re.MULTILINE))
    assert asked == {"demo", "test"}
    assert asked <= targets


@pytest.mark.parametrize(
    "page",
    [str(path.relative_to(ROOT)) for name in ("*.md", "docs/**/*.md", "*/README.md")
     for path in sorted(ROOT.glob(name))],
)  # fmt: skip
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", read(page))
    inside = [link for link in links if "://" not in link]
    missing = [link for link in inside if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", read("docs/decisions/README.md")))
    assert listed == {path.name for path in (ROOT / "docs/decisions").glob("0*.md")}


def test_changelog_knows_the_version() -> None:
    changes = read("CHANGELOG.md")
    assert "\n## [Unreleased]\n" in changes
    assert re.search(rf"\b{re.escape(semsearch.__version__)}\b", changes)


def test_ground_floor_stands_in_the_contract() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    contracts = project["tool"]["importlinter"]["contracts"]
    floors = next(one for one in contracts if one["type"] == "layers")
    listed = {name for layer in floors["layers"] for name in re.split(r"\W+", layer)}
    package = ROOT / "semsearch"
    modules = {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert listed == modules | packages
    assert floors["exhaustive"] is True
