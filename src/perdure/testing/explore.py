"""Exploring a handler: every crash, suspension and order of completion that it could meet, in memory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Generic, TypeVar

import trio

from perdure.durable.outcome import error_of
from perdure.durable.serde import decode_value
from perdure.exceptions import PerdureError, TerminalError, UsageError
from perdure.handlers.definitions import Handler
from perdure.handlers.middleware import Middleware
from perdure.handlers.registry import Registry
from perdure.testing.exploring.attempts import Subject, listening
from perdure.testing.exploring.plays import Checks, Play, play
from perdure.testing.exploring.progress import Progress
from perdure.testing.exploring.schedule import Schedule
from perdure.testing.exploring.search import Search
from perdure.testing.exploring.shrinking import shrunk
from perdure.testing.exploring.world import Fault
from perdure.testing.given import Given
from perdure.wire.messages import FIRST_AWAKEABLE_SIGNAL, Failure, SignalNotification, Value
from perdure.wire.versions import ProtocolVersion

__all__ = ["Exploration", "ExplorationError", "Explorer", "explore"]

R = TypeVar("R")

BUDGET: Final = 200
_LONGEST_REPR: Final = 80
_SHOWN_RESULTS: Final = 3
_MOST_LINES: Final = 60


@dataclass
class Exploration(Generic[R]):
    """What was explored. `str()` of it is a summary for people.

    Attributes:
        handler: as messages name it: `Shop/checkout`.
        schedules: how many were played.
        attempts: how many attempts they took.
        replays: how many further attempts replayed a journal, or a prefix of one.
        crashes: how often the connection broke, or the process was stopped.
        suspensions: how often an attempt was suspended.
        cancels: how often the invocation was cancelled.
        failures: how often an attempt failed and was tried again.
        entries: how long the longest journal was.
        results: what the invocations ended with (what was returned, or the `TerminalError`), each one once, in the
            order in which they were found, and how often.
        phases: what was varied, and how much of it: `all 12 crashes`.
        seconds: how long it took.
    """

    handler: str
    schedules: int = 0
    attempts: int = 0
    replays: int = 0
    crashes: int = 0
    suspensions: int = 0
    cancels: int = 0
    failures: int = 0
    entries: int = 0
    results: list[tuple[R | TerminalError, int]] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            (
                f"{self.handler}: {_count(self.schedules, 'schedule')} in {_count(self.attempts, 'attempt')}, "
                f"and {_count(self.replays, 'replay')} of journals with up to "
                f"{_count(self.entries, 'entry', 'entries')}, in {self.seconds:.1f} s"
            ),
            (
                f"  {_count(self.crashes, 'crash', 'crashes')}, {_count(self.suspensions, 'suspension')}, "
                f"{_count(self.cancels, 'cancel')}, {_count(self.failures, 'failed attempt')}"
            ),
        ]
        if self.phases:
            lines.append(f"  {', '.join(self.phases)}")
        for result, times in self.results[:_SHOWN_RESULTS]:
            lines.append(f"  {_count(times, 'time')}: {_short(result)}")
        if len(self.results) > _SHOWN_RESULTS:
            lines.append(f"  and {len(self.results) - _SHOWN_RESULTS} other results")
        return "\n".join(lines)


class ExplorationError(PerdureError, AssertionError):
    """A handler that does not do the same thing again, and the schedule that shows it.

    Attributes:
        schedule: the shortest one that was found, for `explore(..., schedule=...)`.
        kind: what is wrong, in a few words.
        journal: what happened in it, line by line.
    """

    def __init__(self, message: str, *, schedule: str, kind: str, journal: Sequence[str]) -> None:
        super().__init__(message)
        self.schedule: str = schedule
        self.kind: str = kind
        self.journal: list[str] = list(journal)


def explore(
    handler: Handler[R],
    arg: Any = None,
    *,
    schedule: str | None = None,
    budget: int = BUDGET,
    seed: int = 0,
    cancel: bool = True,
    same_result: bool = False,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    state: Mapping[str, Any] | None = None,
    calls: Mapping[Handler[Any], Any] | None = None,
    awakeables: Sequence[Any] = (),
    signals: Sequence[tuple[str, Any]] = (),
    promises: Mapping[str, Any] | None = None,
    lazy_state: bool = False,
    protocol: ProtocolVersion | None = None,
    app: Any = None,
    middleware: Sequence[Middleware] = (),
    registry: Registry | None = None,
    progress: bool | None = None,
) -> Exploration[R]:
    """Run a handler in memory under many schedules, and check that it always does the same thing again.

    The plainest run comes first; then the connection is broken behind every entry of its journal, the handler is
    suspended at every await, results of steps are lost, the invocation is cancelled and the process stopped at every
    entry, and answers and steps come in every order. What is left of the budget goes to schedules in which many of
    these happen at once. Attempts run on asyncio and on trio in turn, each on a loop of its own, whose order is a part
    of the schedule; time is virtual. Every journal that comes of it is replayed, whole and at each of its prefixes.

    What is checked, in each of them: the same commands, in the same order; the same result from the same journal; no
    step runs again after its result was stored; nothing is written after the end of an attempt; no task, timer or step
    outlives it; no wait that nothing ends, no loop that spins; no suspension on what is known already; the handler
    lets the cancellation of an attempt through.

    Steps are really executed, again and again: give them something that can bear it. A plain function runs in place,
    not in a thread. A step that waits for the network or a thread of its own makes a schedule less repeatable.

    Args:
        handler: the handler object.
        arg: its input.
        schedule: plays just this one; an `ExplorationError` says which.
        budget: how many schedules to play.
        seed: of the choice of schedules; the same seed makes the same ones.
        cancel: whether schedules may cancel the invocation.
        same_result: demand that every schedule that does not cancel gives the same result. A handler that races, or
            that asks a step for chance or the time, gives several.
        key: of the object or workflow.
        headers: of the request.
        state: what the object holds; values are written as JSON.
        calls: results by handler of what is called, and of what is sent and attached to: a value, a `TerminalError`,
            or a function of the argument.
        awakeables: results of awakeables, in the order of their creation: values or `TerminalError`.
        signals: names and values of signals to this invocation; those of one name arrive in this order.
        promises: what promises of the workflow were completed with.
        lazy_state: let the handler ask for every key.
        protocol: the version to speak; versions 6 and 7 in turn by default.
        app: what `ctx.app` is.
        middleware: entered around attempts and steps.
        registry: the endpoint's, where codecs or serdes of other services matter.
        progress: whether to show how far it is; by default, if standard error is a terminal.

    Raises:
        ExplorationError: a schedule that the handler, or perdure, cannot bear. The message has the shortest one, what
            happens in it, and the line that plays it again.
        UsageError: the schedule is none, or an event loop is running: this starts loops of its own.
    """
    registry = registry if registry is not None else Registry([handler.service])
    bound = registry.bound(handler)
    given = Given(
        registry,
        bound,
        arg,
        key=key,
        headers=headers,
        state=state,
        calls=calls,
        awakeables=awakeables,
        signals=signals,
        promises=promises,
        lazy_state=lazy_state,
    )
    coming = [SignalNotification(name, value) for name, value in given.signals]
    coming += [
        SignalNotification(FIRST_AWAKEABLE_SIGNAL + number, value) for number, value in enumerate(given.awakeables)
    ]
    subject = Subject(bound, registry, {**given.options, "signals": coming}, middleware=tuple(middleware), app=app)
    if protocol is not None:
        subject.versions = (protocol,)
    others = {
        "key": key,
        "headers": headers,
        "state": state,
        "calls": calls,
        "awakeables": awakeables,
        "signals": signals,
        "promises": promises,
        "lazy_state": lazy_state,
        "protocol": protocol,
        "app": app,
        "middleware": middleware,
        "registry": None,
    }
    line = _call_of(handler, arg, [name for name, value in others.items() if value])
    explorer: Explorer[R] = Explorer(subject, same_result=same_result, line=line)
    if schedule is not None:
        return explorer.one(Schedule.parse(schedule))
    return explorer.many(Search(budget, Random(seed), cancel), progress=progress)  # noqa: S311 - to be repeatable


class Explorer(Generic[R]):
    """Plays schedules and counts; for tests of perdure itself, which know more about what they explore.

    Args:
        subject: what is explored.
        same_result: whether all schedules without a cancel must give the same result.
        line: a call of `explore` that plays a schedule, with `{}` in its place.
        shrink: whether to look for a shorter schedule that shows a fault.
    """

    def __init__(
        self, subject: Subject, *, same_result: bool = False, line: str = "explore(..., {})", shrink: bool = True
    ) -> None:
        self._subject = subject
        self._same_result = same_result
        self._line = line
        self._shrink = shrink
        self._checks = Checks(subject)
        self._counts: Counter[Any] = Counter()
        self._results: dict[Any, R | TerminalError] = {}
        self._first: Any = None
        self.found: Exploration[R] = Exploration(subject.bound.handler.path)

    def one(self, schedule: Schedule) -> Exploration[R]:
        """Play one schedule.

        Raises:
            ExplorationError: it shows a fault.
        """
        _outside_of_loops()
        with listening(self._subject):
            if self._same_result and len(schedule):
                self._first = None
                self._play(Schedule())
            fault, played = self._play(schedule)
            if fault is not None:
                raise self._error(fault, schedule, played) from fault.__cause__
        return self._summary([])

    def many(self, search: Search, *, progress: bool | None = None) -> Exploration[R]:
        """Play schedule after schedule.

        Raises:
            ExplorationError: one shows a fault.
        """
        _outside_of_loops()
        began = time.monotonic()
        with listening(self._subject), Progress(search.budget, "schedules", shown=progress) as bar:
            for number, schedule in enumerate(search.schedules()):
                bar.at(number, self._subject.bound.handler.path)
                fault, played = self._play(schedule)
                if fault is not None:
                    raise self._shortest(fault, schedule, played) from fault.__cause__
                search.saw(played)
        self.found.seconds = time.monotonic() - began
        return self._summary([str(phase) for phase in search.phases if phase.played])

    def _play(self, schedule: Schedule) -> tuple[Fault | None, Play]:
        played = play(self._subject, schedule)
        found, done = self.found, played.world.done
        found.schedules += 1
        found.attempts += played.attempts
        found.crashes += done["crashes"] + done["stops"]
        found.suspensions += done["suspensions"]
        found.cancels += done["cancels"]
        found.failures += done["failures"]
        found.entries = max(found.entries, len(played.journal))
        if played.fault is not None:
            return played.fault, played
        try:
            self._checks.check(played)
            self._check_result(played)
        except Fault as fault:
            return fault, played
        return None, played

    def _check_result(self, played: Play) -> None:
        output = played.output
        bound = self._subject.bound
        result: Any
        if isinstance(output, Failure):
            result = error_of(output)
            known: Any = output
        else:
            assert isinstance(output, Value)
            result = decode_value(bound.output, output.content, f"the output of {bound.handler.path}")
            known = output.content if bound.output.stable else repr(result)
        self._counts[known] += 1
        self._results.setdefault(known, result)
        if not self._same_result or played.world.done["cancels"]:
            return
        if self._first is None:
            self._first = known
        elif known != self._first:
            raise Fault("another result", f"{_short(result)}, and before it was {_short(self._results[self._first])}")

    def _summary(self, phases: list[str]) -> Exploration[R]:
        found = self.found
        found.replays = self._checks.replays
        found.phases = phases
        found.results = [(self._results[known], times) for known, times in self._counts.items()]
        return found

    def _shortest(self, fault: Fault, schedule: Schedule, played: Play) -> ExplorationError:
        if not self._shrink:
            return self._error(fault, schedule, played)
        shown: dict[Schedule, tuple[Fault, Play]] = {schedule: (fault, played)}

        def shows(candidate: Schedule) -> bool:
            again, what = self._play(candidate)
            if again is None or again.kind != fault.kind:
                return False
            shown[candidate] = again, what
            return True

        best = shrunk(schedule, shows)
        fault, played = shown[best]
        return self._error(fault, best, played)

    def _error(self, fault: Fault, schedule: Schedule, played: Play) -> ExplorationError:
        again = self._line.format(f"schedule={str(schedule)!r}")
        where = f", {fault.where}" if fault.where else ""
        lines = [
            f"{self._subject.bound.handler.path} does not bear this{where}: {fault}",
            f"Play it again: {again}",
            "What happens:",
            *_shortened(played.world.log),
        ]
        return ExplorationError("\n".join(lines), schedule=str(schedule), kind=fault.kind, journal=played.world.log)


def _shortened(log: list[str]) -> list[str]:
    if len(log) <= _MOST_LINES:
        return log
    half = _MOST_LINES // 2
    return [*log[:half], f"      ... {len(log) - 2 * half} more lines ...", *log[-half:]]


def _outside_of_loops() -> None:
    running = trio.lowlevel.in_trio_run()
    try:
        asyncio.get_running_loop()
        running = True
    except RuntimeError:
        pass
    if running:
        raise UsageError(
            "explore starts event loops of its own, one for each attempt, and one is running here: call it from a "
            "plain function (`def test_...`), not from a coroutine"
        )


def _call_of(handler: Handler[Any], arg: Any, others: list[str]) -> str:
    parts = [handler.fn.__name__]
    if arg is not None:
        told = repr(arg)
        parts.append(told if len(told) <= _LONGEST_REPR else "...")
    parts += [f"{name}=..." for name in others]
    text = ", ".join(parts).replace("{", "{{").replace("}", "}}")
    return f"explore({text}, {{}})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
