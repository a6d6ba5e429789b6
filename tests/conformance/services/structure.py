"""Durable nurseries, deadlines and compensations, for a real server to see."""

from __future__ import annotations

from perdure import Context, ObjectContext, Service, StateKey, TerminalError, VirtualObject

__all__ = ["ledger", "structure"]

structure = Service("StructureProbes")
ledger = VirtualObject("StructureLedger")
lines = StateKey("lines", list[str], default=[])


@ledger.handler
async def note(ctx: ObjectContext, line: str) -> None:
    ctx.set(lines, [*await ctx.get(lines), line])


@ledger.handler
async def read(ctx: ObjectContext) -> list[str]:
    return await ctx.get(lines)


@ledger.handler
async def block(ctx: ObjectContext) -> None:
    await ctx.awakeable()


async def double(value: int) -> int:
    return 2 * value


@structure.handler(name="fanOut")
async def fan_out(ctx: Context, count: int) -> list[int]:
    async def child(number: int) -> int:
        doubled = await ctx.run(double, number)
        await ctx.sleep(0.01 * (number % 5))
        await ctx.gather(ctx.run(double, doubled), ctx.sleep(0.01))
        return await ctx.run(double, doubled)

    async with ctx.open_nursery() as nursery:
        futures = [nursery.start_soon(child, number) for number in range(count)]
    return [await future for future in futures]


@structure.handler
async def deadline(ctx: Context, key: str) -> list[bool]:
    async def child() -> None:
        await ctx.call(block, key=key, cancel_on_exit=True)

    with ctx.move_on_after(0.2) as scope:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)
    return [scope.cancelled_caught]


@structure.handler
async def undo(ctx: Context, key: str) -> None:
    async def child(number: int) -> None:
        await ctx.call(note, f"do {number}", key=key)
        if number == 1:
            raise TerminalError("no", code=418)
        await ctx.sleep(60)

    async with ctx.compensations() as undoing:
        undoing.push_durable(ctx.call, note, "undo", key=key)
        async with ctx.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(child, number)
