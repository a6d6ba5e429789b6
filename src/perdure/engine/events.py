"""What happens to the engine, as one frozen struct each: the input of `decide`.

Events about an attempt carry its number, so that those of an attempt that is over can be told apart and dropped.
A `waiter` is a number that the caller of the engine chose, unique while the engine lives; the answer comes back as
`perdure.engine.outputs.Reply` with it. 0 means that nobody waits.

Invocations are named from outside by their 24-byte id, inside by their row number.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from perdure.engine.rows import HandlerOptions, Kind, PutDeployment, StateEdit
from perdure.wire.messages import (
    ErrorMessage,
    Failure,
    Header,
    IdempotentRequestTarget,
    InvocationId,
    Message,
    Value,
    WorkflowTarget,
)

__all__ = [
    "Attach",
    "AttemptOver",
    "Cancel",
    "EditState",
    "Event",
    "Forgotten",
    "FromAttempt",
    "GetOutput",
    "How",
    "Kill",
    "Mode",
    "Offered",
    "Opened",
    "Pause",
    "Purge",
    "PurgeJournal",
    "Recover",
    "RegisterDeployment",
    "RestartAsNew",
    "Resume",
    "RetryDue",
    "SendSignal",
    "Submit",
    "Target",
    "TimersDue",
    "WorkDue",
]

Target: TypeAlias = InvocationId | IdempotentRequestTarget | WorkflowTarget
"""How an invocation is named from outside; the wire's own structs."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened."""


# --- requests ------------------------------------------------------------------------------------------------------


class Mode(enum.Enum):
    """What a caller wants to hear of a request."""

    SEND = "send"
    """That it is accepted."""
    CALL = "call"
    """Its result."""


class Submit(Event, frozen=True, kw_only=True):
    """Somebody outside asks for an invocation. Answers: `Accepted`, `Outcome` or `Refused`.

    Attributes:
        unique: 16 bytes that name the invocation unless a key or an idempotency key does; time-ordered (a ULID).
        mode: with `CALL` the answer is the result; with `SEND` it is `Accepted`.
        start_at: when it starts, in milliseconds since the epoch; 0 for now. Only with `SEND`.
        public: whether it comes from where private handlers are not offered.
    """

    service: str
    handler: str
    unique: bytes
    waiter: int
    key: str = ""
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    idempotency_key: str | None = None
    mode: Mode = Mode.CALL
    start_at: int = 0
    public: bool = True


class Attach(Event, frozen=True):
    """Somebody outside waits for the result of an invocation that exists. Answers: `Outcome` or `Refused`."""

    target: Target
    waiter: int


class GetOutput(Event, frozen=True):
    """Somebody outside looks at the result of an invocation. Answers: `Outcome`, `NotReady` or `Refused`."""

    target: Target
    waiter: int


class Forgotten(Event, frozen=True):
    """A waiter is gone: it needs no answer. The invocation goes on."""

    target: bytes
    waiter: int


class SendSignal(Event, frozen=True):
    """Somebody outside sends a signal; awakeables are signals by index. Answers: `Done` or `Refused`."""

    target: bytes
    signal: int | str
    result: Value | Failure
    waiter: int


# --- what operators do ---------------------------------------------------------------------------------------------


class Cancel(Event, frozen=True):
    """Cancel an invocation. Answers: `Done` or `Refused`."""

    target: bytes
    waiter: int


class Kill(Event, frozen=True):
    """End an invocation and all it called and sent, at once and without compensation. Answers: `Done` or `Refused`."""

    target: bytes
    waiter: int


class Pause(Event, frozen=True):
    """Stop an invocation where it is. Answers: `Done` or `Refused`."""

    target: bytes
    waiter: int


class Resume(Event, frozen=True):
    """Go on with one that is paused, suspended or backing off. Answers: `Done` or `Refused`.

    Attributes:
        deployment: what it is pinned to from now on; 0 leaves it. Only when it is paused or suspended.
    """

    target: bytes
    waiter: int
    deployment: int = 0


class Purge(Event, frozen=True):
    """Forget a completed invocation. Answers: `Done` or `Refused`."""

    target: bytes
    waiter: int


class PurgeJournal(Event, frozen=True):
    """Drop the journal of a completed invocation. Answers: `Done` or `Refused`."""

    target: bytes
    waiter: int


class RestartAsNew(Event, frozen=True):
    """Submit the input of a completed invocation again, as a new one. Answers: `Accepted` or `Refused`.

    Attributes:
        unique: 16 bytes that name the new one.
    """

    target: bytes
    unique: bytes
    waiter: int


class EditState(Event, frozen=True):
    """Change the state of an object, when its turn comes. Answers: `Done` or `Refused`."""

    service: str
    key: str
    edit: StateEdit
    waiter: int


class Offered(msgspec.Struct, frozen=True, gc=False):
    """A service of a deployment, with the options of its handlers filled in."""

    name: str
    kind: Kind
    handlers: dict[str, HandlerOptions]


class RegisterDeployment(Event, frozen=True):
    """A deployment offers services; their new invocations go there from now on. Answers: `Done`.

    Attributes:
        deployment: the row; its number is given by the engine when it is 0, otherwise the row of that number is
            replaced.
    """

    deployment: PutDeployment
    services: tuple[Offered, ...]
    waiter: int


# --- attempts ------------------------------------------------------------------------------------------------------


class FromAttempt(Event, frozen=True):
    """An attempt sent a message: a command, a proposal, a hint, or its end.

    Attributes:
        command: for commands their index, counted from 0 with the input; -1 when it is not counted.
        seen: for suspensions how many entries of the journal were sent to the attempt before its input was closed: it
            has used up the signals among them. -1 when that is not known: then every signal counts as new.
    """

    number: int
    attempt: int
    message: Message
    command: int = -1
    seen: int = -1


class How(enum.Enum):
    """How an attempt was over."""

    JOINED = "joined"
    """It had said its last word, or was told to stop; now its code has stopped, or never started."""
    FAILED = "failed"
    """It broke without a last word: the connection, the peer, the protocol; `error` says what happened."""
    SHUT_DOWN = "shut down"
    """The engine is closing; the invocation goes on when it is opened again."""


class AttemptOver(Event, frozen=True):
    """An attempt has stopped, and its code with it. Exactly one for each `StartAttempt`, whatever became of it.

    Attributes:
        infrastructure: for `FAILED`: the attempt did not fail by its code (no connection, no deployment).
    """

    number: int
    attempt: int
    how: How
    error: ErrorMessage | None = None
    infrastructure: bool = False


class RetryDue(Event, frozen=True):
    """The time of `ArmRetry` has come."""

    number: int
    attempt: int


# --- the engine itself ---------------------------------------------------------------------------------------------


class TimersDue(Event, frozen=True):
    """Timers are due at `now`: a page of them fires. Raised again while the answer holds `MoreTimers`."""


class WorkDue(Event, frozen=True):
    """A page of the oldest work is to be done. Raised after `MoreWork`, once its batch is committed."""


class Opened(Event, frozen=True):
    """The engine was opened. Raised once, before anything else.

    Attributes:
        unclean: whether the process that had it open before ended without closing it.
    """

    unclean: bool


class Recover(Event, frozen=True):
    """A page of what was in work when the engine was closed is taken up: invocations with a number above `after`."""

    after: int
    unclean: bool
