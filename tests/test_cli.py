from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import ir_measures
import pytest
from click.testing import CliRunner, Result
from encoders import WordEncoder
from hypothesis import given
from hypothesis import strategies as st

import semsearch
from semsearch.cli import display, main
from semsearch.storage.lock import WriterLock
from semsearch.types import Document, Reject
from semsearch.vectors import INDEX_KINDS

REPOSITORY = Path(semsearch.__file__).parents[1]
OF_AN_INDEX = [
    *("index", "watch", "search", "between", "duplicates", "eval", "get", "list", "delete"),
    *("info", "verify", "repair", "optimize", "map"),
]
COMMANDS = [*OF_AN_INDEX, "serve", "mcp", "latent"]

LONG = (
    "The kettle was on the hob when the letter came. It spoke of a voyage to the southern ice. "
    "Nobody in the village had ever seen a penguin. The captain wanted a cook and a carpenter. "
    "They packed salted herring, candles and three barrels of flour. The ship left in a gale. "
    "After forty days the first iceberg rose out of the fog like a cathedral. The carpenter wept. "
    "The cook baked bread on the deck and the penguins gathered round to watch him knead it. "
    "In the spring they came home with a notebook full of drawings and a single grey feather."
)
CORPUS: list[dict[str, Any]] = [
    {"_id": "voyage", "title": "A voyage south", "text": LONG, "year": 1911},
    {"_id": "bread", "title": "Dense loaves", "text": "A heavy loaf was proofed too short a time."},
    {"_id": "moon", "title": "Tidal locking", "text": "The Moon always shows us the same face."},
    {"_id": "rent", "text": "The landlord has to return the deposit when the tenant moves out."},
    {"_id": "tap", "text": "A dripping tap needs a new washer; shut the water off first."},
    {"_id": "fugue", "text": "In a fugue the voices enter one after the other with one theme."},
    {"_id": "fox", "text": "Foxes bury food that they cannot eat at once."},
    {"_id": "rose", "text": "Prune the roses in late winter, above a bud that faces outward."},
    {"_id": "bond", "text": "When interest rates rise, the price of an old bond falls."},
    {"_id": "flu", "text": "A fever with aching limbs often means influenza."},
    {"_id": "train", "text": "The night train to Vienna has sleeping cars and a dining car."},
]
QUERIES = [
    {"_id": "q1", "text": "my bread comes out like a brick"},
    {"_id": "q2", "text": "birds that live on the ice"},
    {"_id": "q3", "text": "does the flat's owner keep my money when I leave"},
]
QRELS = {"q1": "bread", "q2": "voyage", "q3": "rent"}


def run(*arguments: str | Path, input: str | None = None, **options: Any) -> Result:
    return CliRunner().invoke(
        main, list(map(str, arguments)), input=input, catch_exceptions=False, **options
    )


def succeed(*arguments: str | Path, code: int = 0, input: str | None = None) -> str:
    result = run(*arguments, input=input)
    assert result.exit_code == code, result.output
    return str(result.stdout)


def fail(*arguments: str | Path, code: int = 1, input: str | None = None) -> str:
    """The one line on stderr; nothing may be on stdout."""
    result = run(*arguments, input=input)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return str(line)


def process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "semsearch", *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        **options,
    )


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}


def jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in its own folder, so that no default index is ever touched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEMSEARCH_INDEX", raising=False)


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """An index of given vectors: what needs no encoder is tested on it."""
    path = tmp_path / "vectors"
    documents = [
        Document("a", "First line.\nSecond line.", "Alpha", {"year": 2020}, str(tmp_path / "a.md")),
        Document("b", "A text without a title " * 20),
        Document("c", "\x1b[31mred\x07 alert", "漢字 " * 60),
    ]
    with semsearch.create(path, dim=3) as index:
        index.add(documents, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real index, made by the command itself; tests that change it take a `copy`."""
    folder = tmp_path_factory.mktemp("built")
    corpus = jsonl(folder / "corpus.jsonl", CORPUS)
    (folder / "notes").mkdir()
    (folder / "notes" / "bees.md").write_text("# Swarms\n\nBees leave the hive with their queen.")
    arguments: list[str | Path] = [
        corpus,
        folder / "notes",
        "--index",
        folder / "index",
        "--chunk-tokens",
        "40",
    ]
    out = succeed("index", *arguments)
    assert out.startswith("Indexed 12 documents (12 new, 0 changed, 0 unchanged) in ")
    assert out.endswith(f" tokens/s -> {folder / 'index'}\n")
    return folder / "index"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


# -- the group -------------------------------------------------------------------------------


def test_help_lists_every_command_with_a_whole_sentence() -> None:
    out = succeed("--help")
    assert main.list_commands(click.Context(main)) == COMMANDS
    listed = out[out.index("Commands:") : out.index("Examples:")]
    assert [line.split()[0] for line in listed.splitlines()[1:] if line.strip()] == COMMANDS
    assert "..." not in listed


def test_help_documents_the_exit_codes() -> None:
    codes = succeed("--help").split("Exit codes:")[1].splitlines()
    assert [line.split()[0] for line in codes if line.strip() and line[4] != " "] == [
        *("0", "1", "2", "3", "130")
    ]


def test_without_arguments_help_is_shown() -> None:
    assert succeed() == succeed("--help")


@pytest.mark.parametrize("name", OF_AN_INDEX)
def test_command_has_help_an_example_and_the_common_options(name: str) -> None:
    out = succeed(name, "--help")
    command = main.get_command(click.Context(main), name)
    assert command
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert command.help
    assert f"semsearch {name}" in out.split("Example")[1]
    assert all(option.help and option.help.endswith((".", "]")) for option in options)
    assert {"path", "as_json"} <= {option.name for option in options}


def test_version() -> None:
    assert succeed("--version") == f"semsearch, version {semsearch.__version__}\n"


def test_help_is_light_and_quick() -> None:
    heavy = ["torch", "faiss", "sqlalchemy", "numpy", "pyarrow", "transformers", "tqdm"]
    code = (
        "import sys; from semsearch.cli import main; main(['--help'], standalone_mode=False);"
        f"sys.exit(any(name in sys.modules for name in {heavy}))"
    )
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", code], env=environment(), check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3


def test_reading_documents_loads_no_model(vectors: Path) -> None:
    code = (
        "import sys; from semsearch.cli import main;"
        f"main(['list', '--index', {str(vectors)!r}], standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ['torch', 'faiss', 'sqlalchemy']))"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


def test_exit_codes_of_a_real_process(vectors: Path) -> None:
    assert process("get", "a", "--index", vectors).returncode == 0
    assert process("get", "a", "--index", vectors / "none").returncode == 1
    assert process("get", "--index", vectors).returncode == 2
    partly = process("get", "a", "z", "--index", vectors)
    assert (partly.returncode, partly.stderr) == (3, "not found: z\n")


def test_broken_pipe_is_quiet(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "many", dim=1) as index:
        index.add([Document(f"d{n}", "x" * 80) for n in range(3000)], [[1]] * 3000)
    command = f"{sys.executable} -m semsearch list --index many | head -1"
    done = subprocess.run(
        command, shell=True, env=environment(), capture_output=True, text=True, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


# -- errors ----------------------------------------------------------------------------------


def test_an_id_alone_is_no_file_of_latents(tmp_path: Path) -> None:
    line = fail("latent", "decode", "photos/a.jpg", "-o", tmp_path / "a.png")
    assert line.endswith("photos/a.jpg: no such file; a picture of an index goes with --index")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["search", "x"], ["get", "x"], ["delete", "x"], ["list"], ["list", "--rejects"]),
        *(
            ["info"],
            ["info", "--json"],
            ["verify"],
            ["repair"],
            ["optimize"],
            ["map", "-o", "a.png"],
        ),
    ],
)
def test_missing_index_is_one_line(arguments: list[str]) -> None:
    line = fail(*arguments, "--index", "nowhere")
    assert line.startswith(f"error: {Path('nowhere').absolute()}: no index here")


def test_default_index_and_environment(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "indexes/default" in fail("info")
    monkeypatch.setenv("SEMSEARCH_INDEX", str(vectors))
    assert json.loads(succeed("info", "--json"))["path"] == str(vectors)
    assert "other" in fail("info", "--index", tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "there is no file or folder 'missing.txt'"),
        ("paper.xps", "%XPS", "'paper.xps' is of no kind that is read"),
        ("folder/table.csv", "id,text\n", "nothing to read: skipped 1 file of other kinds: .csv 1"),
        ("empty/", None, "nothing to read; no index was made"),
    ],
)
def test_useless_source_leaves_no_index_behind(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    if content or name.endswith("/"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    if content:
        (tmp_path / name).write_text(content)
    line = fail("index", name.partition("/")[0], "--index", "new")
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "new").exists()


def test_index_into_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert "the folder is not empty" in fail("index", "a.txt", "--index", ".")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


@pytest.mark.parametrize(
    "command", [("info", "--index", ""), ("index", "a.txt", "--index", ""), ("serve", "")]
)
def test_an_empty_path_is_not_the_current_folder(command: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*command)
    assert result.exit_code == 2
    assert "a path is empty" in result.stderr
    assert not list(tmp_path.iterdir())


def test_locked_index_names_the_holder(vectors: Path) -> None:
    with WriterLock(vectors / "writer.lock"):
        line = fail("delete", "a", "--index", vectors)
    assert f"pid {os.getpid()}" in line


def test_searching_given_vectors_by_text_is_an_error(vectors: Path) -> None:
    assert "this index has no encoder" in fail("search", "text", "--index", vectors)


def test_unknown_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "model").mkdir()
    assert "model" in fail("index", "a.txt", "--encoder", "model", "--index", "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give a QUERY"),
        (["x", "--queries", "-"], "not both"),
        (["x", "--format", "trec"], "--format is for --queries"),
        (["--queries", "-", "--json", "--format", "trec"], "choose one"),
        (["--queries", "-", "--tag", "a b"], "without blanks"),
        (["--queries", "missing.jsonl"], "No such file"),
        (["x", "-k", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_of_search(arguments: list[str], message: str) -> None:
    result = run("search", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


GOOD = '{"_id": "1", "text": "x"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "{\n", ":2: not JSON: "),
        (GOOD + '\n{"_id": "2"}\n', ":3: text: expected a string"),
        ('{"text": "x"}\n', ":1: _id: expected a string"),
        ('{"_id": true, "text": "x"}\n', ":1: _id: expected a string"),
        ('{"_id": "1", "text": " "}\n', ":1: text: expected a string that is not empty"),
        ("[]\n", ":1: expected {"),
        (GOOD + GOOD, ":2: _id '1' was there before"),
        (b"\xff\n", ":1: not JSON: "),
    ],
)
def test_bad_query_file_names_the_line(
    content: str | bytes, message: str, vectors: Path, tmp_path: Path
) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = fail("search", "--queries", file, "--index", vectors)
    assert line.startswith(f"error: {file}{message}")


def test_bad_query_on_stdin_is_named_so(vectors: Path) -> None:
    line = fail("search", "--queries", "-", "--index", vectors, input="{\n")
    assert line.startswith("error: stdin:1: not JSON")


def test_query_ids_with_blanks_cannot_be_trec(vectors: Path) -> None:
    query = '{"_id": "a b", "text": "x"}\n'
    arguments = ["--queries", "-", "--format", "trec", "--index", str(vectors)]
    assert "use --format jsonl" in fail("search", *arguments, input=query)


# -- documents -------------------------------------------------------------------------------


def test_get_shows_a_document(vectors: Path) -> None:
    assert succeed("get", "a", "--index", vectors) == (
        "Alpha\n"
        "id        a\n"
        "source    a.md\n"
        'metadata  {"year": 2020}\n'
        "\n"
        "First line.\n"
        "Second line.\n"
    )


def test_get_prints_json_lines_exactly(vectors: Path) -> None:
    first, last = map(
        json.loads, succeed("get", "a", "c", "--index", vectors, "--json").split("\n")[:2]
    )
    assert first["text"] == "First line.\nSecond line."
    assert first["metadata"] == {"year": 2020}
    assert last["text"] == "\x1b[31mred\x07 alert"


def test_documents_cannot_drive_the_terminal(vectors: Path) -> None:
    out = run("get", "c", "--index", vectors, color=True).stdout
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "red" in out


def test_list_is_one_line_a_document(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = succeed("list", "--index", vectors).splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b", "c"]
    assert lines[0].split() == ["a", "Alpha"]
    assert all(display.cells(line) <= 60 for line in lines)
    assert lines[1].endswith("…")


def test_list_json_and_limit(vectors: Path) -> None:
    lines = succeed("list", "--index", vectors, "--json", "--limit", "2").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]


def test_list_of_nothing(vectors: Path) -> None:
    result = run("list", "--rejects", "--index", vectors)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no rejected records\n"


def test_delete_tells_what_was_there(vectors: Path) -> None:
    result = run("delete", "a", "b", "b", "z", "--index", vectors)
    assert result.exit_code == 3
    assert result.stdout == "Deleted 2 documents\n"
    assert result.stderr == "not found: z\n"
    assert succeed("delete", "c", "--index", vectors) == "Deleted 1 document\n"


def test_delete_json(vectors: Path) -> None:
    out = succeed("delete", "a", "z", "--index", vectors, "--json", code=3)
    assert json.loads(out) == {"deleted": 1, "missing": ["z"]}


# -- keeping ---------------------------------------------------------------------------------


def test_info_is_a_table(vectors: Path) -> None:
    lines = succeed("info", "--index", vectors).splitlines()
    assert lines[0] == str(vectors)
    facts = dict(line.strip().split("  ", 1) for line in lines[1:9])
    assert facts["documents"].strip() == "3"
    assert facts["encoder"].strip() == "none: vectors are given"
    assert lines[-2].split() == ["segment", "vectors", "deleted", "kind", "size"]
    assert lines[-1].split()[:4] == ["1", "3", "0", "exact"]


def test_info_json(vectors: Path) -> None:
    info = json.loads(succeed("info", "--index", vectors, "--json"))
    assert (info["documents"], info["chunks"], info["space"]["dim"]) == (3, 3, 3)
    assert [segment["rows"] for segment in info["segments"]] == [3]


def test_verify_and_repair_of_a_whole_index(vectors: Path) -> None:
    sound = f"{vectors}: 3 documents, 3 chunks, 1 segment: all is well\n"
    assert succeed("verify", "--index", vectors) == sound
    assert succeed("repair", "--index", vectors) == "nothing to repair\n" + sound
    assert json.loads(succeed("verify", "--index", vectors, "--json"))["ok"] is True


def test_damage_that_stays_has_exit_code_3(vectors: Path) -> None:
    (segment,) = (vectors / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    out = succeed("verify", "--index", vectors, code=3)
    assert out.startswith(f"{segment.name}: ")
    assert out.endswith(": 1 problem\n")
    report = json.loads(succeed("verify", "--index", vectors, "--json", code=3))
    assert [problem["where"] for problem in report["problems"]] == [segment.name]
    assert (
        json.loads(succeed("repair", "--index", vectors, "--json", code=3))["after"]["ok"] is False
    )
    assert "problem" in succeed("repair", "--index", vectors, code=3)


def test_optimize_tells_sizes(vectors: Path) -> None:
    succeed("delete", "a", "--index", vectors)
    out = succeed("optimize", "--index", vectors)
    assert out.startswith(f"{vectors}: 1 segment, ")
    assert out.endswith(" MB, exact\n")
    after = json.loads(succeed("optimize", "--index", vectors, "--json"))["after"]
    assert [(segment["rows"], segment["dead"]) for segment in after["segments"]] == [(2, 0)]


@pytest.mark.parametrize("kind", INDEX_KINDS)
def test_optimize_to_a_kind(vectors: Path, kind: str) -> None:
    assert f", {kind}\n" in succeed("optimize", "--kind", kind, "--index", vectors)
    assert json.loads(succeed("info", "--index", vectors, "--json"))["segments"][0]["kind"] == kind
    assert "all is well" in succeed("verify", "--index", vectors)


def test_optimize_for_all_or_for_some_memory(vectors: Path) -> None:
    for wanted in (["--recall", "1"], ["--memory", "0.5"]):
        assert ", exact\n" in succeed("optimize", *wanted, "--index", vectors)
    assert "'sq8' find all" in fail(
        "optimize", "--kind", "ivf", "--recall", "1", "--index", vectors
    )


# -- display ---------------------------------------------------------------------------------


@given(st.text(), st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_nothing(text: str, room: int) -> None:
    lines = display.wrapped(text, room)
    assert all(line and display.cells(line) <= room for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(), st.integers(1, 40))
def test_shortened_text_fits(text: str, room: int) -> None:
    shown = display.shortened(text, room)
    assert display.cells(shown) <= room
    assert shown == text or shown.endswith("…")


def test_excerpt_is_where_the_terms_are() -> None:
    text = "nothing of note here. " * 40 + "The penguin stood on the ice. " + "and so on. " * 60
    pattern = display.terms("where do penguins or a penguin find the ice")
    lines = display.excerpt(text, pattern, 60)
    assert len(lines) == display.EXCERPT_LINES
    assert "penguin stood on the ice" in " ".join(lines)
    assert lines[0].startswith("… ")
    assert lines[-1].endswith(" …")
    assert all(len(line) <= 60 for line in lines)


def test_short_passage_is_shown_whole() -> None:
    assert display.excerpt("one\n\ttwo", display.terms("two"), 60) == ["one two"]
    assert display.excerpt("", display.terms("two"), 60) == []


def test_terms_are_marked_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = display.terms("the ICE and a penguin")
    line = "Penguins like the ice, not rice"
    assert display.marked(line, pattern) == line
    monkeypatch.setattr(display, "styled", lambda: True)
    marked = display.marked(line, pattern)
    assert click.unstyle(marked) == line
    assert [part.split("\x1b")[0] for part in marked.split("\x1b[1m\x1b[4m")[1:]] == [
        "Penguins",
        "ice",
    ]


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert display.styled()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not display.styled()


def test_numbers_for_people(tmp_path: Path) -> None:
    assert display.count(1, "chunk") == "1 chunk"
    assert display.count(5183, "document") == "5,183 documents"
    assert display.megabytes(1_234_567) == "1.23 MB"
    assert display.megabytes(12_345_678_901) == "12,346 MB"
    assert [display.duration(s) for s in (0.04, 42.4, 599, 3540, 4320)] == [
        *("0.0 s", "42 s", "599 s", "59 min", "1 h 12 min")
    ]
    assert display.location(str(tmp_path / "a" / "b.txt")) == "a/b.txt"
    assert display.location("/elsewhere/b.txt") == "/elsewhere/b.txt"
    assert (
        display.rejected(Reject(str(tmp_path / "b.csv"), 7, "text:\nempty"))
        == "b.csv:7: text: empty"
    )


# -- index, with the model -------------------------------------------------------------------


@pytest.mark.model
def test_second_run_encodes_nothing(copy: Path, built: Path) -> None:
    folder = built.parent
    out = succeed("index", folder / "corpus.jsonl", folder / "notes", "--index", copy)
    assert out.startswith("Indexed 12 documents (0 new, 0 changed, 12 unchanged), ")


@pytest.mark.model
def test_index_json_and_skipped_files(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "wasps.txt").write_text("Wasps build their nests of paper.")
    (tmp_path / "mixed" / "a.png").write_text("%PNG")
    report = json.loads(succeed("index", "mixed", "--index", copy, "--json"))
    assert (report["documents"], report["added"], report["chunks"]) == (1, 1, 1)
    assert report["skipped_files"] == {".png": 1}
    assert report["rejects"] == []
    assert "skipped 1 file of other kinds: .png 1" in succeed("index", "mixed", "--index", copy)


@pytest.mark.model
def test_rejects_are_told_and_kept(copy: Path, tmp_path: Path) -> None:
    bad = [{"_id": f"bad{n}"} for n in range(12)]
    good = {"_id": "good", "text": "Owls turn their heads very far."}
    jsonl(tmp_path / "mixed.jsonl", [*bad, good])
    result = run("index", "mixed.jsonl", "--index", copy)
    assert result.exit_code == 3
    assert "Indexed 1 document (1 new, 0 changed, 0 unchanged, 12 rejected)" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 11
    assert [line.split(": ")[0] for line in lines[:10]] == [
        f"mixed.jsonl:{n}" for n in range(1, 11)
    ]
    assert lines[10] == f"... and 2 more: semsearch list --rejects --index {copy}"
    assert len(succeed("list", "--rejects", "--index", copy).splitlines()) == 12
    kept = json.loads(succeed("list", "--rejects", "--index", copy, "--json").splitlines()[11])
    assert kept["position"] == 12
    assert kept["source"] == str(tmp_path / "mixed.jsonl")


@pytest.mark.model
def test_fields_of_a_table_can_be_named(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("url,body\nhttp://x/1,Otters hold hands while they sleep.\n")
    fields = ["--id-field", "url", "--text-field", "body"]
    succeed("index", "t.csv", "--index", copy, *fields)
    assert "Otters" in succeed("get", "http://x/1", "--index", copy)


@pytest.mark.model
def test_documents_from_stdin(copy: Path) -> None:
    out = succeed("index", "-", "--index", copy, input="Badgers dig.\n\nHares run.\n")
    assert out.startswith("Indexed 2 documents (2 new")


@pytest.mark.model
def test_chunk_tokens_are_fixed(copy: Path, built: Path) -> None:
    corpus = built.parent / "corpus.jsonl"
    succeed("index", corpus, "--index", copy, "--chunk-tokens", "40")
    line = fail("index", corpus, "--index", copy, "--chunk-tokens", "50")
    assert "--chunk-tokens 50" in line
    assert "was made with 40" in line


@pytest.mark.model
@pytest.mark.parametrize("tokens", ["0", "20", "1000"])
def test_impossible_chunk_tokens_leave_no_index(built: Path, tokens: str, tmp_path: Path) -> None:
    corpus = built.parent / "corpus.jsonl"
    line = fail("index", corpus, "--index", "new", "--chunk-tokens", tokens)
    assert "chunk_tokens: expected an integer from 34 to 256" in line
    assert not (tmp_path / "new").exists()


def test_closed_streams_and_narrow_terminals_are_no_tracebacks(tmp_path: Path) -> None:
    for command in ("index - --index new", "search --queries - --index new"):
        shell = f"{sys.executable} -m semsearch {command} <&-"
        done = subprocess.run(
            shell,
            shell=True,
            check=False,
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "error: standard input is closed; pipe something into it\n"
        assert not (tmp_path / "new").exists()
    assert display.wrapped("some words", 0) == list("somewords")


@pytest.mark.model
def test_a_real_process_says_nothing_but_the_summary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Otters hold hands while they sleep.")
    done = process("index", "a.txt", "--index", "new", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Indexed 1 document (1 new")
    done = process("search", "sea animals", "--index", "new", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


AGAIN = "run the same command again to go on"


class Terminal:
    """A process whose stderr is a terminal."""

    def __init__(
        self, *arguments: str, cwd: Path, module: tuple[str, ...] = ("-m", "semsearch")
    ) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 120))
        self.process = subprocess.Popen(
            [sys.executable, *module, *arguments],
            env=environment(TERM="xterm"),
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=slave,
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, pattern: str, seconds: float = 200) -> None:
        """Read until a pattern has been shown or the process has ended."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen) and time.monotonic() < deadline:
            if not select.select([self._master], [], [], 1.0)[0]:
                continue
            try:
                self.seen += os.read(self._master, 4096).decode(errors="replace")
            except OSError:  # Linux: the other end is closed
                return

    def close(self) -> None:
        os.close(self._master)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A child does not inherit that SIGINT is ignored, as it is in background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.model
@pytest.mark.usefixtures("_interruptible")
def test_interrupted_ingest_keeps_what_was_encoded(tmp_path: Path) -> None:
    jsonl(tmp_path / "many.jsonl", [{"_id": str(n), "text": f"note {n}"} for n in range(20_000)])
    terminal = Terminal("index", "many.jsonl", "--index", "new", cwd=tmp_path)
    try:
        terminal.read_until(r"[1-9][\d,]* documents")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until(AGAIN)
        assert terminal.process.wait(60) == 130
    finally:
        terminal.close()
    assert "loading all-MiniLM-L6-v2" in terminal.seen
    assert "interrupted: what was committed is kept" in terminal.seen
    assert "Traceback" not in terminal.seen
    with semsearch.open(tmp_path / "new") as index:
        assert 100 <= len(index) < 20_000
        assert index.verify().ok


@pytest.mark.usefixtures("_interruptible")
def test_an_impatient_user_ends_the_process_at_once(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    program = """
import atexit, sys, time
from semsearch import cli, encoders
from tests.encoders import WordEncoder
atexit.register(time.sleep, 300)  # it does not end by itself
class Slow(WordEncoder):
    def encode_documents(self, texts):
        print("encoding", file=sys.stderr)
        time.sleep(300)
encoders.load_any = lambda *_, **__: Slow()
cli.main(["index", "note.txt", "--index", "new"])
"""
    terminal = Terminal("-c", program, cwd=tmp_path, module=())
    try:
        terminal.read_until("encoding")
        time.sleep(0.2)  # until the main thread waits, too
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until(AGAIN, 0.5)
        assert terminal.process.poll() is None  # it waits for what has begun
        # Python can miss a signal that comes just before a thread begins to wait: press again.
        while AGAIN not in terminal.seen and terminal.process.poll() is None:
            terminal.process.send_signal(signal.SIGINT)
            terminal.read_until(AGAIN, 0.5)
        assert AGAIN in terminal.seen
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == -signal.SIGINT  # not waiting for what has begun
        terminal.read_until("Traceback", 10)
        assert "Traceback" not in terminal.seen
    finally:
        terminal.close()
    with semsearch.open(tmp_path / "new") as index:
        assert index.verify().ok


def test_an_interruption_inside_of_a_lock_is_told_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python's locks may then complain that they are not held."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()

    (tmp_path / "note.txt").write_text("a note")
    monkeypatch.setattr("semsearch.encoders.load_any", lambda *_, **__: WordEncoder())
    monkeypatch.setattr(semsearch.Index, "ingest_sources", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        result = run("index", "note.txt", "--index", "new")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert AGAIN in result.stderr


# -- search, with the model ------------------------------------------------------------------


@pytest.mark.model
def test_search_for_a_person(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.parent)
    out = succeed("search", "my bread comes out like a brick", "-k", "2", "--index", built)
    hits = out.split("\n\n")
    assert len(hits) == 2
    assert re.fullmatch(r" 1\. 0\.\d{3}  Dense loaves", hits[0].splitlines()[0])
    assert hits[0].splitlines()[1:] == [
        "    bread · corpus.jsonl",
        "    A heavy loaf was proofed too short a time.",
    ]
    assert "\x1b" not in out


@pytest.mark.model
def test_a_text_file_is_not_named_twice(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.parent)
    out = succeed("search", "honey insects", "-k", "1", "--index", built)
    assert out.splitlines()[0].endswith("  Swarms")
    assert out.splitlines()[1] == "    notes/bees.md"


@pytest.mark.model
def test_search_json_is_exact(built: Path) -> None:
    answer = json.loads(succeed("search", "penguins", "-k", "3", "--index", built, "--json"))
    assert answer["query"] == "penguins"
    assert len(answer["hits"]) == 3
    hit = answer["hits"][0]
    assert set(hit) == {"id", "score", "text", "title", "metadata", "source", "span", "chunk"}
    assert (hit["id"], hit["title"], hit["metadata"]) == (
        "voyage",
        "A voyage south",
        {"year": 1911},
    )
    assert hit["text"] == LONG[slice(*hit["span"])]
    assert -1 <= hit["score"] <= 1


@pytest.mark.model
def test_explain_shows_what_was_done(built: Path) -> None:
    asked = ("search", "penguins", "-k", "2", "--where", "year = 1911", "--explain")
    out = succeed(*asked, "--index", built)
    steps, *hits = out.split("\n\n")
    assert re.search(r"\d\.\d\d ms  filter: \d+ passages match, looked up", steps)
    assert steps.splitlines()[-1].endswith("in all")
    assert len(hits) == 2
    steps = json.loads(succeed(*asked, "--json", "--index", built))["steps"]
    assert {"what", "milliseconds"} == set(steps[0])


@pytest.mark.model
def test_a_field_is_indexed_with_its_documents(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "index"
    corpus = built.parent / "corpus.jsonl"
    succeed("index", corpus, "--index-field", "year", "--index", path)
    assert re.search(r"indexed fields +year\n", succeed("info", "--index", path))
    fail("index", corpus, "--index-field", "title", "--index", path)


@pytest.mark.model
def test_group_shows_a_document_once(built: Path) -> None:
    def ids(*options: str) -> list[str]:
        out = succeed("search", "the ship's cook", "-k", "8", "--index", built, "--json", *options)
        return [hit["id"] for hit in json.loads(out)["hits"]]

    assert ids().count("voyage") > 1
    assert ids("--group").count("voyage") == 1
    assert len(ids("--group")) == 8


@pytest.mark.model
def test_empty_query_is_an_error(built: Path) -> None:
    assert fail("search", " ", "--index", built) == "error: the query is empty"


@pytest.mark.model
def test_search_of_an_empty_index(tmp_path: Path) -> None:
    semsearch.create(tmp_path / "empty").close()
    assert succeed("search", "x", "--index", "empty").startswith("no documents yet")
    assert run("list", "--index", "empty").stderr == "no documents yet\n"


@pytest.mark.model
@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(built: Path) -> None:
    result = run("search", "word " * 400, "-k", "1", "--index", built)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: query 0: ")


@pytest.mark.model
def test_trec_run_can_be_scored(built: Path, tmp_path: Path) -> None:
    queries = jsonl(tmp_path / "queries.jsonl", QUERIES)
    out = succeed("search", "--queries", queries, "--format", "trec", "-k", "100", "--index", built)
    rows = [line.split(" ") for line in out.splitlines()]
    assert len(rows) == len(QUERIES) * 12
    assert {(row[1], row[5]) for row in rows} == {("Q0", "semsearch")}
    for query in QRELS:
        mine = [row for row in rows if row[0] == query]
        scores = [float(row[4]) for row in mine]
        assert len({row[2] for row in mine}) == len(mine) == 12
        assert [int(row[3]) for row in mine] == list(range(1, 13))
        assert scores == sorted(scores, reverse=True)
    measured = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10],
        [ir_measures.Qrel(query, document, 1) for query, document in QRELS.items()],
        list(ir_measures.read_trec_run(out)),
    )
    assert measured[ir_measures.nDCG @ 10] == pytest.approx(1.0)


@pytest.mark.model
def test_a_blend_a_page_and_a_way(built: Path) -> None:
    more = json.loads(succeed("search", "--like", "bread", "-k", "2", "--json", "--index", built))
    assert (more["query"], more["mode"]) == ("like bread", "dense")
    assert "bread" not in {hit["id"] for hit in more["hits"]}
    blend = ["penguins", "--minus", "ice", "--plus", "rent", "--unlike", "bread"]
    found = json.loads(succeed("search", *blend, "--json", "--index", built))
    assert found["query"] == "penguins + rent - ice - like bread"
    page = ["rent", "-k", "1", "--diversity", "0.2"]
    first = succeed("search", *page, "--index", built)
    second = succeed("search", *page, "--offset", "1", "--index", built)
    assert (first[:3], second[:3]) == (" 1.", " 2.")
    assert "no document scores 9" in succeed("search", "rent", "--min-score", "9", "--index", built)
    assert "no more than 9000" in succeed("search", "rent", "--offset", "9000", "--index", built)
    way = json.loads(
        succeed(
            "between", QUERIES[0]["text"], "rent", *("--steps", "3", "--json", "--index", built)
        )
    )
    assert [len(hits) for hits in way["steps"]] == [1, 1, 1]
    assert way["steps"][0][0]["id"] == "bread"
    assert "50%" in succeed("between", "bread", "rent", "--steps", "3", "--index", built)


@pytest.mark.model
def test_queries_of_a_file_are_plain(built: Path, tmp_path: Path) -> None:
    queries = jsonl(tmp_path / "queries.jsonl", QUERIES)
    for options in (["--like", "bread"], ["--offset", "1"], ["--diversity", "0.5"]):
        failed = run("search", "--queries", str(queries), *options, "--index", str(built))
        assert failed.exit_code == 2


@pytest.mark.model
def test_trec_scores_are_those_of_the_index(built: Path, tmp_path: Path) -> None:
    queries = jsonl(tmp_path / "queries.jsonl", QUERIES[:1])
    arguments = ["--queries", str(queries), "--format", "trec", "--tag", "mine"]
    out = succeed("search", *arguments, "--index", built)
    rows = [line.split(" ") for line in out.splitlines()]
    with semsearch.open(built) as index:
        hits = index.search(QUERIES[0]["text"], mode="hybrid", group=True)
    assert [row[2] for row in rows] == [hit.id for hit in hits]
    assert [float(row[4]) for row in rows] == pytest.approx([hit.score for hit in hits], rel=1e-6)
    assert rows[0][5] == "mine"


@pytest.mark.model
@pytest.mark.parametrize("options", [["--json"], ["--format", "jsonl"], []])
def test_jsonl_answers_from_stdin(built: Path, options: list[str]) -> None:
    given = "".join(json.dumps(query) + "\n" for query in QUERIES)
    out = succeed("search", "--queries", "-", "-k", "2", "--index", built, *options, input=given)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["query_id"] for answer in answers] == ["q1", "q2", "q3"]
    assert [answer["hits"][0]["id"] for answer in answers] == ["bread", "voyage", "rent"]
    assert all(len(answer["hits"]) == 2 for answer in answers)
    assert set(answers[0]["hits"][0]) == {"id", "score"}


@pytest.mark.model
def test_many_queries_are_answered_in_order(built: Path, tmp_path: Path) -> None:
    many = [{"_id": n, "text": QUERIES[n % 3]["text"]} for n in range(260)]
    queries = jsonl(tmp_path / "queries.jsonl", many)
    out = succeed("search", "--queries", queries, "-k", "1", "--index", built)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["query_id"] for answer in answers] == [str(n) for n in range(260)]
    assert [answer["hits"][0]["id"] for answer in answers[:3]] == ["bread", "voyage", "rent"]


@pytest.mark.model
def test_document_ids_with_blanks_cannot_be_trec(copy: Path, tmp_path: Path) -> None:
    with semsearch.open(copy) as index:
        index.add({"id": "two words", "text": "A heavy loaf, like a brick of bread."})
    queries = jsonl(tmp_path / "queries.jsonl", QUERIES[:1])
    result = run("search", "--queries", queries, "--format", "trec", "--index", copy)
    assert result.exit_code == 1
    assert "'two words'" in result.stderr
    assert "use --format jsonl" in result.stderr
