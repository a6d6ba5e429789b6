"""A function applied to many items, a bounded number of them at a time, in branches.

A fixed number of children take items from one iterator, each when it is done with the last one. Which child takes which
item is a matter of turns, so it is the same in every attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from perdure.durable.combinators import Failed, Outcome, Succeeded
from perdure.durable.driver import Driver
from perdure.durable.outcome import terminal_of
from perdure.exceptions import UsageError
from perdure.structured.nursery import Nursery

__all__ = ["map_items", "map_settled", "map_some"]

T = TypeVar("T")
R = TypeVar("R")

_MOST_AT_ONCE = 1000
"""Children when no limit is given: each may hold a step open, and a process has only so many of everything."""

Work = Callable[[int, Any], Awaitable[None]]


async def _run(nursery: Nursery, work: Work, items: Iterable[Any], limit: int | None) -> None:
    """Do `work(index, item)` for every item, `limit` of them at a time."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UsageError(f"limit is how many items are worked on at a time, 1 or more, not {limit!r}")
    source: Iterator[tuple[int, Any]] = enumerate(items)

    async def worker() -> None:
        for index, item in source:
            await work(index, item)
            if nursery.cancel_scope.cancel_called:
                return  # there is enough; a new item would only be begun to be cancelled

    workers = _MOST_AT_ONCE if limit is None else limit
    if isinstance(items, Sized):
        workers = min(workers, len(items))
    async with nursery:
        for number in range(workers):
            nursery.start_soon(worker, name=f"worker {number} of a map")


async def map_items(driver: Driver, fn: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int | None) -> list[R]:
    """Every result, in the order of the items; see `ctx.map`."""
    results: dict[int, R] = {}

    async def work(index: int, item: T) -> None:
        results[index] = await fn(item)

    await _run(Nursery(driver), work, items, limit)
    return [results[index] for index in range(len(results))]


async def map_settled(
    driver: Driver, fn: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int | None
) -> list[Outcome[R]]:
    """Every outcome, in the order of the items; see `ctx.map_settled`."""
    outcomes: dict[int, Outcome[R]] = {}

    async def work(index: int, item: T) -> None:
        try:
            outcomes[index] = Succeeded(await fn(item))
        except Exception as error:
            terminal = terminal_of(error)
            if terminal is None:
                raise
            outcomes[index] = Failed(terminal)

    await _run(Nursery(driver), work, items, limit)
    return [outcomes[index] for index in range(len(outcomes))]


async def map_some(
    driver: Driver, count: int, fn: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int | None
) -> dict[int, R]:
    """The first `count` results, by the index of their items; see `ctx.map_some`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UsageError(f"count is how many results are enough, 0 or more, not {count!r}")
    results: dict[int, R] = {}
    failures: dict[int, Exception] = {}
    nursery = Nursery(driver)

    async def work(index: int, item: T) -> None:
        try:
            result = await fn(item)
        except Exception as error:
            if terminal_of(error) is None:
                raise
            failures[index] = error
            return
        if len(results) < count:
            results[index] = result
        if len(results) == count:
            nursery.cancel_scope.cancel()

    if count:
        await _run(nursery, work, items, limit)
    if len(results) < count:
        errors = [failures[index] for index in sorted(failures)]
        what = f"{len(results)} of the {count} results that were wanted came"
        if not errors:
            raise UsageError(f"{what}: there were no more items")
        raise ExceptionGroup(f"only {what}", errors)
    return results
