"""Calls of the client are typed by the handler object, as those of a context are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, assert_type

from perdure.client import Client, IngressInvocation, SentInvocation
from perdure.durable.combinators import Failed, Succeeded
from perdure.durable.serde import serde_for
from tests.typing.shop import Order, allowance, checkout, decide, left, ping, refill, reserve, total_of


async def calls(client: Client, maybe: str | None) -> None:
    assert_type(await client.call(checkout, Order("apple")), str)
    assert_type(await client.call(ping), bool)
    assert_type(await client.call(reserve, 3, key="apple", idempotency_key=maybe, headers={"trace": "1"}), int)
    assert_type(await client.call(left, key="apple", scope="eu", limit_key="a/b"), int)
    assert_type(await client.call(allowance, None, key="apple"), int | None)
    assert_type(await client.call(decide, Order("apple"), key="order-1"), bool)
    assert_type(await client.call(total_of, [], input=serde_for(list[float]), output=serde_for(float)), float)


async def sends(client: Client) -> None:
    assert_type(await client.send(checkout, Order("apple")), SentInvocation[str])
    assert_type(await client.send(refill, key="apple", delay=timedelta(days=1)), SentInvocation[None])
    sent = await client.send(ping, delay=3)
    assert_type(sent.invocation_id, str)
    assert_type(await sent.attach(), bool)
    assert_type(sent.status, Literal["Accepted", "PreviouslyAccepted"])


async def invocations(client: Client) -> None:
    assert_type(client.invocation("inv_1", int | None), IngressInvocation[int | None])
    assert_type(client.invocation("inv_1"), IngressInvocation[Any])
    assert_type(client.invocation(checkout, idempotency_key="once"), IngressInvocation[str])
    assert_type(client.invocation(decide, key="order-1"), IngressInvocation[bool])
    assert_type(await client.attach("inv_1", str), str)


async def outcomes(client: Client) -> int:
    match await client.invocation("inv_1", int).output():
        case None:
            return 0
        case Succeeded(value):
            assert_type(value, int)
            return value
        case Failed(error):
            return error.code


async def generic(client: Client) -> None:
    assert_type(await client.generic_call("Stock", "reserve", b"3", key="apple", headers={}), bytes)
    assert_type(await client.generic_send("Stock", "reserve", b"3", key="apple", delay=5), SentInvocation[bytes])
