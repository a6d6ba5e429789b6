"""What the Extensions API says and is told (2020-01-01), and subscriptions to telemetry and logs, as data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

__all__ = [
    "Buffering",
    "EventType",
    "ExtensionEvent",
    "InvokeEvent",
    "Registration",
    "ShutdownEvent",
    "Subscription",
    "UnknownExtensionEvent",
    "read_event",
]

EventType: TypeAlias = Literal["INVOKE", "SHUTDOWN"]

TELEMETRY_SCHEMAS: Final = ("2025-01-29", "2022-12-13", "2022-07-01")
LOGS_SCHEMA: Final = "2021-03-18"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A registered extension.

    Attributes:
        identifier: what later calls name it by.
        function_name: of the function that it stands beside.
        function_version: of that function.
        handler: as the function is configured.
        account_id: of the function, if it was asked for and the platform knows it.
    """

    identifier: str
    function_name: str = ""
    function_version: str = ""
    handler: str = ""
    account_id: str | None = None


class _Timed(msgspec.Struct, frozen=True, kw_only=True):
    deadline_ms: int = 0

    @property
    def deadline(self) -> dt.datetime | None:
        """Until when the platform waits; `None` when it did not tell."""
        return dt.datetime.fromtimestamp(self.deadline_ms / 1000, dt.UTC) if self.deadline_ms else None


class InvokeEvent(_Timed, frozen=True, kw_only=True):
    """An invocation has begun. The sandbox runs until the extension asks for its next event.

    Attributes:
        deadline_ms: of the invocation, in milliseconds since 1970.
        request_id: of the invocation.
        invoked_function_arn: what was invoked.
        trace_id: the X-Ray trace header.
    """

    request_id: str = ""
    invoked_function_arn: str = ""
    trace_id: str | None = None


class ShutdownEvent(_Timed, frozen=True, kw_only=True):
    """The sandbox ends.

    Attributes:
        deadline_ms: when the platform kills what still runs, in milliseconds since 1970.
        reason: `spindown`, `timeout` or `failure`, in lower case; emulators have others.
    """

    reason: str = ""


class UnknownExtensionEvent(_Timed, frozen=True, kw_only=True):
    """An event of a type that is not known here.

    Attributes:
        event_type: as the platform calls it.
        fields: the whole event.
    """

    event_type: str = ""
    fields: Mapping[str, Any] = {}


ExtensionEvent: TypeAlias = InvokeEvent | ShutdownEvent | UnknownExtensionEvent
"""What an extension is told."""


class _Tracing(msgspec.Struct):
    value: str = ""


class _Event(msgspec.Struct, rename="camel"):
    event_type: str
    deadline_ms: int = 0
    request_id: str = ""
    invoked_function_arn: str = ""
    tracing: _Tracing | None = None
    shutdown_reason: str = ""


def read_event(body: bytes) -> ExtensionEvent:
    """Read the JSON of an event. The platform and its emulators write the reason of a shutdown in different cases.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    event = msgspec.json.decode(body, type=_Event)
    match event.event_type:
        case "INVOKE":
            return InvokeEvent(
                deadline_ms=event.deadline_ms,
                request_id=event.request_id,
                invoked_function_arn=event.invoked_function_arn,
                trace_id=event.tracing.value if event.tracing else None,
            )
        case "SHUTDOWN":
            return ShutdownEvent(deadline_ms=event.deadline_ms, reason=event.shutdown_reason.lower())
        case kind:
            return UnknownExtensionEvent(
                deadline_ms=event.deadline_ms, event_type=kind, fields=msgspec.json.decode(body)
            )


class Buffering(msgspec.Struct, frozen=True, kw_only=True):
    """When the platform delivers what it has gathered: whichever comes first.

    Attributes:
        timeout_ms: milliseconds since the first record, 25 to 30,000.
        max_bytes: 262,144 to 1,048,576.
        max_items: 1,000 to 10,000.

    Raises:
        ValueError: one of them is outside of what the platform takes.
    """

    timeout_ms: int = 1_000
    max_bytes: int = 262_144
    max_items: int = 10_000

    def __post_init__(self) -> None:
        for name, low, high in _LIMITS:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)}: the platform takes {low:,} to {high:,}")

    def to_dict(self) -> dict[str, int]:
        """As the platform reads it."""
        return {"timeoutMs": self.timeout_ms, "maxBytes": self.max_bytes, "maxItems": self.max_items}


_LIMITS: Final = (("timeout_ms", 25, 30_000), ("max_bytes", 262_144, 1_048_576), ("max_items", 1_000, 10_000))


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What an extension wants to be sent.

    Attributes:
        types: `platform`, `function`, `extension`. Whoever takes `extension` must not log what it is sent: that would
            be sent again, for ever.
        buffering: when.
        schema_versions: of the records, the best one first; the next is tried when the platform does not know one. The
            Logs API has one of its own.
    """

    types: Sequence[Literal["platform", "function", "extension"]] = ("platform", "function")
    buffering: Buffering = Buffering()
    schema_versions: Sequence[str] = TELEMETRY_SCHEMAS

    def to_dict(self, schema_version: str, uri: str) -> dict[str, Any]:
        """As the platform reads it."""
        return {
            "schemaVersion": schema_version,
            "types": list(self.types),
            "buffering": self.buffering.to_dict(),
            "destination": {"protocol": "HTTP", "URI": uri},
        }
