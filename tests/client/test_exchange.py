"""Asking an ingress on bytes, against a real socket: what is sent, what is repeated, what an answer becomes."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from perdure.client.exchange import Exchange, Invoke, SendReceipt
from perdure.client.targets import IdempotentTarget, InvocationTarget, Target
from perdure.exceptions import IngressError, TerminalError, UsageError
from tests.client.scripted_server import Peer, Script, ScriptedServer, always, answering, json_reply, reply, serve

pytestmark = pytest.mark.anyio

ADD = Target("Counter", "add", "a b")
INVOCATION = InvocationTarget("inv_1x")
ACCEPTED = json_reply(202, {"invocationId": "inv_1x", "status": "Accepted"}, {"x-restate-id": "inv_1x"})


def invoke(target: Target = ADD, **fields: Any) -> Invoke:
    defaults: dict[str, Any] = {
        "payload": b"5",
        "content_type": "application/json",
        "headers": {},
        "idempotency_key": None,
        "limit_key": None,
    }
    return Invoke(target=target, **{**defaults, **fields})


@asynccontextmanager
async def exchange_with(*scripts: Script, **options: Any) -> AsyncIterator[tuple[Exchange, ScriptedServer]]:
    async with serve(*scripts) as server, Exchange(server.url, **{"connect_delays": (), **options}) as exchange:
        yield exchange, server


async def read_then_leave(peer: Peer) -> None:
    await peer.request()


# -- what is sent ------------------------------------------------------------------------------------------------------


async def test_a_call_carries_the_payload_and_its_media_type() -> None:
    async with exchange_with(always(reply(200, b"7"))) as (exchange, server):
        assert (await exchange.call(invoke())).body == b"7"
        (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/Counter/a%20b/add", b"5")
    assert set(request.headers) == {"host", "content-length", "content-type"}
    assert request.headers["content-type"] == "application/json"


async def test_a_call_without_input_has_neither_body_nor_media_type() -> None:
    """The ingress refuses a media type where a handler takes nothing."""
    async with exchange_with(always(reply())) as (exchange, server):
        await exchange.call(invoke(payload=b"", content_type=""))
        assert "content-type" not in server.requests[0].headers


async def test_headers_of_the_call_come_before_those_of_the_client() -> None:
    async with exchange_with(always(reply()), headers={"Authorization": "a", "X-Both": "client"}) as (exchange, server):
        await exchange.call(invoke(headers={"x-both": "call", "X-Own": "1"}))
        headers = server.requests[0].headers
    assert (headers["authorization"], headers["x-both"], headers["x-own"]) == ("a", "call", "1")


async def test_keys_of_idempotency_and_limit_travel_as_headers() -> None:
    target = Target("Shop", "checkout", scope="eu")
    async with exchange_with(always(reply())) as (exchange, server):
        await exchange.call(invoke(target, idempotency_key="once", limit_key="a/b"))
        (request,) = server.requests
    assert request.target == "/restate/scope/eu/call/Shop/checkout"
    assert (request.headers["idempotency-key"], request.headers["x-restate-limit-key"]) == ("once", "a/b")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit_key": "a"}, "scope"),
        ({"idempotency_key": ""}, "empty"),
        ({"idempotency_key": "snow \N{SNOWMAN}"}, "ASCII"),
        ({"headers": {"x": "a\nb"}}, "one line"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_is(fields: dict[str, Any], message: str) -> None:
    async with exchange_with(always(reply())) as (exchange, server):
        with pytest.raises(UsageError, match=message):
            await exchange.call(invoke(**fields))
        assert server.connections == 0


async def test_a_send_is_accepted() -> None:
    async with exchange_with(always(ACCEPTED)) as (exchange, server):
        assert await exchange.send(invoke()) == SendReceipt("inv_1x", "Accepted")
        assert server.requests[0].target == "/Counter/a%20b/add/send"


async def test_a_send_with_a_delay_says_when_it_starts() -> None:
    data = {"invocationId": "inv_1x", "status": "PreviouslyAccepted", "executionTime": "2026-11-21T02:20:32.909000000Z"}
    async with exchange_with(always(json_reply(202, data))) as (exchange, server):
        receipt = await exchange.send(invoke(), delay=dt.timedelta(minutes=1))
        assert server.requests[0].target == "/Counter/a%20b/add/send?delay=60000ms"
    assert receipt.status == "PreviouslyAccepted"
    assert receipt.execution_time == dt.datetime(2026, 11, 21, 2, 20, 32, 909000, dt.UTC)


async def test_a_read_by_body_is_json() -> None:
    async with exchange_with(always(reply(200, b"7"))) as (exchange, server):
        await exchange.read(IdempotentTarget(ADD, "a/b"), "attach")
        (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/restate/attach")
    assert request.headers["content-type"] == "application/json"


async def test_awakeables_are_resolved_and_rejected() -> None:
    async with exchange_with(always(reply(202))) as (exchange, server):
        await exchange.complete_awakeable("sign_1x", "resolve", b"true")
        await exchange.complete_awakeable("sign_1x", "reject", b"no")
        targets = [(request.target, request.body) for request in server.requests]
    assert targets == [
        ("/restate/awakeables/sign_1x/resolve", b"true"),
        ("/restate/awakeables/sign_1x/reject", b"no"),
    ]


async def test_health_names_the_services() -> None:
    async with exchange_with(always(json_reply(200, {"services": ["Counter", "Shop"]}))) as (exchange, server):
        assert await exchange.health() == ["Counter", "Shop"]
        assert (server.requests[0].method, server.requests[0].target) == ("GET", "/restate/health")


# -- what an answer becomes --------------------------------------------------------------------------------------------


async def test_a_terminal_failure_is_raised() -> None:
    body = {"code": 409, "message": "sold out", "metadata": {"a": "b"}, "source": "invocation"}
    async with exchange_with(always(json_reply(409, body, {"x-restate-error-source": "invocation"}))) as (exchange, _):
        with pytest.raises(TerminalError) as caught:
            await exchange.call(invoke())
    assert caught.value == TerminalError("sold out", code=409, metadata={"a": "b"})


async def test_a_refusal_is_raised_with_what_was_asked() -> None:
    body = {"code": 404, "message": "service 'Counter' not found", "source": "ingress"}
    async with exchange_with(always(json_reply(404, body, {"x-restate-error-source": "ingress"}))) as (
        exchange,
        server,
    ):
        with pytest.raises(IngressError) as caught:
            await exchange.call(invoke())
    assert caught.value.status == 404
    assert caught.value.message.startswith(f"{server.url} did not call Counter/a b/add: 404, service 'Counter'")


async def test_no_output_yet_is_told_by_none() -> None:
    body = {"code": 470, "message": "not completed yet", "source": "ingress"}
    async with exchange_with(always(json_reply(470, body, {"x-restate-error-source": "ingress"}))) as (exchange, _):
        assert await exchange.read(INVOCATION, "output") is None


async def test_an_attach_is_never_unready() -> None:
    body = {"code": 470, "message": "not completed yet", "source": "ingress"}
    async with exchange_with(always(json_reply(470, body, {"x-restate-error-source": "ingress"}))) as (exchange, _):
        with pytest.raises(IngressError, match="attach"):
            await exchange.read(INVOCATION, "attach")


NOT_FOUND = {"code": 404, "message": "not found", "source": "invocation"}
BY_INVOCATION = {"x-restate-error-source": "invocation", "x-restate-id": "inv_1x"}


async def test_an_attach_that_found_nothing_is_not_taken_for_a_failure_of_the_invocation() -> None:
    """The server says the same for both; its answer to the question for the output tells them apart."""
    unknown = {"code": 404, "message": "invocation not found", "source": "ingress"}
    async with exchange_with(
        always(json_reply(404, NOT_FOUND, BY_INVOCATION)),
        always(json_reply(404, unknown, {"x-restate-error-source": "ingress"})),
    ) as (exchange, server):
        with pytest.raises(IngressError, match="retention") as caught:
            await exchange.read(INVOCATION, "attach")
        assert caught.value.status == 404
        assert [request.target.rpartition("/")[2] for request in server.requests] == ["attach", "output"]


async def test_an_invocation_that_failed_with_not_found_is_told_as_such() -> None:
    failed = json_reply(404, NOT_FOUND, BY_INVOCATION)
    async with exchange_with(always(failed), always(failed)) as (exchange, server):
        with pytest.raises(TerminalError) as caught:
            await exchange.read(INVOCATION, "attach")
        assert len(server.requests) == 2
    assert caught.value == TerminalError("not found", code=404)


async def test_a_stored_failure_needs_no_second_question() -> None:
    stored = {**BY_INVOCATION, "idempotency-expires": "2026-11-22T05:28:33.411+00:00"}
    async with exchange_with(always(json_reply(404, NOT_FOUND, stored))) as (exchange, server):
        with pytest.raises(TerminalError):
            await exchange.read(INVOCATION, "attach")
        assert len(server.requests) == 1


async def test_a_call_that_failed_with_not_found_needs_no_second_question() -> None:
    async with exchange_with(always(json_reply(404, NOT_FOUND, BY_INVOCATION))) as (exchange, server):
        with pytest.raises(TerminalError):
            await exchange.call(invoke())
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"OK", b"{}", b'{"invocationId": 1}', b'{"invocationId": "x", "status": "New"}'])
async def test_a_receipt_that_is_none_is_told_as_such(body: bytes) -> None:
    async with exchange_with(always(reply(200, body))) as (exchange, _):
        with pytest.raises(IngressError, match="is this the address of the ingress"):
            await exchange.send(invoke())


async def test_health_of_something_else_is_told_as_such() -> None:
    async with exchange_with(always(reply(200, b"OK"))) as (exchange, _):
        with pytest.raises(IngressError, match="is this the address of the ingress"):
            await exchange.health()


# -- when nobody answers -----------------------------------------------------------------------------------------------


async def test_nobody_listening_is_told_with_the_address() -> None:
    async with serve(always(reply())) as server:
        pass
    async with Exchange(server.url, connect_delays=()) as exchange:
        with pytest.raises(IngressError) as caught:
            await exchange.call(invoke())
    assert caught.value.status is None
    assert f"cannot connect to {server.url}: Connection refused" in caught.value.message


async def test_a_lost_call_says_that_it_may_have_been_accepted() -> None:
    async with exchange_with(read_then_leave) as (exchange, server):
        with pytest.raises(IngressError, match="with an idempotency key it could be repeated"):
            await exchange.call(invoke())
        assert len(server.requests) == 1


async def test_a_call_that_never_left_in_full_says_that_it_was_not_accepted() -> None:
    async def leaving(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.reset()

    async with exchange_with(leaving) as (exchange, server):
        with pytest.raises(IngressError, match="not sent in full, so the server has not accepted it"):
            await exchange.call(invoke(payload=b"x" * (16 * 1024 * 1024)))
        assert server.connections == 2


@pytest.mark.parametrize("fields", [{"idempotency_key": "once"}, {"headers": {"Idempotency-Key": "once"}}])
async def test_a_lost_call_with_an_idempotency_key_is_repeated_once(fields: dict[str, Any]) -> None:
    async with exchange_with(read_then_leave, always(reply(200, b"7"))) as (exchange, server):
        assert (await exchange.call(invoke(**fields))).body == b"7"
        assert [request.headers["idempotency-key"] for request in server.requests] == ["once", "once"]


async def test_a_lost_send_is_repeated_only_with_an_idempotency_key() -> None:
    async with exchange_with(read_then_leave, always(ACCEPTED)) as (exchange, server):
        with pytest.raises(IngressError):
            await exchange.send(invoke())
        assert len(server.requests) == 1
    async with exchange_with(read_then_leave, always(ACCEPTED)) as (exchange, server):
        await exchange.send(invoke(idempotency_key="once"))
        assert len(server.requests) == 2


@pytest.mark.parametrize("verb", ["attach", "output"])
async def test_a_lost_read_is_repeated(verb: Any) -> None:
    async with exchange_with(read_then_leave, always(reply(200, b"7"))) as (exchange, server):
        response = await exchange.read(IdempotentTarget(ADD, "a/b"), verb)
        assert response is not None
        assert len(server.requests) == 2


async def test_a_read_lost_twice_gives_up() -> None:
    async with exchange_with(read_then_leave) as (exchange, server):
        with pytest.raises(IngressError, match="may be repeated again"):
            await exchange.read(INVOCATION, "attach")
        assert len(server.requests) == 2


async def test_a_lost_completion_of_an_awakeable_is_not_repeated() -> None:
    async with exchange_with(read_then_leave) as (exchange, server):
        with pytest.raises(IngressError):
            await exchange.complete_awakeable("sign_1x", "resolve", b"")
        assert len(server.requests) == 1


async def test_a_status_is_never_repeated() -> None:
    body = {"code": 503, "message": "routing", "source": "ingress"}
    async with exchange_with(always(json_reply(503, body, {"x-restate-error-source": "ingress"}))) as (
        exchange,
        server,
    ):
        with pytest.raises(IngressError):
            await exchange.call(invoke(idempotency_key="once"))
        assert len(server.requests) == 1


async def test_a_result_larger_than_the_limit_is_told_as_such() -> None:
    async with exchange_with(always(reply(200, b"x" * 100)), max_response_size=99) as (exchange, _):
        with pytest.raises(IngressError, match=r"more than 99 bytes.*max_response_size"):
            await exchange.call(invoke())


async def test_something_that_speaks_no_http_is_told_as_such() -> None:
    async with exchange_with(answering(b"220 smtp.test ESMTP\r\n\r\n")) as (exchange, _):
        with pytest.raises(IngressError, match="did not answer with an HTTP"):
            await exchange.call(invoke())


# -- waiting -----------------------------------------------------------------------------------------------------------


async def never(peer: Peer) -> None:
    await peer.request()
    await anyio.sleep_forever()


async def test_a_timeout_ends_the_waiting_and_not_the_invocation() -> None:
    async with exchange_with(never, timeout=0.01) as (exchange, _):
        with pytest.raises(TimeoutError, match=r"did not call Counter/a b/add within 0\.01 s.*goes on"):
            await exchange.call(invoke())


async def test_a_timeout_of_the_caller_is_the_callers() -> None:
    async with exchange_with(never, timeout=60) as (exchange, _):
        with anyio.move_on_after(0.01) as scope:
            await exchange.call(invoke())
        assert scope.cancelled_caught


async def test_calls_that_wait_do_not_keep_an_awakeable_from_being_resolved() -> None:
    resolved = anyio.Event()

    async def ingress(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if "awakeables" in request.target:
                resolved.set()
                await peer.send(reply(202))
            else:
                await resolved.wait()
                await peer.send(reply(200, b"7"))

    async with exchange_with(ingress, limit=2) as (exchange, _), anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(exchange.call, invoke())
        await anyio.wait_all_tasks_blocked()
        await exchange.complete_awakeable("sign_1x", "resolve", b"")


async def test_attaches_wait_among_the_calls_and_outputs_do_not() -> None:
    attached, go = anyio.Event(), anyio.Event()

    async def ingress(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.target.endswith("attach"):
                attached.set()
                await go.wait()
            await peer.send(reply(200, b"7"))

    async with exchange_with(ingress, limit=1) as (exchange, server), anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.read, INVOCATION, "attach")
        tasks.start_soon(exchange.read, INVOCATION, "attach")
        await attached.wait()
        await exchange.read(INVOCATION, "output")
        assert [request.target.rpartition("/")[2] for request in server.requests] == ["attach", "output"]
        go.set()
