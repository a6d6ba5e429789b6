"""The order of `examples.checkout` on the embedded engine: no server, one program, one SQLite file.

    python -m examples.embedded order-1        # kill it in the middle and run it again: the order goes on where it was

The handlers are the same; only what runs them is another. The order's id is the idempotency key, so however often this
is run there is one order, and it is charged once.
"""

from __future__ import annotations

import os
import sys

import anyio

import perdure
from examples.checkout import Item, Order, app, checkout

FILE = os.environ.get("CHECKOUT_FILE", "shop.db")


async def main(id: str) -> None:
    order = Order(id, [Item("tea", 2, 4.5), Item("cup", 1, 18.5)], card="4242")
    async with perdure.open_engine(FILE, app) as engine:
        receipt = await engine.call(checkout, order, idempotency_key=order.id)
    print(f"{receipt.order}: {receipt.total:.2f}, paid with {receipt.payment}, sent as {receipt.parcel}")


if __name__ == "__main__":
    which = sys.argv[1] if len(sys.argv) > 1 else "order-1"
    anyio.run(main, which, backend=os.environ.get("CHECKOUT_BACKEND", "trio"))
