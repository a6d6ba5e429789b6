"""perdure: durable execution for trio and anyio.

The names here are what programs need to define and serve handlers. Deliberate imports besides them: `perdure.testing`
(run handlers in memory, start a real server), `perdure.wire` and `perdure.machine` (the protocol without I/O),
`perdure.instrumentation` (logging).
"""

from __future__ import annotations

from perdure.asgi import Endpoint
from perdure.durable.codec import PLAIN, Codec, CodedSerde
from perdure.durable.combinators import Case, Failed, Outcome, Succeeded
from perdure.durable.completion_set import DurableFuturesUnordered
from perdure.durable.future import Awakeable, CallFuture, DurableFuture
from perdure.durable.serde import Serde, SerdeFactory, serde_for
from perdure.exceptions import (
    FailError,
    IdentityError,
    IngressError,
    InvocationCancelled,
    JournalMismatchError,
    PauseError,
    PerdureError,
    ProtocolError,
    RetryableError,
    RunCancelled,
    SerdeError,
    TerminalError,
    UnsupportedFeatureError,
    UsageError,
)
from perdure.handlers.calls import InvocationHandle
from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.definitions import Service, VirtualObject, Workflow
from perdure.handlers.middleware import Middleware
from perdure.handlers.options import Options
from perdure.handlers.promises import DurablePromise
from perdure.handlers.state import StateKey
from perdure.machine.retry import RetryPolicy

__all__ = [
    "PLAIN",
    "Awakeable",
    "CallFuture",
    "Case",
    "Codec",
    "CodedSerde",
    "Context",
    "DurableFuture",
    "DurableFuturesUnordered",
    "DurablePromise",
    "Endpoint",
    "FailError",
    "Failed",
    "IdentityError",
    "IngressError",
    "InvocationCancelled",
    "InvocationHandle",
    "JournalMismatchError",
    "Middleware",
    "ObjectContext",
    "Options",
    "Outcome",
    "PauseError",
    "PerdureError",
    "ProtocolError",
    "RetryPolicy",
    "RetryableError",
    "RunCancelled",
    "Serde",
    "SerdeError",
    "SerdeFactory",
    "Service",
    "SharedObjectContext",
    "SharedWorkflowContext",
    "StateKey",
    "Succeeded",
    "TerminalError",
    "UnsupportedFeatureError",
    "UsageError",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "serde_for",
]
