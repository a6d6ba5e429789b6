"""Serving an application over HTTP: hypercorn's protocol classes, made fit for durable execution.

`serve` is what most programs need; ``perdure serve module:app`` is it as a command. It runs any ASGI application on
the event loop that is running, asyncio or trio, over HTTP/2 (prior knowledge and upgrade) and HTTP/1.1 on one port.

Each module has one idea: `settings` (every limit with its reason), `lifecycle` (start, accept, drain, end), `signals`,
`draining` (how the application learns of the end), `listeners`, `connection` (one socket, and errors kept inside it),
`http2` (the table of what peers do to hypercorn, and what happens here instead) with `sender`, `http2_stream` and
`h2_connection`, `inbox` and `applications` (one request from the application's side), `lifespan`, `byte_streams` and
`trio_stream`, `site` (what connections share), and `hypercorn_config` (what of hypercorn is relied upon).

Not here: TLS (put a proxy in front, or run `Endpoint` under a server of your choice: it is an ASGI application), worker
processes (run several on several ports and register each, or share one behind a proxy), WebSocket over HTTP/2.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

from perdure.server.applications import ASGIApp
from perdure.server.draining import EXTENSION as DRAIN_EXTENSION
from perdure.server.draining import DrainExtension
from perdure.server.errors import ServerError
from perdure.server.lifecycle import Server
from perdure.server.listeners import listen, urls
from perdure.server.settings import Settings
from perdure.server.signals import obey_signals

__all__ = ["DRAIN_EXTENSION", "ASGIApp", "DrainExtension", "Server", "ServerError", "Settings", "serve"]


async def serve(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 9080,
    shutdown: Callable[[], Awaitable[object]] | None = None,
    drain_timeout: float = 10.0,
    settings: Settings | None = None,
    on_signal: Callable[[int], None] | None = None,
    task_status: anyio.abc.TaskStatus[list[str]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until it is told to end.

    Returns when the drain is over. Until then the application learns of it from the extension `DRAIN_EXTENSION` in its
    scopes; see `perdure.server.draining`.

    Args:
        app: the application, such as a `perdure.Endpoint`.
        host: a name or address of this machine; ``0.0.0.0`` for all of IPv4, ``::`` for all of IPv6.
        port: 0 lets the system choose.
        shutdown: the server drains when this returns. Without it SIGTERM and SIGINT drain, a second one stops at once;
            in a thread that is not the main one nothing does, then cancel `serve`.
        drain_timeout: seconds that requests have to end; what still runs then is cancelled.
        settings: limits and timeouts, where the vetted ones do not fit.
        on_signal: called at each signal, with their number so far, before anything else happens.
        task_status: told the URLs when the application has started and connections are accepted.

    Raises:
        ServerError: the address cannot be listened on, or the application's lifespan failed.
    """
    settings = settings or Settings()
    listening = await listen(host, port, backlog=settings.backlog)
    failure: ServerError | None = None
    server = Server(app, settings=settings, drain_timeout=drain_timeout)

    async def wait_for_shutdown(trigger: Callable[[], Awaitable[object]]) -> None:
        await trigger()
        server.drain()

    async with anyio.create_task_group() as tasks:
        if shutdown is not None:
            tasks.start_soon(wait_for_shutdown, shutdown)
        elif threading.current_thread() is threading.main_thread():
            await tasks.start(obey_signals, server, on_signal)
        try:
            await server.run(listening, task_status=_TellUrls(task_status, urls(listening)))
        except ServerError as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _TellUrls(anyio.abc.TaskStatus[None]):
    """Turns "started" into the URLs."""

    def __init__(self, task_status: anyio.abc.TaskStatus[list[str]], found: list[str]) -> None:
        self._task_status = task_status
        self._found = found

    def started(self, value: None = None) -> None:
        del value
        self._task_status.started(self._found)
