"""Fixtures for all tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session", autouse=True)
def _cache(request: pytest.FixtureRequest) -> Iterator[None]:
    """Converted models are kept from run to run, apart from the user's."""
    cache = request.config.cache
    assert cache is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMSEARCH_CACHE", str(cache.mkdir("semsearch")))
        yield


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder whose files are not flushed to a disk, where the system has one."""
    folder = Path(tempfile.mkdtemp(prefix="semsearch-", dir=MEMORY if MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(memory: Path) -> Path:
    """A new, empty folder in memory."""
    return Path(tempfile.mkdtemp(dir=memory))
