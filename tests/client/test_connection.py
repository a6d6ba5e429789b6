"""One HTTP/1.1 connection against a real socket."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from perdure.client.connection import (
    ConnectError,
    DisconnectedError,
    Headers,
    HttpConnection,
    Origin,
    Response,
    ResponseError,
    open_connection,
    request_head,
)
from perdure.exceptions import UsageError
from tests.client.scripted_server import Peer, ScriptedServer, always, answering, reply, serve

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024


@asynccontextmanager
async def connected(server: ScriptedServer, *, max_response_size: int = MEGABYTE) -> AsyncIterator[HttpConnection]:
    origin, _ = Origin.parse(server.url)
    connection = await open_connection(origin, max_response_size=max_response_size)
    try:
        yield connection
    finally:
        await connection.aclose()


async def ask(
    connection: HttpConnection, method: str = "GET", body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    head = request_head(Origin("http", "127.0.0.1", 80), method, "/x", headers, len(body))
    return await connection.exchange(head, body)


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "prefix", "authority"),
    [
        ("http://127.0.0.1:8080", Origin("http", "127.0.0.1", 8080), "", "127.0.0.1:8080"),
        ("http://example.test/", Origin("http", "example.test", 80), "", "example.test"),
        ("https://example.test/base/", Origin("https", "example.test", 443), "/base", "example.test"),
        ("https://example.test:80", Origin("https", "example.test", 80), "", "example.test:80"),
        ("http://[::1]:8080", Origin("http", "::1", 8080), "", "[::1]:8080"),
    ],
)
def test_a_url_names_an_origin_and_a_prefix(url: str, origin: Origin, prefix: str, authority: str) -> None:
    assert Origin.parse(url) == (origin, prefix)
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://a:b@host",
        "http://host?x=1",
        "http://a b",
        "http://bücher",
        "",
    ],
)
def test_a_url_that_no_request_can_go_to_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Origin.parse(url)


def test_credentials_of_a_url_are_not_repeated_in_the_message() -> None:
    with pytest.raises(UsageError) as caught:
        Origin.parse("http://me:secret@host")
    assert "secret" not in str(caught.value)


def test_header_names_have_no_case_and_repeated_ones_are_joined() -> None:
    headers = Headers([("X-Restate-Id", "inv_1"), ("Via", "a"), ("VIA", "b")])
    assert headers["x-restate-ID"] == "inv_1"
    assert headers.get("via") == "a, b"
    assert "VIA" in headers
    assert "host" not in headers
    assert headers.pairs == (("x-restate-id", "inv_1"), ("via", "a"), ("via", "b"))
    assert len(headers) == len(list(headers)) == 2
    assert repr(headers) == "Headers([('x-restate-id', 'inv_1'), ('via', 'a'), ('via', 'b')])"


@pytest.mark.parametrize("value", ["two\r\nlines", " padded", "snow \N{SNOWMAN}", "nul\0"])
def test_a_header_value_that_http_cannot_carry_is_a_usage_error(value: str) -> None:
    with pytest.raises(UsageError, match="visible ASCII"):
        request_head(Origin("http", "h", 80), "GET", "/", [("x", value)], 0)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_framing_headers_cannot_be_given(name: str) -> None:
    with pytest.raises(UsageError, match="set by the client"):
        request_head(Origin("http", "h", 80), "POST", "/", [(name, "3")], 3)


# -- exchanges ---------------------------------------------------------------------------------------------------------


async def test_a_request_arrives_as_it_was_given() -> None:
    async with serve(always(reply())) as server, connected(server) as connection:
        await ask(connection, "POST", b"hello", (("X-Thing", "1"),))
        (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/x", b"hello")
    assert dict(request.headers) == {"host": "127.0.0.1", "x-thing": "1", "content-length": "5"}


async def test_a_given_host_header_replaces_the_own_one() -> None:
    async with serve(always(reply())) as server, connected(server) as connection:
        await ask(connection, headers=(("Host", "other.test"),))
        assert server.requests[0].headers["host"] == "other.test"


async def test_a_post_without_a_body_says_so_and_a_get_says_nothing() -> None:
    async with serve(always(reply())) as server, connected(server) as connection:
        await ask(connection, "POST")
        await ask(connection, "GET")
        post, get = server.requests
    assert post.headers["content-length"] == "0"
    assert "content-length" not in get.headers


async def test_a_response_comes_back_whole() -> None:
    async with serve(always(reply(418, b"tea", {"X-Kind": "pot"}))) as server, connected(server) as connection:
        response = await ask(connection)
    assert (response.status, response.body, response.headers["x-kind"]) == (418, b"tea", "pot")


async def test_status_999_is_a_status() -> None:
    async with serve(always(reply(999))) as server, connected(server) as connection:
        assert (await ask(connection)).status == 999


async def test_a_chunked_response_split_anywhere_is_joined() -> None:
    data = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrail: er\r\n\r\n"
    )

    async def byte_by_byte(peer: Peer) -> None:
        await peer.request()
        for value in data:
            await peer.send(bytes([value]))
        await peer.request()
        await peer.send(reply(200, b"next"))

    async with serve(byte_by_byte) as server, connected(server) as connection:
        assert (await ask(connection)).body == b"hello world"
        assert (await ask(connection)).body == b"next"


async def test_one_connection_carries_many_exchanges() -> None:
    async with serve(always(reply(200, b"x"))) as server, connected(server) as connection:
        for _ in range(20):
            await ask(connection, "POST", b"y")
            assert connection.reusable
        assert (server.connections, len(server.requests)) == (1, 20)


async def test_interim_responses_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with serve(always(interim + reply(200, b"real"))) as server, connected(server) as connection:
        assert (await ask(connection, "POST", b"y", (("Expect", "100-continue"),))).body == b"real"
        assert connection.reusable


async def test_endless_interim_responses_are_an_error() -> None:
    async with serve(always(b"HTTP/1.1 100 Continue\r\n\r\n" * 101)) as server, connected(server) as connection:
        with pytest.raises(ResponseError, match="interim"):
            await ask(connection)


async def test_a_response_may_end_with_the_connection() -> None:
    async with serve(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as server, connected(server) as connection:
        assert (await ask(connection)).body == b"all of it"
        assert not connection.reusable


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_a_body_needs_no_length(status: int) -> None:
    data = f"HTTP/1.1 {status} X\r\n\r\n".encode()
    async with serve(always(data)) as server, connected(server) as connection:
        assert (await ask(connection)).body == b""
        assert connection.reusable


async def test_connection_close_ends_the_connection_after_the_response() -> None:
    async with serve(always(reply(200, b"x", {"Connection": "close"}))) as server, connected(server) as connection:
        assert (await ask(connection)).body == b"x"
        assert not connection.reusable


async def test_bytes_after_the_response_make_the_connection_unusable() -> None:
    async with serve(always(reply(200, b"x") + reply(200, b"for nobody"))) as server, connected(server) as connection:
        assert (await ask(connection)).body == b"x"
        assert not connection.reusable


async def test_bytes_that_come_later_unasked_make_the_connection_unusable() -> None:
    asked, sent = anyio.Event(), anyio.Event()

    async def talkative(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply())
        await asked.wait()
        await peer.send(reply(408))
        sent.set()
        await anyio.sleep_forever()

    async with serve(talkative) as server, connected(server) as connection:
        await ask(connection)
        assert connection.reusable
        asked.set()
        await sent.wait()
        assert not connection.reusable


async def test_a_connection_that_the_server_closed_while_idle_is_not_reusable() -> None:
    async with serve(answering(reply())) as server, connected(server) as connection:
        await ask(connection)
        while server.ended == 0:
            await anyio.lowlevel.checkpoint()
        assert not connection.reusable


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_a_connection_closed_before_the_answer_is_told_as_such() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()

    async with serve(silent) as server, connected(server) as connection:
        with pytest.raises(DisconnectedError, match="before it answered") as caught:
            await ask(connection, "POST", b"x")
        assert caught.value.complete
        assert not connection.reusable


async def test_a_connection_reset_before_the_request_is_told_as_such() -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply())
        await peer.reset()

    async with serve(once) as server, connected(server) as connection:
        await ask(connection)
        while server.ended == 0:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(DisconnectedError, match="before it answered"):
            await ask(connection, "POST", b"x")


async def test_a_connection_reset_before_the_answer_is_told_as_such() -> None:
    async def rude(peer: Peer) -> None:
        await peer.request()
        await peer.reset()

    async with serve(rude) as server, connected(server) as connection:
        with pytest.raises(DisconnectedError, match="before it answered") as caught:
            await ask(connection, "POST", b"x")
        assert caught.value.complete


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_a_response_that_is_cut_off_is_no_response(start: bytes) -> None:
    async with serve(answering(start)) as server, connected(server) as connection:
        with pytest.raises(DisconnectedError, match="in the middle"):
            await ask(connection)


async def test_a_head_that_is_cut_off_is_no_response() -> None:
    async with serve(answering(b"HTTP/1.1 200 OK\r\nContent-")) as server, connected(server) as connection:
        with pytest.raises(DisconnectedError, match="before it answered"):
            await ask(connection)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(64) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_http_response_is_told_as_such(garbage: bytes) -> None:
    async with serve(answering(garbage)) as server, connected(server) as connection:
        with pytest.raises(ResponseError, match=r"did not answer with an HTTP/1\.1 response"):
            await ask(connection)
        assert not connection.reusable


async def test_an_endless_head_is_refused() -> None:
    async with serve(answering(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000)) as server, connected(server) as connection:
        with pytest.raises(ResponseError):
            await ask(connection)


async def test_a_response_larger_than_the_limit_is_refused() -> None:
    async with (
        serve(always(reply(200, b"x" * 1001))) as server,
        connected(server, max_response_size=1000) as connection,
    ):
        with pytest.raises(ResponseError, match="more than 1000 bytes"):
            await ask(connection)
        assert not connection.reusable


async def test_a_response_of_exactly_the_limit_is_taken() -> None:
    async with (
        serve(always(reply(200, b"x" * 1000))) as server,
        connected(server, max_response_size=1000) as connection,
    ):
        assert len((await ask(connection)).body) == 1000


async def test_nobody_listening_is_a_connect_error_with_the_url() -> None:
    async with serve(always(reply())) as server:
        pass
    origin, _ = Origin.parse(server.url)
    with pytest.raises(ConnectError, match=f"cannot connect to {server.url}: .*refused"):
        await open_connection(origin, max_response_size=1)


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")] * 2, "Connection refused"),
        (
            [OSError(errno.ENETUNREACH, "x"), ConnectionRefusedError(errno.ECONNREFUSED, "x")],
            "Network is unreachable; Connection refused",
        ),
        ([OSError("said in words")], "said in words"),
    ],
)
async def test_each_reason_of_the_addresses_of_a_name_is_told_once(
    errors: list[OSError], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError("All connection attempts failed") from ExceptionGroup("several", errors)

    monkeypatch.setattr("perdure.client.connection.anyio.connect_tcp", refuse)
    with pytest.raises(ConnectError, match=rf"^cannot connect to http://two\.test: {reason}$"):
        await open_connection(Origin("http", "two.test", 80), max_response_size=1)


async def test_a_name_of_the_loopback_is_refused_in_the_same_words() -> None:
    with pytest.raises(ConnectError, match=r"^cannot connect to http://localhost:1: Connection refused$"):
        await open_connection(Origin("http", "localhost", 1), max_response_size=1)


async def test_a_name_that_does_not_resolve_is_a_connect_error() -> None:
    with pytest.raises(ConnectError, match=r"cannot connect to http://no\.\.name"):
        await open_connection(Origin("http", "no..name", 80), max_response_size=1)


async def test_a_connection_closes_twice_without_complaint() -> None:
    async with serve(always(reply())) as server, connected(server) as connection:
        await connection.aclose()
        await connection.aclose()
        assert not connection.reusable


# -- large bodies ------------------------------------------------------------------------------------------------------


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * (MEGABYTE // 64)
    async with serve(always(reply(200, b"got it"))) as server, connected(server) as connection:
        assert (await ask(connection, "POST", body)).body == b"got it"
        assert server.requests[0].body == body
        assert connection.reusable


async def test_a_large_body_refused_before_it_was_read_gives_the_refusal() -> None:
    async def refusing(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.send(reply(413, b"too large", {"Connection": "close"}))
        await anyio.sleep_forever()  # never reads the rest

    async with serve(refusing) as server, connected(server) as connection:
        response = await ask(connection, "POST", b"x" * (16 * MEGABYTE))
        assert (response.status, response.body) == (413, b"too large")
        assert not connection.reusable


async def test_a_large_body_is_not_sent_to_a_server_that_refuses_its_announcement() -> None:
    heard = bytearray()

    async def refusing(peer: Peer) -> None:
        heard.extend(await peer.stream.receive())
        await peer.send(reply(417, b"no", {"Connection": "close"}))
        try:
            while True:
                heard.extend(await peer.stream.receive())
        except anyio.EndOfStream:
            pass  # the client went without another byte

    async with serve(refusing) as server, connected(server) as connection:
        assert (await ask(connection, "POST", b"x" * (16 * MEGABYTE))).status == 417
    assert heard.endswith(b"expect: 100-continue\r\n\r\n")


async def test_a_large_body_goes_out_to_a_server_that_does_not_know_announcements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perdure.client.connection.PATIENCE_SECONDS", 0.01)
    size = 2 * MEGABYTE

    async def old(peer: Peer) -> None:
        heard = 0
        while heard < size:
            heard += len(await peer.stream.receive())
        await peer.send(reply(200, b"got it"))

    async with serve(old) as server, connected(server) as connection:
        assert (await ask(connection, "POST", b"x" * size)).body == b"got it"


async def test_a_body_of_a_few_kilobytes_is_not_announced() -> None:
    async with serve(always(reply(200))) as server, connected(server) as connection:
        await ask(connection, "POST", b"x" * (512 * 1024))
        assert "expect" not in server.requests[0].headers


async def test_a_large_body_cut_off_by_the_server_is_known_to_be_incomplete() -> None:
    async def leaving(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.reset()

    async with serve(leaving) as server, connected(server) as connection:
        with pytest.raises(DisconnectedError) as caught:
            await ask(connection, "POST", b"x" * (16 * MEGABYTE))
        assert not caught.value.complete


# -- cancellation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"small", b"x" * (16 * MEGABYTE)], ids=["small", "large"])
async def test_a_cancelled_exchange_closes_its_connection(body: bytes) -> None:
    started, gone = anyio.Event(), anyio.Event()

    async def waiting(peer: Peer) -> None:
        await peer.stream.receive()
        started.set()
        try:
            while True:
                await peer.stream.receive()
        finally:
            gone.set()

    async with serve(waiting) as server, connected(server) as connection:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, connection, "POST", body)
            await started.wait()
            tasks.cancel_scope.cancel()
        assert not connection.reusable
        await gone.wait()
