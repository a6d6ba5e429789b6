"""Event loops that do the same thing again: seeded order, virtual time, and a limit to what they may do.

What a loop decides by itself is made a part of the example. trio orders each batch of runnable tasks by its own random
source, which is seeded; asyncio gets a loop that shuffles each batch of ready callbacks. Time stands still while
anything can run and jumps to the next deadline when nothing can, so a step that sleeps costs no time, and a task that
sleeps for a moment wakes when all others wait. A loop that goes round too often is stopped.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import sys
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, Literal, TypeAlias, TypeVar

import anyio
import trio

__all__ = ["BACKENDS", "STUCK_AFTER", "Backend", "LoopReport", "TooBusyError", "census", "on_loop"]

T = TypeVar("T")

Backend: TypeAlias = Literal["asyncio", "trio"]
BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")

STUCK_AFTER: Final = 1e9
"""Virtual seconds: a wait that nothing else ends. The loop jumps this far only when it was really idle for a while."""

PATIENCE: Final = 2.0
"""Real seconds that a loop waits for threads and sockets before it takes a wait to be for ever."""

_TO_CLEAN_UP: Final = 1_000  # more passes, for the tasks that are left to end
_FAR: Final = 1e8  # virtual seconds: a jump that is worth waiting for


class TooBusyError(Exception):
    """The loop went round more often than anything explored here needs: something spins, or never ends."""


class LoopReport:
    """What a run of a loop cost, and what stops it when it costs too much.

    Attributes:
        passes: how often the loop went round.
        limit: how often it may; 0 is a little.
        host: cancelled when it went round too often; what does not end then is stopped by force.
        busy: whether it went round too often.
    """

    __slots__ = ("busy", "host", "limit", "passes")

    def __init__(self, limit: int) -> None:
        self.passes: int = 0
        self.limit: int = limit or _TO_CLEAN_UP
        self.host: anyio.CancelScope | None = None
        self.busy: bool = False

    def begin(self, passes: int) -> None:
        """From here on it may go round so often."""
        self.limit = self.passes + passes
        self.busy = False

    def check(self) -> None:
        """Stop a loop that went round too often.

        Raises:
            TooBusyError: it did, and does so although it was cancelled.
        """
        if self.passes <= self.limit:
            return
        limit, self.limit = self.limit, self.passes + _TO_CLEAN_UP
        if self.host is not None and not self.busy:
            self.busy = True
            self.host.cancel()
            return
        self.busy = True
        raise TooBusyError(f"the event loop went round more than {limit:,} times")


class _ShuffledLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that runs what is ready in an order of its own."""

    def __init__(self, seed: int, report: LoopReport) -> None:
        self._virtual = 0.0
        self._report = report
        self._random = Random(seed) if seed else None  # noqa: S311 - to be repeatable
        self._numbers = itertools.count(1)
        super().__init__()
        self._clock_resolution = 1e-6  # the finest that a far time still has
        self.set_task_factory(self._numbered)

    def _numbered(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=loop, **options)
        task._perdure_number = next(self._numbers)  # type: ignore[attr-defined]  # noqa: SLF001 - ours
        return task

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        self._report.passes += 1
        self._report.check()
        ready: Any = self._ready  # type: ignore[attr-defined]  # how else
        if ready:
            if len(ready) > 1:
                batch = list(ready)
                ready.clear()
                ready.extend(self._ordered(batch))
        else:
            self._jump()
        super()._run_once()  # type: ignore[misc]  # as above

    def _ordered(self, batch: list[Any]) -> list[Any]:
        """Cancelled groups wake their tasks in the order of addresses, which is no part of an example: sort them."""
        numbers = [getattr(getattr(handle._callback, "__self__", None), "_perdure_number", 0) for handle in batch]  # noqa: SLF001 - how else
        places = [place for place, number in enumerate(numbers) if number]
        in_order = sorted(places, key=numbers.__getitem__)
        ordered = list(batch)
        for place, source in zip(places, in_order, strict=True):
            ordered[place] = batch[source]
        if self._random is not None:
            self._random.shuffle(ordered)
        return ordered

    def _jump(self) -> None:
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]  # as above
        when = min((handle.when() for handle in scheduled if not handle.cancelled()), default=None)
        if when is None or when <= self._virtual:
            return
        if when - self._virtual > _FAR:
            events = self._selector.select(PATIENCE)  # type: ignore[attr-defined]  # as above
            self._process_events(events)  # type: ignore[attr-defined]  # as above
            if events:
                return
        self._virtual = when


class _VirtualClock(trio.abc.Clock):
    """trio's time."""

    def __init__(self, report: LoopReport) -> None:
        self._virtual = 0.0
        self._report = report
        self._idle_since: float | None = None

    def start_clock(self) -> None:
        """Nothing to do: time stands still."""

    def current_time(self) -> float:
        """The virtual time; asked for in every pass of the loop, which is stopped here."""
        self._report.check()
        return self._virtual

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Called when no task is runnable, before the loop looks for events."""
        ahead = deadline - self._virtual
        if ahead <= 0:
            return 0
        if ahead > _FAR:
            now = time.monotonic()
            if self._idle_since is None:
                self._idle_since = now
            idle = now - self._idle_since
            if idle < PATIENCE or deadline == math.inf:
                if idle > 2 * PATIENCE:
                    raise TooBusyError("the event loop waits for something that never happens")
                return PATIENCE / 10
        self._idle_since = None
        self._virtual = deadline
        return 0


class _Passes(trio.abc.Instrument):
    """Counts the passes of trio's loop."""

    def __init__(self, report: LoopReport) -> None:
        self._report = report

    def before_io_wait(self, timeout: float) -> None:
        """Called once in every pass."""
        del timeout
        self._report.passes += 1


def on_loop(backend: Backend, seed: int, report: LoopReport, fn: Callable[[], Awaitable[T]]) -> T:
    """Run `fn` on a fresh event loop.

    Args:
        backend: which kind.
        seed: of the order in which it runs what is ready; 0 is as plain as possible.
        report: counts its passes and limits them.
        fn: what to run.

    Raises:
        TooBusyError: it went round too often. Its tasks are left as they were.
    """
    if backend == "asyncio":
        return anyio.run(fn, backend="asyncio", backend_options={"loop_factory": lambda: _ShuffledLoop(seed, report)})
    return _on_trio(seed, report, fn)


def _on_trio(seed: int, report: LoopReport, fn: Callable[[], Awaitable[T]]) -> T:
    core: Any = trio._core._run  # noqa: SLF001 - the source of its order has no other name
    state, sorts = core._r.getstate(), core._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001 - as above
    core._r.seed(seed)  # noqa: SLF001 - as above
    core._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001 - then it sorts a batch before it shuffles it
    clock = _VirtualClock(report)
    try:
        return anyio.run(fn, backend="trio", backend_options={"clock": clock, "instruments": [_Passes(report)]})
    except trio.TrioInternalError as error:
        if not isinstance(error.__cause__, TooBusyError):
            raise
        why = str(error.__cause__)
    finally:
        core._r.setstate(state)  # noqa: SLF001 - as above
        core._ALLOW_DETERMINISTIC_SCHEDULING = sorts  # noqa: SLF001 - as above
    _bury()
    raise TooBusyError(why)


def _bury() -> None:
    """Collect what a loop that was stopped by force left behind; that this makes noise is no news."""
    told, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = told


def census() -> tuple[int, int]:
    """How many tasks the running loop has, and how many deadlines are set."""
    if _on_asyncio():
        loop: Any = asyncio.get_running_loop()
        timers = sum(not handle.cancelled() for handle in loop._scheduled)  # noqa: SLF001 - how else
        return len(asyncio.all_tasks()), timers
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks, waiting = 0, [root]
    while waiting:
        task = waiting.pop()
        tasks += 1
        waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return tasks, trio.lowlevel.current_statistics().seconds_to_next_deadline != math.inf


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
