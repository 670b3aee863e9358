"""A stage of a pipeline: work done in threads of its own, ahead of whoever needs the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Stage:
    """Threads, one unless more are asked for, which begin things in the order of asking.

    When its `with` block ends, what has not begun is dropped, what has is waited for.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"semsearch-{name}")

    def start(self, work: Callable[[T], R], item: T) -> Future[R]:
        """Have one thing done."""
        return self._threads.submit(work, item)

    def results(self, work: Callable[[T], R], items: Iterable[T], *, ahead: int) -> Iterator[R]:
        """`work` of every item, in order.

        Items are taken in the caller's thread. What `work` raises is raised here, in its turn.

        Args:
            work: Called in a thread of the stage.
            items: Read only as far as needed.
            ahead: How many results are made before they are asked for: with them, this bounds
                the memory.
        """
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(self.start(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def __enter__(self) -> Self:
        """Give the stage itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)
