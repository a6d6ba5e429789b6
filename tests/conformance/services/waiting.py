"""What lets a driver synchronise with an invocation: an awakeable kept by an object, a promise of a workflow."""

from __future__ import annotations

from perdure import (
    Failed,
    ObjectContext,
    SharedWorkflowContext,
    StateKey,
    Succeeded,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
)

__all__ = ["awakeable_holder", "block_and_wait", "hold"]

# --- AwakeableHolder -----------------------------------------------------------------------------------------------

awakeable_holder = VirtualObject("AwakeableHolder")
held_id = StateKey("id", str)


@awakeable_holder.handler
async def hold(ctx: ObjectContext, awakeable_id: str) -> None:
    ctx.set(held_id, awakeable_id)


@awakeable_holder.handler(name="hasAwakeable")
async def has_awakeable(ctx: ObjectContext) -> bool:
    return await ctx.get(held_id) is not None


@awakeable_holder.handler
async def unlock(ctx: ObjectContext, payload: str) -> None:
    awakeable_id = await ctx.get(held_id)
    if awakeable_id is None:
        raise TerminalError(f"no awakeable is held for {ctx.key}")
    ctx.resolve_awakeable(awakeable_id, payload)


# --- BlockAndWaitWorkflow ------------------------------------------------------------------------------------------

block_and_wait = Workflow("BlockAndWaitWorkflow")
given_input = StateKey("my-state", str)
PROMISE = "durable-promise"


@block_and_wait.main
async def run(ctx: WorkflowContext, given: str) -> str:
    ctx.set(given_input, given)
    promise = ctx.promise(PROMISE, str)
    value = await promise
    match await promise.peek():
        case Succeeded():
            return value
        case Failed(error):
            raise error
        case None:
            raise TerminalError("the promise was complete, and is not any more")


@block_and_wait.handler
async def unblock(ctx: SharedWorkflowContext, value: str) -> None:
    await ctx.promise(PROMISE, str).resolve(value)


@block_and_wait.handler(name="getState")
async def get_state(ctx: SharedWorkflowContext) -> str | None:
    return await ctx.get(given_input)
