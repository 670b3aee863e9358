"""Options and processes of the crash campaign."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


def pytest_addoption(parser: pytest.Parser) -> None:
    # Known only when pytest is given this folder or a file in it; the defaults hold otherwise.
    group = parser.getgroup("crash campaign")
    group.addoption(
        "--crash-rounds",
        type=int,
        help="random kills (default 20); from 100 on, everything else is thorough, too: kills and "
        "failures at every step, rather than at every second of those that change files, and "
        "200 commits under readers, rather than 60",
    )
    group.addoption("--crash-seed", type=int, help="seed of the random kills (default: new)")


@pytest.fixture
def crash_rounds(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--crash-rounds", default=None)
    return int(given or os.environ.get("CRASH_ROUNDS", "20"))


@pytest.fixture
def thorough(crash_rounds: int) -> bool:
    """Whether time is no object."""
    return crash_rounds >= 100


@pytest.fixture
def crash_seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--crash-seed", default=None)
    return int(os.urandom(4).hex(), 16) if given is None else int(given)


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill leaves there exactly what it leaves on a disk.

    (Not so a power cut, which these tests do not imitate.)
    """
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="semsearch-crash-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder)
