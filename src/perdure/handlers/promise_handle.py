"""Durable promises, as a context gives them out."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from perdure.durable.combinators import Outcome
from perdure.durable.future import DurableFuture, JournalFuture
from perdure.durable.outcome import failure_of
from perdure.durable.serde import Serde, encode_value
from perdure.exceptions import TerminalError, UsageError
from perdure.handlers.invocations import OutcomeFuture, read_outcome
from perdure.handlers.steps import check_size, reader
from perdure.wire.messages import Failure, Result, Value

if TYPE_CHECKING:
    from perdure.handlers.invocation_context import InvocationContext

__all__ = ["ContextPromise"]

T = TypeVar("T")


class ContextPromise(Generic[T]):
    """A named value of a workflow."""

    __slots__ = ("_ctx", "_name", "_serde")

    def __init__(self, ctx: InvocationContext, name: str, serde: Serde[T]) -> None:
        if not name:
            raise UsageError("a promise needs a name")
        self._ctx = ctx
        self._name = name
        self._serde = serde

    def _of(self) -> str:
        return f"the value of promise {self._name!r}"

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the value."""
        return self.value().__await__()

    def value(self) -> DurableFuture[T]:
        """A future of the value."""
        ctx = self._ctx
        return JournalFuture(
            ctx.driver, ctx.leaf(ctx.driver.machine.get_promise, self._name), reader(self._serde, self._of())
        )

    def peek(self) -> DurableFuture[Outcome[T] | None]:
        """Look at the promise without waiting for it."""
        ctx = self._ctx
        leaf = ctx.leaf(ctx.driver.machine.peek_promise, self._name)
        return OutcomeFuture(ctx.driver, leaf, read_outcome(reader(self._serde, self._of())))

    def resolve(self, value: T) -> DurableFuture[None]:
        """Complete the promise with a value."""
        data = check_size(encode_value(self._serde, value, self._of()), self._of())
        return self._complete(Value(data), stable=self._serde.stable)

    def reject(self, message: str, *, code: int = 500) -> DurableFuture[None]:
        """Complete the promise with a failure."""
        return self._complete(failure_of(TerminalError(message, code=code)), stable=True)

    def _complete(self, result: Value | Failure, *, stable: bool) -> DurableFuture[None]:
        ctx = self._ctx
        leaf = ctx.told(ctx.driver.machine.complete_promise, self._name, result, stable=stable)
        return JournalFuture(ctx.driver, leaf, _nothing)


def _nothing(_: Result) -> None:
    return None
