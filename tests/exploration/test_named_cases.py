"""Cases that random programs rarely come to: each of them was a mismatch, a hang or a lost value in some design."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from perdure import Context, DurableFuture, ObjectContext, Service, VirtualObject
from perdure.handlers.definitions import Handler
from perdure.testing import Exploration, ExplorationError, explore

cases = Service("Cases")
objects = VirtualObject("Objects")


def explored(handler: Handler[Any], budget: int = 40, **options: Any) -> Exploration[Any]:
    return explore(handler, budget=budget, key="a", **options)


async def quick() -> str:
    return "quick"


async def slow() -> None:
    await anyio.sleep(1)


# --- the end of a block waits for the completion of a step, not for its task ------------------------------------------


@objects.handler
async def step_nobody_awaits(ctx: ObjectContext) -> None:
    async def worker() -> None:
        async with ctx.open_nursery():
            ctx.run(quick)
        ctx.set("after", 1)

    async def other() -> None:
        await ctx.sleep(1)
        ctx.set("other", 1)

    async with ctx.open_nursery() as nursery:
        nursery.start_soon(worker)
        nursery.start_soon(other)


def test_the_end_of_a_block_waits_for_the_result_of_a_step_in_the_journal() -> None:
    explored(step_nobody_awaits, same_result=True)


# --- a cancelled step that takes its time -----------------------------------------------------------------------------


async def slow_to_stop() -> None:
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)


@objects.handler
async def step_that_resists(ctx: ObjectContext) -> bool:
    async def worker() -> bool:
        with ctx.move_on_after(1) as scope:
            await ctx.run(slow_to_stop)
        ctx.set("worker", 1)
        return scope.cancelled_caught

    async def other() -> None:
        for number in range(3):
            await ctx.sleep(1)
            ctx.set("other", number)

    async with ctx.open_nursery() as nursery:
        late = nursery.start_soon(worker)
        nursery.start_soon(other)
    return await late


def test_a_cancelled_step_that_takes_its_time_ends_in_the_journal() -> None:
    found = explored(step_that_resists, cancel=False)
    assert found.results[0][0] is True


# --- a child that is started in a cancelled nursery whose other branches are shielded ---------------------------------


@objects.handler
async def child_of_a_cancelled_nursery(ctx: ObjectContext) -> str:
    seen: list[str] = []

    async def child() -> None:
        try:
            await ctx.sleep(days=1)
        finally:
            seen.append("child cancelled")

    async with ctx.open_nursery() as nursery:

        async def shielded() -> None:
            with ctx.CancelScope(shield=True):
                await ctx.sleep(1)
                nursery.start_soon(child)
                await ctx.sleep(2)
                seen.append("shielded done")

        nursery.start_soon(shielded)
        await ctx.run(quick)
        nursery.cancel_scope.cancel()
    return ", ".join(seen)


def test_a_child_started_in_a_cancelled_nursery_is_cancelled_although_all_others_are_shielded() -> None:
    found = explored(child_of_a_cancelled_nursery, cancel=False)
    assert found.results[0][0] == "child cancelled, shielded done"
    assert all(len(str(result)) == len("child cancelled, shielded done") for result, _ in found.results)


# --- the host's cancellation reaches branches that are parked, shielded or not ----------------------------------------


@objects.handler
async def parked_everywhere(ctx: ObjectContext) -> None:
    async def parked() -> None:
        try:
            await ctx.sleep(1)
        finally:
            with ctx.CancelScope(shield=True):
                await ctx.sleep(2)

    async def shielded() -> None:
        with ctx.CancelScope(shield=True), anyio.CancelScope(shield=True):
            await ctx.sleep(3)

    async with ctx.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(parked)
            nursery.start_soon(shielded)
        await ctx.run(quick)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("length", range(2, 13, 2))
def test_the_hosts_cancellation_ends_an_attempt_wherever_its_branches_wait(backend: str, length: int) -> None:
    for ticks in (1, 3):
        schedule = f"{backend}=0 noise=0:{length} stop={length}+{ticks}"
        found = explore(parked_everywhere, key="a", schedule=schedule)
        assert found.crashes <= 1


# --- a native scope around a durable await ----------------------------------------------------------------------------


@cases.handler
async def native_deadline(ctx: Context) -> None:
    with anyio.move_on_after(0.05):
        await ctx.sleep(1)


@cases.handler
async def native_group(ctx: Context) -> None:
    async def fails() -> None:
        await anyio.sleep(0.05)
        raise ValueError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fails)
        await ctx.run(slow)


@cases.handler
async def native_deadline_in_a_branch(ctx: Context) -> None:
    async def child() -> None:
        with anyio.fail_after(0.05):
            await ctx.run(slow)

    async with ctx.open_nursery() as nursery:
        nursery.start_soon(child)
        await ctx.sleep(5)


@pytest.mark.parametrize("handler", [native_deadline, native_group, native_deadline_in_a_branch])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_native_scope_around_a_durable_await_is_refused_by_name_and_line(
    handler: Handler[None], backend: str
) -> None:
    with pytest.raises(ExplorationError, match=r"test_named_cases\.py:\d+") as raised:
        explore(handler, schedule=f"{backend}=0")
    assert raised.value.kind == "UsageError"


# --- what unwinds may wait for what unwinds ---------------------------------------------------------------------------


@objects.handler
async def unwinding_that_waits(ctx: ObjectContext) -> str:
    seen: list[str] = []

    async def second() -> str:
        try:
            await ctx.sleep(days=1)
        finally:
            seen.append("second")
        return "never"

    async def first(of: Callable[[], DurableFuture[str]]) -> None:
        try:
            await ctx.sleep(days=1)
        finally:
            with ctx.CancelScope(shield=True):
                (outcome,) = await ctx.settle(of())
                seen.append(f"first after {type(outcome).__name__}")

    async with ctx.open_nursery() as nursery:
        futures: list[DurableFuture[str]] = []
        nursery.start_soon(first, lambda: futures[0])
        futures.append(nursery.start_soon(second))
        await ctx.run(quick)
        nursery.cancel_scope.cancel()
    return ", ".join(seen)


def test_a_branch_that_unwinds_may_wait_for_another_one_that_unwinds() -> None:
    found = explored(unwinding_that_waits, cancel=False)
    assert found.results[0][0] == "second, first after Failed"


# --- a value that is there beats the cancel ---------------------------------------------------------------------------


@cases.handler
async def value_and_cancel(ctx: Context) -> list[int]:
    taken: list[int] = []
    coming = ctx.awakeable(int)
    gone = ctx.awakeable(int)

    async with ctx.open_nursery() as nursery:
        with ctx.CancelScope() as scope:

            async def canceller() -> None:
                await coming
                scope.cancel()

            nursery.start_soon(canceller)
            taken.append(await coming)
            taken.append(await gone)
    return taken


def test_a_value_that_is_there_is_not_lost_to_a_cancel() -> None:
    found = explore(value_and_cancel, awakeables=[7, 8], cancel=False, budget=60)
    assert [result for result, _ in found.results if result not in ([7], [7, 8])] == []
    assert [7] in [result for result, _ in found.results]


# --- an attempt that ends while its handler needs nothing more --------------------------------------------------------


@objects.handler
async def ends_at_once(ctx: ObjectContext) -> None:
    await ctx.run(quick)
    ctx.set("done", 1)


@pytest.mark.parametrize("ticks", range(6))
def test_a_handler_that_was_never_told_that_its_attempt_is_over_swallowed_nothing(ticks: int) -> None:
    for backend in ("asyncio", "trio"):
        for noise in range(1, 5):
            explore(ends_at_once, key="a", schedule=f"{backend}=0 noise=0:{noise} crash=3+{ticks}")


@cases.handler
async def swallows(ctx: Context) -> None:
    try:
        await ctx.sleep(1)
    except anyio.get_cancelled_exc_class():
        return


def test_a_handler_that_swallows_the_end_of_its_attempt_is_told() -> None:
    with pytest.raises(ExplorationError, match="swallowed the cancellation") as raised:
        explore(swallows, schedule="closed=0")
    assert raised.value.kind == "logged as an error"
