"""Maps of collections: drawn when somebody asks, one at a time, while the server goes on."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from semsearch import maps
from semsearch.errors import SemsearchError
from semsearch.index import Index
from semsearch.server.models import CollectionMap
from semsearch.server.service import Service

_log = logging.getLogger("semsearch.server")

_LABEL = 80  # characters
_PATIENCE = 5.0  # s in which somebody who waits for a map asks again


@dataclass(slots=True)
class Drawing:
    """The map of one commit of a collection.

    Attributes:
        share: Of the work that is done.
        map: The answer as JSON, once it is done.
        error: Why there is none.
        fresh_until: Till then (on the monotonic clock) it is what is answered even if there is a
            newer commit: while it is drawn, and until somebody who waits for it got it. Under
            steady writing nobody would ever see a map otherwise.
    """

    index: Index
    version: int
    share: float = 0.0
    map: bytes | None = None
    error: SemsearchError | None = None
    fresh_until: float = math.inf

    def shows(self, index: Index, version: int) -> bool:
        """Whether it is what is to be answered for a commit."""
        fresh = self.version == version or time.monotonic() < self.fresh_until
        return self.index is index and fresh


class _Stopped(KeyboardInterrupt):
    """Ends a drawing when the server ends."""


class Maps:
    """The newest map of each collection that was asked for.

    Args:
        service: Whose collections they are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._drawings: dict[str, Drawing] = {}
        self._pool = ThreadPoolExecutor(1, "map")
        self._stopping = False

    async def get(self, name: str) -> Drawing:
        """The map of a collection, or how far it is.

        Raises:
            SemsearchError: There is no such collection, or it cannot be drawn.
        """
        index, version = await self._service.read(lambda: self._current(name))
        drawing = self._drawings.get(name)
        if drawing is None or not drawing.shows(index, version):
            drawing = self._drawings[name] = Drawing(index, version)
            self._pool.submit(self._draw, drawing)
        if drawing.error is not None:
            del self._drawings[name]  # whoever asks again may have mended it
            raise drawing.error
        if drawing.map is not None:
            drawing.fresh_until = 0.0
        return drawing

    async def stop(self) -> None:
        """End what is being drawn."""
        self._stopping = True
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _current(self, name: str) -> tuple[Index, int]:
        index = self._service.collections.get(name)
        return index, index.version

    def _draw(self, drawing: Drawing) -> None:
        def progress(share: float) -> None:
            drawing.share = share
            if self._stopping:
                raise _Stopped

        try:
            drawn = maps.draw(drawing.index, progress=progress)
            drawing.version = drawn.sample.version
            drawing.map = _answer(drawn).model_dump_json().encode()
        except _Stopped:
            pass
        except SemsearchError as error:
            drawing.error = error
        except Exception:
            _log.exception("map of %s", drawing.index.path)
            drawing.error = SemsearchError("an error of the server; its log tells more")
        finally:
            drawing.fresh_until = time.monotonic() + _PATIENCE


def _answer(drawn: maps.Map) -> CollectionMap:
    passages, text = drawn.sample.passages, drawn.sample.text
    x, y = drawn.points.round(5).T.tolist() if passages else ([], [])
    values: dict[str, Any] = {
        "version": drawn.sample.version,
        "total": drawn.sample.total,
        "chunks": [hit.chunk for hit in passages],
        "ids": [hit.id for hit in passages],
        "labels": [(hit.title or text(hit) or hit.id)[:_LABEL] for hit in passages],
        "x": x,
        "y": y,
        "topics": drawn.topics,
    }
    return CollectionMap.model_construct(**values)
