"""What an invocation is told besides its payload.

`current_context` holds the context while an invocation is served, in its task and in all that it starts: log records
take the request id, the trace id and the tenant from there.
"""

from __future__ import annotations

import datetime as dt
import time
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from perdure.aws_lambda.configuration import FunctionConfig

__all__ = ["ClientApplication", "ClientContext", "CognitoIdentity", "LambdaContext", "current_context"]


class ClientApplication(msgspec.Struct, frozen=True, kw_only=True):
    """The mobile application that invoked."""

    installation_id: str | None = None
    app_title: str | None = None
    app_version_name: str | None = None
    app_version_code: str | None = None
    app_package_name: str | None = None


class ClientContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the invoker put into the client context.

    Attributes:
        client: the mobile application.
        custom: what the application chose to send.
        env: about its device.
        w3c: `traceparent`, `tracestate` and `baggage`, when the invoker sent them.
    """

    client: ClientApplication | None = None
    custom: dict[str, Any] = msgspec.field(default_factory=dict)
    env: dict[str, Any] = msgspec.field(default_factory=dict)
    w3c: dict[str, Any] = msgspec.field(default_factory=dict)

    @staticmethod
    def parse(data: str | bytes) -> ClientContext:
        """Read the JSON of the header; keys may be written `app_title` or `appTitle`.

        Raises:
            msgspec.MsgspecError: it is no JSON object of this shape.
        """
        found = msgspec.json.decode(data, type=dict[str, Any])
        client = found.get("client")
        if isinstance(client, dict):
            client = {_snake(name): value for name, value in client.items()}
        shaped = {
            "client": client,
            "custom": found.get("custom") or {},
            "env": found.get("env") or found.get("environment") or {},
            "w3c": found.get("w3c") or {},
        }
        return msgspec.convert(shaped, ClientContext)


class CognitoIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of the invoker, from Amazon Cognito."""

    identity_id: str = ""
    identity_pool_id: str = ""

    @staticmethod
    def parse(data: str | bytes) -> CognitoIdentity:
        """Read the JSON of the header; the platform and its tools spell the two keys in three ways.

        Raises:
            msgspec.MsgspecError: it is no JSON object of this shape.
        """
        found = msgspec.json.decode(data, type=dict[str, Any])
        keys = {_snake(name).removeprefix("cognito_"): value for name, value in found.items()}
        return msgspec.convert({name: value for name, value in keys.items() if value is not None}, CognitoIdentity)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_NO_FUNCTION: Final = FunctionConfig()


class LambdaContext(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation, apart from its payload. Everything has a default, so that tests can make one.

    The names that the managed runtime gives (`aws_request_id`, `function_name`, `get_remaining_time_in_millis`, ...)
    are there too, so a handler written for it works.

    Attributes:
        request_id: of the invocation; the same in every retry of an asynchronous one.
        deadline_ms: when the platform gives up on it, in milliseconds since 1970; 0 when it does not tell.
        invoked_function_arn: what was invoked: a function, a version or an alias.
        trace_id: the X-Ray trace header.
        client_context: what the invoker sent beside the payload.
        identity: who invoked, from Amazon Cognito.
        tenant_id: for which tenant, of a function that isolates tenants.
        invocation_id: of this try; the platform uses it to tell a late answer.
        function: the function as it is deployed.
    """

    request_id: str = ""
    deadline_ms: int = 0
    invoked_function_arn: str = ""
    trace_id: str | None = None
    client_context: ClientContext | None = None
    identity: CognitoIdentity | None = None
    tenant_id: str | None = None
    invocation_id: str | None = None
    function: FunctionConfig = _NO_FUNCTION

    @property
    def deadline(self) -> dt.datetime | None:
        """When the platform gives up on this invocation, in UTC; `None` when it did not tell."""
        return dt.datetime.fromtimestamp(self.deadline_ms / 1000, dt.UTC) if self.deadline_ms else None

    def remaining_time(self) -> float:
        """Seconds until the deadline, at least 0; infinite when the platform did not tell one."""
        return max(0.0, self.deadline_ms / 1000 - time.time()) if self.deadline_ms else float("inf")

    # --- as the managed runtime spells it ----------------------------------------------------------------------------

    @property
    def aws_request_id(self) -> str:
        """`request_id`."""
        return self.request_id

    @property
    def function_name(self) -> str:
        """`function.name`."""
        return self.function.name

    @property
    def function_version(self) -> str:
        """`function.version`."""
        return self.function.version

    @property
    def memory_limit_in_mb(self) -> int:
        """`function.memory_mb`."""
        return self.function.memory_mb

    @property
    def log_group_name(self) -> str | None:
        """`function.log_group`."""
        return self.function.log_group

    @property
    def log_stream_name(self) -> str | None:
        """`function.log_stream`."""
        return self.function.log_stream

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, at least 0; 0 when the platform did not tell one."""
        return int(self.remaining_time() * 1000) if self.deadline_ms else 0


current_context: Final[ContextVar[LambdaContext | None]] = ContextVar("perdure_lambda_context", default=None)
"""The invocation that is being served; `None` outside of one."""
