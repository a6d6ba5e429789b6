"""How errors cross the journal: terminal errors as failures, and back."""

from __future__ import annotations

from typing import Final

from perdure.exceptions import INTERNAL, InvocationCancelled, RunCancelled, TerminalError
from perdure.wire.messages import Failure, FailureMetadata

__all__ = ["RUN_CANCELLED", "error_of", "failure_of", "is_run_cancelled", "terminal_of", "writable"]

RUN_CANCELLED: Final = Failure(409, "perdure: the step was cancelled")
"""How the completion of a cancelled step stands in the journal. The message is the mark: version 5 has no metadata."""


def is_run_cancelled(failure: Failure) -> bool:
    """Whether a step ended because it was cancelled."""
    return failure.code == RUN_CANCELLED.code and failure.message == RUN_CANCELLED.message


def writable(text: str) -> str:
    """Text that UTF-8 can hold: what it cannot (parts of file names, for example) is written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def failure_of(error: TerminalError) -> Failure:
    """A terminal error as it is journaled."""
    metadata = tuple(FailureMetadata(writable(key), writable(value)) for key, value in error.metadata.items())
    return Failure(error.code, writable(error.message), metadata)


def error_of(failure: Failure) -> TerminalError:
    """The error that a journaled failure stands for."""
    if is_run_cancelled(failure):
        return RunCancelled()
    return TerminalError(
        failure.message,
        code=failure.code or INTERNAL,
        metadata={pair.key: pair.value for pair in failure.metadata},
    )


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves


def terminal_of(error: BaseException) -> TerminalError | None:
    """The terminal error that ends an invocation, or `None` when `error` does not.

    A group ends it when all its leaves are terminal: the first leaf gives code and message, the others stand in the
    metadata as `also.1`, `also.2`, ... The cancellation of the invocation, which a native nursery wraps in a group,
    counts as terminal there, and comes first.
    """
    if isinstance(error, TerminalError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    leaves = _leaves(error)
    terminal = [leaf for leaf in leaves if isinstance(leaf, TerminalError)]
    cancelled = [leaf for leaf in leaves if isinstance(leaf, InvocationCancelled)]
    if len(terminal) + len(cancelled) != len(leaves):
        return None
    if cancelled:
        terminal.insert(0, TerminalError(cancelled[0].message, code=cancelled[0].code))
    first, *others = terminal
    if not others:
        return first
    also = {f"also.{number}": f"[{other.code}] {other.message}" for number, other in enumerate(others, 1)}
    return TerminalError(first.message, code=first.code, metadata={**first.metadata, **also})
