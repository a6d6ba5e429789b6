"""What becomes of invocations on the embedded engine, on both loops and every store."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import perdure
from perdure import (
    Context,
    Failed,
    IngressError,
    InvocationCancelled,
    ObjectContext,
    RetryPolicy,
    Service,
    SharedObjectContext,
    SharedWorkflowContext,
    StateKey,
    Succeeded,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
)
from perdure.engine.engine import Engine
from perdure.testing import VirtualClock
from tests.engine.engines import STORES, core_of, engine_on

pytestmark = pytest.mark.anyio

DAY = 86_400.0
count = StateKey("count", int, default=0)

Opens = Callable[..., Engine]


@pytest.fixture
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Opens:
    """Opens an engine, in memory where the test does not name a store (`on_every_store`)."""
    store = getattr(request, "param", "memory")

    def opened(*services: Any, **options: Any) -> Engine:
        return engine_on(store, tmp_path, *services, **options)

    return opened


on_every_store = pytest.mark.parametrize("opens", STORES, indirect=True)


shop = Service("Shop")
counter = VirtualObject("Counter")
signup = Workflow("Signup")


async def double(value: int) -> int:
    return 2 * value


@shop.handler
async def charge(ctx: Context, amount: int) -> int:
    doubled = await ctx.run(double, amount)
    return await ctx.run(double, doubled)


@shop.handler
async def refuse(ctx: Context) -> int:
    raise TerminalError("sold out", code=418, metadata={"left": "0"})


@shop.handler
async def wait_months(ctx: Context, months: int) -> str:
    for _ in range(months):
        await ctx.sleep(30 * DAY)
    return "over"


@shop.handler
async def add_twice(ctx: Context, key: str) -> list[int]:
    first = await ctx.call(add, 1, key=key)
    second = await ctx.call(add, 10, key=key)
    return [first, second]


@shop.handler
async def add_later(ctx: Context, key: str) -> None:
    ctx.send(add, 5, key=key, delay=timedelta(days=1))


@shop.handler
async def ask(ctx: Context, name: str) -> str:
    approval = ctx.awakeable(str)
    await ctx.call(remember, approval.id, key=name)
    return await approval


@shop.handler
async def hear(ctx: Context, times: int) -> list[int]:
    return [await ctx.signal("news", int) for _ in range(times)]


@counter.handler
async def add(ctx: ObjectContext, value: int) -> int:
    total = await ctx.get(count) + value
    ctx.set(count, total)
    return total


@counter.handler
async def remember(ctx: ObjectContext, text: str) -> None:
    ctx.set("text", text)


@counter.handler
async def add_slowly(ctx: ObjectContext, value: int) -> int:
    before = await ctx.get(count)
    await ctx.sleep(DAY)
    ctx.set(count, before + value)
    return before + value


@counter.shared
async def total(ctx: SharedObjectContext) -> int:
    return await ctx.get(count)


@counter.shared
async def recall(ctx: SharedObjectContext) -> str | None:
    return await ctx.get("text", str)


@signup.main
async def sign_up(ctx: WorkflowContext, email: str) -> str:
    clicked = await ctx.promise("clicked", str)
    return f"{email} {clicked}"


@signup.handler
async def click(ctx: SharedWorkflowContext, link: str) -> None:
    await ctx.promise("clicked", str).resolve(link)


# --- calls -----------------------------------------------------------------------------------------------------------


async def test_a_call_returns_what_the_handler_returns(opens: Opens) -> None:
    async with opens(shop, counter) as engine:
        assert await engine.call(charge, 3) == 12


async def test_a_failure_reaches_the_caller_whole(opens: Opens) -> None:
    async with opens(shop, counter) as engine:
        with pytest.raises(TerminalError) as caught:
            await engine.call(refuse)
    assert caught.value == TerminalError("sold out", code=418, metadata={"left": "0"})


@on_every_store
async def test_months_of_sleep_take_no_time(opens: Opens) -> None:
    clock = VirtualClock()
    start = clock.now()
    begun = time.monotonic()
    async with opens(shop, counter, clock=clock) as engine:
        assert await engine.call(wait_months, 3) == "over"
    assert clock.now() - start == pytest.approx(90 * DAY)
    assert time.monotonic() - begun < 10


@on_every_store
async def test_handlers_call_each_other_once(opens: Opens) -> None:
    async with opens(shop, counter) as engine:
        assert await engine.call(add_twice, "a") == [1, 11]
        assert await engine.call(total, key="a") == 11


async def test_what_is_sent_later_arrives_later(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(shop, counter, clock=clock) as engine:
        await engine.call(add_later, "a")
        assert await engine.call(total, key="a") == 0
        await clock.advance(2 * DAY)
        assert await engine.call(total, key="a") == 5


async def test_a_delayed_send_from_outside_starts_when_it_is_due(opens: Opens) -> None:
    clock = VirtualClock()
    start = clock.now()
    async with opens(shop, counter, clock=clock) as engine:
        sent = await engine.send(add, 7, key="a", delay=60.0)
        assert sent.execution_time is not None
        assert sent.execution_time.timestamp() == pytest.approx(start + 60)
        assert await sent.attach() == 7
    assert clock.now() >= start + 60


async def test_a_handler_known_by_name_is_called_with_bytes(opens: Opens) -> None:
    async with opens(shop, counter) as engine:
        assert await engine.generic_call("Counter", "add", b"4", key="a") == b"4"
        sent = await engine.generic_send("Counter", "add", b"5", key="a")
        assert await sent.attach() == b"9"


async def test_a_handler_of_another_program_is_refused(opens: Opens) -> None:
    async with opens(shop) as engine:
        with pytest.raises(IngressError) as caught:
            await engine.call(add, 1, key="a")
    assert caught.value.status == 404


async def test_input_that_cannot_be_read_fails_the_invocation(opens: Opens) -> None:
    async with opens(counter) as engine:
        with pytest.raises(TerminalError) as caught:
            await engine.generic_call("Counter", "add", b'"text"', key="a")
    assert caught.value.code == 400


# --- objects ---------------------------------------------------------------------------------------------------------


@on_every_store
async def test_one_exclusive_handler_runs_at_a_time_for_a_key(opens: Opens) -> None:
    results: list[int] = []
    async with opens(counter) as engine:

        async def slowly(value: int) -> None:
            results.append(await engine.call(add_slowly, value, key="a"))

        async with anyio.create_task_group() as tasks:
            for value in (1, 2, 3):
                tasks.start_soon(slowly, value)
        assert await engine.call(total, key="a") == 6
    assert results[-1] == 6


async def test_the_key_of_an_object_is_served_in_order(opens: Opens) -> None:
    async with opens(counter) as engine:
        sent = [await engine.send(add, 10**place, key="a") for place in range(5)]
        assert [await each.attach() for each in sent] == [1, 11, 111, 1111, 11111]


async def test_shared_handlers_run_beside_the_one_that_holds_the_key(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(counter, clock=clock) as engine:
        await engine.call(add, 3, key="a")
        with clock.hold():
            holder = await engine.send(add_slowly, 4, key="a")
            assert await engine.call(total, key="a") == 3
            assert await holder.output() is None
        assert await holder.attach() == 7


async def test_keys_do_not_wait_for_each_other(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(counter, clock=clock) as engine:
        with clock.hold():
            await engine.send(add_slowly, 4, key="a")
            assert await engine.call(add, 1, key="b") == 1


# --- workflows -------------------------------------------------------------------------------------------------------


@on_every_store
async def test_a_workflow_waits_for_its_promise(opens: Opens) -> None:
    async with opens(signup) as engine:
        sent = await engine.send(sign_up, "a@b.example", key="a")
        await engine.call(click, "link", key="a")
        assert await sent.attach() == "a@b.example link"
        assert await engine.invocation(sign_up, key="a").attach() == "a@b.example link"


async def test_a_workflow_runs_once_for_a_key(opens: Opens) -> None:
    async with opens(signup) as engine:
        first = await engine.send(sign_up, "a@b.example", key="a")
        second = await engine.send(sign_up, "c@d.example", key="a")
        assert (first.status, second.status) == ("Accepted", "PreviouslyAccepted")
        assert first.invocation_id == second.invocation_id
        with pytest.raises(TerminalError) as caught:
            await engine.call(sign_up, "e@f.example", key="a")
        assert caught.value.code == 409


async def test_a_promise_is_completed_once(opens: Opens) -> None:
    async with opens(signup) as engine:
        await engine.send(sign_up, "a@b.example", key="a")
        await engine.call(click, "first", key="a")
        with pytest.raises(TerminalError):
            await engine.call(click, "second", key="a")


# --- awakeables, signals ---------------------------------------------------------------------------------------------


async def awakeable_of(engine: Engine, name: str) -> str:
    for _ in range(1000):
        id = await engine.call(recall, key=name)
        if id is not None:
            return id
        await anyio.lowlevel.checkpoint()
    raise AssertionError("the handler has made no awakeable")


async def test_an_awakeable_is_resolved_from_outside(opens: Opens) -> None:
    async with opens(shop, counter) as engine:
        sent = await engine.send(ask, "a")
        await engine.resolve_awakeable(await awakeable_of(engine, "a"), "yes")
        assert await sent.attach() == "yes"


async def test_an_awakeable_is_rejected_from_outside(opens: Opens) -> None:
    async with opens(shop, counter) as engine:
        sent = await engine.send(ask, "a")
        await engine.reject_awakeable(await awakeable_of(engine, "a"), "never")
        with pytest.raises(TerminalError, match="never"):
            await sent.attach()


async def test_an_awakeable_that_is_none_is_refused(opens: Opens) -> None:
    async with opens(shop) as engine:
        with pytest.raises(IngressError) as caught:
            await engine.resolve_awakeable("nonsense", 1)
    assert caught.value.status == 400


async def test_a_signal_name_is_heard_again_and_again(opens: Opens) -> None:
    async with opens(shop) as engine:
        sent = await engine.send(hear, 4)
        for value in range(4):
            await sent.signal("news").resolve(value)
        assert await sent.attach() == [0, 1, 2, 3]


@on_every_store
async def test_signals_wake_a_suspended_handler_one_by_one(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(shop, clock=clock) as engine:
        sent = await engine.send(hear, 3)
        for value in range(3):
            await clock.advance(120)
            await engine.signal(sent.invocation_id, "news").resolve(value)
        assert await sent.attach() == [0, 1, 2]


async def test_a_signal_can_be_a_failure(opens: Opens) -> None:
    async with opens(shop) as engine:
        sent = await engine.send(hear, 1)
        await sent.signal("news").reject("bad news", code=410)
        with pytest.raises(TerminalError) as caught:
            await sent.attach()
    assert caught.value == TerminalError("bad news", code=410)


# --- idempotency, attach, output -------------------------------------------------------------------------------------


async def test_requests_with_one_idempotency_key_are_one_invocation(opens: Opens) -> None:
    async with opens(counter) as engine:
        assert await engine.call(add, 1, key="a", idempotency_key="x") == 1
        assert await engine.call(add, 1, key="a", idempotency_key="x") == 1
        assert await engine.call(total, key="a") == 1
        assert await engine.invocation(add, key="a", idempotency_key="x").attach() == 1


async def test_many_requests_with_one_idempotency_key_at_once_are_one_invocation(opens: Opens) -> None:
    results: list[int] = []
    async with opens(counter) as engine:

        async def once() -> None:
            results.append(await engine.call(add, 1, key="a", idempotency_key="x"))

        async with anyio.create_task_group() as tasks:
            for _ in range(64):
                tasks.start_soon(once)
        assert await engine.call(total, key="a") == 1
    assert results == [1] * 64


async def test_the_output_is_there_when_the_invocation_has_ended(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(shop, clock=clock) as engine:
        with clock.hold():
            waiting = await engine.send(wait_months, 1)
            assert await waiting.output() is None
        await waiting.attach()
        assert await waiting.output() == Succeeded("over")
        failing = await engine.send(refuse)
        with pytest.raises(TerminalError):
            await failing.attach()
        outcome = await engine.output(failing.invocation_id)
        assert isinstance(outcome, Failed)
        assert outcome.error.code == 418


async def test_an_invocation_that_is_not_there_is_told(opens: Opens) -> None:
    async with opens(shop, signup) as engine:
        with pytest.raises(IngressError) as caught:
            await engine.invocation(sign_up, key="nobody").attach()
    assert caught.value.status == 404


async def test_attaching_gives_the_result_to_everybody(opens: Opens) -> None:
    results: list[str] = []
    async with opens(shop) as engine:
        sent = await engine.send(wait_months, 1)

        async def wait() -> None:
            results.append(await engine.attach(sent.invocation_id, str))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wait)
    assert results == ["over"] * 5


async def test_a_cancelled_call_ends_the_waiting_and_not_the_invocation(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(counter, clock=clock) as engine:
        with clock.hold():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: engine.call(add_slowly, 5, key="a", idempotency_key="x"))
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        assert await engine.invocation(add_slowly, key="a", idempotency_key="x").attach() == 5


# --- cancel, kill ----------------------------------------------------------------------------------------------------


async def test_a_cancelled_invocation_ends_with_409(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(shop, clock=clock) as engine:
        with clock.hold():
            sent = await engine.send(wait_months, 1)
            await sent.cancel()
            with pytest.raises(TerminalError) as caught:
                await sent.attach()
    assert caught.value.code == 409


async def test_cancelling_reaches_the_handler_which_may_go_on(opens: Opens) -> None:
    careful = Service("Careful")

    @careful.handler
    async def work(ctx: Context) -> str:
        try:
            await ctx.sleep(DAY)
        except InvocationCancelled:
            return await ctx.run(tidy)
        return "slept"

    async def tidy() -> str:
        return "tidied"

    clock = VirtualClock()
    async with opens(careful, clock=clock) as engine:
        with clock.hold():
            sent = await engine.send(work)
            await engine.cancel(sent.invocation_id)
            assert await sent.attach() == "tidied"


async def test_a_suspended_invocation_is_cancelled(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(shop, clock=clock) as engine:
        sent = await engine.send(wait_months, 1)
        await clock.advance(120)
        assert len(core_of(engine).attempts) == 0
        await sent.cancel()
        with pytest.raises(TerminalError) as caught:
            await sent.attach()
    assert caught.value.code == 409


async def test_an_invocation_that_waits_for_its_key_is_cancelled_at_once(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(counter, clock=clock) as engine:
        with clock.hold():
            await engine.send(add_slowly, 1, key="a")
            queued = await engine.send(add, 1, key="a")
            await queued.cancel()
        await clock.advance(2 * DAY)
        assert await engine.call(total, key="a") == 1


@on_every_store
async def test_a_killed_invocation_ends_at_once_and_gives_its_key_away(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(counter, clock=clock) as engine:
        with clock.hold():
            holder = await engine.send(add_slowly, 1, key="a")
            following = await engine.send(add, 2, key="a")
            await holder.kill()
            with pytest.raises(TerminalError) as caught:
                await holder.attach()
            assert caught.value.code == 409
            assert await following.attach() == 2


async def test_cancelling_goes_down_to_what_is_called(opens: Opens) -> None:
    heard: list[str] = []
    tree = Service("Tree")

    @tree.handler
    async def parent(ctx: Context) -> str:
        return await ctx.call(child)

    @tree.handler
    async def child(ctx: Context) -> str:
        try:
            await ctx.sleep(DAY)
        except InvocationCancelled:
            heard.append("child")
            raise
        return "slept"

    clock = VirtualClock()
    async with opens(tree, clock=clock) as engine:
        with clock.hold():
            sent = await engine.send(parent)
            await anyio.wait_all_tasks_blocked()
            await sent.cancel()
            with pytest.raises(TerminalError):
                await sent.attach()
        await clock.advance(1)
    assert heard == ["child"]


async def test_cancelling_what_has_ended_is_refused(opens: Opens) -> None:
    async with opens(shop) as engine:
        sent = await engine.send(charge, 1)
        await sent.attach()
        with pytest.raises(IngressError) as caught:
            await sent.cancel()
    assert caught.value.status == 409


# --- retries ---------------------------------------------------------------------------------------------------------


@on_every_store
async def test_a_handler_that_fails_is_tried_again(opens: Opens) -> None:
    flaky = Service("Flaky")
    attempts: list[float] = []
    clock = VirtualClock()

    @flaky.handler(retry=RetryPolicy(initial_interval=10, factor=2, max_interval=None))
    async def work(ctx: Context) -> int:
        attempts.append(clock.now())
        if len(attempts) < 3:
            raise ValueError("not yet")
        return len(attempts)

    async with opens(flaky, clock=clock) as engine:
        assert await engine.call(work) == 3
    assert [later - earlier for earlier, later in itertools.pairwise(attempts)] == [
        pytest.approx(10, abs=0.01),
        pytest.approx(20, abs=0.01),
    ]


async def test_an_exhausted_policy_fails_with_the_last_error(opens: Opens) -> None:
    flaky = Service("Flaky")

    @flaky.handler(retry=RetryPolicy(max_attempts=3, on_exhausted="fail"))
    async def work(ctx: Context) -> int:
        raise ValueError("never")

    async with opens(flaky) as engine:
        with pytest.raises(TerminalError, match="never"):
            await engine.call(work)


async def test_steps_that_were_done_are_not_repeated(opens: Opens) -> None:
    flaky = Service("Flaky")
    done: list[str] = []

    async def step(name: str) -> str:
        done.append(name)
        return name

    @flaky.handler
    async def work(ctx: Context) -> str:
        first = await ctx.run(step, "first")
        if done.count("broken") < 2:
            done.append("broken")
            raise ValueError("broken")
        return first + await ctx.run(step, "second")

    async with opens(flaky) as engine:
        assert await engine.call(work) == "firstsecond"
    assert done == ["first", "broken", "broken", "second"]


async def test_a_step_is_tried_again_in_virtual_time(opens: Opens) -> None:
    flaky = Service("Flaky")
    tries: list[float] = []
    clock = VirtualClock()

    async def step() -> int:
        tries.append(clock.now())
        if len(tries) < 4:
            raise ValueError("not yet")
        return len(tries)

    @flaky.handler
    async def work(ctx: Context) -> int:
        return await ctx.run(step, retry=RetryPolicy(initial_interval=0.5, factor=4, max_interval=None))

    begun = time.monotonic()
    async with opens(flaky, clock=clock) as engine:
        assert await engine.call(work) == 4
    assert tries[-1] - tries[0] == pytest.approx(0.5 + 2 + 8, abs=0.1)
    assert time.monotonic() - begun < 5


# --- suspension ------------------------------------------------------------------------------------------------------


async def test_a_handler_that_waits_long_holds_no_task(opens: Opens) -> None:
    clock = VirtualClock()
    async with opens(shop, clock=clock) as engine:
        await engine.send(wait_months, 1)
        await clock.advance(59)
        before = len(core_of(engine).attempts)
        await clock.advance(2)
        assert (before, len(core_of(engine).attempts)) == (1, 0)


async def test_more_handlers_than_places_get_on(opens: Opens) -> None:
    async with opens(shop, counter, limit=2) as engine:
        sent = [await engine.send(add_twice, f"key {number}") for number in range(10)]
        assert [await each.attach() for each in sent] == [[1, 11]] * 10


async def test_waiting_handlers_make_room_without_waiting_for_their_timeout(opens: Opens) -> None:
    clock = VirtualClock()
    start = clock.now()
    async with opens(shop, counter, limit=1, clock=clock) as engine:
        assert await engine.call(add_twice, "a") == [1, 11]
    assert clock.now() - start < 1


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_step_in_a_thread_does_not_let_an_hour_pass(opens: Opens) -> None:
    slow = Service("Slow")
    clock = VirtualClock()

    @slow.handler
    async def work(ctx: Context) -> float:
        hour = ctx.sleep(3600)
        before = clock.now()
        await ctx.run(time.sleep, 0.05)
        passed = clock.now() - before
        await hour
        return passed

    async with opens(slow, clock=clock) as engine:
        assert await engine.call(work) == 0.0


async def test_the_handler_sees_virtual_time(opens: Opens) -> None:
    clock = VirtualClock(start=1_000_000.0)
    late = Service("Late")

    @late.handler
    async def work(ctx: Context) -> list[float]:
        before = await ctx.now()
        await ctx.sleep(DAY)
        after = await ctx.now()
        return [before.timestamp(), after.timestamp()]

    async with opens(late, clock=clock) as engine:
        assert await engine.call(work) == [1_000_000.0, pytest.approx(1_000_000.0 + DAY, abs=0.01)]


# --- the application -------------------------------------------------------------------------------------------------


async def test_the_lifespan_is_entered_for_the_engine() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan(_: perdure.Endpoint) -> AsyncIterator[str]:
        steps.append("entered")
        yield "the app"
        steps.append("left")

    served = Service("Served")

    @served.handler
    async def app(ctx: Context) -> str:
        steps.append("handled")
        return str(ctx.app)

    async with perdure.open_engine(
        ":memory:", perdure.Endpoint(served, lifespan=lifespan), clock=VirtualClock()
    ) as engine:
        assert await engine.call(app) == "the app"
    assert steps == ["entered", "handled", "left"]
