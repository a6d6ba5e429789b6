"""Opening, closing, failing: the block owns everything."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import perdure
from perdure import (
    Context,
    EngineClosed,
    EngineFailed,
    IngressError,
    ObjectContext,
    Service,
    SharedObjectContext,
    StateKey,
    UsageError,
    VirtualObject,
)
from perdure.testing import VirtualClock
from perdure.wire.messages import GetLazyStateCommand
from tests.engine.engines import core_of, engine_on, table_engine
from tests.engine.tables import Tables, TableStore

pytestmark = pytest.mark.anyio

DAY = 86_400.0
shop = Service("Shop")
counter = VirtualObject("Counter")
count = StateKey("count", int, default=0)


@shop.handler
async def nap(ctx: Context, days: int) -> str:
    await ctx.sleep(days * DAY)
    return "slept"


@shop.handler
async def echo(ctx: Context, text: str) -> str:
    return text


@counter.handler
async def add(ctx: ObjectContext, value: int) -> int:
    total = await ctx.get(count) + value
    ctx.set(count, total)
    return total


# --- the file --------------------------------------------------------------------------------------------------------


async def test_what_sleeps_goes_on_when_the_file_is_opened_again(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine_on("file", tmp_path, shop, counter, clock=clock) as engine:
        with clock.hold():
            sent = await engine.send(nap, 3)
            await engine.call(add, 4, key="a")
    async with engine_on("file", tmp_path, shop, counter, clock=clock) as engine:
        assert await engine.attach(sent.invocation_id, str) == "slept"
        assert await engine.call(add, 1, key="a") == 5


async def test_a_handler_in_the_middle_goes_on_behind_its_last_step(tmp_path: Path) -> None:
    steps: list[str] = []
    reached = anyio.Event()
    long = Service("Long")

    async def step(name: str) -> str:
        steps.append(name)
        return name

    async def stuck() -> str:
        steps.append("stuck")
        if steps.count("stuck") == 1:
            reached.set()
            await anyio.sleep_forever()
        return "free"

    @long.handler
    async def work(ctx: Context) -> list[str]:
        return [await ctx.run(step, "one"), await ctx.run(stuck), await ctx.run(step, "two")]

    async with engine_on("file", tmp_path, long, grace=0) as engine:
        sent = await engine.send(work)
        await reached.wait()
    async with engine_on("file", tmp_path, long) as engine:
        assert await engine.attach(sent.invocation_id) == ["one", "free", "two"]
    assert steps == ["one", "stuck", "stuck", "two"]


async def test_a_second_engine_on_one_file_is_refused(tmp_path: Path) -> None:
    async with engine_on("file", tmp_path, shop) as engine:
        with pytest.raises(perdure.EngineError, match="open"):
            async with engine_on("file", tmp_path, shop):
                pytest.fail("it opened")
        assert await engine.call(echo, "still here") == "still here"


async def test_a_file_that_cannot_be_made_is_one_plain_error(tmp_path: Path) -> None:
    with pytest.raises(perdure.EngineError):
        async with perdure.open_engine(tmp_path / "nowhere" / "shop.db", perdure.Endpoint(shop)):
            pytest.fail("it opened")


async def test_on_a_file_and_real_time_the_disk_is_written_from_a_thread(tmp_path: Path) -> None:
    async with perdure.open_engine(tmp_path / "shop.db", perdure.Endpoint(shop, counter)) as engine:
        results = [await engine.call(add, 1, key="a") for _ in range(5)]
    assert results == [1, 2, 3, 4, 5]


async def test_nothing_of_memory_is_left(tmp_path: Path) -> None:
    async with engine_on("memory", tmp_path, counter) as engine:
        assert await engine.call(add, 1, key="a") == 1
    async with engine_on("memory", tmp_path, counter) as engine:
        assert await engine.call(add, 1, key="a") == 1


# --- the block -------------------------------------------------------------------------------------------------------


async def test_an_error_of_the_block_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with engine_on("memory", tmp_path, shop):
            raise LookupError("mine")


async def test_a_block_that_is_cancelled_closes_its_engine_in_order() -> None:
    tables = Tables()
    clock = VirtualClock()
    engine, stores = table_engine(tables, perdure.Endpoint(shop), clock=clock)
    with anyio.CancelScope() as scope, clock.hold():
        async with engine:
            await engine.send(nap, 3)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not tables.open
    assert stores[0].batches
    assert [row.status.name for row in tables.invocations.values()] == ["SUSPENDED"]


async def test_an_engine_is_entered_once(tmp_path: Path) -> None:
    engine = engine_on("memory", tmp_path, shop)
    async with engine:
        pass
    with pytest.raises(UsageError, match="once"):
        await engine.__aenter__()


async def test_an_engine_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not open"):
        await engine_on("memory", tmp_path, shop).call(echo, "x")


async def test_a_closed_engine_takes_nothing(tmp_path: Path) -> None:
    async with engine_on("memory", tmp_path, shop) as engine:
        pass
    with pytest.raises(EngineClosed):
        await engine.call(echo, "x")


async def test_a_caller_who_is_left_waiting_is_told(tmp_path: Path) -> None:
    clock = VirtualClock()
    caught: list[BaseException] = []
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            try:
                await engine.call(nap, 3)
            except EngineClosed as error:
                caught.append(error)

        async with engine_on("memory", tmp_path, shop, clock=clock) as engine:
            with clock.hold():
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                core_of(engine).closing = True
    assert len(caught) == 1


@pytest.mark.parametrize("turns", range(12))
async def test_closing_survives_being_cancelled_at_any_moment(turns: int) -> None:
    tables = Tables()
    clock = VirtualClock()
    engine, _ = table_engine(tables, perdure.Endpoint(shop, counter), clock=clock)
    with anyio.CancelScope() as scope:

        async def cancel_later() -> None:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        with clock.hold():
            async with anyio.create_task_group() as tasks, engine:
                await engine.send(nap, 3, idempotency_key="nap")
                await engine.call(add, 1, key="a")
                tasks.start_soon(cancel_later)
    assert not tables.open
    engine, _ = table_engine(tables, perdure.Endpoint(shop, counter), clock=clock)
    async with engine:
        assert await engine.invocation(nap, idempotency_key="nap").attach() == "slept"
        assert await engine.call(add, 1, key="a") == 2


async def test_what_does_not_suspend_is_broken_off_after_the_grace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Service("Slow")
    reached = anyio.Event()
    unwound: list[str] = []

    async def stuck() -> None:
        reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            unwound.append("step")

    @slow.handler
    async def work(ctx: Context) -> None:
        await ctx.run(stuck)

    with caplog.at_level(logging.WARNING, "perdure.engine"):
        async with engine_on("memory", tmp_path, slow, grace=0.01) as engine:
            await engine.send(work)
            await reached.wait()
    assert unwound == ["step"]
    assert "Slow/work" in caplog.text


async def test_code_in_a_thread_is_waited_for(tmp_path: Path) -> None:
    slow = Service("Slow")
    entered, left = threading.Event(), threading.Event()
    ended: list[bool] = []

    def stuck() -> None:
        entered.set()
        left.wait()
        ended.append(True)

    @slow.handler
    async def work(ctx: Context) -> None:
        await ctx.run(stuck)

    async with engine_on("memory", tmp_path, slow, grace=0.01) as engine:
        await engine.send(work)
        await anyio.to_thread.run_sync(entered.wait)
        threading.Timer(0.05, left.set).start()
    assert ended == [True]


async def test_it_works_without_anyio_s_own_way_to_start_a_loop() -> None:
    async def program() -> str:
        async with perdure.open_engine(":memory:", perdure.Endpoint(shop), clock=VirtualClock()) as engine:
            return await engine.call(echo, "plain asyncio")

    assert await anyio.to_thread.run_sync(lambda: asyncio.run(program())) == "plain asyncio"


# --- failing ---------------------------------------------------------------------------------------------------------


async def test_a_broken_disk_fails_the_engine_and_tells_everybody() -> None:
    engine, stores = table_engine(Tables(), perdure.Endpoint(shop), clock=VirtualClock())
    with pytest.raises(EngineFailed, match="broke"):  # noqa: PT012 - the block itself raises
        async with engine:
            stores[0].held = True
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: engine.call(echo, "x"))
                await anyio.wait_all_tasks_blocked()
                stores[0].fail("the disk broke")
                await anyio.sleep_forever()


async def test_a_caller_hears_why_the_engine_failed() -> None:
    engine, stores = table_engine(Tables(), perdure.Endpoint(shop), clock=VirtualClock())
    heard: list[str] = []

    async def call() -> None:
        try:
            await engine.call(echo, "x")
        except EngineFailed as error:
            heard.append(str(error))

    async with anyio.create_task_group() as tasks:
        with pytest.raises(EngineFailed):  # noqa: PT012 - the block itself raises
            async with engine:
                stores[0].held = True
                tasks.start_soon(call)
                await anyio.wait_all_tasks_blocked()
                stores[0].fail("the disk broke")
                await anyio.sleep_forever()
    assert heard == ["the disk broke"]


async def test_a_change_that_cannot_be_applied_fails_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = table_engine(Tables(), perdure.Endpoint(shop), clock=VirtualClock())

    def broken(*_: object) -> None:
        raise RuntimeError("memory contradicts itself")

    with pytest.raises(EngineFailed, match="contradicts itself"):  # noqa: PT012 - the block itself raises
        async with engine:
            monkeypatch.setattr(core_of(engine).pump, "_apply", broken)
            await engine.call(echo, "x")


async def test_what_cannot_be_released_fails_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = table_engine(Tables(), perdure.Endpoint(shop), clock=VirtualClock())

    def broken(*_: object) -> None:
        raise RuntimeError("the journal cannot be read")

    with pytest.raises(EngineFailed, match="cannot be read"):  # noqa: PT012 - the block itself raises
        async with engine:
            monkeypatch.setattr(core_of(engine).pump, "_release", broken)
            await engine.call(echo, "x")


async def test_what_is_due_and_cannot_be_looked_up_fails_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = table_engine(Tables(), perdure.Endpoint(shop), clock=VirtualClock())

    def broken(*_: object) -> None:
        raise RuntimeError("the timers cannot be read")

    with pytest.raises(EngineFailed, match="timers cannot be read"):  # noqa: PT012 - the block itself raises
        async with engine:
            monkeypatch.setattr(core_of(engine), "_fire", broken)
            await engine.call(nap, 1)


async def test_too_many_that_wait_for_a_place_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.core.MOST_WAITING", 2)
    slow = Service("Slow")
    go = anyio.Event()

    @slow.handler
    async def work(ctx: Context) -> None:
        await ctx.run(go.wait)

    async with engine_on("memory", tmp_path, slow, limit=1) as engine:
        sent = [await engine.send(work) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(IngressError, match="wait for a place") as refused:
            await engine.send(work)
        assert refused.value.status == 503
        go.set()
        for each in sent:
            await each.attach()
        await engine.call(work)


async def test_a_failed_engine_stops_its_handlers() -> None:
    slow = Service("Slow")
    reached = anyio.Event()
    unwound: list[str] = []

    async def stuck() -> None:
        reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            unwound.append("step")

    @slow.handler
    async def work(ctx: Context) -> None:
        await ctx.run(stuck)

    engine, stores = table_engine(Tables(), perdure.Endpoint(slow), clock=VirtualClock())
    with pytest.raises(EngineFailed):  # noqa: PT012 - the block itself raises
        async with engine:
            await engine.send(work)
            await reached.wait()
            stores[0].fail("the disk broke")
            await anyio.sleep_forever()
    assert unwound == ["step"]


async def test_while_the_disk_is_full_nothing_new_is_taken_and_nothing_is_lost() -> None:
    tables = Tables()
    engine, stores = table_engine(tables, perdure.Endpoint(shop), clock=VirtualClock())
    results: list[str] = []

    async def call() -> None:
        results.append(await engine.call(echo, "before"))

    async with engine:
        store: TableStore = stores[0]
        store.held = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            store.fill("the disk is full")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(IngressError, match="the disk is full") as refused:
                await engine.call(echo, "new")
            assert refused.value.status == 503
            assert results == []
            store.let_go()
        assert results == ["before"]
        assert await engine.call(echo, "after") == "after"


# --- what is told when -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def held_back(tables: Tables, *services: Any) -> AsyncIterator[tuple[perdure.Engine, TableStore]]:
    """An open engine whose commits wait."""
    engine, stores = table_engine(tables, perdure.Endpoint(*services), clock=VirtualClock())
    async with engine:
        stores[0].held = True
        try:
            yield engine, stores[0]
        finally:
            stores[0].let_go()


async def test_nobody_hears_of_what_is_not_committed() -> None:
    heard: list[str] = []
    before: list[str] = ["nobody has looked"]

    async with held_back(Tables(), shop) as (engine, store), anyio.create_task_group() as tasks:

        async def send() -> None:
            sent = await engine.send(echo, "x", idempotency_key="k")
            heard.append(sent.status)

        for _ in range(3):
            tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        before = list(heard)
        store.let_go()
    assert before == []
    assert sorted(heard) == ["Accepted", "PreviouslyAccepted", "PreviouslyAccepted"]


async def test_what_arrives_during_a_commit_is_committed_together() -> None:
    async with held_back(Tables(), shop) as (engine, store), anyio.create_task_group() as tasks:

        async def send(text: str) -> None:
            await engine.send(echo, text)

        before = len(store.batches)
        for number in range(50):
            tasks.start_soon(send, str(number))
        await anyio.wait_all_tasks_blocked()
        store.let_go()
        await anyio.wait_all_tasks_blocked()
        first, second = store.batches[before : before + 2]
        assert len(second) >= 49 * 2 > len(first)


async def test_virtual_time_stands_still_while_a_commit_is_in_flight() -> None:
    clock = VirtualClock()
    start = clock.now()
    engine, stores = table_engine(Tables(), perdure.Endpoint(shop), clock=clock)
    async with engine, anyio.create_task_group() as tasks:
        stores[0].held = True
        tasks.start_soon(lambda: engine.call(echo, "x"))
        tasks.start_soon(clock.sleep, 3600)
        for _ in range(50):
            clock.poke()
            await anyio.lowlevel.checkpoint()
        assert clock.now() == start
        stores[0].let_go()
    assert clock.now() == start + 3600


async def test_what_a_shared_handler_reads_is_asked_for_and_journaled() -> None:
    tables = Tables()
    cell = VirtualObject("Cell")

    @cell.handler
    async def write(ctx: ObjectContext) -> None:
        ctx.set(count, 1)

    @cell.shared
    async def read(ctx: SharedObjectContext) -> int:
        return await ctx.get(count)

    engine, _ = table_engine(tables, perdure.Endpoint(cell), clock=VirtualClock())
    async with engine:
        await engine.call(write, key="a")
        assert await engine.call(read, key="a") == 1
    [number] = [number for number, row in tables.invocations.items() if row.handler == "read"]
    assert any(isinstance(entry, GetLazyStateCommand) for entry in tables.entries(number, 0, 10))
