"""Which request of the ingress HTTP API means what: methods, paths, queries. Pure; nothing is sent here.

Facts, seen on restate-server 1.7 and read in its source: keys in paths are percent-decoded, service and handler names
and idempotency keys are not. An idempotency key that would need encoding therefore travels in the JSON body of the
POST form of attach and output, which is also the only form that knows scopes.

The classic paths (`/{service}/{handler}`) are used where they will do, because every server has them; the paths under
`/restate/call` and `/restate/scope` came with 1.7.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from perdure.exceptions import UsageError
from perdure.handlers.options import seconds

__all__ = [
    "IdempotentTarget",
    "InvocationTarget",
    "Query",
    "Target",
    "WorkflowTarget",
    "awakeable_query",
    "milliseconds",
]

RESERVED: Final = frozenset({"restate", "openapi"})
"""First segments that the ingress keeps for itself; a service of that name is reached through `/restate/call`."""

PLAIN_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~-]+")
"""Text that stands in a path as it is."""

Read = Literal["attach", "output"]


@dataclass(frozen=True)
class Query:
    """One request, as far as the target decides it."""

    method: Literal["GET", "POST"]
    path: str
    body: bytes = b""


def segment(text: str, what: str) -> str:
    """Percent-encode text as one segment of a path."""
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as exc:
        raise UsageError(f"the {what} {text!r} cannot be written as UTF-8: {exc.reason}") from exc


def milliseconds(delay: float | dt.timedelta) -> int:
    """A delay in whole milliseconds, rounded up so that a small one does not vanish.

    Args:
        delay: seconds, or a `timedelta`.

    Raises:
        UsageError: when it is negative, not finite, or longer than a `timedelta` can be.
    """
    try:
        # By way of whole microseconds: times 1000 would turn a float that means 300 ms into one a little above.
        exact = delay if isinstance(delay, dt.timedelta) else dt.timedelta(seconds=seconds(delay, "delay"))
    except OverflowError as exc:
        raise UsageError(f"a delay of {delay} seconds is longer than can be said") from exc
    if exact < dt.timedelta(0):
        raise UsageError(f"delay is at least 0 seconds, not {delay!r}")
    return -(-exact // dt.timedelta(milliseconds=1))


@dataclass(frozen=True)
class Target:
    """A handler to invoke; `key` for objects and workflows."""

    service: str
    handler: str
    key: str | None = None
    scope: str | None = None

    def __str__(self) -> str:
        key = "" if self.key is None else f"/{self.key}"
        scope = "" if self.scope is None else f" in scope {self.scope}"
        return f"{self.service}{key}/{self.handler}{scope}"

    def call(self) -> Query:
        """Invoke and wait for the result."""
        return Query("POST", self._path("call"))

    def send(self, delay: float | dt.timedelta | None = None) -> Query:
        """Invoke and only wait until the invocation is accepted; it starts `delay` seconds later."""
        wait = 0 if delay is None else milliseconds(delay)
        return Query("POST", self._path("send") + (f"?delay={wait}ms" if wait else ""))

    def _path(self, verb: Literal["call", "send"]) -> str:
        key = () if self.key is None else (segment(self.key, "key"),)
        segments = (segment(self.service, "service name"), *key, segment(self.handler, "handler name"))
        if self.scope is not None:
            segments = ("restate", "scope", segment(self.scope, "scope"), verb, *segments)
        elif self.service in RESERVED:
            segments = ("restate", verb, *segments)
        elif verb == "send":
            segments = (*segments, "send")
        return "/" + "/".join(segments)


@dataclass(frozen=True)
class InvocationTarget:
    """An invocation by its id."""

    invocation_id: str

    def __str__(self) -> str:
        return self.invocation_id

    def read(self, verb: Read) -> Query:
        """Ask for the result: `attach` waits for it."""
        return Query("GET", f"/restate/invocation/{segment(self.invocation_id, 'invocation id')}/{verb}")


@dataclass(frozen=True)
class IdempotentTarget:
    """An invocation by what it invoked and the idempotency key it was invoked with."""

    target: Target
    idempotency_key: str

    def __str__(self) -> str:
        return f"{self.target} with idempotency key {self.idempotency_key!r}"

    def read(self, verb: Read) -> Query:
        """Ask for the result: `attach` waits for it."""
        target = self.target
        if target.scope is None and PLAIN_SEGMENT.fullmatch(self.idempotency_key):
            key = () if target.key is None else (segment(target.key, "key"),)
            names = (segment(target.service, "service name"), *key, segment(target.handler, "handler name"))
            return Query("GET", "/".join(("/restate/invocation", *names, self.idempotency_key, verb)))
        fields = {
            "target": "idempotentInvocation",
            "service": target.service,
            "key": target.key,
            "handler": target.handler,
            "idempotencyKey": self.idempotency_key,
            "scope": target.scope,
        }
        return _read_by_body(verb, fields)


@dataclass(frozen=True)
class WorkflowTarget:
    """The run of a workflow by its key."""

    workflow: str
    key: str
    scope: str | None = None

    def __str__(self) -> str:
        scope = "" if self.scope is None else f" in scope {self.scope}"
        return f"{self.workflow}/{self.key}{scope}"

    def read(self, verb: Read) -> Query:
        """Ask for the result: `attach` waits for it."""
        if self.scope is None:
            name, key = segment(self.workflow, "workflow name"), segment(self.key, "key")
            return Query("GET", f"/restate/workflow/{name}/{key}/{verb}")
        fields = {"target": "workflow", "workflowName": self.workflow, "workflowKey": self.key, "scope": self.scope}
        return _read_by_body(verb, fields)


def _read_by_body(verb: Read, fields: Mapping[str, str | None]) -> Query:
    try:
        body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    except UnicodeEncodeError as exc:
        raise UsageError(f"the target {fields} cannot be written as UTF-8: {exc.reason}") from exc
    return Query("POST", f"/restate/{verb}", body)


def awakeable_query(awakeable_id: str, verb: Literal["resolve", "reject"], body: bytes) -> Query:
    """Complete an awakeable: `body` is the encoded value, or the message of the rejection."""
    return Query("POST", f"/restate/awakeables/{segment(awakeable_id, 'awakeable id')}/{verb}", body)
