"""The keys of virtual objects: held by one invocation at a time, handed on first in, first out.

The holder keeps its key from the moment it is let in until it ends: while it is suspended, backing off, paused, and
across restarts of the process. Changes of the state from outside wait in the same queue.
"""

from __future__ import annotations

from perdure.engine.draft import Draft
from perdure.engine.entities import InvocationEntity
from perdure.engine.notifications import moment
from perdure.engine.rows import (
    ClearState,
    DeleteLock,
    DeleteState,
    Dequeue,
    Enqueue,
    Kind,
    PutLock,
    PutState,
    Row,
    SetStatus,
    StateEdit,
    Status,
)
from perdure.engine.starting import want_attempt

__all__ = ["apply_edit", "edit_state", "enter", "hand_on", "place"]


def place(draft: Draft, service: str, key: str, kind: Kind, number: int) -> tuple[Status, int, Row | None]:
    """Where an invocation stands that may start now.

    Returns:
        Its status, its position in the queue of its key, and the row that says so in the tables of keys.
    """
    if kind is not Kind.EXCLUSIVE:
        return Status.INVOKED, 0, None
    entity = draft.view.key(service, key)
    if entity is None:
        return Status.INVOKED, 0, PutLock(service, key, number)
    position = entity.next_position
    return Status.QUEUED, position, Enqueue(service, key, position, number)


def enter(draft: Draft, entity: InvocationEntity) -> None:
    """The time of a scheduled invocation has come."""
    status, position, row = place(draft, entity.service, entity.key, entity.kind, entity.number)
    draft.rows.append(SetStatus(entity.number, status, moment(draft, entity), position))
    if row is not None:
        draft.rows.append(row)
    if status is Status.INVOKED:
        want_attempt(draft, entity.number, afresh=True)


def hand_on(draft: Draft, service: str, key: str) -> None:
    """The holder of a key has ended: the next one gets it."""
    entity = draft.view.key(service, key)
    if entity is None:
        return
    for position, waiting in entity.queue.items():
        draft.rows.append(Dequeue(service, key, position))
        if waiting.edit is not None:
            apply_edit(draft, service, key, waiting.edit)
            continue
        draft.rows.append(PutLock(service, key, waiting.number))
        following = draft.view.invocation(waiting.number)
        if following is None:
            raise RuntimeError(f"invocation {waiting.number} is queued, but does not exist: please report this")
        draft.rows.append(SetStatus(waiting.number, Status.INVOKED, moment(draft, following)))
        want_attempt(draft, waiting.number, afresh=True)
        return
    draft.rows.append(DeleteLock(service, key))


def edit_state(draft: Draft, service: str, key: str, edit: StateEdit, *, exclusive: bool) -> None:
    """Change a state from outside, now or when those before have ended.

    Args:
        draft: the decision in the making.
        service: of an object or a workflow.
        key: of its state.
        edit: the change.
        exclusive: whether holders of the key exclude it: for objects, not for workflows.
    """
    entity = draft.view.key(service, key) if exclusive else None
    if entity is None:
        apply_edit(draft, service, key, edit)
    else:
        draft.rows.append(Enqueue(service, key, entity.next_position, 0, edit))


def apply_edit(draft: Draft, service: str, key: str, edit: StateEdit) -> None:
    """Change a state from outside, now."""
    if edit.replace:
        draft.rows.append(ClearState(service, key))
    for name, value in edit.values.items():
        if value is None:
            draft.rows.append(DeleteState(service, key, name))
        else:
            draft.rows.append(PutState(service, key, name, value))
