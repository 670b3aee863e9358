"""What requests and answers of the HTTP API look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from semsearch.highlight import Highlight
from semsearch.ingest import IngestReport
from semsearch.maps import Topic
from semsearch.server.collections import NAME
from semsearch.server.jobs import Job
from semsearch.types import Hit, Modality, Mode, OnConflict

MOST_HIGHLIGHTED = 100
"""Hits of one search whose passages are looked at for what answers the query."""

MOST_STEPS = 64
"""Pictures of one morph."""

Name = Annotated[str, Path(pattern=NAME, description="Of the collection.", examples=["notes"])]
Id = Annotated[str, Field(min_length=1, max_length=1024, examples=["notes/bread.md"])]
Ids = Annotated[list[Id], Field(min_length=1, max_length=10_000)]

_BREAD: dict[str, Any] = {
    "id": "notes/bread.md",
    "text": "A heavy loaf was proofed too short a time.",
    "title": "Dense loaves",
    "metadata": {"year": 2024},
    "source": None,
}


class Request(BaseModel):
    """A body in which a name that is not known is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NewCollection(Request):
    """How a collection is made."""

    dim: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Vectors of this dimension are always given; by default an encoder makes them.",
    )
    chunk_tokens: int | None = Field(
        None, ge=1, description="Longest passage in tokens; by default what the encoder reads."
    )


class Collection(BaseModel):
    """A collection and its size."""

    name: str = Field(examples=["notes"])
    documents: int
    chunks: int
    version: int = Field(description="Number of its newest commit.")
    modality: Modality = Field(description="What it holds.")
    encoder: str | None = Field(description="None when vectors are always given.")
    dim: int = Field(description="Numbers of one vector.")
    bytes: int = Field(description="On disk.")


class CollectionList(BaseModel):
    """The collections of a server."""

    collections: list[Collection]


class Search(Request):
    """What is searched for."""

    query: str | list[float] | None = Field(
        None,
        description="A text, or a vector of the collection's dimension.",
        examples=["my bread comes out like a brick"],
    )
    like: Id | None = Field(
        None, description="In place of a query: a document; what is like it is found, by meaning."
    )
    k: int = Field(10, ge=1, description="How many hits.")
    mode: Mode | None = Field(
        None,
        description="By meaning (dense), by words (keyword) or by both (hybrid, the default; "
        "of a vector or a document dense).",
    )
    where: dict[str, Any] | str | None = Field(
        None,
        description="Only documents that match this filter.",
        examples=[{"year": {"$gte": 2020}}, 'year >= 2020 and lang in ("en", "de")'],
    )
    group: bool = Field(False, description="Only the best passage of each document.")
    offset: int = Field(0, ge=0, description="Leave out the first so many.")
    min_score: float | None = Field(None, description="Leave out hits that score less.")
    diversity: float = Field(
        0.0, ge=0, le=1, description="Prefer hits that differ from those before them."
    )

    highlight: bool = Field(
        False,
        description="Also say what in each passage answers a query that is a text; for at most "
        f"{MOST_HIGHLIGHTED} hits.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "my bread comes out like a brick", "k": 3},
                {"query": "bread", "mode": "keyword", "where": {"year": {"$gte": 2020}}},
            ]
        }
    )


class Hits(BaseModel):
    """The answer to a search, best first."""

    hits: list[Hit]
    highlights: list[Highlight] | None = Field(
        None,
        description="One for each hit, if asked for: spans of the passage's characters.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"hits": [{**_BREAD, "score": 0.52, "span": [0, 42], "chunk": 7}]}
        }
    )


class MorphStep(BaseModel):
    """A picture on the way from one to another."""

    share: float = Field(ge=0, le=1, description="Of the way that is gone: 0 is the first picture.")
    picture: str = Field(description="What the latent there decodes to: a file of PNG in base64.")
    nearest: Hit = Field(description="The picture of the collection that is most like it.")


class Morph(BaseModel):
    """Pictures that turn one into another, both included."""

    steps: list[MorphStep]

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "steps": [
                    {
                        "share": 0.5,
                        "picture": "iVBORw0KGgo=",
                        "nearest": {
                            "id": "photos/dusk.jpg",
                            "score": 0.91,
                            "text": "sha256:9f86d081884c7d65",
                            "title": "",
                            "metadata": {"width": 640, "height": 480, "format": "JPEG"},
                            "source": "/home/me/photos/dusk.jpg",
                            "span": [0, 23],
                            "chunk": 4,
                        },
                    }
                ]
            }
        }
    )


class CollectionMap(BaseModel):
    """Where passages are on the map of a collection: one entry of each list for each passage."""

    version: int = Field(description="Number of the commit that the map is of.")
    total: int = Field(description="Passages of the collection; the map may hold a sample of them.")
    chunks: list[int] = Field(description="Keys of the passages, as hits have them.")
    ids: list[str] = Field(description="Of their documents.")
    labels: list[str] = Field(description="Titles, or how the passages begin; ids of pictures.")
    x: list[float] = Field(description="From 0; the longer side of the map is 1.")
    y: list[float] = Field(description="From 0; up is more.")
    topics: list[Topic] = Field(
        description="Words for what is spoken of, and where on the map; the most common first."
    )


class DrawingState(BaseModel):
    """That a map is being drawn."""

    share: float = Field(ge=0, le=1, description="Of the work that is done.")


class Given(Request):
    """A document as it is added."""

    id: Id
    text: str = Field("", examples=["A heavy loaf was proofed too short a time."])
    title: str = Field("", description="Encoded in front of each passage.")
    metadata: dict[str, Any] = Field({}, description="For filters; comes back with hits.")
    source: str | None = Field(None, description="Where it is from.")


class Upsert(Request):
    """Documents to be added, or to replace those of the same ids."""

    documents: list[Given] = Field(min_length=1)
    vectors: list[list[float]] | None = Field(
        None, description="One for each document, in place of the encoder's."
    )
    on_conflict: OnConflict = Field(
        "replace", description="What to do about ids that are there; error adds nothing at all."
    )

    model_config = ConfigDict(json_schema_extra={"example": {"documents": [_BREAD]}})


class Upserted(BaseModel):
    """What became of the documents; all of it is durable."""

    added: int
    replaced: int
    unchanged: int
    skipped: int
    chunks: int = Field(description="Vectors written.")


class Get(Request):
    """Documents that are asked for."""

    ids: Ids


class Found(BaseModel):
    """Documents by id."""

    documents: list[Given]
    missing: list[str] = Field(description="Ids that are not there.")


class Deleted(BaseModel):
    """What was deleted, durably."""

    deleted: int = Field(description="How many of the ids there were.")


class JobState(BaseModel):
    """How far the ingest of an uploaded file is."""

    id: str
    collection: str
    file: str
    state: Literal["waiting", "running", "done", "failed", "stopped"]
    share: float = Field(ge=0, le=1, description="Of the file that is worked through.")
    documents: int = Field(description="Read so far.")
    chunks: int = Field(description="With vectors so far.")
    rejected: int = Field(description="Records that were refused.")
    report: IngestReport | None = Field(description="What became of the documents, when done.")
    error: str | None = Field(description="Why it failed.")

    @classmethod
    def of(cls, job: Job) -> JobState:
        """The state of a job now."""
        done = job.progress
        return cls(
            id=job.id,
            collection=job.collection,
            file=job.file,
            state=job.state,
            share=1.0 if job.state == "done" else min(1.0, done.bytes / max(job.bytes, 1)),
            documents=done.documents,
            chunks=done.chunks,
            rejected=done.rejected,
            report=job.report,
            error=job.error,
        )


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobState]


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"] = "ok"
    version: str
