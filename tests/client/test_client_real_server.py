"""The client against a real restate-server and handlers served by hypercorn."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from perdure.client import Client
from perdure.durable.combinators import Failed, Succeeded
from perdure.durable.serde import serde_for
from perdure.exceptions import IngressError, SerdeError, TerminalError
from perdure.testing import EndpointProcess, RestateServer, serve_in_subprocess
from perdure.wire.ids import format_awakeable_id, parse_invocation_id
from tests.client.client_services import (
    Failure,
    add,
    echo,
    echo_bytes,
    fail,
    headers,
    key,
    nothing,
    private,
    run,
    unblock,
    wait,
)

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
FIRST_AWAKEABLE = 17


@pytest.fixture(scope="module")
def endpoint() -> Iterator[EndpointProcess]:
    with serve_in_subprocess("tests.client.client_services:app", cwd=ROOT) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def server(restate_server: RestateServer, endpoint: EndpointProcess) -> RestateServer:
    restate_server.register(endpoint.url)
    restate_server.wait_until_callable("/Mirror/nothing")
    return restate_server


@pytest.fixture
async def client(server: RestateServer) -> AsyncIterator[Client]:
    async with Client(server.ingress_url, timeout=30) as client:
        yield client


@pytest.fixture
def unique() -> str:
    """A key that no other test uses."""
    return uuid4().hex


def awakeable_of(invocation_id: str) -> str:
    """The id of the first awakeable of an invocation."""
    return format_awakeable_id(parse_invocation_id(invocation_id), FIRST_AWAKEABLE)


# -- values ------------------------------------------------------------------------------------------------------------


async def test_values_reach_the_handler_and_come_back(client: Client) -> None:
    assert await client.call(echo, "Grüße \N{SNOWMAN}") == "Grüße \N{SNOWMAN}"
    assert await client.call(echo_bytes, bytes(range(256))) == bytes(range(256))
    assert await client.call(echo_bytes, b"") == b""


async def test_a_handler_without_input_or_result_is_called(client: Client) -> None:
    await client.call(nothing)


async def test_a_large_value_reaches_the_handler_and_comes_back(client: Client) -> None:
    data = bytes(range(256)) * 8192
    assert await client.call(echo_bytes, data) == data


@pytest.mark.parametrize(
    "text", ["plain", "a b", "a/b", "a+b&c=d?e#f", "100%", "%2F", "ä\N{SNOWMAN}", ".", "..", "a%20b"]
)
async def test_every_key_arrives_as_it_was_given(client: Client, text: str) -> None:
    assert await client.call(key, key=text) == text


async def test_headers_reach_the_handler(client: Client) -> None:
    found = await client.call(headers, headers={"X-Trace": "abc"})
    assert found["x-trace"] == "abc"


async def test_many_calls_at_once_are_all_answered(client: Client) -> None:
    results: dict[str, str] = {}

    async def call(text: str) -> None:
        results[text] = await client.call(echo, text)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(call, str(number))
    assert results == {str(number): str(number) for number in range(50)}


async def test_a_result_of_another_type_is_a_serde_error(client: Client) -> None:
    with pytest.raises(SerdeError, match="the result of Mirror/echo"):
        await client.call(echo, "text", output=serde_for(int))


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 404, 409, 418, 470, 500, 503, 571, 599, 999])
async def test_the_error_of_a_handler_arrives_equal(client: Client, code: int) -> None:
    with pytest.raises(TerminalError) as caught:
        await client.call(fail, Failure("no \N{SNOWMAN}", code, {"item": "tea"}))
    assert caught.value == TerminalError("no \N{SNOWMAN}", code=code, metadata={"item": "tea"})


async def test_a_handler_that_fails_with_not_found_is_no_unknown_invocation(client: Client, unique: str) -> None:
    sent = await client.send(fail, Failure("not found", 404), idempotency_key=unique)
    with pytest.raises(TerminalError) as caught:
        await sent.attach()
    assert caught.value == TerminalError("not found", code=404)


async def test_a_workflow_that_never_ran_is_told_as_such(client: Client, unique: str) -> None:
    for ask in (client.invocation(run, key=unique).attach, client.invocation(run, key=unique).output):
        with pytest.raises(IngressError, match="never accepted") as caught:
            await ask()
        assert caught.value.status == 404


@pytest.mark.parametrize(
    ("service", "handler", "status", "advice"),
    [
        ("Nowhere", "nothing", 404, "Register the deployment"),
        ("Mirror", "nowhere", 404, "Register the deployment"),
        ("Hidden", "private", 400, "ingress_private"),
    ],
)
async def test_what_cannot_be_called_is_told_with_advice(
    client: Client, service: str, handler: str, status: int, advice: str
) -> None:
    with pytest.raises(IngressError, match=advice) as caught:
        await client.generic_call(service, handler, b"")
    assert caught.value.status == status


async def test_a_private_handler_cannot_be_sent_to(client: Client) -> None:
    with pytest.raises(IngressError, match="Only other handlers may call it"):
        await client.send(private)


async def test_a_media_type_that_the_handler_does_not_take_is_refused(client: Client) -> None:
    with pytest.raises(IngressError, match="request is at fault") as caught:
        await client.generic_call("Mirror", "echo", b"x", content_type="text/plain")
    assert caught.value.status == 400


async def test_a_value_larger_than_the_ingress_takes_is_refused(client: Client) -> None:
    with pytest.raises(IngressError, match="pass a reference") as caught:
        await client.call(echo_bytes, bytes(33 * 1024 * 1024))
    assert caught.value.status == 413
    assert await client.call(echo, "still usable") == "still usable"


async def test_a_scope_needs_a_feature_of_the_server(client: Client) -> None:
    with pytest.raises(IngressError, match="RESTATE_EXPERIMENTAL_ENABLE_VQUEUES=true"):
        await client.call(echo, "x", scope="eu")


async def test_an_idempotency_key_for_a_workflow_is_refused(client: Client, unique: str) -> None:
    with pytest.raises(IngressError) as caught:
        await client.generic_call("Flow", "run", b'"x"', key=unique, idempotency_key="once")
    assert caught.value.status == 400


async def test_the_admin_port_is_no_ingress(server: RestateServer) -> None:
    async with Client(server.admin_url, timeout=30) as wrong:
        with pytest.raises(IngressError, match="address of the ingress"):
            await wrong.call(nothing)
        with pytest.raises(IngressError, match="address of the ingress"):
            await wrong.health()


# -- idempotency -------------------------------------------------------------------------------------------------------


async def test_a_call_with_an_idempotency_key_happens_once(client: Client, unique: str) -> None:
    for _ in range(3):
        assert await client.call(add, 5, key=unique, idempotency_key="once") == 5
    assert await client.call(add, 5, key=unique) == 10


@pytest.mark.parametrize("suffix", ["", " a/b%c?d", "~._-"])
async def test_an_invocation_is_found_by_its_idempotency_key(client: Client, unique: str, suffix: str) -> None:
    name = unique + suffix
    await client.call(add, 7, key=unique, idempotency_key=name)
    assert await client.invocation(add, key=unique, idempotency_key=name).attach() == 7
    assert await client.invocation(add, key=unique, idempotency_key=name).output() == Succeeded(7)
    await client.call(echo, "x", idempotency_key=name)
    assert await client.invocation(echo, idempotency_key=name).attach() == "x"


async def test_an_idempotency_key_never_used_finds_nothing(client: Client, unique: str) -> None:
    for idempotency_key in (unique, f"{unique}/"):
        with pytest.raises(IngressError, match="never accepted") as caught:
            await client.invocation(echo, idempotency_key=idempotency_key).attach()
        assert caught.value.status == 404


# -- sends -------------------------------------------------------------------------------------------------------------


async def test_a_send_is_accepted_once_per_idempotency_key(client: Client, unique: str) -> None:
    first = await client.send(echo, "x", idempotency_key=unique)
    second = await client.send(echo, "x", idempotency_key=unique)
    assert (first.status, second.status) == ("Accepted", "PreviouslyAccepted")
    assert first.invocation_id == second.invocation_id
    assert await second.attach() == "x"


async def test_a_delayed_send_starts_later(client: Client) -> None:
    before = dt.datetime.now(dt.UTC)
    sent = await client.send(echo, "later", delay=0.1)
    assert sent.execution_time is not None
    assert dt.timedelta(0) < sent.execution_time - before < dt.timedelta(seconds=20)
    assert await sent.attach() == "later"


async def test_a_send_for_next_week_is_not_complete(client: Client) -> None:
    sent = await client.send(echo, "later", delay=dt.timedelta(days=7))
    assert sent.execution_time is not None
    assert dt.timedelta(days=6) < sent.execution_time - dt.datetime.now(dt.UTC) < dt.timedelta(days=8)
    assert await sent.output() is None


async def test_a_handler_may_be_sent_to_by_name(client: Client) -> None:
    sent = await client.generic_send("Mirror", "echo_bytes", b"\0", content_type="application/octet-stream")
    assert await sent.attach() == b"\0"


# -- awakeables and outputs --------------------------------------------------------------------------------------------


async def test_an_awakeable_is_resolved_and_the_output_appears(client: Client) -> None:
    sent = await client.send(wait)
    assert await sent.output() is None
    await client.resolve_awakeable(awakeable_of(sent.invocation_id), "here")
    assert await sent.attach() == "here"
    assert await sent.output() == Succeeded("here")
    assert await client.attach(sent.invocation_id, str) == "here"


async def test_an_awakeable_is_rejected_and_the_waiter_fails(client: Client) -> None:
    sent = await client.send(wait)
    await client.reject_awakeable(awakeable_of(sent.invocation_id), "no \N{SNOWMAN}")
    with pytest.raises(TerminalError) as caught:
        await sent.attach()
    assert caught.value == TerminalError("no \N{SNOWMAN}", code=500)
    assert await sent.output() == Failed(caught.value)


async def test_calls_that_fill_the_limit_do_not_block_what_they_wait_for(server: RestateServer) -> None:
    async with Client(server.ingress_url, timeout=30, limit=1) as client:
        sent = await client.send(wait)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sent.attach)
            tasks.start_soon(sent.attach)
            await anyio.wait_all_tasks_blocked()
            await client.resolve_awakeable(awakeable_of(sent.invocation_id), "here")


async def test_an_awakeable_id_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(IngressError, match="bad awakeable id") as caught:
        await client.resolve_awakeable("nonsense", 1)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("invocation_id", "status"), [("inv_106mpCTpo4Ye2Or6CTBjq1xpCiJx3LED8w", 404), ("nonsense", 400)]
)
async def test_an_invocation_that_is_not_there_is_told_as_such(client: Client, invocation_id: str, status: int) -> None:
    asks: list[Any] = [client.invocation(invocation_id).attach, client.invocation(invocation_id).output]
    for ask in asks:
        with pytest.raises(IngressError) as caught:
            await ask()
        assert caught.value.status == status


# -- workflows ---------------------------------------------------------------------------------------------------------


async def test_a_workflow_runs_once_and_is_found_by_its_key(client: Client, unique: str) -> None:
    name = f"{unique}/a b"
    first = await client.send(run, "go ", key=name)
    again = await client.send(run, "other ", key=name)
    assert (first.status, again.status) == ("Accepted", "PreviouslyAccepted")
    assert await client.invocation(run, key=name).output() is None
    await client.call(unblock, "west", key=name)
    assert await client.invocation(run, key=name).attach() == "go west"
    assert await client.invocation(run, key=name).output() == Succeeded("go west")
    with pytest.raises(TerminalError, match="already invoked") as caught:
        await client.call(run, "third", key=name)
    assert caught.value.code == 409


# -- the server --------------------------------------------------------------------------------------------------------


async def test_health_names_the_services(client: Client) -> None:
    assert {"Mirror", "Counter", "Flow"} <= set(await client.health())


async def test_an_invocation_goes_on_when_who_waits_for_it_is_cancelled(client: Client, unique: str) -> None:
    sent = await client.send(wait, idempotency_key=unique)
    with anyio.move_on_after(0.1) as scope:
        await client.call(wait, idempotency_key=unique)
    assert scope.cancelled_caught
    assert await sent.output() is None
    await client.resolve_awakeable(awakeable_of(sent.invocation_id), "on")
    assert await client.call(wait, idempotency_key=unique) == "on"


# -- scopes ------------------------------------------------------------------------------------------------------------


@pytest.mark.restate(config={"experimental-enable-vqueues": True})
async def test_scopes_work_where_the_server_has_them(
    restate_server: RestateServer, endpoint: EndpointProcess, unique: str
) -> None:
    await restate_server.aio.register(endpoint.url)
    await restate_server.aio.wait_until_callable("/Mirror/nothing")
    async with Client(restate_server.ingress_url, timeout=30) as client:
        assert await client.call(echo, "x", scope="eu", limit_key="a/b", idempotency_key=unique) == "x"
        assert await client.invocation(echo, idempotency_key=unique, scope="eu").attach() == "x"
        sent = await client.send(run, "go ", key=unique, scope="eu")
        assert await client.invocation(run, key=unique, scope="eu").output() is None
        await client.call(unblock, "west", key=unique, scope="eu")
        assert await sent.attach() == await client.invocation(run, key=unique, scope="eu").attach() == "go west"
