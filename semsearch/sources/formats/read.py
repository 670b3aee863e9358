"""The parent's side of the child process that parses files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from semsearch.errors import InvalidArgument
from semsearch.sources.formats.worker import EXIT_MEMORY, OUT_OF_MEMORY, allowed_seconds
from semsearch.sources.record import File, Record
from semsearch.types import Document, Reject

_EXIT_WATCHDOG = 1  # what faulthandler ends the process with
_ROOT = str(Path(__file__).resolve().parents[3])  # the folder that holds semsearch


class Parsing:
    """Parses files in a child process, which a file may crash or be stopped in.

    The process is started by the first file and serves all that follow; when one has ended it,
    the next starts another. Leaving the context ends it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Parsing:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, whatever it is doing."""
        if self._process:
            self._process.kill()
            self._forget(self._process)

    def read(self, file: File) -> Iterator[Record]:
        """A record of each part of a file, or of what is wrong with it.

        Position is the page, slide, section, chapter or message, from 1.
        """
        done = 0
        for answer in self._answers(file):
            end = max(done, int(file.size * answer.get("share", 1 - bool(answer["position"]))))
            yield Record(_item(file, answer), end - done, answer["position"])
            done = end

    def _answers(self, file: File) -> Iterator[dict[str, Any]]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        request = {"kind": file.kind, "path": file.path, "size": file.size}
        with suppress(BrokenPipeError):  # it is gone: then there is no answer either
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        some = False
        while (line := process.stdout.readline()).endswith(b"\n"):  # or it was cut off in one
            answer = json.loads(line)
            if answer is None:
                return
            some = True
            yield answer
        reason = _why(self._forget(process), file)
        kept = "; what came before was read" if some else ""
        yield {"reason": f"{reason}{kept}", "position": 0}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is not None:  # the system may end it as well
            self._forget(self._process)
        self._process = self._process or _started()
        return self._process

    def _forget(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of a process, close its pipes, and give its exit status."""
        self._process = None
        with suppress(BrokenPipeError), process:  # a request may still be in the pipe's buffer
            pass
        return process.wait()


def _started() -> subprocess.Popen[bytes]:
    """A process that sees the same semsearch, and no module of the folder it is started in."""
    paths = [_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "semsearch.sources.formats.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def _item(file: File, answer: dict[str, Any]) -> Document | Reject:
    if "reason" in answer:
        return Reject(file.path, answer["position"], answer["reason"])
    try:
        return Document(
            id=f"{file.id}#{answer['fragment']}" if answer["fragment"] else file.id,
            text=answer["text"],
            title=answer["title"],
            metadata=answer["metadata"],
            source=file.path,
        )
    except InvalidArgument as error:
        return Reject(file.path, answer["position"], str(error))


def _why(status: int, file: File) -> str:
    if status == EXIT_MEMORY:
        return OUT_OF_MEMORY
    if status == _EXIT_WATCHDOG:
        return f"parsing it took longer than {allowed_seconds(file.size)} s"
    return f"the parser crashed on it (exit status {status})"
