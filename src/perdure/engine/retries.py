"""What becomes of an invocation whose attempt failed: it is tried again, paused, or ended with the last error.

Tries are counted in memory, as one series from the last resume, suspension or start of the process on, whatever is
stored in between. The delay comes from the error, if it names one, otherwise from the policy of the handler.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from perdure.engine.draft import Draft
from perdure.engine.endings import end
from perdure.engine.entities import InvocationEntity, LiveEntity, Phase
from perdure.engine.notes import SetLive
from perdure.engine.notifications import moment
from perdure.engine.outputs import ArmRetry, Report, What, Why
from perdure.engine.rows import HandlerOptions, Kind, Retry, SetStatus, Status
from perdure.engine.starting import invocation_of, leave, live_of
from perdure.exceptions import INTERNAL, PROTOCOL_VIOLATION
from perdure.wire.manifest import OnMaxAttempts
from perdure.wire.messages import ErrorBehavior, ErrorMessage, Failure

__all__ = ["LONGEST_DELAY", "delay_after", "fail", "options_of", "pause", "violation"]

LONGEST_DELAY: Final = 365 * 24 * 3600 * 1000
"""Milliseconds between two attempts, whatever is asked for."""

_UNSAID: Final = HandlerOptions(Kind.SERVICE)


def options_of(draft: Draft, entity: InvocationEntity) -> HandlerOptions:
    """The options of the handler, as it is deployed now; the defaults when it is not deployed any more."""
    service = draft.view.service(entity.service)
    return _UNSAID if service is None else service.handlers.get(entity.handler, _UNSAID)


def delay_after(policy: Retry, tries: int) -> int | None:
    """Milliseconds from the end of try number `tries` to the next; `None` when there is none."""
    if policy.max_attempts is not None and tries >= max(policy.max_attempts, 1):
        return None
    longest = min(policy.max_interval, LONGEST_DELAY)
    try:
        return int(min(policy.initial_interval * policy.factor ** max(tries - 1, 0), longest))
    except OverflowError:
        return longest


def fail(
    draft: Draft,
    number: int,
    error: ErrorMessage,
    *,
    why: Why | None = None,
    infrastructure: bool = False,
) -> None:
    """The current attempt failed.

    Args:
        draft: the decision in the making.
        number: the invocation.
        error: what the attempt said, or what is said of it.
        why: why it is told to stop; `None` when it has stopped, or is about to.
        infrastructure: whether something else than its code failed: then the step it is at did not.
    """
    entity = invocation_of(draft, number)
    before = live_of(draft, number)
    if error.behavior is ErrorBehavior.FAIL:
        end(draft, entity, Failure(error.code or INTERNAL, error.message), why=why)
        return
    delay = error.next_retry_delay
    planned = delay_after(options_of(draft, entity).retry, before.tries)
    if error.behavior is ErrorBehavior.PAUSE:
        planned = None
    elif delay is not None and planned is not None:
        planned = min(delay, LONGEST_DELAY)
    if planned is None:
        _exhausted(draft, entity, error, why)
        return
    left = leave(draft, before, why, error)
    stalled = before.stalled if before.stalled_commands == entity.commands else 0
    due = draft.now + planned
    draft.notes.append(
        SetLive(
            replace(
                left,
                phase=Phase.BACKING_OFF,
                attempt=before.attempt,
                stalled=stalled + (not infrastructure),
                stalled_commands=entity.commands,
                failure=error,
            )
        )
    )
    draft.outputs.append(ArmRetry(number, before.attempt, due))
    draft.outputs.append(Report(number, What.RETRYING, error, due))


def _exhausted(draft: Draft, entity: InvocationEntity, error: ErrorMessage, why: Why | None) -> None:
    policy = options_of(draft, entity).retry
    if error.behavior is not ErrorBehavior.PAUSE and policy.on_max_attempts is OnMaxAttempts.KILL:
        draft.outputs.append(Report(entity.number, What.FAILED, error))
        end(draft, entity, Failure(error.code or INTERNAL, error.message), why=why)
    else:
        pause(draft, entity, error, why)


def pause(draft: Draft, entity: InvocationEntity, reason: ErrorMessage, why: Why | None = None) -> LiveEntity:
    """Stop an invocation where it is, until it is resumed or cancelled."""
    left = leave(draft, live_of(draft, entity.number), why, reason)
    draft.rows.append(
        SetStatus(entity.number, Status.PAUSED, moment(draft, entity), reason=reason, summary=entity.summary())
    )
    draft.outputs.append(Report(entity.number, What.PAUSED, reason))
    draft.urgent = True
    return left


def violation(draft: Draft, number: int, message: str) -> None:
    """The current attempt broke the protocol: it is stopped, and fails."""
    error = ErrorMessage(PROTOCOL_VIOLATION, f"the handler's endpoint broke the protocol: {message}")
    fail(draft, number, error, why=Why.VIOLATION)
