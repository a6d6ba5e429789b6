"""Edge: AWS Lambda. A runtime for functions on Amazon Linux, on either event loop, over the platform's own API.

From the bottom up: `http1` is HTTP; `runtime_api` the platform's calls; `context`, `invocation` and `response` are what
an invocation is made of; `binding` makes services of functions; `poller` serves invocations one after the other, and
`runtime` is the life of the process around it. `durable` answers a restate-server that invokes through Lambda.

A name is imported when it is first used: a function pays for every import when it starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from perdure.aws_lambda.binding import Handler, service_fn
    from perdure.aws_lambda.configuration import FunctionConfig
    from perdure.aws_lambda.context import (
        ClientApplication,
        ClientContext,
        CognitoIdentity,
        LambdaContext,
        current_context,
    )
    from perdure.aws_lambda.diagnostics import Diagnostic, StackFrame, diagnose
    from perdure.aws_lambda.durable import EndpointService
    from perdure.aws_lambda.failures import ConnectionLostError, FunctionError, PayloadError, RuntimeApiError
    from perdure.aws_lambda.invocation import Invocation, LambdaEvent
    from perdure.aws_lambda.records import JsonFormatter, LambdaFilter, LambdaProcessor, configure_logging
    from perdure.aws_lambda.response import (
        BufferedResponse,
        MetadataPrelude,
        PushedResponse,
        Response,
        ResponseStream,
        StreamingResponse,
    )
    from perdure.aws_lambda.runtime import main, run
    from perdure.aws_lambda.runtime_api import InvalidInvocationError, Outcome, RuntimeApiClient
    from perdure.aws_lambda.service import LambdaService, Layer, Next
    from perdure.aws_lambda.shutdown import ShutdownHook
    from perdure.aws_lambda.snapshots import SnapshotHookError, register_snapshot_resource

__all__ = [
    "BufferedResponse",
    "ClientApplication",
    "ClientContext",
    "CognitoIdentity",
    "ConnectionLostError",
    "Diagnostic",
    "EndpointService",
    "FunctionConfig",
    "FunctionError",
    "Handler",
    "InvalidInvocationError",
    "Invocation",
    "JsonFormatter",
    "LambdaContext",
    "LambdaEvent",
    "LambdaFilter",
    "LambdaProcessor",
    "LambdaService",
    "Layer",
    "MetadataPrelude",
    "Next",
    "Outcome",
    "PayloadError",
    "PushedResponse",
    "Response",
    "ResponseStream",
    "RuntimeApiClient",
    "RuntimeApiError",
    "ShutdownHook",
    "SnapshotHookError",
    "StackFrame",
    "StreamingResponse",
    "configure_logging",
    "current_context",
    "diagnose",
    "main",
    "register_snapshot_resource",
    "run",
    "service_fn",
]

# Where each name is, and the imports above once more for the interpreter; a test compares the three lists.
_HOMES: Final = {
    "binding": "Handler service_fn",
    "configuration": "FunctionConfig",
    "context": "ClientApplication ClientContext CognitoIdentity LambdaContext current_context",
    "diagnostics": "Diagnostic StackFrame diagnose",
    "durable": "EndpointService",
    "failures": "ConnectionLostError FunctionError PayloadError RuntimeApiError",
    "invocation": "Invocation LambdaEvent",
    "records": "JsonFormatter LambdaFilter LambdaProcessor configure_logging",
    "response": "BufferedResponse MetadataPrelude PushedResponse Response ResponseStream StreamingResponse",
    "runtime": "main run",
    "runtime_api": "InvalidInvocationError Outcome RuntimeApiClient",
    "service": "Layer LambdaService Next",
    "shutdown": "ShutdownHook",
    "snapshots": "SnapshotHookError register_snapshot_resource",
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
