"""Records of the Telemetry and Logs APIs, typed; what is not known here is kept as it came.

From "Lambda Telemetry API Event schema reference", versions 2022-07-01 to 2025-01-29.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from perdure.aws_lambda.events.contents import decode_text, decode_time
from perdure.aws_lambda.events.structure import AwsObject, convert
from perdure.aws_lambda.failures import PayloadError

__all__ = [
    "ExtensionState",
    "InitReport",
    "InitRuntimeDone",
    "InitStart",
    "InvocationEnd",
    "InvocationStart",
    "LogsDropped",
    "Metrics",
    "Report",
    "RestoreReport",
    "RestoreRuntimeDone",
    "RestoreStart",
    "RuntimeDone",
    "Span",
    "SubscriptionState",
    "TelemetryRecord",
    "Tracing",
    "encode_records",
    "read_records",
]


class Tracing(AwsObject, kw_only=True):
    """Where a record belongs in a trace."""

    type: str | None = None
    value: str | None = None
    span_id: str | None = None


class Span(AwsObject, kw_only=True):
    """A part of the time that something took: `responseLatency`, `responseDuration`, `runtimeOverhead`."""

    name: str
    start: str
    duration_ms: int | float


class Metrics(AwsObject, kw_only=True):
    """What something took; which fields there are depends on the record. Durations are milliseconds."""

    duration_ms: int | float | None = None
    produced_bytes: int | None = None
    billed_duration_ms: int | float | None = None
    memory_size_mb: int | None = msgspec.field(default=None, name="memorySizeMB")
    max_memory_used_mb: int | None = msgspec.field(default=None, name="maxMemoryUsedMB")
    init_duration_ms: int | float | None = None
    restore_duration_ms: int | float | None = None
    billed_restore_duration_ms: int | float | None = None


class _Place(AwsObject, kw_only=True):
    function_name: str | None = None
    function_version: str | None = None
    function_arn: str | None = None
    instance_id: str | None = None
    instance_max_memory: int | None = None
    runtime_version: str | None = None
    runtime_version_arn: str | None = None
    tracing: Tracing | None = None


class InitStart(_Place, kw_only=True):
    """A sandbox is being made.

    Attributes:
        initialization_type: `on-demand`, `provisioned-concurrency`, `snap-start` or `lambda-managed-instances`.
        phase: `init` or `invoke`.
    """

    initialization_type: str
    phase: str | None = None


class InitRuntimeDone(_Place, kw_only=True):
    """The runtime has asked for its first invocation, or failed to.

    Attributes:
        status: `success`, `error`, `failure` or `timeout`.
    """

    initialization_type: str
    status: str
    phase: str | None = None
    error_type: str | None = None
    spans: list[Span] | None = None


class InitReport(_Place, kw_only=True):
    """What init took."""

    initialization_type: str
    metrics: Metrics
    phase: str | None = None
    status: str | None = None
    error_type: str | None = None
    spans: list[Span] | None = None


class InvocationStart(_Place, kw_only=True):
    """An invocation begins (`platform.start`)."""

    request_id: str
    version: str | None = None
    tenant_id: str | None = None


class RuntimeDone(_Place, kw_only=True):
    """The runtime has answered an invocation, or failed to."""

    request_id: str
    status: str
    error_type: str | None = None
    metrics: Metrics | None = None
    spans: list[Span] | None = None
    tenant_id: str | None = None


class Report(_Place, kw_only=True):
    """What an invocation took, and what is billed."""

    metrics: Metrics
    request_id: str | None = None
    status: str | None = None
    error_type: str | None = None
    spans: list[Span] | None = None
    tenant_id: str | None = None


class InvocationEnd(AwsObject, kw_only=True):
    """An invocation has ended (`platform.end`)."""

    request_id: str


class ExtensionState(AwsObject, kw_only=True):
    """An extension was registered, or failed.

    Attributes:
        state: `Ready`, `Registered` and the like.
    """

    name: str
    state: str
    events: list[str] | None = None
    error_type: str | None = None


class SubscriptionState(AwsObject, kw_only=True):
    """An extension subscribed to telemetry or logs."""

    name: str
    state: str
    types: list[str] | None = None


class LogsDropped(AwsObject, kw_only=True):
    """Records were lost, because a listener did not keep up."""

    reason: str
    dropped_records: int
    dropped_bytes: int


class RestoreStart(_Place, kw_only=True):
    """A sandbox is being made from a snapshot."""


class RestoreRuntimeDone(_Place, kw_only=True):
    """The hooks after a restore have run."""

    status: str
    error_type: str | None = None
    spans: list[Span] | None = None


class RestoreReport(_Place, kw_only=True):
    """What the restore took."""

    metrics: Metrics
    status: str | None = None
    error_type: str | None = None
    spans: list[Span] | None = None


_KINDS: Final[dict[str, type[AwsObject]]] = {
    "platform.initStart": InitStart,
    "platform.initRuntimeDone": InitRuntimeDone,
    "platform.initReport": InitReport,
    "platform.start": InvocationStart,
    "platform.runtimeDone": RuntimeDone,
    "platform.report": Report,
    "platform.end": InvocationEnd,
    "platform.extension": ExtensionState,
    "platform.telemetrySubscription": SubscriptionState,
    "platform.logsSubscription": SubscriptionState,
    "platform.logsDropped": LogsDropped,
    "platform.restoreStart": RestoreStart,
    "platform.restoreRuntimeDone": RestoreRuntimeDone,
    "platform.restoreReport": RestoreReport,
}


class TelemetryRecord(AwsObject, kw_only=True):
    """One record.

    Attributes:
        time: when, as the platform writes it.
        type: `function`, `extension`, or `platform.` and what happened.
        record: an object of the class for the type; text or an object for a line that the function or an extension
            logged; as it came where the type is not known, or the record is not what its type says.
    """

    time: str
    type: str
    record: Any

    @property
    def logged_at(self) -> dt.datetime:
        """When it happened."""
        return decode_time(self.time)


def read_records(body: bytes) -> list[TelemetryRecord]:
    """Read a delivery.

    Raises:
        PayloadError: it is no list of records.
    """
    records = decode_text(body, list[TelemetryRecord], what="a delivery of telemetry")
    for each in records:
        kind = _KINDS.get(each.type)
        if kind is not None and isinstance(each.record, Mapping):
            try:
                each.record = convert(each.record, kind, what=each.type)
            except PayloadError:
                continue  # the platform has changed it: what came says more than an error would
    return records


def encode_records(records: Iterable[TelemetryRecord]) -> bytes:
    """Write records as they came."""
    return msgspec.json.encode([record.to_dict() for record in records])
