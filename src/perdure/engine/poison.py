"""Taking up what was in work when the engine was closed, and the guard against a handler that ends the process.

An embedded engine shares its process with the handlers, so one that ends the process would do so at every start. After
an end of the process that was no close, every invocation in work counts one more; from the second on it is a suspect
and is started alone, the start committed first, so that only the culprit goes on counting. Storing an entry clears it.
"""

from __future__ import annotations

from typing import Final

from perdure.engine.draft import Draft
from perdure.engine.entities import InvocationEntity
from perdure.engine.outputs import MoreRecovery, MoreWork, Report, What
from perdure.engine.retries import pause
from perdure.engine.rows import SetCrashes, Status
from perdure.engine.starting import SUSPICIOUS, want_attempt
from perdure.exceptions import INTERNAL
from perdure.wire.messages import ErrorMessage

__all__ = ["CRASHES", "PAGE", "recover"]

CRASHES: Final = 5
"""After so many ends of the process during its attempts an invocation is paused."""

PAGE: Final = 200
"""Invocations that are taken up in one transaction."""


def recover(draft: Draft, after: int, *, unclean: bool) -> None:
    """Take up a page of what was in work, oldest first.

    Args:
        draft: the decision in the making.
        after: the number of the last one that was taken up; 0 begins.
        unclean: whether the process that had the engine open before ended without closing it.
    """
    if not after and draft.view.work() is not None:
        draft.outputs.append(MoreWork())
    numbers = draft.view.invoked(after, PAGE)
    for number in numbers:
        entity = draft.view.invocation(number)
        if entity is None or entity.status is not Status.INVOKED or _is_known(draft, number):
            continue
        if unclean and _count(draft, entity) >= CRASHES:
            entity = draft.view.invocation(number)
            assert entity is not None, "it was here a moment ago"
            pause(draft, entity, _error(CRASHES))
            continue
        want_attempt(draft, number, afresh=True)
    if len(numbers) == PAGE:
        draft.outputs.append(MoreRecovery(numbers[-1], unclean))


def _is_known(draft: Draft, number: int) -> bool:
    """Whether it was taken up already, or has begun since the engine was opened."""
    live = draft.view.live(number)
    return live is not None and bool(live.phase or live.unjoined)


def _count(draft: Draft, entity: InvocationEntity) -> int:
    """Count one more end of the process, if this invocation can have been the cause; returns how many."""
    if entity.crash_length != entity.length:
        crashes = 1  # it has stored something since it was counted, if it ever was
    elif entity.crashes < SUSPICIOUS or entity.crash_marked:
        crashes = entity.crashes + 1
    else:
        return entity.crashes  # it was waiting for its trial
    draft.rows.append(SetCrashes(entity.number, crashes, entity.length, marked=False))
    if crashes >= SUSPICIOUS:
        draft.outputs.append(Report(entity.number, What.SUSPECTED, _error(crashes)))
    draft.urgent = True
    return crashes


def _error(crashes: int) -> ErrorMessage:
    return ErrorMessage(INTERNAL, f"the process ended during {crashes} attempts, none of which stored anything")
