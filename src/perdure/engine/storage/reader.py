"""What is committed, read on the loop by primary key: the `Reader` of `perdure.engine.view`.

The connection is its own and read-only, so a read never waits for a commit (3 to 8 us). Every read is a transaction of
its own and is fetched to the end at once: an open cursor would keep the write-ahead log from starting over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from perdure.engine.rows import (
    AppendEntry,
    Enqueue,
    Kind,
    PutInvocation,
    PutLock,
    PutPromise,
    PutPromiseWaiter,
    PutService,
    PutSink,
    PutTimer,
    PutWork,
    Row,
    Status,
    WorkKind,
)
from perdure.engine.storage.columns import AWAITED, DEPLOYMENT, EDIT, HANDLERS, REASON, RESULT, SUMMARY
from perdure.engine.storage.connection import Columns, Connection
from perdure.engine.storage.errors import describe
from perdure.engine.storage.schema import LIVE, given_id, stored_id
from perdure.engine.storage.statements import INVOCATION_COLUMNS
from perdure.engine.view import Counters
from perdure.exceptions import EngineFailed, ProtocolError
from perdure.wire.messages import Command, Notification
from perdure.wire.msgpack import decode

__all__ = ["StoreReader"]

_INVOCATION: Final = f"SELECT {', '.join(INVOCATION_COLUMNS)} FROM invocations WHERE number=?"
_FIND: Final = "SELECT number FROM invocations WHERE id=?"
_SINKS: Final = "SELECT caller, completion FROM sinks WHERE number=? ORDER BY caller, completion"
_ENTRIES: Final = "SELECT idx, entry FROM journal WHERE number=? AND idx>=? ORDER BY idx LIMIT ?"
_LOCK: Final = "SELECT number FROM locks WHERE service=? AND key=?"
_QUEUE: Final = "SELECT position, number, edit FROM queue WHERE service=? AND key=? ORDER BY position"
_PROMISE: Final = "SELECT result FROM promises WHERE service=? AND key=? AND name=?"
_PROMISE_WAITERS: Final = (
    "SELECT number, completion FROM promise_waiters WHERE service=? AND key=? AND name=? ORDER BY number, completion"
)
_STATE: Final = "SELECT value FROM state WHERE service=? AND key=? AND name=?"
_STATE_NAMES: Final = "SELECT name FROM state WHERE service=? AND key=? ORDER BY name"
_STATE_ENTRIES: Final = "SELECT name, value FROM state WHERE service=? AND key=? ORDER BY name"
_TIMERS: Final = "SELECT due, number, completion FROM timers WHERE due<=? ORDER BY due, number, completion LIMIT ?"
_WORKS: Final = "SELECT work, kind, number, position, service, key, name FROM work ORDER BY work LIMIT ?"
_INVOKED: Final = (
    f"SELECT number FROM invocations WHERE status={int(Status.INVOKED)} AND {LIVE} AND number>? ORDER BY number LIMIT ?"
)
_DEPLOYMENTS: Final = "SELECT whole FROM deployments ORDER BY deployment"
_SERVICES: Final = "SELECT service, revision, deployment, kind, handlers FROM services ORDER BY service"
_COUNTERS: Final = (
    "SELECT (SELECT value FROM meta WHERE name='last_number'), (SELECT max(number) FROM invocations), "
    "(SELECT max(work) FROM work), (SELECT max(deployment) FROM deployments)"
)
_MARK: Final = "SELECT value FROM meta WHERE name='mark'"

_ALL: Final = -1
"""No limit, in SQLite's words."""


class StoreReader:
    """Reads rows back; they are those of `perdure.engine.rows`, equal to what was written."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _query(self, sql: str, columns: Columns = ()) -> list[Any]:
        try:
            return self._connection.query(sql, columns)
        except sqlite3.Error as error:
            raise EngineFailed(
                f"its file cannot be read: {describe(error)}; look at the disk, then at the file: perdure doctor"
            ) from error

    def counters(self) -> Counters:
        """The highest numbers that were ever given out; `attempt` is 0."""
        [(deleted, invocation, work, deployment)] = self._query(_COUNTERS)
        return Counters(max(deleted, invocation or 0), work or 0, deployment or 0)

    def mark(self) -> int:
        """The latest engine time that was stored, in milliseconds since the Unix epoch; 0 for a new file."""
        [(mark,)] = self._query(_MARK)
        return int(mark)

    def invocation(self, number: int) -> list[Row] | None:
        """The rows an invocation is folded from, as `perdure.engine.view.Reader` says; `None` when there is none."""
        found = self._query(_INVOCATION, (number,))
        if not found:
            return None
        put = _invocation(found[0])
        rows: list[Row] = [put]
        rows += [PutSink(number, *sink) for sink in self._query(_SINKS, (number,))]
        if put.status is not Status.COMPLETED:
            first = put.summary.length if put.summary else 0
            stored = self._query(_ENTRIES, (number, first, _ALL))
            rows += [AppendEntry(number, index, _entry(entry, number, index)) for index, entry in stored]
        return rows

    def find(self, id: bytes) -> int:
        """The row number of an invocation by its 24 bytes; 0 when there is none."""
        found = self._query(_FIND, (stored_id(id),))
        return int(found[0][0]) if found else 0

    def key(self, service: str, key: str) -> list[Row]:
        """`PutLock` and `Enqueue`s of a key, by position; empty when there is nothing."""
        name = (service, key)
        rows: list[Row] = [PutLock(service, key, number) for (number,) in self._query(_LOCK, name)]
        rows += [
            Enqueue(service, key, position, number, EDIT.maybe(edit))
            for position, number, edit in self._query(_QUEUE, name)
        ]
        return rows

    def promise(self, service: str, key: str, name: str) -> list[Row]:
        """`PutPromise` and `PutPromiseWaiter`s of a promise; empty when there is nothing."""
        whole = (service, key, name)
        rows: list[Row] = [
            PutPromise(service, key, name, RESULT.read(result)) for (result,) in self._query(_PROMISE, whole)
        ]
        rows += [PutPromiseWaiter(*whole, *waiter) for waiter in self._query(_PROMISE_WAITERS, whole)]
        return rows

    def state(self, service: str, key: str, name: bytes) -> bytes | None:
        """A key of a state."""
        found = self._query(_STATE, (service, key, name))
        return found[0][0] if found else None

    def state_names(self, service: str, key: str) -> list[bytes]:
        """The keys of a state, sorted."""
        return [name for (name,) in self._query(_STATE_NAMES, (service, key))]

    def state_entries(self, service: str, key: str) -> list[tuple[bytes, bytes]]:
        """The keys of a state with their values, sorted by key."""
        return self._query(_STATE_ENTRIES, (service, key))

    def entries(self, number: int, first: int, limit: int) -> list[Command | Notification]:
        """At most `limit` entries of a journal, from index `first` on.

        Raises:
            EngineFailed: an entry is missing or cannot be read.
        """
        stored = self._query(_ENTRIES, (number, first, limit))
        if stored and stored[-1][0] != first + len(stored) - 1:
            raise EngineFailed(
                f"the journal of invocation {number} has a gap behind entry {first}; the file was changed by something "
                "else, or it is damaged: perdure doctor looks at it"
            )
        return [_entry(entry, number, index) for index, entry in stored]

    def services(self) -> list[Row]:
        """Every `PutDeployment` and `PutService`."""
        rows: list[Row] = [DEPLOYMENT.read(whole) for (whole,) in self._query(_DEPLOYMENTS)]
        rows += [
            PutService(
                service=service,
                revision=revision,
                deployment=deployment,
                kind=Kind(kind),
                handlers=HANDLERS.read(handlers),
            )
            for service, revision, deployment, kind, handlers in self._query(_SERVICES)
        ]
        return rows

    def timers_due(self, now: int, limit: int) -> list[PutTimer]:
        """At most `limit` timers with `due <= now`, in the order in which they fire."""
        return [PutTimer(*timer) for timer in self._query(_TIMERS, (now, limit))]

    def works(self, limit: int) -> list[PutWork]:
        """At most `limit` works, oldest first."""
        return [PutWork(work, WorkKind(kind), *rest) for work, kind, *rest in self._query(_WORKS, (limit,))]

    def invoked(self, after: int, limit: int) -> list[int]:
        """At most `limit` numbers above `after` of invocations with status `INVOKED`, in order."""
        return [number for (number,) in self._query(_INVOKED, (after, limit))]


def _invocation(columns: Sequence[Any]) -> PutInvocation:
    values = dict(zip(INVOCATION_COLUMNS, columns, strict=True))
    values["id"] = given_id(values["id"])
    values["kind"] = Kind(values["kind"])
    values["status"] = Status(values["status"])
    values["awaited"] = AWAITED.maybe(values["awaited"])
    values["reason"] = REASON.maybe(values["reason"])
    values["summary"] = SUMMARY.maybe(values["summary"])
    values["result"] = RESULT.maybe(values["result"])
    values["crash_marked"] = bool(values["crash_marked"])
    return PutInvocation(**values)


def _entry(stored: bytes, number: int, index: int) -> Command | Notification:
    try:
        entry = decode(stored)
    except ProtocolError as error:
        raise EngineFailed(
            f"entry {index} of the journal of invocation {number} cannot be read: {error}; the file was changed by "
            "something else, or it is damaged: perdure doctor looks at it"
        ) from error
    assert isinstance(entry, (Command, Notification))
    return entry
