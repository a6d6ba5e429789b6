"""What an attempt does: each command of the wire becomes an entry of its journal and whatever follows from it.

A command, its consequences in other invocations and the answer to it are one decision, hence one transaction. Commands
that nobody waits for are not urgent: they ride with the next rows that are.

The first command, or the first result of a step, pins the invocation to the deployment its attempt went to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from perdure.engine.admission import ALREADY_RUN, Request, Unroutable, create, find_target, named_id, route
from perdure.engine.draft import Draft
from perdure.engine.endings import PAGE, present, put_work
from perdure.engine.entities import InvocationEntity, LiveEntity, PromiseEntity
from perdure.engine.naming import child_id
from perdure.engine.notifications import complete, notify
from perdure.engine.operations import cancel
from perdure.engine.outputs import ArmTimer, Deliver
from perdure.engine.retries import fail, violation
from perdure.engine.rows import (
    AppendEntry,
    ClearState,
    DeletePromiseWaiter,
    DeleteState,
    Kind,
    Pin,
    PutPromise,
    PutPromiseWaiter,
    PutSink,
    PutState,
    PutTimer,
    PutWork,
    WorkKind,
)
from perdure.engine.starting import live_of, passed_trial
from perdure.exceptions import CONFLICT
from perdure.wire import messages as m
from perdure.wire.ids import (
    AwakeableKind,
    InvalidIdError,
    format_invocation_id,
    parse_awakeable_id,
    parse_invocation_id,
)

__all__ = ["COMMANDS", "on_command", "on_proposal"]

_VOID: Final = m.Void()
_NOT_FOUND: Final = m.Failure(404, "there is no such invocation, or it is not remembered any more")
_COMPLETED_BEFORE: Final = m.Failure(CONFLICT, "the promise was completed before")


class _Violation(Exception):  # noqa: N818 - an answer on its way up, not an error of ours
    """What an endpoint must not do; the message says what."""


class _Unroutable(Exception):  # noqa: N818 - an answer on its way up, not an error of anybody
    """A call of what nobody offers: the attempt fails, and may go on once somebody does."""


def on_command(draft: Draft, entity: InvocationEntity, live: LiveEntity, command: m.Command, index: int) -> None:
    """Take a command of the current attempt.

    Args:
        draft: the decision in the making.
        entity: the invocation.
        live: what is known of its attempt.
        command: the command.
        index: its index among the commands, as the session counts them; -1 if it does not.
    """
    rows, notes, outputs = len(draft.rows), len(draft.notes), len(draft.outputs)
    try:
        _check(entity, command, index)
        _pinned(draft, entity, live)
        draft.rows.append(AppendEntry(entity.number, entity.length, command))
        COMMANDS[command.__class__](draft, entity, command)
    except (_Violation, _Unroutable) as refusal:
        # What was noted so far is about the attempt that is left now: nothing of this command counts.
        draft.take_back(rows, notes, outputs)
        if isinstance(refusal, _Violation):
            violation(draft, entity.number, str(refusal))
        else:
            fail(draft, entity.number, m.ErrorMessage(404, str(refusal)))
        return
    if live.trial:
        passed_trial(draft, live_of(draft, entity.number))


def _check(entity: InvocationEntity, command: m.Command, index: int) -> None:
    """Commands come in order, with completion ids that rise, and none after the output."""
    if command.__class__ not in COMMANDS:
        raise _Violation(f"it sent {type(command).__name__}, which only the runtime may send")
    if index >= 0 and index != entity.commands:
        raise _Violation(f"it sent command {index}, and the journal holds {entity.commands}")
    if entity.output is not None:
        raise _Violation(f"it sent {type(command).__name__} after its output")
    last = entity.last_completion
    for field in ("invocation_id_notification_idx", "result_completion_id"):
        id = getattr(command, field, None)
        if id is None:
            continue
        if id <= last:
            raise _Violation(f"it asked for completion {id} after completion {last}; each is asked for once, in order")
        last = id


def _pinned(draft: Draft, entity: InvocationEntity, live: LiveEntity) -> None:
    if not entity.deployment:
        draft.rows.append(Pin(entity.number, live.deployment, live.protocol))


def on_proposal(
    draft: Draft, entity: InvocationEntity, live: LiveEntity, message: m.ProposeRunCompletionMessage
) -> None:
    """Store the result of a step."""
    id = message.result_completion_id
    if entity.open.get(id) != m.RunCompletion.type_code or message.result is None:
        what = "without a value" if message.result is None else "which no step waits for"
        violation(draft, entity.number, f"it proposed a result for completion {id}, {what}")
        return
    if not entity.deployment:
        _pinned(draft, entity, live)
    completion = m.RunCompletion(id, message.result)
    index = entity.length
    draft.rows.append(AppendEntry(entity.number, index, completion))
    draft.outputs.append(Deliver(entity.number, live.attempt, index, completion))
    draft.urgent = True
    if live.trial:
        passed_trial(draft, live)


# --- state ---------------------------------------------------------------------------------------------------------


def _writes(entity: InvocationEntity) -> None:
    if entity.kind not in {Kind.EXCLUSIVE, Kind.WORKFLOW}:
        raise _Violation("it changed state in a handler that may only read it")


def _reads(entity: InvocationEntity) -> None:
    if entity.kind is Kind.SERVICE:
        raise _Violation("it asked for state, and a plain service has none")


def _set_state(draft: Draft, entity: InvocationEntity, command: m.SetStateCommand) -> None:
    _writes(entity)
    value = b"" if command.value is None else command.value.content
    draft.rows.append(PutState(entity.service, entity.key, command.key, value))


def _clear_state(draft: Draft, entity: InvocationEntity, command: m.ClearStateCommand) -> None:
    _writes(entity)
    draft.rows.append(DeleteState(entity.service, entity.key, command.key))


def _clear_all_state(draft: Draft, entity: InvocationEntity, _: m.ClearAllStateCommand) -> None:
    _writes(entity)
    draft.rows.append(ClearState(entity.service, entity.key))


def _get_state(draft: Draft, entity: InvocationEntity, command: m.GetLazyStateCommand) -> None:
    _reads(entity)
    value = draft.view.state(entity.service, entity.key, command.key)
    result = _VOID if value is None else m.Value(value)
    notify(draft, entity.number, m.GetLazyStateCompletion(command.result_completion_id, result))


def _get_state_keys(draft: Draft, entity: InvocationEntity, command: m.GetLazyStateKeysCommand) -> None:
    _reads(entity)
    names = draft.view.state_names(entity.service, entity.key)
    notify(draft, entity.number, m.GetLazyStateKeysCompletion(command.result_completion_id, m.StateKeys(names)))


def _eager(draft: Draft, entity: InvocationEntity, _: m.Command) -> None:
    # A shared handler would be sent another state when it is replayed: what it has seen is stored before it goes on.
    draft.urgent = entity.kind is Kind.SHARED


# --- promises ------------------------------------------------------------------------------------------------------


def _promises(draft: Draft, entity: InvocationEntity) -> None:
    service = draft.view.service(entity.service)
    if entity.kind is not Kind.WORKFLOW and (service is None or service.kind is not Kind.WORKFLOW):
        raise _Violation("it used a promise, and only workflows have promises")


def _get_promise(draft: Draft, entity: InvocationEntity, command: m.GetPromiseCommand) -> None:
    _promises(draft, entity)
    promise = draft.view.promise(entity.service, entity.key, command.key)
    id = command.result_completion_id
    if promise is not None and promise.result is not None:
        notify(draft, entity.number, m.GetPromiseCompletion(id, promise.result))
    else:
        draft.rows.append(PutPromiseWaiter(entity.service, entity.key, command.key, entity.number, id))


def _peek_promise(draft: Draft, entity: InvocationEntity, command: m.PeekPromiseCommand) -> None:
    _promises(draft, entity)
    promise = draft.view.promise(entity.service, entity.key, command.key)
    result = _VOID if promise is None or promise.result is None else promise.result
    notify(draft, entity.number, m.PeekPromiseCompletion(command.result_completion_id, result))


def _complete_promise(draft: Draft, entity: InvocationEntity, command: m.CompletePromiseCommand) -> None:
    _promises(draft, entity)
    if command.completion is None:
        raise _Violation(f"it completed promise {command.key!r} with nothing")
    service, key, name = entity.service, entity.key, command.key
    promise = draft.view.promise(service, key, name)
    answer: m.VoidOrFailure = _VOID
    if promise is not None and promise.result is not None:
        answer = _COMPLETED_BEFORE
    else:
        draft.rows.append(PutPromise(service, key, name, command.completion))
    notify(draft, entity.number, m.CompletePromiseCompletion(command.result_completion_id, answer))
    if answer is _VOID and promise is not None:
        done = answer_promise(draft, promise, command.completion)
        if not done:
            put_work(draft, PutWork(0, WorkKind.ANSWER_PROMISE, service=service, key=key, name=name))


def answer_promise(draft: Draft, promise: PromiseEntity, result: m.Value | m.Failure) -> bool:
    """Complete a page of the waits for a promise; tell whether that was all."""
    service, key, name = promise.service, promise.key, promise.name
    page = sorted(promise.waiters)
    for waiter in page[:PAGE]:
        draft.rows.append(DeletePromiseWaiter(service, key, name, waiter.caller, waiter.completion))
        complete(draft, waiter.caller, waiter.completion, result)
    return len(page) <= PAGE


# --- timers and steps ----------------------------------------------------------------------------------------------


def _sleep(draft: Draft, entity: InvocationEntity, command: m.SleepCommand) -> None:
    draft.rows.append(PutTimer(command.wake_up_time, entity.number, command.result_completion_id))
    draft.outputs.append(ArmTimer(command.wake_up_time))


def _nothing(_draft: Draft, _entity: InvocationEntity, _: m.Command) -> None:
    """The entry is all there is to it."""


def _output(_draft: Draft, _entity: InvocationEntity, command: m.OutputCommand) -> None:
    if command.result is None:
        raise _Violation("its output is neither a value nor a failure")


# --- other invocations ---------------------------------------------------------------------------------------------


def _child(
    draft: Draft, entity: InvocationEntity, command: m.CallCommand | m.OneWayCallCommand, start_at: int
) -> tuple[InvocationEntity, bool]:
    """The invocation that a call or send is about, made now or made before; and whether it is new."""
    service, handler, key = command.service_name, command.handler_name, command.key
    try:
        _, options = route(draft, service, handler, key)
        id = named_id(options.kind, service, handler, key, command.idempotency_key)
    except Unroutable as refusal:
        raise _Unroutable(f"{entity.service}/{entity.handler} calls {service}/{handler}: {refusal}") from refusal
    found = present(draft, id) if id is not None else None
    if found is not None:
        return found, False
    if id is None:
        id = child_id(service, key, entity.id, entity.commands, draft.now)
    headers, body = command.headers, m.Value(command.parameter)
    request = Request(
        id,
        service,
        handler,
        key,
        m.InputCommand(headers, body),
        command.idempotency_key,
        start_at,
        entity.number,
    )
    number = create(draft, request, options)
    child = draft.view.invocation(number)
    assert child is not None, "it was made just now"
    return child, True


def _call(draft: Draft, entity: InvocationEntity, command: m.CallCommand) -> None:
    child, new = _child(draft, entity, command, 0)
    callee = m.InvocationId(format_invocation_id(child.id))
    number, id = entity.number, command.result_completion_id
    notify(draft, number, m.CallInvocationIdCompletion(command.invocation_id_notification_idx, callee))
    if not new and child.kind is Kind.WORKFLOW:
        notify(draft, number, m.CallCompletion(id, m.Failure(CONFLICT, ALREADY_RUN)))
    elif child.result is not None:
        notify(draft, number, m.CallCompletion(id, child.result))
    else:
        draft.rows.append(PutSink(child.number, number, id))


def _one_way_call(draft: Draft, entity: InvocationEntity, command: m.OneWayCallCommand) -> None:
    urgent = draft.urgent
    child, _ = _child(draft, entity, command, command.invoke_time)
    callee = m.InvocationId(format_invocation_id(child.id))
    notify(draft, entity.number, m.CallInvocationIdCompletion(command.invocation_id_notification_idx, callee))
    draft.urgent = urgent  # it rides with what follows, or is written when the handler waits


def _send_signal(draft: Draft, _entity: InvocationEntity, command: m.SendSignalCommand) -> None:
    if command.signal is None:
        raise _Violation("it sent a signal without index and name")
    try:
        id = parse_invocation_id(command.target_invocation_id)
    except InvalidIdError as error:
        raise _Violation(f"it sent a signal to no invocation: {error}") from error
    draft.urgent = True
    target = present(draft, id)
    if target is None:
        return  # it ended long ago, or never was: who sends a signal cannot know
    if command.signal == m.CANCEL_SIGNAL:
        cancel(draft, target)
    else:
        result = _VOID if command.result is None else command.result
        notify(draft, target.number, m.SignalNotification(command.signal, result))


def _complete_awakeable(draft: Draft, _entity: InvocationEntity, command: m.CompleteAwakeableCommand) -> None:
    try:
        awakeable = parse_awakeable_id(command.awakeable_id)
    except InvalidIdError as error:
        raise _Violation(f"it completed no awakeable: {error}") from error
    if awakeable.kind is not AwakeableKind.SIGNAL or awakeable.index < m.FIRST_AWAKEABLE_SIGNAL:
        raise _Violation(f"it completed {command.awakeable_id!r}, which is not an awakeable of this engine")
    draft.urgent = True
    target = present(draft, awakeable.invocation_id)
    if target is not None:
        result = _VOID if command.result is None else command.result
        notify(draft, target.number, m.SignalNotification(awakeable.index, result))


def _attach(draft: Draft, entity: InvocationEntity, command: m.AttachInvocationCommand) -> None:
    target = None if command.target is None else find_target(draft, command.target)
    id = command.result_completion_id
    if target is None:
        notify(draft, entity.number, m.AttachInvocationCompletion(id, _NOT_FOUND))
    elif target.result is not None:
        notify(draft, entity.number, m.AttachInvocationCompletion(id, target.result))
    else:
        draft.rows.append(PutSink(target.number, entity.number, id))


def _get_output(draft: Draft, entity: InvocationEntity, command: m.GetInvocationOutputCommand) -> None:
    target = None if command.target is None else find_target(draft, command.target)
    result: m.AnyOutcome = _VOID
    if target is None:
        result = _NOT_FOUND
    elif target.result is not None:
        result = target.result
    notify(draft, entity.number, m.GetInvocationOutputCompletion(command.result_completion_id, result))


COMMANDS: Final[dict[type[m.Message], Callable[[Draft, InvocationEntity, Any], None]]] = {
    m.OutputCommand: _output,
    m.GetLazyStateCommand: _get_state,
    m.GetLazyStateKeysCommand: _get_state_keys,
    m.GetEagerStateCommand: _eager,
    m.GetEagerStateKeysCommand: _eager,
    m.SetStateCommand: _set_state,
    m.ClearStateCommand: _clear_state,
    m.ClearAllStateCommand: _clear_all_state,
    m.GetPromiseCommand: _get_promise,
    m.PeekPromiseCommand: _peek_promise,
    m.CompletePromiseCommand: _complete_promise,
    m.SleepCommand: _sleep,
    m.CallCommand: _call,
    m.OneWayCallCommand: _one_way_call,
    m.SendSignalCommand: _send_signal,
    m.RunCommand: _nothing,
    m.AttachInvocationCommand: _attach,
    m.GetInvocationOutputCommand: _get_output,
    m.CompleteAwakeableCommand: _complete_awakeable,
}
"""What follows from each command besides its entry. The input is not among them: the runtime writes it."""
