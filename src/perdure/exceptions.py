"""Every error perdure raises, in one tree.

::

    Exception
    └── PerdureError
        ├── TerminalError                ends the invocation; travels through the journal and to callers
        │   ├── RunCancelled             a step or a child was cancelled; told to whoever awaits it from outside
        │   └── DeadlineExceeded         a durable deadline has passed (408)
        ├── RetryableError               fails the attempt on purpose; the runtime tries again
        ├── PauseError                   pauses the invocation until an operator resumes it (protocol 7)
        ├── FailError                    fails the invocation, past everything that handles errors (protocol 7)
        ├── UsageError                   the program uses perdure wrongly; repaired code can go on
        ├── JournalMismatchError         code and journal disagree (570)
        ├── SerdeError                   a value could not be encoded or decoded
        ├── ProtocolError                the peer sent what the protocol does not allow (571)
        ├── UnsupportedFeatureError      the negotiated protocol version lacks what was asked for (573)
        ├── IdentityError                a request is not signed by a key that is trusted (401)
        ├── IngressError                 an ingress call failed before an invocation could answer
        └── EngineError                  the embedded engine cannot do it
            ├── EngineClosed             it is closed, or was closed before it could answer
            └── EngineFailed             it could not go on: the disk, the file, a bug
    BaseException
    └── InvocationCancelled              somebody cancelled this invocation (409)

`InvocationCancelled` is no `Exception`: a cancellation could be lost in an `except Exception` around a call, and a lost
cancellation is a hung invocation. Code that handles it by name may go on durably.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

__all__ = [
    "DeadlineExceeded",
    "EngineClosed",
    "EngineError",
    "EngineFailed",
    "FailError",
    "IdentityError",
    "IngressError",
    "InvocationCancelled",
    "JournalMismatchError",
    "PauseError",
    "PerdureError",
    "ProtocolError",
    "RetryableError",
    "RunCancelled",
    "SerdeError",
    "TerminalError",
    "UnsupportedFeatureError",
    "UsageError",
]

INTERNAL: Final = 500
TIMEOUT: Final = 408
CONFLICT: Final = 409
JOURNAL_MISMATCH: Final = 570
PROTOCOL_VIOLATION: Final = 571
UNSUPPORTED_FEATURE: Final = 573


_CODES: Final = 2**32


def _checked_code(code: object, of: str) -> int:
    if not isinstance(code, int) or not 0 <= code < _CODES:
        raise UsageError(f"the code of a {of} is a number, an HTTP status usually, not {code!r}")
    return int(code)


class PerdureError(Exception):
    """Base of every error that perdure raises."""


class TerminalError(PerdureError):
    """Ends the invocation with a failure; it is not retried.

    The error is journaled, so it crosses calls: whoever called the handler gets an equal `TerminalError`.

    Args:
        message: what went wrong, for the caller.
        code: an HTTP status; the ingress answers with it.
        metadata: pairs of text that travel with the error (protocol 6 and newer).

    Raises:
        UsageError: the code is no number that the protocol can hold.
    """

    def __init__(self, message: str = "", *, code: int = INTERNAL, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message: str = str(message)
        self.code: int = _checked_code(code, "TerminalError")
        self.metadata: dict[str, str] = dict(metadata or {})

    def __repr__(self) -> str:
        metadata = f", metadata={self.metadata!r}" if self.metadata else ""
        return f"{type(self).__name__}({self.message!r}, code={self.code}{metadata})"

    def __eq__(self, other: object) -> bool:
        """Errors are equal as data; the same failure read twice from a journal is the same error."""
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, TerminalError)
        return (self.message, self.code, self.metadata) == (other.message, other.code, other.metadata)

    def __hash__(self) -> int:
        return hash((type(self), self.message, self.code))


class RunCancelled(TerminalError):  # noqa: N818 - named as the loops name theirs: Cancelled
    """A step, or a child of a nursery, was cancelled before it had a result, and not from the place that awaits it."""

    def __init__(self, message: str = "the step was cancelled") -> None:
        super().__init__(message, code=CONFLICT)


class DeadlineExceeded(TerminalError, TimeoutError):  # noqa: N818 - what happened, not whose error it is
    """The deadline of a `ctx.fail_after` or `ctx.fail_at` has passed; trying again would not bring it back."""

    def __init__(self, message: str = "the deadline has passed") -> None:
        super().__init__(message, code=TIMEOUT)


class RetryableError(PerdureError):
    """Fails the attempt, or the step it is raised in, so that it is tried again.

    Args:
        message: what went wrong.
        retry_after: seconds until the next try; without it the retry policy decides.

    Raises:
        UsageError: the pause is negative or not finite.
    """

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        if retry_after is not None and not 0 <= retry_after < math.inf:
            raise UsageError(f"retry_after of a RetryableError is at least 0 seconds and finite, not {retry_after!r}")
        self.message = message
        self.retry_after = retry_after


class PauseError(PerdureError):
    """Pauses the invocation until an operator resumes it.

    On protocol 7 the runtime is asked to pause at once; on 5 and 6, which cannot be asked, the attempt fails and the
    retry policy of the handler decides.
    """


class FailError(PerdureError):
    """Fails the invocation at once, from inside a step too, without giving its code a chance to compensate.

    On protocol 7 the runtime is asked to fail the invocation; on 5 and 6, which cannot be asked, the attempt fails and
    the retry policy decides. Where the caller shall handle the failure, raise `TerminalError`.
    """

    def __init__(self, message: str = "", *, code: int = INTERNAL) -> None:
        super().__init__(message)
        self.message = message
        self.code: int = _checked_code(code, "FailError")


class UsageError(PerdureError):
    """The program uses perdure in a way that cannot work; the message says where and what to do instead.

    Never a `TerminalError`: the invocation is paused (protocol 7) or retried by its policy, so that it can go on with
    repaired code.
    """


class JournalMismatchError(PerdureError):
    """The code does something else than the journal recorded (570).

    Attributes:
        index: index of the command in the journal, counted from 0 (the input).
        recorded: the recorded command, in words.
        issued: what the code did instead, in words.
        differences: the fields that differ, as `field: recorded -> issued`.
        cause: what usually leads here.
        location: the line of the handler, as `file:line in function`; empty when it is not known.
    """

    code = JOURNAL_MISMATCH

    def __init__(
        self,
        *,
        index: int,
        recorded: str,
        issued: str,
        differences: tuple[str, ...] = (),
        cause: str = "",
        location: str = "",
    ) -> None:
        super().__init__()
        self.index = index
        self.recorded = recorded
        self.issued = issued
        self.differences = differences
        self.cause = cause
        self.location = location

    def __str__(self) -> str:
        lines = [
            f"journal mismatch at command {self.index}: the code does not repeat what the journal recorded",
            f"  recorded: {self.recorded}",
            f"  now:      {self.issued}",
            *(f"  differs:  {difference}" for difference in self.differences),
        ]
        if self.location:
            lines.append(f"  at:       {self.location}")
        if self.cause:
            lines.append(f"  likely:   {self.cause}")
        lines.append("  to do:    run the code this invocation started with, or restart the invocation on the new code")
        return "\n".join(lines)


class SerdeError(PerdureError):
    """A value could not be encoded, or bytes could not be decoded, as the annotated type."""


class ProtocolError(PerdureError):
    """The peer sent something that the service protocol does not allow (571)."""

    code = PROTOCOL_VIOLATION


class UnsupportedFeatureError(PerdureError):
    """The negotiated protocol version lacks a feature that the handler uses (573)."""

    code = UNSUPPORTED_FEATURE


class IdentityError(PerdureError):
    """A request does not prove that it comes from a trusted restate-server (401)."""


class IngressError(PerdureError):
    """An ingress call failed before the invocation could answer.

    Attributes:
        status: the HTTP status, or `None` when there was no answer.
        invocation_id: the invocation, when the ingress named one.
    """

    def __init__(self, message: str, *, status: int | None = None, invocation_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.invocation_id = invocation_id


class EngineError(PerdureError):
    """The embedded engine cannot do what it was asked for."""


class EngineClosed(EngineError):  # noqa: N818 - a state, and nobody's error
    """The engine is closed, or was closed before it could answer.

    What is in its file is not lost: it goes on when the file is opened again.
    """


class EngineFailed(EngineError):  # noqa: N818 - what became of it
    """The engine could not go on; the message names the cause.

    Nothing that it acknowledged is lost. What was on its way may or may not have been stored.
    """


class InvocationCancelled(BaseException):
    """This invocation was cancelled from outside (409).

    Raised once, at the next await of the handler that is not shielded. Unhandled, it ends the invocation with the
    terminal failure 409 `cancelled`.
    """

    code = CONFLICT

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)
        self.message = message
