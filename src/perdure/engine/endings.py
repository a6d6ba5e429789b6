"""The end of an invocation, in one transaction.

To it belong its result, the answers to all who wait, its timers, its key, and how long it is remembered.

An invocation whose retention is over is *absent*: nobody finds it any more, also before the timer fires that forgets
it. Only while work about it is left (a tree that is being killed) its name stays taken.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from perdure.engine.draft import Draft
from perdure.engine.entities import InvocationEntity, LiveEntity
from perdure.engine.keys import hand_on
from perdure.engine.notes import HoldKey, SetLive
from perdure.engine.notifications import complete, moment
from perdure.engine.outputs import Outcome, Why
from perdure.engine.rows import (
    FORGET,
    FORGET_JOURNAL,
    START,
    ClearState,
    DeleteInvocation,
    DeleteJournal,
    DeletePromises,
    DeleteSink,
    DeleteTimer,
    Dequeue,
    EndInvocation,
    Kind,
    PutTimer,
    PutWork,
    Status,
    WorkKind,
)
from perdure.engine.starting import leave, live_of
from perdure.wire.messages import Failure, Value

__all__ = ["PAGE", "absent", "answer", "end", "forget", "keep_until", "present", "put_work"]

PAGE: Final = 200
"""Invocations that are dealt with in one transaction."""


def keep_until(entity: InvocationEntity, ended_at: int) -> tuple[int, int]:
    """Until when a completed invocation, and its journal, are remembered; milliseconds since the epoch."""
    kept = entity.completion_retention
    if kept is None:
        return ended_at + entity.journal_retention, ended_at + entity.journal_retention
    return ended_at + kept, ended_at + min(kept, entity.journal_retention)


def absent(draft: Draft, entity: InvocationEntity) -> bool:
    """Whether the retention of an invocation is over."""
    return (
        entity.status is Status.COMPLETED
        and entity.expires_at <= draft.now
        and not draft.view.works_about(entity.number)
    )


def present(draft: Draft, id: bytes) -> InvocationEntity | None:
    """An invocation by its id, if it exists and its retention is not over."""
    number = draft.view.find(id)
    entity = draft.view.invocation(number) if number else None
    return None if entity is None or absent(draft, entity) else entity


def end(
    draft: Draft,
    entity: InvocationEntity,
    result: Value | Failure,
    *,
    why: Why | None = None,
    keep: bool = True,
    children: bool = False,
) -> None:
    """End an invocation.

    Args:
        draft: the decision in the making.
        entity: the invocation; it has not ended.
        result: what all who wait for it get.
        why: why an attempt that runs is told to stop; `None` when it has said its last word.
        keep: whether it is remembered as long as its retention says, or not at all.
        children: whether what it called and sent is killed.
    """
    number = entity.number
    now = moment(draft, entity)
    live = leave(draft, live_of(draft, number), why)
    expires_at, journal_until = keep_until(entity, now) if keep else (now, now)
    draft.rows.append(EndInvocation(number, result, now, expires_at, entity.summary()))
    if entity.status is Status.SCHEDULED:
        draft.rows.append(DeleteTimer(entity.start_at, number, START))
    draft.rows.extend(DeleteTimer(due, number, id) for id, due in entity.sleeps.items())
    if children and entity.children:
        put_work(draft, PutWork(0, WorkKind.KILL_CHILDREN, number))
    if entity.sinks and not answer(draft, entity, result):
        put_work(draft, PutWork(0, WorkKind.ANSWER, number))
    if live.waiters:
        for waiter in live.waiters:
            draft.reply(waiter, Outcome(entity.id, result))
        live = replace(live, waiters=())
    _give_up_key(draft, entity, live)
    draft.urgent = True
    if expires_at <= now and not draft.view.works_about(number):
        _delete(draft, entity)
        return
    draft.rows.append(PutTimer(expires_at, number, FORGET))
    if journal_until <= now and not draft.view.works_about(number):
        draft.rows.append(DeleteJournal(number))
    elif journal_until < expires_at:
        draft.rows.append(PutTimer(journal_until, number, FORGET_JOURNAL))


def _give_up_key(draft: Draft, entity: InvocationEntity, live: LiveEntity) -> None:
    """Leave the queue of the key, or hand the key on; who gets it starts when the code of the last attempt stopped."""
    if entity.kind is Kind.EXCLUSIVE and entity.status is Status.QUEUED:
        draft.rows.append(Dequeue(entity.service, entity.key, entity.position))
    elif entity.kind is Kind.EXCLUSIVE and entity.status is not Status.SCHEDULED:
        if live.unjoined:
            live = replace(live, lets_go=(entity.service, entity.key))
            draft.notes.append(HoldKey(entity.service, entity.key))
        draft.notes.append(SetLive(live))
        hand_on(draft, entity.service, entity.key)
        return
    draft.notes.append(SetLive(live))


def answer(draft: Draft, entity: InvocationEntity, result: Value | Failure) -> bool:
    """Complete a page of the calls that wait for a result; tell whether that was all."""
    sinks = sorted(entity.sinks)
    for sink in sinks[:PAGE]:
        draft.rows.append(DeleteSink(entity.number, sink.caller, sink.completion))
        complete(draft, sink.caller, sink.completion, result)
    return len(sinks) <= PAGE


def put_work(draft: Draft, work: PutWork) -> None:
    """Store work under the next number."""
    draft.rows.append(replace(work, work=draft.view.counters.work + 1))


def forget(draft: Draft, entity: InvocationEntity) -> None:
    """Forget a completed invocation: by its retention, by hand, or because its name is used again."""
    number = entity.number
    draft.rows.append(DeleteTimer(entity.expires_at, number, FORGET))
    _, journal_until = keep_until(entity, entity.ended_at)
    if journal_until < entity.expires_at:
        draft.rows.append(DeleteTimer(journal_until, number, FORGET_JOURNAL))
    _delete(draft, entity)


def _delete(draft: Draft, entity: InvocationEntity) -> None:
    draft.rows.append(DeleteInvocation(entity.number, entity.id))
    if entity.kind is Kind.WORKFLOW:
        draft.rows.append(ClearState(entity.service, entity.key))
        draft.rows.append(DeletePromises(entity.service, entity.key))
