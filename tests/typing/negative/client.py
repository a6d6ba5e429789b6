"""Wrong calls through the client."""

from __future__ import annotations

from perdure.client import Client
from tests.typing.shop import Order, checkout, left, ping, reserve


async def calls(client: Client) -> None:
    await client.call(checkout)  # wrong: call-arg / reportCallIssue
    await client.call(checkout, "apple")  # wrong: arg-type / reportArgumentType
    await client.call(checkout, Order("apple"), key="a")  # wrong: call-arg / reportCallIssue
    await client.call(ping, "apple")  # wrong: call-arg / reportCallIssue
    await client.call(reserve, 3)  # wrong: call-arg / reportCallIssue
    await client.call(left)  # wrong: call-arg / reportCallIssue
    await client.call(checkout, Order("apple"), delay=5)  # wrong: call-arg / reportCallIssue
    await client.send(checkout, Order("apple"), delay="5")  # wrong: arg-type / reportArgumentType
    await client.generic_call("Shop", "checkout", "{}")  # wrong: arg-type / reportArgumentType
    await client.generic_call("Shop", "checkout", b"{}", delay=1)  # wrong: call-arg / reportCallIssue


async def results(client: Client) -> None:
    text: str = await client.call(ping)  # wrong: arg-type / reportAssignmentType
    sent = await client.send(ping)
    value: str = await sent.attach()  # wrong: assignment / reportAssignmentType
    bare: bool = await sent.output()  # wrong: assignment / reportAssignmentType
    del text, value, bare
