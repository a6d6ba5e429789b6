"""Which path of the ingress means what. Pure; the counterpart of `perdure.client.targets`.

The path alone does not tell whether `/a/b/c` is handler `c` of key `b`: whether a service has keys does. So reading a
path asks for that, and an unknown service is told before anything else. Keys are percent-decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from perdure.wire.messages import IdempotentRequestTarget, InvocationId, WorkflowTarget

__all__ = ["Awakeable", "BadPath", "ByBody", "Health", "Invoke", "Parsed", "Read", "Verb", "parse_path", "target_of"]

Verb: TypeAlias = Literal["attach", "output", "lookup"]
Target: TypeAlias = InvocationId | IdempotentRequestTarget | WorkflowTarget

RESERVED: Final = "restate"
_OPENAPI: Final = "openapi"
_SCOPES: Final = "scopes need a restate-server with the vqueues feature: the embedded engine has none"


class BadPath(Exception):  # noqa: N818 - an answer on its way up
    """A path that means nothing.

    Args:
        status: what to answer.
        message: what is wrong with it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: int = status
        self.message: str = message


class Invoke(msgspec.Struct, frozen=True):
    """Call or send."""

    service: str
    key: str
    handler: str
    send: bool


class Read(msgspec.Struct, frozen=True):
    """Ask for a result; `attach` waits for it."""

    verb: Verb
    target: Target


class ByBody(msgspec.Struct, frozen=True):
    """The same, with the target in the body."""

    verb: Verb


class Awakeable(msgspec.Struct, frozen=True):
    """Complete an awakeable."""

    id: str
    resolve: bool


class Health(msgspec.Struct, frozen=True):
    """Ask how it is."""


Parsed: TypeAlias = Invoke | Read | ByBody | Awakeable | Health


def parse_path(path: str, has_keys: Callable[[str], bool | None]) -> Parsed:
    """Read a path.

    Args:
        path: as it was sent.
        has_keys: whether a service has keys; `None` when there is no such service.

    Raises:
        BadPath: it means nothing.
    """
    first, *rest = path.removeprefix("/").split("/")
    if first == RESERVED:
        return _reserved(rest, has_keys)
    if first == _OPENAPI or not first:
        raise BadPath(404, f"nothing is at {path}")
    return _classic([first, *rest], has_keys)


def _text(segment: str, what: str) -> str:
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadPath(400, f"bad path: the {what} {segment!r} is not UTF-8") from error


def _keyed(service: str, has_keys: Callable[[str], bool | None]) -> bool:
    keyed = has_keys(service)
    if keyed is None:
        raise BadPath(404, f"service '{service}' not found, make sure to register the service before calling it")
    return keyed


def _handler(parts: Sequence[str], has_keys: Callable[[str], bool | None]) -> tuple[str, str, str, Sequence[str]]:
    """Service, key and handler at the beginning of some segments, and what is behind them."""
    service = _text(parts[0], "service name") if parts else ""
    keyed = _keyed(service, has_keys)
    if len(parts) < 2 + keyed:
        form = "/".join(("service", "key", "handler") if keyed else ("service", "handler"))
        raise BadPath(400, f"bad path: expected {form}")
    key = _text(parts[1], "key") if keyed else ""
    if keyed and not key:
        raise BadPath(400, "bad path: the key is empty")
    return service, key, _text(parts[1 + keyed], "handler name"), parts[2 + keyed :]


def _classic(parts: Sequence[str], has_keys: Callable[[str], bool | None]) -> Invoke:
    service, key, handler, rest = _handler(parts, has_keys)
    if list(rest) not in ([], ["send"]):
        raise BadPath(400, "bad path: behind the handler may be `send`, and nothing else")
    return Invoke(service, key, handler, bool(rest))


def _reserved(parts: Sequence[str], has_keys: Callable[[str], bool | None]) -> Parsed:
    match parts:
        case ["health"]:
            return Health()
        case ["call" | "send" as verb, *rest]:
            service, key, handler, behind = _handler(rest, has_keys)
            if behind:
                raise BadPath(400, "bad path: nothing may be behind the handler")
            return Invoke(service, key, handler, verb == "send")
        case ["scope", *_]:
            raise BadPath(400, _SCOPES)
        case ["awakeables" | "a", id, "resolve" | "reject" as how]:
            return Awakeable(_text(id, "awakeable id"), how == "resolve")
        case ["attach" | "output" | "lookup" as verb]:
            return ByBody(verb)
        case ["attach" | "output" as verb, id]:
            return Read(verb, InvocationId(id))
        case ["workflow", name, key, "attach" | "output" as verb]:
            workflow = _text(name, "workflow name")
            _keyed(workflow, has_keys)
            return Read(verb, WorkflowTarget(workflow, _text(key, "key")))
        case ["invocation", id, "attach" | "output" as verb]:
            return Read(verb, InvocationId(id))
        case ["invocation", *middle, "attach" | "output" as verb]:
            service, key, handler, behind = _handler(middle, has_keys)
            if len(behind) != 1:
                raise BadPath(400, "bad path: expected an idempotency key behind the handler")
            target = IdempotentRequestTarget(service, key or None, handler, behind[0])
            return Read(verb, target)
    raise BadPath(404, f"nothing is at /restate/{'/'.join(parts)}")


class _ByWorkflow(msgspec.Struct, frozen=True, tag_field="target", tag="workflow", rename="camel"):
    workflow_name: str
    workflow_key: str
    scope: str | None = None


class _ByRequest(msgspec.Struct, frozen=True, tag_field="target", tag="idempotentInvocation", rename="camel"):
    service: str
    handler: str
    idempotency_key: str
    key: str | None = None
    scope: str | None = None


class _ById(msgspec.Struct, frozen=True, tag_field="target", tag="invocation", rename="camel"):
    invocation_id: str


_targets: Final = msgspec.json.Decoder(_ByWorkflow | _ByRequest | _ById)


def target_of(body: bytes) -> Target:
    """Read a target from the body of a request.

    Raises:
        BadPath: it is none.
    """
    try:
        found = _targets.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadPath(400, f"the body names no invocation: {error}") from error
    if isinstance(found, _ById):
        return InvocationId(found.invocation_id)
    if found.scope is not None:
        raise BadPath(400, _SCOPES)
    if isinstance(found, _ByWorkflow):
        return WorkflowTarget(found.workflow_name, found.workflow_key)
    return IdempotentRequestTarget(found.service, found.key, found.handler, found.idempotency_key)
