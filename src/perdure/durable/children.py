"""The tasks that an attempt starts: its reader, and the closures that no branch runs itself.

Opening a task group costs as much as a whole short attempt (it is one trip through the event loop), and most attempts
start no task. So tasks are started in a group that the process keeps open (`Endpoint.running`), where there is one, and
each attempt counts its own: none survives it, and an error in one is raised by the attempt that started it.

Branches are many, so they are started in the cheapest way that each loop has, in a third of the time. On asyncio that
is a plain task. It stands outside of anyio's groups, but who would cancel it there? The host is heard by the task of
the handler, and the fence cancels all branches. On trio it is a nursery of the attempt, opened with its first branch.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
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

    __slots__ = ("_branches", "_failed", "_gone", "_home", "_nursery", "_opening", "_scopes", "_waiting", "error")

    def __init__(self, home: anyio.abc.TaskGroup, failed: Callable[[], None]) -> None:
        self._home = home
        self._failed = failed
        self._scopes: set[anyio.CancelScope] = set()
        self._branches: dict[object, None] = {}
        self._nursery: Any = None
        self._opening = False
        self._waiting: list[tuple[Context, Callable[..., Coroutine[Any, Any, None]], tuple[Any, ...]]] = []
        self._gone: anyio.Event | None = None
        self.error: Exception | None = None

    def start(self, fn: Callable[..., Awaitable[object]], *args: Any) -> anyio.CancelScope:
        """Start a task; returns the native scope around it."""
        scope = open_scope()
        self._scopes.add(scope)
        self._home.start_soon(self._run, scope, fn, args)
        return scope

    def start_branch(self, context: Context, fn: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Start the task of a branch, in this context. It handles its errors, and ends when the attempt is fenced."""
        trio = sys.modules.get("trio")
        if trio is None or not trio.lowlevel.in_trio_task():
            task = asyncio.get_running_loop().create_task(fn(*args), context=context)
            self._branches[task] = None
            task.add_done_callback(self._branch_ended)
        elif self._nursery is not None:
            context.run(self._nursery.start_soon, fn, *args)
        else:
            self._waiting.append((context, fn, args))
            if not self._opening:
                self._opening = True
                self.start(self._keep_nursery, trio)

    async def _keep_nursery(self, trio: Any) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            waiting, self._waiting = self._waiting, []
            for context, fn, args in waiting:
                context.run(nursery.start_soon, fn, *args)
            await trio.sleep_forever()

    def broke(self, error: Exception) -> None:
        """One of the tasks failed, which is a bug; the attempt raises the error."""
        self.error = error
        self._failed()

    def _branch_ended(self, task: asyncio.Task[None]) -> None:
        del self._branches[task]
        self._settle()
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]  # KeyboardInterrupt and the like; it is not None

    def _settle(self) -> None:
        if self._gone is not None and not self._scopes and not self._branches:
            self._gone.set()

    async def _run(self, scope: anyio.CancelScope, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            with scope:
                await fn(*args)
        except Exception as error:  # noqa: BLE001 - kept, and raised by the attempt
            self.broke(error)
        finally:
            self._scopes.discard(scope)
            self._settle()

    async def end(self) -> None:
        """Cancel what still runs, and wait for it.

        Raises:
            Exception: one of the tasks failed.
        """
        if self._scopes or self._branches:
            self._gone = anyio.Event()
            for scope in self._scopes:
                scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._gone.wait()
        if self.error is not None:
            raise self.error
