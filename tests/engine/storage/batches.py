"""Hypothesis strategies for rows: of every class, and batches that could have been decided.

A batch names only what exists: which that is, is told by `tests.engine.tables.Tables`, a store in dictionaries, to
which it is applied while it is drawn. The same tables afterwards say what the real store must answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from perdure.engine import rows as r
from perdure.wire import messages as m
from perdure.wire.manifest import OnMaxAttempts
from tests.engine.tables import Tables
from tests.strategies import message_of

NUMBERS = st.integers(0, 2**40) | st.sampled_from([0, 1, 2**31, 2**53 + 1, 2**63 - 1])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "a\0b", "ä\u20ac\U0001f600"]
)
SMALL = st.binary(max_size=12) | st.just(bytes(5000))
SERVICES = st.sampled_from(["Thing", "Flow"])
KEYS = st.sampled_from(["", "k", "k\0k", "ключ"])
NAMES = st.sampled_from([b"", b"n", b"\xff\0"])
PROMISES = st.sampled_from(["p", "q"])
COMPLETIONS = st.integers(1, 3)

RESULTS = message_of(m.Value) | message_of(m.Failure)
AWAITED = st.none() | st.builds(r.Awaited, message_of(m.Future), st.integers(0, 100))
REASONS = st.none() | message_of(m.ErrorMessage)
SIGNALS = st.dictionaries(st.integers(1, 50) | TEXTS, st.tuples(st.integers(0, 100), st.booleans()), max_size=3)
ENTRIES: st.SearchStrategy[Any] = st.sampled_from(
    [cls for cls in m.MESSAGES.values() if issubclass(cls, (m.Command, m.Notification))]
).flatmap(message_of)


def _of_summary(name: str) -> st.SearchStrategy[Any]:
    return {
        "open": st.dictionaries(st.integers(1, 9), st.integers(0x8000, 0xFFFF), max_size=3),
        "sleeps": st.dictionaries(st.integers(1, 9), NUMBERS, max_size=3),
        "failed": st.frozensets(st.integers(1, 9), max_size=3),
        "signals": SIGNALS,
    }.get(name, st.integers(0, 20))


SUMMARIES = st.builds(
    r.Summary, **{name: _of_summary(name) for name in r.Summary.__struct_fields__ if name != "output"}
)
RETRIES = st.builds(
    r.Retry,
    initial_interval=NUMBERS,
    factor=st.floats(1, 10),
    max_interval=NUMBERS,
    max_attempts=st.none() | NUMBERS,
    on_max_attempts=st.sampled_from(OnMaxAttempts),
)
OPTIONS = st.builds(
    r.HandlerOptions,
    kind=st.sampled_from(r.Kind),
    private=st.booleans(),
    lazy_state=st.booleans(),
    idempotency_retention=NUMBERS,
    retry=RETRIES,
    input_content_type=st.none() | TEXTS,
    output_content_type=st.none() | TEXTS,
)


def invocation(number: int) -> st.SearchStrategy[r.PutInvocation]:
    """A row of `invocations`; its id is made of the number, so that it is the only one."""
    return st.builds(
        r.PutInvocation,
        number=st.just(number),
        id=st.binary(min_size=8, max_size=8).map(lambda partition: partition + number.to_bytes(16, "big")),
        service=SERVICES,
        handler=TEXTS,
        key=KEYS,
        kind=st.sampled_from(r.Kind),
        status=st.sampled_from(r.Status),
        created_at=NUMBERS,
        modified_at=NUMBERS,
        start_at=NUMBERS,
        idempotency_key=st.none() | TEXTS,
        parent=NUMBERS,
        restarted=NUMBERS,
        completion_retention=st.none() | NUMBERS,
        journal_retention=NUMBERS,
        position=NUMBERS,
        deployment=NUMBERS,
        protocol=st.integers(0, 7),
        awaited=AWAITED,
        reason=REASONS,
        summary=st.none(),
        result=st.none() | RESULTS,
        ended_at=NUMBERS,
        expires_at=NUMBERS,
        crashes=st.integers(0, 5),
        crash_length=NUMBERS,
        crash_marked=st.booleans(),
    )


def _existing(tables: Tables) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted(tables.invocations))


def _new(tables: Tables) -> st.SearchStrategy[r.Row]:
    return invocation(max(tables.invocations, default=0) + 1)


def _append(tables: Tables) -> st.SearchStrategy[r.Row]:
    return _existing(tables).flatmap(
        lambda number: st.builds(r.AppendEntry, st.just(number), st.just(len(tables.journal[number])), ENTRIES)
    )


def _of_existing(cls: type[r.Row], *others: st.SearchStrategy[Any]) -> Callable[[Tables], st.SearchStrategy[r.Row]]:
    return lambda tables: st.builds(cls, _existing(tables), *others)


def _length_is_right(tables: Tables, cls: type[r.Row], **fields: Any) -> st.SearchStrategy[r.Row]:
    """Rows with a summary: it is as long as the journal, or absent."""

    def row(number: int) -> st.SearchStrategy[r.Row]:
        length = len(tables.journal[number])
        summary = SUMMARIES.map(
            lambda drawn: r.Summary(length, *(getattr(drawn, name) for name in r.Summary.__struct_fields__[1:]))
        )
        return st.builds(
            cls, number=st.just(number), summary=summary if cls is r.EndInvocation else st.none() | summary, **fields
        )

    return _existing(tables).flatmap(row)


def _set_status(tables: Tables) -> st.SearchStrategy[r.Row]:
    status = st.sampled_from([status for status in r.Status if status is not r.Status.COMPLETED])
    return _length_is_right(
        tables, r.SetStatus, status=status, at=NUMBERS, position=NUMBERS, awaited=AWAITED, reason=REASONS
    )


def _end(tables: Tables) -> st.SearchStrategy[r.Row]:
    return _length_is_right(tables, r.EndInvocation, result=RESULTS, at=NUMBERS, expires_at=NUMBERS)


def _delete(tables: Tables) -> st.SearchStrategy[r.Row]:
    return _existing(tables).map(lambda number: r.DeleteInvocation(number, tables.invocations[number].id))


def _dequeue(tables: Tables) -> st.SearchStrategy[r.Row]:
    return st.sampled_from([r.Dequeue(*name, at) for name, queue in tables.queues.items() for at in queue])


def _delete_work(tables: Tables) -> st.SearchStrategy[r.Row]:
    return st.sampled_from(sorted(tables.work)).map(r.DeleteWork)


def _put_work(tables: Tables) -> st.SearchStrategy[r.Row]:
    fields = (st.sampled_from(r.WorkKind), NUMBERS, NUMBERS, TEXTS, TEXTS, TEXTS)
    return st.builds(r.PutWork, st.integers(1, max(tables.work, default=0) + 1), *fields)


def _free(cls: type[r.Row], *fields: st.SearchStrategy[Any]) -> Callable[[Tables], st.SearchStrategy[r.Row]]:
    return lambda _: st.builds(cls, *fields)


def _deployment(_: Tables) -> st.SearchStrategy[r.Row]:
    return st.integers(1, 3).flatmap(
        lambda number: st.builds(
            r.PutDeployment,
            deployment=st.just(number),
            id=st.just(f"dp_{number}"),
            uri=st.none() | TEXTS,
            min_protocol=st.integers(5, 7),
            max_protocol=st.integers(5, 7),
            manifest=SMALL,
            created_at=NUMBERS,
            bidirectional=st.booleans(),
            services=st.lists(TEXTS, max_size=3).map(tuple),
            headers=st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple),
        )
    )


def _service(_: Tables) -> st.SearchStrategy[r.Row]:
    return st.builds(
        r.PutService,
        service=SERVICES,
        revision=NUMBERS,
        deployment=st.integers(1, 3),
        kind=st.sampled_from(r.Kind),
        handlers=st.dictionaries(TEXTS, OPTIONS, max_size=2),
    )


_TIMERS = (st.integers(0, 5), st.integers(1, 3), st.integers(-2, 3))
_WAITERS = (SERVICES, KEYS, PROMISES, st.integers(1, 3), COMPLETIONS)
_EDITS = st.none() | st.builds(r.StateEdit, st.dictionaries(NAMES, st.none() | SMALL, max_size=3), st.booleans())

ROWS: dict[type[r.Row], Callable[[Tables], st.SearchStrategy[r.Row]]] = {
    r.PutInvocation: _new,
    r.AppendEntry: _append,
    r.SetStatus: _set_status,
    r.EndInvocation: _end,
    r.Pin: _of_existing(r.Pin, NUMBERS, st.integers(5, 7)),
    r.SetCrashes: _of_existing(r.SetCrashes, st.integers(0, 5), NUMBERS, st.booleans()),
    r.DeleteInvocation: _delete,
    r.DeleteJournal: _of_existing(r.DeleteJournal),
    r.PutSink: _of_existing(r.PutSink, st.integers(1, 3), COMPLETIONS),
    r.DeleteSink: _of_existing(r.DeleteSink, st.integers(1, 3), COMPLETIONS),
    r.PutLock: _free(r.PutLock, SERVICES, KEYS, NUMBERS),
    r.DeleteLock: _free(r.DeleteLock, SERVICES, KEYS),
    r.Enqueue: _free(r.Enqueue, SERVICES, KEYS, st.integers(1, 4), NUMBERS, _EDITS),
    r.Dequeue: _dequeue,
    r.PutState: _free(r.PutState, SERVICES, KEYS, NAMES, SMALL),
    r.DeleteState: _free(r.DeleteState, SERVICES, KEYS, NAMES),
    r.ClearState: _free(r.ClearState, SERVICES, KEYS),
    r.PutPromise: _free(r.PutPromise, SERVICES, KEYS, PROMISES, RESULTS),
    r.PutPromiseWaiter: _free(r.PutPromiseWaiter, *_WAITERS),
    r.DeletePromiseWaiter: _free(r.DeletePromiseWaiter, *_WAITERS),
    r.DeletePromises: _free(r.DeletePromises, SERVICES, KEYS),
    r.PutTimer: _free(r.PutTimer, *_TIMERS),
    r.DeleteTimer: _free(r.DeleteTimer, *_TIMERS),
    r.PutWork: _put_work,
    r.DeleteWork: _delete_work,
    r.PutDeployment: _deployment,
    r.PutService: _service,
    r.PutMark: _free(r.PutMark, NUMBERS),
}
"""How a row of each class is drawn, given the tables."""

_NEED_AN_INVOCATION: frozenset[type[r.Row]] = frozenset(
    {
        r.AppendEntry,
        r.SetStatus,
        r.EndInvocation,
        r.Pin,
        r.SetCrashes,
        r.DeleteInvocation,
        r.DeleteJournal,
        r.PutSink,
        r.DeleteSink,
    }
)


def possible(tables: Tables) -> list[type[r.Row]]:
    """The classes of rows that can be decided now."""
    impossible: set[type[r.Row]] = set()
    if not tables.invocations:
        impossible |= _NEED_AN_INVOCATION
    if not any(tables.queues.values()):
        impossible.add(r.Dequeue)
    if not tables.work:
        impossible.add(r.DeleteWork)
    return [cls for cls in ROWS if cls not in impossible]


@st.composite
def batch(draw: st.DrawFn, tables: Tables, size: int = 8) -> list[r.Row]:
    """Rows that can follow what is in the tables, and are in them afterwards."""
    rows = []
    for _ in range(draw(st.integers(1, size))):
        row = draw(ROWS[draw(st.sampled_from(possible(tables)))](tables))
        tables.write(row)
        rows.append(row)
    return rows
