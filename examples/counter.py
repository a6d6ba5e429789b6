"""A virtual object: one counter for each key, with state that the runtime keeps.

    curl localhost:8080/Counter/visits/add --json 3
    curl localhost:8080/Counter/visits/current -X POST

These are calls through the ingress of a restate-server; `visits` is the key.
"""

from __future__ import annotations

import perdure
from perdure import ObjectContext, SharedObjectContext, StateKey, VirtualObject

counter = VirtualObject("Counter")
total = StateKey("total", int, default=0)


@counter.handler
async def add(ctx: ObjectContext, amount: int) -> int:
    """Add to the counter, and return what it stands at. One call at a time for each key, so nothing gets lost."""
    now = await ctx.get(total) + amount
    ctx.set(total, now)
    return now


@counter.handler
async def reset(ctx: ObjectContext) -> None:
    """Start again from nothing."""
    ctx.clear(total)


@counter.shared
async def current(ctx: SharedObjectContext) -> int:
    """Return what the counter stands at, without waiting for those who add."""
    return await ctx.get(total)


app = perdure.Endpoint(counter)
