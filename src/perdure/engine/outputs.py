"""What must happen outside because of what was decided: the output of `decide`, released after its batch is committed.

Outputs about an attempt carry its number. Whoever releases them checks the fence first
(`view.live(number).attempt == attempt`) and drops what is addressed to an attempt that is over; its rows are its truth.
A `StartAttempt` that is dropped is answered with `AttemptOver(JOINED)` like one that was stopped.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from perdure.wire.messages import Command, ErrorMessage, Failure, Notification, Value

__all__ = [
    "Accepted",
    "Answer",
    "ArmRetry",
    "ArmTimer",
    "Deliver",
    "Done",
    "MoreRecovery",
    "MoreTimers",
    "MoreWork",
    "NotReady",
    "Outcome",
    "Output",
    "Refused",
    "Reply",
    "Report",
    "StartAttempt",
    "StopAttempt",
    "What",
    "Why",
]


class Output(msgspec.Struct, frozen=True, gc=False):
    """Something to be done."""


# --- attempts ------------------------------------------------------------------------------------------------------


class StartAttempt(Output, frozen=True):
    """Start an attempt. Who is invoked is told by `view.invocation(number)`; state is read at release.

    Attributes:
        deployment: where it goes: what the invocation is pinned to, or the latest that has its service.
        protocol: the pinned version of the service protocol; 0 leaves it to negotiation.
        length: entries of the journal that it replays, no more and no less; they are committed when this is released.
        entries: those entries, when they are at hand.
        retries: attempts since the last entry was stored.
        stalled: milliseconds since then.
    """

    number: int
    attempt: int
    deployment: int
    protocol: int
    length: int
    entries: tuple[Command | Notification, ...] | None = None
    retries: int = 0
    stalled: int = 0


class Deliver(Output, frozen=True):
    """Hand an attempt a journal entry that came after its start; `index` is its place in the journal."""

    number: int
    attempt: int
    index: int
    entry: Notification


class Why(enum.Enum):
    """Why an attempt is told to stop."""

    KILLED = "killed"
    PAUSED = "paused"
    VIOLATION = "violation"
    """It broke the protocol; the `ErrorMessage` in `StopAttempt` says how."""
    RESUMED = "resumed"
    """It is started anew elsewhere."""


class StopAttempt(Output, frozen=True):
    """Fence an attempt and break it off; `AttemptOver` is expected when its code has stopped."""

    number: int
    attempt: int
    why: Why
    error: ErrorMessage | None = None


class ArmRetry(Output, frozen=True):
    """Raise `RetryDue(number, attempt)` at `due`, in milliseconds since the epoch."""

    number: int
    attempt: int
    due: int


# --- answers -------------------------------------------------------------------------------------------------------


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An invocation exists because of this request, or (`previously`) existed before it.

    Attributes:
        start_at: when it starts, if it was scheduled; 0 otherwise.
    """

    id: bytes
    previously: bool = False
    start_at: int = 0


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The result of an invocation.

    Attributes:
        expires_at: until when it is kept, if it was read from a completed invocation; 0 when the caller waited for it.
    """

    id: bytes
    result: Value | Failure
    expires_at: int = 0


class NotReady(msgspec.Struct, frozen=True, gc=False):
    """The invocation exists and has no result yet (470)."""

    id: bytes


class Done(msgspec.Struct, frozen=True, gc=False):
    """What was asked for is done; `id` is of the invocation it was done to, empty without one."""

    id: bytes = b""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """It cannot be done.

    Attributes:
        code: an HTTP status.
        invocation: whether an invocation is the source of the error, and not the one who answers.
        id: of that invocation, empty without one.
    """

    code: int
    message: str
    invocation: bool = False
    id: bytes = b""


Answer: TypeAlias = Accepted | Outcome | NotReady | Done | Refused


class Reply(Output, frozen=True):
    """Answer whoever waits under this number; it is used once."""

    waiter: int
    answer: Answer


# --- the engine itself ---------------------------------------------------------------------------------------------


class ArmTimer(Output, frozen=True):
    """A timer was stored that is due at `due`: `TimersDue` has to be raised then, if not before."""

    due: int


class MoreTimers(Output, frozen=True):
    """A page of timers was full: raise `TimersDue` again."""


class MoreWork(Output, frozen=True):
    """Work is stored: raise `WorkDue`."""


class MoreRecovery(Output, frozen=True):
    """A page of recovery was full: raise `Recover(after, unclean)`."""

    after: int
    unclean: bool


class What(enum.Enum):
    """What a report tells."""

    RETRYING = "retrying"
    PAUSED = "paused"
    FAILED = "failed"
    """Attempts were used up, and the policy is to fail."""
    SUSPECTED = "suspected"
    """It ran when the process ended; it is started alone."""


class Report(Output, frozen=True):
    """Tell people, in a log: what became of an invocation, and the error it is about.

    Attributes:
        due: for `RETRYING`: when the next attempt starts, in milliseconds since the epoch.
    """

    number: int
    what: What
    error: ErrorMessage
    due: int = 0
