"""HTTP/1.1 on the same port, and the ways from it to HTTP/2 and WebSocket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import h2.config
import h2.connection
import h2.events
import h11
import pytest
import wsproto
import wsproto.events

from perdure.server import Settings
from tests.server.serving import Receive, Send, echo, http_only, read_body, serving

pytestmark = pytest.mark.anyio

Scope = dict[str, Any]


class Http1:
    """One connection, with h11 for the peer's side."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.socket = stream
        self.h11 = h11.Connection(h11.CLIENT)

    async def exchange(self, path: str, body: bytes, *, chunked: bool = False) -> tuple[int, bytes]:
        """One request with a body, and its answer."""
        framing = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))
        await self.send(h11.Request(method="POST", target=path, headers=[("host", "x"), framing]))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())
        return await self.answer()

    async def send(self, event: h11.Event) -> None:
        data = self.h11.send(event)
        if data:
            await self.socket.send(data)

    async def answer(self) -> tuple[int, bytes]:
        """Read one answer, and be ready for the next exchange."""
        status, body = 0, b""
        with anyio.fail_after(20):
            while True:
                event = self.h11.next_event()
                if event is h11.NEED_DATA:
                    try:
                        self.h11.receive_data(await self.socket.receive())
                    except anyio.EndOfStream:
                        self.h11.receive_data(b"")
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
        return status, body


@asynccontextmanager
async def http1(port: int) -> AsyncIterator[Http1]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Http1(stream)


@pytest.mark.parametrize("chunked", [False, True])
async def test_many_requests_share_a_connection(chunked: bool) -> None:
    async with serving(echo) as served, http1(served.port) as client:
        for number in range(1200):  # hypercorn closes after 1000
            body = b"request %d" % number
            assert await client.exchange("/echo", body, chunked=chunked) == (200, body)


async def test_a_large_body_travels_both_ways() -> None:
    body = bytes(range(256)) * 16384

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        read = await read_body(receive)
        assert read is not None
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": read, "more_body": False})

    async with serving(app) as served, http1(served.port) as client:
        assert await client.exchange("/", body) == (200, body)


async def test_a_body_that_nobody_reads_waits_at_its_sender() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await finish.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    finish = anyio.Event()
    async with serving(app, settings=Settings(stream_window=64 * 1024)) as served, http1(served.port) as client:
        total = 64 * 1024 * 1024
        await client.send(
            h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", str(total))])
        )
        sent = 0
        with anyio.move_on_after(1):
            while sent < total:
                await client.send(h11.Data(data=bytes(65536)))
                sent += 65536
        assert sent < total
        finish.set()
        with anyio.fail_after(20):
            assert (await client.socket.receive()).startswith(b"HTTP/1.1 200")


async def test_an_application_that_fails_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    async with serving(app) as served, http1(served.port) as client:
        assert (await client.exchange("/", b""))[0] == 500
    assert "the application failed in POST /" in caplog.messages


async def test_an_answer_shorter_than_it_announced_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"short", "more_body": False})

    async with serving(app) as served, http1(served.port) as good:
        assert await good.exchange("/echo", b"x") == (200, b"x")
        async with http1(served.port) as bad:
            with pytest.raises(h11.RemoteProtocolError):
                await bad.exchange("/", b"")
        assert await good.exchange("/echo", b"x") == (200, b"x")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_the_peer_that_goes_away_is_a_disconnect() -> None:
    disconnected = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await read_body(receive) is None
        disconnected.set()

    async with serving(app) as served:
        async with http1(served.port) as client:
            await client.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "9")]))
            await client.send(h11.Data(data=b"half"))
        with anyio.fail_after(20):
            await disconnected.wait()


async def test_an_idle_connection_is_closed_after_the_idle_timeout() -> None:
    async with serving(echo, settings=Settings(idle_timeout=0.05)) as served, http1(served.port) as client:
        assert await client.exchange("/echo", b"x") == (200, b"x")
        with anyio.fail_after(20), pytest.raises(anyio.EndOfStream):
            await client.socket.receive()


async def test_half_a_request_is_idle() -> None:
    async with serving(echo, settings=Settings(idle_timeout=0.05)) as served, http1(served.port) as client:
        await client.socket.send(b"POST /echo HTTP/1.1\r\nhost: ")
        with anyio.fail_after(20), pytest.raises(anyio.EndOfStream):
            await client.socket.receive()


async def test_upgrading_to_http2_answers_the_request_as_stream_one() -> None:
    async with serving(echo) as served, await anyio.connect_tcp("127.0.0.1", served.port) as socket:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        settings = connection.initiate_upgrade_connection()
        assert settings is not None
        await socket.send(
            b"GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: "
            + settings
            + b"\r\n\r\n"
        )
        data = b""
        with anyio.fail_after(20):
            while b"\r\n\r\n" not in data:
                data += await socket.receive()
            head, _, data = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101")
            await socket.send(connection.data_to_send())
            found: list[h2.events.Event] = connection.receive_data(data)
            while not any(isinstance(event, h2.events.StreamEnded) for event in found):
                found += connection.receive_data(await socket.receive())
        (response,) = [event for event in found if isinstance(event, h2.events.ResponseReceived)]
        assert response.stream_id == 1
        assert (":status", "200") in [(str(name), str(value)) for name, value in response.headers]


async def test_websockets_work_over_http1() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await http_only(echo)(scope, receive, send)
            return
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
        closed.append(message["type"])

    closed: list[str] = []
    async with serving(app) as served, await anyio.connect_tcp("127.0.0.1", served.port) as socket:
        peer = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        await socket.send(peer.send(wsproto.events.Request(host="x", target="/")))
        heard: list[str] = []
        accepted = False
        with anyio.fail_after(20):
            while len(heard) < 2:
                peer.receive_data(await socket.receive())
                for event in peer.events():
                    if isinstance(event, wsproto.events.AcceptConnection):
                        accepted = True
                        for text in ("one", "two"):
                            await socket.send(peer.send(wsproto.events.TextMessage(data=text)))
                    elif isinstance(event, wsproto.events.TextMessage):
                        heard.append(str(event.data))
        assert accepted
        assert heard == ["ONE", "TWO"]
        await socket.send(peer.send(wsproto.events.CloseConnection(code=1000)))
        with anyio.fail_after(20):
            while not closed:
                try:
                    await socket.receive()
                except anyio.EndOfStream:
                    break
    assert closed == ["websocket.disconnect"]
