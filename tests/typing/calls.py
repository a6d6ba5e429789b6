"""Calls are typed by the handler object."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from perdure.durable.combinators import Failed, Succeeded
from perdure.durable.future import CallFuture, DurableFuture
from perdure.durable.serde import serde_for
from perdure.handlers.calls import ExistingInvocation, InvocationHandle
from perdure.handlers.context import Context
from tests.typing.shop import Order, allowance, checkout, decide, left, ping, refill, reserve, ship, total_of


async def calls(ctx: Context) -> None:
    assert_type(ctx.call(checkout, Order("apple")), CallFuture[str])
    assert_type(await ctx.call(checkout, Order("apple")), str)
    assert_type(await ctx.call(ping), bool)
    assert_type(await ctx.call(reserve, 3, key="apple"), int)
    assert_type(await ctx.call(left, key="apple"), int)
    assert_type(await ctx.call(allowance, None, key="apple"), int | None)
    assert_type(await ctx.call(decide, Order("apple"), key="order-1"), bool)
    assert_type(await ctx.call(checkout, Order("apple")).invocation_id, str)


async def literals_take_the_type_of_the_input(ctx: Context) -> None:
    assert_type(await ctx.call(total_of, [1, 2]), float)
    assert_type(await ctx.call(total_of, []), float)
    assert_type(await ctx.call(ship, {"street": "Elm", "number": 1}), None)


async def options(ctx: Context, maybe: str | None) -> None:
    await ctx.call(
        reserve, 3, key="apple", headers={"trace": "1"}, idempotency_key=maybe, scope="eu", limit_key="a/b", name="take"
    )
    await ctx.call(checkout, Order("apple"), input=serde_for(Order), output=serde_for(str))


async def sends(ctx: Context) -> None:
    assert_type(ctx.send(checkout, Order("apple")), InvocationHandle[str])
    assert_type(ctx.send(ping, delay=3), InvocationHandle[bool])
    assert_type(ctx.send(refill, key="apple", delay=timedelta(days=1), headers={}), InvocationHandle[None])
    assert_type(ctx.send(reserve, 3, key="apple", delay=None), InvocationHandle[int])


async def generic(ctx: Context) -> None:
    assert_type(await ctx.generic_call("Shop", "checkout", b"{}"), bytes)
    assert_type(await ctx.generic_call("Stock", "reserve", b"3", key="apple", headers={}), bytes)
    assert_type(ctx.generic_send("Stock", "reserve", b"3", key="apple", delay=5), InvocationHandle[bytes])


async def invocations(ctx: Context) -> None:
    handle = ctx.invocation("inv_1", int | None)
    assert_type(handle, InvocationHandle[int | None])
    assert_type(await handle.attach(), int | None)
    assert_type(await handle.invocation_id, str)
    assert_type(handle.cancel(), None)
    handle.signal("go").resolve({"any": "thing"})
    handle.signal("go").reject("no", code=409)
    assert_type(ctx.invocation(decide, key="order-1"), ExistingInvocation[bool])
    assert_type(await ctx.invocation(checkout, idempotency_key="k").attach(), str)
    assert_type(ctx.attach("inv_1", list[int]), DurableFuture[list[int]])
    match await handle.output():
        case None:
            pass
        case Succeeded(value):
            assert_type(value, int | None)
        case Failed(error):
            assert_type(error.code, int)
