from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import string
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semsearch.errors import IngestError
from semsearch.sources import Record, Sources
from semsearch.sources.seen import FirstSeen
from semsearch.sources.text import heading
from semsearch.types import MAX_TEXT_BYTES, Document, Reject

MIB = 2**20


def read(*paths: str | Path, **options: Any) -> list[Record]:
    return list(Sources(paths, **options))


def documents(*paths: str | Path, **options: Any) -> list[Document]:
    items = [record.item for record in read(*paths, **options)]
    assert [item for item in items if isinstance(item, Reject)] == []
    return [item for item in items if isinstance(item, Document)]


def rejects(*paths: str | Path, **options: Any) -> list[tuple[int, str]]:
    items = [record.item for record in read(*paths, **options)]
    return [(item.position, item.reason) for item in items if isinstance(item, Reject)]


def ids(*paths: str | Path, **options: Any) -> list[str]:
    items = [record.item for record in read(*paths, **options)]
    return [item.id for item in items if isinstance(item, Document)]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(path: Path, *rows: object) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder in which permissions count, even when the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    as_root = os.geteuid() == 0
    if as_root:
        os.seteuid(65534)
    yield folder
    if as_root:
        os.seteuid(0)
    shutil.rmtree(folder)


class TestNaming:
    def test_missing_path(self, tmp_path: Path) -> None:
        with pytest.raises(IngestError, match=r"no file or folder '.*absent'; check the path"):
            Sources([tmp_path / "absent"])

    def test_an_empty_path_is_not_the_current_folder(self) -> None:
        with pytest.raises(IngestError, match=r"a path is empty; .* use \."):
            Sources([""])

    def test_the_home_of_nobody(self) -> None:
        with pytest.raises(IngestError, match=r"no file or folder '~nobody-here/notes'"):
            Sources(["~nobody-here/notes"])

    def test_path_below_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(IngestError, match="no file or folder"):
            Sources([write(tmp_path / "a.txt", "x") / "b.txt"])

    @pytest.mark.parametrize("name", ["a.xyz", "a", "a.mp3", ".txt"])
    def test_unsupported_kind_names_the_supported(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(IngestError, match=r"no kind that is read; use \.txt.*\.parquet or sou"):
            Sources([write(tmp_path / name, "x")])

    def test_path_with_a_nul(self) -> None:
        with pytest.raises(IngestError, match="cannot be read"):
            Sources(["a\0.txt"])

    def test_link_to_itself(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").symlink_to(tmp_path / "a.txt")
        with pytest.raises(IngestError, match="cannot be read: Too many levels"):
            Sources([tmp_path / "a.txt"])

    def test_pipe_is_refused_without_opening_it(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.txt")
        with pytest.raises(IngestError, match=r"not a regular file; to read a pipe, use -"):
            Sources([tmp_path / "a.txt"])

    def test_device_is_refused(self) -> None:
        with pytest.raises(IngestError, match="not a regular file"):
            Sources(["/dev/null"])

    def test_socket_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes only
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("a.txt")
            with pytest.raises(IngestError, match="not a regular file"):
                Sources(["a.txt"])

    def test_unreadable_file(self, locked: Path) -> None:
        path = write(locked / "a.txt", "x")
        path.chmod(0)
        with pytest.raises(IngestError, match="Permission denied; check its permissions"):
            Sources([path])

    def test_unreadable_folder(self, locked: Path) -> None:
        folder = locked / "notes"
        folder.mkdir(mode=0)
        with pytest.raises(IngestError, match="Permission denied"):
            Sources([folder])

    def test_name_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = write(tmp_path / os.fsdecode(b"\xff.txt"), "x")
        with pytest.raises(IngestError, match=r"xff\.txt' is not UTF-8; rename it"):
            Sources([path])

    def test_suffix_in_any_case(self, tmp_path: Path) -> None:
        assert ids(write(tmp_path / "A.TXT", "x"), write(tmp_path / "B.Md", "y")) == [
            "A.TXT",
            "B.Md",
        ]

    def test_a_link_to_a_file_keeps_its_own_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").symlink_to(write(tmp_path / "blob", "x"))
        assert documents(tmp_path / "a.txt") == [
            Document(id="a.txt", text="x", source=str(tmp_path / "a.txt"))
        ]

    def test_source_is_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "n" / "a.txt", "x")
        monkeypatch.chdir(tmp_path / "n")
        expected = str(tmp_path / "n" / "a.txt")
        assert documents("a.txt")[0].source == expected
        assert documents(".") == [Document(id="n/a.txt", text="x", source=expected)]


class TestProgress:
    def test_bytes_add_up_to_the_total(self, tmp_path: Path) -> None:
        write(tmp_path / "n" / "a.txt", "hello")
        write(tmp_path / "n" / "b.md", " ")
        paths = [
            tmp_path / "n",
            write(tmp_path / "a.jsonl", '{"id": 1, "text": "a"}\n\nbad\n{"id": 2, "text": "b"}'),
            write(tmp_path / "a.csv", "id,text\n3,x\n4,y,z\n"),
            parquet(tmp_path / "a.parquet", id=[5, 6, 7], text=["a", "", "c"]),
            write(tmp_path / "b.jsonl.gz", gzip.compress(b'{"id": 8, "text": "a"}\n')),
        ]
        sources = Sources(paths)
        assert sources.total_bytes == sum(record.bytes for record in sources)
        size = sum(path.stat().st_size for path in paths[1:]) + 6
        assert sources.total_bytes == size

    def test_total_is_unknown_with_stdin(self, tmp_path: Path) -> None:
        sources = Sources([write(tmp_path / "a.txt", "x"), "-"], stdin=io.BytesIO(b"y\n"))
        assert sources.total_bytes is None
        assert [record.bytes for record in sources] == [1, 2]

    def test_position_of_documents(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", '\n{"id": 1, "text": "a"}\n\n{"id": 2, "text": "b"}')
        assert [record.position for record in read(path)] == [2, 4]

    def test_a_second_pass_reads_the_same(self, tmp_path: Path) -> None:
        sources = Sources([jsonl(tmp_path / "a.jsonl", {"id": 1, "text": "a"})])
        assert list(sources) == list(sources) != []


class TestTextFiles:
    @pytest.mark.parametrize(
        "text", ["a\r\nb\rc\n", "  x  ", "\n\nx", "é\u2028\x85\x0c\x1c𝄞", "a\ufeffb"]
    )
    def test_text_is_exact(self, tmp_path: Path, text: str) -> None:
        path = write(tmp_path / "a.txt", text)
        assert documents(path) == [Document(id="a.txt", text=text, source=str(path))]

    def test_byte_order_mark_is_dropped_once(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "\ufeff\ufeffx")
        assert documents(path)[0].text == "\ufeffx"

    @pytest.mark.parametrize("content", [b"", b" \r\n\t\n", "\u2003\n".encode(), b"\xef\xbb\xbf"])
    def test_empty_file(self, tmp_path: Path, content: bytes) -> None:
        assert rejects(write(tmp_path / "a.txt", content)) == [(0, "text: empty")]

    @pytest.mark.parametrize(
        ("content", "offset"),
        [
            (b"ab\xff", 2),
            (b"\xef\xbb\xbfab\xff", 5),
            ("hé".encode("latin-1"), 1),
            ("hi".encode("utf-16"), 0),
            (b"a\xed\xa0\x80", 1),
        ],
    )
    def test_invalid_utf8_says_where(self, tmp_path: Path, content: bytes, offset: int) -> None:
        path = write(tmp_path / "a.txt", content)
        assert rejects(path) == [(0, f"invalid UTF-8 at byte offset {offset}; convert it first")]

    def test_nul(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "ab\0")
        assert rejects(path) == [(0, "text: holds a NUL character at 2")]

    def test_the_longest_text_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", b"\xef\xbb\xbf" + b"x" * MAX_TEXT_BYTES)
        assert len(documents(path)[0].text) == MAX_TEXT_BYTES

    @pytest.mark.parametrize("over", [1, 4])
    def test_one_byte_more_is_refused(self, tmp_path: Path, over: int) -> None:
        path = write(tmp_path / "a.txt", b"x" * (MAX_TEXT_BYTES + over))
        assert rejects(path) == [(0, "text: longer than 16 MiB; split it up")]

    def test_a_huge_file_is_refused_by_its_size(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "")
        os.truncate(path, 2**40)  # sparse: reading it would take all memory
        assert rejects(path) == [(0, "text: longer than 16 MiB; split it up")]

    def test_a_file_that_vanished(self, tmp_path: Path) -> None:
        write(tmp_path / "a.txt", "x")
        write(tmp_path / "b.txt", "y")
        sources = Sources([tmp_path])
        (tmp_path / "a.txt").unlink()
        items = [record.item for record in sources]
        gone = "cannot be read: No such file or directory"
        assert items[0] == Reject(str(tmp_path / "a.txt"), 0, gone)
        assert isinstance(items[1], Document)

    def test_a_file_that_became_a_pipe(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "x")
        sources = Sources([path])
        path.unlink()
        os.mkfifo(path)
        assert [record.item for record in sources] == [Reject(str(path), 0, "not a regular file")]


class TestHeading:
    @pytest.mark.parametrize(
        ("text", "title"),
        [
            ("# One\n# Two\n", "One"),
            ("intro\r\n\r\n# One\r\nmore", "One"),
            ("   #\tOne   ##  \n", "One"),
            ("# C#\n", "C#"),
            ("# ##\n# One\n", "One"),
            ("#\n# One\n", "One"),
            ("## Two\n#hash\n    # code\na # b\n", ""),
            ("```sh\n# comment\n```\n# One\n", "One"),
            ("````\n```\n# comment\n````\n# One", "One"),
            ("~~~\n```\n# comment\n~~~\n# One", "One"),
            ("```inline``` x\n# One", "One"),
            ("```\n# never closed", ""),
            ("", ""),
        ],
    )
    def test_heading(self, text: str, title: str) -> None:
        assert heading(text) == title

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("text", ["# " + " " * MIB + "x", "`" * MIB + "x`", "#" * MIB])
    def test_takes_linear_time(self, text: str) -> None:
        heading(text)

    def test_only_markdown_has_titles(self, tmp_path: Path) -> None:
        paths = [write(tmp_path / name, "# T\nx") for name in ("a.md", "b.MARKDOWN", "c.txt")]
        assert [(doc.title, doc.text) for doc in documents(*paths)] == [
            ("T", "# T\nx"),
            ("T", "# T\nx"),
            ("", "# T\nx"),
        ]


class TestFolders:
    def test_every_text_file_below_is_a_document(self, tmp_path: Path) -> None:
        root = tmp_path / "notes"
        for name in ("b.txt", "a/z.md", "a/a.text", "c/d/e.markdown", "B.TXT"):
            write(root / name, f"text of {name}")
        found = documents(root)
        names = ["B.TXT", "a/a.text", "a/z.md", "b.txt", "c/d/e.markdown"]
        assert [doc.id for doc in found] == [f"notes/{name}" for name in names]
        assert [doc.source for doc in found] == [str(root / name) for name in names]
        assert [doc.text for doc in found] == [f"text of {name}" for name in names]

    def test_order_does_not_depend_on_creation(self, tmp_path: Path) -> None:
        names = [f"{a}/{b}.txt" for a in "xay" for b in ("2", "10", "1")]
        for name in names:
            write(tmp_path / "1" / "n" / name, "x")
        for name in reversed(names):
            write(tmp_path / "2" / "n" / name, "x")
        assert (
            ids(tmp_path / "1" / "n")
            == ids(tmp_path / "2" / "n")
            == sorted(f"n/{name}" for name in names)
        )

    def test_others_are_counted_by_suffix(self, tmp_path: Path) -> None:
        for name in ("a.PNG", "x/b.png", "c.jsonl.gz", "Makefile", "e.txt", ".hidden.png"):
            write(tmp_path / name, "x")
        sources = Sources([tmp_path])
        assert sources.skipped == {".jsonl.gz": 1, ".png": 2, "no suffix": 1}
        assert len(list(sources)) == 1

    def test_hidden_files_and_folders_are_passed_over(self, tmp_path: Path) -> None:
        for name in (".a.txt", ".git/b.txt", "c/.d/e.txt"):
            write(tmp_path / name, "x")
        sources = Sources([tmp_path])
        assert (list(sources), sources.skipped) == ([], {})

    def test_linked_folders_are_not_followed(self, tmp_path: Path) -> None:
        write(tmp_path / "other" / "a.txt", "x")
        write(tmp_path / "n" / "b.txt", "y")
        (tmp_path / "n" / "link").symlink_to(tmp_path / "other")
        (tmp_path / "n" / "loop").symlink_to(tmp_path / "n")
        (tmp_path / "n" / "named.txt").symlink_to(tmp_path / "other")
        sources = Sources([tmp_path / "n"])
        assert [record.position for record in sources] == [0]
        assert sources.skipped == {"linked folder": 3}

    def test_linked_files_are_read(self, tmp_path: Path) -> None:
        write(tmp_path / "a", "x")
        (tmp_path / "n").mkdir()
        (tmp_path / "n" / "b.txt").symlink_to(tmp_path / "a")
        assert documents(tmp_path / "n")[0].text == "x"

    def test_dead_links_are_rejects(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").symlink_to(tmp_path / "absent")
        (tmp_path / "b.md").symlink_to(tmp_path / "b.md")
        (tmp_path / "c.png").symlink_to(tmp_path / "c.png")
        assert rejects(tmp_path) == [
            (0, "cannot be read: No such file or directory"),
            (0, "cannot be read: Too many levels of symbolic links"),
        ]

    def test_a_linked_root_has_the_name_of_its_target(self, tmp_path: Path) -> None:
        write(tmp_path / "v3" / "a.txt", "x")
        (tmp_path / "current").symlink_to(tmp_path / "v3")
        assert ids(tmp_path / "current") == ["v3/a.txt"]

    def test_pipe_in_a_folder_is_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.txt")
        assert rejects(tmp_path) == [(0, "not a regular file")]

    def test_locked_file_and_folder_are_rejects(self, locked: Path) -> None:
        write(locked / "a.txt", "x").chmod(0)
        (locked / "b").mkdir(mode=0)
        write(locked / "c.txt", "z")
        items = [record.item for record in read(locked)]
        denied = "cannot be read: Permission denied"
        assert items[:2] == [
            Reject(str(locked / "a.txt"), 0, denied),
            Reject(str(locked / "b"), 0, denied),
        ]
        assert isinstance(items[2], Document)

    def test_name_that_is_not_utf8_is_a_storable_reject(self, tmp_path: Path) -> None:
        write(tmp_path / os.fsdecode(b"\xff.txt"), "x")
        (item,) = [record.item for record in read(tmp_path)]
        assert isinstance(item, Reject)
        assert item == Reject(f"{tmp_path}/\\xff.txt", 0, "its path is not UTF-8; rename it")
        item.source.encode()

    def test_two_folders_of_one_name_do_not_mix(self, tmp_path: Path) -> None:
        first = write(tmp_path / "1" / "n" / "a.txt", "x")
        write(tmp_path / "2" / "n" / "a.txt", "y")
        found = rejects(tmp_path / "1" / "n", tmp_path / "2" / "n")
        assert found == [(0, f"duplicate id 'n/a.txt': the first one, at {first}, is kept")]

    def test_nothing_is_opened_before_the_pass(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "old")
        sources = Sources([tmp_path])
        path.write_text("new")
        assert [record.item for record in sources] == [
            Document(id=f"{tmp_path.name}/a.txt", text="new", source=str(path))
        ]

    def test_a_collection_is_its_corpus(self, tmp_path: Path) -> None:
        jsonl(tmp_path / "corpus.jsonl", {"_id": "1", "text": "a", "title": "T", "metadata": {}})
        jsonl(tmp_path / "queries.jsonl", {"_id": "2", "text": "q"})
        write(tmp_path / "qrels" / "test.tsv", "x")
        write(tmp_path / "README.md", "x")
        sources = Sources([tmp_path])
        assert [record.item for record in sources] == [
            Document(id="1", text="a", title="T", source=str(tmp_path / "corpus.jsonl"))
        ]
        assert sources.skipped == {}


class TestJSONLines:
    def test_fields(self, tmp_path: Path) -> None:
        row = {"id": 7, "text": "a", "title": "T", "year": 2020, "tags": ["x", None]}
        path = jsonl(tmp_path / "a.ndjson", row)
        metadata = {"year": 2020, "tags": ["x", None]}
        assert documents(path) == [
            Document(id="7", text="a", title="T", metadata=metadata, source=str(path))
        ]

    def test_underscored_id_comes_first(self, tmp_path: Path) -> None:
        doc = documents(jsonl(tmp_path / "a.jsonl", {"id": "i", "_id": "u", "text": "a"}))[0]
        assert (doc.id, doc.metadata) == ("u", {"id": "i"})

    def test_named_fields(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "a.jsonl", {"doi": "d", "body": "b", "id": 1, "text": "t"})
        doc = documents(path, id_field="doi", text_field="body")[0]
        assert (doc.id, doc.text, doc.metadata) == ("d", "b", {"id": 1, "text": "t"})

    def test_title_may_be_the_text(self, tmp_path: Path) -> None:
        doc = documents(jsonl(tmp_path / "a.jsonl", {"id": 1, "title": "T"}), text_field="title")[0]
        assert (doc.text, doc.title, doc.metadata) == ("T", "", {})

    @pytest.mark.parametrize(
        ("extra", "metadata"),
        [
            ({"metadata": {"a": 1}, "b": 2}, {"a": 1, "b": 2}),
            ({"metadata": {"a": 1}, "a": 2}, {"a": 2}),
            ({"metadata": {"title": 1, "metadata": {"x": 1}}}, {"title": 1, "metadata": {"x": 1}}),
            ({"metadata": "m"}, {"metadata": "m"}),
            ({"metadata": None, "b": None}, {"b": None}),
            ({"source": "web"}, {"source": "web"}),
        ],
    )
    def test_metadata_object_is_merged(
        self, tmp_path: Path, extra: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        path = jsonl(tmp_path / "a.jsonl", {"id": 1, "text": "a", **extra})
        assert documents(path)[0].metadata == metadata

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_line_ends_and_blank_lines(self, tmp_path: Path, end: str) -> None:
        rows = ['\ufeff{"id": 1, "text": "a"}', "", "  ", '{"id": 2, "text": "b"}']
        path = write(tmp_path / "a.jsonl", end.join(rows))
        assert ids(path) == ["1", "2"]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
                lambda text: text.strip() != ""
            )
        ),
        st.booleans(),
        st.booleans(),
    )
    def test_any_text_comes_back(
        self, tmp_path: Path, texts: list[str], ascii_only: bool, packed: bool
    ) -> None:
        rows = [
            json.dumps({"id": number, "text": text, "key": text}, ensure_ascii=ascii_only)
            for number, text in enumerate(texts)
        ]
        data = "\n".join(rows).encode()
        name = "a.jsonl.gz" if packed else "a.jsonl"
        found = documents(write(tmp_path / name, gzip.compress(data) if packed else data))
        assert [(doc.id, doc.text, doc.metadata["key"]) for doc in found] == [
            (str(number), text, text) for number, text in enumerate(texts)
        ]

    def test_only_a_newline_ends_a_line(self, tmp_path: Path) -> None:
        text = "a\u2028b\u2029c\x85d\x7f"
        path = write(tmp_path / "a.jsonl", f'{{"id": 1,\r"text": "{text}\\r\\n"}}\n')
        assert documents(path)[0].text == text + "\r\n"

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"id": "x", "text": "a"', "invalid JSON: Expecting ',' delimiter at character 24"),
            ("[1]", "expected a JSON object, got list"),
            ('"x"', "expected a JSON object, got str"),
            ('{"id": "x", "text": "a", "n": NaN}', "invalid JSON: NaN is not a JSON value"),
            ('{"id": "x", "text": "a", "n": -Infinity}', "invalid JSON: -Infinity is not a"),
            ('{"id": "x", "text": "a", "n": 1e999}', "metadata['n']: not JSON: Out of range float"),
            ('{"id": "x", "n": ' + "[" * 10**5, "JSON nested too deeply; flatten it"),
            (
                '{"id": "x", "text": "a", "n": ' + "[" * 800 + "]" * 800 + "}",
                "metadata: nested deeper",
            ),
            ('{"id": ' + "9" * 5000 + "}", "invalid JSON: Exceeds the limit (4300 digits)"),
            ('{"text": "a", "no": 1}', "no id field: expected '_id' or 'id', the fields are "),
            ('{"id": "x"}', "no text field: expected 'text', the fields are 'id'; name yours"),
            ("{}", "no id field: expected '_id' or 'id', the fields are none; name yours with --"),
            ('{"id": true, "text": "a"}', "id: expected a string or an integer, got bool"),
            ('{"_id": 1.0, "text": "a"}', "_id: expected a string or an integer, got float"),
            ('{"id": null, "text": "a"}', "id: expected a string or an integer, got null"),
            ('{"id": "", "text": "a"}', "id: expected a non-empty string"),
            ('{"id": "' + "i" * 1025 + '", "text": "a"}', "id: 1025 characters; the limit is"),
            ('{"id": "x", "text": ""}', "text: empty"),
            ('{"id": "x", "text": " \\n\\u2003"}', "text: empty"),
            ('{"id": "x", "text": 5}', "text: expected a string, got int"),
            ('{"id": "x", "text": null}', "text: expected a string, got null"),
            ('{"id": "x", "text": "a", "title": 5}', "title: expected a string, got int"),
            ('{"id": "x", "text": "ab\\u0000"}', "text: holds a NUL character at 2"),
            ('{"id": "x", "text": "ab\\ud800"}', "text: lone surrogate at character 2"),
            ('{"id": "\\udfff", "text": "a"}', "id: lone surrogate at character 0"),
            ('{"id": "x", "text": "a", "m": "\\u0000"}', "metadata: holds a NUL"),
            (b'{"id": "x", "text": "\xff"}', "invalid UTF-8 at byte offset 21; convert it first"),
        ],
    )
    def test_a_bad_line_is_one_reject(self, tmp_path: Path, line: str | bytes, reason: str) -> None:
        bad = line.encode() if isinstance(line, str) else line
        path = tmp_path / "a.jsonl"
        write(path, b'{"id": 1, "text": "a"}\n\n' + bad + b'\n{"id": 2, "text": "b"}\n')
        (found,) = rejects(path)
        assert found[0] == 3
        assert found[1].startswith(reason)
        assert ids(path) == ["1", "2"]

    def test_missing_field_names_the_present_ones(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "a.jsonl", {"name": "x", "\ud800": 1, "z" * 100: 2})
        (position, reason) = rejects(path, id_field="doi")[0]
        assert (position, reason) == (
            1,
            "no id field: expected 'doi', the fields are 'name', '\\ud800', "
            f"'{'z' * 57}...'; name yours with --id-field",
        )

    def test_many_fields_are_cut_in_the_message(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "a.jsonl", {f"f{n}": n for n in range(10_000)})
        assert len(rejects(path)[0][1]) < 300

    def test_duplicate_ids_keep_the_first(self, tmp_path: Path) -> None:
        rows: list[object] = [{"id": i, "text": t} for i, t in [(1, "a"), (2, "b"), ("1", "c")]]
        path = jsonl(tmp_path / "a.jsonl", *rows)
        other = jsonl(tmp_path / "b.jsonl", {"id": "2", "text": "d"})
        items = [record.item for record in read(path, other)]
        assert [item.text for item in items if isinstance(item, Document)] == ["a", "b"]
        assert items[2:] == [
            Reject(str(path), 3, f"duplicate id '1': the first one, at {path}:1, is kept"),
            Reject(str(other), 1, f"duplicate id '2': the first one, at {path}:2, is kept"),
        ]

    def test_a_refused_record_does_not_take_the_id(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "a.jsonl", {"id": 1, "text": ""}, {"id": 1, "text": "b"})
        assert rejects(path) == [(1, "text: empty")]
        assert ids(path) == ["1"]

    def test_empty_file_has_no_records(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.jsonl", "")) == []

    def test_vanished_file(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "a.jsonl", {"id": 1, "text": "a"})
        sources = Sources([path])
        path.unlink()
        reject = Reject(str(path), 0, "cannot be read: No such file or directory")
        assert list(sources) == [Record(reject, sources.total_bytes or -1)]


class TestGzip:
    @pytest.fixture
    def rows(self) -> bytes:
        noise = ("".join(base64.b64encode(os.urandom(900)).decode()) for _ in range(300))
        lines = (json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(noise))
        return "".join(lines).encode()

    def test_whole(self, tmp_path: Path, rows: bytes) -> None:
        assert len(documents(write(tmp_path / "a.ndjson.gz", gzip.compress(rows)))) == 300

    def test_members_one_after_another(self, tmp_path: Path, rows: bytes) -> None:
        data = gzip.compress(rows[:100_000]) + gzip.compress(rows[100_000:])
        assert len(documents(write(tmp_path / "a.jsonl.gz", data))) == 300

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.999])
    def test_truncated_keeps_what_came_before(
        self, tmp_path: Path, rows: bytes, share: float
    ) -> None:
        packed = gzip.compress(rows)
        path = write(tmp_path / "a.jsonl.gz", packed[: int(len(packed) * share)])
        records = read(path)
        good = ids(path)
        assert good == [str(n) for n in range(len(good))]
        assert len(good) > 300 * share - 20
        reject = records[-1].item
        assert isinstance(reject, Reject)
        assert (len(records), reject.position) == (len(good) + 1, len(good) + 1)
        assert reject.reason.endswith("; the records before it were read")
        assert sum(record.bytes for record in records) == path.stat().st_size

    def test_damaged_in_the_middle(self, tmp_path: Path, rows: bytes) -> None:
        packed = bytearray(gzip.compress(rows))
        packed[len(packed) // 2 : len(packed) // 2 + 100] = b"\xff" * 100
        found = rejects(write(tmp_path / "a.jsonl.gz", bytes(packed)))
        assert found[-1][1].startswith("cannot be read: ")

    def test_not_gzip_at_all(self, tmp_path: Path) -> None:
        found = rejects(write(tmp_path / "a.jsonl.gz", "plain\n"))
        assert found == [(0, "cannot be read: Not a gzipped file (b'pl')")]


class TestMemory:
    def peak(self, path: str | Path, **options: Any) -> tuple[list[Record], int]:
        tracemalloc.start()
        try:
            return read(path, **options), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def huge(self, path: Path, before: bytes, after: bytes) -> Path:
        with path.open("wb") as stream:
            stream.write(before)
            for _ in range(50):
                stream.write(b"x" * MIB)
            stream.write(after)
        return path

    def test_a_line_of_50_mb_is_refused_without_holding_it(self, tmp_path: Path) -> None:
        path = self.huge(
            tmp_path / "a.jsonl",
            b'{"id": 1, "text": "a"}\n{"id": 2, "text": "',
            b'"}\n{"id": 3, "text": "c"}\n',
        )
        records, peak = self.peak(path)
        assert [record.position for record in records] == [1, 2, 3]
        assert records[1].item == Reject(str(path), 2, "line longer than 17 MiB; split it up")
        assert isinstance(records[2].item, Document)
        assert peak < 25 * MIB

    def test_a_row_of_50_mb_is_refused_without_holding_it(self, tmp_path: Path) -> None:
        path = self.huge(tmp_path / "a.csv", b'id,text\n1,a\n2,"', b'\nmore\n"\n3,c\n')
        records, peak = self.peak(path)
        assert [record.position for record in records] == [2, 3, 6]
        assert records[1].item == Reject(str(path), 3, "row longer than 17 MiB; split it up")
        assert peak < 40 * MIB

    def test_a_line_of_50_mb_on_stdin(self, tmp_path: Path) -> None:
        path = self.huge(tmp_path / "a", b"first\n", b"\nlast")
        with path.open("rb") as stdin:
            records, peak = self.peak("-", stdin=stdin)
        assert [record.position for record in records] == [1, 2, 3]
        assert records[1].item == Reject("stdin", 2, "line longer than 17 MiB; split it up")
        assert peak < 25 * MIB

    def test_a_gzip_bomb(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl.gz"
        with gzip.open(path, "wb", compresslevel=1) as stream:
            for _ in range(50):
                stream.write(b"x" * MIB)
        records, peak = self.peak(path)
        assert records[0].item == Reject(str(path), 1, "line longer than 17 MiB; split it up")
        assert peak < 25 * MIB

    def test_a_quote_that_never_closes_is_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        with path.open("wb") as stream:
            stream.write(b'id,text\n1,"open\n')
            for _ in range(50):
                stream.write((b"y" * 1023 + b"\n") * 1024)
        records, peak = self.peak(path)
        assert [record.item for record in records] == [
            Reject(str(path), 2, "row longer than 17 MiB; split it up")
        ]
        assert peak < 160 * MIB  # the csv module keeps 4 bytes a character, and doubles

    @pytest.mark.parametrize("over", [0, 1])
    def test_the_limit_of_a_text_is_exact(self, tmp_path: Path, over: int) -> None:
        text = "x" * (MAX_TEXT_BYTES + over)
        paths = [
            jsonl(tmp_path / "a.jsonl", {"id": 1, "text": text}),
            write(tmp_path / "a.csv", f'id,text\n2,"{text}"\n'),
            parquet(tmp_path / "a.parquet", id=[3], text=[text]),
        ]
        reasons = [reason for _, reason in rejects(*paths)]
        assert reasons == ["text: longer than 16 MiB; split it up"] * 3 * over

    def test_ids_take_little(self) -> None:
        tracemalloc.start()
        seen = FirstSeen()
        for number in range(20_000):
            seen.first(f"document {number}", 0, number)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept < 60 * 20_000


class TestFirstSeen:
    @given(st.lists(st.tuples(st.text(max_size=2), st.integers(0, 2**22), st.integers(0, 2**39))))
    def test_agrees_with_a_dict(self, records: list[tuple[str, int, int]]) -> None:
        seen, reference = FirstSeen(), dict[str, tuple[int, int]]()
        for id, source, position in records:
            assert seen.first(id, source, position) == reference.get(id)
            reference.setdefault(id, (source, position))

    def test_remembers_through_growth(self) -> None:
        seen = FirstSeen()
        assert all(seen.first(str(n), n % 7, n) is None for n in range(20_000))
        assert all(seen.first(str(n), 0, 0) == (n % 7, n) for n in range(20_000))


class TestCSV:
    def test_fields(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "id,text,title,year,note\r\n007,hello,T,2020,\r\n")
        assert documents(path) == [
            Document(id="007", text="hello", title="T", metadata={"year": "2020"}, source=str(path))
        ]

    def test_tabs(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", 'doi\tbody\nd\ta, b\ne\t"tab\there"\n')
        found = documents(path, id_field="doi", text_field="body")
        assert [doc.text for doc in found] == ["a, b", "tab\there"]

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", '\ufeffid,text\n1,"a\n\ufeffb"\n')
        assert [(doc.id, doc.text) for doc in documents(path)] == [("1", "a\n\ufeffb")]

    def test_cells_of_several_lines_are_exact(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'id,text\n1,"a\r\n\n""b""\n"\n2,c\n3,,\n')
        records = read(path)
        assert [record.position for record in records] == [2, 6, 7]
        item = records[0].item
        assert isinstance(item, Document)
        assert item.text == 'a\r\n\n"b"\n'

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
                lambda text: text.strip() != ""
            )
        )
    )
    def test_any_text_comes_back(self, tmp_path: Path, texts: list[str]) -> None:
        path = tmp_path / "a.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
            writer.writerows([["id", "text"], *([n, text] for n, text in enumerate(texts))])
        assert [doc.text for doc in documents(path)] == texts

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.lists(st.text('ab",\r\n', max_size=60).filter(lambda text: text.strip() != "")))
    def test_a_row_that_is_too_long_harms_no_other(self, tmp_path: Path, texts: list[str]) -> None:
        path, limit = tmp_path / "a.csv", 30
        sizes = []
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
            writer.writerow(["id", "text"])
            sizes = [writer.writerow([number, text]) for number, text in enumerate(texts)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("semsearch.sources.lines._PIECE", 8)
            patch.setattr("semsearch.sources.lines.LINE_LIMIT", limit)
            patch.setattr("semsearch.sources.delimited.LINE_LIMIT", limit)
            items = [record.item for record in read(path)]
        assert [item.text if isinstance(item, Document) else None for item in items] == [
            text if size <= limit else None for text, size in zip(texts, sizes, strict=True)
        ]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("x", "expected 2 cells as in the header, got 1"),
            ("x,a,b", "expected 2 cells as in the header, got 3"),
            ("x,", "text: empty"),
            (",a", "id: expected a non-empty string"),
            ('x,"a"b', "not CSV: ',' expected after '\"'"),
            ("x,a\rb,c", "not CSV: new-line character seen in unquoted field"),
            ("x,a\0", "text: holds a NUL character at 1"),
            (b"x,\xff", "invalid UTF-8 at byte offset 2; convert it first"),
            (b'x,"a\n\xff\n"', "line 5: invalid UTF-8 at byte offset 0; convert it first"),
            ("1,again", "duplicate id '1': the first one, at "),
        ],
    )
    def test_a_bad_row_is_one_reject(self, tmp_path: Path, row: str | bytes, reason: str) -> None:
        bad = row.encode() if isinstance(row, str) else row
        path = write(tmp_path / "a.csv", b"id,text\n1,a\n\n" + bad + b"\n2,b\n")
        (found,) = rejects(path)
        assert found[0] == 4
        assert found[1].startswith(reason)
        assert ids(path) == ["1", "2"]

    def test_a_quote_that_never_closes(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'id,text\n1,a\n2,"b\n3,c\n')
        assert ids(path) == ["1"]
        assert rejects(path) == [(3, "a quote in this row is never closed; it took lines 3 to 4")]

    @pytest.mark.parametrize(
        ("header", "position", "reason"),
        [
            ("", 0, "header: empty: expected a header row"),
            ("a,text", 1, "header: no id field: expected '_id' or 'id', the fields are 'a', 'te"),
            ("\nid,body", 2, "header: no text field: expected 'text', the fields are 'id', 'bo"),
            ("id,text,id", 1, "header: two columns are called 'id'; rename one"),
            (b"id,text,\xff", 1, "header: invalid UTF-8 at byte offset 8"),
        ],
    )
    def test_a_bad_header_is_the_only_reject(
        self, tmp_path: Path, header: str | bytes, position: int, reason: str
    ) -> None:
        head = header.encode() if isinstance(header, str) else header
        path = write(tmp_path / "a.csv", head + b"\n1,a\n2,b\n" if head else b"")
        records = read(path)
        assert len(records) == 1
        (found,) = rejects(path)
        assert found[0] == position
        assert found[1].startswith(reason)


class TestParquet:
    def test_fields(self, tmp_path: Path) -> None:
        path = parquet(
            tmp_path / "a.parquet",
            _id=["x"],
            text=["hello"],
            title=["T"],
            metadata=[{"a": 1}],
            none=[None],
        )
        assert documents(path) == [
            Document(id="x", text="hello", title="T", metadata={"a": 1}, source=str(path))
        ]

    @pytest.mark.parametrize(
        ("value", "kind", "expected"),
        [
            (True, pa.bool_(), True),
            (2**63, pa.uint64(), 2**63),
            (1.5, pa.float32(), 1.5),
            (date(2020, 1, 2), pa.date32(), "2020-01-02"),
            (time(1, 2, 3), pa.time64("ns"), "01:02:03"),
            (datetime(2020, 1, 2, 3), pa.timestamp("s"), "2020-01-02T03:00:00"),
            (1577934245123456789, pa.timestamp("ns"), "2020-01-02T03:04:05.123456"),
            (
                datetime(2020, 1, 2, 3, tzinfo=UTC),
                pa.timestamp("ms", "UTC"),
                "2020-01-02T03:00:00+00:00",
            ),
            (timedelta(seconds=90), pa.duration("ns"), 90.0),
            (Decimal("1.25"), pa.decimal128(10, 2), 1.25),
            (Decimal(10**30), pa.decimal128(38, 0), 10**30),
            (["a", None], pa.list_(pa.string()), ["a", None]),
            ({"d": date(2020, 1, 2)}, pa.struct([("d", pa.date32())]), {"d": "2020-01-02"}),
            ([("k", 1)], pa.map_(pa.string(), pa.int8()), [["k", 1]]),
            ("c", pa.dictionary(pa.int8(), pa.string()), "c"),
        ],
    )
    def test_values_become_json(
        self, tmp_path: Path, value: object, kind: object, expected: object
    ) -> None:
        column = pa.array([value], kind)
        path = parquet(tmp_path / "a.parquet", id=["x"], text=["a"], value=column)
        (doc,) = documents(path)
        assert doc.metadata == {"value": expected}
        assert type(doc.metadata["value"]) is type(expected)

    def test_a_bad_row_is_one_reject(self, tmp_path: Path) -> None:
        path = parquet(
            tmp_path / "a.parquet",
            id=["1", "2", None, "4", "5", "1", "7"],
            text=["a", " ", "c", None, "e", "f", "g"],
            data=[None, None, None, None, b"\0", None, None],
            nested=[None, None, None, None, None, None, [b"\0"]],
        )
        holds = "holds bytes, which is not JSON; leave the column out"
        assert rejects(path) == [
            (2, "text: empty"),
            (3, "id: expected a string or an integer, got null"),
            (4, "text: expected a string, got null"),
            (5, f"data: {holds}"),
            (6, f"duplicate id '1': the first one, at {path}:1, is kept"),
            (7, f"nested: {holds}"),
        ]
        assert ids(path) == ["1"]

    def test_invalid_utf8(self, tmp_path: Path) -> None:
        raw = pa.array([b"ok", b"a\xff"], pa.binary())
        text = pa.StringArray.from_buffers(2, *raw.buffers()[1:])
        path = parquet(tmp_path / "a.parquet", id=[1, 2], text=text)
        assert rejects(path) == [(2, "text: invalid UTF-8 at byte offset 1")]

    def test_many_batches_and_row_groups(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        texts = ["x"] * 4000 + [""] + ["x"] * 999
        pq.write_table(pa.table({"id": range(5000), "text": texts}), path, row_group_size=700)
        records = read(path)
        assert rejects(path) == [(4001, "text: empty")]
        assert [record.position for record in records] == list(range(1, 5001))
        assert sum(record.bytes for record in records) == path.stat().st_size

    def test_missing_column_is_one_reject(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", key=["x", "y"], text=["a", "b"])
        (found,) = rejects(path)
        assert found[0] == 0
        assert found[1].startswith("no id field: expected '_id' or 'id', the fields are 'key', 't")

    def test_two_columns_of_one_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        columns = [pa.array(["x"])] * 3
        pq.write_table(pa.Table.from_arrays(columns, names=["id", "text", "text"]), path)
        assert rejects(path) == [(0, "two columns are called 'text'; rename one")]

    @pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" + b"\0" * 50 + b"PAR1"])
    def test_not_parquet_is_one_reject(self, tmp_path: Path, content: bytes) -> None:
        (found,) = rejects(write(tmp_path / "a.parquet", content))
        assert found[0] == 0
        assert found[1].startswith("cannot be read: ")

    def test_damage_keeps_what_came_before(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        texts = [base64.b64encode(os.urandom(60)).decode() for _ in range(2000)]
        table = pa.table({"id": range(2000), "text": texts})
        pq.write_table(table, path, row_group_size=1000, compression="gzip", use_dictionary=False)
        data = bytearray(path.read_bytes())
        middle = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
        data[middle : middle + 2000] = b"\xff" * 2000
        path.write_bytes(data)
        records = read(path)
        good = ids(path)
        reject = records[-1].item
        assert isinstance(reject, Reject)
        assert len(good) >= 768
        assert (len(records), reject.position) == (len(good) + 1, len(good) + 1)
        assert "cannot be read: " in reject.reason

    def test_path_with_odd_characters(self, tmp_path: Path) -> None:
        assert ids(parquet(tmp_path / "s3:a b%20#?.parquet", id=["x"], text=["a"])) == ["x"]


class TestStdin:
    def test_each_line_is_a_document(self) -> None:
        found = documents("-", stdin=io.BytesIO(b"\xef\xbb\xbf one \r\n\n \t\ntwo\xc2\xa0\nlast"))
        assert [doc.text for doc in found] == ["one", "two", "last"]
        digest = hashlib.sha256(b"one").hexdigest()[:16]
        assert found[0] == Document(id=f"line-{digest}", text="one", source="stdin")

    def test_the_same_line_again_is_the_same_document(self) -> None:
        assert len(documents("-", stdin=io.BytesIO(b"a\nb\n a \nb\n"))) == 2

    def test_bad_lines(self) -> None:
        stdin = io.BytesIO(b"a\n\xff\n\nb\0\nc\n")
        assert rejects("-", stdin=stdin) == [
            (2, "invalid UTF-8 at byte offset 0; convert it first"),
            (4, "text: holds a NUL character at 1"),
        ]

    def test_an_id_taken_by_a_file_is_a_duplicate(self, tmp_path: Path) -> None:
        id = "line-" + hashlib.sha256(b"a").hexdigest()[:16]
        path = jsonl(tmp_path / "a.jsonl", {"id": id, "text": "b"})
        found = rejects(path, "-", stdin=io.BytesIO(b"a\n"))
        assert found == [(1, f"duplicate id '{id}': the first one, at {path}:1, is kept")]

    def test_a_line_is_read_before_the_next_is_written(self) -> None:
        receive, send = os.pipe()
        with os.fdopen(receive, "rb") as stdin, os.fdopen(send, "wb", 0) as writer:
            records = iter(Sources(["-"], stdin=stdin))
            for text in ("one", "two"):
                writer.write(f"{text}\n".encode())
                item = next(records).item
                assert isinstance(item, Document)
                assert item.text == text

    def test_without_an_argument_it_is_the_process_s_own(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
        assert len(documents("-")) == 1


def test_importing_the_readers_loads_no_pyarrow() -> None:
    code = "import sys, semsearch.sources; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.txt", "a.md", "a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.parquet"]),
    data=st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode),
)
def test_no_bytes_raise(tmp_path: Path, name: str, data: bytes) -> None:
    for record in read(write(tmp_path / name, data)):
        assert 0 <= record.bytes <= len(data)
        assert isinstance(record.item, Document) or str(record.item).encode()


def test_a_document_that_is_only_a_title_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "1", "title": "On bees", "text": ""}\n{"_id": "2", "text": " "}\n')
    kept, refused = [record.item for record in Sources([path])]
    assert isinstance(kept, Document)
    assert (kept.title, kept.text) == ("On bees", "")
    assert refused == Reject(str(path), 2, "text: empty")
