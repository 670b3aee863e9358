"""Requests of one kind are answered together: what arrives while one is answered waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]


class Lanes(Generic[Key, Item, Answer]):
    """Answers items in batches; a lane holds those of one key.

    An item that finds its lane free is answered at once, alone. Those that arrive meanwhile are
    answered together when the lane is free again. Lanes do not wait for each other. To be used
    in one event loop.

    Args:
        answer: Gives the answers to several items of one key, in their order. When it fails, each
            item is tried alone, so that what is wrong with one does no harm to the others.
        most: Largest batch.
        observe: Told the size of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        most: int = 64,
        observe: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._answer = answer
        self._most = most
        self._observe = observe
        self._lanes: dict[Key, list[_Waiting[Item, Answer]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, key: Key, item: Item) -> Answer:
        """The answer to an item."""
        waiting = _Waiting[Item, Answer](item, asyncio.get_running_loop().create_future())
        if key in self._lanes:
            self._lanes[key].append(waiting)
        else:
            self._lanes[key] = [waiting]
            task = asyncio.create_task(self._run(key))
            self._running.add(task)  # the loop itself keeps no reference
            task.add_done_callback(self._running.discard)
        return await waiting.answer

    async def _run(self, key: Key) -> None:
        """Answer what waits in a lane until nothing does."""
        while lane := [one for one in self._lanes[key] if not one.answer.cancelled()]:
            batch, self._lanes[key] = lane[: self._most], lane[self._most :]
            await self._answer_batch(key, batch)
        del self._lanes[key]

    async def _answer_batch(self, key: Key, batch: list[_Waiting[Item, Answer]]) -> None:
        self._observe(len(batch))
        try:
            answers = await self._answer(key, [waiting.item for waiting in batch])
        except Exception as error:
            if len(batch) > 1:
                for waiting in batch:
                    await self._answer_batch(key, [waiting])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
