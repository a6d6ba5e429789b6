"""Handlers written with the official Python SDK; served in an environment of their own, never imported here."""

# mypy: disable-error-code="untyped-decorator"
# The SDK is not installed where types are checked, so its decorators have none.

from __future__ import annotations

from datetime import timedelta

import restate  # type: ignore[import-not-found]  # installed where this is served

shop = restate.Service("OfficialShop")
cart = restate.VirtualObject("OfficialCart")
order = restate.Workflow("OfficialOrder")
tries = 0


@shop.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    greeting: str = await ctx.run_typed("greet", lambda: f"Hello {name}")
    await ctx.sleep(timedelta(milliseconds=1))
    return greeting


@shop.handler()
async def flaky(ctx: restate.Context, name: str) -> str:
    global tries  # noqa: PLW0603 - counts attempts over the life of the process
    await ctx.run_typed("first", lambda: 1)
    tries += 1
    if tries < 3:
        raise RuntimeError("not yet")
    return f"{name} {tries}"


@shop.handler()
async def refuse(ctx: restate.Context, name: str) -> None:
    raise restate.TerminalError(f"no, {name}", status_code=418)


@shop.handler()
async def fill(ctx: restate.Context, items: list[str]) -> list[str]:
    found: list[str] = []
    for item in items:
        found = await ctx.object_call(add, key="basket", arg=item)
    return found


@shop.handler()
async def wait(ctx: restate.Context, key: str) -> str:
    name, future = ctx.awakeable()
    ctx.object_send(keep, key=key, arg=name)
    answer: str = await future
    return answer


@cart.handler()
async def add(ctx: restate.ObjectContext, item: str) -> list[str]:
    items: list[str] = await ctx.get("items") or []
    items.append(item)
    ctx.set("items", items)
    return items


@cart.handler()
async def keep(ctx: restate.ObjectContext, name: str) -> None:
    ctx.set("name", name)


@cart.handler(kind="shared")
async def kept(ctx: restate.ObjectSharedContext) -> str:
    return await ctx.get("name") or ""


@order.main()
async def run(ctx: restate.WorkflowContext, item: str) -> str:
    answer: str = await ctx.promise("approved").value()
    return f"{item}: {answer}"


@order.handler()
async def approve(ctx: restate.WorkflowSharedContext, answer: str) -> None:
    await ctx.promise("approved").resolve(answer)


app = restate.app(services=[shop, cart, order])
