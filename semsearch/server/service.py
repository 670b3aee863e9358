"""What the routes work with: the engine in threads, searches in batches, writes in turn."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from semsearch.blend import Blend
from semsearch.errors import IndexLocked
from semsearch.index import Index
from semsearch.pictures import Pixels
from semsearch.server.collections import Collections
from semsearch.server.lanes import Lanes
from semsearch.server.metrics import Metrics
from semsearch.server.tokens import Tokens
from semsearch.types import Hit, Mode

Kind = Literal["text", "vector", "blend"]
Query = str | tuple[float, ...] | Blend
Vector = NDArray[np.float32]
Done = TypeVar("Done")

_READERS = 8  # threads: SQLite and the encoder let others run, more would only wait for a core
_WRITERS = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for.

    Attributes:
        bytes: Of its body.
        k: Hits, those left out by an offset included.
        seconds: Until it is answered; for a write, until its turn comes.
    """

    bytes: int = 64 * 2**20
    k: int = 1000
    seconds: float = 30.0


class How(NamedTuple):
    """How a search is done; searches that have all of it in common are answered together.

    Attributes:
        collection: Name of the index.
        kind: What the queries are.
        where: A filter as an expression, or None.
    """

    collection: str
    kind: Kind
    k: int
    mode: Mode
    where: str | None
    group: bool = False
    offset: int = 0
    min_score: float | None = None
    diversity: float = 0.0


class _Asked(NamedTuple):
    """A query, and of a text that is searched for by meaning its vector."""

    query: Query
    vector: Vector | None


class Service:
    """The engine as requests use it; belongs to one event loop.

    Args:
        collections: The indexes.
        tokens: Who may do what.
        limits: How much one request may ask for.
        metrics: Where is counted.
    """

    def __init__(
        self, collections: Collections, tokens: Tokens, limits: Limits, metrics: Metrics
    ) -> None:
        self.collections = collections
        self.tokens = tokens
        self.limits = limits
        self.metrics = metrics
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._writers = ThreadPoolExecutor(_WRITERS, "writer")
        self._decoder = ThreadPoolExecutor(1, "decoder")  # one decode has all cores already
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._writing: set[asyncio.Task[Any]] = set()
        self._encodings = Lanes[str, str, Vector](self._encode_together)
        self._searches = 0  # under way
        self._lanes = Lanes[tuple[How, bool], _Asked, list[Hit]](
            self._search_together, observe=metrics.batch.observe
        )
        self._pictures = Lanes[str, str, Pixels](self._decode_together)

    async def read(self, work: Callable[[], Done]) -> Done:
        """Do something that writes nothing, in a thread.

        Raises:
            TimeoutError: It takes too long; it goes on, but nobody waits for it.
        """
        async with asyncio.timeout(self.limits.seconds):
            return await self._in(self._readers, work)

    async def search(self, how: How, query: Query) -> list[Hit]:
        """Answer a query, together with others that are asked alike while it waits.

        Raises:
            TimeoutError: It takes too long.
        """
        self._searches += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                vector = None
                # A lone one is encoded where it is searched for: a change of threads takes 1 ms.
                if isinstance(query, str) and how.mode != "keyword" and self._searches > 1:
                    vector = await self._encodings.ask(how.collection, query)
                return await self._lanes.ask((how, vector is not None), _Asked(query, vector))
        finally:
            self._searches -= 1

    async def decode(self, work: Callable[[], Done]) -> Done:
        """Do something that decodes pictures; one at a time, and nobody else waits for it.

        Raises:
            TimeoutError: It takes too long, or its turn does not come.
        """
        async with asyncio.timeout(self.limits.seconds):
            return await self._in(self._decoder, work)

    async def picture(self, name: str, id_: str) -> Pixels:
        """Decode a picture of a collection, together with others that are asked for meanwhile.

        Raises:
            TimeoutError: It takes too long.
        """
        async with asyncio.timeout(self.limits.seconds):
            return await self._pictures.ask(name, id_)

    async def write(self, name: str, work: Callable[[Index], Done]) -> Done:
        """Do something with a collection when its other writes are done, in a thread.

        Once begun it is brought to its end, whatever becomes of the request.

        Raises:
            IndexLocked: Its turn does not come in time.
        """
        return await asyncio.shield(self._started(self._write(name, work)))

    async def create(self, name: str, *, dim: int | None, chunk_tokens: int | None) -> Index:
        """Make an empty collection, durably; see `Collections.create`."""

        def work() -> Index:
            return self.collections.create(name, dim=dim, chunk_tokens=chunk_tokens)

        return await asyncio.shield(self._started(self._in(self._writers, work)))

    async def finish(self) -> None:
        """Wait until everything that was begun is done; nothing can be begun any more."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        for pool in (self._writers, self._readers, self._decoder):
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
        self.collections.close()

    def turn(self, name: str) -> asyncio.Lock:
        """Held by the one who writes to a collection."""
        return self._turns[name]

    async def _write(self, name: str, work: Callable[[Index], Done]) -> Done:
        await self._in(self._readers, lambda: self.collections.get(name))  # is it there at all?
        turn = self.turn(name)
        try:
            async with asyncio.timeout(self.limits.seconds):
                await turn.acquire()
        except TimeoutError as error:
            raise IndexLocked(
                f"collection {name!r} is being written to, perhaps by an upload (see `/jobs`); "
                "try again later"
            ) from error
        try:
            return await self._in(self._writers, lambda: work(self.collections.get(name)))
        finally:
            turn.release()

    def _started(self, work: Coroutine[Any, Any, Done]) -> asyncio.Task[Done]:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return task

    async def _encode_together(self, name: str, texts: Sequence[str]) -> Sequence[Vector]:
        def work() -> list[Vector]:
            return list(self.collections.get(name).encoder.encode_queries(texts))

        return await self._in(self._readers, work)

    async def _search_together(
        self, lane: tuple[How, bool], queries: Sequence[_Asked]
    ) -> Sequence[list[Hit]]:
        how, _ = lane

        def work() -> list[list[Hit]]:
            asked: list[Any] = [one.query for one in queries]  # of one kind: `how.kind`
            vectors = [one.vector for one in queries if one.vector is not None]  # all or none
            return self.collections.get(how.collection).search(
                asked,
                how.k,
                vectors=np.stack(vectors) if vectors else None,
                mode=how.mode,
                where=how.where,
                group=how.group,
                offset=how.offset,
                min_score=how.min_score,
                diversity=how.diversity,
            )

        return await self._in(self._readers, work)

    async def _decode_together(self, name: str, ids: Sequence[str]) -> Sequence[Pixels]:
        def work() -> list[Pixels]:
            decoded = self.collections.get(name).decode(ids)
            return [decoded[id_] for id_ in ids]

        return await self._in(self._decoder, work)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
