"""Durable cancel scopes: as trio's, but with deadlines that survive restarts.

A scope is a block that may be cancelled: by `cancel()`, or by its deadline, a journaled timer whose notification does
it. Whether it was is never asked of the clock, so it is the same in every attempt.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from perdure.durable.blocks import Block
from perdure.durable.driver import Driver
from perdure.exceptions import DeadlineExceeded, PerdureError, UsageError
from perdure.structured.mixtures import split_cancelled

__all__ = ["CancelScope", "Limit", "NurseryScope", "limit_of"]

Limit = float | datetime | None
"""Seconds from now (`inf` for none), an aware time, or nothing."""


def limit_of(value: float | timedelta | datetime | None, what: str) -> Limit:
    """A deadline as the user gave it, checked.

    Raises:
        UsageError: it is no number of seconds, no `timedelta`, and no aware `datetime`.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise UsageError(f"{what} is an aware datetime, and {value!r} has no time zone: add tzinfo=UTC, or another")
        return value
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise UsageError(f"{what} is a number of seconds, a timedelta or an aware datetime, not {value!r}")
    return float(value)


class CancelScope:
    """A block of durable code that can be cancelled; use it once, in a `with` statement.

    Made by `ctx.CancelScope`, `ctx.move_on_after`, `ctx.move_on_at`, `ctx.fail_after` and `ctx.fail_at`.

    When the scope is cancelled, steps that run in it are stopped at once, and every durable await in it raises the
    loop's cancellation, again and again, until the block is left. Plain awaits are interrupted only when they begin
    after that: a deadline does not end an `anyio.sleep` that it finds running.

    Attributes:
        cancelled_caught: whether a cancellation of this scope ended its block.
    """

    __slots__ = ("_block", "_called", "_driver", "_fails", "_left", "_limit", "_shield", "cancelled_caught")

    def __init__(self, driver: Driver, *, limit: Limit = None, shield: bool = False, fails: bool = False) -> None:
        self._driver = driver
        self._limit = limit
        self._shield = shield
        self._fails = fails
        self._block: Block | None = None
        self._called = False
        self._left = False
        self.cancelled_caught: bool = False

    def __repr__(self) -> str:
        state = "left" if self._left else "open" if self._block is not None else "new"
        return f"<durable cancel scope {state}{', cancelled' if self.cancel_called else ''}>"

    # --- the block -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        driver = self._driver
        if self._block is not None or self._left:
            raise UsageError("a cancel scope is used in one `with` statement, once: make another one")
        if driver.fenced:
            driver.check_not_over()
            self._left = True
            return self
        block = self._block = driver.stopping.enter(driver.holder(), shield=self._shield)
        if self._called:
            driver.stopping.cancel(block)
        elif self._limit is not None:
            limit, self._limit = self._limit, None
            try:
                self._set(block, limit)
            except BaseException:
                self._leave(block)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        block = self._block
        if block is None:
            return False
        fenced = self._driver.fenced
        self._leave(block)
        if error is None or fenced or not block.cancelled or block.cancelling_around() is not None:
            return False
        found, rest = split_cancelled(error)
        if not found:
            return False
        self.cancelled_caught = True
        if rest is not None:
            raise rest
        if self._fails:
            raise DeadlineExceeded from None
        return True

    def _leave(self, block: Block) -> None:
        self._block, self._left, self._called = None, True, block.cancelled
        self._driver.stopping.leave(block)

    # --- what one can do with it -----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel everything in the scope. Before the block is entered: as soon as it is."""
        if self._driver.fenced:
            return
        self._driver.holder()
        if self._block is not None:
            self._driver.stopping.cancel(self._block)
        elif not self._left:
            self._called = True

    @property
    def cancel_called(self) -> bool:
        """Whether the scope was cancelled, by `cancel` or by its deadline."""
        return self._called if self._block is None else self._block.cancelled

    @property
    def shield(self) -> bool:
        """Whether cancellations from outside the scope do not reach into it.

        The end of the attempt (suspension, a lost connection) is no cancellation, and is not held up.
        """
        return self._shield if self._block is None else self._block.shield

    @shield.setter
    def shield(self, value: bool) -> None:
        self._shield = value
        block = self._block
        if block is None or self._driver.fenced:
            return
        self._driver.holder()
        lifted = block.shield and not value
        block.shield = value
        if lifted and block.cancelling() is not None:
            self._driver.stopping.reach(block)

    @property
    def deadline(self) -> datetime | None:
        """When the scope will be cancelled, as it stands in the journal; `None` for never. See `reschedule`."""
        deadline = self._driver.deadlines.open.get(self._block) if self._block is not None else None
        return None if deadline is None else datetime.fromtimestamp(deadline.at, UTC)

    def reschedule(self, deadline: float | timedelta | datetime | None, /) -> None:
        """Set another deadline: seconds from now, an aware time, or none. It is a new timer in the journal.

        Raises:
            UsageError: the scope is not open, or this is no deadline.
        """
        limit = limit_of(deadline, "a deadline")
        driver = self._driver
        if driver.fenced:
            driver.check_not_over()
            return
        driver.holder()
        block = self._block
        if block is None:
            raise UsageError("a deadline is rescheduled while its scope is open")
        if block.cancelled:
            return
        driver.deadlines.drop(block)
        if limit is not None:
            self._set(block, limit)

    def _set(self, block: Block, limit: float | datetime) -> None:
        driver = self._driver
        if isinstance(limit, datetime):
            at = limit.timestamp()  # also when it has passed: that is for the journal to say, not for this clock
        elif limit <= 0:
            driver.stopping.cancel(block)
            return
        elif limit == math.inf:
            return
        else:
            at = driver.clock.now() + limit
        if driver.stopping.refuses(block.host):
            return
        try:
            driver.deadlines.set(block, at)
        except PerdureError as error:
            raise driver.broken(error)  # noqa: B904 - it is the same error


class NurseryScope:
    """The cancel scope of a nursery: of its body and its children."""

    __slots__ = ("_block", "_driver", "cancelled_caught")

    def __init__(self, driver: Driver, block: Block) -> None:
        self._driver = driver
        self._block = block
        self.cancelled_caught: bool = False

    def cancel(self) -> None:
        """Cancel the body and all children."""
        if not self._driver.fenced:
            self._driver.holder()
            self._driver.stopping.cancel(self._block)

    @property
    def cancel_called(self) -> bool:
        """Whether the nursery was cancelled, by `cancel` or since something in it failed."""
        return self._block.cancelled
