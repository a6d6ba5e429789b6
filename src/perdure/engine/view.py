"""What `decide` may look at, and where it is loaded from.

A `View` answers from memory where it can, otherwise by primary key through a `Reader`. Both see one thing: everything
decided so far, committed or not (a reader alone sees what is committed; `perdure.engine.residency` adds the rest).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from perdure.engine.entities import (
    InvocationEntity,
    KeyEntity,
    LiveEntity,
    PromiseEntity,
    ServiceEntity,
    StateEntity,
)
from perdure.engine.notes import Note
from perdure.engine.outputs import Output
from perdure.engine.rows import PutDeployment, PutTimer, PutWork, Row
from perdure.wire.messages import Command, Notification

__all__ = ["Counters", "Decision", "Reader", "View"]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What one event amounts to.

    Attributes:
        rows: to be stored, in this order.
        notes: to be remembered by this process only; applied after the rows.
        outputs: to be released, in this order, once the rows and everything before them is committed.
        urgent: whether somebody waits for the commit; rows that nobody waits for ride with the next that are urgent.
    """

    rows: Sequence[Row]
    notes: Sequence[Note]
    outputs: Sequence[Output]
    urgent: bool


class Counters(msgspec.Struct, gc=False):
    """The last numbers given out.

    Attributes:
        invocation: row id of the last invocation.
        work: number of the last work row.
        deployment: number of the last deployment.
        attempt: number of the last attempt; starts at 0 in each process.
    """

    invocation: int = 0
    work: int = 0
    deployment: int = 0
    attempt: int = 0


class View(Protocol):
    """Everything decided so far. What is returned is not to be changed by the caller, nor kept."""

    @property
    def counters(self) -> Counters:
        """The last numbers given out."""
        ...

    def invocation(self, number: int) -> InvocationEntity | None:
        """An invocation by its row number; `None` when it is forgotten. Expiry is not looked at."""
        ...

    def find(self, id: bytes) -> int:
        """The row number of an invocation by its 24 bytes; 0 when there is none."""
        ...

    def live(self, number: int) -> LiveEntity | None:
        """What this process alone knows of an invocation."""
        ...

    def key(self, service: str, key: str) -> KeyEntity | None:
        """Who holds a key and who waits for it; `None` when nobody does."""
        ...

    def unwinding(self, service: str, key: str) -> int:
        """How many attempts of ended or paused holders of a key have not stopped yet."""
        ...

    def state(self, service: str, key: str, name: bytes) -> bytes | None:
        """A key of a state."""
        ...

    def state_names(self, service: str, key: str) -> tuple[bytes, ...]:
        """The keys of a state, sorted."""
        ...

    def state_changes(self, service: str, key: str) -> StateEntity | None:
        """What is not committed yet of a state."""
        ...

    def promise(self, service: str, key: str, name: str) -> PromiseEntity | None:
        """A promise; `None` when it is neither completed nor awaited."""
        ...

    def entries(self, number: int, first: int, limit: int) -> Sequence[Command | Notification]:
        """At most `limit` entries of a journal, from index `first` on."""
        ...

    def service(self, name: str) -> ServiceEntity | None:
        """Where new invocations of a service go."""
        ...

    def deployment(self, number: int) -> PutDeployment | None:
        """A deployment by its number."""
        ...

    def timers_due(self, now: int, limit: int) -> Sequence[PutTimer]:
        """At most `limit` timers with `due <= now`, in the order in which they fire."""
        ...

    def work(self) -> PutWork | None:
        """The oldest work."""
        ...

    def works_about(self, number: int) -> int:
        """How many works are about an invocation."""
        ...

    def invoked(self, after: int, limit: int) -> Sequence[int]:
        """At most `limit` numbers above `after` of invocations with status `INVOKED`, in order."""
        ...

    def suspects(self) -> Sequence[int]:
        """Invocations that wait for their turn to be started alone, oldest first."""
        ...


class Reader(Protocol):
    """What is committed. Every method reads to the end at once and leaves no cursor open."""

    def counters(self) -> Counters:
        """The highest numbers ever given out, to deleted invocations too; `attempt` is 0."""
        ...

    def invocation(self, number: int) -> Sequence[Row] | None:
        """The rows an invocation is folded from; `None` when there is none.

        `PutInvocation` with the row as it is now, its `PutSink`s, and an `AppendEntry` for each entry of its journal
        from `summary.length` on (from 0 without a summary); none of a completed invocation, whose summary is final.
        """
        ...

    def find(self, id: bytes) -> int:
        """The row number of an invocation by its 24 bytes; 0 when there is none."""
        ...

    def key(self, service: str, key: str) -> Sequence[Row]:
        """`PutLock` and `Enqueue`s of a key, by position; empty when there is nothing."""
        ...

    def promise(self, service: str, key: str, name: str) -> Sequence[Row]:
        """`PutPromise` and `PutPromiseWaiter`s of a promise; empty when there is nothing."""
        ...

    def state(self, service: str, key: str, name: bytes) -> bytes | None:
        """A key of a state."""
        ...

    def state_names(self, service: str, key: str) -> Sequence[bytes]:
        """The keys of a state, sorted."""
        ...

    def entries(self, number: int, first: int, limit: int) -> Sequence[Command | Notification]:
        """At most `limit` entries of a journal, from index `first` on."""
        ...

    def services(self) -> Sequence[Row]:
        """Every `PutDeployment` and `PutService`. Read once, at open."""
        ...

    def timers_due(self, now: int, limit: int) -> Sequence[PutTimer]:
        """At most `limit` timers with `due <= now`, ordered by (due, number, completion)."""
        ...

    def works(self, limit: int) -> Sequence[PutWork]:
        """At most `limit` works, oldest first."""
        ...

    def invoked(self, after: int, limit: int) -> Sequence[int]:
        """At most `limit` numbers above `after` of invocations with status `INVOKED`, in order."""
        ...
