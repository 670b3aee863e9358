"""Routes of collections of pictures: see one, ask with one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Response, UploadFile

from semsearch import pictures
from semsearch.blend import image
from semsearch.errors import InvalidArgument
from semsearch.filters import parse
from semsearch.server.access import router
from semsearch.server.models import Hits, Id, Name
from semsearch.server.service import How, Service


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

        def work() -> bytes:
            return pictures.png(service.collections.get(name).decode(id)[id])

        return Response(await service.read(work), media_type="image/png")

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

    return reading
