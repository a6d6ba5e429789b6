"""The platform's API (2018-06-01) as typed calls.

A client holds as many connections as there are calls at the same time, and keeps them. A kept connection may have died
while the sandbox was frozen; a request that fails on one without a word of an answer is sent once more on a new one.
Should the first have arrived nevertheless, the platform refuses the second answer to an invocation, which is told apart
from other refusals (`Outcome.REPEATED`).
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import anyio
import msgspec

from perdure.aws_lambda.configuration import FunctionConfig
from perdure.aws_lambda.context import ClientContext, CognitoIdentity, LambdaContext
from perdure.aws_lambda.diagnostics import ERROR_CONTENT_TYPE, Diagnostic
from perdure.aws_lambda.failures import ConnectionLostError, PayloadError, RuntimeApiError
from perdure.aws_lambda.http1 import Address, Http1Connection, Http1Response, Request, Upload, connect
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import HTTP_INTEGRATION, JSON, OCTET_STREAM, MetadataPrelude
from perdure.exceptions import UsageError
from perdure.wire.versions import SDK_VERSION

__all__ = ["InvalidInvocationError", "Outcome", "ResponseUpload", "RuntimeApiClient", "parse_address"]

RUNTIME: Final = "/2018-06-01/runtime"
EXTENSION: Final = "/2020-01-01/extension"

OK: Final = 200
ACCEPTED: Final = 202
NO_CONTENT: Final = 204
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
GONE: Final = 410
TOO_LARGE: Final = 413

EMPTY_POLL_SECONDS: Final = (0.01, 0.05, 0.1, 0.25)
"""Pauses after answers without an invocation; the last one is repeated."""

PRELUDE_END: Final = bytes(8)
ERROR_TYPE: Final = "lambda-runtime-function-error-type"
ERROR_BODY: Final = "lambda-runtime-function-error-body"
XRAY_CAUSE: Final = "lambda-runtime-function-xray-error-cause"
INVOCATION_ID: Final = "lambda-runtime-invocation-id"
RESPONSE_MODE: Final = "lambda-runtime-function-response-mode"


class InvalidInvocationError(PayloadError):
    """An invocation whose headers cannot be read.

    Attributes:
        context: what could be read.
    """

    def __init__(self, message: str, context: LambdaContext) -> None:
        super().__init__(message)
        self.context = context


class Outcome(enum.Enum):
    """What became of an answer that was given to the platform.

    `ACCEPTED`: it is on its way to the invoker. `TOO_LARGE`: the platform reported that to the invoker. `LATE`: the
    platform had given up on the invocation. `REPEATED`: it was sent twice, because the first time nobody told whether
    it had arrived; it had.
    """

    ACCEPTED = "accepted"
    TOO_LARGE = "too large"
    LATE = "late"
    REPEATED = "repeated"


class _Failure(msgspec.Struct, frozen=True, rename="camel"):
    """What the API answers to a call that it refuses."""

    error_message: str = ""
    error_type: str = ""


def parse_address(text: str) -> Address:
    """Read where the API is: `host:port`, or a URL with a path that every call is put under.

    Raises:
        UsageError: it is neither.
    """
    try:
        parts = urlsplit(text if "//" in text else f"//{text}", scheme="http")
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise UsageError(f"{text!r} is no address of a Runtime API: {exc}") from exc
    if parts.scheme != "http" or not host or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"{text!r} is no address of a Runtime API; write it like 127.0.0.1:9001")
    return Address(host, 80 if port is None else port, parts.path.rstrip("/"))


def default_user_agent(env: Mapping[str, str]) -> str:
    """How this runtime calls itself; `LAMBDA_RUNTIME_USER_AGENT` replaces it."""
    version = ".".join(map(str, sys.version_info[:3]))
    return env.get("LAMBDA_RUNTIME_USER_AGENT") or f"aws-lambda-python/{version}-{SDK_VERSION} perdure/{SDK_VERSION}"


class RuntimeApiClient:
    """Calls of the Runtime API, and of the part of the Extensions API that a runtime needs itself.

    Args:
        address: `host:port`, or a URL with a base path; the variable `AWS_LAMBDA_RUNTIME_API` when it is not given.
        function: goes into the context of every invocation.
        user_agent: how the client calls itself.

    Raises:
        UsageError: there is no address, or it cannot be read.
    """

    def __init__(
        self, address: str | None = None, *, function: FunctionConfig | None = None, user_agent: str | None = None
    ) -> None:
        text = os.environ.get("AWS_LAMBDA_RUNTIME_API", "") if address is None else address
        if not text:
            raise UsageError(
                "AWS_LAMBDA_RUNTIME_API is not set: Lambda and its emulators set it. To run a handler elsewhere, call "
                "it with a LambdaEvent"
            )
        self.address: Address = parse_address(text)
        self.function: FunctionConfig = function or FunctionConfig()
        agent = user_agent or default_user_agent(os.environ)
        self._common: list[tuple[str, str]] = [("host", self.address.authority), ("user-agent", agent)]
        self._runtime = f"{self.address.path}{RUNTIME}"
        self._next = self._head("GET", f"{self._runtime}/invocation/next", ())
        self._idle: list[Http1Connection] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()  # noqa: ASYNC102 - it closes sockets by force, at once

    async def aclose(self) -> None:
        """Close the connections that are not in use; those in use are closed when they are done."""
        self._closed = True
        await self.reset()

    async def reset(self) -> None:
        """Forget the kept connections, as after a restore from a snapshot: their peers are gone."""
        while self._idle:
            await self._idle.pop().aclose()

    # --- requests --------------------------------------------------------------------------------------------------

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Http1Response:
        """Send any request below the base path, and return its answer, whatever its status.

        Args:
            method: the HTTP method.
            path: below the base path, beginning with a slash.
            headers: besides host, user agent and framing.
            body: the whole body.

        Raises:
            ConnectionLostError: the API cannot be reached, or went away.
            RuntimeApiError: what answered does not speak HTTP.
        """
        head = self._head(method, f"{self.address.path}{path}", (headers or {}).items(), len(body))
        response, _ = await self._send(head, body)
        return response

    def _head(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], body_size: int | None = None
    ) -> Request:
        fields = [*self._common, *headers]
        if body_size is not None and (body_size or method != "GET"):
            fields.append(("content-length", str(body_size)))
        return Request.make(method, target, fields)

    async def _send(self, head: Request, body: bytes = b"") -> tuple[Http1Response, bool]:
        """Send a request; also tells whether it was sent twice though it may have arrived the first time."""
        connection, fresh = await self._take()
        again = False
        try:
            response = await connection.exchange(head, body)
        except ConnectionLostError as exc:
            if fresh or exc.answered:
                raise
            again = exc.sent
            connection = await connect(self.address)
            response = await connection.exchange(head, body)
        await self._give_back(connection)
        return response, again

    async def _take(self) -> tuple[Http1Connection, bool]:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection, False
            await connection.aclose()
        return await connect(self.address), True

    async def _give_back(self, connection: Http1Connection) -> None:
        if self._closed:
            await connection.aclose()
        else:
            self._idle.append(connection)

    # --- invocations -----------------------------------------------------------------------------------------------

    async def next_invocation(self) -> Invocation:
        """Wait for the next invocation, for hours if need be.

        Raises:
            InvalidInvocationError: one came whose headers cannot be read; it waits for an answer.
            RuntimeApiError: the platform has none any more, or refuses.
        """
        empty = 0
        while True:
            response, _ = await self._send(self._next)
            if response.status == OK:
                return self._invocation(response)
            if response.status != NO_CONTENT:
                raise _refused("give the next invocation", response)
            await anyio.sleep(EMPTY_POLL_SECONDS[min(empty, len(EMPTY_POLL_SECONDS) - 1)])
            empty += 1

    def _invocation(self, response: Http1Response) -> Invocation:
        headers = response.headers
        get = headers.get
        request_id = get("lambda-runtime-aws-request-id")
        if not request_id:
            raise RuntimeApiError("the platform gave an invocation without a request id", status=response.status)
        deadline = get("lambda-runtime-deadline-ms", "0")
        context = LambdaContext(
            request_id=request_id,
            deadline_ms=int(deadline) if deadline.isdecimal() else 0,
            invoked_function_arn=get("lambda-runtime-invoked-function-arn", ""),
            trace_id=get("lambda-runtime-trace-id") or None,
            tenant_id=get("lambda-runtime-aws-tenant-id") or None,
            invocation_id=get(INVOCATION_ID) or None,
            function=self.function,
        )
        client, identity = get("lambda-runtime-client-context"), get("lambda-runtime-cognito-identity")
        if client or identity:
            context = _with_invoker(context, client, identity)
        return Invocation(response.body, context, headers)

    async def respond(self, context: LambdaContext, body: bytes, content_type: str = JSON) -> Outcome:
        """Answer an invocation.

        Args:
            context: of the invocation.
            body: the answer.
            content_type: what the body is.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        target = f"{self._runtime}/invocation/{context.request_id}/response"
        fields = [("content-type", content_type)]
        if context.invocation_id is not None:
            fields.append((INVOCATION_ID, context.invocation_id))
        response, again = await self._send(self._head("POST", target, fields, len(body)), body)
        return _outcome("take an answer", response, again=again)

    async def fail(self, context: LambdaContext, error: Diagnostic) -> Outcome:
        """Report that an invocation failed.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        target = f"{self._runtime}/invocation/{context.request_id}/error"
        fields = _error_fields(error)
        if context.invocation_id is not None:
            fields.append((INVOCATION_ID, context.invocation_id))
        body = error.body(context.request_id)
        response, again = await self._send(self._head("POST", target, fields, len(body)), body)
        return _outcome("take an error report", response, again=again)

    async def respond_stream(
        self, context: LambdaContext, prelude: MetadataPrelude | None = None, content_type: str = OCTET_STREAM
    ) -> ResponseUpload:
        """Begin an answer that is streamed.

        Args:
            context: of the invocation.
            prelude: makes it an HTTP answer.
            content_type: what the bytes are, when there is no prelude.

        Raises:
            ConnectionLostError: the API cannot be reached.
        """
        fields = [
            ("content-type", content_type if prelude is None else HTTP_INTEGRATION),
            (RESPONSE_MODE, "streaming"),
            ("transfer-encoding", "chunked"),
            ("trailer", f"{ERROR_TYPE}, {ERROR_BODY}"),
        ]
        if context.invocation_id is not None:
            fields.append((INVOCATION_ID, context.invocation_id))
        head = self._head("POST", f"{self._runtime}/invocation/{context.request_id}/response", fields)
        connection, fresh = await self._take()
        try:
            upload = await connection.open(head)
        except ConnectionLostError:
            if fresh:
                raise
            connection = await connect(self.address)
            upload = await connection.open(head)
        stream = ResponseUpload(upload, self._give_back, context)
        if prelude is not None:
            # Two pieces: an emulator in use reads the prelude from the first and its end from the second.
            await stream.send(prelude.encode())
            await stream.send(PRELUDE_END)
        return stream

    # --- before the first invocation -------------------------------------------------------------------------------

    async def init_error(self, error: Diagnostic) -> None:
        """Report that the function could not start.

        Raises:
            RuntimeApiError: the platform does not take it; 403 when init is over.
        """
        await self._report("/init/error", error)

    async def restore_next(self) -> None:
        """Tell the platform that a snapshot may be taken; returns in a sandbox that was made from it.

        Raises:
            RuntimeApiError: the platform takes no snapshot.
        """
        response, _ = await self._send(self._head("GET", f"{self._runtime}/restore/next", ()))
        if response.status != OK:
            raise _refused("restore from a snapshot", response)

    async def restore_error(self, error: Diagnostic) -> None:
        """Report that the function could not go on from the snapshot.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        await self._report("/restore/error", error)

    async def _report(self, path: str, error: Diagnostic) -> None:
        body = error.body()
        head = self._head("POST", f"{self._runtime}{path}", _error_fields(error), len(body))
        response, _ = await self._send(head, body)
        if response.status not in {OK, ACCEPTED}:
            raise _refused("take an error report", response)

    # --- an internal extension -------------------------------------------------------------------------------------

    async def register_extension(self, name: str) -> str:
        """Register an internal extension that wants no events, and return its id.

        A sandbox with an extension is told by SIGTERM that it ends; without one it is killed at once. The platform
        waits until the extension asks for its next event (`next_extension_event`).

        Raises:
            RuntimeApiError: the platform does not take it; 403 when init is over.
        """
        body = b'{"events":[]}'
        fields = [("lambda-extension-name", name), ("content-type", JSON)]
        head = self._head("POST", f"{self.address.path}{EXTENSION}/register", fields, len(body))
        response, _ = await self._send(head, body)
        identifier = response.headers.get("lambda-extension-identifier")
        if response.status != OK or not identifier:
            raise _refused(f"register the extension {name}", response)
        return identifier

    async def next_extension_event(self, identifier: str) -> bytes:
        """Wait for an event of an extension, and return its JSON.

        Raises:
            RuntimeApiError: the platform refuses, or goes away, as it does at the end of the sandbox.
        """
        fields = [("lambda-extension-identifier", identifier)]
        response, _ = await self._send(self._head("GET", f"{self.address.path}{EXTENSION}/event/next", fields))
        if response.status != OK:
            raise _refused("give the next event", response)
        return response.body


class ResponseUpload:
    """An answer that is being streamed.

    Args:
        upload: the body of the request.
        give_back: takes the connection when all is done.
        context: of the invocation.
    """

    def __init__(
        self, upload: Upload, give_back: Callable[[Http1Connection], Awaitable[None]], context: LambdaContext
    ) -> None:
        self._upload = upload
        self._give_back = give_back
        self._context = context

    async def send(self, data: bytes) -> None:
        """Send a piece; empty data sends nothing."""
        await self._upload.send(data)

    async def finish(self, error: Diagnostic | None = None) -> Outcome:
        """End the answer.

        Args:
            error: what went wrong after it had begun; it reaches the invoker in trailers.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        trailers: list[tuple[bytes, bytes]] = []
        if error is not None:
            import base64  # noqa: PLC0415 - only errors need it

            body = base64.b64encode(error.body(self._context.request_id))
            trailers = [(ERROR_TYPE.encode(), error.header.encode()), (ERROR_BODY.encode(), body)]
        response = await self._upload.finish(trailers)
        await self._give_back(self._upload.connection)
        return _outcome("take a streamed answer", response, again=False)

    async def abort(self) -> None:
        """Break the answer off; the platform tells the invoker that it is truncated."""
        await self._upload.abort()


def _with_invoker(context: LambdaContext, client: str | None, identity: str | None) -> LambdaContext:
    try:
        return msgspec.structs.replace(
            context,
            client_context=ClientContext.parse(client) if client else None,
            identity=CognitoIdentity.parse(identity) if identity else None,
        )
    except msgspec.MsgspecError as exc:
        raise InvalidInvocationError(
            f"the client context or the Cognito identity of the invocation cannot be read: {exc}", context
        ) from exc


def _error_fields(error: Diagnostic) -> list[tuple[str, str]]:
    fields = [("content-type", ERROR_CONTENT_TYPE), (ERROR_TYPE, error.header)]
    if (cause := error.xray_cause()) is not None:
        fields.append((XRAY_CAUSE, cause))
    return fields


def _outcome(asked: str, response: Http1Response, *, again: bool) -> Outcome:
    status = response.status
    if status in {OK, ACCEPTED}:
        return Outcome.ACCEPTED
    if status == TOO_LARGE:
        return Outcome.TOO_LARGE
    if status == GONE:
        return Outcome.LATE
    if again and status in {BAD_REQUEST, FORBIDDEN}:
        return Outcome.REPEATED
    raise _refused(asked, response)


def _refused(asked: str, response: Http1Response) -> RuntimeApiError:
    try:
        failure = msgspec.json.decode(response.body, type=_Failure)
    except msgspec.MsgspecError:
        failure = _Failure(response.body[:200].decode(errors="replace"))
    said = ": ".join(part for part in (failure.error_type, failure.error_message) if part)
    return RuntimeApiError(
        f"the platform was to {asked} and answered {response.status}{f' ({said})' if said else ''}",
        status=response.status,
        error_type=failure.error_type,
    )
