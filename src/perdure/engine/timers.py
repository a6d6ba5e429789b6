"""Firing what is due: sleeps, scheduled starts, and the end of retentions, a page at a time.

Each firing deletes its timer and does what it is for in one transaction. A timer whose invocation is gone is deleted
silently.
"""

from __future__ import annotations

from typing import Final

from perdure.engine.draft import Draft
from perdure.engine.endings import absent, forget
from perdure.engine.keys import enter
from perdure.engine.notifications import complete
from perdure.engine.outputs import MoreTimers
from perdure.engine.rows import FORGET, FORGET_JOURNAL, START, DeleteJournal, DeleteTimer, PutTimer, Status
from perdure.wire.messages import Void

__all__ = ["PAGE", "fire"]

PAGE: Final = 256
"""Timers that fire in one transaction."""

_VOID: Final = Void()


def fire(draft: Draft) -> None:
    """Fire a page of what is due, in the order of (due, invocation, completion)."""
    page = draft.view.timers_due(draft.now, PAGE)
    for timer in page:
        draft.rows.append(DeleteTimer(timer.due, timer.number, timer.completion))
        _fire(draft, timer)
    if page:
        draft.urgent = True
    if len(page) == PAGE:
        draft.outputs.append(MoreTimers())


def _fire(draft: Draft, timer: PutTimer) -> None:
    if timer.completion > 0:
        complete(draft, timer.number, timer.completion, _VOID)
        return
    entity = draft.view.invocation(timer.number)
    if entity is None:
        return
    if timer.completion == START:
        if entity.status is Status.SCHEDULED:
            enter(draft, entity)
    elif entity.status is not Status.COMPLETED or draft.view.works_about(timer.number):
        return  # work about it is left; its last page does what is due
    elif timer.completion == FORGET:
        if absent(draft, entity):
            forget(draft, entity)
    elif timer.completion == FORGET_JOURNAL:
        draft.rows.append(DeleteJournal(timer.number))
