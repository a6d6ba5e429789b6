"""Objects that keep a number, a list and a map in their state."""

from __future__ import annotations

from typing import NoReturn

from perdure import ObjectContext, SharedObjectContext, StateKey, TerminalError, VirtualObject
from tests.conformance.services.payloads import JsonObject

__all__ = ["add", "counter", "list_object", "map_object"]

# --- Counter -------------------------------------------------------------------------------------------------------

counter = VirtualObject("Counter")
value = StateKey("counter", int, default=0)


class Change(JsonObject, frozen=True):
    old_value: int
    new_value: int


@counter.handler
async def add(ctx: ObjectContext, amount: int) -> Change:
    old = await ctx.get(value)
    ctx.set(value, old + amount)
    return Change(old, old + amount)


@counter.handler(name="addThenFail")
async def add_then_fail(ctx: ObjectContext, amount: int) -> NoReturn:
    ctx.set(value, await ctx.get(value) + amount)
    raise TerminalError(ctx.key)


@counter.shared(name="get")
async def current_value(ctx: SharedObjectContext) -> int:
    return await ctx.get(value)


@counter.handler
async def reset(ctx: ObjectContext) -> None:
    ctx.clear(value)


# --- ListObject ----------------------------------------------------------------------------------------------------

list_object = VirtualObject("ListObject")
items = StateKey("list", list[str], default=[])


@list_object.handler
async def append(ctx: ObjectContext, item: str) -> None:
    ctx.set(items, [*await ctx.get(items), item])


@list_object.handler(name="get")
async def current_list(ctx: ObjectContext) -> list[str]:
    return await ctx.get(items)


@list_object.handler(name="clear")
async def take_list(ctx: ObjectContext) -> list[str]:
    taken = await ctx.get(items)
    ctx.clear(items)
    return taken


# --- MapObject -----------------------------------------------------------------------------------------------------

map_object = VirtualObject("MapObject")


class Entry(JsonObject, frozen=True):
    key: str
    value: str


@map_object.handler(name="set")
async def store(ctx: ObjectContext, entry: Entry) -> None:
    ctx.set(entry.key, entry.value)


@map_object.handler(name="get")
async def look_up(ctx: ObjectContext, key: str) -> str:
    return await ctx.get(key, str) or ""


@map_object.handler(name="clearAll")
async def take_all(ctx: ObjectContext) -> list[Entry]:
    keys = await ctx.state_keys()
    values = await ctx.gather(*(ctx.get(key, str) for key in keys))
    ctx.clear_all()
    return [Entry(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
