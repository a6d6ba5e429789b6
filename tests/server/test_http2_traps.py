"""What a peer can do on an HTTP/2 connection, and what happens to everybody else's requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from h2.errors import ErrorCodes

from perdure.server import Settings
from perdure.server.http2 import Http2
from tests.http2 import DATA, Answer, connect
from tests.server.serving import Receive, Send, echo, http_only, read_body, serving

pytestmark = pytest.mark.anyio

Scope = dict[str, Any]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GARBAGE = [
    bytes(200),
    b"\xff" * 200 + b"\r\n\r\n",
    b"G E T / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    PREFACE + b"\xee" * 99,
    PREFACE + b"\x00\x00\x05\xee\x00\x00\x00\x00\x00" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(99),  # a frame larger than allowed
    PREFACE + b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\xff\xff\xff",  # headers that no HPACK table has
]


@http_only
async def early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has read anything, except under /echo."""
    if scope["path"] == "/echo":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done", "more_body": False})


class Deaf:
    """An application that never receives under /deaf, until it is told to."""

    def __init__(self) -> None:
        self.listen = anyio.Event()
        self.heard: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/deaf":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.listen.wait()
        self.heard = await read_body(receive)
        await send({"type": "http.response.body", "body": b"heard", "more_body": False})


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the server logged as an error."""
    with caplog.at_level(logging.INFO, logger="perdure.server"):
        yield [record.message for record in caplog.records if record.levelno >= logging.ERROR]


async def test_data_after_the_answer_ended_leaves_the_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(early) as served, connect(served.port) as client:
        other = client.request("/echo")
        await client.status_of(other)
        stream = client.request("/early")
        assert (await client.answer(stream)).ended
        for _ in range(50):
            client.send(stream, b"too late")
        client.end(stream)
        client.send(other, b"still here", end=True)
        assert (await client.answer(other)).body == b"still here"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_data_after_the_answer_ended_gives_the_window_of_the_connection_back() -> None:
    settings = Settings(connection_window=128 * 1024, stream_window=64 * 1024)
    async with serving(early, settings=settings) as served, connect(served.port) as client:
        # Ten times the connection's window, in answered streams.
        for _ in range(40):
            stream = client.request("/early")
            assert (await client.answer(stream)).ended
            await client.until(lambda: client.h2.outbound_flow_control_window >= 32 * 1024)
            client.send(stream, bytes(16 * 1024))
            client.send(stream, bytes(16 * 1024), end=True)
        assert (await client.answer(client.request("/early", end=True))).ended


async def test_a_peer_that_goes_on_after_the_answer_is_told_to_stop() -> None:
    async with serving(early) as served, connect(served.port) as client:
        stream = client.request("/early")
        answer = await client.answer(stream)
        for _ in range(16):  # 256 KiB
            await client.settled()
            assert answer.reset is None
            client.send(stream, bytes(16 * 1024))
        await client.settled()
        client.send(stream, b"x")
        await client.until(lambda: answer.reset is not None)
        assert answer == Answer(200, answer.headers, body=b"done", ended=True, reset=ErrorCodes.NO_ERROR)


async def test_answered_streams_that_the_peer_never_ends_do_not_pile_up() -> None:
    settings = Settings(lingering_streams=5, max_streams=10)
    async with serving(early, settings=settings) as served, connect(served.port) as client:
        streams = []
        for _ in range(30):
            streams.append(client.request("/early"))
            assert (await client.answer(streams[-1])).ended
        await client.settled()
        resets = [client.so_far(stream).reset for stream in streams]
        assert resets == [ErrorCodes.NO_ERROR] * 25 + [None] * 5


async def test_the_stream_too_many_is_refused_and_the_others_go_on() -> None:
    settings = Settings()
    async with serving(echo, settings=settings) as served, connect(served.port) as client:
        # Opened before the peer has read the SETTINGS, as real peers do; 1001 streams end hypercorn's connection.
        streams = [client.request("/echo") for _ in range(1001)]
        for stream in streams[: settings.max_streams]:
            assert await client.status_of(stream) == 200
        for stream in streams[settings.max_streams :]:
            assert (await client.answer(stream)).reset == ErrorCodes.REFUSED_STREAM
        for stream in streams[: settings.max_streams]:
            client.send(stream, b"x", end=True)
        for stream in streams[: settings.max_streams]:
            assert (await client.answer(stream)).body == b"x"
        client.send(again := client.request("/echo"), b"room again", end=True)
        assert (await client.answer(again)).body == b"room again"


async def test_the_limit_of_streams_is_told_to_the_peer() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        await client.settled()
        assert client.h2.remote_settings.max_concurrent_streams == Settings().max_streams


async def test_three_thousand_requests_on_one_connection_leave_a_long_one_alone() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        long = client.request("/echo")
        await client.status_of(long)
        for _ in range(300):
            streams = [client.request("/echo") for _ in range(10)]
            for stream in streams:
                client.send(stream, b"x", end=True)
            for stream in streams:
                assert (await client.answer(stream)).body == b"x"
        client.send(long, b"still here", end=True)
        assert (await client.answer(long)).body == b"still here"
        assert client.goaways == []


async def test_a_stream_that_nobody_reads_does_not_stop_the_others() -> None:
    app = Deaf()
    async with serving(app) as served, connect(served.port) as client:
        deaf = client.request("/deaf")
        for number in range(40):
            client.send(deaf, b"%02d" % number)
        assert await client.status_of(deaf) == 200
        client.send(other := client.request("/echo"), b"x", end=True)
        assert (await client.answer(other)).body == b"x"
        app.listen.set()
        client.end(deaf)
        assert (await client.answer(deaf)).body == b"heard"
        assert app.heard == b"".join(b"%02d" % number for number in range(40))


async def test_a_stream_that_nobody_reads_holds_no_more_than_its_window() -> None:
    app = Deaf()
    settings = Settings(stream_window=128 * 1024)
    async with serving(app, settings=settings) as served, connect(served.port) as client:
        await client.settled()
        deaf = client.request("/deaf")
        for _ in range(8):
            client.send(deaf, bytes(16 * 1024))
        await client.settled()
        assert client.h2.local_flow_control_window(deaf) == 0
        client.send(other := client.request("/echo"), b"x", end=True)
        assert (await client.answer(other)).body == b"x"
        app.listen.set()
        await client.until(lambda: client.h2.local_flow_control_window(deaf) == 128 * 1024)
        client.end(deaf)
        assert (await client.answer(deaf)).body == b"heard"


async def test_streams_that_nobody_reads_and_that_are_reset_give_the_window_back() -> None:
    app = Deaf()
    settings = Settings(stream_window=64 * 1024, connection_window=128 * 1024)
    async with serving(app, settings=settings) as served, connect(served.port) as client:
        await client.settled()
        for _ in range(20):
            await client.until(lambda: client.h2.outbound_flow_control_window >= 32 * 1024)
            deaf = client.request("/deaf")
            client.send(deaf, bytes(16 * 1024))
            client.send(deaf, bytes(16 * 1024))
            client.reset(deaf)
        await client.settled()
        client.send(other := client.request("/echo"), b"x", end=True)
        assert (await client.answer(other)).body == b"x"
        app.listen.set()


async def test_padding_counts_as_read() -> None:
    app = Deaf()
    settings = Settings(stream_window=64 * 1024, connection_window=64 * 1024)
    async with serving(app, settings=settings) as served, connect(served.port) as client:
        await client.settled()
        stream = client.request("/deaf")
        for _ in range(2000):
            await client.until(lambda: client.h2.local_flow_control_window(stream) > 256)
            client.send(stream, b"x", pad=255)
        app.listen.set()
        client.end(stream)
        assert (await client.answer(stream)).body == b"heard"
        assert app.heard == b"x" * 2000


async def test_empty_data_frames_from_the_peer_cost_nothing() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        stream = client.request("/echo")
        for _ in range(5000):
            client.send(stream, b"")
        client.send(stream, b"x", end=True)
        assert (await client.answer(stream)).body == b"x"


async def test_garbage_ends_its_own_connection_only() -> None:
    async with serving(echo) as served, connect(served.port) as good:
        stream = good.request("/echo")
        await good.status_of(stream)
        for garbage in GARBAGE:
            async with connect(served.port, hello=False) as bad:
                await bad.send_raw(garbage)
                await bad.drained()
        good.send(stream, b"still here", end=True)
        assert (await good.answer(stream)).body == b"still here"


async def test_an_error_of_our_own_ends_its_connection_only_and_is_logged_with_the_peer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receive = Http2.receive

    async def fail_on_poison(self: Http2, data: bytes) -> None:
        if b"poison" in data:
            raise RuntimeError("a bug")
        await receive(self, data)

    monkeypatch.setattr(Http2, "receive", fail_on_poison)
    async with serving(echo) as served, connect(served.port) as good:
        stream = good.request("/echo")
        await good.status_of(stream)
        async with connect(served.port) as bad:
            await bad.settled()
            await bad.send_raw(b"poison")
            await bad.eof()
        good.send(stream, b"still here", end=True)
        assert (await good.answer(stream)).body == b"still here"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.message.startswith("the connection from ('127.0.0.1', ")
    assert record.exc_info is not None


async def test_a_connection_that_breaks_the_protocol_gets_goaway_and_tells_its_applications() -> None:
    disconnected = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    async with serving(app) as served, connect(served.port) as client:
        client.request("/wait")
        await client.settled()
        await client.send_raw(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE by nothing
        await client.eof()
        assert [code for _, code in client.goaways] == [ErrorCodes.PROTOCOL_ERROR]
        with anyio.fail_after(20):
            await disconnected.wait()


async def test_a_peer_that_vanishes_disconnects_all_its_requests() -> None:
    gone = 0
    all_gone = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal gone
        assert await read_body(receive) is None
        await send({"type": "http.response.start", "status": 200, "headers": []})  # silent, as ASGI has it
        await send({"type": "http.response.body", "body": b"nobody reads this", "more_body": False})
        gone += 1
        if gone == 20:
            all_gone.set()

    async with serving(app) as served:
        async with connect(served.port) as client:
            for _ in range(20):
                client.send(client.request("/"), b"half of a bo")
            await client.settled()
        with anyio.fail_after(20):
            await all_gone.wait()


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_an_application_that_sends_for_ever_to_nobody_does_not_keep_the_event_loop(version: str) -> None:
    deaf = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            deaf.set()

    async with serving(app) as served, connect(served.port) as good:
        if version == "2":
            async with connect(served.port) as client:
                await client.body_of(client.request("/"), 1000)
        else:
            async with await anyio.connect_tcp("127.0.0.1", served.port) as socket:
                await socket.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                await socket.receive()
        await deaf.wait()
        for _ in range(20):
            good.send(stream := good.request("/echo"), b"x", end=True)
            assert (await good.answer(stream)).body == b"x"


async def test_a_reset_stream_disconnects_its_request_only() -> None:
    disconnected = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await echo(scope, receive, send)
        elif await read_body(receive) is None:
            disconnected.set()

    async with serving(app) as served, connect(served.port) as client:
        other = client.request("/echo")
        stream = client.request("/")
        client.send(stream, b"half")
        await client.settled()
        client.reset(stream)
        await client.flush()
        with anyio.fail_after(20):
            await disconnected.wait()
        client.send(other, b"x", end=True)
        assert (await client.answer(other)).body == b"x"


@pytest.mark.parametrize("ending", ["flag", "empty frame", "trailers"])
async def test_each_way_to_end_a_request_is_the_end_of_input(ending: str) -> None:
    async with serving(echo) as served, connect(served.port) as client:
        stream = client.request("/echo")
        client.send(stream, b"all of it", end=ending == "flag")
        if ending == "empty frame":
            client.end(stream)
        elif ending == "trailers":
            client.send_trailers(stream, [("x-checksum", "1")])
        answer = await client.answer(stream)
        assert (answer.body, answer.ended) == (b"all of it", True)


async def test_a_reset_without_an_error_is_the_end_of_input() -> None:
    bodies: list[bytes | None] = []
    read = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append(await read_body(receive))
        read.set()

    async with serving(app) as served, connect(served.port) as client:
        stream = client.request("/")
        client.send(stream, b"all of it")
        client.reset(stream, ErrorCodes.NO_ERROR)
        await client.flush()
        with anyio.fail_after(20):
            await read.wait()
    assert bodies == [b"all of it"]


async def test_a_request_that_is_refused_as_it_is_reset_is_forgotten() -> None:
    async with serving(echo, settings=Settings(max_streams=1)) as served, connect(served.port) as client:
        first = client.request("/echo")
        for _ in range(500):
            client.reset(client.request("/echo"))
        client.send(first, b"x", end=True)
        assert (await client.answer(first)).body == b"x"


async def test_requests_in_flight_end_after_the_peers_goaway() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        stream = client.request("/echo")
        client.send(stream, b"before ")
        await client.body_of(stream, 7)
        await client.send_raw(client.goaway())
        client.send(stream, b"after", end=True)
        assert (await client.answer(stream)).body == b"before after"


async def test_no_empty_data_frame_leaves_while_an_answer_is_in_progress() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        for piece in (b"one ", b"", b"two ", b"three"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.body", "body": b" four", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        stream = client.request("/", end=True)
        assert (await client.answer(stream)).body == b"one two three four"
        assert [frame for frame in client.frames if frame.kind == DATA and not frame.length] == []


async def test_an_answer_without_a_body_is_one_frame() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        stream = client.request("/", end=True)
        answer = await client.answer(stream)
        assert (answer.status, answer.ended) == (204, True)
        assert len([frame for frame in client.frames if frame.stream_id == stream]) == 1


async def test_what_an_application_sends_in_one_turn_is_one_frame() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(50):
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        await send({"type": "http.response.body", "body": b"last", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        stream = client.request("/", end=True)
        assert (await client.answer(stream)).body == b"piece" * 50 + b"last"
        assert [frame.length for frame in client.frames if frame.kind == DATA] == [254]


async def test_an_application_that_fails_before_its_answer_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    async with serving(app) as served, connect(served.port) as client:
        stream = client.request("/path", end=True)
        assert (await client.answer(stream)).status == 500
    assert "the application failed in POST /path" in caplog.messages


async def test_an_application_that_fails_within_its_answer_resets_its_stream_only() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("a bug")

    async with serving(app) as served, connect(served.port) as client:
        other = client.request("/echo")
        assert (await client.answer(client.request("/", end=True))).reset == ErrorCodes.INTERNAL_ERROR
        client.send(other, b"x", end=True)
        assert (await client.answer(other)).body == b"x"


async def test_an_application_that_is_cancelled_by_itself_fails_alone(anyio_backend: str) -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await echo(scope, receive, send)
            return
        if anyio_backend == "trio":  # where nobody can do such a thing, an error has to do
            raise RuntimeError("a bug")
        task = asyncio.ensure_future(asyncio.sleep(3600))
        task.cancel()
        await task

    async with serving(app) as served, connect(served.port) as client:
        other = client.request("/echo")
        await client.status_of(other)
        assert (await client.answer(client.request("/", end=True))).status == 500
        client.send(other, b"x", end=True)
        assert (await client.answer(other)).body == b"x"


async def test_headers_that_http2_does_not_allow_fail_their_stream_only() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"te", b"gzip")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        other = client.request("/echo")
        assert (await client.answer(client.request("/", end=True))).reset == ErrorCodes.INTERNAL_ERROR
        client.send(other, b"x", end=True)
        assert (await client.answer(other)).body == b"x"


async def test_tunnels_are_sent_to_http1() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        stream = client.request("/", method="CONNECT")
        assert (await client.answer(stream)).reset == ErrorCodes.HTTP_1_1_REQUIRED
        client.send(other := client.request("/echo"), b"x", end=True)
        assert (await client.answer(other)).body == b"x"


async def test_a_path_that_is_no_url_resets_its_stream_only() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        client.h2.config = client.h2.config.__class__(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False
        )
        bad = client.request("/\xff")
        client.send(other := client.request("/echo"), b"x", end=True)
        assert (await client.answer(other)).body == b"x"
        assert (await client.answer(bad)).reset == ErrorCodes.PROTOCOL_ERROR


async def test_a_flood_of_pings_from_a_peer_that_does_not_read_is_bounded() -> None:
    settings = Settings(connection_buffer=64 * 1024)
    async with serving(echo, settings=settings) as served, connect(served.port) as good:
        stream = good.request("/echo")
        await good.status_of(stream)
        async with connect(served.port) as flood:
            await flood.settled()
            ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
            sent = 0
            with anyio.move_on_after(2):
                while sent < 64 * 1024 * 1024:
                    await flood.send_raw(ping * 4096)
                    sent += len(ping) * 4096
            # The kernel's buffers and ours, then the server stops reading.
            assert sent < 64 * 1024 * 1024
            good.send(stream, b"x", end=True)
            assert (await good.answer(stream)).body == b"x"
