"""Values one can await, put into combinators, and await again in a replay.

A future stands for a node of the await tree (`perdure.machine.awaiting`). It is *done* when its result was delivered
from the journal, not when it arrived. It may be awaited any number of times, and always gives the same object: the
decoded one, in the first attempt too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar, cast

from perdure.durable.driver import Driver
from perdure.durable.outcome import error_of, is_run_cancelled
from perdure.machine.awaiting import PENDING, Leaf, Node, Relay
from perdure.wire.messages import Failure, Result

__all__ = ["Awakeable", "CallFuture", "DurableFuture", "JournalFuture", "RunFuture"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")

_UNREAD: Any = object()


class DurableFuture(Generic[T_co]):
    """A result that is, or will be, in the journal.

    Await it, from one branch or from many; `map` it; give it to `ctx.select`, `gather`, `first`, `first_success`,
    `settle` or a `DurableFuturesUnordered`. Created by the context, never by hand.
    """

    __slots__ = ("_driver", "_error", "_node", "_value")

    def __init__(self, driver: Driver, node: Node) -> None:
        self._driver = driver
        self._node = node
        self._value: Any = _UNREAD
        self._error: BaseException | None = None

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the result.

        Raises:
            TerminalError: the operation failed for good.
            InvocationCancelled: this invocation was cancelled.
            SerdeError: the journaled bytes are no value of the expected type.
            UsageError: this code may not wait durably.
        """
        yield from self._driver.wait(self._node).__await__()
        return self._result()

    def __repr__(self) -> str:
        state = "done" if self.done else "pending"
        return f"<{type(self).__name__} {self._node!r} {state}>"

    @property
    def done(self) -> bool:
        """Whether the result was delivered, so that awaiting it does not wait."""
        return self._node.state != PENDING

    def map(self, fn: Callable[[T_co], U]) -> DurableFuture[U]:
        """A future of `fn` applied to the result.

        `fn` is a plain function that only looks at its argument: it runs in every attempt, when the result is read. An
        error it raises is raised where the mapped future is awaited.
        """
        return _Mapped(self, fn)

    def _result(self) -> T_co:
        """The result of a settled future, decoded once."""
        if self._value is _UNREAD:
            if self._error is not None:
                raise self._error.with_traceback(None)
            try:
                self._value = self._read()
            except Exception as error:
                self._error = error
                raise
        return cast("T_co", self._value)

    def _read(self) -> T_co:
        raise NotImplementedError

    def _observe(self) -> Node:
        """This future is being used in a combinator; returns its node."""
        return self._node


class JournalFuture(DurableFuture[T_co]):
    """A future of one notification."""

    __slots__ = ("_decode",)

    def __init__(self, driver: Driver, leaf: Leaf | Relay, decode: Callable[[Result], T_co]) -> None:
        self._driver = driver
        self._node: Node = leaf
        self._value = _UNREAD
        self._error = None
        self._decode = decode

    def _read(self) -> T_co:
        result = cast("Leaf", self._node).result
        if isinstance(result, Failure):
            raise error_of(result)
        return self._decode(cast("Result", result))


class RunFuture(JournalFuture[T_co]):
    """A future of a step."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, T_co]:
        leaf = cast("Leaf", self._node)
        driver = self._driver
        leaf.observed = True
        yield from driver.wait(leaf).__await__()
        driver.runs.close(leaf)
        result = leaf.result
        if isinstance(result, Failure) and is_run_cancelled(result):
            yield from driver.stopping.check_stopped().__await__()  # what stopped the step is told here
        return self._result()

    def _observe(self) -> Node:
        cast("Leaf", self._node).observed = True
        return self._node


class CallFuture(JournalFuture[T_co]):
    """A future of a call's result, which also knows whom it called.

    Attributes:
        invocation_id: a future of the callee's invocation id, known as soon as the call is stored.
    """

    __slots__ = ("invocation_id",)

    def __init__(
        self, driver: Driver, id_future: DurableFuture[str], leaf: Leaf, decode: Callable[[Result], T_co]
    ) -> None:
        super().__init__(driver, leaf, decode)
        self.invocation_id: DurableFuture[str] = id_future


class Awakeable(JournalFuture[T_co]):
    """A future that anybody who knows its id can complete.

    Attributes:
        id: the token to give away (`sign_1...`).
    """

    __slots__ = ("id",)

    def __init__(self, driver: Driver, id: str, leaf: Leaf, decode: Callable[[Result], T_co]) -> None:
        super().__init__(driver, leaf, decode)
        self.id: str = id


class _Mapped(DurableFuture[U]):
    """`future.map(fn)`: the same point to wait for, another value."""

    __slots__ = ("_fn", "_inner")

    def __init__(self, inner: DurableFuture[Any], fn: Callable[[Any], U]) -> None:
        super().__init__(inner._driver, inner._node)  # noqa: SLF001 - a future wraps a future
        self._inner = inner
        self._fn = fn

    def __await__(self) -> Generator[Any, None, U]:
        yield from self._inner.__await__()
        return self._result()

    def _observe(self) -> Node:
        return self._inner._observe()  # noqa: SLF001 - as above

    def _read(self) -> U:
        return self._fn(self._inner._result())  # noqa: SLF001 - as above
