"""The closure of a `run`: user code that may do anything but use the context, and whose result is journaled."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from perdure.durable.stepping import InContext
from perdure.machine.awaiting import Leaf
from perdure.machine.retry import RetryPolicy

if TYPE_CHECKING:
    from perdure.durable.blocks import Block

__all__ = ["Closure", "call_in_thread"]


async def call_in_thread(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a plain function in a worker thread, and await what it returns if that can be awaited.

    A thread cannot be interrupted: it is waited for, also when it was cancelled, since nothing outlives its block.
    `lambda: fetch(url)` looks like a plain function, too, and only its result tells.
    """
    (value,) = await anyio.to_thread.run_sync(lambda: (fn(*args),))
    return await value if isinstance(value, Awaitable) else value


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class Closure:
    """One `run` that has no completion yet.

    Attributes:
        leaf: settles when the completion is delivered.
        retry: what to do when it fails; `None` takes the default policy.
        timeout: seconds for one try, or `None`.
        block: the durable block it belongs to.
        cancelled: whether it was told to stop, so that it ends in the completion *cancelled*.
        abandoned: whether it was stopped without a result, which the journal decides in another attempt.
        ended: set at its native end, when somebody waits for that.
        scope: its native scope while it runs.
        tries: how often it was started in this attempt.
    """

    __slots__ = (
        "_args",
        "_context",
        "_encode",
        "_fn",
        "_plain",
        "abandoned",
        "block",
        "cancelled",
        "ended",
        "leaf",
        "name",
        "retry",
        "running",
        "scope",
        "timeout",
        "tries",
    )

    block: Block

    def __init__(
        self,
        leaf: Leaf,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        plain: bool,
        encode: Callable[[Any], bytes],
        retry: RetryPolicy | None,
        timeout: float | None,
        name: str,
    ) -> None:
        self.leaf: Leaf = leaf
        self._fn = fn
        self._args = args
        self._plain = plain
        self._encode = encode
        self._context = contextvars.copy_context()
        self.retry: RetryPolicy | None = retry
        self.timeout: float | None = timeout
        self.name: str = name
        self.cancelled: bool = False
        self.abandoned: bool = False
        self.running: bool = False
        self.ended: anyio.Event | None = None
        self.scope: anyio.CancelScope | None = None
        self.tries: int = 0

    def cancel(self) -> None:
        """Stop the closure at once, or keep it from starting."""
        self.cancelled = True
        if self.scope is not None:
            self.scope.cancel()

    def abandon(self) -> None:
        """Stop the closure at once, without a result."""
        self.abandoned = True
        if self.scope is not None:
            self.scope.cancel()

    async def try_once(self, on_suspend: Callable[[], None] | None = None) -> bytes:
        """Run the user's function once; returns its encoded result.

        Raises:
            TimeoutError: it took longer than `timeout`.
            SerdeError: its result cannot be encoded.
        """
        self.tries += 1
        if self.timeout is None:
            value = await self._in_context(on_suspend)
        else:
            with anyio.fail_after(self.timeout):
                value = await self._in_context(on_suspend)
        return self._encode(value)

    def _in_context(self, on_suspend: Callable[[], None] | None) -> InContext:
        # Each try gets the context as it was at `ctx.run`: a failed try leaves nothing behind.
        context = self._context.copy()
        if self._plain:
            return InContext(call_in_thread(self._fn, *self._args), context, on_suspend)
        awaitable = context.run(self._fn, *self._args)
        coroutine = awaitable if isinstance(awaitable, Coroutine) else _as_coroutine(awaitable)
        return InContext(coroutine, context, on_suspend)
