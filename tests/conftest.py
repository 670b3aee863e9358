"""Fixtures for all tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


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
