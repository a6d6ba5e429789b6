"""What operators do to invocations, and handlers to each other: cancel, signal, kill, pause, resume, purge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from perdure.engine.draft import Draft
from perdure.engine.endings import end, forget, keep_until, present
from perdure.engine.entities import InvocationEntity, Phase
from perdure.engine.events import (
    Cancel,
    EditState,
    Event,
    Kill,
    Offered,
    Pause,
    Purge,
    PurgeJournal,
    RegisterDeployment,
    Resume,
    SendSignal,
)
from perdure.engine.keys import edit_state
from perdure.engine.notifications import notify, wake
from perdure.engine.outputs import Done, Refused, Why
from perdure.engine.retries import pause
from perdure.engine.rows import (
    FORGET_JOURNAL,
    DeleteJournal,
    DeleteTimer,
    Kind,
    Pin,
    PutDeployment,
    PutService,
    Status,
)
from perdure.engine.starting import live_of, want_attempt
from perdure.wire.messages import CANCEL_SIGNAL, ErrorMessage, Failure, SignalNotification, Void

__all__ = ["OPERATIONS", "cancel", "kill"]

_CANCELLED: Final = Failure(409, "cancelled")
_KILLED: Final = Failure(409, "killed")
_VOID: Final = Void()
_BY_HAND: Final = ErrorMessage(409, "it was paused by an operator")
_NEW: Final = frozenset({Status.SCHEDULED, Status.QUEUED})


def cancel(draft: Draft, entity: InvocationEntity) -> bool:
    """Cancel an invocation; tell whether there was anything to cancel.

    One that has not begun ends at once and is not remembered. Any other hears of it as a signal: a paused one is
    resumed for that, and a suspended one too, whatever it waits for, unless it has heard it before.
    """
    if entity.status is Status.COMPLETED:
        return False
    if entity.status in _NEW:
        end(draft, entity, _CANCELLED, keep=False)
        return True
    first = CANCEL_SIGNAL not in entity.signals
    notify(draft, entity.number, SignalNotification(CANCEL_SIGNAL, _VOID), wakes=first)
    if entity.status is Status.PAUSED:
        wake(draft, entity)
    draft.urgent = True
    return True


def kill(draft: Draft, entity: InvocationEntity) -> bool:
    """End an invocation now, and, page by page, all it called and sent; tell whether it was alive."""
    if entity.status is Status.COMPLETED:
        return False
    end(draft, entity, _KILLED, why=Why.KILLED, keep=entity.status not in _NEW, children=True)
    return True


# --- events about one invocation -----------------------------------------------------------------------------------


def _cancel(draft: Draft, entity: InvocationEntity, _: Cancel) -> str:
    return "" if cancel(draft, entity) else "it has completed"


def _kill(draft: Draft, entity: InvocationEntity, _: Kill) -> str:
    return "" if kill(draft, entity) else "it has completed"


def _pause(draft: Draft, entity: InvocationEntity, _: Pause) -> str:
    if entity.status is Status.PAUSED:
        return ""
    if entity.status not in {Status.INVOKED, Status.SUSPENDED}:
        return "it has completed" if entity.status is Status.COMPLETED else "it has not begun"
    pause(draft, entity, _BY_HAND, Why.PAUSED)
    return ""


def _resume(draft: Draft, entity: InvocationEntity, event: Resume) -> str:
    live = live_of(draft, entity.number)
    at_rest = entity.status in {Status.PAUSED, Status.SUSPENDED}
    if not at_rest and not (entity.status is Status.INVOKED and live.phase is Phase.BACKING_OFF):
        return "it is neither paused, suspended nor backing off"
    if event.deployment and event.deployment != entity.deployment:
        refusal = _repin(draft, entity, event.deployment, at_rest=at_rest)
        if refusal:
            return refusal
    if at_rest:
        wake(draft, entity)
    else:
        want_attempt(draft, entity.number, afresh=True)
    return ""


def _repin(draft: Draft, entity: InvocationEntity, number: int, *, at_rest: bool) -> str:
    """Pin to another deployment; returns why not."""
    deployment = draft.view.deployment(number)
    if deployment is None:
        return f"there is no deployment {number}"
    if not at_rest:
        return "it can move to another deployment only while it is paused or suspended"
    if not entity.deployment:
        return "it is not pinned to a deployment yet, so it starts on the latest anyway"
    if entity.service not in deployment.services:
        return f"deployment {deployment.id} does not offer service {entity.service!r}"
    if not deployment.min_protocol <= entity.protocol <= deployment.max_protocol:
        return f"deployment {deployment.id} does not speak version {entity.protocol} of the service protocol"
    draft.rows.append(Pin(entity.number, number, entity.protocol))
    return ""


def _purge(draft: Draft, entity: InvocationEntity, _: Purge) -> str:
    refusal = _not_purgeable(draft, entity)
    if not refusal:
        forget(draft, entity)
    return refusal


def _purge_journal(draft: Draft, entity: InvocationEntity, _: PurgeJournal) -> str:
    refusal = _not_purgeable(draft, entity)
    if not refusal:
        journal_until = keep_until(entity, entity.ended_at)[1]
        if journal_until < entity.expires_at:
            draft.rows.append(DeleteTimer(journal_until, entity.number, FORGET_JOURNAL))
        draft.rows.append(DeleteJournal(entity.number))
    return refusal


def _not_purgeable(draft: Draft, entity: InvocationEntity) -> str:
    if entity.status is not Status.COMPLETED:
        return "it has not completed"
    if draft.view.works_about(entity.number):
        return "what it called is still being ended, or those who wait for it are being answered; try again"
    return ""


def _signal(draft: Draft, entity: InvocationEntity, event: SendSignal) -> str:
    if event.signal == CANCEL_SIGNAL:
        return "" if cancel(draft, entity) else "it has completed"
    notify(draft, entity.number, SignalNotification(event.signal, event.result))
    return ""  # a late signal is no error: who sends it cannot know


_ABOUT_ONE: Final[dict[type[Event], Callable[[Draft, InvocationEntity, Any], str]]] = {
    Cancel: _cancel,
    Kill: _kill,
    Pause: _pause,
    Resume: _resume,
    Purge: _purge,
    PurgeJournal: _purge_journal,
    SendSignal: _signal,
}


def _about_one(draft: Draft, event: Any) -> None:
    draft.urgent = True
    entity = present(draft, event.target)
    if entity is None:
        draft.reply(event.waiter, Refused(404, "there is no such invocation, or it is not remembered any more"))
        return
    refusal = _ABOUT_ONE[event.__class__](draft, entity, event)
    if refusal:
        draft.reply(event.waiter, Refused(409, refusal, id=entity.id))
    else:
        draft.reply(event.waiter, Done(entity.id))


# --- events about services -----------------------------------------------------------------------------------------


def _edit_state(draft: Draft, event: EditState) -> None:
    draft.urgent = True
    service = draft.view.service(event.service)
    if service is None:
        draft.reply(event.waiter, Refused(404, f"there is no service {event.service!r}: no deployment offers it"))
    elif service.kind is Kind.SERVICE or not event.key:
        draft.reply(event.waiter, Refused(400, "only objects and workflows have state, each under a key"))
    else:
        edit_state(draft, event.service, event.key, event.edit, exclusive=service.kind is Kind.EXCLUSIVE)
        draft.reply(event.waiter, Done())


def _register(draft: Draft, event: RegisterDeployment) -> None:
    draft.urgent = True
    row = event.deployment
    number = row.deployment or draft.view.counters.deployment + 1
    draft.rows.append(
        PutDeployment(
            deployment=number,
            id=row.id,
            uri=row.uri,
            min_protocol=row.min_protocol,
            max_protocol=row.max_protocol,
            manifest=row.manifest,
            created_at=row.created_at,
            bidirectional=row.bidirectional,
            services=tuple(offered.name for offered in event.services),
            headers=row.headers,
        )
    )
    for offered in event.services:
        draft.rows.append(_revised(draft, offered, number))
    draft.reply(event.waiter, Done())


def _revised(draft: Draft, offered: Offered, deployment: int) -> PutService:
    before = draft.view.service(offered.name)
    revision = 1 if before is None else before.revision + (before.deployment != deployment)
    return PutService(
        service=offered.name,
        revision=revision,
        deployment=deployment,
        kind=offered.kind,
        handlers=offered.handlers,
    )


OPERATIONS: Final[dict[type[Event], Callable[[Draft, Any], None]]] = {
    **dict.fromkeys(_ABOUT_ONE, _about_one),
    EditState: _edit_state,
    RegisterDeployment: _register,
}
"""What is done about each event of this kind."""
