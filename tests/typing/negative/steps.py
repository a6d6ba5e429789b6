"""Wrong steps, timers, awakeables and signals."""

from __future__ import annotations

from perdure.durable.serde import Serde
from perdure.handlers.context import Context


async def charge(account: str, cents: int) -> bytes:
    return b""


def render(template: str) -> str:
    return template


async def steps(ctx: Context, serde: Serde[int]) -> None:
    ctx.run(charge, "a")  # wrong: arg-type / reportArgumentType
    ctx.run(charge, "a", "b")  # wrong: arg-type / reportArgumentType
    ctx.run(render, 5)  # wrong: arg-type / reportArgumentType
    ctx.run(render, "x", names="y")  # wrong: call-overload / reportCallIssue
    ctx.run(render, "x", retry=3)  # wrong: call-overload / reportCallIssue
    ctx.run(render("x"))  # wrong: call-overload / reportCallIssue
    text: str = await ctx.run(charge, "a", 5)  # wrong: arg-type / reportAssignmentType
    wrong: str = await ctx.run(render, "x", serde=serde)  # wrong: arg-type / reportAssignmentType
    del text, wrong


async def waiting(ctx: Context) -> None:
    ctx.sleep("5")  # wrong: arg-type / reportArgumentType
    ctx.sleep(weeks=1)  # wrong: call-arg / reportCallIssue
    answer: str = await ctx.awakeable(bool)  # wrong: arg-type / reportAssignmentType
    number: int = await ctx.signal("go", str)  # wrong: arg-type / reportAssignmentType
    ctx.awakeable(5)  # wrong: call-overload / reportArgumentType
    ctx.invocation_id = "inv_1"  # wrong: misc / reportAttributeAccessIssue
    del answer, number
