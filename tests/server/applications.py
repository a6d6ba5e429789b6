"""Applications for servers in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from perdure.server import DRAIN_EXTENSION
from tests.server.serving import echo, http_only

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@http_only
async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One path for each way to behave."""
    if scope["path"] == "/echo":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"started", "more_body": True})
    match scope["path"]:
        case "/early":
            pass
        case "/told":
            await scope["extensions"][DRAIN_EXTENSION]["draining"].wait()
        case "/hang":
            await anyio.sleep_forever()
        case "/stubborn":
            while True:
                try:
                    await anyio.sleep_forever()
                except BaseException:  # noqa: BLE001 - this is how badly code can behave
                    continue
        case "/block":
            time.sleep(3600)  # noqa: ASYNC251 - the event loop stands still, and the signal handlers with it
        case "/thread":
            await anyio.to_thread.run_sync(time.sleep, 3600)
    await send({"type": "http.response.body", "body": b" and ended", "more_body": False})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Says that it cannot start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def not_asgi(environ: object, start_response: object) -> None:
    """A WSGI application, by its arguments."""


class Service:
    """Something with no way to be called."""
