"""Where an attempt reads the time, so that tests can say what time it is."""

from __future__ import annotations

import time
from typing import Protocol

import anyio

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as an attempt sees it."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries of a step."""
        ...


class SystemClock:
    """The machine's own clock."""

    __slots__ = ()

    @staticmethod
    def now() -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    @staticmethod
    def monotonic() -> float:
        """Seconds on a clock that is never set back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await anyio.sleep(seconds)
