"""Compensations: steps that undo earlier ones, when the invocation is going to end without its result.

An attempt that fails is tried again, and one that suspends goes on later; neither has anything to undo. So the steps
run only when a terminal failure, or the cancellation of the invocation, leaves the block. They run in reverse order,
one by one, shielded from every cancellation, and each is retried by its policy; so a crash in the middle goes on there.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVarTuple

from perdure.durable.blocks import Block
from perdure.durable.branches import Hears
from perdure.durable.driver import Driver
from perdure.durable.future import DurableFuture
from perdure.durable.outcome import terminal_of
from perdure.exceptions import InvocationCancelled, UsageError
from perdure.machine.retry import RetryPolicy

__all__ = ["Compensations"]

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class _Run(Protocol):
    """`ctx.run`."""

    def __call__(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> DurableFuture[Any]: ...


def _ends_invocation(error: BaseException) -> bool:
    return isinstance(error, InvocationCancelled) or terminal_of(error) is not None


class Compensations:
    """Steps to undo, in the order of their making; made by `ctx.compensations()`, used in one `async with` statement.

    When a `TerminalError`, a group of nothing else, or `InvocationCancelled` leaves the block, steps that still run in
    it are stopped, and what was pushed is run in reverse order. Any other error fails the attempt, and suspension ends
    it; neither runs anything.
    """

    __slots__ = ("_block", "_driver", "_left", "_pushed", "_run")

    def __init__(self, driver: Driver, run: _Run) -> None:
        self._driver = driver
        self._run = run
        self._pushed: list[Callable[[], Awaitable[Any]]] = []
        self._block: Block | None = None
        self._left = False

    def __repr__(self) -> str:
        return f"<{len(self._pushed)} compensations>"

    def push(
        self,
        fn: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> None:
        """Add a step to be run if what follows cannot be completed. Push it before what it undoes.

        Nothing is written now. A step may have happened although its result is not known (the process died), so what
        undoes it must bear that it never happened.

        Args:
            fn: what to do: as in `ctx.run`, it must not use the context.
            args: its arguments.
            name: of the journal entry; the function's own name when it is not given.
            retry: when a failed try is tried again, as in `ctx.run`.
            timeout: seconds for one try.

        Raises:
            UsageError: the block is not open, or this code may not use the context.
        """
        self._push(functools.partial(self._run, fn, *args, name=name, retry=retry, timeout=timeout))

    def push_durable(self, fn: Callable[P, Awaitable[Any]], /, *args: P.args, **options: P.kwargs) -> None:
        """Add something durable: a call, or a function of the handler that uses the context.

        ::

            undo.push_durable(ctx.call, release, count, key=item)

        Args:
            fn: called when it is time; what it returns is awaited.
            args: its arguments.
            options: its keyword arguments.

        Raises:
            UsageError: the block is not open, or this code may not use the context.
        """
        self._push(functools.partial(fn, *args, **options))

    def _push(self, act: Callable[[], Awaitable[Any]]) -> None:
        driver = self._driver
        if driver.fenced:
            driver.check_not_over()
            return
        driver.holder()
        if self._block is None:
            raise UsageError("compensations are pushed inside their block: async with ctx.compensations() as undo")
        self._pushed.append(act)

    async def __aenter__(self) -> Self:
        driver = self._driver
        if self._block is not None or self._left:
            raise UsageError("compensations are used in one `async with` statement, once: make others")
        if driver.fenced:
            await driver.unwind()
        self._block = driver.stopping.enter(driver.holder())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        driver = self._driver
        block = self._block
        assert block is not None
        undo = error is not None and not driver.fenced and _ends_invocation(error)
        failures: list[Exception] = []
        try:
            if undo:
                block.shield = True
                await self._stop_steps(block)  # noqa: ASYNC102 - durable, and shielded from every durable cancellation
                failures = await self._undo()  # noqa: ASYNC102 - as above
        finally:
            self._block, self._left = None, True
            driver.stopping.leave(block, stop=undo)
        if not failures:
            return
        if isinstance(error, InvocationCancelled):
            group = ExceptionGroup("compensations failed", failures)
            group.__context__ = error.__context__
            error.__context__ = group
            return
        assert isinstance(error, Exception)
        raise ExceptionGroup("a failure, and compensations for it that failed, too", [error, *failures]) from None

    async def _stop_steps(self, block: Block) -> None:
        """Nothing is undone while it is still being done."""
        unsettled = block.unsettled()
        for closure in unsettled:
            closure.cancel()
        if unsettled:
            await self._driver.stopping.wait_for_steps(
                block.host, [closure.leaf for closure in unsettled], hears=Hears.NONE
            )

    async def _undo(self) -> list[Exception]:
        failures: list[Exception] = []
        while self._pushed:
            act = self._pushed.pop()
            try:
                await act()
            except Exception as error:
                if terminal_of(error) is None:
                    raise  # the attempt fails, and the next one goes on undoing here
                failures.append(error)
        return failures
