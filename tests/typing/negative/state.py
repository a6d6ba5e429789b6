"""What a context does not offer, and values that are not of their key's type."""

from __future__ import annotations

from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.state import StateKey

left = StateKey("left", int, default=10)
note = StateKey("note", str)
StateKey("left")  # wrong: call-overload / reportCallIssue


async def offers(
    service: Context, shared: SharedObjectContext, exclusive: ObjectContext, beside: SharedWorkflowContext
) -> None:
    service.get(left)  # wrong: attr-defined / reportAttributeAccessIssue
    service.key  # wrong: attr-defined / reportAttributeAccessIssue
    shared.set(left, 5)  # wrong: attr-defined / reportAttributeAccessIssue
    shared.clear(left)  # wrong: attr-defined / reportAttributeAccessIssue
    beside.clear_all()  # wrong: attr-defined / reportAttributeAccessIssue
    exclusive.promise("go", bool)  # wrong: attr-defined / reportAttributeAccessIssue


async def values(ctx: ObjectContext) -> None:
    ctx.set(left, "five")  # wrong: misc / reportCallIssue
    ctx.set(note, 5)  # wrong: misc / reportCallIssue
    text: str = await ctx.get(left)  # wrong: arg-type / reportAssignmentType
    missing: str = await ctx.get(note)  # wrong: arg-type / reportAssignmentType
    count: int = await ctx.get("left", int)  # wrong: assignment / reportAssignmentType
    ctx.get(left, int)  # wrong: call-overload / reportArgumentType
    del text, missing, count


async def promises(ctx: WorkflowContext) -> None:
    ctx.promise("go", bool).resolve("yes")  # wrong: arg-type / reportArgumentType
    answer: str = await ctx.promise("go", bool)  # wrong: arg-type / reportAssignmentType
    peeked: bool = await ctx.promise("go", bool).peek()  # wrong: assignment / reportAssignmentType
    del answer, peeked
