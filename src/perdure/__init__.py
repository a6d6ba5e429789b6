"""perdure: durable execution for trio and anyio.

The names here are what programs need to define and serve handlers. Deliberate imports besides them: `perdure.testing`
(run handlers in memory, start a real server), `perdure.wire` and `perdure.machine` (the protocol without I/O),
`perdure.instrumentation` (logging).

A name is imported when it is first used. So the command line and the pytest plugin, which are parts of this package and
need none of these names, start without loading an event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from perdure.asgi import Endpoint
    from perdure.client import Client, IngressInvocation, SentInvocation
    from perdure.durable.codec import PLAIN, Codec, CodedSerde
    from perdure.durable.combinators import Case, Failed, Outcome, Succeeded
    from perdure.durable.completion_set import DurableFuturesUnordered
    from perdure.durable.future import Awakeable, CallFuture, DurableFuture
    from perdure.durable.holding import Patience
    from perdure.durable.serde import Serde, SerdeFactory, serde_for
    from perdure.engine.engine import Engine, open_engine
    from perdure.engine.invocation import EngineInvocation, EngineSignal, SentToEngine
    from perdure.exceptions import (
        DeadlineExceeded,
        EngineClosed,
        EngineError,
        EngineFailed,
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
    from perdure.structured.channels import ReceiveChannel, SendChannel
    from perdure.structured.compensation import Compensations
    from perdure.structured.coordination import CapacityLimiter, Event, Semaphore
    from perdure.structured.nursery import Nursery, TaskStatus
    from perdure.structured.scope import CancelScope

__all__ = [
    "PLAIN",
    "Awakeable",
    "CallFuture",
    "CancelScope",
    "CapacityLimiter",
    "Case",
    "Client",
    "Codec",
    "CodedSerde",
    "Compensations",
    "Context",
    "DeadlineExceeded",
    "DurableFuture",
    "DurableFuturesUnordered",
    "DurablePromise",
    "Endpoint",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EngineFailed",
    "EngineInvocation",
    "EngineSignal",
    "Event",
    "FailError",
    "Failed",
    "IdentityError",
    "IngressError",
    "IngressInvocation",
    "InvocationCancelled",
    "InvocationHandle",
    "JournalMismatchError",
    "Middleware",
    "Nursery",
    "ObjectContext",
    "Options",
    "Outcome",
    "Patience",
    "PauseError",
    "PerdureError",
    "ProtocolError",
    "ReceiveChannel",
    "RetryPolicy",
    "RetryableError",
    "RunCancelled",
    "Semaphore",
    "SendChannel",
    "SentInvocation",
    "SentToEngine",
    "Serde",
    "SerdeError",
    "SerdeFactory",
    "Service",
    "SharedObjectContext",
    "SharedWorkflowContext",
    "StateKey",
    "Succeeded",
    "TaskStatus",
    "TerminalError",
    "UnsupportedFeatureError",
    "UsageError",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "open_engine",
    "serde_for",
]

# Where each name is, and the imports above once more for the interpreter; a test compares the three lists.
_HOMES: Final = {
    "asgi": "Endpoint",
    "client": "Client IngressInvocation SentInvocation",
    "durable.codec": "PLAIN Codec CodedSerde",
    "durable.combinators": "Case Failed Outcome Succeeded",
    "durable.completion_set": "DurableFuturesUnordered",
    "durable.future": "Awakeable CallFuture DurableFuture",
    "durable.holding": "Patience",
    "durable.serde": "Serde SerdeFactory serde_for",
    "engine.engine": "Engine open_engine",
    "engine.invocation": "EngineInvocation EngineSignal SentToEngine",
    "exceptions": "DeadlineExceeded EngineClosed EngineError EngineFailed FailError IdentityError IngressError "
    "InvocationCancelled JournalMismatchError PauseError PerdureError ProtocolError RetryableError "
    "RunCancelled SerdeError TerminalError UnsupportedFeatureError UsageError",
    "handlers.calls": "InvocationHandle",
    "handlers.context": "Context ObjectContext SharedObjectContext SharedWorkflowContext WorkflowContext",
    "handlers.definitions": "Service VirtualObject Workflow",
    "handlers.middleware": "Middleware",
    "handlers.options": "Options",
    "handlers.promises": "DurablePromise",
    "handlers.state": "StateKey",
    "machine.retry": "RetryPolicy",
    "structured.channels": "ReceiveChannel SendChannel",
    "structured.compensation": "Compensations",
    "structured.coordination": "CapacityLimiter Event Semaphore",
    "structured.nursery": "Nursery TaskStatus",
    "structured.scope": "CancelScope",
}
_HOME_OF: Final = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take any name for one of this package

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, and keep it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        """List the public names, loaded or not."""
        return sorted({*globals(), *__all__})
