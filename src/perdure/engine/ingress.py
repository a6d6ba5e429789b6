"""The HTTP ingress: the engine as an ASGI application that answers as restate-server's port 8080 does.

::

    async with perdure.open_engine("shop.db", endpoint) as engine:
        await perdure.server.serve(Ingress(engine), port=8080)

A request that is accepted goes on whatever becomes of its caller: who hangs up stops waiting, and nothing else.
Paths: `perdure.engine.ingress_paths`. Errors are JSON with a `source`: `ingress` when it speaks, `invocation` for the
failure of a handler.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import anyio
from msgspec.structs import replace

from perdure.engine import events
from perdure.engine.asgi_exchange import Answer, AsgiRequest, Gone, TooLarge, answer_json, serve_lifespan
from perdure.engine.durations import parse_milliseconds
from perdure.engine.ingress_paths import Awakeable, BadPath, ByBody, Health, Invoke, Parsed, Read, parse_path, target_of
from perdure.engine.naming import idempotent_id, request_id, workflow_id
from perdure.engine.outputs import Accepted, NotReady, Outcome, Refused
from perdure.engine.outputs import Answer as Outcomes
from perdure.engine.rows import HandlerOptions, Kind
from perdure.exceptions import EngineClosed, EngineFailed
from perdure.wire.ids import (
    AwakeableKind,
    InvalidIdError,
    format_invocation_id,
    parse_awakeable_id,
    parse_invocation_id,
)
from perdure.wire.messages import Failure, Header, InvocationId, Value, WorkflowTarget

if TYPE_CHECKING:
    from perdure.engine.asgi_exchange import Receive, Scope, Send
    from perdure.engine.core import Core
    from perdure.engine.engine import Engine
    from perdure.engine.events import Target

__all__ = ["LARGEST_BODY", "Ingress"]

LARGEST_BODY: Final = 32 * 1024 * 1024
"""Bytes of a request, as restate-server has it."""

_INVOKE: Final = frozenset({"GET", "POST"})
_NOT_FORWARDED: Final = frozenset({"connection", "host", "idempotency-key", "idempotency-expires"})
_NOT_READY: Final = 470
_INTERNAL: Final = 500
_STATUSES: Final = range(200, 1000)
"""What HTTP can say; a handler's code that it cannot becomes 500."""
_OCTETS: Final = "application/octet-stream"
_RANDOM_BYTES: Final = 10


class _Refusal(Exception):  # noqa: N818 - an answer on its way up
    """The ingress says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Ingress:
    """The ingress of an engine, as an ASGI application.

    Args:
        engine: open while requests are served.
        largest_body: bytes that the body of a request may have; more is answered with 413.
    """

    def __init__(self, engine: Engine, *, largest_body: int = LARGEST_BODY) -> None:
        self._engine = engine
        self._largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
            return
        request = AsgiRequest(scope, receive, send)
        if request.method == "OPTIONS":
            await request.preflight()
            return
        try:
            answer = await self._answer(request)
        except (BadPath, _Refusal) as refusal:
            answer = _error(refusal.status, refusal.message)
        except TooLarge:
            answer = _error(413, f"the body has more than {self._largest_body} bytes")
        except EngineClosed as error:
            answer = _error(503, str(error))
        except EngineFailed as error:
            answer = _error(_INTERNAL, str(error))
        except Gone:
            return
        if answer is not None:
            await request.answer(answer)

    async def _answer(self, request: AsgiRequest) -> Answer | None:
        """What to answer; `None` when nobody waits for it any more."""
        core = self._engine.core

        def has_keys(name: str) -> bool | None:
            service = core.view.service(name)
            return None if service is None else service.kind is not Kind.SERVICE

        parsed: Parsed = parse_path(request.path, has_keys)
        if isinstance(parsed, Invoke):
            return await self._invoke(core, request, parsed)
        if isinstance(parsed, Health):
            _allow(request, "GET")
            public = [each.name for each in core.view.services() if not all(h.private for h in each.handlers.values())]
            return answer_json(200, {"services": sorted(public)})
        if isinstance(parsed, Awakeable):
            _allow(request, "POST")
            return await self._complete(core, request, parsed)
        if isinstance(parsed, ByBody):
            _allow(request, "POST")
            target = target_of(await request.body(self._largest_body))
            id = _id_of(core, target)
            if parsed.verb == "lookup":
                return answer_json(200, {"invocationId": format_invocation_id(id)})
            return await self._read(core, request, Read(parsed.verb, target), id)
        _allow(request, "GET")
        await request.body(self._largest_body)
        return await self._read(core, request, parsed, _id_of(core, parsed.target))

    # --- invoking --------------------------------------------------------------------------------------------------

    async def _invoke(self, core: Core, request: AsgiRequest, invoke: Invoke) -> Answer | None:
        if request.method not in _INVOKE:
            raise _Refusal(405, f"handlers are invoked by GET and POST, not by {request.method}")
        service = core.view.service(invoke.service)
        options = service.handlers.get(invoke.handler) if service is not None else None
        if options is None:
            raise _Refusal(404, f"service '{invoke.service}' has no handler '{invoke.handler}'")
        if options.private:
            raise _Refusal(400, "the invoked service is not public")
        delay = _delay(request, invoke)
        if request.header("x-restate-limit-key") is not None:
            raise _Refusal(400, "limit keys count inside a scope, and the embedded engine has none")
        body = await request.body(self._largest_body)
        _check_input(options, body, request.header("content-type"))
        if core.full is not None:
            raise _Refusal(503, f"nothing new is taken at the moment: {core.full}")
        now = core.clock.milliseconds()
        query = f"?{request.query}" if request.query else ""
        submit = events.Submit(
            service=invoke.service,
            handler=invoke.handler,
            key=invoke.key,
            unique=now.to_bytes(6, "big") + os.urandom(_RANDOM_BYTES),
            waiter=0,
            body=body,
            headers=(
                Header("x-restate-ingress-path", request.path + query),
                *(Header(name, value) for name, value in request.headers if name not in _NOT_FORWARDED),
            ),
            idempotency_key=request.header("idempotency-key"),
            mode=events.Mode.SEND if invoke.send else events.Mode.CALL,
            start_at=now + delay if delay else 0,
        )
        id = _id_of_submit(submit, options.kind)

        def make(waiter: int) -> events.Submit:
            return replace(submit, waiter=waiter)

        if invoke.send:
            return _told(await core.ask(make), id, options)
        return await _wait(core, request, make, id, options)

    # --- results ---------------------------------------------------------------------------------------------------

    async def _read(self, core: Core, request: AsgiRequest, read: Read, id: bytes) -> Answer | None:
        target = InvocationId(format_invocation_id(id))
        options = _options_of(core, id, read.target)
        if read.verb == "output":
            return _told(await core.ask(lambda waiter: events.GetOutput(target, waiter)), id, options)
        return await _wait(core, request, lambda waiter: events.Attach(target, waiter), id, options)

    async def _complete(self, core: Core, request: AsgiRequest, awakeable: Awakeable) -> Answer:
        body = await request.body(self._largest_body)
        try:
            parsed = parse_awakeable_id(awakeable.id)
        except InvalidIdError as error:
            raise _Refusal(400, str(error)) from error
        if parsed.kind is not AwakeableKind.SIGNAL:
            raise _Refusal(400, f"{awakeable.id} was made by a protocol that this engine does not speak")
        message = body.decode("utf-8", "replace")
        result = Value(body) if awakeable.resolve else Failure(_INTERNAL, message)
        answer = await core.ask(lambda waiter: events.SendSignal(parsed.invocation_id, parsed.index, result, waiter))
        return _told(answer, parsed.invocation_id, None)


async def _wait(
    core: Core,
    request: AsgiRequest,
    make: Callable[[int], events.Event],
    id: bytes,
    options: HandlerOptions | None,
) -> Answer | None:
    """Wait for a result as long as the caller does; `None` when it has hung up."""
    answer: Outcomes | None = None
    failure: EngineClosed | EngineFailed | None = None
    async with anyio.create_task_group() as tasks:

        async def hang_up() -> None:
            await request.until_gone()
            tasks.cancel_scope.cancel()

        tasks.start_soon(hang_up)
        try:
            answer = await core.ask(make, lambda waiter: events.Forgotten(id, waiter))
        except (EngineClosed, EngineFailed) as error:  # raised below: the group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return None if answer is None else _told(answer, id, options)


def _told(answer: Outcomes, id: bytes, options: HandlerOptions | None) -> Answer:
    """An answer of the engine as one of HTTP."""
    known = answer.id or id
    named = (("x-restate-id", format_invocation_id(known)),) if known else ()
    if isinstance(answer, Accepted):
        body: dict[str, Any] = {
            "invocationId": format_invocation_id(answer.id),
            "status": "PreviouslyAccepted" if answer.previously else "Accepted",
        }
        if answer.start_at:
            body["executionTime"] = f"{_utc(answer.start_at)}000000Z"
        return answer_json(202, body, named)
    if isinstance(answer, NotReady):
        return _error(_NOT_READY, "not ready", headers=named)
    if isinstance(answer, Refused):
        return _error(
            answer.code,
            answer.message,
            source="invocation" if answer.invocation else "ingress",
            headers=named if answer.id else (),
        )
    if not isinstance(answer, Outcome):
        return Answer(202, b"", named)
    if answer.expires_at:
        named = (*named, ("idempotency-expires", f"{_utc(answer.expires_at).partition('.')[0]}+00:00"))
    result = answer.result
    if isinstance(result, Failure):
        metadata = {pair.key: pair.value for pair in result.metadata}
        return _error(result.code, result.message, source="invocation", headers=named, metadata=metadata)
    content_type = options.output_content_type if options is not None else None
    if content_type and result.content:
        named = (*named, ("content-type", content_type))
    return Answer(200, result.content, named)


def _error(
    code: int,
    message: str,
    *,
    source: str = "ingress",
    headers: tuple[tuple[str, str], ...] = (),
    metadata: dict[str, str] | None = None,
) -> Answer:
    body: dict[str, Any] = {"code": code, "message": message, "source": source}
    if metadata:
        body["metadata"] = metadata
    status = code if code in _STATUSES else _INTERNAL
    return answer_json(status, body, (*headers, ("x-restate-error-source", source)))


def _utc(milliseconds: int) -> str:
    """A moment as `2026-11-21T02:20:32.909`."""
    moment = dt.datetime.fromtimestamp(milliseconds // 1000, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}"


def _allow(request: AsgiRequest, method: str) -> None:
    if request.method != method:
        raise _Refusal(405, f"this is asked by {method}, not by {request.method}")


def _delay(request: AsgiRequest, invoke: Invoke) -> int:
    """Milliseconds until an invocation starts."""
    said = [value for name, value in parse_qsl(request.query, keep_blank_values=True) if name == "delay"]
    if not said:
        return 0
    if not invoke.send:
        raise _Refusal(400, "a delay goes with send: a call waits for its result")
    try:
        return parse_milliseconds(said[0])
    except ValueError as error:
        raise _Refusal(400, f"bad delay: {error}") from error


def _check_input(options: HandlerOptions, body: bytes, content_type: str | None) -> None:
    """Look whether a request is what the handler takes, by its media type and whether there is a body."""
    expected = options.input_content_type
    if not body and content_type is None and not options.input_required:
        return
    if options.input_required and not body:
        raise _Refusal(400, "the handler needs a body, and the request has none")
    if expected is None or expected == _OCTETS or _matches(expected, content_type):
        return
    said = f"the content type {content_type!r}" if content_type else "no content type"
    raise _Refusal(400, f"the handler takes {expected}, and the request has {said}")


def _matches(expected: str, content_type: str | None) -> bool:
    if expected == "*/*":
        return True
    wanted = expected.partition(";")[0].strip().lower()
    given = (content_type or "").partition(";")[0].strip().lower()
    if wanted.endswith("/*"):
        return given.startswith(wanted[:-1])
    return given == wanted


def _id_of_submit(submit: events.Submit, kind: Kind) -> bytes:
    """The id that the invocation of a request gets."""
    if kind is Kind.WORKFLOW:
        return workflow_id(submit.service, submit.key)
    if submit.idempotency_key is not None:
        return idempotent_id(submit.service, submit.key, submit.handler, submit.idempotency_key)
    return request_id(submit.service, submit.key, submit.unique)


def _id_of(core: Core, target: Target) -> bytes:
    """The id of the invocation that a target names, whether there is one or not."""
    if isinstance(target, InvocationId):
        try:
            return parse_invocation_id(target.id)
        except InvalidIdError as error:
            raise _Refusal(400, str(error)) from error
    name = target.workflow_name if isinstance(target, WorkflowTarget) else target.service_name
    service = core.view.service(name)
    if service is None:
        raise _Refusal(404, f"service '{name}' not found")
    if isinstance(target, WorkflowTarget):
        if service.kind is not Kind.WORKFLOW:
            raise _Refusal(400, f"service '{name}' is no workflow")
        return workflow_id(name, target.workflow_key)
    return idempotent_id(name, target.service_key or "", target.handler_name, target.idempotency_key)


def _options_of(core: Core, id: bytes, target: Target) -> HandlerOptions | None:
    """The options of the handler that a result is of, for its media type; `None` when it is not known."""
    if isinstance(target, WorkflowTarget):
        service = core.view.service(target.workflow_name)
        handlers = service.handlers.values() if service is not None else ()
        return next((each for each in handlers if each.kind is Kind.WORKFLOW), None)
    number = core.view.find(id)
    invocation = core.view.invocation(number) if number else None
    service = core.view.service(invocation.service) if invocation is not None else None
    return None if service is None or invocation is None else service.handlers.get(invocation.handler)
