"""Replay of any prefix of a journal does what the first run did: generated programs, crashes, both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anyio
import msgspec
import trio
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from perdure import Context, Service
from perdure.durable.driver import Driver, End
from perdure.handlers.attempt import run_attempt
from perdure.handlers.environment import Environment
from perdure.handlers.registry import Registry
from perdure.machine.invocation import Invocation
from perdure.wire.messages import Command, EndMessage, ErrorMessage, Message, SleepCommand, SuspensionMessage
from perdure.wire.versions import ProtocolVersion
from tests.durable.programs import Block, Interpreter, blocks
from tests.durable.worlds import NOW, World

BACKENDS = ["asyncio", "trio"]
# Versions that one journal may see: version 5 cannot store the metadata of a failure, so it does not mix.
VERSIONS = [[ProtocolVersion.V5], [ProtocolVersion.V6, ProtocolVersion.V7]]
MOST_ATTEMPTS = 300


class ShuffledLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that runs what is ready in any order."""

    random = Random(0)

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]  # how else
        batch = list(ready)
        ready.clear()
        self.random.shuffle(batch)
        ready.extend(batch)
        super()._run_once()  # type: ignore[misc]  # as above


class StandingClock:
    """Time goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await anyio.lowlevel.checkpoint()


def on_loop(backend: str, random: Random, fn: Callable[[], Awaitable[Any]]) -> Any:
    """Run on a fresh event loop that takes no order for granted."""
    if backend == "trio":
        trio._core._run._r.seed(random.getrandbits(32))  # the source of its shuffling
        return anyio.run(fn, backend="trio")
    ShuffledLoop.random = Random(random.getrandbits(32))
    return anyio.run(fn, backend="asyncio", backend_options={"loop_factory": ShuffledLoop})


class Case:
    """One program, run attempt by attempt."""

    def __init__(self, program: Block, random: Random) -> None:
        self.program = program
        self.random = random
        self.tries: dict[str, int] = {}
        self.service = Service("Generated")
        self.handler = self.service.handler(name="run")(self._handle)
        self.registry = Registry([self.service])

    async def _handle(self, ctx: Context) -> list[str]:
        return await self.interpreter.run(ctx)  # type: ignore[arg-type]  # it is the real one

    def attempt(
        self, world: World, *, backend: str, version: ProtocolVersion, lazy: bool = False, closed: bool = False
    ) -> tuple[End, list[Any]]:
        """One attempt: how it ended, and what the program saw."""
        world.begin(lazy=lazy, closed=closed)
        interpreter = self.interpreter = Interpreter(self.program, self.random, world.may_execute, self.tries)

        async def main() -> End:
            environment = Environment(self.registry, clock=StandingClock())
            driver = Driver(Invocation(version), world, messages=True, clock=environment.clock, on_idle=world.idle)
            with anyio.fail_after(20):
                return await run_attempt(self.registry.bound(self.handler), driver, environment)

        return on_loop(backend, self.random, main), interpreter.trace


def commands(journal: list[Message]) -> list[Command]:
    """The commands of a journal, without what depends on the time of day."""
    return [timeless(entry) for entry in journal if isinstance(entry, Command)]


def timeless(command: Command) -> Command:
    return msgspec.structs.replace(command, wake_up_time=0) if isinstance(command, SleepCommand) else command


def begins_like(trace: list[Any], other: list[Any]) -> bool:
    return trace == other[: len(trace)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Block, Random, int | None, bool]:
    program = draw(blocks())
    cancel_at = draw(st.none() | st.integers(1, 25))
    return program, Random(draw(st.integers(0, 2**32 - 1))), cancel_at, draw(st.booleans())


@given(cases())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_program_replays_at_every_prefix_of_its_journal(
    drawn: tuple[Block, Random, int | None, bool],
) -> None:
    program, random, cancel_at, twice = drawn
    check(Case(program, random), random, cancel_at=cancel_at, twice=twice)


def check(case: Case, random: Random, *, cancel_at: int | None, twice: bool) -> World:
    """Run to the end, with crashes; then replay the whole journal, and every prefix of it."""
    world = World(random, cancel_at=cancel_at, twice=twice)
    lazy = random.random() < 0.3
    versions = random.choice(VERSIONS)
    trace = run_to_the_end(case, world, random, lazy=lazy, versions=versions)
    note("\n".join(map(repr, world.journal)))
    check_whole_replays(case, world, trace, versions)
    check_prefixes(case, world, trace, lazy=lazy, version=versions[0])
    return world


def run_to_the_end(
    case: Case, world: World, random: Random, *, lazy: bool, versions: list[ProtocolVersion]
) -> list[Any]:
    before: list[Any] = []
    stored = 0
    for _ in range(MOST_ATTEMPTS):
        backend, version = random.choice(BACKENDS), random.choice(versions)
        closed = random.random() < 0.3
        at_start = list(world.journal)
        end, trace = case.attempt(world, backend=backend, version=version, lazy=lazy, closed=closed)
        assert len(before) <= stored or begins_like(before, trace) or begins_like(trace, before)
        assert world.journal[: len(at_start)] == at_start
        if end is End.ENDED:
            return trace
        if end is End.FAILED:
            assert world.errors[-1].message.startswith("n"), world.errors[-1].message  # a step that restarts
            assert isinstance(world.sent[-1], ErrorMessage)
        elif end is End.SUSPENDED:
            assert isinstance(world.sent[-1], SuspensionMessage)
        else:
            assert end is End.DISCONNECTED
        assert world.after(), "the handler waits for what nobody will send"
        before, stored = trace, len(world.journal)
    raise AssertionError("too many attempts")


def check_whole_replays(case: Case, world: World, trace: list[Any], versions: list[ProtocolVersion]) -> None:
    for backend in BACKENDS:
        for version in versions:
            again = World(Random(1), calm=True, journal=world.journal)
            tries = dict(case.tries)
            end, seen = case.attempt(again, backend=backend, version=version, closed=backend == "trio")
            assert (end, seen, again.sent) == (End.ENDED, trace, [EndMessage()])
            assert case.tries == tries, "a closure ran in a replay of the whole journal"


def check_prefixes(case: Case, world: World, trace: list[Any], *, lazy: bool, version: ProtocolVersion) -> None:
    whole = commands(world.journal)
    for length in range(1, len(world.journal)):
        prefix = world.journal[:length]
        again = World(Random(length), calm=True, journal=prefix)
        case.tries = {}
        backend = BACKENDS[length % 2]
        end, seen = case.attempt(again, backend=backend, version=version, lazy=lazy, closed=True)
        assert end is not End.FAILED or again.errors[-1].message.startswith("n"), again.errors
        new = commands(again.sent)
        known = len(commands(prefix))
        assert new == whole[known : known + len(new)]
        assert begins_like(seen, trace)
