"""Virtual time for the embedded engine: a workflow that sleeps three months is tested in milliseconds.

::

    async with perdure.open_engine(":memory:", endpoint, clock=VirtualClock()) as engine:
        receipt = await engine.call(subscription, "Ada", key="ada")  # it sleeps for months; this returns at once

The clock belongs to the engine, not to the event loop, so it is the same on trio and asyncio. It stands still while
anything can happen without it: while an attempt is runnable, a step runs (a step may use the network, or a thread), a
commit is in flight or a request is open. When only the passing of time can bring anything about, it moves to the next
moment that somebody waits for, be it a timer, a retry, a timeout or the end of a retention.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from perdure.exceptions import UsageError

if TYPE_CHECKING:
    from perdure.engine.clock import Quiet

__all__ = ["VirtualClock"]

_EPOCH: Final = 1_700_000_000.0

SETTLING: Final = 5
"""Turns of the event loop through which it must have been quiet, so that a task that was just woken can act first."""


class _Sleeper:
    """Somebody who waits for a moment.

    Attributes:
        woken: set when the moment has come.
    """

    __slots__ = ("gone", "woken")

    def __init__(self, woken: anyio.Event) -> None:
        self.woken: anyio.Event = woken
        self.gone: bool = False


class VirtualClock:
    """A clock that moves only when nothing else can happen.

    Args:
        start: the time it begins with, in seconds since the Unix epoch.

    Attributes:
        moves: how often it moved.
    """

    def __init__(self, start: float = _EPOCH) -> None:
        self._now = float(start)
        self._sleepers: list[tuple[float, int, _Sleeper]] = []
        self._order = itertools.count()
        self._quiet: list[Quiet] = []
        self._waking = 0
        self._held = 0
        self._poked = anyio.Event()
        self._movers = 0
        self.moves: int = 0

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now:.3f}>"

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return self._now

    def monotonic(self) -> float:
        """The same: it is never set back."""
        return self._now

    # --- waiting ---------------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """Wait for virtual seconds to pass."""
        await self.wait(self._now + seconds, anyio.Event())

    async def wait(self, until: float, changed: anyio.Event) -> None:
        """Wait for a moment, or for the event."""
        if until <= self._now or changed.is_set():
            await anyio.lowlevel.checkpoint()
            return
        sleeper = _Sleeper(changed)
        if until < math.inf:
            heapq.heappush(self._sleepers, (until, next(self._order), sleeper))
            self.poke()
        try:
            await changed.wait()
        finally:
            if sleeper.gone:
                self._waking -= 1
            sleeper.gone = True
            self.poke()

    # --- moving ----------------------------------------------------------------------------------------------------

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let time stand still for the block: while a test looks at something, or a request is being read."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self.poke()

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, stopping at every moment that somebody waits for, and return when it is quiet.

        Raises:
            UsageError: the time is negative, or no engine with this clock is open.
        """
        if seconds < 0:
            raise UsageError(f"time goes forward: {seconds!r} seconds cannot pass")
        if not self._movers:
            raise UsageError("no engine with this clock is open: nothing would move it")
        await self.sleep(seconds)

    def join(self, quiet: Quiet) -> None:
        """From now on move only while `quiet` says so. Engines call this."""
        self._quiet.append(quiet)

    def leave(self, quiet: Quiet) -> None:
        """Take back `join`."""
        self._quiet.remove(quiet)

    def poke(self) -> None:
        """It may be quiet now. Engines call this."""
        self._poked.set()

    def _is_quiet(self) -> bool:
        return not self._held and not self._waking and all(quiet() for quiet in self._quiet)

    async def move(self) -> None:
        """Move the clock whenever it is quiet, until it is cancelled. Engines call this."""
        self._movers += 1
        try:
            while True:
                await self._poked.wait()
                if self._poked.is_set():
                    self._poked = anyio.Event()
                if await self._settled():
                    self._wake_next()
        finally:
            self._movers -= 1

    async def _settled(self) -> bool:
        """Whether it stays quiet for some turns of the loop."""
        for _ in range(SETTLING):
            if not self._is_quiet():
                return False
            await anyio.lowlevel.checkpoint()
        return self._is_quiet()

    def _wake_next(self) -> None:
        sleepers = self._sleepers
        while sleepers:
            until, _, sleeper = heapq.heappop(sleepers)
            if sleeper.gone or sleeper.woken.is_set():
                continue
            self._now = max(self._now, until)
            self.moves += 1
            self._waking += 1
            sleeper.gone = True
            sleeper.woken.set()
            return
