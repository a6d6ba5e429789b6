"""ctx.map and its kin: many items, a bounded number at a time, results where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure import Context, Failed, Succeeded, TerminalError, UsageError
from tests.structured.plays import played, result_of

pytestmark = pytest.mark.anyio


async def test_results_are_in_the_order_of_the_items() -> None:
    async def handler(ctx: Context) -> list[int]:
        async def work(number: int) -> int:
            await ctx.sleep(10 - number)
            return number * number

        return await ctx.map(work, range(6), limit=3)

    assert await result_of(handler) == [0, 1, 4, 9, 16, 25]


async def test_no_more_items_than_the_limit_are_worked_on_and_each_is_taken_when_one_is_done() -> None:
    async def handler(ctx: Context) -> list[Any]:
        inside: list[int] = []
        most: list[int] = []
        taken: list[int] = []

        def items() -> Iterator[int]:
            for number in range(7):
                taken.append(number)
                yield number

        async def work(number: int) -> int:
            inside.append(number)
            most.append(len(inside))
            await ctx.sleep(1)
            inside.remove(number)
            return len(taken)

        taken_when_done = await ctx.map(work, items(), limit=2)
        return [max(most), taken_when_done[0]]

    assert await result_of(handler) == [2, 2]


async def test_thousands_of_items_need_no_thousands_of_branches() -> None:
    async def handler(ctx: Context) -> int:
        async def work(number: int) -> int:
            if number % 500 == 0:
                await ctx.sleep(1)
            return number

        return sum(await ctx.map(work, range(5000), limit=4))

    assert await result_of(handler) == sum(range(5000))


async def test_without_items_there_is_nothing_to_wait_for() -> None:
    async def handler(ctx: Context) -> list[Any]:
        async def work(item: Any) -> Any:
            raise AssertionError(item)

        return [await ctx.map(work, []), await ctx.map_settled(work, [], limit=3), await ctx.map_some(0, work, [1])]

    assert await result_of(handler) == [[], [], {}]


async def refuse_odd(ctx: Context, number: int) -> int:
    await ctx.sleep(number)
    if number % 2:
        raise TerminalError(f"{number} is odd")
    return number


async def test_a_failure_cancels_the_others_and_leaves_as_a_group() -> None:
    async def handler(ctx: Context) -> list[Any]:
        seen: list[int] = []

        async def work(number: int) -> None:
            seen.append(await refuse_odd(ctx, number))

        try:
            await ctx.map(work, [4, 3, 2, 6], limit=4)
        except* TerminalError as group:
            seen.append(len(group.exceptions))
        return seen

    assert await result_of(handler) == [2, 1]


async def test_settled_tells_every_outcome() -> None:
    async def handler(ctx: Context) -> list[str]:
        outcomes = await ctx.map_settled(lambda number: refuse_odd(ctx, number), [1, 2, 3], limit=2)
        told = []
        for outcome in outcomes:
            match outcome:
                case Succeeded(value):
                    told.append(f"value {value}")
                case Failed(error):
                    told.append(error.message)
        return told

    assert await result_of(handler) == ["1 is odd", "value 2", "3 is odd"]


async def test_settled_does_not_hide_what_is_to_be_tried_again() -> None:
    async def handler(ctx: Context) -> None:
        async def work(number: int) -> None:
            raise ValueError(number)

        await ctx.map_settled(work, [1])

    with pytest.raises(ExceptionGroup) as caught:
        await played(handler)
    assert caught.group_contains(ValueError)


async def test_some_stops_when_there_are_enough() -> None:
    async def handler(ctx: Context) -> list[Any]:
        started: list[int] = []

        async def work(number: int) -> int:
            started.append(number)
            return await refuse_odd(ctx, number)

        results = await ctx.map_some(2, work, [8, 1, 4, 2, 100, 200], limit=3)
        return [list(results.items()), started]

    assert await result_of(handler) == [[[3, 2], [2, 4]], [8, 1, 4, 2, 100]]


async def test_too_few_that_work_are_told_with_every_failure() -> None:
    async def handler(ctx: Context) -> list[str]:
        try:
            await ctx.map_some(2, lambda number: refuse_odd(ctx, number), [1, 2, 3])
        except ExceptionGroup as group:
            return [group.message, *map(str, group.exceptions)]
        return []

    assert await result_of(handler) == ["only 1 of the 2 results that were wanted came", "1 is odd", "3 is odd"]


async def test_more_wanted_than_there_are_items_is_a_mistake_of_the_program() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.map_some(3, lambda number: refuse_odd(ctx, number), [2])

    with pytest.raises(UsageError, match="there were no more items"):
        await played(handler)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5])
async def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    async def handler(ctx: Context) -> None:
        await ctx.map(lambda number: refuse_odd(ctx, number), [2], limit=limit)

    with pytest.raises(UsageError, match="limit is how many items"):
        await played(handler)
