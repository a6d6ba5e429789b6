"""The part of a context that structures its handler: nurseries, scopes, maps, and what branches share.

`perdure.handlers.structuring` says what each operation does; here they are made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from perdure.durable.combinators import Outcome
from perdure.durable.driver import Driver
from perdure.exceptions import UsageError
from perdure.structured import coordination, mapping
from perdure.structured import scope as scopes
from perdure.structured.channels import ReceiveChannel, SendChannel, open_memory_channel
from perdure.structured.compensation import Compensations
from perdure.structured.nursery import Nursery
from perdure.structured.scope import Limit, limit_of

__all__ = ["StructuredContext"]


class StructuredContext:
    """Base of the context that handlers get."""

    __slots__ = ()

    driver: Driver
    run: Callable[..., Any]

    def open_nursery(self, *, contain: bool = False) -> Nursery:
        """A block whose children run concurrently."""
        return Nursery(self.driver, contain=contain)

    def compensations(self) -> Compensations:
        """A block whose steps are undone when the invocation ends without its result."""
        return Compensations(self.driver, self.run)

    def CancelScope(self, *, shield: bool = False) -> scopes.CancelScope:  # noqa: N802 - it stands for a class
        """A block that can be cancelled."""
        return scopes.CancelScope(self.driver, shield=shield)

    def move_on_after(self, duration: float | timedelta, /, *, shield: bool = False) -> scopes.CancelScope:
        """A block that is left when a time has passed."""
        return scopes.CancelScope(self.driver, limit=_duration(duration), shield=shield)

    def move_on_at(self, deadline: datetime, /, *, shield: bool = False) -> scopes.CancelScope:
        """A block that is left at a time."""
        return scopes.CancelScope(self.driver, limit=_time(deadline), shield=shield)

    def fail_after(self, duration: float | timedelta, /, *, shield: bool = False) -> scopes.CancelScope:
        """A block that fails when a time has passed."""
        return scopes.CancelScope(self.driver, limit=_duration(duration), shield=shield, fails=True)

    def fail_at(self, deadline: datetime, /, *, shield: bool = False) -> scopes.CancelScope:
        """A block that fails at a time."""
        return scopes.CancelScope(self.driver, limit=_time(deadline), shield=shield, fails=True)

    async def map(
        self, fn: Callable[[Any], Awaitable[Any]], items: Iterable[Any], /, *, limit: int | None = None
    ) -> list[Any]:
        """Apply a function to many items, some at a time."""
        return await mapping.map_items(self.driver, fn, items, limit)

    async def map_settled(
        self, fn: Callable[[Any], Awaitable[Any]], items: Iterable[Any], /, *, limit: int | None = None
    ) -> list[Outcome[Any]]:
        """The outcome for every item."""
        return await mapping.map_settled(self.driver, fn, items, limit)

    async def map_some(
        self, count: int, fn: Callable[[Any], Awaitable[Any]], items: Iterable[Any], /, *, limit: int | None = None
    ) -> dict[int, Any]:
        """The first results, as many as are wanted."""
        return await mapping.map_some(self.driver, count, fn, items, limit)

    def Event(self) -> coordination.Event:  # noqa: N802 - it stands for a class
        """Something that happens once."""
        return coordination.Event(self.driver)

    def Semaphore(self, value: int, /, *, max_value: int | None = None) -> coordination.Semaphore:  # noqa: N802 - as above
        """A number of permits."""
        return coordination.Semaphore(self.driver, value, max_value=max_value)

    def CapacityLimiter(self, total_tokens: float, /) -> coordination.CapacityLimiter:  # noqa: N802 - as above
        """How many branches may be somewhere."""
        return coordination.CapacityLimiter(self.driver, total_tokens)

    def open_memory_channel(self, max_buffer_size: float = 0, /) -> tuple[SendChannel[Any], ReceiveChannel[Any]]:
        """A channel between branches."""
        return open_memory_channel(self.driver, max_buffer_size)


def _duration(value: Any) -> Limit:
    if value is None or isinstance(value, datetime):
        raise UsageError(f"a duration is a number of seconds or a timedelta, not {value!r}")
    return limit_of(value, "a duration")


def _time(value: Any) -> Limit:
    if not isinstance(value, datetime):
        raise UsageError(f"a deadline at a time is an aware datetime, not {value!r}; for a duration there is _after")
    return limit_of(value, "a deadline")
