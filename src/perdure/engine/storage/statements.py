"""What each row of `perdure.engine.rows` does to the tables: one function per class.

Puts are upserts by the primary key, never REPLACE: a second invocation with the same id, or a second journal entry at
the same index, is an integrity error and not a silent loss. Everything but `AppendEntry` may be done twice with the
same effect, so a batch of unknown fate can be repeated once it is known whether its entries are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from perdure.engine import rows
from perdure.engine.storage.columns import maybe, pack
from perdure.engine.storage.connection import Executor
from perdure.engine.storage.schema import stored_id
from perdure.wire.msgpack import encode

__all__ = ["INVOCATION_COLUMNS", "WRITERS", "last_entry", "write"]

RowWriter: TypeAlias = Callable[[Executor, Any], object]
"""Writes a row of one class."""

INVOCATION_COLUMNS: Final = rows.PutInvocation.__struct_fields__
"""The columns of `invocations`, in the order of the attributes of `PutInvocation`."""


def _upsert(table: str, key: Sequence[str], rest: Sequence[str] = ()) -> str:
    columns = (*key, *rest)
    then = f"UPDATE SET {', '.join(f'{column}=excluded.{column}' for column in rest)}" if rest else "NOTHING"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT ({', '.join(key)}) DO {then}"
    )


# --- invocations and their journals --------------------------------------------------------------------------------

_PUT_INVOCATION: Final = _upsert("invocations", ["number"], INVOCATION_COLUMNS[1:])
_SET_STATUS: Final = "UPDATE invocations SET status=?, modified_at=?, position=?, awaited=?, reason=? WHERE number=?"
_SET_STATUS_AND_SUMMARY: Final = (
    "UPDATE invocations SET status=?, modified_at=?, position=?, awaited=?, reason=?, summary=? WHERE number=?"
)
_PIN: Final = "UPDATE invocations SET deployment=?, protocol=? WHERE number=?"
_SET_CRASHES: Final = "UPDATE invocations SET crashes=?, crash_length=?, crash_marked=? WHERE number=?"
_END: Final = (
    "UPDATE invocations SET status=?, result=?, modified_at=?, ended_at=?, expires_at=?, summary=?, awaited=NULL, "
    "reason=NULL, position=0 WHERE number=?"
)
_DELETE_INVOCATION: Final = "DELETE FROM invocations WHERE number=?"
_DELETE_JOURNAL: Final = "DELETE FROM journal WHERE number=?"
_DELETE_SINKS: Final = "DELETE FROM sinks WHERE number=?"
_KEEP_NUMBER: Final = "UPDATE meta SET value=max(value, ?) WHERE name='last_number'"
_APPEND: Final = "INSERT INTO journal (number, idx, entry) VALUES (?, ?, ?)"
_PUT_SINK: Final = _upsert("sinks", ["number", "caller", "completion"])
_DELETE_SINK: Final = "DELETE FROM sinks WHERE number=? AND caller=? AND completion=?"


def _put_invocation(execute: Executor, row: rows.PutInvocation) -> None:
    execute(
        _PUT_INVOCATION,
        (
            row.number,
            stored_id(row.id),
            row.service,
            row.handler,
            row.key,
            row.kind,
            row.status,
            row.created_at,
            row.modified_at,
            row.start_at,
            row.idempotency_key,
            row.parent,
            row.restarted,
            row.completion_retention,
            row.journal_retention,
            row.position,
            row.deployment,
            row.protocol,
            maybe(row.awaited),
            maybe(row.reason),
            maybe(row.summary),
            maybe(row.result),
            row.ended_at,
            row.expires_at,
            row.crashes,
            row.crash_length,
            row.crash_marked,
        ),
    )


def _set_status(execute: Executor, row: rows.SetStatus) -> None:
    columns = (row.status, row.at, row.position, maybe(row.awaited), maybe(row.reason))
    if row.summary is None:
        execute(_SET_STATUS, (*columns, row.number))
    else:
        execute(_SET_STATUS_AND_SUMMARY, (*columns, pack(row.summary), row.number))


def _pin(execute: Executor, row: rows.Pin) -> None:
    execute(_PIN, (row.deployment, row.protocol, row.number))


def _set_crashes(execute: Executor, row: rows.SetCrashes) -> None:
    execute(_SET_CRASHES, (row.crashes, row.length, row.marked, row.number))


def _end(execute: Executor, row: rows.EndInvocation) -> None:
    execute(
        _END,
        (rows.Status.COMPLETED, pack(row.result), row.at, row.at, row.expires_at, pack(row.summary), row.number),
    )


def _delete_invocation(execute: Executor, row: rows.DeleteInvocation) -> None:
    number = (row.number,)
    execute(_DELETE_INVOCATION, number)
    execute(_DELETE_JOURNAL, number)
    execute(_DELETE_SINKS, number)
    execute(_KEEP_NUMBER, number)


def _append(execute: Executor, row: rows.AppendEntry) -> None:
    execute(_APPEND, (row.number, row.index, encode(row.entry)))


def _delete_journal(execute: Executor, row: rows.DeleteJournal) -> None:
    execute(_DELETE_JOURNAL, (row.number,))


def _put_sink(execute: Executor, row: rows.PutSink) -> None:
    execute(_PUT_SINK, (row.number, row.caller, row.completion))


def _delete_sink(execute: Executor, row: rows.DeleteSink) -> None:
    execute(_DELETE_SINK, (row.number, row.caller, row.completion))


# --- keys ----------------------------------------------------------------------------------------------------------

_PUT_LOCK: Final = _upsert("locks", ["service", "key"], ["number"])
_DELETE_LOCK: Final = "DELETE FROM locks WHERE service=? AND key=?"
_ENQUEUE: Final = _upsert("queue", ["service", "key", "position"], ["number", "edit"])
_DEQUEUE: Final = "DELETE FROM queue WHERE service=? AND key=? AND position=?"
_PUT_STATE: Final = _upsert("state", ["service", "key", "name"], ["value"])
_DELETE_STATE: Final = "DELETE FROM state WHERE service=? AND key=? AND name=?"
_CLEAR_STATE: Final = "DELETE FROM state WHERE service=? AND key=?"
_PUT_PROMISE: Final = _upsert("promises", ["service", "key", "name"], ["result"])
_PUT_PROMISE_WAITER: Final = _upsert("promise_waiters", ["service", "key", "name", "number", "completion"])
_DELETE_PROMISE_WAITER: Final = (
    "DELETE FROM promise_waiters WHERE service=? AND key=? AND name=? AND number=? AND completion=?"
)
_DELETE_PROMISES: Final = "DELETE FROM promises WHERE service=? AND key=?"
_DELETE_PROMISE_WAITERS: Final = "DELETE FROM promise_waiters WHERE service=? AND key=?"


def _put_lock(execute: Executor, row: rows.PutLock) -> None:
    execute(_PUT_LOCK, (row.service, row.key, row.number))


def _delete_lock(execute: Executor, row: rows.DeleteLock) -> None:
    execute(_DELETE_LOCK, (row.service, row.key))


def _enqueue(execute: Executor, row: rows.Enqueue) -> None:
    execute(_ENQUEUE, (row.service, row.key, row.position, row.number, maybe(row.edit)))


def _dequeue(execute: Executor, row: rows.Dequeue) -> None:
    execute(_DEQUEUE, (row.service, row.key, row.position))


def _put_state(execute: Executor, row: rows.PutState) -> None:
    execute(_PUT_STATE, (row.service, row.key, row.name, row.value))


def _delete_state(execute: Executor, row: rows.DeleteState) -> None:
    execute(_DELETE_STATE, (row.service, row.key, row.name))


def _clear_state(execute: Executor, row: rows.ClearState) -> None:
    execute(_CLEAR_STATE, (row.service, row.key))


def _put_promise(execute: Executor, row: rows.PutPromise) -> None:
    execute(_PUT_PROMISE, (row.service, row.key, row.name, pack(row.result)))


def _put_promise_waiter(execute: Executor, row: rows.PutPromiseWaiter) -> None:
    execute(_PUT_PROMISE_WAITER, (row.service, row.key, row.name, row.number, row.completion))


def _delete_promise_waiter(execute: Executor, row: rows.DeletePromiseWaiter) -> None:
    execute(_DELETE_PROMISE_WAITER, (row.service, row.key, row.name, row.number, row.completion))


def _delete_promises(execute: Executor, row: rows.DeletePromises) -> None:
    execute(_DELETE_PROMISES, (row.service, row.key))
    execute(_DELETE_PROMISE_WAITERS, (row.service, row.key))


# --- timers, work, what is deployed --------------------------------------------------------------------------------

_PUT_TIMER: Final = _upsert("timers", ["due", "number", "completion"])
_DELETE_TIMER: Final = "DELETE FROM timers WHERE due=? AND number=? AND completion=?"
_PUT_WORK: Final = _upsert("work", ["work"], rows.PutWork.__struct_fields__[1:])
_DELETE_WORK: Final = "DELETE FROM work WHERE work=?"
_PUT_DEPLOYMENT: Final = _upsert("deployments", ["deployment"], ["id", "uri", "whole"])
_PUT_SERVICE: Final = _upsert("services", ["service"], rows.PutService.__struct_fields__[1:])
_PUT_MARK: Final = "UPDATE meta SET value=? WHERE name='mark'"


def _put_timer(execute: Executor, row: rows.PutTimer) -> None:
    execute(_PUT_TIMER, (row.due, row.number, row.completion))


def _delete_timer(execute: Executor, row: rows.DeleteTimer) -> None:
    execute(_DELETE_TIMER, (row.due, row.number, row.completion))


def _put_work(execute: Executor, row: rows.PutWork) -> None:
    execute(_PUT_WORK, (row.work, row.kind, row.number, row.position, row.service, row.key, row.name))


def _delete_work(execute: Executor, row: rows.DeleteWork) -> None:
    execute(_DELETE_WORK, (row.work,))


def _put_deployment(execute: Executor, row: rows.PutDeployment) -> None:
    execute(_PUT_DEPLOYMENT, (row.deployment, row.id, row.uri, pack(row)))


def _put_service(execute: Executor, row: rows.PutService) -> None:
    execute(_PUT_SERVICE, (row.service, row.revision, row.deployment, row.kind, pack(row.handlers)))


def _put_mark(execute: Executor, row: rows.PutMark) -> None:
    execute(_PUT_MARK, (row.time,))


WRITERS: Final[dict[type[rows.Row], RowWriter]] = {
    rows.AppendEntry: _append,
    rows.ClearState: _clear_state,
    rows.DeleteInvocation: _delete_invocation,
    rows.DeleteJournal: _delete_journal,
    rows.DeleteLock: _delete_lock,
    rows.DeletePromiseWaiter: _delete_promise_waiter,
    rows.DeletePromises: _delete_promises,
    rows.DeleteSink: _delete_sink,
    rows.DeleteState: _delete_state,
    rows.DeleteTimer: _delete_timer,
    rows.DeleteWork: _delete_work,
    rows.Dequeue: _dequeue,
    rows.EndInvocation: _end,
    rows.Enqueue: _enqueue,
    rows.Pin: _pin,
    rows.PutDeployment: _put_deployment,
    rows.PutInvocation: _put_invocation,
    rows.PutLock: _put_lock,
    rows.PutMark: _put_mark,
    rows.PutPromise: _put_promise,
    rows.PutPromiseWaiter: _put_promise_waiter,
    rows.PutService: _put_service,
    rows.PutSink: _put_sink,
    rows.PutState: _put_state,
    rows.PutTimer: _put_timer,
    rows.PutWork: _put_work,
    rows.SetCrashes: _set_crashes,
    rows.SetStatus: _set_status,
}
"""How a row of each class is written."""


def write(execute: Executor, batch: Sequence[rows.Row]) -> None:
    """Write rows, in their order, in the transaction that is open."""
    writers = WRITERS
    for row in batch:
        writers[type(row)](execute, row)


def last_entry(batch: Sequence[rows.Row]) -> rows.AppendEntry | None:
    """The last row of a batch that can be done only once."""
    return next((row for row in reversed(batch) if type(row) is rows.AppendEntry), None)
