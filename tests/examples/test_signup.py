"""The sign-up example."""

from __future__ import annotations

import anyio
import pytest

from examples.signup import click, progress
from examples.signup import run as sign_up
from perdure import Client, TerminalError
from perdure.testing import EndpointProcess, run

pytestmark = pytest.mark.anyio

APP = "examples.signup:app"
READY = "/Signup/nobody/progress", b""


async def mailed(endpoint: EndpointProcess, address: str) -> str:
    """The secret that is mailed to an address, as soon as it is."""
    with anyio.fail_after(20):
        while True:
            for line in endpoint.logs().splitlines():
                if line.startswith(f"mail to {address}: "):
                    return line.rpartition(" ")[2]
            await anyio.sleep(0.01)


async def reached(client: Client, key: str, stage: str) -> None:
    """Wait for a stage: steps begin when the server has been sent the state, and it may not have stored it yet."""
    with anyio.fail_after(20):
        while True:
            if await client.call(progress, key=key) == stage:
                return
            await anyio.sleep(0.01)


async def test_an_account_is_confirmed_by_the_link(client: Client, key: str, endpoint: EndpointProcess) -> None:
    sent = await client.send(sign_up, f"{key}@example.org", key=key)
    secret = await mailed(endpoint, f"{key}@example.org")
    await reached(client, key, "waiting for the click")
    await client.call(click, secret, key=key)
    assert await sent.attach() == f"{key} is confirmed as {key}@example.org"
    assert await client.call(progress, key=key) == "done"


async def test_a_wrong_secret_is_refused(client: Client, key: str) -> None:
    sent = await client.send(sign_up, f"{key}@example.org", key=key)
    await client.call(click, "guessed", key=key)
    with pytest.raises(TerminalError, match="not the secret") as raised:
        await sent.attach()
    assert raised.value.code == 403


async def test_a_second_click_comes_too_late(client: Client, key: str) -> None:
    await client.call(click, "first", key=key)
    with pytest.raises(TerminalError) as raised:
        await client.call(click, "second", key=key)
    assert raised.value.code == 409


async def test_one_account_is_signed_up_once(client: Client, key: str) -> None:
    first = await client.send(sign_up, f"{key}@example.org", key=key)
    second = await client.send(sign_up, "somebody@example.org", key=key)
    assert second.invocation_id == first.invocation_id
    assert (first.status, second.status) == ("Accepted", "PreviouslyAccepted")
    await client.call(click, "guessed", key=key)


async def test_the_secret_is_the_same_in_every_attempt(capfd: pytest.CaptureFixture[str]) -> None:
    ran = await run(sign_up, "ada@example.org", key="ada", promises={"clicked": "guessed"}, always_replay=True)
    assert ran.failure is not None
    assert ran.state == {"stage": b'"refused"'}
    assert capfd.readouterr().out.count("mail to ada@example.org") == 1
