"""Wrong calls of handlers."""

from __future__ import annotations

from perdure.handlers.context import Context
from tests.typing.shop import Order, checkout, decide, left, ping, refill, reserve, ship, total_of


async def plain(ctx: Context) -> int:
    return 1


async def calls(ctx: Context) -> None:
    ctx.call(checkout)  # wrong: call-arg / reportCallIssue
    ctx.call(checkout, "apple")  # wrong: arg-type / reportArgumentType
    ctx.call(checkout, Order("apple"), key="a")  # wrong: call-arg / reportCallIssue
    ctx.call(checkout, Order("apple"), Order("pear"))  # wrong: call-arg / reportCallIssue
    ctx.call(ping, "apple")  # wrong: call-arg / reportCallIssue
    ctx.call(reserve, 3)  # wrong: call-arg / reportCallIssue
    ctx.call(reserve, "three", key="a")  # wrong: arg-type / reportArgumentType
    ctx.call(reserve, 3, "a")  # wrong: call-arg / reportCallIssue
    ctx.call(reserve, 3, key=5)  # wrong: arg-type / reportArgumentType
    ctx.call(reserve, key="a")  # wrong: call-arg / reportCallIssue
    ctx.call(left)  # wrong: call-arg / reportCallIssue
    ctx.call(decide, Order("apple"))  # wrong: call-arg / reportCallIssue
    ctx.call(plain)  # wrong: arg-type / reportArgumentType
    ctx.call(total_of, ["1"])  # wrong: list-item / reportArgumentType
    ctx.call(ship, {"street": "Elm"})  # wrong: typeddict-item / reportArgumentType


async def options(ctx: Context) -> None:
    ctx.call(checkout, Order("apple"), header={})  # wrong: call-arg / reportCallIssue
    ctx.call(checkout, Order("apple"), headers={"a": 1})  # wrong: dict-item / reportArgumentType
    ctx.call(checkout, Order("apple"), delay=5)  # wrong: call-arg / reportCallIssue
    ctx.send(checkout, Order("apple"), delay="5")  # wrong: arg-type / reportArgumentType
    ctx.send(refill)  # wrong: call-arg / reportCallIssue
    ctx.generic_call("Shop", "checkout", "{}")  # wrong: arg-type / reportArgumentType
    ctx.generic_call("Shop", "checkout", b"{}", delay=1)  # wrong: call-arg / reportCallIssue


async def results(ctx: Context) -> None:
    text: str = await ctx.call(ping)  # wrong: arg-type / reportAssignmentType
    count: int = ctx.call(left, key="a")  # wrong: assignment / reportAssignmentType
    value: str = await ctx.send(ping).attach()  # wrong: assignment / reportAssignmentType
    bare: bool = await ctx.send(ping).output()  # wrong: assignment / reportAssignmentType
    del text, count, value, bare
