"""The typed client: what a call by handler object sends, and what comes back from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import anyio
import pytest

from perdure.client.ingress import Client
from perdure.client.invocation import IngressInvocation, SentInvocation
from perdure.durable.codec import PLAIN
from perdure.durable.combinators import Failed, Succeeded
from perdure.durable.serde import serde_for
from perdure.exceptions import IngressError, SerdeError, TerminalError, UsageError
from perdure.handlers.context import Context, ObjectContext, SharedObjectContext, WorkflowContext
from perdure.handlers.definitions import Service, VirtualObject, Workflow
from tests.client.scripted_server import Peer, Script, ScriptedServer, always, json_reply, reply, serve

pytestmark = pytest.mark.anyio


@dataclass
class Order:
    item: str
    count: int


@dataclass
class Receipt:
    total: float


class Reversed:
    """A codec whose bytes are told from plain ones at a glance."""

    content_type: str | None = "application/x-reversed"
    stable = True

    def encode(self, data: bytes, /) -> bytes:
        return data[::-1]

    def decode(self, data: bytes, /) -> bytes:
        return data[::-1]


shop = Service("Shop")
plain_shop = Service("PlainShop", codec=PLAIN)
stock = VirtualObject("Stock")
flow = Workflow("Flow")


@shop.handler
async def checkout(ctx: Context, order: Order) -> Receipt:
    raise NotImplementedError


@shop.handler
async def tick(ctx: Context) -> None:
    raise NotImplementedError


@shop.handler
async def upload(ctx: Context, data: bytes) -> bytes:
    raise NotImplementedError


@plain_shop.handler
async def greet(ctx: Context, name: str) -> str:
    raise NotImplementedError


@stock.handler
async def reserve(ctx: ObjectContext, count: int) -> int:
    raise NotImplementedError


@stock.shared
async def level(ctx: SharedObjectContext) -> int:
    raise NotImplementedError


@flow.main
async def run(ctx: WorkflowContext, order: Order) -> Receipt:
    raise NotImplementedError


RECEIPT = reply(200, b'{"total": 1.5}')
ACCEPTED = json_reply(202, {"invocationId": "inv_1x", "status": "Accepted"})
TERMINAL = json_reply(
    409,
    {"code": 409, "message": "sold out", "metadata": {"item": "tea"}, "source": "invocation"},
    {"x-restate-error-source": "invocation"},
)
NOT_READY = json_reply(
    470, {"code": 470, "message": "not yet", "source": "ingress"}, {"x-restate-error-source": "ingress"}
)


@asynccontextmanager
async def client_of(*scripts: Script, **options: Any) -> AsyncIterator[tuple[Client, ScriptedServer]]:
    async with serve(*scripts) as server, Client(server.url, connect_delays=(), **options) as client:
        yield client, server


# -- calls -------------------------------------------------------------------------------------------------------------


async def test_a_call_writes_the_argument_and_reads_the_result_by_their_annotations() -> None:
    async with client_of(always(RECEIPT)) as (client, server):
        receipt = await client.call(checkout, Order("tea", 2))
        assert_type(receipt, Receipt)
        assert receipt == Receipt(1.5)
        (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/Shop/checkout")
    assert json.loads(request.body) == {"item": "tea", "count": 2}
    assert request.headers["content-type"] == "application/json"


async def test_a_handler_without_input_gets_neither_body_nor_media_type() -> None:
    async with client_of(always(reply())) as (client, server):
        await client.call(tick)
        (request,) = server.requests
    assert request.body == b""
    assert "content-type" not in request.headers


async def test_bytes_travel_as_they_are() -> None:
    async with client_of(always(reply(200, b"\0\xff"))) as (client, server):
        assert await client.call(upload, b"\x01\x02") == b"\0\xff"
        (request,) = server.requests
    assert (request.body, request.headers["content-type"]) == (b"\x01\x02", "application/octet-stream")


async def test_a_handler_of_an_object_is_called_by_key() -> None:
    async with client_of(always(reply(200, b"8"))) as (client, server):
        assert_type(await client.call(reserve, 2, key="green tea"), int)
        assert_type(await client.call(level, key="green tea"), int)
        targets = [request.target for request in server.requests]
    assert targets == ["/Stock/green%20tea/reserve", "/Stock/green%20tea/level"]


async def test_options_of_a_call_reach_the_request() -> None:
    async with client_of(always(RECEIPT), headers={"authorization": "Bearer x"}) as (client, server):
        await client.call(
            checkout,
            Order("tea", 2),
            idempotency_key="order-7",
            headers={"Trace": "abc"},
            scope="eu",
            limit_key="customer/7",
        )
        (request,) = server.requests
    assert request.target == "/restate/scope/eu/call/Shop/checkout"
    sent = {
        name: request.headers[name] for name in ("authorization", "idempotency-key", "trace", "x-restate-limit-key")
    }
    assert sent == {
        "authorization": "Bearer x",
        "idempotency-key": "order-7",
        "trace": "abc",
        "x-restate-limit-key": "customer/7",
    }


async def test_serdes_given_to_a_call_win() -> None:
    async with client_of(always(reply(200, b"raw"))) as (client, server):
        raw: Any = b"order"
        result: Any = await client.call(checkout, raw, input=serde_for(bytes), output=serde_for(bytes))
        assert result == b"raw"
        assert server.requests[0].body == b"order"


async def test_the_error_of_a_handler_arrives_equal() -> None:
    async with client_of(always(TERMINAL)) as (client, _):
        with pytest.raises(TerminalError) as caught:
            await client.call(checkout, Order("tea", 2))
    assert caught.value == TerminalError("sold out", code=409, metadata={"item": "tea"})


@pytest.mark.parametrize("body", [b"", b"{", b'{"total": "many"}', b"\xff"])
async def test_a_result_that_the_annotation_does_not_allow_is_a_serde_error(body: bytes) -> None:
    async with client_of(always(reply(200, body))) as (client, _):
        with pytest.raises(SerdeError, match="the result of Shop/checkout"):
            await client.call(checkout, Order("tea", 2))


async def test_an_argument_that_cannot_be_written_is_a_serde_error_and_not_sent() -> None:
    async with client_of(always(reply())) as (client, server):
        with pytest.raises(SerdeError, match="the argument of Stock/x/reserve"):
            await client.call(reserve, object(), key="x")  # type: ignore[arg-type]  # wrong on purpose
        assert server.requests == []


async def test_a_name_for_the_journal_is_refused() -> None:
    async with client_of(always(reply())) as (client, _):
        with pytest.raises(UsageError, match="leave name= out"):
            await client.call(tick, name="now")


async def test_a_client_that_is_not_open_says_so() -> None:
    client = Client("http://127.0.0.1:1")
    assert repr(client) == "<Client of http://127.0.0.1:1>"
    with pytest.raises(UsageError, match="async with"):
        await client.call(tick)


async def test_a_cancelled_call_leaves_the_client_usable() -> None:
    arrived = anyio.Event()

    async def never(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await anyio.sleep_forever()

    async with client_of(never, always(reply()), limit=1) as (client, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call, tick)
            await arrived.wait()
            tasks.cancel_scope.cancel()
        await client.call(tick)


async def test_many_tasks_share_a_client() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.send(reply(200, request.body))

    results: dict[int, int] = {}
    async with client_of(echo, limit=4) as (client, server):

        async def call(number: int) -> None:
            results[number] = await client.call(reserve, number, key="x")

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(call, number)
        assert server.connections <= 4
    assert results == {number: number for number in range(40)}


# -- codecs ------------------------------------------------------------------------------------------------------------


async def test_the_codec_of_the_endpoint_changes_arguments_and_results() -> None:
    async with client_of(always(reply(200, b'}5.1 :"latot"{')), codec=Reversed()) as (client, server):
        assert await client.call(checkout, Order("tea", 2)) == Receipt(1.5)
        (request,) = server.requests
    assert json.loads(request.body[::-1]) == {"item": "tea", "count": 2}
    assert request.headers["content-type"] == "application/x-reversed"


async def test_the_codec_of_a_service_wins_over_that_of_the_client() -> None:
    async with client_of(always(reply(200, b'"Hello"')), codec=Reversed()) as (client, server):
        assert await client.call(greet, "Ada") == "Hello"
        assert server.requests[0].body == b'"Ada"'


async def test_a_serde_factory_replaces_the_choice_by_annotation() -> None:
    async with client_of(always(reply(200, b"raw")), serde=lambda _: serde_for(bytes)) as (client, server):
        result: object = await client.call(greet, b"name")  # type: ignore[arg-type]  # the factory makes it bytes
        assert result == b"raw"
        assert server.requests[0].body == b"name"


# -- sends -------------------------------------------------------------------------------------------------------------


async def test_a_send_gives_a_handle() -> None:
    async with client_of(always(ACCEPTED)) as (client, server):
        sent = await client.send(checkout, Order("tea", 2))
        assert_type(sent, SentInvocation[Receipt])
        assert (sent.invocation_id, sent.status, sent.execution_time) == ("inv_1x", "Accepted", None)
        assert repr(sent) == "<SentInvocation inv_1x>"
        assert server.requests[0].target == "/Shop/checkout/send"


async def test_a_send_may_be_delayed() -> None:
    async with client_of(always(ACCEPTED)) as (client, server):
        await client.send(reserve, 1, key="x", delay=timedelta(hours=1))
        await client.send(tick, delay=0.25)
        targets = [request.target for request in server.requests]
    assert targets == ["/Stock/x/reserve/send?delay=3600000ms", "/Shop/tick/send?delay=250ms"]


async def test_the_handle_of_a_send_waits_for_the_result() -> None:
    async def ingress(peer: Peer) -> None:
        await peer.request()
        await peer.send(ACCEPTED)
        await always(RECEIPT)(peer)

    async with client_of(ingress, always(RECEIPT)) as (client, server):
        sent = await client.send(checkout, Order("tea", 2))
        assert_type(await sent.attach(), Receipt)
        assert await sent.attach() == Receipt(1.5)
        assert {request.target for request in server.requests[1:]} == {"/restate/invocation/inv_1x/attach"}


# -- invocations -------------------------------------------------------------------------------------------------------


async def test_an_invocation_is_named_by_its_id_and_type() -> None:
    async with client_of(always(RECEIPT)) as (client, server):
        invocation = client.invocation("inv_1x", Receipt)
        assert_type(invocation, IngressInvocation[Receipt])
        assert await invocation.attach() == Receipt(1.5)
        assert await client.attach("inv_1x", Receipt) == Receipt(1.5)
        assert {request.target for request in server.requests} == {"/restate/invocation/inv_1x/attach"}


async def test_without_a_type_an_invocation_gives_any_json() -> None:
    async with client_of(always(RECEIPT)) as (client, _):
        assert await client.attach("inv_1x") == {"total": 1.5}
        assert await client.invocation("inv_1x").attach() == {"total": 1.5}


async def test_an_invocation_is_named_by_its_idempotency_key() -> None:
    async with client_of(always(reply(200, b"8"))) as (client, server):
        assert_type(client.invocation(reserve, key="x", idempotency_key="once"), IngressInvocation[int])
        assert await client.invocation(reserve, key="x", idempotency_key="once").attach() == 8
        assert server.requests[0].target == "/restate/invocation/Stock/x/reserve/once/attach"


async def test_the_run_of_a_workflow_is_named_by_its_key() -> None:
    async with client_of(always(RECEIPT)) as (client, server):
        assert await client.invocation(run, key="o/7").attach() == Receipt(1.5)
        assert server.requests[0].target == "/restate/workflow/Flow/o%2F7/attach"


async def test_invocations_in_a_scope_are_named_with_it() -> None:
    async with client_of(always(RECEIPT)) as (client, server):
        await client.invocation(checkout, idempotency_key="once", scope="eu").attach()
        await client.invocation(run, key="7", scope="eu").attach()
        assert [json.loads(request.body)["scope"] for request in server.requests] == ["eu", "eu"]


@pytest.mark.parametrize(
    ("handler", "options", "message"),
    [
        (checkout, {}, "give the idempotency_key="),
        (checkout, {"idempotency_key": "once", "key": "x"}, "leave key= out"),
        (reserve, {"idempotency_key": "once"}, "give key="),
        (run, {}, "give key="),
        (run, {"key": "x", "idempotency_key": "once"}, "leave idempotency_key= out"),
    ],
)
async def test_what_names_no_invocation_is_refused(handler: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Client("http://127.0.0.1:1").invocation(handler, **options)


async def test_an_output_is_none_then_a_success() -> None:
    async def ingress(peer: Peer) -> None:
        await peer.request()
        await peer.send(NOT_READY)
        await peer.request()
        await peer.send(RECEIPT)

    async with client_of(ingress) as (client, server):
        invocation = client.invocation("inv_1x", Receipt)
        assert_type(await invocation.output(), Succeeded[Receipt] | Failed | None)
        assert await invocation.output() == Succeeded(Receipt(1.5))
        assert {request.target for request in server.requests} == {"/restate/invocation/inv_1x/output"}


async def test_an_output_may_be_a_failure() -> None:
    async with client_of(always(TERMINAL)) as (client, _):
        outcome = await client.invocation("inv_1x").output()
    assert outcome == Failed(TerminalError("sold out", code=409, metadata={"item": "tea"}))


async def test_an_output_of_the_wrong_type_is_a_serde_error() -> None:
    async with client_of(always(RECEIPT)) as (client, _):
        with pytest.raises(SerdeError, match="the result of inv_1x"):
            await client.invocation("inv_1x", int).output()


async def test_an_invocation_that_is_not_known_is_told_as_such() -> None:
    data = {"code": 404, "message": "invocation not found", "source": "ingress"}
    async with client_of(always(json_reply(404, data, {"x-restate-error-source": "ingress"}))) as (client, _):
        for ask in (client.invocation("inv_1x").attach, client.invocation("inv_1x").output):
            with pytest.raises(IngressError, match="retention"):
                await ask()


# -- by name -----------------------------------------------------------------------------------------------------------


async def test_handlers_may_be_called_by_name_with_bytes() -> None:
    async with client_of(always(reply(200, b"8")), codec=Reversed()) as (client, server):
        assert await client.generic_call("Stock", "reserve", b"2", key="x") == b"8"
        (request,) = server.requests
    assert (request.target, request.body) == ("/Stock/x/reserve", b"2")
    assert request.headers["content-type"] == "application/json"


async def test_no_bytes_have_no_media_type() -> None:
    async with client_of(always(reply())) as (client, server):
        await client.generic_call("Shop", "tick", b"")
        assert "content-type" not in server.requests[0].headers


async def test_bytes_may_be_of_any_media_type() -> None:
    async with client_of(always(reply())) as (client, server):
        await client.generic_call("Shop", "upload", b"x", content_type="text/plain")
        assert server.requests[0].headers["content-type"] == "text/plain"


async def test_handlers_may_be_sent_to_by_name() -> None:
    async with client_of(always(ACCEPTED)) as (client, server):
        sent = await client.generic_send("Shop", "tick", b"", delay=1, idempotency_key="once")
        assert_type(sent, SentInvocation[bytes])
        (request,) = server.requests
    assert request.target == "/Shop/tick/send?delay=1000ms"
    assert request.headers["idempotency-key"] == "once"


async def test_what_was_sent_by_name_answers_with_bytes() -> None:
    async with client_of(always(ACCEPTED), always(reply(200, b"\0raw"))) as (client, _):
        sent = await client.generic_send("Shop", "upload", b"x")
        assert await sent.attach() == b"\0raw"


# -- awakeables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "body"),
    [(True, b"true"), (Receipt(1.5), b'{"total":1.5}'), (b"\0", b"\0"), ([1, "a"], b'[1,"a"]'), (None, b"null")],
)
async def test_an_awakeable_is_resolved_by_the_class_of_the_value(value: object, body: bytes) -> None:
    async with client_of(always(reply(202))) as (client, server):
        await client.resolve_awakeable("sign_1x", value)
        (request,) = server.requests
    assert (request.target, request.body) == ("/restate/awakeables/sign_1x/resolve", body)


async def test_an_awakeable_is_resolved_by_the_serde_given() -> None:
    async with client_of(always(reply(202)), codec=Reversed()) as (client, server):
        await client.resolve_awakeable("sign_1x", [1, 2], serde=serde_for(list[int]))
        assert server.requests[0].body == b"]2,1["


async def test_a_value_that_cannot_be_written_resolves_nothing() -> None:
    async with client_of(always(reply(202))) as (client, server):
        with pytest.raises((SerdeError, UsageError)):
            await client.resolve_awakeable("sign_1x", object())
        assert server.requests == []


async def test_an_awakeable_is_rejected_with_a_message() -> None:
    async with client_of(always(reply(202))) as (client, server):
        await client.reject_awakeable("sign_1x", "niemals \N{SNOWMAN}")
        (request,) = server.requests
    assert (request.target, request.body.decode()) == ("/restate/awakeables/sign_1x/reject", "niemals \N{SNOWMAN}")


# -- health ------------------------------------------------------------------------------------------------------------


async def test_health_names_the_services() -> None:
    async with client_of(always(json_reply(200, {"services": ["Shop"]}))) as (client, _):
        assert await client.health() == ["Shop"]
