"""The power fails at every commit of a generated program: nothing acknowledged is lost, nothing is done twice.

A program is a tree of operations that handlers interpret: steps, sleeps, state, calls and sends to objects, things done
at the same time, failures. It runs once undisturbed. Then it runs once for each of its commits: the power fails behind
that commit, the engine is opened again on what was on the disk, and the program goes on. Results and the state of every
object must be the same as without a crash, and every step was executed at least once.

`PERDURE_CRASH_PROGRAMS` says how many programs are tried on each loop.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import perdure
from perdure import Context, EngineFailed, ObjectContext, RetryPolicy, Service, StateKey, TerminalError, VirtualObject
from perdure.engine.invariants import broken
from perdure.engine.rows import Status
from perdure.testing import VirtualClock
from tests.engine.engines import core_of, table_engine
from tests.engine.tables import Tables, TableStore

pytestmark = pytest.mark.anyio

PROGRAMS = int(os.environ.get("PERDURE_CRASH_PROGRAMS", "6"))
KEYS = ["a", "b"]
total = StateKey("total", int, default=0)

Program = list[Any]

program_service = Service("Program")
cell = VirtualObject("Cell")

executed: Counter[str] = Counter()
"""How often each step ran, in all lives of the engine that is looked at."""

failed_once: set[str] = set()
"""Which places have failed their attempt already."""


async def step(name: str) -> str:
    executed[name] += 1
    return name


async def slow_step(name: str) -> str:
    await anyio.lowlevel.checkpoint()
    return await step(name)


async def interpret(ctx: Context, program: Program, place: str) -> list[Any]:
    """Run a program; the results of its operations, in their order."""
    results: list[Any] = []
    for index, operation in enumerate(program):
        here = f"{place}.{index}"
        match operation:
            case ["run", slow]:
                results.append(await ctx.run(slow_step if slow else step, here))
            case ["sleep", seconds]:
                await ctx.sleep(seconds)
            case ["call", key, inner]:
                results.append(await ctx.call(work, [inner, here], key=key))
            case ["send", key, delay, inner]:
                ctx.send(work, [inner, here], key=key, delay=delay)
            case ["both", first, second]:
                results.append(
                    await ctx.gather(ctx.run(slow_step, f"{here}.l{first}"), ctx.run(step, f"{here}.r{second}"))
                )
            case ["calls", inner]:
                calls = [ctx.call(work, [inner, f"{here}.{key}"], key=key) for key in KEYS]
                results.append(await ctx.gather(*calls))
            case ["approve", value]:
                approval = ctx.awakeable(int)
                await ctx.call(approve, [approval.id, value])
                results.append(await approval)
            case ["terminal"]:
                results.append(await refused(ctx, here))
            case ["flaky"]:
                if here not in failed_once:
                    failed_once.add(here)
                    raise ValueError(f"{here} fails once")
            case _:
                raise AssertionError(f"what is {operation!r}?")
    return results


async def refused(ctx: Context, here: str) -> str:
    """Call somebody who refuses."""
    try:
        await ctx.call(refuse, here)
    except TerminalError as error:
        return error.message
    raise AssertionError("it was to fail")


quick = RetryPolicy(initial_interval=0.1, factor=1)


@program_service.handler(retry=quick)
async def main(ctx: Context, program: Program) -> list[Any]:
    return await interpret(ctx, program, "main")


@program_service.handler(retry=quick)
async def refuse(ctx: Context, name: str) -> None:
    await ctx.run(step, f"{name} refused")
    raise TerminalError(f"{name} refused")


@program_service.handler(retry=quick)
async def approve(ctx: Context, args: list[Any]) -> None:
    ctx.resolve_awakeable(args[0], args[1])


@cell.handler(retry=quick)
async def work(ctx: ObjectContext, args: list[Any]) -> list[Any]:
    program, place = args
    ctx.set(total, await ctx.get(total) + 1)
    results = await interpret(ctx, program, place)
    ctx.set(total, await ctx.get(total) + 100)
    return results


leaf = st.one_of(
    st.builds(lambda slow: ["run", slow], st.booleans()),
    st.builds(lambda seconds: ["sleep", seconds], st.sampled_from([0, 1, 90])),
    st.just(["both", 1, 2]),
    st.just(["flaky"]),
)
outer = st.one_of(
    leaf,
    st.builds(lambda key, inner: ["call", key, inner], st.sampled_from(KEYS), st.lists(leaf, max_size=2)),
    st.builds(
        lambda key, delay, inner: ["send", key, delay, inner],
        st.sampled_from(KEYS),
        st.sampled_from([0, 5, 300]),
        st.lists(leaf, max_size=2),
    ),
    st.builds(lambda inner: ["calls", inner], st.lists(leaf, max_size=1)),
    st.builds(lambda value: ["approve", value], st.integers(0, 9)),
    st.just(["terminal"]),
)


class World:
    """What outlives the engine: the disk, the clock, and what the steps did."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.clock = VirtualClock()
        self.wrong: list[str] = []
        self.checks = 0
        executed.clear()
        failed_once.clear()

    async def run(self, program: Program, *, cut_after: int | None = None) -> tuple[list[Any] | None, int]:
        """Run the program on one opening of the engine; the result unless the power failed, and the commits."""
        stores: list[TableStore] = []

        def cut() -> None:
            stores[0].fail("the power failed")

        engine, stores = table_engine(
            self.tables, perdure.Endpoint(program_service, cell), clock=self.clock, cut_after=cut_after, on_cut=cut
        )
        try:
            async with engine:
                stores[0].after = lambda: self.check(engine, stores[0])
                result = await engine.call(main, program, idempotency_key="main")
                await self.clock.advance(1000)  # what was sent has arrived, whatever was delayed
        except EngineFailed:
            assert cut_after is not None
            return None, len(stores[0].batches)
        return result, len(stores[0].batches)

    def check(self, engine: perdure.Engine, store: TableStore) -> None:
        """The invariants, where memory and disk agree."""
        core = core_of(engine)
        if core.pump.idle:
            numbers, timers = sorted(self.tables.invocations), sorted(self.tables.timers)
            self.wrong += broken(core.view, store.reader, numbers, timers)
            self.checks += 1

    def seen(self) -> dict[str, Any]:
        """What there is to be compared."""
        assert self.checks
        assert self.wrong == []
        left = [row.service for row in self.tables.invocations.values() if row.status is not Status.COMPLETED]
        timers = [timer for timer in self.tables.timers if timer.completion >= 0]
        assert (left, timers, self.tables.locks) == ([], [], {})
        assert not any(self.tables.queues.values())
        return {
            "state": {key: self.tables.state_of(*key) for key in sorted(self.tables.state)},
            "steps": set(executed),
            "invocations": Counter(row.handler for row in self.tables.invocations.values()),
        }


@settings(max_examples=PROGRAMS, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(outer, min_size=1, max_size=4))
async def test_a_program_ends_as_if_the_power_had_not_failed(program: Program) -> None:
    undisturbed = World()
    expected, commits = await undisturbed.run(program)
    wanted = undisturbed.seen()
    for cut_after in range(commits):
        world = World()
        result, _ = await world.run(program, cut_after=cut_after)
        if result is None:
            result, _ = await world.run(program)
        assert result == expected, f"after commit {cut_after}"
        assert world.seen() == wanted, f"after commit {cut_after}"


@settings(max_examples=PROGRAMS, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(outer, min_size=1, max_size=3), st.lists(st.integers(0, 6), min_size=2, max_size=5))
async def test_a_program_ends_however_often_the_power_fails(program: Program, lives: list[int]) -> None:
    undisturbed = World()
    expected, _ = await undisturbed.run(program)
    wanted = undisturbed.seen()
    world = World()
    result: list[Any] | None = None
    for commits in lives:
        result, _ = await world.run(program, cut_after=commits)
        if result is not None:
            break
    if result is None:
        result, _ = await world.run(program)
    assert result == expected
    assert world.seen() == wanted


async def test_a_program_that_was_stopped_is_not_taken_for_one_that_ended() -> None:
    world = World()
    await world.run([["call", "a", [["run", True]]]], cut_after=3)
    with pytest.raises(AssertionError):
        world.seen()
