"""What is explored, and one attempt of it: the real driver and machine on an event loop of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
from anyio import get_cancelled_exc_class

from perdure.durable.closures import Closure
from perdure.durable.driver import Driver, End
from perdure.durable.runs import Runs
from perdure.exceptions import JournalMismatchError, ProtocolError, UsageError
from perdure.handlers.attempt import run_attempt
from perdure.handlers.environment import Environment
from perdure.handlers.middleware import Middleware
from perdure.handlers.registry import BoundHandler, Registry
from perdure.machine.invocation import Invocation
from perdure.testing.exploring.loops import BACKENDS, STUCK_AFTER, Backend, LoopReport, TooBusyError, census, on_loop
from perdure.testing.exploring.schedule import Schedule
from perdure.testing.exploring.world import Fault, World
from perdure.testing.runtime import AttemptOver
from perdure.wire.messages import EndMessage, ErrorMessage, SuspensionMessage
from perdure.wire.versions import ProtocolVersion

__all__ = ["Subject", "attempt", "backend_of", "listening", "replays"]

PASSES: Final = 5_000
"""Rounds of the event loop that any attempt may take; each journal entry may take some more."""

PASSES_PER_ENTRY: Final = 100

_LAST: Final[Mapping[End, type]] = {End.ENDED: EndMessage, End.SUSPENDED: SuspensionMessage, End.FAILED: ErrorMessage}


@dataclass
class Subject:
    """A handler and what it is given.

    Attributes:
        bound: the handler.
        registry: of its endpoint.
        given: what the runtime in memory is made of.
        middleware: around attempts and steps.
        app: what `ctx.app` is.
        trace: what the handler has seen so far in this attempt, if it tells; replays must see the same.
        begins: called before each attempt.
        versions: of the protocol, that one invocation may see.
        complaints: errors that were logged while an attempt ran.
    """

    bound: BoundHandler[Any]
    registry: Registry
    given: Mapping[str, Any]
    middleware: Sequence[Middleware] = ()
    app: Any = None
    trace: Callable[[], Sequence[Any]] = tuple
    begins: Callable[[World], None] = lambda _: None
    versions: Sequence[ProtocolVersion] = (ProtocolVersion.V6, ProtocolVersion.V7)
    complaints: list[str] = field(default_factory=list)

    def world(self, schedule: Schedule, journal: Sequence[Any] | None = None) -> World:
        """A world for one invocation."""
        return World(schedule, journal=journal, **self.given)


class _Time:
    """The clock of explored attempts: the world's, and the virtual time of the loop on top of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen = 0.0

    def begin(self) -> None:
        """The attempt begins now, on this loop."""
        self._seen = anyio.current_time()

    def now(self) -> float:
        time = anyio.current_time()
        self._world.now += time - self._seen
        self._seen = time
        return self._world.now

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _WatchedRuns(Runs):
    """Closures whose execution is seen, and takes as long as the world wants."""

    __slots__ = ("_world",)

    def __init__(self, world: World, machine: Invocation, clock: _Time, host: Driver) -> None:
        super().__init__(machine, clock, host)
        self._world = world

    def add(self, closure: Closure, *args: Any, **options: Any) -> None:
        fn = closure._fn  # noqa: SLF001 - exploring stands between a step and its function
        closure._fn = self._watched(closure, fn)  # noqa: SLF001 - as above
        closure._plain = False  # noqa: SLF001 - a thread would end when it likes; it runs in place
        super().add(closure, *args, **options)

    def _watched(self, closure: Closure, fn: Callable[..., Any]) -> Callable[..., Any]:
        world = self._world

        async def step(*args: Any) -> Any:
            world.step_begins(closure.leaf.id, closure.name)
            await world.ticks(1)
            failure: Exception | None = None
            value: Any = None
            try:
                value = fn(*args)
                if hasattr(value, "__await__"):
                    value = await value
            except get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await world.ticks(4)
                raise
            except Exception as error:  # noqa: BLE001 - raised again below, when it has taken its time
                failure = error
            if failure is not None:
                await world.step_ends(closure.name, limited=closure.timeout is not None)
                raise failure
            if world.noise is not None and world.noise.random() < 0.2:  # noqa: PLR2004 - some steps cannot be stopped
                with anyio.CancelScope(shield=True):
                    await world.ticks(6)
            else:
                await world.step_ends(closure.name, limited=closure.timeout is not None)
            return value

        return step


def backend_of(schedule: Schedule, number: int) -> Backend:
    """Where an attempt runs: asyncio and trio in turn, unless the schedule says otherwise."""
    for backend in BACKENDS:
        if schedule.get(backend, number) is not None:
            return backend
    return BACKENDS[number % 2]


def _version_of(subject: Subject, world: World, number: int) -> ProtocolVersion:
    given = world.schedule.get("protocol", number)
    if given is not None:
        return ProtocolVersion(given)
    return world.noise.choice(subject.versions) if world.noise is not None else subject.versions[0]


def attempt(subject: Subject, world: World, number: int, *, retry_count: int = 0) -> tuple[End | None, Driver]:
    """Run one attempt of an invocation, on a loop of its own.

    Args:
        subject: what is explored.
        world: where; it knows the journal.
        number: counts the attempts of the invocation from 0.
        retry_count: how many attempts have failed since the journal last grew.

    Returns:
        How it ended (`None`: the host cancelled it), and its driver.

    Raises:
        Fault: anything that must not be.
    """
    stage = _Stage(subject, world, number, retry_count)
    seed = 0 if world.noise is None else world.noise.getrandbits(32)
    report = LoopReport(0)
    try:
        on_loop(backend_of(world.schedule, number), seed, report, partial(stage.play, report))
    except TooBusyError as error:
        raise Fault("spins", f"{error}, also after it was cancelled") from None
    finally:
        world.end_attempt()
    stage.check(report)
    return stage.end, stage.driver


def replays(subject: Subject, worlds: Iterable[World], backend: Backend) -> list[Sequence[Any] | Fault]:
    """Run one attempt in each of many worlds, one after another on the same loop.

    Returns:
        What each of them saw. It ends with the first fault.
    """
    found: list[Sequence[Any] | Fault] = []
    report = LoopReport(0)

    async def all_of_them() -> None:
        for world in worlds:
            stage = _Stage(subject, world, 0, 0)
            try:
                await stage.play(report)
                world.end_attempt()
                stage.check(report)
            except Fault as fault:
                found.append(fault)
                return
            found.append(list(subject.trace()))

    try:
        on_loop(backend, 0, report, all_of_them)
    except TooBusyError as error:
        found.append(Fault("spins", f"{error}, also after it was cancelled"))
    return found


def _told(end: End | None, driver: Driver) -> str:
    if end is None:
        return "stopped"
    error = driver.failure
    return f"failed: {type(error).__name__}: {error}"[:200] if end is End.FAILED else end.value


class _Stage:
    """One attempt on a loop, and those who help with it.

    Attributes:
        end: how it ended; `None` when the host cancelled it.
        driver: what drives it.
    """

    def __init__(self, subject: Subject, world: World, number: int, retry_count: int) -> None:
        world.begin_attempt(number, retry_count=retry_count)
        subject.begins(world)
        subject.complaints.clear()
        clock = _Time(world)
        machine = Invocation(_version_of(subject, world, number))
        self.end: End | None = None
        self.driver: Driver = Driver(machine, world, messages=True, clock=clock, on_idle=world.idle)
        self.driver.runs = _WatchedRuns(world, machine, clock, self.driver)
        self._subject = subject
        self._world = world
        self._environment = Environment(subject.registry, middleware=subject.middleware, clock=clock, app=subject.app)
        self._clock = clock
        world.log.append(f"attempt {number} on {backend_of(world.schedule, number)}, protocol {machine.version.value}")

    async def play(self, report: LoopReport) -> None:
        """Run it, and see that nothing is left of it.

        Raises:
            Fault: something is, or the driver raised.
        """
        world, driver = self._world, self.driver
        report.begin(PASSES + PASSES_PER_ENTRY * len(world.journal))
        self._clock.begin()
        error: Exception | None = None
        left = timers = 0
        host = anyio.CancelScope(deadline=anyio.current_time() + STUCK_AFTER)
        async with anyio.create_task_group() as helpers:
            world.help_in(helpers)
            before, timers = census()
            with host:
                report.host = world.host = host
                try:
                    self.end = await run_attempt(self._subject.bound, driver, self._environment)
                except Exception as raised:  # noqa: BLE001 - it is raised below, outside of the group
                    error = raised
            report.host = None
            left = census()[0] - before - world.helpers
            helpers.cancel_scope.cancel()
        self._clock.now()
        world.log.append(f"      {_told(self.end, driver)}")
        if error is not None:
            raise Fault("raised by the driver", repr(error)) from error
        if host.cancel_called and not world.host_cancelled and not report.busy:
            raise Fault("hangs", "the handler waits, and nothing can end the wait" + _waiting(driver))
        if left > 0:
            raise Fault("a task is left", f"{left} tasks outlive the attempt")
        if census()[1] > timers:
            raise Fault("a timer is left", "a deadline outlives the attempt")

    def check(self, report: LoopReport) -> None:
        """See that it ended as it should.

        Raises:
            Fault: it did not.
        """
        if report.busy:
            raise Fault("spins", f"the event loop went round {report.passes:,} times")
        if self._subject.complaints:
            raise Fault("logged as an error", self._subject.complaints[0])
        _check_end(self._world, self.driver, self.end)


def _waiting(driver: Driver) -> str:
    waits = [f"{branch!r} for {branch.parked_on!r}" for branch in driver.turns.alive]
    return f" ({', '.join(waits)})" if waits else ""


def _check_end(world: World, driver: Driver, end: End | None) -> None:
    if world.faults:
        raise world.faults[0]
    error = driver.failure
    if end is End.FAILED and isinstance(error, JournalMismatchError):
        raise Fault("mismatch", str(error)) from error
    if end is End.FAILED and isinstance(error, ProtocolError | UsageError):
        raise Fault(type(error).__name__, str(error)) from error
    if end is None or end is End.CANCELLED:
        if not world.host_cancelled:
            raise Fault("cancelled by nobody", "the attempt ended as if its host had cancelled it")
        return
    if end is End.DISCONNECTED:
        if not world.is_cut:
            raise Fault("disconnected by nobody", "the attempt ended as if its peer were gone")
        return
    if world.is_cut or world.host_cancelled:
        return  # it ended on its own account while the connection broke
    last = _LAST[end]
    if not world.sent or not isinstance(world.sent[-1], last):
        told = type(world.sent[-1]).__name__ if world.sent else "nothing"
        raise Fault("a wrong end", f"the attempt ended ({end.value}), and the last message is {told}")
    if end is End.FAILED and world.over is not AttemptOver.FAILED:
        raise Fault("a wrong end", "the attempt failed, and the runtime was not told")


class _Listener(logging.Filter):
    """Keeps the log of attempts to itself: they fail on purpose here. What is an error there is a fault."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self._subject = subject

    def filter(self, record: logging.LogRecord) -> bool:
        """Let nothing through."""
        if record.levelno >= logging.ERROR:
            self._subject.complaints.append(record.getMessage())
        return False


@contextmanager
def listening(subject: Subject) -> Iterator[None]:
    """Take the log of attempts for the block."""
    log = logging.getLogger("perdure.attempt")
    listener = _Listener(subject)
    log.addFilter(listener)
    try:
        yield
    finally:
        log.removeFilter(listener)
