"""Running the application for one request, and catching what it raises.

hypercorn's protocol classes ask a *task group* to start an application (`spawn_app`) and get back where to put what the
peer sends. `Applications` is that task group, on anyio: it gives each request an `Inbox`, puts the drain into its
scope, and keeps every error of the application inside its own request. On trio, hypercorn's own lets some of them end
the process.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

import anyio
import anyio.abc
from hypercorn.typing import TaskGroup as HypercornTaskGroup

from perdure.server.draining import Drain
from perdure.server.inbox import Inbox, Message

__all__ = ["ASGIApp", "Applications", "Finish", "Receive", "Scope", "Send", "cancelled_by_host"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application. Its three arguments are `Any` because every framework spells their types differently."""

Finish = Callable[[Message | None], Awaitable[None]]
"""hypercorn's side of `send`; `None` says that the application has ended."""

logger: Final = logging.getLogger("perdure.server")


class Applications:
    """Starts the application in a task of its own for each request of one connection.

    Args:
        app: the application.
        tasks: the tasks of the connection.
        drain: put into every scope.
        body_limit: bytes of an HTTP/1.1 body that may wait for the application.
        abandon: called when an answer was left in a state in which nothing can follow it on an HTTP/1.1 connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        tasks: anyio.abc.TaskGroup,
        drain: Drain,
        *,
        body_limit: int,
        abandon: Callable[[], None],
    ) -> None:
        self._app = app
        self._tasks = tasks
        self._drain = drain
        self._body_limit = body_limit
        self._abandon = abandon

    def as_hypercorn(self) -> HypercornTaskGroup:
        """This object, typed as hypercorn's protocol, which also has the with block that nobody here uses."""
        return cast("HypercornTaskGroup", self)

    async def spawn_app(
        self, app: object, config: object, scope: Scope, send: Finish
    ) -> Callable[[Message], Awaitable[None]]:
        """Start the application (hypercorn's interface); the result takes what the peer sends."""
        del app, config  # the same ones that this object has
        inbox = Inbox(self._body_limit)
        self.start(scope, inbox, send)
        return inbox.put

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Start a task of the connection (hypercorn's interface; WebSocket pings)."""
        self._tasks.start_soon(function, *args)

    def start(self, scope: Scope, inbox: Inbox, send: Finish, ended: Callable[[], None] | None = None) -> None:
        """Start the application.

        Args:
            scope: of the request; gets the drain's extension, and loses server push, which HTTP/2 has given up.
            inbox: what the application receives from.
            send: hypercorn's stream; takes `None` when the application has ended.
            ended: called last, however the application ended.
        """
        self._drain.extend(scope)
        scope["extensions"].pop("http.response.push", None)
        self._tasks.start_soon(self._run, scope, inbox, send, ended)

    async def _run(self, scope: Scope, inbox: Inbox, send: Finish, ended: Callable[[], None] | None) -> None:
        try:
            try:
                await self._app(scope, inbox.receive, send)
            except Exception:
                logger.exception("the application failed in %s", _describe(scope))
            except anyio.get_cancelled_exc_class():  # noqa: ASYNC103 - what is not the server's is an error
                if cancelled_by_host():
                    raise
                logger.exception("the application cancelled itself in %s", _describe(scope))
            try:
                await send(None)
            except Exception:
                logger.exception("the answer to %s could not be completed", _describe(scope))
                self._abandon()
        finally:
            inbox.discard()
            if ended is not None:
                ended()


def cancelled_by_host() -> bool:
    """Whether the cancellation that an application raised came from the server.

    On asyncio an application can raise `CancelledError` by itself: it awaited a task that somebody cancelled. Let
    through, it would cancel all requests of its connection.
    """
    return anyio.current_effective_deadline() == -math.inf


def _describe(scope: Scope) -> str:
    return f"{scope.get('method', scope['type'])} {scope['path']}"
