"""Middleware: around every attempt, around executed steps, the first outermost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import Middleware, TerminalError
from perdure.durable.driver import End
from perdure.wire.messages import (
    Failure,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SleepCommand,
    Value,
)
from tests.durable.attempts import CANCEL, Peer, StandingClock, attempt, ticks

pytestmark = pytest.mark.anyio


class Noting(Middleware):
    """Notes when it is entered and left."""

    def __init__(self, name: str, moves: list[str]) -> None:
        self.name = name
        self.moves = moves

    @asynccontextmanager
    async def attempt(self, ctx: Any) -> AsyncIterator[None]:
        self.moves.append(f"{self.name} in")
        try:
            yield
        except BaseException as error:
            self.moves.append(f"{self.name} {type(error).__name__}")
            raise
        self.moves.append(f"{self.name} out")

    @asynccontextmanager
    async def step(self, ctx: Any, name: str) -> AsyncIterator[None]:
        self.moves.append(f"{self.name} {name} in")
        try:
            yield
        except BaseException as error:
            self.moves.append(f"{self.name} {name} {type(error).__name__}")
            raise
        self.moves.append(f"{self.name} {name} out")


@pytest.fixture
def moves() -> list[str]:
    return []


@pytest.fixture
def both(moves: list[str]) -> list[Middleware]:
    return [Noting("outer", moves), Noting("inner", moves)]


async def quick() -> int:
    return 1


async def test_the_first_is_outermost_around_an_attempt(both: list[Middleware], moves: list[str]) -> None:
    async def handler(ctx: Any) -> None:
        moves.append("handler")

    async with attempt(handler, Peer(), middleware=both):
        pass
    assert moves == ["outer in", "inner in", "handler", "inner out", "outer out"]


async def test_the_first_is_outermost_around_a_step(both: list[Middleware], moves: list[str]) -> None:
    async def step() -> None:
        moves.append("step")

    async def handler(ctx: Any) -> None:
        moves.clear()
        await ctx.run(step, name="s")
        moves.append("handler")

    peer = Peer()
    async with attempt(handler, peer, middleware=both):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"")))
    assert moves[:6] == ["outer s in", "inner s in", "step", "inner s out", "outer s out", "handler"]


async def test_a_replayed_step_is_not_entered_and_a_replayed_attempt_is(moves: list[str]) -> None:
    async def handler(ctx: Any) -> None:
        await ctx.run(quick)

    peer = Peer(RunCommand(1, "quick"), RunCompletion(1, Value(b"1")))
    async with attempt(handler, peer, middleware=[Noting("m", moves)]):
        pass
    assert moves == ["m in", "m out"]


async def test_each_try_of_a_step_is_entered(moves: list[str]) -> None:
    tries = 0

    async def flaky() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("again")

    async def handler(ctx: Any) -> None:
        await ctx.run(flaky)

    peer = Peer()
    async with attempt(handler, peer, middleware=[Noting("m", moves)], clock=StandingClock()):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"")))
    assert moves == ["m in", "m flaky in", "m flaky ValueError", "m flaky in", "m flaky out", "m out"]


async def test_a_step_in_a_thread_is_entered_too(moves: list[str]) -> None:
    def plain() -> int:
        moves.append("plain")
        return 1

    async def handler(ctx: Any) -> int:
        return await ctx.run(plain)  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer, middleware=[Noting("m", moves)]):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"1")))
    assert moves == ["m in", "m plain in", "plain", "m plain out", "m out"]


async def test_a_lambda_of_a_coroutine_is_entered_too(moves: list[str]) -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(lambda: quick())  # type: ignore[no-any-return]  # noqa: PLW0108 - the point of the test

    peer = Peer()
    async with attempt(handler, peer, middleware=[Noting("m", moves)]):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"1")
        peer.tells(RunCompletion(1, Value(b"1")))


async def test_failures_pass_through(moves: list[str]) -> None:
    async def handler(ctx: Any) -> None:
        raise TerminalError("no", code=418)

    peer = Peer()
    async with attempt(handler, peer, middleware=[Noting("m", moves)]):
        pass
    assert (moves, peer.output) == (["m in", "m TerminalError"], Failure(418, "no"))


async def test_cancellations_pass_through(moves: list[str]) -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer, middleware=[Noting("m", moves)]):
        pass
    assert moves == ["m in", "m InvocationCancelled"]


async def test_a_suspension_passes_through_as_the_cancellation_of_the_loop(moves: list[str]) -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer, middleware=[Noting("m", moves)]) as running:
        assert await running.ended() is End.SUSPENDED
    assert moves in (["m in", "m Cancelled"], ["m in", "m CancelledError"])


async def test_a_step_that_is_cancelled_is_left(moves: list[str]) -> None:
    async def slow() -> None:
        await ticks(1000)

    async def handler(ctx: Any) -> None:
        await ctx.run(slow)

    peer = Peer()
    async with attempt(handler, peer, middleware=[Noting("m", moves)]) as running:
        await peer.hears(RunCommand)
        await ticks()
        peer.hangs_up()
        assert await running.ended() is End.DISCONNECTED
    assert len(moves) == 4
    assert moves[:2] == ["m in", "m slow in"]


async def test_an_error_of_middleware_is_an_error_of_the_attempt() -> None:
    class Broken(Middleware):
        @asynccontextmanager
        async def attempt(self, ctx: Any) -> AsyncIterator[None]:
            if ctx.key == "":
                raise ValueError("broken")
            yield

    async def handler(ctx: Any) -> None:
        pytest.fail("it was not to be called")

    peer = Peer()
    async with attempt(handler, peer, middleware=[Broken()]) as running:
        assert await running.ended() is End.FAILED
    assert peer.sent[0].message == "ValueError: broken"  # type: ignore[attr-defined]  # an error message


async def test_an_error_of_middleware_around_a_step_is_tried_again_like_the_steps_own() -> None:
    entered = 0

    class Flaky(Middleware):
        @asynccontextmanager
        async def step(self, ctx: Any, name: str) -> AsyncIterator[None]:
            nonlocal entered
            entered += 1
            if entered == 1:
                raise ValueError("broken")
            yield

    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer, middleware=[Flaky()]):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"1")
        peer.tells(RunCompletion(1, Value(b"1")))
    assert entered == 2


async def test_middleware_that_overrides_nothing_changes_nothing() -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer, middleware=[Middleware()]):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"1")))
    assert peer.output == "1"


async def test_middleware_sees_the_context() -> None:
    seen: list[Any] = []

    class Looking(Middleware):
        @asynccontextmanager
        async def attempt(self, ctx: Any) -> AsyncIterator[None]:
            seen.append(ctx.key)
            yield

        @asynccontextmanager
        async def step(self, ctx: Any, name: str) -> AsyncIterator[None]:
            seen.append((ctx.invocation_id, name))
            yield

    async def handler(ctx: Any) -> None:
        await ctx.run(quick)

    peer = Peer(key="k")
    peer.closes()
    async with attempt(handler, peer, middleware=[Looking()]):
        pass
    assert seen == ["k", ("inv_1", "quick")]
