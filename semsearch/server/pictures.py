"""Routes of collections of pictures: see one, ask with one, turn one into another."""

from __future__ import annotations

import base64
from typing import Annotated

import numpy as np
from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from starlette.exceptions import HTTPException

from semsearch import pictures
from semsearch.blend import image, like
from semsearch.errors import InvalidArgument
from semsearch.filters import parse
from semsearch.imagining import imagine_between
from semsearch.reader import Reader
from semsearch.server.access import router
from semsearch.server.models import MOST_STEPS, Hits, Id, Morph, MorphStep, Name
from semsearch.server.service import How, Service

MOST_PIXELS = 24 * 2**20
"""Of all steps of a morph together: of 512x512 as many as are allowed, 24 of 1024x1024."""


def picture_routes(service: Service) -> APIRouter:
    """All of them, around a service."""
    reading = router("read", "pictures")

    @reading.get(
        "/collections/{name}/picture",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    async def picture(name: Name, id: Annotated[Id, Query()]) -> Response:
        """A picture as its latent decodes to it, in PNG: the file that it came from is not read."""
        await service.read(lambda: _check_there(service.collections.get(name), id))
        seen = await service.picture(name, id)
        return Response(await service.read(lambda: pictures.png(seen)), media_type="image/png")

    @reading.post("/collections/{name}/search/picture")
    async def search_with_picture(
        name: Name,
        file: Annotated[UploadFile, File(description="A picture of any format that Pillow reads.")],
        k: Annotated[int, Form(ge=1, description="How many hits.")] = 10,
        where: Annotated[str | None, Form(description="A filter, as an expression.")] = None,
    ) -> Hits:
        """Find the pictures that look most like one."""
        if k > service.limits.k:
            raise InvalidArgument(f"k: at most {service.limits.k:,} on this server")
        only = None if where is None else str(parse(where))
        asked = await service.read(
            lambda: pictures.decoded(file.file.read(), file.filename or "picture")
        )
        how = How(name, "blend", k, "dense", only)
        return Hits(hits=await service.search(how, image(asked)), highlights=None)

    @reading.get("/collections/{name}/morph")
    async def morph(
        name: Name,
        start: Annotated[Id, Query(description="Id of the first picture.")],
        end: Annotated[Id, Query(description="Id of the last picture.")],
        steps: Annotated[
            int, Query(ge=2, le=MOST_STEPS, description="How many, both ends included.")
        ] = 11,
        linear: Annotated[
            bool, Query(description="Go on the straight line instead of the arc.")
        ] = False,
    ) -> Morph:
        """Turn one picture into another, and name the real picture nearest to each step."""

        def work() -> Morph:
            with service.collections.get(name).snapshot() as reader:
                _check_there(reader, start, end)
                _check_size(reader, steps)
                return _morph(reader, start, end, steps, linear=linear)

        return await service.decode(work)

    return reading


def _check_there(reader: Reader, *ids: str) -> None:
    for id_ in ids:
        if id_ not in reader:
            raise HTTPException(404, f"no document with id {id_!r}")


def _check_size(reader: Reader, steps: int) -> None:
    blank = np.zeros((1, 1, 3), np.uint8)
    size = pictures.size_of(reader.picture_encoder.prepared(blank))
    most = MOST_PIXELS // (size.width * size.height)
    if steps > most:
        raise InvalidArgument(f"steps: at most {most} of pictures of {size}, got {steps}")


def _morph(reader: Reader, start: str, end: str, steps: int, *, linear: bool) -> Morph:
    frames = imagine_between(reader, like(start), like(end), steps=steps, linear=linear)
    nearest = reader.between(like(start), like(end), steps=steps)
    return Morph(
        steps=[
            MorphStep(
                share=step / (steps - 1),
                picture=base64.b64encode(pictures.png(frame)).decode(),
                nearest=hits[0],
            )
            for step, (frame, hits) in enumerate(zip(frames, nearest, strict=True))
        ]
    )
