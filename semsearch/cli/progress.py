"""What a terminal shows while one waits; nothing at all when stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Never

import click

if TYPE_CHECKING:
    from tqdm import tqdm

    from semsearch.ingest import Progress


@contextmanager
def hint(text: str) -> Iterator[None]:
    """Show a line that vanishes when the block ends."""
    shown = sys.stderr.isatty()
    if shown:
        click.echo(text, nl=False, err=True)
    try:
        yield
    finally:
        if shown:
            click.echo("\r" + " " * len(text) + "\r", nl=False, err=True)


def query_bar(total: int, *, among_answers: bool) -> tqdm[Never]:
    """A bar over queries; hidden as well where their answers go to the terminal meanwhile."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty() or (among_answers and sys.stdout.isatty())
    return tqdm(
        total=total, unit=" queries", leave=False, dynamic_ncols=True, disable=hidden, delay=0.5
    )


class BuildBar:
    """A bar for each step of building a vector index, over the vectors or rounds of it."""

    def __init__(self) -> None:
        """Show nothing before the first step."""
        self._bar: tqdm[Never] | None = None
        self._step = ""

    def __enter__(self) -> BuildBar:
        """Give the bar itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show how far a step is."""
        from tqdm import tqdm

        if self._bar is None or step != self._step:
            self.__exit__()
            self._step = step
            self._bar = tqdm(
                desc=step,
                total=total,
                unit_scale=True,
                leave=False,
                dynamic_ncols=True,
                disable=not sys.stderr.isatty(),
            )
        self._bar.update(done - self._bar.n)


class IngestBar:
    """A bar over the bytes of the input, with what was made of them.

    It moves when a batch has been worked through, not when it has been read: encoding is what
    takes the time, and the time left is reckoned from it.
    """

    def __init__(self, total: int | None, beginning: str) -> None:
        """Show the bar.

        Args:
            total: Bytes to read, if known.
            beginning: Shown until the first chunk is encoded.
        """
        from tqdm import tqdm

        self._began = time.monotonic()
        self._done = (0, 0)
        self._bar: tqdm[Never] = tqdm(
            desc=beginning,
            total=total,
            unit="B",
            unit_scale=True,
            leave=False,
            dynamic_ncols=True,
            mininterval=0,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> IngestBar:
        """Give the bar itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.close()

    def __call__(self, progress: Progress) -> None:
        """Show how far the ingest is."""
        done = (progress.documents, progress.rejected)
        if done == self._done:
            return
        self._done = done
        if progress.chunks:
            self._bar.set_description_str("indexing", refresh=False)
        self._bar.set_postfix_str(self._made(progress), refresh=False)
        self._bar.update(progress.bytes - self._bar.n)

    def _made(self, progress: Progress) -> str:
        speed = progress.tokens / max(time.monotonic() - self._began, 1e-9)
        rejected = f", {progress.rejected:,} rejected" if progress.rejected else ""
        return (
            f"{progress.documents:,} documents, {progress.chunks:,} chunks, "
            f"{speed:,.0f} tokens/s{rejected}"
        )
