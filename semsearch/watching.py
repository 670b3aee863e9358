"""An index that follows its sources: a pass over everything, then one over whatever changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from semsearch.arguments import expanded
from semsearch.errors import DependencyMissing, SemsearchError, StorageError
from semsearch.index import Index
from semsearch.ingest import IngestReport, Progress
from semsearch.sources import Sources

_QUIET = 200  # ms without a change before a pass: an editor's save is several changes
_TICK = 500  # ms after which what could not be written is tried again


def follow(
    index: Index,
    paths: Sequence[str | Path],
    *,
    id_field: str | None = None,
    text_field: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[IngestReport | SemsearchError]:
    """Keep an index up to date with files and folders, until the caller stops or is interrupted.

    The first pass reads everything, later ones only what was touched. Documents whose file, or
    record, is gone are deleted, by the rules of `Index.ingest(prune=True)`: those of a source that
    is gone as a whole stay until it is back. The writer's lock is held during a pass and free
    between passes; a pass that cannot have it is made up for.

    Args:
        index: The index.
        paths: Files or folders. The folder of a file is watched, with what is below it when
            a folder is named as well.
        id_field: As for `Index.ingest`.
        text_field: As for `Index.ingest`.
        progress: Called with how far a pass is.

    Yields:
        What became of the documents of a pass, or the error that ended it; the same error is
        told once.

    Raises:
        DependencyMissing: watchfiles is not installed.
        SemsearchError: The first pass failed.
    """
    look = partial(
        Sources,
        paths,
        id_field=id_field,
        text_field=text_field,
        modality=index.space.modality,
    )
    look()
    changes = _changes(paths, index.path)
    next(changes)  # from here on nothing is missed
    yield index.ingest_sources(look(), prune=True, progress=progress)
    pending: set[str] = set()
    told = ""
    again = False
    for touched in changes:
        pending |= touched
        if not touched and not again:
            continue
        try:
            sources = look(missing_ok=True)
            gone = {path for path in pending if sources.holds_nothing(path)}
            if there := pending - gone:
                touching = sources.touching(there)
                yield index.ingest_sources(touching, prune=True, progress=progress)
            pending = gone
            if gone:  # keeps its documents until it is back; the error says so
                index.ingest_sources(sources.touching(gone), prune=True)
            pending = set()
        except SemsearchError as error:
            again = isinstance(error, StorageError)  # locked, disk full: may pass by itself
            if str(error) != told:
                yield error
            told = str(error)
        else:
            again, told = False, ""


def _changes(paths: Sequence[str | Path], index: Path) -> Iterator[set[str]]:
    """Paths that were touched, but not those of the index; an empty set at every tick."""
    try:
        from watchfiles import Change, watch
    except ImportError as error:
        raise DependencyMissing(
            "watching needs watchfiles: pip install 'semsearch[watch]'"
        ) from error
    own = index.resolve()
    named = [expanded(path) for path in paths]
    # A file is replaced, not written, by most editors: its folder is what tells of it.
    folders = [path if path.is_dir() else path.parent for path in named]
    recursive = any(path.is_dir() for path in named)
    remade: set[str] = set()
    while True:
        places = _places(folders)
        watched = watch(
            *places,
            watch_filter=lambda _, path: not Path(path).is_relative_to(own),
            step=_QUIET,
            rust_timeout=_TICK,
            yield_on_timeout=True,
            recursive=recursive,
        )
        with suppress(FileNotFoundError):  # one is gone already: look again
            for changes in watched:
                yield {path for _, path in changes} | remade
                remade = set()
                # A folder that is gone, or is another one now, tells of nothing more. What came
                # meanwhile is not read from this watcher: everything counts as touched.
                now = _places(folders)
                deleted = {Path(path) for what, path in changes if what == Change.deleted}
                if now != places or deleted & places.keys():
                    remade = set(map(str, places | now))
                    break


def _places(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """The folders that are there, resolved, and which one each is to the file system."""
    found = {}
    for folder in folders:
        with suppress(OSError):
            status = folder.stat()
            found[folder.resolve()] = (status.st_dev, status.st_ino)
    return found
