"""The checkout example: what happens to an order, and what is undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.checkout import Item, Order, Receipt, checkout, release, remaining, reserve
from perdure import Client, TerminalError
from perdure.testing import EndpointProcess, run

pytestmark = pytest.mark.anyio

APP = "examples.checkout:app"
READY = "/Stock/nobody/remaining", b""

TEA, CUP = "tea", "cup"


def order(key: str, card: str = "4242", *, tea: int = 2) -> Order:
    """An order of two items that no other test orders."""
    items = [Item(f"{TEA}-{key}", tea, 4.5), Item(f"{CUP}-{key}", 1, 18.5)]
    return Order(key, items, card)


async def left(client: Client, key: str) -> tuple[int, int]:
    """How much is left of the two items."""
    tea = await client.call(remaining, key=f"{TEA}-{key}")
    return tea, await client.call(remaining, key=f"{CUP}-{key}")


def ledger(endpoint: EndpointProcess, key: str) -> list[str]:
    """What really happened in the outside world to an order whose card is named after it."""
    return [line for line in endpoint.logs().splitlines() if key in line]


async def test_an_order_is_charged_packed_and_shipped(client: Client, key: str, endpoint: EndpointProcess) -> None:
    receipt = await client.call(checkout, order(key, f"card-{key}"))
    assert (receipt.order, receipt.total, receipt.parcel) == (key, 27.5, f"parcel-{key}")
    assert await left(client, key) == (8, 9)
    assert ledger(endpoint, key) == [
        f"charge 27.50 to card-{key}",
        f"pack {key} begins",
        f"pack {key} done",
        f"ship parcel-{key}",
    ]


async def test_a_declined_card_gives_the_items_back(client: Client, key: str, endpoint: EndpointProcess) -> None:
    with pytest.raises(TerminalError, match="the card was declined") as raised:
        await client.call(checkout, order(key, "declined"))
    assert raised.value.code == 402
    assert await left(client, key) == (10, 10)
    assert ledger(endpoint, key) == []


async def test_what_cannot_be_delivered_is_refunded_and_put_back(
    client: Client, key: str, endpoint: EndpointProcess
) -> None:
    before = endpoint.logs().count("refund pay-")
    with pytest.raises(TerminalError, match="cannot be delivered") as raised:
        await client.call(checkout, order(f"{key}-undeliverable"))
    assert raised.value.code == 422
    assert await left(client, f"{key}-undeliverable") == (10, 10)
    assert endpoint.logs().count("refund pay-") == before + 1
    assert not any(line.startswith("ship") for line in ledger(endpoint, key))


async def test_what_is_out_of_stock_gives_the_other_items_back(client: Client, key: str) -> None:
    scarce = order(key)
    scarce.items.reverse()  # the cup is reserved first, then the tea is missing
    scarce.items[1].count = 11
    with pytest.raises(TerminalError, match=f"only 10 {TEA}-{key} left") as raised:
        await client.call(checkout, scarce)
    assert raised.value.code == 409
    assert await left(client, key) == (10, 10)


async def test_an_order_that_is_replayed_at_every_await_gives_the_same_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "ledger"
    monkeypatch.setenv("CHECKOUT_LEDGER", str(written))
    ran = await run(checkout, order("1"), calls={reserve: 5}, always_replay=True)
    assert ran.result == Receipt("1", 27.5, ran.result.payment, "parcel-1")
    assert written.read_text().splitlines() == [
        "charge 27.50 to 4242",
        "pack 1 begins",
        "pack 1 done",
        "ship parcel-1",
    ]


async def test_an_order_that_is_cancelled_is_undone() -> None:
    released: list[int] = []
    ran = await run(checkout, order("1"), calls={reserve: 5, release: released.append}, cancel=True)
    assert ran.failure is not None
    assert ran.failure.code == 409


@pytest.mark.parametrize(("count", "expected"), [(3, 7), (10, 0)])
async def test_reserving_leaves_the_rest(count: int, expected: int) -> None:
    ran = await run(reserve, count, key="tea", always_replay=True)
    assert ran.result == expected
