"""The application's lifespan: started before the first connection, ended after the last.

One implementation for both loops (hypercorn has two, which differ in what they raise). As the ASGI specification has
it: an application that raises on the lifespan scope does not support it, and is served without; one that answers
`lifespan.startup.failed` is not served.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import anyio
import anyio.abc

from perdure.server.applications import ASGIApp, Scope, cancelled_by_host
from perdure.server.draining import Drain
from perdure.server.errors import ServerError
from perdure.server.inbox import Message

__all__ = ["Lifespan"]

logger: Final = logging.getLogger("perdure.server")


class Lifespan:
    """Runs the lifespan scope of an application in a task beside the connections.

    Args:
        app: the application.
        drain: put into the scope, so that the application learns once, for all requests, that the server ends.

    Attributes:
        state: what the application stored for its requests; each request gets a copy.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._drain = drain
        self._failure: str | None = None
        self._running = False
        self._started = anyio.Event()
        self._ending = anyio.Event()
        self._ended = anyio.Event()
        self._told_startup = False

    async def start(self, tasks: anyio.abc.TaskGroup, patience: float) -> None:
        """Start the application, and wait until it is ready.

        Args:
            tasks: where its task runs, until `end`.
            patience: seconds to wait.

        Raises:
            ServerError: the application said that it cannot start, or said nothing in time.
        """
        tasks.start_soon(self._run)
        with anyio.move_on_after(patience):
            await self._started.wait()
        if not self._started.is_set():
            raise ServerError(f"the application did not start within {patience:g} seconds (its lifespan)")
        if self._failure is not None:
            raise ServerError(f"the application could not start: {self._failure}")

    async def end(self, patience: float) -> None:
        """End the application, and wait until it has ended.

        Args:
            patience: seconds to wait; after it the application is left to be cancelled.

        Raises:
            ServerError: the application said that it could not end in order, or did not in time.
        """
        if not self._running:
            return
        self._ending.set()
        with anyio.move_on_after(patience):
            await self._ended.wait()
        if not self._ended.is_set():
            raise ServerError(f"the application did not end within {patience:g} seconds (its lifespan)")
        if self._failure is not None:
            raise ServerError(f"the application could not end in order: {self._failure}")

    async def _run(self) -> None:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._drain.extend(scope)
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            if self._failure is None and not self._started.is_set():
                logger.warning("served without a lifespan: the application raised %r on it", error)
            elif self._failure is None:
                logger.exception("the application's lifespan failed")
        except anyio.get_cancelled_exc_class():  # noqa: ASYNC103 - what is not the server's is an error
            if cancelled_by_host():
                raise
            logger.exception("the application's lifespan cancelled itself")
        finally:
            self._running = False
            self._started.set()
            self._ended.set()

    async def _receive(self) -> Message:
        if not self._told_startup:
            self._told_startup = True
            return {"type": "lifespan.startup"}
        await self._ending.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self._running = True
                self._started.set()
            case "lifespan.startup.failed":
                self._failure = message.get("message", "") or "it gave no reason"
                self._started.set()
            case "lifespan.shutdown.complete":
                self._ended.set()
            case "lifespan.shutdown.failed":
                self._failure = message.get("message", "") or "it gave no reason"
                self._ended.set()
            case kind:
                raise ValueError(f"an application must not send {kind} in its lifespan")
