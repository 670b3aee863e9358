"""Which files are read, and how, by their suffix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semsearch.types import Modality

Format = Literal["pdf", "docx", "pptx", "html", "epub", "eml", "mbox"]
"""Formats that must be parsed: `sources.formats` has a reader of each."""

Kind = Literal["text", "jsonl", "jsonl.gz", "csv", "tsv", "parquet", "picture", "stdin"] | Format
"""Which reader reads a file."""

MARKDOWN = (".md", ".markdown")

LANGUAGES = {
    ".bash": "shell",
    ".c": "c",
    ".cc": "c++",
    ".clj": "clojure",
    ".cpp": "c++",
    ".cs": "c#",
    ".css": "css",
    ".cxx": "c++",
    ".dart": "dart",
    ".erl": "erlang",
    ".ex": "elixir",
    ".exs": "elixir",
    ".go": "go",
    ".groovy": "groovy",
    ".h": "c",
    ".hpp": "c++",
    ".hs": "haskell",
    ".java": "java",
    ".jl": "julia",
    ".js": "javascript",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".less": "css",
    ".lua": "lua",
    ".mjs": "javascript",
    ".ml": "ocaml",
    ".php": "php",
    ".pl": "perl",
    ".pm": "perl",
    ".proto": "protobuf",
    ".ps1": "powershell",
    ".py": "python",
    ".pyi": "python",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".scss": "css",
    ".sh": "shell",
    ".sql": "sql",
    ".swift": "swift",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".vue": "vue",
    ".zig": "zig",
    ".zsh": "shell",
}
"""Suffixes of source code, which is read as plain text, and the metadata `language` of each."""

_PROSE = (".txt", ".text", *MARKDOWN, ".rst", ".adoc", ".org", ".tex")

_FORMATS: dict[str, Kind] = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    ".eml": "eml",
    ".mbox": "mbox",
}

_IN_FOLDERS: dict[str, Kind] = {
    **dict.fromkeys((*_PROSE, *LANGUAGES), "text"),
    **_FORMATS,
}

_NAMED: dict[str, Kind] = {
    **_IN_FOLDERS,
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson.gz": "jsonl.gz",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}

_PICTURES: dict[str, Kind] = dict.fromkeys(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp"),
        *(".tif", ".tiff", ".avif", ".jp2", ".tga", ".ppm", ".pgm", ".pbm", ".pnm"),
    ),
    "picture",
)

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_ADVICE = {
    **dict.fromkeys(_ARCHIVES, "is packed; unpack it and name the folder"),
    ".doc": "is of a kind before 2007; save it as .docx",
    ".ppt": "is of a kind before 2007; save it as .pptx",
    ".odt": "is not read; save it as .docx",
    ".odp": "is not read; save it as .pptx",
    ".rtf": "is not read; save it as .docx",
}


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which files are read.

    Attributes:
        in_folders: What is taken when a folder is read, by suffix.
        named: What is read when it is named. Tables are not in `in_folders`: each has fields of
            its own.
        usual: What these are, for messages.
        stdin: Whether standard input is, a document a line.
    """

    in_folders: Mapping[str, Kind]
    named: Mapping[str, Kind]
    usual: str
    stdin: bool

    def why_not(self, name: str) -> str:
        """Why a file of this name is not read, and what to do."""
        advice = _ADVICE.get(Path(name.lower()).suffix)
        return advice or f"is of no kind that is read; use {self.usual}"


TABLES = tuple(name for name in _NAMED if name not in _IN_FOLDERS)
"""Suffixes of what holds a document in each line or row."""

_TEXTS = Kinds(
    in_folders=_IN_FOLDERS,
    named=_NAMED,
    usual=f"{', '.join((*_PROSE, *_FORMATS, *TABLES))} or source code",
    stdin=True,
)
_IMAGES = Kinds(
    in_folders=_PICTURES,
    named=_PICTURES,
    usual=f"{', '.join(_PICTURES)}: the index holds pictures",
    stdin=False,
)


def kinds_of(modality: Modality) -> Kinds:
    """The files of which an index of this modality makes documents."""
    return _IMAGES if modality == "image" else _TEXTS


def suffix_of(name: str) -> str:
    """The suffix in lower case, with the one before it where the last is `.gz`."""
    suffixes = Path(name.lower()).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])
