"""The engine without its surface: rules, store, attempts, timers and callers wired together.

Everything here happens on the loop of the program that opened the engine, and nothing waits but the two tasks at the
end: one for whatever is due, one that writes what nobody waits for.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from perdure.engine.attempts import Attempts
from perdure.engine.callers import Callers
from perdure.engine.events import Opened, Recover, RegisterDeployment, RetryDue, TimersDue, WorkDue
from perdure.engine.launching import Launch, launch
from perdure.engine.lifecycle import decide
from perdure.engine.live_attempt import LiveAttempt
from perdure.engine.outputs import (
    ArmRetry,
    ArmTimer,
    Deliver,
    MoreRecovery,
    MoreTimers,
    MoreWork,
    Output,
    Reply,
    Report,
    StartAttempt,
    StopAttempt,
    What,
)
from perdure.engine.pump import Pump
from perdure.engine.remote.deployments import RemoteDeployments
from perdure.engine.residency import Residents
from perdure.engine.rows import PutDeployment
from perdure.exceptions import EngineFailed
from perdure.wire.ids import format_invocation_id
from perdure.wire.versions import MAX_VERSION, MIN_VERSION

if TYPE_CHECKING:
    import anyio.abc

    from perdure.engine.clock import EngineClock
    from perdure.engine.events import Event, Offered
    from perdure.engine.outputs import Answer
    from perdure.engine.remote.identity import RequestSigner
    from perdure.engine.rows import Row
    from perdure.engine.storage import Store
    from perdure.engine.view import Decision
    from perdure.handlers.environment import Environment
    from perdure.wire.messages import ErrorMessage

__all__ = ["LAZY", "MOST_WAITING", "Core"]

LAZY: Final = 0.005
"""Seconds after which rows that nobody waits for are written, so that long steps are seen."""

MOST_WAITING: Final = 10_000
"""Attempts that may wait for a place before new invocations are refused."""

_FAR: Final = 2**62
_IN_PROCESS: Final = "in-process"
_NEVER: Final = math.inf
_log: Final = logging.getLogger("perdure.engine")


class Core:
    """One open engine.

    Args:
        store: what it is written to.
        environment: what the handlers share.
        clock: the engine's time.
        home: where attempts run.
        limit: how many attempts run at once.
        failed: called once, when the engine cannot go on.
        signer: signs requests to endpoints in other processes.

    Attributes:
        attempts: those that run.
        remote: the deployments in other processes.
        pump: the order of things.
        failure: why the engine cannot go on.
        closing: whether it takes no more requests.
        rounds: how often the clocks were looked at.
    """

    def __init__(
        self,
        store: Store,
        environment: Environment,
        clock: EngineClock,
        home: anyio.abc.TaskGroup,
        *,
        limit: int,
        failed: Callable[[], None],
        signer: RequestSigner | None = None,
    ) -> None:
        self._store = store
        self.view: Residents = Residents(store.reader)
        self._environment = environment
        self._registry = environment.registry
        self.clock: EngineClock = clock
        self._moved = clock.moved
        self._failed = failed
        self.pump: Pump = Pump(
            decide=self._decide,
            apply=self._apply,
            submit=self._submit,
            release=self._release,
            lazy=self._lazy,
            fail=self.fail,
        )
        self.remote: RemoteDeployments = RemoteDeployments(home, signer)
        self.attempts: Attempts = Attempts(self, home, environment, clock, limit=limit)
        self.failure: EngineFailed | None = None
        self.closing: bool = False
        self._callers = Callers(self)
        self._now = 0
        self._timer_due: float = _NEVER
        self._retries: list[tuple[int, int, int, int]] = []
        self._order = itertools.count()
        self._wake_at: float = _NEVER
        self._changed = anyio.Event()
        self._idle: anyio.Event | None = None
        self._lazily = anyio.Event()
        self._full: str | None = None
        self.rounds: int = 0

    def begin(self, services: tuple[Offered, ...], manifest: bytes, *, unclean: bool) -> None:
        """Take up what was in work, with the services that this program has now."""
        self.feed(Opened(unclean))
        known = next(
            (row for row in self._store.reader.services() if isinstance(row, PutDeployment) and row.uri is None), None
        )
        if known is None or known.manifest != manifest:
            row = PutDeployment(
                deployment=0 if known is None else known.deployment,
                id=_IN_PROCESS if known is None else known.id,
                uri=None,
                min_protocol=MIN_VERSION,
                max_protocol=MAX_VERSION,
                manifest=manifest,
                created_at=self.clock.milliseconds(),
                services=tuple(service.name for service in services),
            )
            self.feed(RegisterDeployment(row, services, 0))
        self.settle()
        self.find_timers()
        self.attempts.opened()

    # --- decisions -------------------------------------------------------------------------------------------------

    def _decide(self, event: Event) -> Decision:
        now = self._now = max(self._now, self.clock.milliseconds())
        return decide(self.view, event, now)

    def _apply(self, decision: Decision, batch: int) -> None:
        self.view.apply(decision, batch, self._now)

    def _submit(self, number: int, rows: list[Row]) -> None:
        self._store.submit(number, rows)

    def committed(self, number: int) -> None:
        """The store has committed a batch."""
        self._full = None
        try:
            self.view.committed(number)
            self.pump.committed(number)
        except Exception as error:  # noqa: BLE001 - the engine fails with it: memory is not to be trusted any more
            self.fail(error)
        self._calm()

    def retrying(self, reason: str) -> None:
        """The store cannot write now, and tries again."""
        self._full = reason

    def fail(self, error: Exception) -> None:
        """The engine cannot go on: everybody who waits is told, and nothing is decided any more."""
        if self.failure is not None:
            return
        failure = error if isinstance(error, EngineFailed) else EngineFailed(f"the engine failed: {error}")
        if failure is not error:
            failure.__cause__ = error
        self.failure = failure
        _log.error("%s", failure, exc_info=error)
        self.pump.stop()
        self.attempts.break_off()
        self._callers.give_up()
        if self._idle is not None:
            self._idle.set()
        self._failed()

    def _calm(self) -> None:
        """Something came to an end: perhaps nothing is left to be done."""
        if self._idle is not None and self.pump.idle:
            self._idle.set()
        if self._moved is not None:
            self._moved.poke()

    def is_quiet(self) -> bool:
        """Whether nothing but the passing of time can bring anything about."""
        return not self.closing and self.pump.idle and self._wake_at > self.clock.now() and self.attempts.quiet

    # --- what attempts need ----------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Something happened."""
        self.pump.feed(event)

    def open_batch(self) -> int:
        """The number of the batch that what was just decided belongs to; 0 when nothing is uncommitted."""
        return self.pump.open_batch

    def wrote(self, live: LiveAttempt) -> None:
        """An attempt wrote something that is not committed yet."""
        self.pump.after_commit(live.committed)

    def settle(self) -> None:
        """Whatever was fed in one go is complete."""
        self.pump.settle()
        self._calm()

    def rested(self) -> None:
        """An attempt waits for the engine: what it wrote is of use to somebody."""
        self.pump.flush()
        self.attempts.rested()
        self._calm()

    def wake_at(self, moment: float) -> None:
        """Something is due at this moment, seconds since the epoch."""
        if moment < self._wake_at:
            self._wake_at = moment
            self._changed.set()

    def all_gone(self) -> None:
        """No attempt runs: their clocks need no look. A clock that is moved would be moved to them."""
        if self._moved is not None:
            self._changed.set()

    def launch(self, order: StartAttempt) -> Launch | ErrorMessage | None:
        """What is needed for a start, `None` when it is no longer wanted; an error when there is no such handler."""
        return launch(order, self.view, self._store.reader, self._registry, self.remote)

    # --- outputs ---------------------------------------------------------------------------------------------------

    def _release(self, output: Output) -> None:
        kind = type(output)
        if kind is Deliver:
            self.attempts.deliver(output)  # type: ignore[arg-type]  # its type was just looked at
        elif kind is Reply:
            self._callers.answer(output.waiter, output.answer)  # type: ignore[attr-defined]  # as above
        elif isinstance(output, StartAttempt):
            self.attempts.order(output)
        elif isinstance(output, StopAttempt):
            self.attempts.stop(output.attempt, output.error)
        elif isinstance(output, ArmTimer):
            self._timer_due = min(self._timer_due, output.due)
            self.wake_at(output.due / 1000)
        elif isinstance(output, ArmRetry):
            heapq.heappush(self._retries, (output.due, next(self._order), output.number, output.attempt))
            self.wake_at(output.due / 1000)
        elif isinstance(output, MoreTimers):
            self.pump.feed(TimersDue())
        elif isinstance(output, MoreWork):
            self.pump.feed(WorkDue())
        elif isinstance(output, MoreRecovery):
            self.pump.feed(Recover(output.after, output.unclean))
        elif isinstance(output, Report):
            self._report(output)
        else:
            raise NotImplementedError(f"nothing is done about {output!r}")

    def _report(self, report: Report) -> None:
        invocation = self.view.invocation(report.number)
        if invocation is None:
            return
        name = f"{invocation.service}/{invocation.handler} {format_invocation_id(invocation.id)}"
        error = report.error.message
        if report.what is What.RETRYING:
            pause = max(0.0, report.due / 1000 - self.clock.now())
            _log.warning("%s failed, tried again in %.3g s: %s", name, pause, error)
        elif report.what is What.PAUSED:
            _log.error("%s is paused until somebody resumes it: %s", name, error)
        elif report.what is What.FAILED:
            _log.error("%s has used up its attempts and fails: %s", name, error)
        else:
            _log.warning("%s ran when the process ended: it is started alone (%s)", name, error)

    # --- callers ---------------------------------------------------------------------------------------------------

    @property
    def full(self) -> str | None:
        """Why nothing new is taken at the moment; `None` when it is."""
        if self._full is None and self.attempts.waiting >= MOST_WAITING:
            return f"{self.attempts.waiting} invocations wait for a place to run"
        return self._full

    def check_open(self) -> None:
        """Refuse what comes too late: see `Callers.check_open`."""
        self._callers.check_open()

    async def ask(self, make: Callable[[int], Event], forget: Callable[[int], Event | None] | None = None) -> Answer:
        """Let something happen, and wait for the answer: see `Callers.ask`."""
        return await self._callers.ask(make, forget)

    # --- what is due -----------------------------------------------------------------------------------------------

    def find_timers(self, _: int = 0) -> None:
        """Look up when the next timer is due."""
        following = self.view.timers_due(_FAR, 1)
        self._timer_due = following[0].due if following else _NEVER
        if following:
            self.wake_at(self._timer_due / 1000)

    def _fire(self) -> None:
        """Raise whatever is due."""
        now = self.clock.milliseconds()
        if self._timer_due <= now:
            self._timer_due = _NEVER
            self.pump.feed(TimersDue())
            if self.pump.open_batch:
                self.pump.after_commit(self.find_timers)
            else:
                self.find_timers()
        while self._retries and self._retries[0][0] <= now:
            _, _, number, attempt = heapq.heappop(self._retries)
            self.pump.feed(RetryDue(number, attempt))
        self.attempts.tick(now / 1000)
        self.settle()

    async def watch(self) -> None:
        """Raise what is due, when it is due, until it is cancelled."""
        while True:
            self.rounds += 1
            self._wake_at = _NEVER
            changed = self._changed = anyio.Event()
            try:
                self._fire()
            except Exception as error:  # noqa: BLE001 - the engine fails with it
                self.fail(error)
                return
            due = min(self._timer_due / 1000, self.attempts.next_deadline)
            if self._retries:
                due = min(due, self._retries[0][0] / 1000)
            self._wake_at = min(self._wake_at, due)
            if not changed.is_set():
                self._calm()
                await self.clock.wait(self._wake_at, changed)
            else:
                await anyio.lowlevel.checkpoint()

    def _lazy(self) -> None:
        self._lazily.set()

    async def write_lazily(self) -> None:
        """Write what nobody waits for after a while, until it is cancelled."""
        while True:
            await self._lazily.wait()
            await anyio.sleep(LAZY)
            self._lazily = anyio.Event()
            self.pump.flush()
            self._calm()

    # --- the end ---------------------------------------------------------------------------------------------------

    async def shut_down(self, grace: float) -> EngineFailed | None:
        """Let everything suspend, leave what does not within `grace` seconds, and commit the rest.

        It returns when nothing runs any more. Whoever still waits for an answer is told.

        Returns:
            Why the engine could not go on, if it could not.
        """
        self.closing = True
        gone = anyio.Event()
        self.attempts.close(gone.set)
        with anyio.move_on_after(0 if self.failure is not None else grace):
            await gone.wait()
        if not gone.is_set():
            if self.failure is None:
                _log.warning(
                    "still running %.3g s after the engine was asked to close, and broken off: %s",
                    grace,
                    ", ".join(self.attempts.paths()),
                )
            self.attempts.break_off()
        while not gone.is_set():
            with anyio.move_on_after(1.0):
                await gone.wait()
            if not gone.is_set():
                self.attempts.cancel()
                _log.error("waiting for code that cannot be interrupted: %s", ", ".join(self.attempts.paths()))
        await self._drain()
        self.pump.stop()
        self._callers.give_up()
        return self.failure

    async def _drain(self) -> None:
        """Wait until everything that was decided is committed, or will never be."""
        while self.failure is None:
            self.pump.flush()
            if self.pump.idle:
                return
            self._idle = anyio.Event()
            await self._idle.wait()
