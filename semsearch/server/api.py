"""The routes of semsearch's own API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from semsearch import __version__
from semsearch.blend import like
from semsearch.errors import InvalidArgument
from semsearch.filters import parse
from semsearch.highlight import Highlight, highlights
from semsearch.index import Index
from semsearch.server.access import router
from semsearch.server.collections import Collections
from semsearch.server.jobs import Jobs, Upload
from semsearch.server.maps import Maps
from semsearch.server.metrics import CONTENT_TYPE
from semsearch.server.models import (
    MOST_HIGHLIGHTED,
    Collection,
    CollectionList,
    CollectionMap,
    Deleted,
    DrawingState,
    Found,
    Get,
    Given,
    Health,
    Hits,
    JobList,
    JobState,
    Name,
    NewCollection,
    Search,
    Upsert,
    Upserted,
)
from semsearch.server.pictures import picture_routes
from semsearch.server.service import How, Kind, Limits, Query, Service
from semsearch.types import Document, Hit


def routes(service: Service, jobs: Jobs, maps: Maps) -> list[APIRouter]:
    """All of them, around a service, its jobs and its maps."""
    return [
        _health(),
        _metrics(service),
        _reading(service, maps),
        picture_routes(service),
        _writing(service, jobs),
        _jobs(jobs),
    ]


def _health() -> APIRouter:
    open_to_all = APIRouter(tags=["server"])

    @open_to_all.get("/healthz")
    async def health() -> Health:
        """Whether the server answers; needs no token."""
        return Health(version=__version__)

    return open_to_all


def _metrics(service: Service) -> APIRouter:
    protected = router("read", "server")

    @protected.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return protected


def _reading(service: Service, maps: Maps) -> APIRouter:
    reading = router("read", "collections")

    @reading.get("/collections")
    async def list_collections() -> CollectionList:
        """All collections."""
        described = await service.read(lambda: _all(service.collections))
        return CollectionList(collections=described)

    @reading.get("/collections/{name}")
    async def describe(name: Name) -> Collection:
        """One collection and its size."""
        return await service.read(lambda: _described(name, service.collections.get(name)))

    @reading.post("/collections/{name}/search")
    async def search(name: Name, body: Search) -> Hits:
        """Find the passages that answer a query best.

        Searches that arrive while others are answered, and ask for the same in all but their
        query, are answered together.
        """
        how, query = _asked(name, body, service.limits)
        hits = await service.search(how, query)
        if not body.highlight or not isinstance(query, str):
            return Hits(hits=hits, highlights=None)
        return Hits(hits=hits, highlights=await service.read(lambda: _highlights(how, query, hits)))

    def _highlights(how: How, query: str, hits: list[Hit]) -> list[Highlight]:
        index = service.collections.get(how.collection)
        encoder = None if how.mode == "keyword" else index.encoder
        return highlights(query, [hit.text for hit in hits], encoder)

    @reading.get(
        "/collections/{name}/map",
        response_class=Response,
        responses={200: {"model": CollectionMap}, 202: {"model": DrawingState}},
    )
    async def draw_map(name: Name) -> Response:
        """Where each passage is on a map on which those that are alike lie near each other.

        It is drawn when it is asked for, which takes a while: until it is done the answer is 202
        with the share that is. Ask again.
        """
        drawing = await maps.get(name)
        if drawing.map is None:
            waiting = DrawingState(share=drawing.share)
            return JSONResponse(waiting.model_dump(), 202)
        return Response(drawing.map, media_type="application/json")

    @reading.post("/collections/{name}/get")
    async def get(name: Name, body: Get) -> Found:
        """Documents by id."""
        found = await service.read(lambda: service.collections.get(name).get(body.ids))
        documents = [_given(document) for document in found if document]
        missing = [id_ for id_, document in zip(body.ids, found, strict=True) if not document]
        return Found(documents=documents, missing=missing)

    return reading


def _writing(service: Service, jobs: Jobs) -> APIRouter:
    writing = router("write", "collections")

    @writing.put("/collections/{name}", status_code=201)
    async def create(name: Name, body: NewCollection) -> Collection:
        """Make an empty collection."""
        made = await service.create(name, dim=body.dim, chunk_tokens=body.chunk_tokens)
        return await service.read(lambda: _described(name, made))

    @writing.post("/collections/{name}/upsert")
    async def upsert(name: Name, body: Upsert) -> Upserted:
        """Add documents, or replace those with the same ids; durable when it answers."""

        def work(index: Index) -> Upserted:
            report = index.add(
                [one.model_dump() for one in body.documents],
                body.vectors,
                on_conflict=body.on_conflict,
            )
            return Upserted(
                added=report.added,
                replaced=report.replaced,
                unchanged=report.unchanged,
                skipped=report.skipped,
                chunks=report.chunks,
            )

        done = await service.write(name, work)
        service.metrics.documents_written.labels(name).inc(done.added + done.replaced)
        return done

    @writing.post("/collections/{name}/delete")
    async def delete(name: Name, body: Get) -> Deleted:
        """Delete documents by id, in one commit; durable when it answers."""
        number = await service.write(name, lambda index: index.delete(body.ids))
        service.metrics.documents_written.labels(name).inc(number)
        return Deleted(deleted=number)

    @writing.post("/collections/{name}/ingest", status_code=202)
    async def ingest(
        name: Name,
        file: Annotated[UploadFile, File(description="Of any kind that `semsearch index` reads.")],
        id_field: Annotated[str | None, Form(description="Field of a table's ids.")] = None,
        text_field: Annotated[str | None, Form(description="Field of a table's texts.")] = None,
        prune: Annotated[
            bool, Form(description="Delete what an earlier file of the same name held.")
        ] = False,
    ) -> JobState:
        """Add the documents of a file, after the answer: ask for the job to see how far it is."""
        if jobs.full:
            raise HTTPException(409, "too many uploads wait for their turn; try again later")

        def work() -> Upload:
            index = service.collections.get(name)
            modality = index.space.modality
            _ = index.picture_encoder if modality == "image" else index.encoder
            return jobs.receive(
                file.filename or "",
                file.file,
                modality,
                id_field=id_field,
                text_field=text_field,
            )

        return JobState.of(jobs.start(name, await service.read(work), prune=prune))

    return writing


def _jobs(jobs: Jobs) -> APIRouter:
    reading = router("read", "jobs")

    @reading.get("/jobs")
    async def list_jobs() -> JobList:
        """Ingests of uploaded files, the newest first."""
        return JobList(jobs=[JobState.of(job) for job in jobs])

    @reading.get("/jobs/{id}")
    async def job(id: str) -> JobState:
        """How far one is."""
        found = jobs.get(id)
        if found is None:
            raise HTTPException(404, f"no job {id!r}; those of an earlier server are forgotten")
        return JobState.of(found)

    return reading


def _asked(name: str, body: Search, limits: Limits) -> tuple[How, Query]:
    """How and for what a request searches.

    Raises:
        InvalidArgument: The filter cannot be read, or it asks for too much.
    """
    if body.k + body.offset > limits.k:
        raise InvalidArgument(f"k and offset: together at most {limits.k:,} on this server")
    if body.highlight and body.k > MOST_HIGHLIGHTED:
        raise InvalidArgument(f"highlight: for at most {MOST_HIGHLIGHTED} hits, and k is {body.k}")
    kind, query = _query(body)
    how = How(
        collection=name,
        kind=kind,
        k=body.k,
        mode=body.mode or ("hybrid" if kind == "text" else "dense"),
        where=None if body.where is None else str(parse(body.where)),
        group=body.group,
        offset=body.offset,
        min_score=body.min_score,
        diversity=body.diversity,
    )
    return how, query


def _query(body: Search) -> tuple[Kind, Query]:
    match body.query, body.like:
        case str(text), None:
            return "text", text
        case list(numbers), None:
            return "vector", tuple(numbers)
        case None, str(id_):
            return "blend", like(id_)
        case _:
            raise InvalidArgument("expected either a query or like, the id of a document")


def _all(collections: Collections) -> list[Collection]:
    return [_described(name, collections.get(name)) for name in collections.names()]


def _described(name: str, index: Index) -> Collection:
    info = index.info()
    return Collection(
        name=name,
        documents=info.documents,
        chunks=info.chunks,
        version=info.version,
        modality=info.space.modality,
        encoder=info.encoder,
        dim=info.space.dim,
        bytes=info.bytes,
    )


def _given(document: Document) -> Given:
    return Given.model_construct(
        id=document.id,
        text=document.text,
        title=document.title,
        metadata=document.metadata,
        source=document.source,
    )
