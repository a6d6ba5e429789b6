"""The structure of a handler, typed: durable nurseries and durable cancel scopes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.structured import scope as scopes
    from perdure.structured.compensation import Compensations
    from perdure.structured.nursery import Nursery

__all__ = ["Structuring"]


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
