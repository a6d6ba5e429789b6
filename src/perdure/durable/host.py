"""The host's cancellation, and how it is told from other people's.

Cancellation of the host (Ctrl-C, a server that shuts down) reaches the handler's tasks like any other. The driver steps
the handler by hand and sees it come: it *fences* the attempt first and lets the cancellation through then. So nothing
that unwinds can write to a journal that is no longer its own. A cancellation that hits a durable await any other way
can only come from a native scope the user put around it, which no journal knows; it is refused as such. One kind tells
not where it comes from: asyncio's own `Task.cancel`, which hosts use and `asyncio.timeout` too. That one is judged by
what follows. A timeout takes it back; until then nothing durable happens.
"""

from __future__ import annotations

import math
from threading import get_ident
from typing import TYPE_CHECKING, Final

import anyio

from perdure.durable.branches import DriverBranch
from perdure.durable.end import End
from perdure.durable.loop import is_being_cancelled, is_stray
from perdure.durable.source import user_location
from perdure.exceptions import UsageError

if TYPE_CHECKING:
    from perdure.durable.driver import Driver

__all__ = ["Host"]

_FOREIGN: Final = (
    "a native {what} surrounds a durable await ({where}): its moment is in no journal, so a replay could not repeat "
    "it. Use ctx.move_on_after, ctx.fail_after or ctx.open_nursery, race the durable future with ctx.sleep in "
    "ctx.select, or put the native one inside a step (ctx.run)"
)


class Host:
    """Hears for one attempt.

    Attributes:
        thread: the thread in which contexts may be used; 0 while a doubt makes every durable operation look closer.
    """

    __slots__ = ("_driver", "_natively_at", "_own_thread", "thread")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._natively_at: str | None = None
        self.thread: int = get_ident()
        self._own_thread = self.thread

    def interrupted(self, branch: DriverBranch) -> None:
        """The loop is about to cancel a branch's task. Where the host does it, the fence comes first."""
        scope = branch.native
        if self._driver.fenced:
            branch.told = True
            return
        if scope is None:
            return
        if anyio.current_effective_deadline() != -math.inf:  # no scope: it is asyncio's own
            branch.doubt = True
            self.thread = 0  # so that the next durable operation looks closer
            return
        scope.shield = True
        from_inside = anyio.current_effective_deadline() == -math.inf
        scope.shield = False
        if not from_inside:
            branch.told = True
            self._driver.fence(End.CANCELLED)

    def may_go_on(self, branch: DriverBranch) -> bool:
        """Whether the thread is right; after asyncio cancelled the task, whether somebody has taken that back."""
        if get_ident() != self._own_thread:
            return False
        if branch.doubt:
            if is_being_cancelled():
                self._natively_at = user_location()
                branch.told = True
                self._driver.fence(End.CANCELLED)
                raise anyio.get_cancelled_exc_class()
            branch.doubt = False
        if not any(other.doubt for other in self._driver.turns.alive):
            self.thread = self._own_thread
        return True

    async def cancelled_at_await(self, branch: DriverBranch) -> None:
        """A durable await was cancelled, and it was not the host; or asyncio cannot tell yet."""
        driver = self._driver
        if driver.fenced:
            return
        if anyio.current_effective_deadline() != -math.inf:
            self._natively_at = driver.parked_at(branch)
            driver.fence(End.CANCELLED)
        else:
            await self.refuse(branch, "cancel scope or task group")

    async def refuse(self, branch: DriverBranch, what: str) -> None:
        """Fail the attempt: something native surrounds a durable await."""
        driver = self._driver
        error = UsageError(_FOREIGN.format(what=what, where=driver.parked_at(branch)))
        with anyio.move_on_after(1, shield=True):
            await driver.abort(error)
        driver.fence(End.FAILED)
        await driver.unwind()

    def was_taken_back(self) -> bool:
        """Whether asyncio cancelled a durable await and it was not the host: a native timeout; that is told."""
        driver = self._driver
        if self._natively_at is None or driver.end is not End.CANCELLED or is_being_cancelled():
            return False
        driver.failure = UsageError(_FOREIGN.format(what="timeout of asyncio", where=self._natively_at))
        driver.end = End.FAILED
        driver.link.mute = False
        return True

    def was_stray(self, cancelled: BaseException) -> bool:
        """Whether the handler let a cancellation through that was meant for something else; that fails the attempt."""
        if self._driver.fenced or not is_stray():
            return False
        self._driver.fail(stray_error(cancelled))
        return True


def stray_error(cancelled: BaseException) -> RuntimeError:
    """The error for a cancellation of something else that user code let through."""
    error = RuntimeError("the handler let the cancellation of something else through")
    error.__cause__ = cancelled
    return error
