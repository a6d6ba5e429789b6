"""What the engine's answers mean to a caller, and which invocation a caller means."""

from __future__ import annotations

from typing import Any

from perdure.durable.outcome import error_of
from perdure.engine.events import Submit
from perdure.engine.naming import idempotent_id, request_id, workflow_id
from perdure.engine.outputs import Answer, Outcome, Refused
from perdure.exceptions import IngressError, PerdureError, TerminalError, UsageError
from perdure.handlers.definitions import Handler, HandlerKind
from perdure.handlers.registry import Registry
from perdure.wire.ids import InvalidIdError, format_invocation_id, parse_invocation_id
from perdure.wire.messages import Failure

__all__ = ["content_of", "id_of_request", "invocation_id", "named_id", "refusal", "settled"]


def refusal(answer: Answer) -> PerdureError:
    """The error that an answer stands for, which is not the one that was asked for."""
    if not isinstance(answer, Refused):
        return IngressError(f"the engine answered {answer!r}, which nobody asked for: please report this", status=500)
    if answer.invocation:
        return TerminalError(answer.message, code=answer.code)
    invocation = format_invocation_id(answer.id) if answer.id else None
    return IngressError(answer.message, status=answer.code, invocation_id=invocation)


def content_of(answer: Answer) -> bytes:
    """The result in an answer.

    Raises:
        TerminalError: the invocation failed for good.
        IngressError: the engine refused.
    """
    if not isinstance(answer, Outcome):
        raise refusal(answer)
    if isinstance(answer.result, Failure):
        raise error_of(answer.result)
    return answer.result.content


def settled(answer: Answer) -> None:
    """Look whether what was asked for is done.

    Raises:
        IngressError: the engine refused.
    """
    if isinstance(answer, Refused):
        raise refusal(answer)


def invocation_id(text: str) -> bytes:
    """The id of an invocation, given as text.

    Raises:
        UsageError: it is none.
    """
    try:
        return parse_invocation_id(text)
    except InvalidIdError as error:
        raise UsageError(str(error)) from error


def named_id(handler: Handler[Any], key: str | None, idempotency_key: str | None) -> bytes:
    """The id of the one invocation of a handler with these keys.

    Raises:
        UsageError: there may be many, or none.
    """
    path = handler.path
    if handler.kind.keyed and key is None:
        raise UsageError(f"{path} is invoked with a key; give key=")
    if not handler.kind.keyed and key is not None:
        raise UsageError(f"{path} has no key; leave key= out")
    if handler.kind is HandlerKind.MAIN:
        if idempotency_key is not None:
            raise UsageError(f"{path} runs once per key; leave idempotency_key= out")
        assert key is not None
        return workflow_id(handler.service.name, key)
    if not idempotency_key:
        raise UsageError(
            f"{path} may have been invoked many times; give the idempotency_key= of the one you mean, or its id"
        )
    return idempotent_id(handler.service.name, key or "", handler.name, idempotency_key)


def id_of_request(submit: Submit, registry: Registry) -> bytes:
    """The id that the invocation of a request gets."""
    bound = registry.lookup(submit.service, submit.handler)
    if bound is not None and bound.handler.kind is HandlerKind.MAIN:
        return workflow_id(submit.service, submit.key)
    if submit.idempotency_key is not None:
        return idempotent_id(submit.service, submit.key, submit.handler, submit.idempotency_key)
    return request_id(submit.service, submit.key, submit.unique)
