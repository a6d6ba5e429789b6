"""Running a handler once: decode its input, run it, turn every outcome into what the journal gets.

This is the only place where outcomes are decided:

=====================================================  ===========================================================
the handler                                            the invocation
=====================================================  ===========================================================
returns                                                ends with the value
raises `TerminalError`, or a group of nothing else     ends with the failure
lets `InvocationCancelled` through                     ends with the failure 409
cannot decode its input                                ends with the failure 400
raises anything else                                   is tried again by its retry policy
raises `UsageError`, does not repeat its journal       is paused (protocol 7) or tried again by its policy
is suspended, or its peer is gone                      goes on in another attempt
=====================================================  ===========================================================
"""

from __future__ import annotations

import contextvars
import logging
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio

from perdure.durable.driver import Driver, End
from perdure.durable.outcome import failure_of, terminal_of
from perdure.durable.serde import decode_value, encode_value
from perdure.exceptions import InvocationCancelled, SerdeError, TerminalError, UsageError
from perdure.handlers.environment import Environment
from perdure.handlers.invocation_context import InvocationContext
from perdure.handlers.registry import BoundHandler
from perdure.handlers.steps import check_size
from perdure.wire.messages import Failure, InputCommand, Value

__all__ = ["Attempt", "current_attempt", "run_attempt"]

_BAD_INPUT: Final = 400
_log: Final = logging.getLogger("perdure.attempt")


class Attempt:
    """The attempt that the running code belongs to, for logs and other observers.

    Attributes:
        service: name of the service.
        handler: name of the handler.
    """

    __slots__ = ("_driver", "handler", "service")

    def __init__(self, driver: Driver, service: str, handler: str) -> None:
        self._driver = driver
        self.service: str = service
        self.handler: str = handler

    @property
    def invocation_id(self) -> str:
        """The id of the invocation (`inv_1...`)."""
        return self._driver.machine.start.debug_id

    @property
    def key(self) -> str | None:
        """The key of the object or workflow, `None` for a service."""
        return self._driver.machine.start.key or None

    @property
    def number(self) -> int:
        """Which attempt since the last journal entry this is, counted from 1."""
        return self._driver.machine.start.retry_count_since_last_stored_entry + 1

    @property
    def replaying(self) -> bool:
        """Whether the handler is repeating what earlier attempts did."""
        return self._driver.machine.replaying

    @property
    def unwinding(self) -> bool:
        """Whether the attempt is over, and its code is only being unwound."""
        return self._driver.fenced


current_attempt: Final[contextvars.ContextVar[Attempt | None]] = contextvars.ContextVar("perdure_attempt", default=None)
"""The attempt that the running code belongs to: the handler, its steps, and whatever they call."""


async def run_attempt(bound: BoundHandler[Any], driver: Driver, environment: Environment) -> End:
    """Run a handler once; returns how the attempt ended."""
    handler = bound.handler
    attempt = Attempt(driver, bound.service.name, handler.name)
    token = current_attempt.set(attempt)
    driver.patience = environment.patience
    environment.running.add(driver)
    if environment.draining:
        await driver.drain()
    try:
        end = await driver.run(_Run(bound, driver, environment).run)
    finally:
        environment.running.discard(driver)
        current_attempt.reset(token)
    if end is End.FAILED:
        _log.warning("attempt of %s failed: %s", handler.path, driver.failure, exc_info=driver.failure)
    return end


class _Run:
    """One run of a handler's code."""

    __slots__ = ("_bound", "_driver", "_environment", "_handler")

    def __init__(self, bound: BoundHandler[Any], driver: Driver, environment: Environment) -> None:
        self._bound = bound
        self._handler = bound.handler
        self._driver = driver
        self._environment = environment

    async def run(self) -> None:
        driver = self._driver
        machine = driver.machine
        request = machine.input()
        driver.late = self._late
        try:
            result, stable = await self._result(request)
        except anyio.get_cancelled_exc_class():
            raise
        except Exception as error:
            if driver.fenced and error is not driver.failure:
                self._late(error)
            raise
        except BaseExceptionGroup as group:
            # trio's nurseries mix the loop's cancellation with the errors that it caused.
            cancelled, errors = group.split(anyio.get_cancelled_exc_class())
            if not driver.fenced or cancelled is None or not isinstance(errors, ExceptionGroup):
                raise
            self._late(errors)
            raise cancelled from None
        if driver.fenced:
            return
        machine.write_output(result, stable=stable)
        machine.end()

    async def _result(self, request: InputCommand) -> tuple[Value | Failure, bool]:
        driver = self._driver
        try:
            result, stable = await self._call(request)
            if driver.fenced:
                await driver.unwind()  # middleware swallowed that the attempt is over
        except InvocationCancelled as cancelled:
            failure = Failure(cancelled.code, cancelled.message)
        except (Exception, BaseExceptionGroup) as error:
            terminal = terminal_of(error)
            if terminal is None or driver.fenced:
                raise
            failure = failure_of(terminal)
        else:
            return Value(result), stable
        if not driver.fenced:
            await driver.finish(stop=True)
        return failure, True

    async def _call(self, request: InputCommand) -> tuple[bytes, bool]:
        handler, environment = self._handler, self._environment
        read, write = self._bound.input, self._bound.output
        ctx = InvocationContext(self._driver, self._bound, environment, request.headers)
        arguments: tuple[Any, ...] = ()
        if handler.takes_input:
            payload = request.value.content if request.value is not None else b""
            try:
                arguments = (decode_value(read, payload, f"the input of {handler.path}"),)
            except SerdeError as error:
                raise TerminalError(str(error), code=_BAD_INPUT) from error
        if environment.middleware:
            async with AsyncExitStack() as stack:
                for each in environment.middleware:
                    await stack.enter_async_context(each.attempt(ctx))  # type: ignore[arg-type]  # it can do all that Context can
                result = await self._to_its_end(ctx, arguments)
        else:
            result = await self._to_its_end(ctx, arguments)
        of = f"the output of {handler.path}"
        return check_size(encode_value(write, result, of), of), write.stable

    async def _to_its_end(self, ctx: InvocationContext, arguments: tuple[Any, ...]) -> Any:
        """Run the handler's function, then the steps that it forgot, or stop them: nothing outlives it."""
        driver = self._driver
        try:
            result = await self._handler.fn(ctx, *arguments)
            if driver.fenced and driver.end is not End.FAILED and driver.root.told:
                self._swallowed()
            await driver.finish()
        except (Exception, InvocationCancelled, BaseExceptionGroup) as error:
            if not driver.fenced and (isinstance(error, InvocationCancelled) or terminal_of(error) is not None):
                await driver.finish(stop=True)  # noqa: ASYNC120 - durable: what cancels it has fenced the attempt before
            raise
        return result

    def _late(self, error: BaseException) -> None:
        """An error of code that unwinds is no outcome, but it is not lost."""
        _log.warning(
            "%s raised %s while its attempt was being unwound (%s); this changes nothing",
            self._handler.path,
            type(error).__name__,
            self._driver.end.value if self._driver.end is not None else "?",
            exc_info=error,
        )

    def _swallowed(self) -> None:
        error = UsageError(
            f"{self._handler.path} swallowed the cancellation of an attempt that is over "
            f"({self._driver.end.value if self._driver.end is not None else '?'}): let the loop's cancellation "
            "through; `except BaseException` and a bare `except` must re-raise it"
        )
        _log.error("%s", error)
