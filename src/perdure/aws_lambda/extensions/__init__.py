"""Extensions of Lambda: programs beside a function, told of its invocations, its telemetry and its end.

`run_extension` is an external one; `with_extensions` puts internal ones beside a handler. Below: `registration` is what
the platform says, `api` its calls, `telemetry` the records, `listener` where they are delivered.
"""

from __future__ import annotations

from perdure.aws_lambda.extensions.api import ExtensionsApi
from perdure.aws_lambda.extensions.extension import Extension, OnEvent, RegisteredExtension, run_extension
from perdure.aws_lambda.extensions.internal import FlushExtension, with_extensions
from perdure.aws_lambda.extensions.listener import Processor, TelemetryListener
from perdure.aws_lambda.extensions.registration import (
    Buffering,
    EventType,
    ExtensionEvent,
    InvokeEvent,
    Registration,
    ShutdownEvent,
    Subscription,
    UnknownExtensionEvent,
)
from perdure.aws_lambda.extensions.telemetry import (
    ExtensionState,
    InitReport,
    InitRuntimeDone,
    InitStart,
    InvocationEnd,
    InvocationStart,
    LogsDropped,
    Metrics,
    Report,
    RestoreReport,
    RestoreRuntimeDone,
    RestoreStart,
    RuntimeDone,
    Span,
    SubscriptionState,
    TelemetryRecord,
    Tracing,
    encode_records,
    read_records,
)

__all__ = [
    "Buffering",
    "EventType",
    "Extension",
    "ExtensionEvent",
    "ExtensionState",
    "ExtensionsApi",
    "FlushExtension",
    "InitReport",
    "InitRuntimeDone",
    "InitStart",
    "InvocationEnd",
    "InvocationStart",
    "InvokeEvent",
    "LogsDropped",
    "Metrics",
    "OnEvent",
    "Processor",
    "RegisteredExtension",
    "Registration",
    "Report",
    "RestoreReport",
    "RestoreRuntimeDone",
    "RestoreStart",
    "RuntimeDone",
    "ShutdownEvent",
    "Span",
    "Subscription",
    "SubscriptionState",
    "TelemetryListener",
    "TelemetryRecord",
    "Tracing",
    "UnknownExtensionEvent",
    "encode_records",
    "read_records",
    "run_extension",
    "with_extensions",
]
