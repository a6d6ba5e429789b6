"""A set of futures that is read in the order of the journal, and may grow meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

from perdure.durable.driver import Driver
from perdure.durable.future import DurableFuture
from perdure.machine.awaiting import PENDING, CompletionQueue, Leaf

__all__ = ["DurableFuturesUnordered"]

T = TypeVar("T")


class DurableFuturesUnordered(Generic[T]):
    """Durable futures, read one by one as they are done.

    ::

        pending = ctx.unordered(ctx.call(price, shop) for shop in shops)
        async for index, price in pending:
            if price is None:
                pending.push(ctx.call(price_again, shops[index]))

    Iterating ends when every future was read. `index` counts the futures in the order in which they were pushed, from
    0. A failure is raised by the iteration; iterate again to go on with the others.
    """

    __slots__ = ("_driver", "_futures", "_open", "_queue", "_read")

    def __init__(self, driver: Driver, futures: Iterable[DurableFuture[T]] = ()) -> None:
        self._driver = driver
        self._queue = CompletionQueue()
        self._futures: list[DurableFuture[T] | None] = []
        self._open = 0
        self._read = False
        for future in futures:
            self.push(future)

    def push(self, future: DurableFuture[T]) -> int:
        """Add a future; returns its index."""
        index = len(self._futures)
        self._futures.append(future)
        self._open += 1
        node = future._observe()  # noqa: SLF001 - the layer's own
        if self._read and isinstance(node, Leaf):
            node.lost = True
        self._queue.push(node, index)
        return index

    def __len__(self) -> int:
        """How many futures were not read yet."""
        return self._open

    def __aiter__(self) -> AsyncIterator[tuple[int, T]]:
        if not self._read:
            # From here on, whoever stops reading has picked its winners: steps that are left are cancelled at the end.
            self._read = True
            for node in self._queue.members:
                if isinstance(node, Leaf):
                    node.lost = True
        return self

    async def __anext__(self) -> tuple[int, T]:
        queue = self._queue
        while True:  # another branch may read the same set, and be faster
            if not self._open:
                raise StopAsyncIteration
            await self._driver.wait(queue)
            if queue.state != PENDING:
                break
        index, _ = queue.take()
        self._open -= 1
        future = self._futures[index]
        self._futures[index] = None  # read once; the set does not keep what was handed out
        assert future is not None
        return index, future._result()  # noqa: SLF001 - the layer's own
