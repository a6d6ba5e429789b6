"""Events, semaphores and limiters between the branches of one handler. They write nothing, and replay exactly."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from perdure.durable.branches import DriverBranch
from perdure.durable.driver import Driver
from perdure.durable.future import DurableFuture
from perdure.durable.source import user_location
from perdure.exceptions import UsageError
from perdure.machine.awaiting import PENDING, Leaf
from perdure.structured.lines import Line, give, pass_by

__all__ = ["CapacityLimiter", "Event", "Semaphore"]


class _Moment(DurableFuture[None]):
    """That an event was set."""

    __slots__ = ()

    def _read(self) -> None:
        return None


class Event:
    """Something that happens once, in one branch, and that others wait for; made by `ctx.Event()`."""

    __slots__ = ("_driver", "_leaf")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._leaf = Leaf(0, label="an event of the handler")

    def __repr__(self) -> str:
        return f"<durable event, {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._leaf.state != PENDING

    def set(self) -> None:
        """It happens; the second time nothing does.

        Raises:
            UsageError: this code is no branch of the handler.
        """
        driver = self._driver
        if driver.fenced:
            driver.check_not_over()
            return
        driver.holder()
        if not self.is_set():
            give(driver, self._leaf)

    def wait(self) -> DurableFuture[None]:
        """A future that is done when it has happened: await it, or race it in `ctx.select`."""
        return _Moment(self._driver, self._leaf)


class Semaphore:
    """A number of permits that branches take and give back; made by `ctx.Semaphore(value)`.

    Who waits longest gets the next one. Use it as `async with semaphore:`.

    Raises:
        UsageError: the numbers are no counts.
    """

    __slots__ = ("_driver", "_line", "_max_value", "_value")

    def __init__(self, driver: Driver, value: int, *, max_value: int | None = None) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"a semaphore begins with a number of permits, 0 or more, not {value!r}")
        if max_value is not None and (isinstance(max_value, bool) or max_value < value):
            raise UsageError(f"max_value is a number of permits, {value} or more here, not {max_value!r}")
        self._driver = driver
        self._value = value
        self._max_value = max_value
        self._line = Line(driver, "a semaphore of the handler")

    def __repr__(self) -> str:
        return f"<durable semaphore, {self._value} permits, {len(self._line)} waiting>"

    @property
    def value(self) -> int:
        """How many permits are free."""
        return self._value

    async def acquire(self) -> None:
        """Take a permit; wait for one if none is free."""
        if self._value and not self._line:
            await pass_by(self._driver)
            self._value -= 1
        else:
            await self._line.wait()

    def release(self) -> None:
        """Give a permit back, or add one.

        Raises:
            UsageError: there would be more than `max_value`, or this code is no branch of the handler.
        """
        driver = self._driver
        if driver.fenced:
            driver.check_not_over()
            return
        driver.holder()
        if self._line:
            self._line.serve()
        elif self._value == self._max_value:
            raise UsageError(
                f"a semaphore of {self._max_value} permits has them all, and one more was released "
                f"({user_location()}): each release belongs to an acquire"
            )
        else:
            self._value += 1

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class CapacityLimiter:
    """How many branches may be in a part of the code at a time; made by `ctx.CapacityLimiter(total_tokens)`.

    As anyio's: a branch holds one token at most, and only who holds one gives it back. Use it as `async with limiter:`.

    Raises:
        UsageError: `total_tokens` is no number above 0.
    """

    __slots__ = ("_borrowers", "_driver", "_line", "_total")

    def __init__(self, driver: Driver, total_tokens: float) -> None:
        self._driver = driver
        self._borrowers: dict[DriverBranch, None] = {}
        self._line = Line(driver, "a limiter of the handler")
        self._total = _tokens(total_tokens)

    def __repr__(self) -> str:
        return f"<durable limiter, {len(self._borrowers)} of {self._total} tokens taken, {len(self._line)} waiting>"

    @property
    def total_tokens(self) -> float:
        """How many branches may hold a token at a time; setting it lets waiting ones in, and throws none out."""
        return self._total

    @total_tokens.setter
    def total_tokens(self, value: float) -> None:
        self._total = _tokens(value)
        if not self._driver.fenced:
            self._driver.holder()
            self._admit()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are taken."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens are free; below 0 after `total_tokens` was lowered."""
        return self._total - len(self._borrowers)

    async def acquire(self) -> None:
        """Take a token; wait for one if none is free.

        Raises:
            UsageError: this branch holds one already.
        """
        driver = self._driver
        if driver.fenced:
            await driver.unwind()
        branch = driver.holder()
        if branch in self._borrowers:
            raise UsageError(
                f"this branch holds a token of the limiter already ({user_location()}): waiting for a second one could "
                "wait for itself. Use ctx.Semaphore where a branch takes several"
            )
        if self.available_tokens > 0 and not self._line:
            await pass_by(driver)
            self._borrowers[branch] = None
        else:
            await self._line.wait(branch)

    def release(self) -> None:
        """Give the token back.

        Raises:
            UsageError: this branch holds none.
        """
        driver = self._driver
        if driver.fenced:
            driver.check_not_over()
            return
        branch = driver.holder()
        if branch not in self._borrowers:
            raise UsageError(
                f"this branch holds no token of the limiter ({user_location()}): release() follows acquire()"
            )
        del self._borrowers[branch]
        self._admit()

    def _admit(self) -> None:
        while self._line and self.available_tokens > 0:
            self._borrowers[self._line.serve()] = None

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def _tokens(value: float) -> float:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or value == math.inf) or value < 1:
        raise UsageError(f"a limiter has a number of tokens, 1 or more, or math.inf, not {value!r}")
    return value
