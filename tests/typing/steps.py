"""Steps have the type of what their function returns; time, chance, awakeables and signals have theirs."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal, assert_type
from uuid import UUID

from perdure.durable.future import Awakeable, DurableFuture
from perdure.durable.serde import Serde, serde_for
from perdure.handlers.context import Context, ObjectContext
from perdure.machine.retry import RetryPolicy


async def charge(account: str, cents: int) -> bytes:
    return b""


def render(template: str) -> str:
    return template


def load(path: str) -> Any: ...


class Bank:
    async def balance(self, account: str) -> float:
        return 0.0


async def steps(ctx: Context, bank: Bank) -> None:
    assert_type(ctx.run(charge, "a", 5), DurableFuture[bytes])
    assert_type(await ctx.run(charge, "a", 5, name="pay", retry=RetryPolicy(max_attempts=3), timeout=2.5), bytes)
    assert_type(await ctx.run(charge, "a", 5, timeout=timedelta(seconds=2)), bytes)
    assert_type(await ctx.run(render, "x"), str)
    assert_type(await ctx.run(bank.balance, "a"), float)
    assert_type(await ctx.run(lambda: "five" + "six"), str)


async def the_type_of_a_result_can_be_named(ctx: Context, serde: Serde[int]) -> None:
    assert_type(await ctx.run(load, "x", returns=int), int)
    assert_type(await ctx.run(load, "x", returns=int | None), int | None)
    assert_type(await ctx.run(load, "x", returns=list[str]), list[str])
    assert_type(await ctx.run(load, "x", serde=serde), int)


async def time_and_chance(ctx: Context) -> None:
    assert_type(ctx.sleep(5), DurableFuture[None])
    assert_type(await ctx.sleep(days=2, hours=1.5), None)
    assert_type(await ctx.sleep(timedelta(weeks=1), name="a week"), None)
    assert_type(await ctx.now(), datetime)
    assert_type(ctx.random, Random)
    assert_type(ctx.uuid4(), UUID)


async def awakeables(ctx: Context, serde: Serde[int]) -> None:
    awakeable = ctx.awakeable(bool)
    assert_type(awakeable, Awakeable[bool])
    assert_type(awakeable.id, str)
    assert_type(await awakeable, bool)
    assert_type(await ctx.awakeable(Literal["yes", "no"]), Literal["yes", "no"])
    assert_type(await ctx.awakeable(str | None), str | None)
    assert_type(await ctx.awakeable(serde=serde), int)
    assert_type(ctx.awakeable(), Awakeable[Any])
    ctx.resolve_awakeable(awakeable.id, True)
    ctx.resolve_awakeable(awakeable.id, 5, serde=serde_for(int))
    ctx.reject_awakeable(awakeable.id, "no", code=409)


async def signals(ctx: Context) -> None:
    assert_type(await ctx.signal("go", bool), bool)
    assert_type(await ctx.signal("go", dict[str, int]), dict[str, int])


async def futures(ctx: Context) -> None:
    def length(data: bytes) -> int:
        return len(data)

    assert_type(ctx.run(charge, "a", 5).map(length), DurableFuture[int])
    assert_type(ctx.sleep(1).done, bool)


async def helpers_ask_for_as_little_as_they_need(ctx: ObjectContext) -> None:
    await time_and_chance(ctx)
