"""An order: reserve every item, charge, pack, ship. What was done is undone when the order cannot be finished.

    perdure serve examples.checkout:app        # and register http://127.0.0.1:9080 with a restate-server

`perdure demo` runs it on a real restate-server and kills it half-way.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import msgspec

import perdure
from perdure import Context, ObjectContext, RetryPolicy, Service, StateKey, TerminalError

shop = Service("Shop")
stock = perdure.VirtualObject("Stock")
left = StateKey("left", int, default=10)


class Item(msgspec.Struct):
    name: str
    count: int
    price: float


class Order(msgspec.Struct):
    id: str
    items: list[Item]
    card: str


class Receipt(msgspec.Struct):
    order: str
    total: float
    payment: str
    parcel: str


# --- stock: one object per item; its handlers run one at a time, so counting needs no lock ---------------------------


@stock.handler
async def reserve(ctx: ObjectContext, count: int) -> int:
    remaining = await ctx.get(left)
    if remaining < count:
        raise TerminalError(f"only {remaining} {ctx.key} left", code=409)
    ctx.set(left, remaining - count)
    return remaining - count


@stock.handler
async def release(ctx: ObjectContext, count: int) -> None:
    ctx.set(left, await ctx.get(left) + count)


@stock.shared
async def remaining(ctx: perdure.SharedObjectContext) -> int:
    return await ctx.get(left)


# --- the outside world: each function is one step, run at most once more when the process dies in it ---------------


def note(what: str) -> None:
    """Write down what really happened, where a crash cannot undo it."""
    print(what, flush=True)
    if path := os.environ.get("CHECKOUT_LEDGER"):
        with Path(path).open("a", encoding="utf-8") as ledger:
            ledger.write(what + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())


PACE = float(os.environ.get("CHECKOUT_PACE", "0"))  # seconds that each step of the outside world takes


async def charge(card: str, total: float) -> str:
    await anyio.sleep(PACE)
    if card == "declined":
        raise TerminalError("the card was declined", code=402)
    note(f"charge {total:.2f} to {card}")
    return f"pay-{time.monotonic_ns() % 10_000:04}"


async def refund(payment: str) -> None:
    note(f"refund {payment}")


async def pack(order: str) -> str:
    note(f"pack {order} begins")
    await anyio.sleep(PACE * 2)
    note(f"pack {order} done")
    return f"parcel-{order}"


async def ship(parcel: str) -> None:
    await anyio.sleep(PACE)
    if parcel.endswith("undeliverable"):
        raise TerminalError(f"{parcel} cannot be delivered", code=422)
    note(f"ship {parcel}")


# --- the order itself ----------------------------------------------------------------------------------------------


@shop.handler
async def checkout(ctx: Context, order: Order) -> Receipt:
    # Only an order that is going to end is undone; a crash or a retry goes on where it was.
    async with ctx.compensations() as undo:
        for item in order.items:
            await ctx.call(reserve, item.count, key=item.name)
            undo.push_durable(ctx.call, release, item.count, key=item.name)

        total = sum(item.count * item.price for item in order.items)
        payment = await ctx.run(charge, order.card, total, retry=RetryPolicy(max_attempts=5))
        undo.push(refund, payment)

        parcel = await ctx.run(pack, order.id)
        await ctx.run(ship, parcel)
    return Receipt(order.id, total, payment, parcel)


app = perdure.Endpoint(shop, stock)
