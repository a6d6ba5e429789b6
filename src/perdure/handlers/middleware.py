"""Code around attempts and steps: tracing, metrics, database sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any, cast

from perdure.durable.closures import call_in_thread

if TYPE_CHECKING:
    from perdure.handlers.context import Context

__all__ = ["Middleware", "around_step"]


class Middleware:
    """Base of middleware: override what you need.

    Both methods return an async context manager. It sees what is raised inside it, the loop's cancellation included,
    and must let it through. It must do nothing durable: it runs in every attempt, and the journal does not know it.
    """

    def attempt(self, ctx: Context) -> AbstractAsyncContextManager[Any]:
        """Enter around one attempt of a handler, replayed parts included."""
        del ctx  # what overrides this uses it
        return nullcontext()

    def step(self, ctx: Context, name: str) -> AbstractAsyncContextManager[Any]:
        """Enter around one try of a step that is really executed; never around a replayed one."""
        del ctx, name  # what overrides this uses them
        return nullcontext()


def around_step(
    middleware: tuple[Middleware, ...], ctx: Any, name: str, fn: Callable[..., Any], *, plain: bool
) -> Callable[..., Awaitable[Any]]:
    """`fn` inside the step managers of every middleware, the first outermost."""

    async def wrapped(*args: Any) -> Any:
        async with AsyncExitStack() as stack:
            for each in middleware:
                await stack.enter_async_context(each.step(cast("Context", ctx), name))
            if plain:
                return await call_in_thread(fn, *args)
            return await fn(*args)

    return wrapped
