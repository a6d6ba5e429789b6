"""The channel to handlers in the same process: message objects, no bytes, no HTTP.

A `Driver` runs the handler as it does for any runtime; its transport is here. What it sends goes straight into the
engine; what the engine has committed waits in the session until the driver takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from perdure.durable.clock import Clock
from perdure.durable.transport import Disconnected

if TYPE_CHECKING:
    from perdure.durable.driver import Driver
    from perdure.engine.session import AttemptSession
    from perdure.wire.messages import Message

__all__ = ["AttemptClock", "InProcessChannel"]


class AttemptClock:
    """The clock of one attempt: the engine's, and how many steps wait on it between two tries.

    Attributes:
        sleeping: how many.
    """

    __slots__ = ("_clock", "sleeping")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sleeping: int = 0

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries of a step."""
        self.sleeping += 1
        try:
            await self._clock.sleep(seconds)
        finally:
            self.sleeping -= 1


class InProcessChannel:
    """The transport of one attempt.

    Args:
        session: the engine's side of it.
        clock: where the attempt reads the time.
        take: called with whatever the handler sends, in order.
        rested: called when the attempt has come to rest.

    Attributes:
        session: the engine's side of it.
        driver: runs the handler; set by whoever makes it.
        clock: for the driver.
        gone: whether the engine has left the attempt.
    """

    __slots__ = (
        "_arrived",
        "_credited",
        "_event",
        "_idle",
        "_rested",
        "_take",
        "_told",
        "clock",
        "driver",
        "gone",
        "session",
    )

    def __init__(
        self,
        session: AttemptSession,
        clock: Clock,
        take: Callable[[AttemptSession, Sequence[Message]], None],
        rested: Callable[[], None],
    ) -> None:
        self.session: AttemptSession = session
        self.clock: AttemptClock = AttemptClock(clock)
        self.driver: Driver | None = None
        self.gone: bool = False
        self._take = take
        self._rested = rested
        # The loop's own kind of event, looked up once: a step waits for one.
        self._event: type[anyio.Event] = type(anyio.Event())
        self._arrived: anyio.Event | None = None
        self._credited: anyio.Event | None = None
        self._told = False
        self._idle = False

    # --- the driver's side -----------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[Message] | None:
        """What the handler is to receive next: everything there is."""
        session = self.session
        while True:
            if self.gone:
                raise Disconnected
            if session.has_output:
                self._idle = False
                return session.messages_to_send()
            if session.input_closed and not self._told:
                self._told = True
                self._idle = False
                return None
            arrived = self._arrived = self._event()
            await arrived.wait()

    async def send(self, messages: Sequence[Message]) -> None:
        """Hand over one turn; one that is far ahead of the disk waits for it."""
        if self.gone:
            raise Disconnected
        self._take(self.session, messages)
        while self.session.overdrawn and not self.gone:
            credited = self._credited = anyio.Event()
            await credited.wait()

    def rest(self) -> None:
        """The driver says that every branch is parked, nothing runs and all output was handed over."""
        self._idle = True
        self._rested()

    # --- the engine's side -----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The session has something to send, or credit."""
        arrived = self._arrived
        if arrived is not None:
            self._arrived = None
            arrived.set()
        if self._credited is not None:
            self._credited.set()
            self._credited = None

    def cut(self) -> None:
        """The engine has left the attempt: the driver finds its peer gone."""
        self.gone = True
        self.session.stop()
        self.wake()

    @property
    def resting(self) -> bool:
        """Whether nothing but a message of the engine can bring anything about."""
        return self._idle and not self._is_wanted()

    @property
    def quiet(self) -> bool:
        """Whether nothing but a message of the engine, or the passing of time, can bring anything about."""
        return not self._is_wanted() and (self._idle or self.between_tries)

    @property
    def between_tries(self) -> bool:
        """Whether all that runs are steps that wait for their next try."""
        driver = self.driver
        if driver is None or driver.turns.holder is not None:
            return False
        return 0 < self.clock.sleeping == len(driver.runs.running)

    def _is_wanted(self) -> bool:
        session = self.session
        return self.gone or session.has_output or (session.input_closed and not self._told)
