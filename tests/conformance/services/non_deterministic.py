"""Handlers whose replays differ from their journals, on purpose: the increment at their end must never happen."""

from __future__ import annotations

from collections import Counter

from perdure import ObjectContext, VirtualObject
from tests.conformance.services.stores import add, current_value, reset

__all__ = ["non_deterministic"]

non_deterministic = VirtualObject("NonDeterministic")

OTHER_KEY = "abc"
PAUSE = 0.1
attempts: Counter[str] = Counter()


def goes_left(ctx: ObjectContext) -> bool:
    """The first attempt goes left, its replay right."""
    attempts[ctx.key] += 1
    return attempts[ctx.key] % 2 == 1


async def increment(ctx: ObjectContext) -> None:
    await ctx.sleep(PAUSE)
    ctx.send(add, 1, key=ctx.key)


@non_deterministic.handler(name="eitherSleepOrCall")
async def either_sleep_or_call(ctx: ObjectContext) -> None:
    if goes_left(ctx):
        await ctx.sleep(PAUSE)
    else:
        await ctx.call(current_value, key=OTHER_KEY)
    await increment(ctx)


@non_deterministic.handler(name="callDifferentMethod")
async def call_different_method(ctx: ObjectContext) -> None:
    if goes_left(ctx):
        await ctx.call(current_value, key=OTHER_KEY)
    else:
        await ctx.call(reset, key=OTHER_KEY)
    await increment(ctx)


@non_deterministic.handler(name="backgroundInvokeWithDifferentTargets")
async def background_invoke_with_different_targets(ctx: ObjectContext) -> None:
    if goes_left(ctx):
        ctx.send(current_value, key=OTHER_KEY)
    else:
        ctx.send(reset, key=OTHER_KEY)
    await increment(ctx)


@non_deterministic.handler(name="setDifferentKey")
async def set_different_key(ctx: ObjectContext) -> None:
    ctx.set("a" if goes_left(ctx) else "b", "the same value")
    await increment(ctx)
