"""The end of a server: who is told, who may finish, who is cut."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from h2.errors import ErrorCodes

from perdure.server import DRAIN_EXTENSION, Settings, serve
from tests.http2 import connect
from tests.server.serving import Receive, Send, echo, http_only, serving

pytestmark = pytest.mark.anyio

Scope = dict[str, Any]

LONG = 60.0
"""A drain timeout that no test waits for."""


async def test_a_request_in_flight_may_end() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as client:
        stream = client.request("/echo")
        client.send(stream, b"before ")
        await client.body_of(stream, 7)
        served.drain()
        await client.until(lambda: bool(client.goaways))
        client.send(stream, b"after", end=True)
        assert (await client.answer(stream)).body == b"before after"
        await client.eof()
        with anyio.fail_after(20):
            await served.returned.wait()


async def test_the_first_goaway_refuses_nothing_and_the_second_names_the_last_stream() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as client:
        first = client.request("/echo")
        await client.status_of(first)
        served.drain()
        await client.until(lambda: len(client.goaways) == 2)
        assert client.goaways == [(2**31 - 1, ErrorCodes.NO_ERROR), (first, ErrorCodes.NO_ERROR)]
        client.end(first)
        assert (await client.answer(first)).ended


async def test_a_request_that_crosses_the_first_goaway_is_served() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as client:
        long = client.request("/echo")
        await client.status_of(long)
        client.answer_pings = False
        served.drain()
        await client.until(lambda: len(client.goaways) == 1)
        client.send(crossing := client.request("/echo"), b"x", end=True)
        assert (await client.answer(crossing)).body == b"x"
        client.answer_pings = True
        await client.until(lambda: len(client.goaways) == 2)
        assert client.goaways[-1] == (crossing, ErrorCodes.NO_ERROR)
        client.end(long)
        assert (await client.answer(long)).ended


async def test_after_the_second_goaway_streams_are_refused() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as client:
        first = client.request("/echo")
        await client.status_of(first)
        served.drain()
        await client.until(lambda: len(client.goaways) == 2)
        late = client.request("/echo", end=True)
        assert (await client.answer(late)).reset == ErrorCodes.REFUSED_STREAM
        client.end(first)
        assert (await client.answer(first)).ended


async def test_a_peer_that_is_leaving_itself_is_asked_nothing() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as client:
        stream = client.request("/echo")
        await client.status_of(stream)
        await client.send_raw(client.goaway())
        await client.settled()
        served.drain()
        await client.until(lambda: bool(client.goaways))
        client.send(stream, b"x", end=True)
        assert (await client.answer(stream)).body == b"x"
        await client.eof()
        assert client.goaways == [(stream, ErrorCodes.NO_ERROR)]


async def test_nobody_listens_during_the_drain() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as client:
        stream = client.request("/echo")
        await client.status_of(stream)
        served.drain()
        await client.until(lambda: bool(client.goaways))
        with pytest.raises(OSError, match=r".*"):
            await anyio.connect_tcp("127.0.0.1", served.port)
        client.end(stream)
        assert (await client.answer(stream)).ended


async def test_the_application_is_told_in_the_scope_of_its_request() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        extension = scope["extensions"][DRAIN_EXTENSION]
        assert not extension["draining"].is_set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await extension["draining"].wait()
        await send({"type": "http.response.body", "body": b"%g" % extension["timeout"], "more_body": False})

    async with serving(app, drain_timeout=LONG) as served, connect(served.port) as client:
        stream = client.request("/")
        await client.status_of(stream)
        served.drain()
        assert (await client.answer(stream)).body == b"60"


async def test_the_application_is_told_in_the_scope_of_its_lifespan() -> None:
    told = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await scope["extensions"][DRAIN_EXTENSION]["draining"].wait()
        told.set()
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with serving(app, drain_timeout=LONG) as served:
        served.drain()
        with anyio.fail_after(20):
            await told.wait()


async def test_a_request_that_never_ends_is_cancelled_and_its_peer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    cancelled = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(app, drain_timeout=0.05) as served, connect(served.port) as client:
        stream = client.request("/")
        await client.status_of(stream)
        served.drain()
        assert (await client.answer(stream)).reset == ErrorCodes.CANCEL
        await client.eof()
        with anyio.fail_after(20):
            await served.returned.wait()
        assert cancelled.is_set()
    assert "requests that had not ended within 0.05 seconds were cancelled" in caplog.messages


async def test_a_peer_that_does_not_read_does_not_hold_up_the_end() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            await anyio.lowlevel.checkpoint()

    async with serving(app, drain_timeout=0.05) as served, connect(served.port) as client:
        client.h2.increment_flow_control_window(2**30)
        for _ in range(20):
            stream = client.request("/")
            client.h2.increment_flow_control_window(2**29, stream)
        await client.flush()
        served.drain()
        with anyio.fail_after(20):
            await served.returned.wait()


async def test_idle_connections_are_closed_at_once() -> None:
    async with serving(echo, drain_timeout=LONG) as served, connect(served.port) as http2:
        await http2.settled()
        async with (
            await anyio.connect_tcp("127.0.0.1", served.port) as http1,
            await anyio.connect_tcp("127.0.0.1", served.port) as silent,
        ):
            await http1.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += await http1.receive()
            served.drain()
            with anyio.fail_after(20):
                for stream in (http1, silent):
                    with pytest.raises(anyio.EndOfStream):
                        await stream.receive()
                await http2.eof()
                await served.returned.wait()


async def test_a_request_in_flight_over_http1_may_end_and_closes_its_connection() -> None:
    async with serving(echo, drain_timeout=LONG) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nha")
            answer = b""
            while not answer.endswith(b"ha\r\n"):
                answer += await stream.receive()
            served.drain()
            await stream.send(b"lf")
            with anyio.fail_after(20):
                while True:
                    try:
                        answer += await stream.receive()
                    except anyio.EndOfStream:
                        break
            assert answer.endswith(b"2\r\nlf\r\n0\r\n\r\n")
        with anyio.fail_after(20):
            await served.returned.wait()


async def test_an_idle_connection_is_closed_with_goaway_after_the_idle_timeout() -> None:
    async with serving(echo, settings=Settings(idle_timeout=0.05)) as served, connect(served.port) as client:
        client.send(stream := client.request("/echo"), b"x", end=True)
        assert (await client.answer(stream)).body == b"x"
        await client.eof()
        assert client.goaways[-1] == (stream, ErrorCodes.NO_ERROR)


async def test_a_connection_with_a_request_is_not_idle() -> None:
    async with serving(echo, settings=Settings(idle_timeout=0.01)) as served, connect(served.port) as client:
        stream = client.request("/echo")
        await client.status_of(stream)
        async with connect(served.port) as idle:
            await idle.eof()  # ended by its idle timeout, which is also that of the other connection
        client.send(stream, b"x", end=True)
        assert (await client.answer(stream)).body == b"x"


async def test_a_cancelled_server_returns_at_once() -> None:
    async with anyio.create_task_group() as tasks:
        urls = await tasks.start(
            lambda *, task_status: serve(echo, port=0, shutdown=anyio.sleep_forever, task_status=task_status)
        )
        async with connect(int(urls[0].rpartition(":")[2])) as client:
            stream = client.request("/echo")
            await client.status_of(stream)
            tasks.cancel_scope.cancel()
