"""Every change of the engine's tables, as one frozen struct each.

`decide` answers with rows, `apply` folds them into memory, storage writes them in the order given; the loader hands
rows of the same classes back, so that what is in memory and what is on disk are made by one function.

A *put* carries the whole row of its table and replaces what is there; everything else names the row by its key and
says what changes. Journal entries are the exception: `AppendEntry` is a plain insert, and a second one at the same
index is an integrity error.

Units: points in time are milliseconds since the Unix epoch, durations are milliseconds. `number` is the integer row id
of an invocation, given in the order of creation; 0 stands for none.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from perdure.wire.manifest import OnMaxAttempts
from perdure.wire.messages import Command, ErrorMessage, Failure, Future, Notification, Value

__all__ = [
    "FORGET",
    "FORGET_JOURNAL",
    "START",
    "AppendEntry",
    "Awaited",
    "ClearState",
    "DeleteInvocation",
    "DeleteJournal",
    "DeleteLock",
    "DeletePromiseWaiter",
    "DeletePromises",
    "DeleteSink",
    "DeleteState",
    "DeleteTimer",
    "DeleteWork",
    "Dequeue",
    "EndInvocation",
    "Enqueue",
    "HandlerOptions",
    "Kind",
    "Pin",
    "PutDeployment",
    "PutInvocation",
    "PutLock",
    "PutMark",
    "PutPromise",
    "PutPromiseWaiter",
    "PutService",
    "PutSink",
    "PutState",
    "PutTimer",
    "PutWork",
    "Retry",
    "Row",
    "SetCrashes",
    "SetStatus",
    "StateEdit",
    "Status",
    "Summary",
    "WorkKind",
]

START: Final = 0
"""`completion` of the timer that starts a scheduled invocation. Positive numbers are completions of sleeps."""
FORGET: Final = -1
"""`completion` of the timer that ends the retention of a completed invocation."""
FORGET_JOURNAL: Final = -2
"""`completion` of the timer that ends the retention of its journal."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One change of one table."""


class Part(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a column holds that is more than a number or a text; stored as MessagePack."""


class Status(enum.IntEnum):
    """What is stored of where an invocation stands. Columns hold the number."""

    SCHEDULED = 0
    """It starts later; a timer says when."""
    QUEUED = 1
    """It waits for the key that another invocation holds."""
    INVOKED = 2
    """An attempt runs, is about to, or is being retried."""
    SUSPENDED = 3
    """It waits for a notification, and nothing runs."""
    PAUSED = 4
    """An operator has to look at it."""
    COMPLETED = 5


class Kind(enum.IntEnum):
    """What an invocation excludes, fixed when it is made. Columns hold the number."""

    SERVICE = 0
    EXCLUSIVE = 1
    """One at a time for a key."""
    SHARED = 2
    """Beside the others of a key, reading its state: of an object or of a workflow."""
    WORKFLOW = 3
    """The run of a workflow: once for a key."""


# --- invocations and their journals --------------------------------------------------------------------------------


class Summary(Part, frozen=True):
    """What a journal amounts to, so that loading an invocation needs only the entries from `length` on.

    Written where the status changes, never per step.

    Attributes:
        length: entries.
        commands: those of them that are commands.
        last_completion: the highest completion id given out.
        open: completion ids without a completion, with the type code of the completion they wait for.
        sleeps: those of them that are timers, with the time at which they are due.
        failed: completion ids completed with a failure.
        signals: each index or name received, with the journal index of the last one and whether it was a failure.
        children: how many calls and sends.
        output: the result of the handler, once it is among them.
    """

    length: int = 0
    commands: int = 0
    last_completion: int = 0
    open: dict[int, int] = {}
    sleeps: dict[int, int] = {}
    failed: frozenset[int] = frozenset()
    signals: dict[int | str, tuple[int, bool]] = {}
    children: int = 0
    output: Value | Failure | None = None


class Awaited(Part, frozen=True):
    """What a suspended invocation waits for.

    Attributes:
        point: the await tree.
        seen: how many entries of the journal its last attempt had seen: a signal before that was used up.
    """

    point: Future
    seen: int


class PutInvocation(Row, frozen=True, kw_only=True):
    """A whole row of `invocations`.

    Attributes:
        number: row id, in the order of creation.
        id: 24 bytes, a partition key (u64) and a unique number (u128), both big-endian.
        key: of the object or workflow, `""` for services.
        start_at: when a scheduled invocation starts; 0 when it was never scheduled.
        parent: the invocation that called or sent it.
        restarted: the invocation it is a copy of.
        completion_retention: how long its result is kept once it ended; `None` when results are kept as long as
            journals are (it is no workflow run and has no idempotency key).
        journal_retention: how long its journal is kept once it ended.
        position: its place in the queue of its key while it is queued.
        deployment, protocol: what it is pinned to; 0 while it is not.
        awaited: what it waits for while it is suspended.
        reason: why it is paused.
        summary: of the journal, as it was when the status last changed.
        result, ended_at: once it ended.
        expires_at: when it is forgotten, once it ended; from then on it is absent.
        crashes, crash_length, crash_marked: see `SetCrashes`.
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
    start_at: int = 0
    idempotency_key: str | None = None
    parent: int = 0
    restarted: int = 0
    completion_retention: int | None = None
    journal_retention: int = 0
    position: int = 0
    deployment: int = 0
    protocol: int = 0
    awaited: Awaited | None = None
    reason: ErrorMessage | None = None
    summary: Summary | None = None
    result: Value | Failure | None = None
    ended_at: int = 0
    expires_at: int = 0
    crashes: int = 0
    crash_length: int = 0
    crash_marked: bool = False


class SetStatus(Row, frozen=True):
    """An invocation moved on. `awaited`, `reason` and `position` replace what is there.

    `summary` replaces the stored one unless it is `None`, which leaves it as it is.
    """

    number: int
    status: Status
    at: int
    position: int = 0
    awaited: Awaited | None = None
    reason: ErrorMessage | None = None
    summary: Summary | None = None


class Pin(Row, frozen=True):
    """From now on attempts of the invocation go to this deployment, in this version of the service protocol."""

    number: int
    deployment: int
    protocol: int


class SetCrashes(Row, frozen=True):
    """How often the process ended during attempts of an invocation that stored nothing.

    Attributes:
        crashes: how often.
        length: of the journal when it was counted; a longer journal means that it has got on, and counting starts anew.
        marked: an attempt of it has been started alone, to see whether it is the culprit.
    """

    number: int
    crashes: int
    length: int
    marked: bool


class EndInvocation(Row, frozen=True):
    """An invocation completed. Clears `awaited`, `reason` and `position`."""

    number: int
    result: Value | Failure
    at: int
    expires_at: int
    summary: Summary


class DeleteInvocation(Row, frozen=True):
    """Forget an invocation: its row, its journal and its sinks. `id` is given so that nobody has to look it up."""

    number: int
    id: bytes


class AppendEntry(Row, frozen=True):
    """Insert a journal entry; `index` counts from 0 without gaps, and entry 0 is the input."""

    number: int
    index: int
    entry: Command | Notification


class DeleteJournal(Row, frozen=True):
    """Drop the journal of a completed invocation."""

    number: int


class PutSink(Row, frozen=True):
    """Invocation `caller` waits, under `completion`, for the result of invocation `number`."""

    number: int
    caller: int
    completion: int


class DeleteSink(Row, frozen=True):
    """The caller has its answer, or is gone."""

    number: int
    caller: int
    completion: int


# --- keys ----------------------------------------------------------------------------------------------------------


class StateEdit(Part, frozen=True):
    """A change of an object's state from outside, which waits for its turn like an invocation.

    Attributes:
        values: the new value of each key, `None` removes it.
        replace: whether keys that are not named are removed.
    """

    values: dict[bytes, bytes | None]
    replace: bool = False


class PutLock(Row, frozen=True):
    """Invocation `number` holds the key."""

    service: str
    key: str
    number: int


class DeleteLock(Row, frozen=True):
    """Nobody holds the key."""

    service: str
    key: str


class Enqueue(Row, frozen=True):
    """Something waits for the key, first in, first out by `position`: an invocation, or an edit of the state."""

    service: str
    key: str
    position: int
    number: int
    edit: StateEdit | None = None


class Dequeue(Row, frozen=True):
    """It waits no longer."""

    service: str
    key: str
    position: int


class PutState(Row, frozen=True):
    """Write a key of the state of an object or workflow."""

    service: str
    key: str
    name: bytes
    value: bytes


class DeleteState(Row, frozen=True):
    """Remove one."""

    service: str
    key: str
    name: bytes


class ClearState(Row, frozen=True):
    """Remove all of it."""

    service: str
    key: str


class PutPromise(Row, frozen=True):
    """A promise of a workflow was completed."""

    service: str
    key: str
    name: str
    result: Value | Failure


class PutPromiseWaiter(Row, frozen=True):
    """Invocation `number` waits, under `completion`, for a promise."""

    service: str
    key: str
    name: str
    number: int
    completion: int


class DeletePromiseWaiter(Row, frozen=True):
    """It waits no longer."""

    service: str
    key: str
    name: str
    number: int
    completion: int


class DeletePromises(Row, frozen=True):
    """Forget the promises of a workflow's key, and who waits for them."""

    service: str
    key: str


# --- timers and work -----------------------------------------------------------------------------------------------


class PutTimer(Row, frozen=True, order=True):
    """Something is due. Timers fire in the order of these fields.

    Attributes:
        due: when.
        number: whose.
        completion: which of its sleeps, or `START`, `FORGET`, `FORGET_JOURNAL`.
    """

    due: int
    number: int
    completion: int


class DeleteTimer(Row, frozen=True):
    """It fired, or is not wanted any more."""

    due: int
    number: int
    completion: int


class WorkKind(enum.IntEnum):
    """What is done page by page. Columns hold the number."""

    KILL_CHILDREN = 0
    """Kill what the journal of an invocation called and sent; `position` is the next entry to look at."""
    ANSWER = 1
    """Complete the calls that wait for the result of an invocation."""
    ANSWER_PROMISE = 2
    """Complete those who wait for the promise named by `service`, `key` and `name`."""


class PutWork(Row, frozen=True):
    """Work that is too much for one transaction, written in the transaction that causes it.

    Attributes:
        work: its number, in the order of creation.
        number: the invocation it is about.
        position: how far it is.
        service, key, name: of the promise it is about.
    """

    work: int
    kind: WorkKind
    number: int = 0
    position: int = 0
    service: str = ""
    key: str = ""
    name: str = ""


class DeleteWork(Row, frozen=True):
    """The work is done."""

    work: int


# --- what is deployed ----------------------------------------------------------------------------------------------


class Retry(Part, frozen=True):
    """How the attempts of an invocation are repeated.

    Attributes:
        initial_interval: before the second attempt.
        factor: what the interval is multiplied with after every further one.
        max_interval: the longest.
        max_attempts: attempts in total, the first included; `None` for any number.
        on_max_attempts: what happens when they are used up.
    """

    initial_interval: int = 500
    factor: float = 2.0
    max_interval: int = 60_000
    max_attempts: int | None = 70
    on_max_attempts: OnMaxAttempts = OnMaxAttempts.PAUSE


class HandlerOptions(Part, frozen=True):
    """What the engine has to know of a handler; what its endpoint leaves unsaid is filled in.

    Attributes:
        private: only other handlers may call it.
        lazy_state: the state is not sent along when an attempt starts.
        idempotency_retention: how long the result of an invocation with an idempotency key is kept.
        journal_retention: how long a journal is kept once its invocation ended.
        workflow_retention: how long result, state and promises of a workflow are kept once its run ended.
        inactivity_timeout: after so long without progress an attempt is asked to suspend.
        abort_timeout: after so long it is broken off when it does not.
        input_content_type, input_required: what a request must look like; `None` lets anything pass.
        output_content_type: what an answer is labelled with.
    """

    kind: Kind
    private: bool = False
    lazy_state: bool = False
    idempotency_retention: int = 86_400_000
    journal_retention: int = 86_400_000
    workflow_retention: int = 86_400_000
    inactivity_timeout: int = 60_000
    abort_timeout: int = 600_000
    retry: Retry = Retry()
    input_content_type: str | None = None
    input_required: bool = False
    output_content_type: str | None = None


class PutDeployment(Row, frozen=True, kw_only=True):
    """A whole row of `deployments`.

    Attributes:
        deployment: its number, in the order of registration.
        id: what people see (`dp_1...`).
        uri: where it is; `None` for handlers in the engine's own process.
        min_protocol, max_protocol: the versions of the service protocol it speaks.
        manifest: what discovery answered, as JSON.
        bidirectional: whether completions arrive while a handler runs.
        services: names of what it offers.
    """

    deployment: int
    id: str
    uri: str | None
    min_protocol: int
    max_protocol: int
    manifest: bytes
    created_at: int
    bidirectional: bool = True
    services: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class PutService(Row, frozen=True, kw_only=True):
    """A whole row of `services`: the revision that new invocations of a service go to.

    Attributes:
        revision: counts the deployments that offered the service, from 1.
        handlers: by name.
    """

    service: str
    revision: int
    deployment: int
    kind: Kind
    handlers: dict[str, HandlerOptions]


class PutMark(Row, frozen=True):
    """High-water mark of engine time; it is written along with other rows."""

    time: int
