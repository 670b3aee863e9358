"""Child processes that start in milliseconds: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("pytest", "semsearch.index", "semsearch.vectors.faiss", "faiss"),
        *("sqlalchemy.dialects.sqlite", "portalocker"),
    ]
)


class Child:
    """A process that runs `work(connection, *args)`; `messages` are what it sends."""

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        self._here, there = CONTEXT.Pipe()
        self.process: ForkServerProcess = CONTEXT.Process(
            target=_run, args=(work, there, *args), daemon=True
        )
        self.process.start()
        there.close()

    def receive(self, timeout: float = 60) -> Any:
        """The next message.

        Raises:
            EOFError: It is dead and has sent nothing more.
        """
        if not self._here.poll(timeout):
            raise TimeoutError(f"the child sent nothing for {timeout} s")
        try:
            message = self._here.recv()
        except ConnectionResetError as error:
            raise EOFError from error
        if isinstance(message, _Failed):
            raise AssertionError(f"in the child:\n{message.trace}")
        return message

    def poll(self, seconds: float) -> bool:
        """Wait for a message or the end."""
        return self._here.poll(max(0.0, seconds))

    def send(self, message: Any) -> None:
        """Tell the child something."""
        self._here.send(message)

    def rest(self) -> list[Any]:
        """All messages until its end."""
        messages = []
        try:
            while True:
                messages.append(self.receive())
        except EOFError:
            return messages

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):  # it has ended by itself, and the server buried it
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def end(self) -> int | None:
        """Wait for its end; gives the exit code, negative for a signal."""
        self.process.join(60)
        self._here.close()
        return self.process.exitcode


class _Failed:
    def __init__(self, trace: str) -> None:
        self.trace = trace


def _run(work: Callable[..., None], connection: Connection, *args: Any) -> None:
    try:
        work(connection, *args)
    except BaseException:
        connection.send(_Failed(traceback.format_exc()))


@contextmanager
def child(work: Callable[..., None], *args: Any) -> Iterator[Child]:
    """A child that is gone when the block ends."""
    started = Child(work, *args)
    try:
        yield started
    finally:
        if started.process.is_alive():
            started.kill()
        started.end()
