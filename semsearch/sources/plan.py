"""The plan over what the user named, and the one pass over it."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from copy import copy
from itertools import product
from pathlib import Path
from typing import BinaryIO

from semsearch.arguments import expanded
from semsearch.errors import IngestError
from semsearch.sources.beir import CORPUS
from semsearch.sources.delimited import read_delimited
from semsearch.sources.fields import Fields
from semsearch.sources.formats.pdf import check_installed
from semsearch.sources.formats.read import Parsing
from semsearch.sources.jsonl import read_jsonl
from semsearch.sources.kinds import TABLES, Kinds, kinds_of, suffix_of
from semsearch.sources.parquet import read_parquet
from semsearch.sources.picture import read_picture
from semsearch.sources.record import File, Record
from semsearch.sources.seen import FirstSeen
from semsearch.sources.text import STDIN, read_stdin, read_text
from semsearch.sources.walk import Walk, printable
from semsearch.types import Document, Modality, Reject


class Sources:
    """Everything that one ingest reads, in the order in which it was named.

    A folder with a `corpus.jsonl` is a BEIR collection: only that file is read. Of any other
    folder every file of prose or source code is a document with the id `<folder>/<path in it>`;
    of a PDF every page is one (`<folder>/a.pdf#page=3`), and likewise every slide, section of a
    Word file, chapter and message. `-` is standard input, a document in each line. For an index
    of pictures, files of pictures are read in place of all these. Every pass reads the files anew.

    Attributes:
        total_bytes: Bytes on disk of what will be read; None with standard input among it.
        skipped: How many files in folders no reader reads, by suffix in lower case; "no suffix"
            and "linked folder" (which are not followed) are counted as well.
        modality: Of the space that the documents are for.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        id_field: str | None = None,
        text_field: str | None = None,
        stdin: BinaryIO | None = None,
        missing_ok: bool = False,
        modality: Modality = "text",
    ) -> None:
        """Look at what is named; no content is read yet.

        Args:
            paths: Files, folders, or "-" for standard input.
            id_field: Field of the id in tables and JSON; by default `_id`, else `id`.
            text_field: Field of the text; by default `text`.
            stdin: Read in place of the process's standard input.
            missing_ok: A path that does not exist is one that holds nothing.
            modality: Of the space that the documents are for: what files are read.

        Raises:
            IngestError: A path does not exist, cannot be read or is of no kind that is read.
            DependencyMissing: A PDF is named, and what reads it is not installed.
        """
        self._fields = Fields(id_field, text_field)
        self.modality = modality
        self._kinds = kinds_of(modality)
        self._stdin = stdin
        self._parts: list[File | Reject] = []
        self._empty: list[str] = []
        # Files and folders, as sources call them, and what the ids in them begin with.
        self._named: dict[str, str] = {}
        self._touched: frozenset[str] | None = None
        self._skipped: Counter[str] = Counter()
        for path in paths:
            self._add(_path(path), missing_ok)
        self._keep(list({_source(part): part for part in reversed(self._parts)}.values())[::-1])
        self._bare = [name for name in sorted(self._named) if not _any_below(name, self._sources)]
        self.skipped: dict[str, int] = dict(sorted(self._skipped.items()))

    def __iter__(self) -> Iterator[Record]:
        """Every record once, good or refused; of two with one id the first is kept."""
        seen = FirstSeen()
        with Parsing() as parsing:
            for number, part in enumerate(self._parts):
                for record in self._read(part, parsing):
                    kept = self._unique(record, number, seen)
                    if kept is not None:
                        yield kept

    def covers(self, source: str) -> bool:
        """Whether a source is one of these, or was in one of these folders."""
        if self._touched is not None and not _at_or_below(source, self._touched):
            return False
        return _at_or_below(source, self._named)

    def reads(self, source: str) -> bool:
        """Whether a pass reads this source."""
        return source in self._sources

    def emptied(self, source: str, read: Container[str]) -> list[str]:
        """What was named and holds nothing now of what this source was, or was in.

        Args:
            source: A source that is covered.
            read: Sources that gave a document.
        """
        if source in self._named and source not in read:
            return [source]
        return [name for name in self._bare if source.startswith(f"{name}/")]

    def holds_nothing(self, path: str) -> bool:
        """Whether a path is, or was in, something named that holds nothing now."""
        return _at_or_below(path, self._bare)

    def touching(self, paths: Iterable[str]) -> Sources:
        """The same sources, but only what is at or below these absolute paths.

        What may hold documents of the same ids is read with it: of two the first is kept.
        """
        narrowed = copy(self)
        narrowed._touched = touched = frozenset(paths)
        ids = frozenset(self._ids(touched))
        tables = any(_is_table(name) and _at_or_below(name, touched) for name in self._named)
        narrowed._empty = [path for path in self._empty if _at_or_below(path, touched)]
        narrowed._keep(
            [
                part
                for part in self._parts
                if _at_or_below(_source(part), touched)
                or (isinstance(part, File) and _at_or_below(part.id, ids))
                or (tables and _is_table(_source(part)))
            ]
        )
        return narrowed

    def _keep(self, parts: list[File | Reject]) -> None:
        """Read these and no others."""
        self._parts = parts
        self._sources = {_source(part) for part in parts} | set(self._empty)
        self.total_bytes = _total(parts)

    def _ids(self, paths: Iterable[str]) -> Iterator[str]:
        """What the ids of documents in these paths begin with, or would if they were there."""
        for path, (root, name) in product(paths, self._named.items()):
            if _at_or_below(path, {root}):
                yield name + path.removeprefix(root)
            elif _at_or_below(root, {path}):
                yield name

    def _add(self, path: Path, missing_ok: bool) -> None:
        if str(path) == "-":
            if not self._kinds.stdin:
                raise IngestError("an index of pictures does not read standard input; name files")
            _ = self._stdin or _process_stdin()
            self._parts.append(File("stdin", STDIN, "", 0))
            self._named[STDIN] = ""
            return
        if missing_ok and not path.exists():
            for place in (path.parent.resolve() / path.name, path.resolve()):  # a link, its target
                self._named[str(place)] = path.name
            return
        status = _status(path)
        if stat.S_ISDIR(status.st_mode):
            self._add_folder(path.resolve())
        else:
            self._add_file(path, status)

    def _add_file(self, path: Path, status: os.stat_result) -> None:
        file = _named_file(path, status, self._kinds)
        self._parts.append(file)
        self._named[file.path] = path.name

    def _add_folder(self, root: Path) -> None:
        _check_readable(root)
        corpus = root / CORPUS
        if corpus.is_file() and suffix_of(CORPUS) in self._kinds.named:
            self._add_file(corpus, _status(corpus))
            return
        self._named[str(root).rstrip("/")] = root.name
        walk = Walk(root, self._kinds)
        walk.run()
        self._parts += walk.parts
        self._empty += walk.empty
        self._skipped += walk.skipped

    def _read(self, part: File | Reject, parsing: Parsing) -> Iterator[Record]:
        if isinstance(part, Reject):
            yield Record(part, 0)
            return
        match part.kind:
            case "text":
                yield read_text(part)
            case "picture":
                yield read_picture(part)
            case "jsonl" | "jsonl.gz":
                yield from read_jsonl(part, self._fields)
            case "csv" | "tsv":
                yield from read_delimited(part, self._fields)
            case "parquet":
                yield from read_parquet(part, self._fields)
            case "stdin":
                yield from read_stdin(part, self._stdin or _process_stdin())
            case _:
                yield from parsing.read(part)

    def _unique(self, record: Record, number: int, seen: FirstSeen) -> Record | None:
        """The record, a reject in its place, or None for a line that stdin repeats."""
        item = record.item
        if isinstance(item, Reject):
            return record
        first = seen.first(item.id, number, record.position)
        if first is None:
            return record
        source = _source(self._parts[first[0]])
        if item.source == source == STDIN:
            return None
        reason = _duplicate(item, source, first[1])
        reject = Reject(item.source or "", record.position, reason)
        return Record(reject, record.bytes, record.position)


def _path(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise IngestError(f"expected the path of a file or folder, got {type(path).__name__}")
    if not str(path):
        raise IngestError("a path is empty; to read the current folder, use .")
    return expanded(path)


def _process_stdin() -> BinaryIO:
    if sys.stdin is None:
        raise IngestError("standard input is closed; pipe something into it")
    return sys.stdin.buffer


def _duplicate(item: Document, source: str, position: int) -> str:
    where = f"{source}:{position}" if position else source
    return f"duplicate id {item.id!r}: the first one, at {where}, is kept"


def _source(part: File | Reject) -> str:
    return part.path if isinstance(part, File) else part.source


def _is_table(path: str) -> bool:
    return suffix_of(path) in TABLES


def _any_below(folder: str, sources: Collection[str]) -> bool:
    return folder in sources or any(source.startswith(f"{folder}/") for source in sources)


def _at_or_below(source: str, paths: Container[str]) -> bool:
    while source not in paths:
        source, below, _ = source.rpartition("/")
        if not below:
            return False
    return True


def _total(parts: list[File | Reject]) -> int | None:
    files = [part for part in parts if isinstance(part, File)]
    if any(file.kind == "stdin" for file in files):
        return None
    return sum(file.size for file in files)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IngestError(f"there is no file or folder {_shown(path)}; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, error) from error


def _named_file(path: Path, status: os.stat_result, kinds: Kinds) -> File:
    if not stat.S_ISREG(status.st_mode):
        raise IngestError(f"{_shown(path)} is not a regular file; to read a pipe, use - (stdin)")
    kind = kinds.named.get(suffix_of(path.name))
    if kind is None:
        raise IngestError(f"{_shown(path)} {kinds.why_not(path.name)}")
    if kind == "pdf":
        check_installed()
    _check_readable(path)
    # The folder resolved, the name as given: what a link is called says more than its target.
    absolute = str(path.parent.resolve() / path.name)
    if printable(absolute) != absolute:
        raise IngestError(f"the path {_shown(path)} is not UTF-8; rename it")
    return File(kind, absolute, path.name, status.st_size)


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            os.scandir(path).close()
        else:
            path.open("rb").close()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | ValueError) -> IngestError:
    what = (isinstance(error, OSError) and error.strerror) or str(error)
    return IngestError(f"{_shown(path)} cannot be read: {what}; check its permissions")


def _shown(path: Path) -> str:
    return repr(printable(str(path)))
