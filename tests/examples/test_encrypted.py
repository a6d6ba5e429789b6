"""The example with a codec: nothing that leaves can be read without the key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from examples.encrypted import Diagnosis, Sealed, codec, diagnose
from perdure import Client, IngressError, SerdeError, TerminalError
from perdure.testing import EndpointProcess, RestateServer

pytestmark = pytest.mark.anyio

APP = "examples.encrypted:app"
READY = "/Clinic/diagnose", b""


@pytest.fixture
async def sealed(endpoint: EndpointProcess, restate_server: RestateServer) -> AsyncIterator[Client]:
    del endpoint  # it must run
    async with Client(restate_server.ingress_url, timeout=30, codec=codec) as client:
        yield client


async def test_who_has_the_key_can_call(sealed: Client, key: str) -> None:
    assert await sealed.call(diagnose, Diagnosis(key, "influenza")) == ["flu"]
    assert await sealed.call(diagnose, Diagnosis(key, "pyrosis")) == ["flu", "heartburn"]


async def test_what_the_server_stores_cannot_be_read(sealed: Client, key: str, restate_server: RestateServer) -> None:
    sent = await sealed.send(diagnose, Diagnosis(key, "pyrosis"))
    await sent.attach()
    stored = json.dumps([restate_server.journal(sent.invocation_id), restate_server.query("SELECT * FROM state")])
    assert key in stored  # the key of the object is no value
    for secret in ("pyrosis", "heartburn"):
        assert secret not in stored
        assert secret.encode().hex() not in stored


async def test_who_has_no_key_is_told(client: Client) -> None:
    with pytest.raises((TerminalError, IngressError)) as raised:
        await client.call(diagnose, Diagnosis("nobody", "influenza"))
    assert "influenza" not in str(raised.value)


async def test_another_key_does_not_read_the_result(sealed: Client, restate_server: RestateServer, key: str) -> None:
    sent = await sealed.send(diagnose, Diagnosis(key, "influenza"))
    async with Client(restate_server.ingress_url, timeout=30, codec=Sealed(bytes(32))) as other:
        with pytest.raises(SerdeError, match="not encrypted with this key"):
            await other.invocation(sent.invocation_id, list[str]).attach()


def test_equal_values_do_not_become_equal_bytes() -> None:
    assert codec.encode(b"value") != codec.encode(b"value")
    assert codec.decode(codec.encode(b"value")) == b"value"
