"""An attempt that is over changes nothing, whatever still runs of it; and how much a step costs."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

import perdure
from perdure import Context, ObjectContext, RetryPolicy, Service, StateKey, TerminalError, VirtualObject
from perdure.engine.attempts import Attempts
from perdure.engine.session import MOST_COMMANDS
from perdure.testing import VirtualClock
from tests.engine.engines import core_of, engine_on, table_engine
from tests.engine.tables import Tables

pytestmark = pytest.mark.anyio

count = StateKey("count", int, default=0)


class Thread:
    """A step in a worker thread that ends when the test says so."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.calls = 0

    def step(self) -> int:
        self.calls += 1
        self.entered.set()
        assert self.go.wait(10)
        return self.calls

    async def reached(self) -> None:
        await anyio.to_thread.run_sync(self.entered.wait)


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(5):
        await anyio.wait_all_tasks_blocked()


# --- fences ----------------------------------------------------------------------------------------------------------


async def test_the_successor_of_a_killed_holder_waits_until_its_code_has_stopped(tmp_path: Path) -> None:
    cell = VirtualObject("Cell")
    thread = Thread()
    order: list[str] = []

    @cell.handler
    async def hold(ctx: ObjectContext) -> None:
        try:
            await ctx.run(thread.step)
        finally:
            order.append("stopped")

    @cell.handler
    async def follow(ctx: ObjectContext) -> None:
        order.append("followed")

    clock = VirtualClock()
    async with engine_on("memory", tmp_path, cell, clock=clock) as engine:
        holder = await engine.send(hold, key="a")
        await thread.reached()
        following = await engine.send(follow, key="a")
        await holder.kill()
        with pytest.raises(TerminalError, match="killed"):
            await holder.attach()
        await settle()
        assert order == []
        thread.go.set()
        await following.attach()
    assert order == ["stopped", "followed"]


async def test_what_a_killed_attempt_still_does_writes_nothing() -> None:
    late = Service("Late")
    thread = Thread()
    tables = Tables()

    @late.handler
    async def work(ctx: Context) -> int:
        first = 0
        try:
            first = await ctx.run(thread.step)
        finally:
            ctx.send(work)
        return first

    engine, stores = table_engine(tables, perdure.Endpoint(late), clock=VirtualClock())
    async with engine:
        sent = await engine.send(work)
        await thread.reached()
        await sent.kill()
        await settle()
        journals = {number: list(journal) for number, journal in tables.journal.items()}
        thread.go.set()
        await settle()
        while len(core_of(engine).attempts):
            await anyio.lowlevel.checkpoint()
        assert {number: list(journal) for number, journal in tables.journal.items()} == journals
        assert stores[0].batches


async def test_a_held_back_step_of_an_attempt_that_was_broken_off_is_no_result_of_the_next() -> None:
    slow = Service("Slow", inactivity_timeout=1, abort_timeout=1, retry=RetryPolicy(initial_interval=0.1))
    thread = Thread()
    results: list[int] = []

    @slow.handler
    async def work(ctx: Context) -> int:
        value = await ctx.run(thread.step)
        results.append(value)
        return value

    clock = VirtualClock()
    engine, _ = table_engine(Tables(), perdure.Endpoint(slow), clock=clock)
    async with engine:
        sent = await engine.send(work)
        await thread.reached()
        attempts: Attempts = core_of(engine).attempts
        attempts.tick(clock.now() + 2)  # it has written nothing for a second
        attempts.tick(clock.now() + 4)  # nor when it was asked to suspend
        await settle()
        assert (thread.calls, len(attempts)) == (1, 1), "the next attempt waits for the thread"
        thread.go.set()
        assert await sent.attach() == 2
    assert results == [2]


async def test_code_that_does_not_stop_is_told_about_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    slow = Service("Slow", abort_timeout=5)
    thread = Thread()

    @slow.handler
    async def work(ctx: Context) -> None:
        await ctx.run(thread.step, name="the slow step")

    clock = VirtualClock()
    engine, _ = table_engine(Tables(), perdure.Endpoint(slow), clock=clock)
    with caplog.at_level(logging.ERROR, "perdure.engine"):
        async with engine:
            sent = await engine.send(work)
            await thread.reached()
            await sent.kill()
            for later in (6, 7, 12):
                core_of(engine).attempts.tick(clock.now() + later)
            thread.go.set()
    told = [record for record in caplog.records if "still runs" in record.message]
    assert len(told) == 2
    assert "Slow/work" in told[0].message
    assert "the slow step" in told[0].message


async def test_an_attempt_that_was_killed_while_it_waited_for_a_place_never_starts(tmp_path: Path) -> None:
    place = Service("Place")
    thread = Thread()
    started: list[str] = []

    @place.handler
    async def hold(ctx: Context) -> None:
        await ctx.run(thread.step)

    @place.handler
    async def work(ctx: Context) -> None:
        started.append("work")

    async with engine_on("memory", tmp_path, place, limit=1) as engine:
        holder = await engine.send(hold)
        await thread.reached()
        waiting = await engine.send(work)
        await waiting.kill()
        thread.go.set()
        await holder.attach()
        await settle()
    assert started == []


async def test_an_attempt_far_ahead_of_the_disk_waits_for_it() -> None:
    fast = Service("Fast")

    async def noop() -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    @fast.handler
    async def work(ctx: Context) -> int:
        first = [ctx.run(noop) for _ in range(600)]
        await first[0]
        return len(await ctx.gather(*first, *[ctx.run(noop) for _ in range(600)]))

    engine, stores = table_engine(Tables(), perdure.Endpoint(fast), clock=VirtualClock())
    async with engine:
        sent = await engine.send(work)
        stores[0].held = True
        await settle()
        live = next(iter(core_of(engine).attempts))
        overdrawn = live.session.overdrawn
        taken = live.session.uncommitted
        stores[0].let_go()
        assert await sent.attach() == 1200
    assert overdrawn
    assert taken <= MOST_COMMANDS + 1


# --- what a step costs -----------------------------------------------------------------------------------------------


async def steps(ctx: Context, times: int) -> int:
    """So many steps, one after the other."""
    done = 0
    for _ in range(times):
        done += await ctx.run(one)
    return done


async def slow_steps(ctx: Context, times: int) -> int:
    """The same with steps that wait for something."""
    done = 0
    for _ in range(times):
        done += await ctx.run(later)
    return done


async def one() -> int:
    return 1


async def later() -> int:
    await anyio.lowlevel.checkpoint()
    return 1


@pytest.mark.parametrize("fn", [steps, slow_steps])
async def test_a_sequential_step_is_one_commit(fn: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.core.LAZY", 60)  # a slow machine is not to be taken for a long step
    cost = Service("Cost")
    handler = cost.handler(fn)  # type: ignore[call-overload]  # both are handlers
    async with perdure.open_engine(tmp_path / "cost.db", perdure.Endpoint(cost)) as engine:
        await engine.call(handler, 1)
        before = core_of(engine).pump.commits
        assert await engine.call(handler, 50) == 50
        assert core_of(engine).pump.commits - before == 50 + 2  # the start and the end


async def test_a_sequential_step_takes_at_most_five_turns_of_the_loop(tmp_path: Path) -> None:
    cost = Service("Cost")
    handler = cost.handler(steps)
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    engine, _ = table_engine(Tables(), perdure.Endpoint(cost))  # commits take one turn of the loop each
    async with engine, anyio.create_task_group() as tasks:
        tasks.start_soon(turning)
        await anyio.lowlevel.checkpoint()
        before = turns
        await engine.call(handler, 100)
        assert (turns - before) / 100 <= 5
        tasks.cancel_scope.cancel()


async def test_steps_get_on_beside_a_busy_loop(tmp_path: Path) -> None:
    cost = Service("Cost")
    handler = cost.handler(steps)

    async def busy() -> None:
        while True:
            time.sleep(0.001)  # noqa: ASYNC251 - it stands for code that computes
            await anyio.lowlevel.checkpoint()

    opened = perdure.open_engine(tmp_path / "cost.db", perdure.Endpoint(cost))
    async with opened as engine, anyio.create_task_group() as tasks:
        tasks.start_soon(busy)
        with anyio.fail_after(30):
            assert await engine.call(handler, 20) == 20
        tasks.cancel_scope.cancel()


async def test_fifty_requests_at_once_are_few_commits(tmp_path: Path) -> None:
    cost = Service("Cost")
    handler = cost.handler(steps)
    async with perdure.open_engine(tmp_path / "cost.db", perdure.Endpoint(cost)) as engine:
        before = core_of(engine).pump.commits
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(lambda: engine.call(handler, 4))
        assert core_of(engine).pump.commits - before < 50 * (4 + 2) / 3


async def test_an_idle_engine_wakes_nobody(tmp_path: Path) -> None:
    cost = Service("Cost")
    handler = cost.handler(steps)
    async with perdure.open_engine(tmp_path / "cost.db", perdure.Endpoint(cost)) as engine:
        await engine.call(handler, 1)
        core = core_of(engine)
        await anyio.sleep(0.02)
        rounds = core.rounds
        await anyio.sleep(0.05)
        assert core.rounds == rounds
