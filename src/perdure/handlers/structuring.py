"""The structure of a handler, typed: durable nurseries and durable cancel scopes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from perdure.durable.combinators import Outcome
    from perdure.structured import coordination
    from perdure.structured import scope as scopes
    from perdure.structured.channels import ReceiveChannel, SendChannel
    from perdure.structured.compensation import Compensations
    from perdure.structured.nursery import Nursery

__all__ = ["Structuring"]

T = TypeVar("T")
R = TypeVar("R")


class Structuring(Protocol):
    """Concurrency and cancellation that replay: as in trio, but the journal decides, and restarts do not matter."""

    def open_nursery(self, *, contain: bool = False) -> Nursery:
        """Open a block in which other functions of this handler run concurrently.

        ::

            async with ctx.open_nursery() as nursery:
                for item in order.items:
                    nursery.start_soon(reserve_item, ctx, item)

        The block is left when all of them have ended, and the results of all steps made in it are stored. One that
        fails cancels the others, and the body; the errors leave the block as an `ExceptionGroup`, the body's first,
        then in the order of the children. Between durable awaits a branch is alone: no locks are needed.

        Args:
            contain: keep the terminal failure of a child in its future, and cancel nobody for it.
        """
        ...

    def compensations(self) -> Compensations:
        """Open a block whose steps are undone when the invocation is going to end without its result.

        ::

            async with ctx.compensations() as undo:
                undo.push(refund, order.id)
                await ctx.run(charge, order)
                async with ctx.open_nursery() as nursery:
                    for item in order.items:
                        nursery.start_soon(reserve_item, ctx, item, undo)

        What was pushed runs in reverse order, as steps, when a `TerminalError`, a group of nothing else, or
        `InvocationCancelled` leaves the block, and in no other case: an attempt that fails or suspends undoes nothing.
        One that fails terminally is reported with the others; none is skipped.
        """
        ...

    def CancelScope(self, *, shield: bool = False) -> scopes.CancelScope:  # noqa: N802 - it stands for a class
        """Open a block that can be cancelled: ``with ctx.CancelScope() as scope: ...; scope.cancel()``.

        Args:
            shield: keep cancellations from outside away, that of the invocation too.
        """
        ...

    def move_on_after(self, duration: float | timedelta, /, *, shield: bool = False) -> scopes.CancelScope:
        """Open a block that is cancelled, and left, when a time has passed. The timer survives restarts.

        ::

            with ctx.move_on_after(timedelta(days=21)) as scope:
                answer = await approval
            if scope.cancelled_caught:
                ...

        Args:
            duration: seconds, or a `timedelta`; `inf` sets no timer, 0 or less cancels at once.
            shield: keep cancellations from outside away.
        """
        ...

    def move_on_at(self, deadline: datetime, /, *, shield: bool = False) -> scopes.CancelScope:
        """Open a block that is cancelled, and left, at a time, given as an aware `datetime`."""
        ...

    def fail_after(self, duration: float | timedelta, /, *, shield: bool = False) -> scopes.CancelScope:
        """Open a block that is cancelled when a time has passed, and then raises `DeadlineExceeded`.

        That is a `TerminalError` (408) and a `TimeoutError`: trying the invocation again would not bring the time
        back.
        """
        ...

    def fail_at(self, deadline: datetime, /, *, shield: bool = False) -> scopes.CancelScope:
        """Open a block that is cancelled at a time (an aware `datetime`), and then raises `DeadlineExceeded`."""
        ...

    async def map(self, fn: Callable[[T], Awaitable[R]], items: Iterable[T], /, *, limit: int | None = None) -> list[R]:
        """Apply a function of this handler to many items, a bounded number of them at a time; results in order.

        ::

            async def look_up(item: str) -> int:
                shelf = await ctx.run(find, item)
                return await ctx.run(count, shelf)

            counts = await ctx.map(look_up, items, limit=20)

        Args:
            fn: an async function of one item; it runs in a branch, and may do anything durable.
            items: taken one after the other, when a branch is free: thousands of them need no thousand branches.
            limit: how many items are worked on at a time; 1,000 at most when it is not given.

        Raises:
            ExceptionGroup: `fn` failed; the others were cancelled, as in a nursery.
            UsageError: `limit` is no number above 0.
        """
        ...

    async def map_settled(
        self, fn: Callable[[T], Awaitable[R]], items: Iterable[T], /, *, limit: int | None = None
    ) -> list[Outcome[R]]:
        """The same, with a `Succeeded` or `Failed` for each item: a terminal failure of one leaves the others alone.

        Raises:
            ExceptionGroup: `fn` raised something that is not terminal.
            UsageError: `limit` is no number above 0.
        """
        ...

    async def map_some(
        self, count: int, fn: Callable[[T], Awaitable[R]], items: Iterable[T], /, *, limit: int | None = None
    ) -> dict[int, R]:
        """The same, until `count` items have worked; the others are cancelled.

        Returns:
            The results by the index of their items, in the order in which they came.

        Raises:
            ExceptionGroup: so many failed that there are not enough left; it holds all of the failures.
            UsageError: there were fewer items than wanted, or a number is none.
        """
        ...

    def Event(self) -> coordination.Event:  # noqa: N802 - it stands for a class
        """Make something that happens once in one branch, and that other branches wait for."""
        ...

    def Semaphore(self, value: int, /, *, max_value: int | None = None) -> coordination.Semaphore:  # noqa: N802 - as above
        """Make a number of permits that branches take and give back: ``async with semaphore:``.

        Args:
            value: how many permits there are.
            max_value: above which no release may lead.
        """
        ...

    def CapacityLimiter(self, total_tokens: float, /) -> coordination.CapacityLimiter:  # noqa: N802 - as above
        """Make a limit of how many branches are in a part of the code at a time: ``async with limiter:``."""
        ...

    def open_memory_channel(self, max_buffer_size: float = 0, /) -> tuple[SendChannel[Any], ReceiveChannel[Any]]:
        """Make a channel between branches: a sending end and a receiving end, both to be closed by a `with` block.

        ::

            send, receive = ctx.open_memory_channel()

        Args:
            max_buffer_size: how many values may wait to be received before `send` waits; `math.inf` for any number.
        """
        ...
