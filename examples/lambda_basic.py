"""AWS Lambda: a function. It knows its deadline, and says goodbye when the sandbox ends.

As a bootstrap this program is the runtime: `exec python3 lambda_basic.py`.
"""

from __future__ import annotations

import logging

import msgspec

from perdure.aws_lambda import FunctionError, LambdaEvent, main

log = logging.getLogger(__name__)


class Order(msgspec.Struct):
    """What the invoker sends."""

    item: str
    count: int = 1


class Receipt(msgspec.Struct):
    """What the invoker gets."""

    item: str
    price: int
    order: str


PRICES = {"tea": 3, "cake": 4}


async def sell(event: LambdaEvent[Order]) -> Receipt:
    """Sell something; what is not there is an error with a type that the invoker can look for."""
    order, context = event
    if order.item not in PRICES:
        raise FunctionError(f"there is no {order.item}", error_type="Shop.SoldOut")
    log.info("sold %s with %.1f s left", order.item, context.remaining_time())
    return Receipt(order.item, PRICES[order.item] * order.count, context.request_id)


def close() -> None:
    """Say goodbye; a pool of connections would be closed here."""
    log.warning("the shop closes")


if __name__ == "__main__":
    main(sell, on_shutdown=close)
