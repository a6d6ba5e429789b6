"""Notifications: appended to the journal of whom they are for, delivered to the attempt that runs, waking who sleeps.

There is one order, the journal's, and every attempt sees it. A notification that nobody waits for is stored and wakes
nobody; one for an invocation that is paused waits for an operator.
"""

from __future__ import annotations

from typing import Final

from perdure.engine.draft import Draft
from perdure.engine.entities import InvocationEntity
from perdure.engine.outputs import Deliver
from perdure.engine.rows import AppendEntry, SetStatus, Status
from perdure.engine.starting import want_attempt
from perdure.engine.suspension import satisfied
from perdure.wire import messages as m

__all__ = ["complete", "moment", "notify", "wake"]

_VOID: Final = m.Void()


def moment(draft: Draft, entity: InvocationEntity) -> int:
    """The time of a change of an invocation: its times never decrease."""
    return max(draft.now, entity.modified_at)


def notify(draft: Draft, number: int, entry: m.Notification, *, wakes: bool = False) -> bool:
    """Append a notification; tell whether there was anybody to take it.

    Args:
        draft: the decision in the making.
        number: whom it is for; somebody who is gone or has ended takes none.
        entry: the notification.
        wakes: whether it resumes a suspended invocation that does not wait for it.
    """
    entity = draft.view.invocation(number)
    if entity is None or entity.status is Status.COMPLETED:
        return False
    index = entity.length
    draft.rows.append(AppendEntry(number, index, entry))
    if entity.status is Status.INVOKED:
        live = draft.view.live(number)
        if live is not None and live.running:
            draft.outputs.append(Deliver(number, live.attempt, index, entry))
            draft.urgent = True
    elif entity.status is Status.SUSPENDED and entity.awaited is not None:
        after = draft.view.invocation(number)
        assert after is not None, "it was here a moment ago"
        if wakes or satisfied(after, entity.awaited):
            wake(draft, after)
    return True


def complete(draft: Draft, number: int, completion: int, result: m.Result) -> bool:
    """Complete a command of an invocation; tell whether it was open."""
    entity = draft.view.invocation(number)
    code = None if entity is None else entity.open.get(completion)
    if code is None:
        return False
    return notify(draft, number, m.MESSAGES[code](completion, result))  # type: ignore[arg-type]  # the code is that of a completion: these are its fields


def wake(draft: Draft, entity: InvocationEntity) -> None:
    """Go on with an invocation that was suspended or paused."""
    draft.rows.append(SetStatus(entity.number, Status.INVOKED, moment(draft, entity)))
    want_attempt(draft, entity.number, afresh=True)
