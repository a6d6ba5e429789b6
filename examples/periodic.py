"""A periodic task: a virtual object that sends itself the next call, later.

There is no loop that never ends and no scheduler: each run is an invocation of its own with a short journal, and the
next one lies in the runtime until it is due.
"""

from __future__ import annotations

import anyio
import msgspec

import perdure
from perdure import ObjectContext, SharedObjectContext, StateKey, VirtualObject

monitor = VirtualObject("Monitor")


class Plan(msgspec.Struct):
    path: str
    every: float  # seconds


class Reading(msgspec.Struct):
    runs: int = 0
    size: int | None = None


plan = StateKey("plan", Plan)
reading = StateKey("reading", Reading, default=Reading())
series = StateKey("series", int, default=0)


async def size_of(path: str) -> int | None:
    file = anyio.Path(path)
    return (await file.stat()).st_size if await file.exists() else None


@monitor.handler
async def start(ctx: ObjectContext, new: Plan) -> None:
    """Look at a file again and again; what this key did before ends."""
    number = await ctx.get(series) + 1
    ctx.set(series, number)
    ctx.set(plan, new)
    ctx.send(look, number, key=ctx.key)


@monitor.handler
async def stop(ctx: ObjectContext) -> None:
    """Look no more."""
    ctx.clear(plan)


@monitor.handler
async def look(ctx: ObjectContext, number: int) -> None:
    """Look once, and send the next look. One that belongs to an earlier series comes to nothing."""
    current = await ctx.get(plan)
    if current is None or number != await ctx.get(series):
        return
    last = await ctx.get(reading)
    size = await ctx.run(size_of, current.path)
    ctx.set(reading, Reading(last.runs + 1, size))
    ctx.send(look, number, key=ctx.key, delay=current.every)


@monitor.shared
async def latest(ctx: SharedObjectContext) -> Reading:
    """What the last look saw."""
    return await ctx.get(reading)


app = perdure.Endpoint(monitor)
