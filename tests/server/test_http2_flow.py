"""How much may be under way on an HTTP/2 connection, and who waits for whom."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest
from h2.settings import SettingCodes

from perdure.server import Settings
from tests.http2 import DATA, connect
from tests.server.serving import Receive, Send, echo, http_only, read_body, serving

pytestmark = pytest.mark.anyio

Scope = dict[str, Any]

KIB = 1024
MIB = 1024 * KIB


@http_only
async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends the whole body back at once."""
    body = await read_body(receive)
    assert body is not None
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Fountain:
    """An application that sends without end, and counts what was taken from it."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/fountain":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(KIB), "more_body": True})
            self.sent += KIB


async def test_a_large_request_needs_no_round_trips() -> None:
    async with serving(mirror) as served, connect(served.port) as client:
        await client.settled()
        stream = client.request("/")
        assert client.h2.local_flow_control_window(stream) == 1 * MIB
        assert client.h2.outbound_flow_control_window == 64 * MIB


async def test_eight_mebibytes_travel_both_ways_and_end() -> None:
    body = bytes(range(256)) * (8 * MIB // 256)
    async with serving(mirror) as served, connect(served.port) as client:
        await client.settled()
        stream = client.request("/")
        rest = memoryview(body)
        while rest:
            size = min(client.h2.local_flow_control_window(stream), 16 * KIB, len(rest))
            if size:
                client.send(stream, bytes(rest[:size]), end=size == len(rest))
                rest = rest[size:]
                await client.flush()
            else:
                await client.until(lambda: client.h2.local_flow_control_window(stream) > 0)
        answer = await client.answer(stream)
        assert answer.ended
        assert answer.body == body


async def test_large_frames_are_accepted() -> None:
    async with serving(mirror) as served, connect(served.port) as client:
        await client.settled()
        assert client.h2.max_outbound_frame_size == 64 * KIB
        stream = client.request("/")
        client.send(stream, b"x" * 64 * KIB, end=True)
        assert len((await client.answer(stream)).body) == 64 * KIB


async def test_an_application_waits_for_a_peer_that_does_not_take_its_answer() -> None:
    app = Fountain()
    async with serving(app) as served, connect(served.port) as client:
        client.credit = False
        stream = client.request("/fountain")
        await client.body_of(stream, 65535)
        client.send(other := client.request("/echo"), b"", end=True)
        assert (await client.answer(other)).ended  # its headers and its end need no window
        assert 65535 <= app.sent <= 65535 + 2 * Settings().stream_buffer


async def test_a_stream_whose_window_is_full_does_not_stop_the_others() -> None:
    app = Fountain()
    async with serving(app) as served, connect(served.port) as client:
        client.credit = False
        client.h2.increment_flow_control_window(1 * MIB)  # of the connection
        full = client.request("/fountain")
        await client.body_of(full, 65535)
        client.send(other := client.request("/echo"), b"x" * 1000, end=True)
        assert (await client.answer(other)).body == b"x" * 1000
        client.h2.increment_flow_control_window(1000, full)
        await client.body_of(full, 66535)


async def test_all_streams_go_on_when_the_window_of_the_connection_opens() -> None:
    app = Fountain()
    async with serving(app) as served, connect(served.port) as client:
        client.credit = False
        streams = [client.request("/fountain") for _ in range(4)]
        await client.until(lambda: sum(len(client.so_far(stream).body) for stream in streams) == 65535)
        client.h2.increment_flow_control_window(65535 * 3)
        await client.until(lambda: all(len(client.so_far(stream).body) == 65535 for stream in streams))


async def test_a_larger_initial_window_opens_streams_that_wait() -> None:
    app = Fountain()
    async with serving(app) as served, connect(served.port) as client:
        client.credit = False
        client.h2.increment_flow_control_window(1 * MIB)
        stream = client.request("/fountain")
        await client.body_of(stream, 65535)
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535 + 5000})
        await client.body_of(stream, 65535 + 5000)


async def test_two_large_answers_take_turns() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await begin.wait()
        await send({"type": "http.response.body", "body": bytes(1 * MIB), "more_body": False})

    begin = anyio.Event()
    async with serving(app) as served, connect(served.port) as client:
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2 * MIB})
        client.h2.increment_flow_control_window(4 * MIB)
        streams = [client.request("/", end=True) for _ in range(2)]
        for stream in streams:
            await client.status_of(stream)
        await client.settled()
        begin.set()
        for stream in streams:
            assert len((await client.answer(stream)).body) == 1 * MIB
        order = [frame.stream_id for frame in client.frames if frame.kind == DATA]
        assert all(one != other for one, other in pairwise(order[:100]))


async def test_an_answer_that_is_reset_while_it_waits_lets_its_application_go() -> None:
    ended = anyio.Event()

    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(1 * MIB), "more_body": True})
        ended.set()

    async with serving(app) as served, connect(served.port) as client:
        client.credit = False
        stream = client.request("/")
        await client.body_of(stream, 65535)
        assert not ended.is_set()
        client.reset(stream)
        await client.flush()
        with anyio.fail_after(20):
            await ended.wait()


async def test_trailers_end_an_answer() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body", "more_body": False})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})

    async with serving(app) as served, connect(served.port) as client:
        answer = await client.answer(client.request("/", headers=[("te", "trailers")], end=True))
        assert (answer.body, answer.trailers, answer.ended) == (b"body", {"x-sum": "1"}, True)


async def test_early_hints_come_before_the_answer() -> None:
    @http_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"body", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        stream = client.request("/", end=True)
        answer = await client.answer(stream)
        assert (answer.status, answer.body) == (200, b"body")
        assert answer.hints == [{":status": "103", "link": "</style.css>; rel=preload"}]


async def test_every_answer_has_a_date() -> None:
    async with serving(echo) as served, connect(served.port) as client:
        answer = await client.answer(client.request("/echo", end=True))
        assert answer.headers["date"].endswith("GMT")
        assert "server" not in answer.headers
