"""How a failed attempt is told to the runtime: code, message, when to try again, what to do instead."""

from __future__ import annotations

import traceback
from typing import Final

from perdure.durable.outcome import writable
from perdure.exceptions import (
    INTERNAL,
    FailError,
    JournalMismatchError,
    PauseError,
    PerdureError,
    ProtocolError,
    RetryableError,
    SerdeError,
    UsageError,
)
from perdure.machine.awaiting import Leaf
from perdure.machine.invocation import Invocation
from perdure.wire.messages import ErrorBehavior

__all__ = ["BROKEN", "NOT_RETRIED", "StepFailed", "write_failure"]

BROKEN: Final = (JournalMismatchError, ProtocolError)
"""Errors after which an attempt can write nothing more: code or peer disagree with the journal."""

NOT_RETRIED: Final = (UsageError, SerdeError, FailError, PauseError, JournalMismatchError)
"""What a step may raise that trying it again does not mend: it fails the attempt."""


class StepFailed(Exception):  # noqa: N818 - internal: carries a step's error to the end of the attempt
    """A step failed and the attempt ends with it."""

    def __init__(self, leaf: Leaf, cause: Exception, *, retry_after: float | None = None, pause: bool = False) -> None:
        super().__init__(str(cause))
        self.leaf = leaf
        self.cause = cause
        self.retry_after = retry_after
        self.pause = pause


def _telling(error: BaseException) -> BaseException:
    """The error that decides what happens next: in a group, the first that no retry can mend."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    decisive: BaseException | None = error.subgroup(NOT_RETRIED)
    while isinstance(decisive, BaseExceptionGroup):
        decisive = decisive.exceptions[0]
    return error if decisive is None else decisive


def write_failure(machine: Invocation, error: BaseException) -> None:
    """End the attempt with the error message that `error` deserves."""
    whole, error = error, _telling(error)
    message = str(error) or type(error).__name__
    code, retry_after, behavior, leaf = INTERNAL, None, ErrorBehavior.RETRY, None
    match error:
        case JournalMismatchError() | ProtocolError():
            code, behavior = error.code, ErrorBehavior.PAUSE
        case UsageError() | PauseError():
            behavior = ErrorBehavior.PAUSE
        case FailError():
            code, behavior = error.code, ErrorBehavior.FAIL
        case StepFailed():
            leaf, retry_after = error.leaf, error.retry_after
            behavior = ErrorBehavior.PAUSE if error.pause else ErrorBehavior.RETRY
            whole = error = error.cause
            message = str(error) or type(error).__name__
        case RetryableError():
            retry_after = error.retry_after
        case PerdureError():
            code = getattr(error, "code", INTERNAL)
        case _:
            pass
    if not isinstance(error, PerdureError):
        message = f"{type(error).__name__}: {message}" if str(error) else message
    stack = writable("".join(traceback.format_exception(whole)))
    message = writable(message)
    machine.fail(message, code=code, stacktrace=stack, retry_after=retry_after, behavior=behavior, leaf=leaf)
