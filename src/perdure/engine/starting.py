"""Attempts: when one starts, and how one is left.

An attempt starts when its invocation wants one and nothing stands in the way: code of its own earlier attempt, or of a
former holder of its key, that has not stopped yet; or, for one that is suspected of ending the process, another suspect
on trial.

An attempt is left by taking its number away, before anything else: whatever it says from then on is dropped.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from perdure.engine.draft import Draft
from perdure.engine.entities import InvocationEntity, LiveEntity, Phase
from perdure.engine.notes import LetKeyGo, SetLive, SetSuspects
from perdure.engine.outputs import StartAttempt, StopAttempt, Why
from perdure.engine.rows import Kind, SetCrashes, Status
from perdure.wire.messages import Command, ErrorMessage, Notification
from perdure.wire.versions import MAX_VERSION

__all__ = ["SUSPICIOUS", "invocation_of", "is_suspect", "joined", "leave", "live_of", "passed_trial", "want_attempt"]

SUSPICIOUS: Final = 2
"""After so many ends of the process during attempts that stored nothing, an invocation is started alone."""

_NEWEST: Final = MAX_VERSION.value


def invocation_of(draft: Draft, number: int) -> InvocationEntity:
    """An invocation that is known to exist."""
    entity = draft.view.invocation(number)
    if entity is None:
        raise RuntimeError(f"invocation {number} does not exist any more: please report this")
    return entity


def live_of(draft: Draft, number: int) -> LiveEntity:
    """What this process knows of an invocation, be it nothing."""
    return draft.view.live(number) or LiveEntity(number)


def is_suspect(entity: InvocationEntity) -> bool:
    """Whether the process ended again and again during attempts of it, and it has stored nothing since."""
    return entity.crashes >= SUSPICIOUS and entity.crash_length == entity.length


def want_attempt(
    draft: Draft, number: int, *, afresh: bool = False, entries: tuple[Command | Notification, ...] | None = None
) -> None:
    """An invocation that is `INVOKED` is to have an attempt, now or as soon as nothing stands in the way.

    Args:
        draft: the decision in the making.
        number: the invocation.
        afresh: whether the retry policy starts from the beginning.
        entries: the whole journal, if it is at hand.
    """
    view = draft.view
    entity = invocation_of(draft, number)
    live = live_of(draft, number)
    tries = 0 if afresh else live.tries
    trial = is_suspect(entity)
    if (
        live.unjoined
        or (entity.kind is Kind.EXCLUSIVE and view.unwinding(entity.service, entity.key))
        or (trial and not _first_in_line(draft, number))
    ):
        draft.notes.append(SetLive(replace(live, phase=Phase.READY, attempt=0, tries=tries, trial=False)))
        return
    if trial and not entity.crash_marked:
        draft.rows.append(SetCrashes(number, entity.crashes, entity.length, marked=True))
    deployment, protocol = _destination(draft, entity)
    attempt = view.counters.attempt + 1
    retries = live.stalled if live.stalled_commands == entity.commands else 0
    draft.notes.append(
        SetLive(
            replace(
                live,
                phase=Phase.RUNNING,
                attempt=attempt,
                deployment=deployment,
                protocol=protocol,
                trial=trial,
                tries=tries + 1,
            )
        )
    )
    draft.outputs.append(
        StartAttempt(
            number,
            attempt,
            deployment,
            protocol,
            entity.length,
            entries,
            retries,
            max(draft.now - entity.entered_at, 0) if retries else 0,
        )
    )
    draft.urgent = True


def _destination(draft: Draft, entity: InvocationEntity) -> tuple[int, int]:
    """Deployment and protocol of the next attempt; zeros when nobody offers the service any more."""
    if entity.deployment:
        return entity.deployment, entity.protocol
    service = draft.view.service(entity.service)
    deployment = draft.view.deployment(service.deployment) if service is not None else None
    if deployment is None:
        return 0, 0
    return deployment.deployment, min(deployment.max_protocol, _NEWEST)


def leave(draft: Draft, live: LiveEntity, why: Why | None = None, error: ErrorMessage | None = None) -> LiveEntity:
    """Leave the current attempt, if there is one, or the wait for the next.

    Args:
        draft: the decision in the making.
        live: what is known of the invocation.
        why: why it is told to stop; `None` when it has said its last word.
        error: what it is told.

    Returns:
        What is known of the invocation now; already noted.
    """
    unjoined = live.unjoined
    if live.running:
        unjoined = live.attempt
        if why is not None:
            draft.outputs.append(StopAttempt(live.number, live.attempt, why, error))
    left = replace(live, phase=Phase.IDLE, attempt=0, unjoined=unjoined, trial=False)
    draft.notes.append(SetLive(left))
    if draft.view.suspects():
        _leave_line(draft, live.number)
    return left


def joined(draft: Draft, number: int, attempt: int) -> None:
    """The code of an attempt that was left has stopped: what waited for that may start."""
    live = live_of(draft, number)
    if live.unjoined != attempt:
        return
    draft.notes.append(SetLive(replace(live, unjoined=0, lets_go=None)))
    if live.lets_go is not None:
        service, key = live.lets_go
        draft.notes.append(LetKeyGo(service, key))
        entity = draft.view.key(service, key)
        if entity is not None and entity.holder and live_of(draft, entity.holder).phase is Phase.READY:
            want_attempt(draft, entity.holder)
    if live.phase is Phase.READY:
        want_attempt(draft, number)


# --- suspects ------------------------------------------------------------------------------------------------------


def _first_in_line(draft: Draft, number: int) -> bool:
    line = draft.view.suspects()
    if number not in line:
        line = (*line, number)
        draft.notes.append(SetSuspects(line))
    return line[0] == number


def _leave_line(draft: Draft, number: int) -> None:
    """One who was on trial, or waited for it, does so no longer; the next one may start."""
    line = draft.view.suspects()
    if number not in line:
        return
    rest = tuple(other for other in line if other != number)
    draft.notes.append(SetSuspects(rest))
    if line[0] != number:
        return
    entity = draft.view.invocation(number)
    if entity is not None and entity.status is not Status.COMPLETED and entity.crash_marked:
        draft.rows.append(SetCrashes(number, entity.crashes, entity.crash_length, marked=False))
    if rest:
        want_attempt(draft, rest[0])


def passed_trial(draft: Draft, live: LiveEntity) -> None:
    """An attempt that was started alone has stored something: it is no suspect any more."""
    draft.notes.append(SetLive(replace(live, trial=False)))
    _leave_line(draft, live.number)
