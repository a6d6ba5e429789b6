"""The same handler for each SDK: `n` steps that do nothing but return a small value."""

from __future__ import annotations

from typing import Any


def perdure_app() -> Any:
    import perdure

    service = perdure.Service("Bench")

    async def step() -> int:
        return 1

    @service.handler
    async def steps(ctx: perdure.Context, n: int) -> int:
        total = 0
        for _ in range(n):
            total += await ctx.run(step)
        return total

    return perdure.Endpoint(service)


def restate_app() -> Any:
    import restate

    service = restate.Service("Bench")

    async def step() -> int:
        return 1

    async def steps(ctx, n):  # type: ignore[no-untyped-def]  # it evaluates annotations where `restate` is unknown
        total = 0
        for _ in range(n):
            total += await ctx.run_typed("step", step)
        return total

    steps.__annotations__ = {"ctx": restate.Context, "n": int, "return": int}
    service.handler()(steps)

    return restate.app(services=[service])


APPS = {"perdure": perdure_app, "restate-sdk": restate_app}
