"""Ingests of uploaded files: each a job that goes on after its request was answered."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from semsearch.errors import IngestError, InvalidArgument, SemsearchError
from semsearch.ingest import IngestReport, Progress
from semsearch.server.service import Service
from semsearch.sources import Record, Sources
from semsearch.types import Modality, Reject

_log = logging.getLogger("semsearch.server")

State = Literal["waiting", "running", "done", "failed", "stopped"]

KEPT = 1000
"""So many jobs are remembered, the newest."""

MOST_WAITING = 100
"""So many uploads may wait for their turn."""


@dataclass(slots=True)
class Job:
    """The ingest of one file.

    Attributes:
        state: "stopped" when the server was shut down before its end: what it had encoded by then
            is in the index, and the same file sent again goes on from there.
        progress: How far it is.
        bytes: Size of the file.
        report: What became of the documents, once it is done.
        error: Why it failed.
    """

    id: str
    collection: str
    file: str
    bytes: int
    state: State = "waiting"
    progress: Progress = field(default_factory=Progress)
    report: IngestReport | None = None
    error: str | None = None


class Upload(Sources):
    """One uploaded file: its documents name it as their source, not where it lies meanwhile.

    Attributes:
        name: Of the file.
        folder: Where it lies, alone.
    """

    def __init__(
        self, path: Path, modality: Modality, *, id_field: str | None, text_field: str | None
    ) -> None:
        super().__init__([path], id_field=id_field, text_field=text_field, modality=modality)
        self.name = path.name
        self.folder = path.parent

    def __iter__(self) -> Iterator[Record]:
        """Every record once; see `Sources`."""
        for record in super().__iter__():
            item = replace(record.item, source=self.name)
            if isinstance(item, Reject):
                item = replace(item, reason=item.reason.replace(f"{self.folder}/", ""))
            yield replace(record, item=item)

    def covers(self, source: str) -> bool:
        """Whether a source is this file."""
        return source == self.name

    def reads(self, source: str) -> bool:
        """Whether a source is this file."""
        return source == self.name

    def emptied(self, source: str, read: Container[str]) -> list[str]:
        """The file, if it gave no document."""
        return [] if source in read else [source]


class _Stopped(KeyboardInterrupt):
    """Ends an ingest as Ctrl-C does: what is encoded is committed first."""


class Jobs:
    """Runs ingests, one after the other: the encoder is what takes their time.

    Args:
        service: What they write to.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, "ingest")
        self._ingesting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._folder = Path(tempfile.mkdtemp(prefix="semsearch-uploads-"))

    def __iter__(self) -> Iterator[Job]:
        """The jobs, the newest first."""
        return reversed(self._jobs.values())

    def get(self, id_: str) -> Job | None:
        """The job of an id."""
        return self._jobs.get(id_)

    @property
    def full(self) -> bool:
        """Whether no more uploads are taken for now."""
        return len(self._tasks) >= MOST_WAITING

    def receive(
        self,
        name: str,
        content: BinaryIO,
        modality: Modality,
        *,
        id_field: str | None,
        text_field: str | None,
    ) -> Upload:
        """Keep an uploaded file until it is ingested into an index of this modality.

        Raises:
            InvalidArgument: The name is no file's.
            IngestError: It is of no kind that is read.
        """
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise InvalidArgument(f"file: {name!r} is no name of a file")
        path = Path(tempfile.mkdtemp(dir=self._folder)) / name
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, path.parent)
            try:
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
                upload = Upload(path, modality, id_field=id_field, text_field=text_field)
            except IngestError as error:
                raise IngestError(str(error).replace(f"{path.parent}/", "")) from error
            except OSError as error:
                raise InvalidArgument(f"file: {name!r} cannot be kept: {error.strerror}") from error
            undo.pop_all()
        return upload

    def start(self, collection: str, upload: Upload, *, prune: bool) -> Job:
        """Ingest an upload when its turn comes."""
        job = Job(uuid.uuid4().hex, collection, upload.name, upload.total_bytes or 0)
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT:
            self._jobs.popitem(last=False)
        task = asyncio.create_task(self._run(job, upload, prune))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._count()
        return job

    async def stop(self) -> None:
        """End what runs as soon as what it has encoded is committed, and forget what waits."""
        self._stopping = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _run(self, job: Job, upload: Upload, prune: bool) -> None:
        # Its turn with the collection comes last: until then others write.
        async with self._ingesting, self._service.turn(job.collection):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._ingest, job, upload, prune)
        self._count()

    def _ingest(self, job: Job, upload: Upload, prune: bool) -> None:
        def progress(done: Progress) -> None:
            job.progress = done
            if self._stopping:
                raise _Stopped

        job.state = "running"
        try:
            progress(job.progress)
            index = self._service.collections.get(job.collection)
            job.report = index.ingest_sources(upload, prune=prune, progress=progress)
            job.state = "done"
            changed = job.report.added + job.report.replaced + job.report.pruned
            self._service.metrics.documents_written.labels(job.collection).inc(changed)
        except _Stopped:
            job.state = "stopped"
        except SemsearchError as error:
            job.state, job.error = "failed", self._service.collections.told(error)
        except Exception:
            _log.exception("job %s", job.id)
            job.state, job.error = "failed", "an error of the server; its log tells more"
        finally:
            shutil.rmtree(upload.folder, ignore_errors=True)

    def _count(self) -> None:
        for state in get_args(State):
            number = sum(job.state == state for job in self)
            self._service.metrics.jobs.labels(state).set(number)
