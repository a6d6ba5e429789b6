"""A server from its first socket to its last: start, accept, drain, end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Final

import anyio
import anyio.abc

from perdure.server.applications import ASGIApp
from perdure.server.connection import serve_connection
from perdure.server.draining import Drain
from perdure.server.errors import ServerError
from perdure.server.lifespan import Lifespan
from perdure.server.listeners import accept_connections
from perdure.server.settings import Settings
from perdure.server.site import Site

__all__ = ["Server"]

logger: Final = logging.getLogger("perdure.server")


class Server:
    """Runs one application on sockets that listen.

    ::

        server = Server(app, drain_timeout=10.0)
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.run, await listen("127.0.0.1", 9080, backlog=100))
            ...
            server.drain()

    Must be made where an event loop runs.

    Args:
        app: an ASGI application.
        settings: limits and timeouts.
        drain_timeout: seconds between `drain` and the end of requests that still run.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings | None = None, drain_timeout: float = 10.0) -> None:
        self._app = app
        self._settings = settings or Settings()
        self._drain = Drain(drain_timeout)
        self._requests = anyio.CancelScope()
        self._stopped = False

    def drain(self) -> None:
        """Begin to end: accept no connection, let requests finish, cancel them after `drain_timeout`."""
        if not self._drain.begun.is_set():
            logger.info("draining: requests in progress have %g seconds to end", self._drain.timeout)
            self._drain.begun.set()

    def stop(self) -> None:
        """End at once: cancel every request."""
        self._stopped = True
        self._drain.begun.set()
        self._requests.cancel()

    async def run(
        self, listening: Sequence[socket.socket], *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `drain` or `stop`, or until cancelled.

        Args:
            listening: sockets to accept from; they are closed here.
            task_status: told when the application has started and connections are accepted.

        Raises:
            ServerError: the application could not start, or could not end in order.
        """
        failure: ServerError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                lifespan = Lifespan(self._app, self._drain)
                try:
                    await lifespan.start(tasks, self._settings.startup_timeout)
                    site = Site(self._app, self._settings, self._drain, lifespan.state)
                    await self._serve(site, listening, task_status)
                    await lifespan.end(self._settings.shutdown_timeout)
                except ServerError as error:
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            for bound in listening:
                bound.close()
        if failure is not None:
            raise failure

    async def _serve(
        self, site: Site, listening: Sequence[socket.socket], task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        accepted: set[socket.socket] = set()  # and not yet in the hands of their task, which may never begin

        async def own(connected: socket.socket) -> None:
            accepted.discard(connected)
            await serve_connection(site, connected)

        with self._requests:
            async with anyio.create_task_group() as connections:

                def start(connected: socket.socket) -> None:
                    accepted.add(connected)
                    connections.start_soon(own, connected)

                async with anyio.create_task_group() as accepting:
                    for bound in listening:
                        accepting.start_soon(accept_connections, bound, start)
                    task_status.started()
                    await self._drain.begun.wait()
                    accepting.cancel_scope.cancel()
                for bound in listening:
                    bound.close()
                self._requests.deadline = anyio.current_time() + self._drain.timeout
        for connected in accepted:
            connected.close()
        if self._stopped:
            logger.warning("stopped at once; requests in progress were cancelled")
        elif self._requests.cancelled_caught:
            logger.warning("requests that had not ended within %g seconds were cancelled", self._drain.timeout)
