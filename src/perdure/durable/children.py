"""The tasks that an attempt starts: its reader, and the closures that no branch runs itself.

Opening a task group costs as much as a whole short attempt (it is one trip through the event loop), and most attempts
start no task. So tasks are started in a group that the process keeps open (`Endpoint.running`), where there is one, and
each attempt counts its own: none survives it, and an error in one is raised by the attempt that started it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc

from perdure.durable.loop import open_scope

__all__ = ["Children"]


class Children:
    """Tasks of one attempt.

    Args:
        home: the group they run in.
        failed: called with an error that one of them did not handle, which is a bug.

    Attributes:
        error: that error.
    """

    __slots__ = ("_failed", "_gone", "_home", "_scopes", "error")

    def __init__(self, home: anyio.abc.TaskGroup, failed: Callable[[], None]) -> None:
        self._home = home
        self._failed = failed
        self._scopes: set[anyio.CancelScope] = set()
        self._gone: anyio.Event | None = None
        self.error: Exception | None = None

    def start(self, fn: Callable[..., Awaitable[object]], *args: Any) -> anyio.CancelScope:
        """Start a task; returns the native scope around it."""
        scope = open_scope()
        self._scopes.add(scope)
        self._home.start_soon(self._run, scope, fn, args)
        return scope

    async def _run(self, scope: anyio.CancelScope, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            with scope:
                await fn(*args)
        except Exception as error:  # noqa: BLE001 - kept, and raised by the attempt
            self.error = error
            self._failed()
        finally:
            self._scopes.discard(scope)
            if self._gone is not None and not self._scopes:
                self._gone.set()

    async def end(self) -> None:
        """Cancel what still runs, and wait for it.

        Raises:
            Exception: one of the tasks failed.
        """
        if self._scopes:
            self._gone = anyio.Event()
            for scope in self._scopes:
                scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._gone.wait()
        if self.error is not None:
            raise self.error
