"""What the engine remembers of an invocation, a key, a promise: entities, folded from rows.

A *stored* entity is what its rows amount to, so it can be dropped and loaded again. A *live* one (`LiveEntity`) exists
only while the process does: which attempt runs, how often it was tried.

Entities are changed by `perdure.engine.fold` only. They hold no references to each other, so they are not tracked by
the garbage collector.
"""

from __future__ import annotations

import enum
from copy import copy

import msgspec

from perdure.engine.rows import Awaited, HandlerOptions, Kind, StateEdit, Status, Summary
from perdure.wire.messages import ErrorMessage, Failure, Value

__all__ = [
    "InvocationEntity",
    "KeyEntity",
    "LiveEntity",
    "Phase",
    "PromiseEntity",
    "ServiceEntity",
    "Sink",
    "StateEntity",
    "Waiting",
]


class Sink(msgspec.Struct, frozen=True, gc=False, order=True):
    """Who waits for a result: an invocation, under the number of a completion."""

    caller: int
    completion: int


class InvocationEntity(msgspec.Struct, gc=False, kw_only=True):
    """One invocation.

    The attributes are those of `PutInvocation`, the summary of the journal spread out and kept up to date, and:

    Attributes:
        sinks: who waits for the result.
        entered_at: when the last command was stored, as far as this process knows.
    """

    number: int
    id: bytes
    service: str
    handler: str
    key: str
    kind: Kind
    status: Status
    created_at: int
    modified_at: int
    start_at: int
    idempotency_key: str | None
    parent: int
    restarted: int
    completion_retention: int | None
    journal_retention: int
    position: int
    deployment: int
    protocol: int
    awaited: Awaited | None
    reason: ErrorMessage | None
    result: Value | Failure | None
    ended_at: int
    expires_at: int
    crashes: int
    crash_length: int
    crash_marked: bool
    length: int = 0
    commands: int = 0
    last_completion: int = 0
    open: dict[int, int] = {}
    sleeps: dict[int, int] = {}
    failed: set[int] = set()
    signals: dict[int | str, tuple[int, bool]] = {}
    children: int = 0
    output: Value | Failure | None = None
    entered_at: int = 0
    sinks: set[Sink] = set()

    def summary(self) -> Summary:
        """What the journal amounts to now, to be stored."""
        return Summary(
            self.length,
            self.commands,
            self.last_completion,
            dict(self.open),
            dict(self.sleeps),
            frozenset(self.failed),
            dict(self.signals),
            self.children,
            self.output,
        )

    def copy(self) -> InvocationEntity:
        """The same, sharing nothing that changes."""
        twin = copy(self)
        twin.open = dict(self.open)
        twin.sleeps = dict(self.sleeps)
        twin.failed = set(self.failed)
        twin.signals = dict(self.signals)
        twin.sinks = set(self.sinks)
        return twin


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """What stands in the queue of a key: an invocation, or (number 0) an edit of the state."""

    number: int
    edit: StateEdit | None = None


class KeyEntity(msgspec.Struct, gc=False):
    """A key of an object: who holds it, and who waits for it.

    Attributes:
        holder: the invocation that holds it; 0 for nobody.
        queue: what waits, by position, in order.
    """

    service: str
    key: str
    holder: int = 0
    queue: dict[int, Waiting] = {}

    def copy(self) -> KeyEntity:
        """The same, sharing nothing that changes."""
        return KeyEntity(self.service, self.key, self.holder, dict(self.queue))

    @property
    def next_position(self) -> int:
        """Where something new would stand."""
        return next(reversed(self.queue), 0) + 1


class PromiseEntity(msgspec.Struct, gc=False):
    """A promise of a workflow's key.

    Attributes:
        result: what it was completed with; `None` while it is open.
        waiters: who waits for it.
    """

    service: str
    key: str
    name: str
    result: Value | Failure | None = None
    waiters: set[Sink] = set()

    def copy(self) -> PromiseEntity:
        """The same, sharing nothing that changes."""
        return PromiseEntity(self.service, self.key, self.name, self.result, set(self.waiters))


class StateEntity(msgspec.Struct, gc=False):
    """What has changed in the state of a key and is not committed yet.

    Attributes:
        values: what was written, by name; `None` for what was removed.
        cleared: whether everything else was removed.
    """

    values: dict[bytes, bytes | None] = {}
    cleared: bool = False

    def copy(self) -> StateEntity:
        """The same, sharing nothing that changes."""
        return StateEntity(dict(self.values), self.cleared)


class ServiceEntity(msgspec.Struct, frozen=True, gc=False):
    """Where new invocations of a service go."""

    name: str
    kind: Kind
    revision: int
    deployment: int
    handlers: dict[str, HandlerOptions]


class Phase(enum.IntEnum):
    """What is being done about an invocation in this process."""

    IDLE = 0
    """Nothing: an earlier attempt is still unwinding, or somebody waits for the result."""
    READY = 1
    """An attempt is to start as soon as what stands in its way is gone."""
    RUNNING = 2
    """An attempt runs, or its start is on its way."""
    BACKING_OFF = 3
    """An attempt failed, and a timer will start the next one."""


class LiveEntity(msgspec.Struct, frozen=True, gc=False):
    """What this process alone knows of an invocation.

    Attributes:
        attempt: the number of the current attempt, the fence: events and outputs of any other are dropped. 0 when there
            is none; a retry timer is fenced by the number of the attempt that failed.
        deployment, protocol: where the current attempt went, and in which version of the service protocol.
        unjoined: the attempt that is over as far as the journal goes, but whose code has not stopped yet; 0 for none.
        lets_go: the key that nobody else may work on until that code has stopped.
        trial: whether the current attempt was started alone, because the process ended during earlier ones.
        tries: attempts made in the series that the retry policy counts.
        stalled: attempts that failed since the last command was stored.
        stalled_commands: commands in the journal when `stalled` was counted.
        failure: of the last attempt.
        waiters: callers in memory who wait for the result.
    """

    number: int
    phase: Phase = Phase.IDLE
    attempt: int = 0
    deployment: int = 0
    protocol: int = 0
    unjoined: int = 0
    lets_go: tuple[str, str] | None = None
    trial: bool = False
    tries: int = 0
    stalled: int = 0
    stalled_commands: int = 0
    failure: ErrorMessage | None = None
    waiters: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.phase or self.unjoined or self.waiters)

    @property
    def running(self) -> bool:
        """Whether an attempt runs, or its start is on its way."""
        return self.phase is Phase.RUNNING
