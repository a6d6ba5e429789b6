"""Steps of many branches: they run at the same time, and one that is tried again holds up nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from perdure import Middleware, RetryPolicy
from perdure.durable.driver import End
from perdure.wire.messages import (
    ErrorMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import Peer, StandingClock, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()
LONG = RetryPolicy(initial_interval=10, max_interval=None)


async def test_steps_of_many_branches_run_at_the_same_time() -> None:
    running: list[int] = []
    all_run = anyio.Event()

    async def step(number: int) -> None:
        running.append(number)
        if len(running) == 20:
            all_run.set()
        await all_run.wait()

    async def child(ctx: Any, number: int) -> None:
        await ctx.run(step, number)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(child, ctx, number)

    peer = Peer()
    async with attempt(handler, peer):
        for _ in range(20):
            proposal = await peer.hears(ProposeRunCompletionMessage)
            peer.tells(RunCompletion(proposal.result_completion_id, Value(b"")))
    assert sorted(running) == list(range(20))
    assert peer.turns[0] == [RunCommand(id, "step") for id in range(1, 21)]


async def test_steps_that_wait_for_nothing_leave_in_one_piece_with_their_results() -> None:
    async def step() -> int:
        return 1

    async def child(ctx: Any) -> None:
        await ctx.run(step)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(child, ctx)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(*(RunCompletion(id, Value(b"1")) for id in range(1, 6)))
    assert [type(message).__name__ for message in peer.turns[0]] == ["RunCommand"] * 5 + [
        "ProposeRunCompletionMessage"
    ] * 5


async def test_a_step_that_fails_at_once_and_pauses_holds_up_no_other() -> None:
    paused = anyio.Event()

    class Clock(StandingClock):
        async def sleep(self, seconds: float) -> None:
            paused.set()
            await anyio.sleep_forever()

    async def fails() -> None:
        raise ValueError("again")

    async def works() -> int:
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.first_success(ctx.run(fails), ctx.run(works))

    peer = Peer()
    async with attempt(handler, peer, clock=Clock()):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"1")
        peer.tells(RunCompletion(2, Value(b"1")))
    assert paused.is_set()


async def test_a_long_pause_between_tries_does_not_end_an_attempt_with_other_branches() -> None:
    tries: list[int] = []

    async def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("again")
        return 1

    async def child(ctx: Any) -> None:
        await ctx.sleep(100)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx)
            await ctx.run(flaky, retry=LONG)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"1")), SleepCompletion(2, VOID))
    assert "ErrorMessage" not in peer.kinds


@pytest.mark.parametrize("how", ["race", "deadline"])
async def test_a_long_pause_between_tries_does_not_end_an_attempt_that_waits_for_a_timer_too(how: str) -> None:
    pauses = anyio.Event()

    class Clock(StandingClock):
        async def sleep(self, seconds: float) -> None:
            pauses.set()
            await anyio.sleep_forever()

    async def flaky() -> int:
        raise ValueError("again")

    async def handler(ctx: Any) -> str:
        if how == "race":
            await ctx.first(ctx.sleep(1), ctx.run(flaky, retry=LONG))
            return "raced"
        with ctx.move_on_after(1):
            await ctx.run(flaky, retry=LONG)
        return "left"

    peer = Peer()
    async with attempt(handler, peer, clock=Clock()):
        await pauses.wait()
        peer.tells(SleepCompletion(1, VOID))
        if how == "deadline":
            proposal = await peer.hears(ProposeRunCompletionMessage)
            assert proposal.result is not None
            peer.tells(RunCompletion(2, proposal.result))
    assert "ErrorMessage" not in peer.kinds


@pytest.mark.parametrize("closed", [False, True])
async def test_a_long_pause_ends_an_attempt_that_waits_for_nothing_else(closed: bool) -> None:
    async def flaky() -> int:
        raise ValueError("again")

    async def handler(ctx: Any) -> None:
        if closed:
            await ctx.first(ctx.sleep(1), ctx.run(flaky, retry=LONG))
        else:
            await ctx.run(flaky, retry=LONG)

    peer = Peer()
    if closed:
        peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    assert (error.next_retry_delay or 0) >= 10_000  # a try later where the end of the input was not heard yet


async def test_steps_that_nobody_awaits_run_inside_the_middleware_of_the_attempt() -> None:
    seen: list[str] = []

    class Traced(Middleware):
        @asynccontextmanager
        async def attempt(self, ctx: Any) -> AsyncIterator[None]:
            seen.append("enter")
            yield
            seen.append("exit")

    async def forgotten() -> None:
        await ticks(2)
        seen.append("step")

    async def handler(ctx: Any) -> None:
        ctx.run(forgotten)

    peer = Peer()
    async with attempt(handler, peer, middleware=[Traced()]):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"")))
    assert seen == ["enter", "step", "exit"]
