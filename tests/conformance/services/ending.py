"""Invocations that wait for ever, to be cancelled or killed."""

from __future__ import annotations

from enum import Enum

from perdure import InvocationCancelled, ObjectContext, StateKey, TerminalError, VirtualObject
from tests.conformance.services.waiting import hold

__all__ = ["cancel_test_blocking_service", "cancel_test_runner", "kill_test_runner", "kill_test_singleton"]

cancel_test_runner = VirtualObject("CancelTestRunner")
cancel_test_blocking_service = VirtualObject("CancelTestBlockingService")
kill_test_runner = VirtualObject("KillTestRunner")
kill_test_singleton = VirtualObject("KillTestSingleton")

was_cancelled = StateKey("canceled", bool, default=False)
CANCELLED = 409
YEARS = 365 * 10


class Op(Enum):
    """What a blocked invocation waits for."""

    CALL = "CALL"
    SLEEP = "SLEEP"
    AWAKEABLE = "AWAKEABLE"


# --- cancelled -----------------------------------------------------------------------------------------------------


@cancel_test_runner.handler(name="startTest")
async def start_test(ctx: ObjectContext, op: Op) -> None:
    try:
        await ctx.call(block, op, key=ctx.key)
    except (TerminalError, InvocationCancelled) as error:  # the callee was cancelled, or this invocation itself
        if error.code != CANCELLED:
            raise
        ctx.set(was_cancelled, True)


@cancel_test_runner.handler(name="verifyTest")
async def verify_test(ctx: ObjectContext) -> bool:
    return await ctx.get(was_cancelled)


@cancel_test_blocking_service.handler
async def block(ctx: ObjectContext, op: Op) -> None:
    awakeable = ctx.awakeable(str)
    await ctx.call(hold, awakeable.id, key=ctx.key)
    await awakeable
    match op:
        case Op.CALL:
            await ctx.call(block, op, key=ctx.key)
        case Op.SLEEP:
            await ctx.sleep(days=YEARS)
        case Op.AWAKEABLE:
            await ctx.awakeable(str)


@cancel_test_blocking_service.handler(name="isUnlocked")
async def cancelled_is_unlocked(ctx: ObjectContext) -> None:
    return


# --- killed --------------------------------------------------------------------------------------------------------


@kill_test_runner.handler(name="startCallTree")
async def start_call_tree(ctx: ObjectContext) -> None:
    await ctx.call(recursive_call, key=ctx.key)


@kill_test_singleton.handler(name="recursiveCall")
async def recursive_call(ctx: ObjectContext) -> None:
    awakeable = ctx.awakeable(str)
    ctx.send(hold, awakeable.id, key=ctx.key)
    await awakeable
    await ctx.call(recursive_call, key=ctx.key)


@kill_test_singleton.handler(name="isUnlocked")
async def killed_is_unlocked(ctx: ObjectContext) -> None:
    return
