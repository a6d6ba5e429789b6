"""Events, semaphores and limiters between branches: they write nothing, and replay by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from perdure import CapacityLimiter, Case, Context, Event, Semaphore, UsageError
from tests.structured.plays import played, result_of

pytestmark = pytest.mark.anyio


class Happened(Case[None]): ...


class Late(Case[None]): ...


# --- events --------------------------------------------------------------------------------------------------------


async def test_an_event_is_heard_by_every_branch_that_waits() -> None:
    async def handler(ctx: Context) -> list[Any]:
        event = ctx.Event()
        heard: list[Any] = [event.is_set()]

        async def wait(number: int) -> None:
            await event.wait()
            heard.append(number)

        async with ctx.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(wait, number)
            await ctx.sleep(1)
            event.set()
            event.set()
        await event.wait()
        return [*heard, event.is_set()]

    ran = await played(handler)
    assert ran.result == [False, 0, 1, 2, True]
    assert len(ran.commands) == 3  # input, sleep, output


async def test_an_event_can_be_raced() -> None:
    async def handler(ctx: Context) -> list[str]:
        event = ctx.Event()
        seen: list[str] = []

        async def watch() -> None:
            for seconds in (1, 10):
                match await ctx.select(Happened(event.wait()), Late(ctx.sleep(seconds))):
                    case Happened():
                        seen.append("happened")
                    case Late():
                        seen.append("late")

        async with ctx.open_nursery() as nursery:
            nursery.start_soon(watch)
            await ctx.sleep(5)
            event.set()
        return seen

    assert await result_of(handler) == ["late", "happened"]


async def test_an_event_that_nobody_can_set_is_told() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.Event().wait()

    with pytest.raises(UsageError, match="nothing can bring about"):
        await played(handler)


# --- semaphores ----------------------------------------------------------------------------------------------------


async def test_no_more_branches_than_permits_are_inside_and_they_enter_in_order() -> None:
    async def handler(ctx: Context) -> list[Any]:
        semaphore = ctx.Semaphore(2)
        inside: list[int] = []
        most: list[int] = []
        entered: list[int] = []

        async def work(number: int) -> None:
            async with semaphore:
                inside.append(number)
                entered.append(number)
                most.append(len(inside))
                await ctx.sleep(10 - number)
                inside.remove(number)

        async with ctx.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(work, number)
        return [max(most), entered, semaphore.value]

    assert await result_of(handler) == [2, [0, 1, 2, 3, 4, 5], 2]


async def test_a_cancelled_branch_leaves_the_line_and_takes_no_permit() -> None:
    async def handler(ctx: Context) -> list[str]:
        semaphore = ctx.Semaphore(1)
        log: list[str] = []

        async def hold() -> None:
            async with semaphore:
                await ctx.sleep(10)

        async def hurry() -> None:
            with ctx.move_on_after(1) as scope:
                await semaphore.acquire()
            log.append("gave up" if scope.cancelled_caught else "got it")

        async def wait() -> None:
            await semaphore.acquire()
            log.append("got it")

        async with ctx.open_nursery() as nursery:
            for fn in (hold, hurry, wait):
                nursery.start_soon(fn)
        return log

    assert await result_of(handler) == ["gave up", "got it"]


async def test_a_permit_beats_a_cancel_that_comes_after_it() -> None:
    async def handler(ctx: Context) -> list[Any]:
        semaphore = ctx.Semaphore(0)
        log: list[Any] = []

        async def take() -> None:
            with ctx.CancelScope() as scope:
                scopes.append(scope)
                await semaphore.acquire()
                log.append("taken")
                await ctx.sleep(1)
                log.append("not reached")

        scopes: list[Any] = []
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(take)
            await ctx.sleep(1)
            semaphore.release()
            scopes[0].cancel()
        return [*log, semaphore.value]

    assert await result_of(handler) == ["taken", 0]


async def test_a_free_permit_is_not_taken_in_a_cancelled_scope() -> None:
    async def handler(ctx: Context) -> int:
        semaphore = ctx.Semaphore(1)
        with ctx.CancelScope() as scope:
            scope.cancel()
            await semaphore.acquire()
        return semaphore.value

    assert await result_of(handler) == 1


async def test_releasing_more_than_there_may_be_is_told() -> None:
    async def handler(ctx: Context) -> None:
        ctx.Semaphore(1, max_value=1).release()

    with pytest.raises(UsageError, match="has them all, and one more was released"):
        await played(handler)


# --- limiters ------------------------------------------------------------------------------------------------------


async def test_a_limiter_lets_so_many_branches_in_and_more_when_it_is_raised() -> None:
    async def handler(ctx: Context) -> list[Any]:
        limiter = ctx.CapacityLimiter(1)
        seen: list[Any] = []

        async def work(number: int) -> None:
            async with limiter:
                seen.append((number, limiter.borrowed_tokens))
                await ctx.sleep(10)

        async with ctx.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(work, number)
            await ctx.sleep(1)
            limiter.total_tokens = 3
            seen.append(limiter.available_tokens)
        return [*seen, limiter.borrowed_tokens, limiter.total_tokens]

    expected = [[0, 1], 0, [1, 3], [2, 3], [3, 3], 0, 3]
    assert [list(each) if isinstance(each, tuple) else each for each in await result_of(handler)] == expected


async def test_a_branch_takes_one_token_only_and_gives_back_what_it_has() -> None:
    async def twice(ctx: Context) -> None:
        limiter = ctx.CapacityLimiter(2)
        async with limiter, limiter:
            pass

    async def never(ctx: Context) -> None:
        ctx.CapacityLimiter(2).release()

    with pytest.raises(UsageError, match="holds a token of the limiter already"):
        await played(twice)
    with pytest.raises(UsageError, match="holds no token of the limiter"):
        await played(never)


# --- numbers that are none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: ctx.Semaphore(-1),
        lambda ctx: ctx.Semaphore(True),
        lambda ctx: ctx.Semaphore(1.5),
        lambda ctx: ctx.Semaphore(2, max_value=1),
        lambda ctx: ctx.CapacityLimiter(0),
        lambda ctx: ctx.CapacityLimiter(True),
        lambda ctx: ctx.CapacityLimiter(2.5),
        lambda ctx: ctx.CapacityLimiter("2"),
    ],
)
async def test_what_is_no_count_is_refused(make: Callable[[Any], Any]) -> None:
    async def handler(ctx: Context) -> None:
        make(ctx)

    with pytest.raises(UsageError):
        await played(handler)


async def test_they_say_how_they_are() -> None:
    async def handler(ctx: Context) -> list[str]:
        things: list[Event | Semaphore | CapacityLimiter] = [
            ctx.Event(),
            ctx.Semaphore(2),
            ctx.CapacityLimiter(math.inf),
        ]
        return [repr(each) for each in things]

    assert await result_of(handler) == [
        "<durable event, not set>",
        "<durable semaphore, 2 permits, 0 waiting>",
        "<durable limiter, 0 of inf tokens taken, 0 waiting>",
    ]
