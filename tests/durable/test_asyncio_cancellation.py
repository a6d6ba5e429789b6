"""asyncio's own cancellation: fine inside of steps, refused around durable awaits, heard when the host does it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from perdure import Service, TerminalError
from perdure.durable.driver import Driver, End
from perdure.handlers.attempt import run_attempt
from perdure.handlers.environment import Environment
from perdure.handlers.registry import Registry
from perdure.machine.invocation import Invocation
from perdure.wire.messages import (
    ErrorMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import V6, Peer, StandingClock, attempt, ticks

pytestmark = pytest.mark.anyio

HERE = f"{__file__}:"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"  # what is tested does not exist on trio


async def times_out() -> str:
    try:
        async with asyncio.timeout(0):
            await anyio.sleep_forever()
    except TimeoutError:
        return "timed out"
    return "?"


# --- where a native timeout is fine --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["awaited", "gathered"])
async def test_a_timeout_inside_a_step_is_the_steps_own(how: str) -> None:
    async def handler(ctx: Any) -> Any:
        step = ctx.run(times_out)
        return await step if how == "awaited" else (await ctx.gather(step))[0]

    peer = Peer()
    async with attempt(handler, peer):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b'"timed out"')
        peer.tells(RunCompletion(1, Value(b'"timed out"')))
    assert peer.output == '"timed out"'


async def test_a_timeout_that_a_step_lets_through_is_tried_again() -> None:
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            async with asyncio.timeout(0):
                await anyio.sleep_forever()
        return tries

    async def handler(ctx: Any) -> Any:
        return await ctx.run(step)

    peer = Peer()
    async with attempt(handler, peer):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"2")
        peer.tells(RunCompletion(1, Value(b"2")))


async def test_a_timeout_around_a_plain_await_lets_the_handler_go_on_durably() -> None:
    async def handler(ctx: Any) -> Any:
        seen = await times_out()
        ctx.set("seen", seen)
        await ctx.sleep(1)
        return seen

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, Void()))
    assert peer.output == '"timed out"'
    assert peer.kinds[:2] == ["SetStateCommand", "SleepCommand"]


async def test_several_timeouts_around_plain_awaits_do_not_add_up() -> None:
    async def handler(ctx: Any) -> Any:
        for _ in range(3):
            await times_out()
            await ctx.get("k")
        return "fine"

    peer = Peer()
    async with attempt(handler, peer):
        pass
    assert peer.output == '"fine"'


async def test_a_step_that_awaits_what_somebody_cancelled_failed() -> None:
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            task = asyncio.ensure_future(anyio.sleep_forever())
            await ticks(2)
            task.cancel()
            await task
        return tries

    async def handler(ctx: Any) -> Any:
        return await ctx.run(step)

    clock = StandingClock()
    peer = Peer()
    async with attempt(handler, peer, clock=clock):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"2")
        peer.tells(RunCompletion(1, Value(b"2")))
    assert clock.slept == [0.05]


async def test_a_handler_that_awaits_what_somebody_cancelled_fails_its_attempt() -> None:
    async def handler(ctx: Any) -> None:
        task = asyncio.ensure_future(anyio.sleep_forever())
        await ticks(2)
        task.cancel()
        await task

    peer = Peer()
    async with attempt(handler, peer) as running:
        error = await peer.hears(ErrorMessage)
        assert await running.ended() is End.FAILED
    assert error.message == "RuntimeError: the handler let the cancellation of something else through"
    assert f'File "{__file__}"' in error.stacktrace


# --- where it is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("reads", [False, True], ids=["handler reads", "reader reads"])
async def test_a_timeout_around_a_durable_await_is_told_when_it_fires(reads: bool, swallows: bool) -> None:
    async def handler(ctx: Any) -> str:
        if reads:
            await anyio.lowlevel.checkpoint()
        try:
            async with asyncio.timeout(0.001):
                await ctx.sleep(1)
        except TimeoutError:
            if not swallows:
                raise
        ctx.set("a", 1)
        return "swallowed"

    peer = Peer()
    async with attempt(handler, peer) as running:
        error = await peer.hears(ErrorMessage)
        assert await running.ended() is End.FAILED
    assert "a native timeout of asyncio surrounds a durable await" in error.message
    assert HERE in error.message
    assert peer.kinds == ["SleepCommand", "ErrorMessage"]


async def test_a_timeout_around_a_step_is_told_when_it_fires() -> None:
    async def handler(ctx: Any) -> str:
        try:
            async with asyncio.timeout(0.001):
                await ctx.run(anyio.sleep_forever)
        except TerminalError:
            return "swallowed"
        return "?"

    peer = Peer()
    async with attempt(handler, peer) as running:
        error = await peer.hears(ErrorMessage)
        assert await running.ended() is End.FAILED
    assert "a native timeout of asyncio surrounds a durable await" in error.message
    assert peer.kinds == ["RunCommand", "ErrorMessage"]


async def test_a_durable_operation_while_a_timeout_unwinds_is_told() -> None:
    async def handler(ctx: Any) -> None:
        async with asyncio.timeout(0):
            try:
                await anyio.sleep_forever()
            finally:
                ctx.set("a", 1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        error = await peer.hears(ErrorMessage)
        assert await running.ended() is End.FAILED
    assert HERE in error.message
    assert peer.kinds == ["ErrorMessage"]


# --- a host that cancels natively ----------------------------------------------------------------------------------


async def cancelled_natively(handler: Any, peer: Peer, ready: anyio.Event) -> None:
    """Run an attempt in a task of asyncio, and cancel that as servers do."""
    service = Service("Tested")
    service.handler(name="handler")(handler)
    registry = Registry([service])
    bound = registry.lookup("Tested", "handler")
    assert bound is not None
    driver = Driver(Invocation(V6), peer, messages=True)
    task = asyncio.ensure_future(run_attempt(bound, driver, Environment(registry)))
    with anyio.fail_after(5):
        await ready.wait()
        await ticks()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()
    assert driver.end is End.CANCELLED


@pytest.mark.parametrize("reads", [False, True], ids=["handler reads", "reader reads"])
async def test_a_parked_handler_is_ended_by_its_host(reads: bool) -> None:
    ready, left = anyio.Event(), anyio.Event()

    async def handler(ctx: Any) -> None:
        if reads:
            await anyio.lowlevel.checkpoint()
        ready.set()
        try:
            await ctx.sleep(1)
        finally:
            ctx.set("a", 1)
            left.set()

    peer = Peer()
    await cancelled_natively(handler, peer, ready)
    assert (left.is_set(), peer.kinds) == (True, ["SleepCommand"])


async def test_a_plain_await_is_ended_by_the_host_and_nothing_is_written_behind_it() -> None:
    ready, left = anyio.Event(), anyio.Event()

    async def handler(ctx: Any) -> None:
        ready.set()
        try:
            await anyio.sleep_forever()
        finally:
            left.set()
            ctx.set("a", 1)

    peer = Peer()
    await cancelled_natively(handler, peer, ready)
    assert (left.is_set(), peer.kinds) == (True, [])


async def test_a_durable_await_behind_a_plain_one_that_the_host_ended_does_not_wait() -> None:
    ready = anyio.Event()

    async def handler(ctx: Any) -> None:
        ready.set()
        try:
            await anyio.sleep_forever()
        finally:
            await ctx.sleep(1)

    peer = Peer()
    await cancelled_natively(handler, peer, ready)
    assert peer.kinds == []


@pytest.mark.parametrize("how", ["awaited", "gathered"])
async def test_a_step_is_ended_by_the_host(how: str) -> None:
    ready, left = anyio.Event(), anyio.Event()

    async def step() -> None:
        ready.set()
        try:
            await anyio.sleep_forever()
        finally:
            left.set()

    async def handler(ctx: Any) -> None:
        run = ctx.run(step)
        await (run if how == "awaited" else ctx.gather(run))

    peer = Peer()
    await cancelled_natively(handler, peer, ready)
    assert (left.is_set(), peer.sent) == (True, [RunCommand(1, "step")])
