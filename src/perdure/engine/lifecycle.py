"""`decide`: what follows from one event.

It reads a view of everything decided so far and answers with rows, notes and outputs. It changes nothing, waits for
nothing, and knows no clock: `now` is an argument, and the same view, event and time give the same answer. Whoever calls
it applies the answer (`Residents.apply`), puts the rows into the open batch, and releases the outputs, in the order
decided, when that batch is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from perdure.engine import admission, events
from perdure.engine.commands import on_command, on_proposal
from perdure.engine.draft import NOTHING, Draft
from perdure.engine.endings import end
from perdure.engine.entities import InvocationEntity, LiveEntity, Phase
from perdure.engine.notes import SetLive
from perdure.engine.notifications import moment
from perdure.engine.operations import OPERATIONS
from perdure.engine.outputs import MoreWork
from perdure.engine.poison import recover
from perdure.engine.retries import fail, violation
from perdure.engine.rows import Awaited, PutWork, SetStatus, Status
from perdure.engine.starting import joined, leave, live_of, want_attempt
from perdure.engine.suspension import fault, point_of, satisfied
from perdure.engine.timers import fire
from perdure.engine.view import Decision, View
from perdure.engine.work import do_page
from perdure.exceptions import INTERNAL
from perdure.wire import messages as m

__all__ = ["decide"]

_NO_LAST_WORD: Final = m.ErrorMessage(INTERNAL, "the attempt ended without saying how")


def decide(view: View, event: events.Event, now: int) -> Decision:
    """Return what follows from an event.

    Args:
        view: everything decided so far.
        event: what happened.
        now: engine time, in milliseconds since the epoch.

    Raises:
        RuntimeError: the view contradicts itself; nothing was decided.
    """
    if event.__class__ is events.FromAttempt:
        assert isinstance(event, events.FromAttempt)
        live = view.live(event.number)
        if live is None or live.attempt != event.attempt or live.phase is not Phase.RUNNING:
            return NOTHING  # the fence: it comes from an attempt that is over
        entity = view.invocation(event.number)
        if entity is None or entity.status is not Status.INVOKED:
            return NOTHING
        draft = Draft(view, now)
        message = event.message
        if message.__class__ is m.ProposeRunCompletionMessage:
            assert isinstance(message, m.ProposeRunCompletionMessage)
            on_proposal(draft, entity, live, message)
        elif isinstance(message, m.Command):
            on_command(draft, entity, live, message, event.command)
        else:
            _on_control(draft, entity, live, event)
    else:
        draft = Draft(view, now)
        _EVENTS[event.__class__](draft, event)
    if len(draft.rows) > 1 and any(row.__class__ is PutWork for row in draft.rows):
        draft.outputs.append(MoreWork())
    return draft.decision()


# --- the last word of an attempt -----------------------------------------------------------------------------------


def _on_control(draft: Draft, entity: InvocationEntity, live: LiveEntity, event: events.FromAttempt) -> None:
    message = event.message
    match message:
        case m.AwaitingOnMessage():
            pass  # a hint: what it says is said again, bindingly, by a suspension
        case m.EndMessage() if entity.output is not None:
            end(draft, entity, entity.output)
        case m.EndMessage():
            violation(draft, entity.number, "it ended without an output")
        case m.SuspensionMessage():
            _suspend(draft, entity, live, message, event.seen)
        case m.ErrorMessage():
            fail(draft, entity.number, message)
        case _:
            violation(draft, entity.number, f"it sent {type(message).__name__}, which only the runtime may send")


def _suspend(draft: Draft, entity: InvocationEntity, live: LiveEntity, message: m.SuspensionMessage, seen: int) -> None:
    point = point_of(message)
    wrong = fault(entity, point)
    if wrong:
        violation(draft, entity.number, f"it suspended, but {wrong}")
        return
    awaited = Awaited(point, max(seen, 0))
    left = leave(draft, live)
    if satisfied(entity, awaited):
        # What it waits for was committed while its message was under way: it goes on at once.
        draft.notes.append(SetLive(left))
        want_attempt(draft, entity.number, afresh=True)
        return
    draft.rows.append(
        SetStatus(entity.number, Status.SUSPENDED, moment(draft, entity), awaited=awaited, summary=entity.summary())
    )
    draft.urgent = True


def _attempt_over(draft: Draft, event: events.AttemptOver) -> None:
    live = draft.view.live(event.number)
    if live is None:
        return
    if live.running and live.attempt == event.attempt:
        if event.how is events.How.SHUT_DOWN:
            leave(draft, live)
        else:
            error = event.error if event.error is not None else _NO_LAST_WORD
            fail(draft, event.number, error, infrastructure=event.infrastructure)
    joined(draft, event.number, event.attempt)


def _retry_due(draft: Draft, event: events.RetryDue) -> None:
    live = live_of(draft, event.number)
    if live.phase is Phase.BACKING_OFF and live.attempt == event.attempt:
        want_attempt(draft, event.number)


_EVENTS: Final[dict[type[events.Event], Callable[[Draft, Any], None]]] = {
    **OPERATIONS,
    events.Submit: admission.submit,
    events.Attach: admission.attach,
    events.GetOutput: admission.get_output,
    events.Forgotten: admission.forgotten,
    events.RestartAsNew: admission.restart_as_new,
    events.AttemptOver: _attempt_over,
    events.RetryDue: _retry_due,
    events.TimersDue: lambda draft, _: fire(draft),
    events.WorkDue: lambda draft, _: do_page(draft),
    events.Opened: lambda draft, event: recover(draft, 0, unclean=event.unclean),
    events.Recover: lambda draft, event: recover(draft, event.after, unclean=event.unclean),
}
