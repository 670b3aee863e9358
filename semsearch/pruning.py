"""Documents that the sources of an ingest no longer hold."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable
from pathlib import Path

from semsearch.errors import IngestError
from semsearch.sources import Sources
from semsearch.store import Store


def vanished(
    store: Store,
    sources: Sources,
    seen: Container[str],
    read: Container[str],
    refused: Container[str],
    *,
    force: bool = False,
) -> list[str]:
    """Ids of documents that came from these sources and are not in them any more.

    A document is gone when its file is, or when its file was read from end to end and has no
    record of its id. One whose file has rejects, cannot be looked at, or is there but was not
    read in this pass (a table in a folder, a hidden file) is not.

    Args:
        store: The index.
        sources: What was read, completely.
        seen: Ids of all documents that were read.
        read: Sources that gave a document.
        refused: Sources, and folders, that gave a reject.
        force: Also when nothing at all is left of a source.

    Raises:
        IngestError: Nothing is left of a source that has documents: it may be a disk that is not
            mounted.
    """
    with store.read() as snapshot:
        candidates = [
            (id_, source)
            for id_, source in snapshot.catalog.sources()
            if id_ not in seen and sources.covers(source)
        ]
    protected = {source for source in {s for _, s in candidates} if _kept(source, sources, refused)}
    gone = [(id_, source) for id_, source in candidates if source not in protected]
    if not force:
        _check_something_left(gone, sources, read)
    return [id_ for id_, _ in gone]


def _kept(source: str, sources: Sources, refused: Container[str]) -> bool:
    if any(str(path) in refused for path in (source, *Path(source).parents)):
        return True
    return not sources.reads(source) and _is_there(source)


def _is_there(source: str) -> bool:
    """Whether a file exists, or may exist and cannot be seen; a folder is none."""
    try:
        return not stat.S_ISDIR(os.lstat(source).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _check_something_left(
    gone: Iterable[tuple[str, str]], sources: Sources, read: Container[str]
) -> None:
    lost: dict[str, int] = {}
    for _, source in gone:
        for name in sources.emptied(source, read):
            lost[name] = lost.get(name, 0) + 1
    for name, number in lost.items():
        raise IngestError(
            f"{name} holds nothing now, and the index has {number:,} of its documents; nothing "
            "was pruned. Is it mounted, is it the right one? To prune them all: "
            "`semsearch index --prune --force`"
        )
