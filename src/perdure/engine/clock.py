"""The engine's time: the wall clock when it opened, and the monotonic clock since.

So time never goes back while the engine lives, and due times, which are stored as times of the wall, fire when people
expect it: when the wall clock is found ahead (the machine was suspended, somebody set it) that is taken over at once;
when it is found behind, it is ignored until it has caught up. What the engine saw last is stored, and a clock that
was set back a little between two runs does not make rows younger than those before them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

import anyio

from perdure.durable.clock import Clock, SystemClock

__all__ = ["LONGEST_WAIT", "TOLERANCE", "EngineClock", "MovedClock", "Quiet"]

LONGEST_WAIT: Final = 30.0
"""Seconds after which the wall clock is looked at, however far away the next timer is."""

TOLERANCE: Final = 600.0
"""Seconds that the wall clock may be behind the stored mark; a larger difference is a wall clock that was wrong."""

_ROUNDING: Final = 0.001
"""Milliseconds. A due time that was divided by 1000 and multiplied again must not come out smaller."""

_log: Final = logging.getLogger("perdure.engine")


class Quiet(Protocol):
    """Tells whether nothing but the passing of time can bring anything about."""

    def __call__(self) -> bool:
        """Whether all is quiet."""
        ...


@runtime_checkable
class MovedClock(Protocol):
    """A clock that is moved instead of running by itself: virtual time, see `perdure.testing.VirtualClock`."""

    def join(self, quiet: Quiet) -> None:
        """From now on move only while `quiet` says so."""
        ...

    def leave(self, quiet: Quiet) -> None:
        """Take back `join`."""
        ...

    def poke(self) -> None:
        """It may be quiet now."""
        ...

    async def move(self) -> None:
        """Move the clock whenever it is quiet, for ever."""
        ...

    async def wait(self, until: float, changed: anyio.Event) -> None:
        """Wait for a moment (monotonic seconds), or for the event."""
        ...


class EngineClock:
    """Time of one open engine.

    Args:
        source: the clocks of the machine.
        mark: the latest time that was stored, in seconds since the Unix epoch; 0 for a new file.
    """

    __slots__ = ("_ahead", "_monotonic", "_moved", "_source")

    def __init__(self, source: Clock, mark: float = 0.0) -> None:
        wall = source.now()
        behind = mark - wall
        if behind >= TOLERANCE:
            _log.warning(
                "the clock of this machine is %.0f s behind what the database saw last; timers follow the clock as it "
                "is now. If the clock is wrong, close the engine, set the clock, and open it again",
                behind,
            )
        elif behind > 0:
            wall = mark
        self._source = source
        self._moved: MovedClock | None = source if isinstance(source, MovedClock) else None
        # Read several times a step: straight from the machine where that is the source.
        self._monotonic: Callable[[], float] = time.monotonic if type(source) is SystemClock else source.monotonic
        self._ahead: float = wall - self._monotonic()

    def __repr__(self) -> str:
        return f"<EngineClock {self.now():.3f}>"

    @property
    def moved(self) -> MovedClock | None:
        """The clock beneath, where it is one that is moved."""
        return self._moved

    def now(self) -> float:
        """Seconds since the Unix epoch; never less than before."""
        return self._ahead + self._monotonic()

    def milliseconds(self) -> int:
        """Whole milliseconds since the Unix epoch."""
        return int((self._ahead + self._monotonic()) * 1000 + _ROUNDING)

    def monotonic(self) -> float:
        """Seconds on a clock that is never set, not even forward."""
        return self._monotonic()

    def compare(self) -> float:
        """Look at the wall clock, and follow it where it is ahead.

        Returns:
            By how many seconds time jumped.
        """
        ahead = self._source.now() - self.now()
        if ahead <= 0:
            return 0.0
        self._ahead += ahead
        return ahead

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries of a step."""
        await self._source.sleep(seconds)

    async def wait(self, until: float, changed: anyio.Event) -> None:
        """Wait for a moment (seconds since the epoch), for the event, or for the time of the next comparison."""
        if self._moved is not None:
            await self._moved.wait(until - self._ahead, changed)
        else:
            with anyio.move_on_after(min(max(until - self.now(), 0.0), LONGEST_WAIT)):
                await changed.wait()
        self.compare()
