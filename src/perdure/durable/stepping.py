"""Coroutines that are stepped by hand: to run one in a context of its own, or to hear when one really waits.

Both cost a fraction of a microsecond for each trip through the event loop, and nothing where there is none.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

import anyio

__all__ = ["InContext", "Stepped", "Watched"]


class InContext:
    """Awaits a coroutine in a context of its own, in the task that awaits it.

    A closure that sets a context variable must not be seen to have done so by the handler: in a replay it does not run.
    A task of its own would hide it as well, for ten times the price.

    Args:
        coroutine: what to run.
        context: the context to run it in.
        on_suspend: called once, when the coroutine waits for the first time.
    """

    __slots__ = ("_context", "_coroutine", "_on_suspend")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context, on_suspend: Callable[[], None] | None
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._on_suspend = on_suspend

    def __await__(self) -> Generator[Any, Any, Any]:
        run = self._context.run
        coroutine = self._coroutine
        try:
            trap = run(coroutine.send, None)
        except StopIteration as stop:
            return stop.value
        if self._on_suspend is not None:
            self._on_suspend()
        resume: Callable[[Any], Any]
        while True:
            try:
                answer = yield trap
            except BaseException as error:  # noqa: BLE001 - whatever the loop raises belongs to the closure
                resume, argument = coroutine.throw, error
            else:
                resume, argument = coroutine.send, answer
            try:
                trap = run(resume, argument)
            except StopIteration as stop:
                return stop.value


def _cancellation_of(trap: Any) -> Generator[Any, Any, BaseException | None]:
    """Let the cancellation of a scope reach this asyncio task before its wait begins; returns what it raised.

    Trio's cancellation is there at the next checkpoint. On asyncio it is delivered by a callback, and a short wait may
    be over before that: what code does after it would depend on the order of the loop. A wait that is shielded natively
    gets none.
    """
    for _ in range(2):  # the callback runs in the next round, before or after this task
        try:
            yield None
        except BaseException as error:  # noqa: BLE001 - returned, and thrown into the coroutine
            if trap is not None:
                trap.cancel()
            return error
    return None


class Stepped(Protocol):
    """Who a watched coroutine belongs to."""

    stepping: bool
    """Whether the coroutine is running right now."""


S = TypeVar("S", bound=Stepped)


class Watched(Generic[S]):
    """Awaits a coroutine; tells each time when it waits for the event loop, and whether it runs right now.

    The second is the cheap way to know whose code is running: the loops' own `current_task` costs five times as much,
    and every durable operation asks.

    Args:
        coroutine: what to run.
        owner: told whether it runs.
        waits: called with the owner before each wait; it may start tasks, but not wait itself. It tells whether it has
            cancelled the scope around the wait.
        interrupted: called with the owner before the loop's cancellation goes into the coroutine.
    """

    __slots__ = ("_coroutine", "_interrupted", "_owner", "_waits")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        owner: S,
        waits: Callable[[S], bool],
        interrupted: Callable[[S], None],
    ) -> None:
        self._coroutine = coroutine
        self._owner = owner
        self._waits = waits
        self._interrupted = interrupted

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine = self._coroutine
        owner = self._owner
        waits = self._waits
        argument: Any = None
        failure: BaseException | None = None
        try:
            while True:
                owner.stepping = True
                try:
                    trap = coroutine.send(argument) if failure is None else coroutine.throw(failure)
                except StopIteration:
                    return
                owner.stepping = False
                if waits(owner) and (trap is None or hasattr(trap, "_asyncio_future_blocking")):
                    failure = yield from _cancellation_of(trap)
                    if failure is not None:
                        self._interrupted(owner)
                        continue
                try:
                    argument = yield trap
                except BaseException as error:  # noqa: BLE001 - whatever the loop raises belongs to the coroutine
                    failure = error
                    if isinstance(error, anyio.get_cancelled_exc_class()):
                        self._interrupted(owner)
                else:
                    failure = None
                    # asyncio throws a cancellation into the task; trio sends it as an outcome, opened further in.
                    if argument is not None and isinstance(
                        getattr(argument, "error", None), anyio.get_cancelled_exc_class()
                    ):
                        self._interrupted(owner)
        finally:
            owner.stepping = False
