"""Durable promises: values that the handlers of one workflow exchange."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from perdure.durable.combinators import Outcome
    from perdure.durable.future import DurableFuture

__all__ = ["DurablePromise"]

T = TypeVar("T")


class DurablePromise(Protocol[T]):
    """A named value of a workflow, completed once by any of its handlers and read by all of them.

    It exists as soon as somebody names it: completing it before anybody waits is fine. `await promise` waits for it.
    """

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the value.

        Raises:
            TerminalError: the promise was rejected.
        """
        ...

    def value(self) -> DurableFuture[T]:
        """Return a future of the value, to be given to `ctx.select` and its like."""
        ...

    def peek(self) -> DurableFuture[Outcome[T] | None]:
        """Look at the promise without waiting for it: `None` while it is not complete."""
        ...

    def resolve(self, value: T) -> DurableFuture[None]:
        """Complete the promise with a value.

        Await the future to know whether that worked: it raises `TerminalError` when the promise was complete already.
        """
        ...

    def reject(self, message: str, *, code: int = 500) -> DurableFuture[None]:
        """Complete the promise with a failure: whoever waits for it gets a `TerminalError`.

        Await the future to know whether that worked, as with `resolve`.
        """
        ...
