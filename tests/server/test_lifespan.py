"""The application's lifespan."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from perdure.server import ServerError, Settings, serve
from tests.http2 import connect
from tests.server.serving import Receive, Send, serving

pytestmark = pytest.mark.anyio

Scope = dict[str, Any]


async def test_the_lifespan_surrounds_the_requests_and_lends_them_its_state() -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            log.append((await receive())["type"])
            scope["state"]["pool"] = "a pool"
            await send({"type": "lifespan.startup.complete"})
            log.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        log.append(scope["state"]["pool"])
        scope["state"]["pool"] = "this request's alone"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        for _ in range(2):
            await client.answer(client.request("/", end=True))
    assert log == ["lifespan.startup", "a pool", "a pool", "lifespan.shutdown"]


async def test_an_application_that_cannot_start_is_not_served() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(ServerError, match="the application could not start: no database"):
        await serve(app, port=0, shutdown=anyio.sleep_forever)


async def test_an_application_that_never_starts_is_given_up() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    with pytest.raises(ServerError, match="did not start within"):
        await serve(app, port=0, shutdown=anyio.sleep_forever, settings=Settings(startup_timeout=0.01))


async def test_an_application_without_a_lifespan_is_served_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "what is this?"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    with caplog.at_level(logging.WARNING, logger="perdure.server"):
        async with serving(app) as served, connect(served.port) as client:
            assert (await client.answer(client.request("/", end=True))).status == 200
    assert [message for message in caplog.messages if "what is this?" in message]


async def test_an_application_that_cannot_end_in_order_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "lost a file"})

    async def at_once() -> None:
        pass

    with pytest.raises(ServerError, match="could not end in order: lost a file"):
        await serve(app, port=0, shutdown=at_once)


async def test_an_application_that_does_not_end_is_cancelled() -> None:
    cancelled = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal cancelled
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await anyio.sleep_forever()
        finally:
            cancelled = True

    async def at_once() -> None:
        pass

    with pytest.raises(ServerError, match="did not end within"):
        await serve(app, port=0, shutdown=at_once, settings=Settings(shutdown_timeout=0.01))
    assert cancelled


async def test_a_lifespan_that_breaks_later_leaves_the_requests_alone(caplog: pytest.LogCaptureFixture) -> None:
    broken = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            broken.set()
            raise RuntimeError("a background task failed")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as served, connect(served.port) as client:
        await broken.wait()
        assert (await client.answer(client.request("/", end=True))).status == 200
    assert "the application's lifespan failed" in caplog.messages
