"""How invocations come into being: asked for from outside, called or sent by a handler, or copied from an old one.

What has a name of its own (a workflow's key, an idempotency key) is inserted or found in one decision. The answer
"there was one before" leaves with the batch of the first, like any answer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from perdure.engine.draft import Draft
from perdure.engine.endings import forget, present
from perdure.engine.entities import InvocationEntity, ServiceEntity
from perdure.engine.events import Attach, Forgotten, GetOutput, Mode, RestartAsNew, Submit, Target
from perdure.engine.keys import place
from perdure.engine.naming import idempotent_id, request_id, workflow_id
from perdure.engine.notes import SetLive
from perdure.engine.outputs import Accepted, ArmTimer, NotReady, Outcome, Refused
from perdure.engine.rows import (
    START,
    AppendEntry,
    HandlerOptions,
    Kind,
    PutInvocation,
    PutTimer,
    Status,
)
from perdure.engine.starting import live_of, want_attempt
from perdure.wire.ids import InvalidIdError, parse_invocation_id
from perdure.wire.messages import (
    Header,
    IdempotentRequestTarget,
    InputCommand,
    InvocationId,
    Value,
)

__all__ = [
    "ALREADY_RUN",
    "Request",
    "Unroutable",
    "attach",
    "create",
    "find_target",
    "forgotten",
    "get_output",
    "named_id",
    "restart_as_new",
    "route",
    "submit",
]

ALREADY_RUN: Final = "the workflow method was already invoked"
"""What a second caller of a workflow's main handler is told, with 409."""

_NOT_FOUND: Final = Refused(404, "there is no such invocation, or it is not remembered any more")


class Unroutable(Exception):  # noqa: N818 - an answer on its way up, not an error of anybody
    """A request that can go nowhere.

    Args:
        code: an HTTP status.
        message: what is wrong with it.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code: int = code
        self.message: str = message


class Request(NamedTuple):
    """An invocation to be made.

    Attributes:
        id: 24 bytes.
        start_at: when it starts, in milliseconds since the epoch.
        parent: the number of the caller, 0 for none.
        restarted: the number of the invocation it is a copy of, 0 for none.
    """

    id: bytes
    service: str
    handler: str
    key: str
    input: InputCommand
    idempotency_key: str | None = None
    start_at: int = 0
    parent: int = 0
    restarted: int = 0


def route(draft: Draft, service: str, handler: str, key: str) -> tuple[ServiceEntity, HandlerOptions]:
    """Where a request goes.

    Raises:
        Unroutable: nobody offers the handler, or the key does not fit.
    """
    found = draft.view.service(service)
    if found is None:
        raise Unroutable(404, f"there is no service {service!r}: no deployment offers it")
    options = found.handlers.get(handler)
    if options is None:
        raise Unroutable(404, f"service {service!r} has no handler {handler!r}")
    if key and found.kind is Kind.SERVICE:
        raise Unroutable(400, f"service {service!r} has no keys, and the request has key {key!r}")
    if not key and found.kind is not Kind.SERVICE:
        raise Unroutable(400, f"service {service!r} needs a key, and the request has none")
    return found, options


def named_id(kind: Kind, service: str, handler: str, key: str, idempotency_key: str | None) -> bytes | None:
    """The id that the name of an invocation gives it; `None` when it has no name of its own.

    Raises:
        Unroutable: it has two.
    """
    if kind is Kind.WORKFLOW:
        if idempotency_key is not None:
            raise Unroutable(400, "a workflow runs once per key: its main handler takes no idempotency key")
        return workflow_id(service, key)
    return None if idempotency_key is None else idempotent_id(service, key, handler, idempotency_key)


def create(draft: Draft, request: Request, options: HandlerOptions) -> int:
    """Make an invocation, let it in, and start it if it may; returns its number.

    An older one of the same id has to be absent, and is forgotten.
    """
    number = draft.view.counters.invocation + 1
    kind = options.kind
    named = kind is Kind.WORKFLOW or request.idempotency_key is not None
    old = draft.view.find(request.id) if named else 0
    expired = draft.view.invocation(old) if old else None
    if expired is not None:
        forget(draft, expired)
    scheduled = request.start_at > draft.now
    if scheduled:
        status, position, row = Status.SCHEDULED, 0, None
    else:
        status, position, row = place(draft, request.service, request.key, kind, number)
    kept = options.workflow_retention if kind is Kind.WORKFLOW else options.idempotency_retention
    draft.rows.append(
        PutInvocation(
            number=number,
            id=request.id,
            service=request.service,
            handler=request.handler,
            key=request.key,
            kind=kind,
            status=status,
            created_at=draft.now,
            modified_at=draft.now,
            start_at=request.start_at if scheduled else 0,
            idempotency_key=request.idempotency_key,
            parent=request.parent,
            restarted=request.restarted,
            completion_retention=kept if named else None,
            journal_retention=options.journal_retention,
            position=position,
        )
    )
    draft.rows.append(AppendEntry(number, 0, request.input))
    if row is not None:
        draft.rows.append(row)
    if scheduled:
        draft.rows.append(PutTimer(request.start_at, number, START))
        draft.outputs.append(ArmTimer(request.start_at))
    elif status is Status.INVOKED:
        want_attempt(draft, number, entries=(request.input,))
    return number


# --- from outside --------------------------------------------------------------------------------------------------


def submit(draft: Draft, event: Submit) -> None:
    """Insert an invocation, or find the one of the same name."""
    draft.urgent = True
    try:
        options, name = _checked(draft, event)
    except Unroutable as refusal:
        draft.reply(event.waiter, Refused(refusal.code, refusal.message))
        return
    entity = present(draft, name) if name is not None else None
    if entity is not None:
        _found(draft, event, entity)
        return
    id = name if name is not None else request_id(event.service, event.key, event.unique)
    request = Request(
        id,
        event.service,
        event.handler,
        event.key,
        _input(event.headers, event.body),
        event.idempotency_key,
        event.start_at,
    )
    number = create(draft, request, options)
    if event.mode is Mode.SEND:
        draft.reply(event.waiter, Accepted(id, start_at=event.start_at if event.start_at > draft.now else 0))
    elif event.waiter:
        _wait(draft, number, event.waiter)


def _checked(draft: Draft, event: Submit) -> tuple[HandlerOptions, bytes | None]:
    """The options of the handler, and the id that the name of the request gives it."""
    _, options = route(draft, event.service, event.handler, event.key)
    if options.private and event.public:
        raise Unroutable(400, f"{event.service}/{event.handler} is private: only handlers may call it")
    if event.start_at and event.mode is Mode.CALL:
        raise Unroutable(400, "a call cannot be delayed; send it")
    return options, named_id(options.kind, event.service, event.handler, event.key, event.idempotency_key)


def _input(headers: tuple[Header, ...], body: bytes) -> InputCommand:
    return InputCommand(headers, Value(body))


def _found(draft: Draft, event: Submit, entity: InvocationEntity) -> None:
    if event.mode is Mode.SEND:
        draft.reply(event.waiter, Accepted(entity.id, previously=True, start_at=entity.start_at))
    elif entity.kind is Kind.WORKFLOW:
        draft.reply(event.waiter, Refused(409, ALREADY_RUN, invocation=True, id=entity.id))
    else:
        _result_or_wait(draft, entity, event.waiter)


def _wait(draft: Draft, number: int, waiter: int) -> None:
    live = live_of(draft, number)
    draft.notes.append(SetLive(replace(live, waiters=(*live.waiters, waiter))))


def _result_or_wait(draft: Draft, entity: InvocationEntity, waiter: int) -> None:
    if not waiter:
        return
    if entity.result is not None:
        draft.reply(waiter, Outcome(entity.id, entity.result, entity.expires_at))
    else:
        _wait(draft, entity.number, waiter)


def target_id(target: Target) -> bytes | None:
    """The id that a target names; `None` when it is none."""
    if isinstance(target, InvocationId):
        try:
            return parse_invocation_id(target.id)
        except InvalidIdError:
            return None
    if isinstance(target, IdempotentRequestTarget):
        return idempotent_id(target.service_name, target.service_key or "", target.handler_name, target.idempotency_key)
    return workflow_id(target.workflow_name, target.workflow_key)


def find_target(draft: Draft, target: Target) -> InvocationEntity | None:
    """The invocation that a target names, if it exists and its retention is not over."""
    id = target_id(target)
    return None if id is None else present(draft, id)


def attach(draft: Draft, event: Attach) -> None:
    """Wait for the result of an invocation that exists."""
    draft.urgent = True
    entity = find_target(draft, event.target)
    if entity is None:
        draft.reply(event.waiter, _NOT_FOUND)
    else:
        _result_or_wait(draft, entity, event.waiter)


def get_output(draft: Draft, event: GetOutput) -> None:
    """Look at the result of an invocation."""
    draft.urgent = True
    entity = find_target(draft, event.target)
    if entity is None:
        draft.reply(event.waiter, _NOT_FOUND)
    elif entity.result is None:
        draft.reply(event.waiter, NotReady(entity.id))
    else:
        draft.reply(event.waiter, Outcome(entity.id, entity.result, entity.expires_at))


def forgotten(draft: Draft, event: Forgotten) -> None:
    """Drop a waiter that is gone."""
    number = draft.view.find(event.target)
    live = draft.view.live(number) if number else None
    if live is not None and event.waiter in live.waiters:
        waiters = tuple(waiter for waiter in live.waiters if waiter != event.waiter)
        draft.notes.append(SetLive(replace(live, waiters=waiters)))


def restart_as_new(draft: Draft, event: RestartAsNew) -> None:
    """Submit the input of a completed invocation once more."""
    draft.urgent = True
    entity = present(draft, event.target)
    if entity is None:
        draft.reply(event.waiter, _NOT_FOUND)
        return
    refusal = ""
    entries = draft.view.entries(entity.number, 0, 1)
    first = entries[0] if entries else None
    if entity.status is not Status.COMPLETED:
        refusal = "it has not completed"
    elif entity.kind is Kind.WORKFLOW:
        refusal = "a workflow runs once per key; purge it, then run it again"
    elif not isinstance(first, InputCommand):
        refusal = "its journal, with its input, is not kept any more"
    if refusal or not isinstance(first, InputCommand):
        draft.reply(event.waiter, Refused(409, f"it cannot be restarted: {refusal}", id=entity.id))
        return
    try:
        _, options = route(draft, entity.service, entity.handler, entity.key)
    except Unroutable as unroutable:
        draft.reply(event.waiter, Refused(unroutable.code, unroutable.message, id=entity.id))
        return
    id = request_id(entity.service, entity.key, event.unique)
    request = Request(id, entity.service, entity.handler, entity.key, first, restarted=entity.number)
    create(draft, request, options)
    draft.reply(event.waiter, Accepted(id))
