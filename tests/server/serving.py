"""A server in the test's own process, and the applications it serves in these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio

from perdure.server import ASGIApp, Settings, serve

__all__ = ["App", "Served", "echo", "http_only", "read_body", "serving"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

PATIENCE = 20.0
"""Seconds that a server may take to end."""


class Served:
    """A server that runs.

    Attributes:
        port: where it listens.
        returned: set when `serve` has returned.
    """

    def __init__(self) -> None:
        self.port = 0
        self.returned = anyio.Event()
        self._shutdown = anyio.Event()

    def drain(self) -> None:
        """Tell the server to end."""
        self._shutdown.set()

    async def run(
        self,
        app: ASGIApp,
        settings: Settings,
        drain_timeout: float,
        *,
        task_status: anyio.abc.TaskStatus[list[str]],
    ) -> None:
        await serve(
            app,
            port=0,
            shutdown=self._shutdown.wait,
            drain_timeout=drain_timeout,
            settings=settings,
            task_status=task_status,
        )
        self.returned.set()


@asynccontextmanager
async def serving(
    app: ASGIApp, *, settings: Settings | None = None, drain_timeout: float = 0.0
) -> AsyncIterator[Served]:
    """Serve an application for the block; requests that still run at its end are cut."""
    served = Served()
    async with anyio.create_task_group() as tasks:
        (url,) = await tasks.start(partial(served.run, app, settings or Settings(), drain_timeout))
        served.port = urlsplit(url).port or 0
        yield served
        served.drain()
        with anyio.fail_after(PATIENCE):
            await served.returned.wait()


def http_only(app: App) -> App:
    """An application without a lifespan of its own."""

    async def with_lifespan(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    return with_lifespan


async def read_body(receive: Receive) -> bytes | None:
    """The whole body of a request; None when the peer went away first."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message["body"]
        body += piece
        if not message["more_body"]:
            return body


@http_only
async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Send back each piece of the body as it comes; end when the body does."""
    del scope
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})
        if not message["more_body"]:
            return
