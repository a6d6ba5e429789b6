"""The attempts that run in this process: admitted, fed, broken off, and joined.

* At most `limit` run at once; others wait in the order in which they were to start. When all places are taken,
  attempts that only wait for the engine are asked to suspend, so that their place becomes free.
* An attempt that the engine has left finds its peer gone. It counts as running until its code has really stopped: a
  step in a thread cannot be stopped, so it is waited for, and told about when that takes long.
* For each start that was ordered, `AttemptOver` is told once, when nothing of the attempt runs any more.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from perdure.durable.driver import Driver
from perdure.engine.events import AttemptOver, FromAttempt, How
from perdure.engine.in_process import InProcessChannel
from perdure.engine.live_attempt import LiveAttempt, opening_context
from perdure.engine.outputs import Deliver, StartAttempt
from perdure.engine.remote.channel import Broken, RemoteChannel
from perdure.engine.remote.deployments import Remote
from perdure.engine.session import AttemptSession, Due
from perdure.exceptions import PROTOCOL_VIOLATION, ProtocolError
from perdure.handlers.attempt import run_attempt
from perdure.machine.invocation import Invocation
from perdure.wire.messages import Command, ErrorMessage
from perdure.wire.versions import MAX_VERSION, ProtocolVersion

if TYPE_CHECKING:
    import anyio.abc

    from perdure.engine.clock import EngineClock
    from perdure.engine.events import Event
    from perdure.engine.launching import Launch
    from perdure.handlers.environment import Environment
    from perdure.handlers.registry import BoundHandler
    from perdure.wire.messages import Message

__all__ = ["Attempts", "Host"]

_INTERNAL: Final = 500
_log: Final = logging.getLogger("perdure.engine")


class Host(Protocol):
    """What attempts need of the engine."""

    def feed(self, event: Event) -> None:
        """Something happened."""
        ...

    def open_batch(self) -> int:
        """The number of the batch that is being collected; 0 when nothing is uncommitted."""
        ...

    def wrote(self, live: LiveAttempt) -> None:
        """An attempt wrote something that is not committed yet: tell `LiveAttempt.committed` when it is."""
        ...

    def wake_at(self, moment: float) -> None:
        """Call `Attempts.tick` at this moment, seconds since the epoch."""
        ...

    def settle(self) -> None:
        """Whatever was fed in one go is complete: commit what somebody waits for."""
        ...

    def rested(self) -> None:
        """An attempt has come to rest."""
        ...

    def all_gone(self) -> None:
        """No attempt runs."""
        ...

    def launch(self, order: StartAttempt) -> Launch | ErrorMessage | None:
        """What is needed for a start; `None` when it is no longer wanted, an error when there is no such handler."""
        ...


class Attempts:
    """The attempts of one engine.

    Args:
        host: the engine.
        home: where attempts run.
        environment: what the handlers share.
        clock: the engine's time.
        limit: how many run at once.

    Attributes:
        closing: whether the engine is closing, so that no attempt starts.
        opening: whether the engine is being opened, so that none starts yet; see `opened`.
        next_deadline: when `tick` wants to be called, seconds since the epoch.
    """

    def __init__(
        self,
        host: Host,
        home: anyio.abc.TaskGroup,
        environment: Environment,
        clock: EngineClock,
        *,
        limit: int,
    ) -> None:
        self._host = host
        self._home = home
        self._environment = environment
        self._clock = clock
        self._limit = limit
        self._context = opening_context()
        self._live: dict[int, LiveAttempt] = {}
        self._waiting: deque[StartAttempt] = deque()
        self._withdrawn: set[int] = set()
        self._gone: Callable[[], None] | None = None
        self.closing: bool = False
        self.opening: bool = True
        self.next_deadline: float = math.inf

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Any:
        return iter(self._live.values())

    @property
    def waiting(self) -> int:
        """How many starts wait for a place."""
        return len(self._waiting)

    # --- orders of the engine --------------------------------------------------------------------------------------

    def order(self, start: StartAttempt) -> None:
        """Start an attempt as soon as there is a place for it."""
        if self.closing:
            self._host.feed(AttemptOver(start.number, start.attempt, How.SHUT_DOWN))
        elif self.opening:
            self._waiting.append(start)
        elif len(self._live) < self._limit and not self._waiting:
            self._begin(start)
        else:
            self._waiting.append(start)
            self._make_room()

    def deliver(self, output: Deliver) -> None:
        """Hand over a journal entry."""
        live = self._live.get(output.attempt)
        if live is not None and live.session.deliver(output.index, output.entry, self._clock.now()):
            live.channel.wake()

    def stop(self, attempt: int, error: ErrorMessage | None = None) -> None:
        """Break an attempt off: what it does from here on changes nothing."""
        live = self._live.get(attempt)
        if live is None:
            self._withdrawn.add(attempt)
            return
        self._cut(live)
        if error is not None:
            _log.warning("attempt of %s was broken off: %s", live.path, error.message)

    def suspend(self, attempt: int) -> None:
        """Ask an attempt to suspend where it waits next."""
        live = self._live.get(attempt)
        if live is not None:
            self._half_close(live)

    def _half_close(self, live: LiveAttempt) -> None:
        now = self._clock.now()
        if live.session.close_input(now):
            self._watch(live.deadline)
            live.channel.wake()

    def _cut(self, live: LiveAttempt) -> None:
        if live.channel.gone:
            return
        live.stopped_at = live.told_at = self._clock.now()
        live.channel.cut()
        self._watch(live.deadline)

    # --- starting --------------------------------------------------------------------------------------------------

    def _begin(self, order: StartAttempt) -> None:
        self._context.copy().run(self._begin_here, order)

    def _begin_here(self, order: StartAttempt) -> None:
        launch = self._host.launch(order) if order.attempt not in self._withdrawn else None
        if launch is None:
            self._withdrawn.discard(order.attempt)
            self._host.feed(AttemptOver(order.number, order.attempt, How.JOINED))
            return
        if isinstance(launch, ErrorMessage):
            self._host.feed(AttemptOver(order.number, order.attempt, How.FAILED, launch, infrastructure=True))
            return
        bound = launch.bound
        session = AttemptSession(
            order.number,
            order.attempt,
            now=self._clock.now(),
            inactivity=launch.inactivity,
            abort=launch.abort,
            bidirectional=not isinstance(bound, Remote) or bound.destination.bidirectional,
        )
        session.begin(launch.start, launch.prefix)
        if isinstance(bound, Remote):
            self._begin_there(session, bound, launch.abort)
            return
        channel = InProcessChannel(session, self._clock, self._take, self._host.rested)
        live = LiveAttempt(session, channel, bound.handler.path, launch.abort)
        version = ProtocolVersion(order.protocol) if order.protocol else MAX_VERSION
        driver = channel.driver = Driver(
            Invocation(version, counts_signals=True),
            channel,
            messages=True,
            clock=channel.clock,
            on_idle=channel.rest,
            home=self._home,
        )
        self._live[order.attempt] = live
        self._watch(live.deadline)
        self._home.start_soon(self._run, live, bound, driver)

    def _begin_there(self, session: AttemptSession, remote: Remote, abort: float) -> None:
        destination = remote.destination
        channel = RemoteChannel(session, remote.endpoint, destination, self._take, self._host.rested)
        live = LiveAttempt(session, channel, f"{destination.service}/{destination.handler}", abort)
        self._live[session.attempt] = live
        self._watch(live.deadline)
        self._home.start_soon(self._run_there, live, channel)

    async def _run_there(self, live: LiveAttempt, channel: RemoteChannel) -> None:
        broken: Broken | None = None
        try:
            with live.scope:
                broken = await channel.run()
        except Exception as error:  # noqa: BLE001 - told to the rules, which try again
            _log.exception("attempt of %s broke", live.path)
            live.error = ErrorMessage(_INTERNAL, f"{type(error).__name__}: {error}")
        else:
            if broken is not None and live.error is None:
                live.error, live.infrastructure = broken.error, broken.infrastructure
        finally:
            del self._live[live.session.attempt]
        self._joined(live)

    def opened(self) -> None:
        """The engine is open: begin."""
        self.opening = False
        self._admit()
        self._make_room()

    def _admit(self) -> None:
        while self._waiting and len(self._live) < self._limit and not self.closing:
            self._begin(self._waiting.popleft())

    def _make_room(self) -> None:
        """All places are taken: let those that only wait for the engine suspend, as many as wait for a place."""
        wanted = len(self._waiting)
        for live in list(self._live.values()):
            if not wanted:
                return
            if live.session.input_closed:
                wanted -= 1
            elif live.channel.resting:
                wanted -= 1
                self._half_close(live)

    def rested(self) -> None:
        """An attempt has come to rest: it may make room for others."""
        if self._waiting:
            self._make_room()

    async def _run(self, live: LiveAttempt, bound: BoundHandler[Any], driver: Driver) -> None:
        try:
            with live.scope:
                await run_attempt(bound, driver, self._environment)
        except Exception as error:  # noqa: BLE001 - told to the rules, which try again
            _log.exception("attempt of %s broke", live.path)
            live.error = ErrorMessage(_INTERNAL, f"{type(error).__name__}: {error}")
        finally:
            del self._live[live.session.attempt]
        self._joined(live)

    def _joined(self, live: LiveAttempt) -> None:
        session = live.session
        error = live.error
        if session.last_word or (live.channel.gone and error is None):
            how = How.SHUT_DOWN if self.closing and not session.last_word else How.JOINED
            error = None
        elif error is not None:
            how = How.FAILED
        else:
            how = How.FAILED
            error = ErrorMessage(_INTERNAL, "the attempt stopped without suspension, error or end")
        session.stop()
        live.channel.gone = True
        missed = how is How.FAILED and live.infrastructure
        self._host.feed(AttemptOver(session.number, session.attempt, how, error, infrastructure=missed))
        self._admit()
        self._host.settle()
        if not self._live:
            self.next_deadline = math.inf
            self._host.all_gone()
            if self._gone is not None:
                self._gone()

    # --- what handlers send ----------------------------------------------------------------------------------------

    def _take(self, session: AttemptSession, messages: Sequence[Message]) -> None:
        host = self._host
        now = self._clock.now()
        live = self._live[session.attempt]
        try:
            for message in messages:
                if session.receive(message, now):
                    command = session.commands - 1 if isinstance(message, Command) else -1
                    seen = session.seen if session.last_word else -1
                    host.feed(FromAttempt(session.number, session.attempt, message, command, seen))
        except ProtocolError as violation:
            live.error = ErrorMessage(PROTOCOL_VIOLATION, str(violation))
            self._cut(live)
        batch = host.open_batch()
        if batch:
            session.charge(batch)
            host.wrote(live)
        host.settle()

    # --- clocks ----------------------------------------------------------------------------------------------------

    def _watch(self, deadline: float) -> None:
        if deadline < self.next_deadline:
            self.next_deadline = deadline
            self._host.wake_at(deadline)

    def tick(self, now: float) -> None:
        """Look at the clocks of the attempts, if any may have run out."""
        if now < self.next_deadline:
            return
        self.next_deadline = math.inf
        for live in list(self._live.values()):
            if live.deadline <= now:
                self._ran_out(live, now)
            self._watch(live.deadline)

    def _ran_out(self, live: LiveAttempt, now: float) -> None:
        if live.channel.gone:
            self._tell_stuck(live, now)
            return
        due = live.session.tick(now)
        if due is Due.HALF_CLOSE:
            live.channel.wake()
        elif due is Due.ABORT:
            live.error = ErrorMessage(
                _INTERNAL, f"the attempt did not suspend within {live.abort:g} s of being asked, and was broken off"
            )
            self._cut(live)

    def _tell_stuck(self, live: LiveAttempt, now: float) -> None:
        driver = live.channel.driver
        steps = ", ".join(closure.leaf.label for closure in driver.runs.running.values()) if driver is not None else ""
        _log.error(
            "%s was told to stop %.0f s ago and still runs%s: nothing takes its place until it has stopped. A step in "
            "a thread cannot be interrupted; give what it calls a timeout",
            live.path,
            now - live.stopped_at,
            f" ({steps})" if steps else "",
        )
        live.told_at = now
        live.scope.cancel()

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self, gone: Callable[[], None]) -> None:
        """Start nothing more, and let everything suspend; `gone` is called when nothing runs."""
        self.closing = True
        self._gone = gone
        while self._waiting:
            order = self._waiting.popleft()
            self._host.feed(AttemptOver(order.number, order.attempt, How.SHUT_DOWN))
        for live in list(self._live.values()):
            self._half_close(live)
            if live.channel.between_tries:
                self._cut(live)  # it waits between two tries of a step: the next try is the next attempt's
        self._host.settle()
        if not self._live:
            gone()

    def break_off(self) -> None:
        """Leave every attempt that still runs."""
        for live in list(self._live.values()):
            self._cut(live)

    def cancel(self) -> None:
        """Stop what goes on although the engine has left it, by the loop's own means."""
        for live in self._live.values():
            if live.channel.gone:
                live.scope.cancel()

    @property
    def quiet(self) -> bool:
        """Whether nothing but a message of the engine, or the passing of time, can bring anything about."""
        return (not self._waiting or len(self._live) >= self._limit) and all(
            live.channel.quiet for live in self._live.values()
        )

    def paths(self) -> list[str]:
        """The handlers that run."""
        return sorted(live.path for live in self._live.values())
