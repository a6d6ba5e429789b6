"""State is typed by its key; promises by the type they are asked for with."""

from __future__ import annotations

from typing import Any, assert_type

from perdure.durable.combinators import Failed, Outcome, Succeeded
from perdure.durable.future import DurableFuture
from perdure.durable.serde import Serde
from perdure.handlers.context import (
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.promises import DurablePromise
from perdure.handlers.state import StateKey

left = StateKey("left", int, default=10)
note = StateKey("note", str)
names = StateKey("names", list[str], default=[])
either = StateKey("either", int | str, default=1)

assert_type(left, StateKey[int])
assert_type(note, StateKey[str | None])
assert_type(names, StateKey[list[str]])


async def reading(ctx: SharedObjectContext, serde: Serde[float]) -> None:
    assert_type(ctx.key, str)
    assert_type(await ctx.get(left), int)
    assert_type(await ctx.get(note), str | None)
    assert_type(await ctx.get(names), list[str])
    assert_type(await ctx.get("left", int), int | None)
    assert_type(await ctx.get("left", float, serde=serde), float | None)
    assert_type(ctx.get("left"), DurableFuture[Any])
    assert_type(await ctx.state_keys(), list[str])


async def writing(ctx: ObjectContext) -> None:
    ctx.set(left, 5)
    ctx.set(note, "x")
    ctx.set(names, [])
    ctx.set(either, "x")
    ctx.set("free", {"any": "thing"})
    ctx.clear(left)
    ctx.clear("free")
    ctx.clear_all()
    assert_type(await ctx.get(left), int)


async def workflows(ctx: WorkflowContext, beside: SharedWorkflowContext, serde: Serde[int]) -> None:
    ctx.set(left, 5)
    assert_type(await beside.get(left), int)
    promise = ctx.promise("approved", bool)
    assert_type(promise, DurablePromise[bool])
    assert_type(await promise, bool)
    assert_type(promise.value(), DurableFuture[bool])
    assert_type(await promise.peek(), Outcome[bool] | None)
    assert_type(await beside.promise("approved", bool).resolve(True), None)
    assert_type(await beside.promise("approved", bool).reject("no", code=409), None)
    assert_type(await ctx.promise("count", serde=serde), int)
    match await promise.peek():
        case None:
            pass
        case Succeeded(value):
            assert_type(value, bool)
        case Failed(error):
            assert_type(error.message, str)
