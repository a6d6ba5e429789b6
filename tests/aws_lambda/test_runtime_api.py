"""The client of the Runtime API, against a strict server on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from perdure.aws_lambda import ConnectionLostError, LambdaContext, Outcome, RuntimeApiClient, RuntimeApiError, diagnose
from perdure.aws_lambda.http1 import Address
from perdure.aws_lambda.response import MetadataPrelude
from perdure.aws_lambda.runtime_api import InvalidInvocationError, parse_address
from perdure.exceptions import UsageError
from tests.aws_lambda.runtime_server import context, runtime_server

pytestmark = pytest.mark.anyio

INVOCATION = b"Lambda-Runtime-Aws-Request-Id: early\r\n"


async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        for number in range(3):
            server.give(number)
            invocation = await client.next_invocation()
            assert invocation.body == str(number).encode()
            assert await client.respond(invocation.context, b"1") is Outcome.ACCEPTED
        assert server.connections == 1


async def test_calls_at_the_same_time_have_a_connection_each() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.next_invocation)
            tasks.start_soon(client.next_invocation)
            await server.until(polls=2)
            server.give()
            server.give()
        assert server.connections == 2


async def test_an_answer_without_an_invocation_is_asked_again() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.extend([b"HTTP/1.1 204 No Content\r\n\r\n"] * 3)
        server.give("tea")
        assert (await client.next_invocation()).body == b'"tea"'
        assert server.polls == 4
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nLAMBDA-RUNTIME-AWS-REQUEST-ID: early\r\ncontent-LENGTH: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + INVOCATION + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + INVOCATION + b"Content-Length: 2\r\n\r\n{}",
    ],
    ids=["any case", "chunked", "interim"],
)
async def test_every_form_of_an_answer_is_read_byte_by_byte(answer: bytes) -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.append(answer)
        invocation = await client.next_invocation()
        assert (invocation.context.request_id, invocation.body) == ("early", b"{}")
        server.give("next")
        assert (await client.next_invocation()).body == b'"next"'
        assert server.connections == 1


async def test_headers_beyond_ascii_are_read() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.give(headers={"Lambda-Runtime-Client-Context": '{"custom": {"name": "Grüße"}}'})
        found = (await client.next_invocation()).context.client_context
        assert found is not None
        assert found.custom == {"name": "Grüße"}


async def test_every_call_is_put_under_the_base_path() -> None:
    async with runtime_server("/deep/down") as server, RuntimeApiClient(server.address) as client:
        server.give()
        invocation = await client.next_invocation()
        await client.respond(invocation.context, b"1")
        assert {request.target.split(b"/2018")[0] for request in server.requests} == {b"/deep/down"}


async def test_a_connection_that_died_while_idle_is_replaced() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give()
        invocation = await client.next_invocation()
        await server.end_connections()
        assert await client.respond(invocation.context, b"1") is Outcome.ACCEPTED
        assert server.answers[request_id].body == b"1"
        assert server.connections == 2


async def test_a_poll_that_loses_its_kept_connection_is_sent_again() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.give()
        invocation = await client.next_invocation()
        await client.respond(invocation.context, b"1")
        server.before_next.append(None)
        server.give("second")
        assert (await client.next_invocation()).body == b'"second"'
        assert server.connections == 2


async def test_an_answer_that_was_taken_but_not_acknowledged_is_no_error() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give()
        invocation = await client.next_invocation()
        server.after_answer.append(None)
        assert await client.respond(invocation.context, b"1") is Outcome.REPEATED
        assert server.answers[request_id].body == b"1"
        assert server.refused == [403]


async def test_a_new_connection_that_breaks_is_an_error_that_says_whether_anything_was_sent() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.append(None)
        with pytest.raises(ConnectionLostError, match="before it answered") as caught:
            await client.next_invocation()
        assert caught.value.sent
        assert not caught.value.answered


async def test_an_answer_that_is_cut_off_is_an_error_that_says_so() -> None:
    async with cut_off(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{") as client:
        with pytest.raises(ConnectionLostError, match="in the middle of its answer") as caught:
            await client.next_invocation()
        assert caught.value.answered


async def test_what_is_no_http_is_an_error_that_says_so() -> None:
    async with cut_off(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as client:
        with pytest.raises(RuntimeApiError, match=r"did not answer with an HTTP/1\.1 response"):
            await client.next_invocation()


@asynccontextmanager
async def cut_off(said: bytes) -> AsyncIterator[RuntimeApiClient]:
    """A server that says some bytes to the first request of each connection, and ends it."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(said)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        async with RuntimeApiClient(f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}") as client:
            yield client
        tasks.cancel_scope.cancel()


async def test_nobody_who_listens_is_an_error_that_names_the_address() -> None:
    async with RuntimeApiClient("127.0.0.1:9") as client:
        with pytest.raises(ConnectionLostError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
            await client.next_invocation()
        assert not caught.value.sent


@pytest.mark.parametrize(
    ("status", "said"), [(500, "500"), (403, r"403 \(InvalidStateTransition: too early\)")], ids=["500", "403"]
)
async def test_a_refused_poll_says_what_the_platform_said(status: int, said: str) -> None:
    body = b'{"errorType":"InvalidStateTransition","errorMessage":"too early"}' if status == 403 else b""
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.append(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        with pytest.raises(RuntimeApiError, match=said) as caught:
            await client.next_invocation()
        assert caught.value.status == status


async def test_a_large_answer_arrives_whole() -> None:
    body = bytes(range(256)) * 8192
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give(body)
        invocation = await client.next_invocation()
        assert invocation.body == body
        await client.respond(invocation.context, body, "application/octet-stream")
        assert server.answers[request_id].body == body
        assert server.answers[request_id].headers["content-type"] == "application/octet-stream"
        assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "outcome"), [(413, Outcome.TOO_LARGE), (410, Outcome.LATE), (200, Outcome.ACCEPTED)], ids=str
)
async def test_what_became_of_an_answer_is_told(status: int, outcome: Outcome) -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_answer.append(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
        assert await client.respond(context("any"), b"1") is outcome


async def test_an_answer_to_an_unknown_invocation_is_refused() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with pytest.raises(RuntimeApiError, match=r"take an answer and answered 400 \(Refused: refused\)"):
            await client.respond(context("unknown"), b"1")


async def test_an_error_report_carries_type_and_cause() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give()
        invocation = await client.next_invocation()
        await client.fail(invocation.context, diagnose(ValueError("zu groß")))
        answer = server.answers[request_id]
        assert answer.kind == "error"
        assert answer.headers["lambda-runtime-function-error-type"] == "Function.ValueError"
        assert '"message": "zu gro\\u00df"' in answer.headers["lambda-runtime-function-xray-error-cause"]
        assert answer.json["errorMessage"] == "zu groß"


async def test_a_stream_is_sent_in_pieces_behind_its_prelude() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give()
        invocation = await client.next_invocation()
        stream = await client.respond_stream(invocation.context, MetadataPrelude(201, {"a": "b"}, ["c=d"]))
        await stream.send(b"one")
        await stream.send(b"")
        await stream.send(b"two")
        assert await stream.finish() is Outcome.ACCEPTED
        answer = server.answers[request_id]
        assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert answer.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
        prelude = b'{"statusCode":201,"headers":{"a":"b"},"cookies":["c=d"]}'
        assert answer.body == prelude + bytes(8) + b"onetwo"
        assert answer.trailers == {}
        server.give()
        await client.next_invocation()
        assert server.connections == 1


async def test_a_stream_that_fails_ends_with_trailers() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give()
        invocation = await client.next_invocation()
        stream = await client.respond_stream(invocation.context, content_type="text/plain")
        await stream.send(b"one")
        await stream.finish(diagnose(ValueError("midway")))
        answer = server.answers[request_id]
        assert answer.headers["trailer"] == "lambda-runtime-function-error-type, lambda-runtime-function-error-body"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
        assert answer.trailers["lambda-runtime-function-error-body"]


@pytest.mark.parametrize("header", ["Lambda-Runtime-Client-Context", "Lambda-Runtime-Cognito-Identity"])
async def test_a_header_that_cannot_be_read_is_told_with_its_invocation(header: str) -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give(headers={header: "{"})
        with pytest.raises(InvalidInvocationError, match="cannot be read") as caught:
            await client.next_invocation()
        assert caught.value.context.request_id == request_id


async def test_a_content_type_that_is_no_header_is_refused_before_anything_is_sent() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with pytest.raises(UsageError, match="visible ASCII"):
            await client.respond(context("any"), b"1", "text/plain\r\nx: y")
        assert server.requests == []


async def test_a_cancelled_poll_closes_its_connection() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with anyio.move_on_after(0.05):
            await client.next_invocation()
        assert not client._idle
        server.give("tea")
        with anyio.fail_after(5):
            # The server may not have noticed yet, and give the first to nobody.
            server.give("tea")
            assert (await client.next_invocation()).body == b'"tea"'


async def test_a_reset_client_connects_anew() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        await client.respond(context(server.give()), b"1")
        await client.reset()
        server.give()
        await client.next_invocation()
        assert server.connections == 2


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9001", Address("127.0.0.1", 9001)),
        ("localhost:9001/a/b/", Address("localhost", 9001, "/a/b")),
        ("http://host:1", Address("host", 1)),
        ("http://host/path", Address("host", 80, "/path")),
        ("[::1]:9001", Address("::1", 9001)),
    ],
)
async def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["https://host:1", "host:port", "http://", "http://a:b@host:1", "host:1?x=y"])
async def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no address of a Runtime API"):
        parse_address(text)


async def test_a_missing_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    with pytest.raises(UsageError, match="AWS_LAMBDA_RUNTIME_API is not set"):
        RuntimeApiClient()


async def test_an_address_of_version_six_stands_in_brackets_in_the_host_header() -> None:
    assert Address("::1", 9001).authority == "[::1]:9001"


async def test_the_invocation_id_is_given_back() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        request_id = server.give(headers={"Lambda-Runtime-Invocation-Id": "try-1"})
        invocation = await client.next_invocation()
        assert invocation.context == LambdaContext(request_id=request_id, invocation_id="try-1")
        server.expire(request_id, "try-2")
        assert await client.respond(invocation.context, b"1") is Outcome.LATE
