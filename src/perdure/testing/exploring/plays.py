"""Playing a schedule to the end of the invocation, and checking that every prefix of its journal replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from perdure.durable.driver import Driver, End
from perdure.exceptions import JournalMismatchError
from perdure.machine.journal import RecordedCommands
from perdure.testing.exploring.attempts import Subject, attempt, replays
from perdure.testing.exploring.loops import BACKENDS, Backend
from perdure.testing.exploring.schedule import ALL, Schedule, Word
from perdure.testing.exploring.world import Fault, World, named
from perdure.testing.runtime import AttemptOver
from perdure.wire.messages import Command, EndMessage, Failure, Message, Value

Words: TypeAlias = tuple[Word, ...]

__all__ = ["Checks", "Play", "play"]

MOST_ATTEMPTS: Final = 2_000
MOST_FAILURES: Final = 20
"""Attempts in a row that may fail without a new journal entry."""


@dataclass
class Play:
    """What came of a schedule.

    Attributes:
        world: with the journal.
        attempts: how many it took.
        trace: what the last attempt saw.
        fault: what went wrong.
    """

    world: World
    attempts: int = 0
    trace: Sequence[Any] = ()
    fault: Fault | None = None

    @property
    def journal(self) -> list[Message]:
        """Every entry, in order."""
        return self.world.journal

    @property
    def output(self) -> Value | Failure | None:
        """How the invocation ended."""
        return self.world.output


def play(subject: Subject, schedule: Schedule) -> Play:
    """Run an invocation to its end; a fault is told in the result."""
    played = Play(subject.world(schedule))
    try:
        _to_the_end(subject, played)
    except Fault as fault:
        played.fault = fault
    return played


def _to_the_end(subject: Subject, played: Play) -> None:
    world = played.world
    retries = failures = 0
    before: Sequence[Any] = ()
    for number in range(MOST_ATTEMPTS):
        at_start = len(world.journal)
        end, driver = attempt(subject, world, number, retry_count=retries)
        played.attempts = number + 1
        trace = list(subject.trace())
        _compare(before, trace)
        before = max(before, trace, key=len)
        if end is End.ENDED and world.over is AttemptOver.ENDED:
            played.trace = trace
            return
        if world.over is AttemptOver.FAILED:
            failures = 1 if len(world.journal) > at_start else failures + 1
            retries = failures
            _fail(world, driver, failures)
        else:
            retries = failures = 0
        if world.over is AttemptOver.SUSPENDED:
            world.done["suspensions"] += 1
        if not world.resume():
            raise Fault("waits for ever", f"the handler waits for what nobody gave it ({world.awaited()})")
        if world.faults:
            raise world.faults[0]
    raise Fault("goes round in circles", f"it did not end within {MOST_ATTEMPTS:,} attempts")


def _fail(world: World, driver: Driver, failures: int) -> None:
    """An attempt failed, and is tried again."""
    world.done["failures"] += 1
    if failures > MOST_FAILURES:
        error = driver.failure
        raise Fault("fails every time", f"{type(error).__name__}: {error}") from error
    world.now += (world.errors[-1].next_retry_delay or 0) / 1000


def _compare(earlier: Sequence[Any], later: Sequence[Any]) -> None:
    """What two attempts saw: as far as both went, the same."""
    for number, (one, other) in enumerate(zip(earlier, later, strict=False)):
        if one != other:
            raise Fault("sees something else", f"number {number} was {one!r} in one attempt and {other!r} in another")


class Checks:
    """Replays of journals, whole and in part. What was replayed once is not replayed again.

    Attributes:
        replays: how many there were.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._known: dict[int, tuple[list[Command], Sequence[Any]]] = {}
        self._stable = subject.bound.output.stable
        self.replays: int = 0

    def check(self, played: Play) -> None:
        """Replay a journal and each of its prefixes.

        Raises:
            Fault: one of them does something else.
        """
        protocol = self._protocol(played)
        self._whole(played, protocol)
        journal = played.journal
        key = hash(protocol) if self._stable else self.replays  # unstable bytes: no two journals are alike
        keys: list[int] = []
        for entry in journal:
            key = hash((key, entry))
            keys.append(key)
        for remainder, backend in enumerate(BACKENDS):
            lengths = range(2 if remainder == 0 else 1, len(journal), 2)
            self._replay(
                journal, [length for length in lengths if keys[length - 1] not in self._known], keys, backend, protocol
            )
        for length in range(1, len(journal)):
            with _telling(f"in a replay of the first {length} entries of the journal"):
                self._compare(played, length, *self._known[keys[length - 1]])

    @staticmethod
    def _protocol(played: Play) -> Words:
        version = played.world.schedule.get("protocol", ALL)
        return () if version is None else (Word("protocol", ALL, version),)

    def _whole(self, played: Play, protocol: Words) -> None:
        subject = self._subject
        for words in (
            (Word("asyncio", 0, 0),),
            (Word("trio", 0, 0), Word("closed", 0, 0)),
            (Word("asyncio", 0, 0), Word("noise", 0, 1 + len(played.journal))),
            (Word("trio", 0, 0), Word("noise", 0, 1 + len(played.journal))),
        ):
            schedule = Schedule([*protocol, *words])
            world = subject.world(schedule, played.journal)
            self.replays += 1
            with _telling(f"in a replay of the whole journal ({schedule})"):
                end, _ = attempt(subject, world, 0)
                if end is not End.ENDED or [type(each) for each in world.sent] != [EndMessage]:
                    sent = ", ".join(map(named, world.sent)) or "nothing"
                    raise Fault("a replay does something else", f"it sent {sent}, and ended as {end}")
                if world.executed:
                    raise Fault("a step runs again", "a step is executed in a replay of the whole journal")
                trace = list(subject.trace())
                if len(trace) != len(played.trace):
                    raise Fault("sees something else", f"{len(trace)} things instead of {len(played.trace)}")
                _compare(played.trace, trace)

    def _replay(
        self, journal: Sequence[Message], lengths: Sequence[int], keys: Sequence[int], backend: Backend, protocol: Words
    ) -> None:
        """Replay prefixes that are not known yet, and remember what came of them."""
        if not lengths:
            return
        schedule = Schedule([*protocol, Word(backend, 0, 0), Word("closed", 0, 0)])
        worlds = [self._subject.world(schedule, journal[:length]) for length in lengths]
        self.replays += len(worlds)
        for length, world, trace in zip(lengths, worlds, replays(self._subject, worlds, backend), strict=False):
            if isinstance(trace, Fault):
                trace.where = f"in a replay of the first {length} entries of the journal ({backend})"
                raise trace
            new = [each for each in world.sent if isinstance(each, Command)]
            self._known[keys[length - 1]] = new, trace

    def _compare(self, played: Play, length: int, new: Sequence[Command], trace: Sequence[Any]) -> None:
        """Compare what a prefix led to with what came next."""
        journal = played.journal
        recorded = RecordedCommands()
        for entry in journal[length:]:
            if isinstance(entry, Command):
                recorded.append(entry)
        recorded.index = sum(isinstance(entry, Command) for entry in journal[:length]) - 1
        for command in new:
            if not recorded:
                raise Fault("a replay does something else", f"it goes on with {named(command)}")
            try:
                recorded.repeat(command, stable=self._stable)
            except JournalMismatchError as error:
                raise Fault("a replay does something else", str(error)) from None
        _compare(trace, played.trace)


class _telling:  # noqa: N801 - a context manager
    """Says where a fault was found."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, fault: BaseException | None, traceback: object) -> None:
        if isinstance(fault, Fault):
            fault.where = self._where
