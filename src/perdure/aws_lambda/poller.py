"""Serving invocations one after the other: ask for the next, run it, give its answer.

Whatever goes wrong in an invocation is told to the platform, and the poller goes on. It ends when the platform has no
next invocation for it.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING, Any, Final

import anyio

from perdure.aws_lambda.context import LambdaContext, current_context
from perdure.aws_lambda.diagnostics import Diagnostic, diagnose
from perdure.aws_lambda.failures import FunctionError, RuntimeApiError
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import (
    OCTET_STREAM,
    BufferedResponse,
    MetadataPrelude,
    PushedResponse,
    Response,
    StreamingResponse,
)
from perdure.aws_lambda.runtime_api import InvalidInvocationError, Outcome, ResponseUpload, RuntimeApiClient
from perdure.aws_lambda.service import Next
from perdure.exceptions import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Poller"]

NEXT_TRIES: Final = 5
NEXT_DELAY_SECONDS: Final = 0.1
"""Where several invocations run at a time, one failed poll must not end the others: it is tried again, each time after
twice as long."""

_log: Final = logging.getLogger("perdure.aws_lambda")


class _Stream:
    """The stream of one invocation."""

    def __init__(self, client: RuntimeApiClient, context: LambdaContext) -> None:
        self._client = client
        self._context = context
        self._upload: ResponseUpload | None = None

    @property
    def started(self) -> bool:
        return self._upload is not None

    async def start(self, prelude: MetadataPrelude | None = None, *, content_type: str = OCTET_STREAM) -> None:
        if self._upload is not None:
            raise UsageError("the answer has begun already; a stream is started once")
        self._upload = await self._client.respond_stream(self._context, prelude, content_type)

    async def send(self, data: bytes) -> None:
        if self._upload is None:
            raise UsageError("the answer has not begun; start the stream before sending")
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"a stream carries bytes, not {type(data).__name__}")
        await self._upload.send(bytes(data))

    async def finish(self, error: Diagnostic | None = None) -> Outcome:
        assert self._upload is not None
        return await self._upload.finish(error)

    async def abort(self) -> None:
        if self._upload is not None:
            await self._upload.abort()


class Poller:
    """One loop over the platform's long poll.

    Args:
        client: the platform.
        call: what answers.
        deadline_margin: seconds before the deadline at which an invocation is cancelled; `None` leaves it alone.
        alone: whether this process runs one invocation at a time. Then the trace header goes into the environment, and
            a failed poll ends the loop.
    """

    def __init__(
        self, client: RuntimeApiClient, call: Next, *, deadline_margin: float | None = None, alone: bool = True
    ) -> None:
        self._client = client
        self._call = call
        self._margin = deadline_margin
        self._alone = alone

    async def run(self) -> None:
        """Serve until there is no next invocation.

        Raises:
            RuntimeApiError: the platform gives none.
        """
        while True:
            try:
                invocation = await self._next()
            except InvalidInvocationError as error:
                await self._fail(error.context, diagnose(error))
            else:
                await self.serve(invocation)

    async def _next(self) -> Invocation:
        if self._alone:
            return await self._client.next_invocation()
        delay = NEXT_DELAY_SECONDS
        for _ in range(NEXT_TRIES - 1):
            try:
                return await self._client.next_invocation()
            except RuntimeApiError as error:
                _log.warning("%s; it is asked again in %s s", error, delay)
            await anyio.sleep(delay)
            delay *= 2
        return await self._client.next_invocation()

    async def serve(self, invocation: Invocation) -> None:
        """Run one invocation, and give its answer to the platform."""
        context = invocation.context
        token = current_context.set(context)
        unbind = _bind_structlog(context)
        if self._alone:
            _export_trace(context.trace_id)
        try:
            await self._serve(invocation, context)
        finally:
            if unbind is not None:
                unbind()
            current_context.reset(token)

    async def _serve(self, invocation: Invocation, context: LambdaContext) -> None:
        stream = _Stream(self._client, context)
        response: Response | None = None
        error: BaseException | None = None
        try:
            remaining = math.inf if self._margin is None else context.remaining_time() - self._margin
            if 0 < remaining < math.inf:
                with anyio.move_on_after(remaining) as scope:
                    response = await self._answer(invocation, stream)
                if scope.cancelled_caught:
                    error = _timed_out(context)
            else:  # no deadline is known, or it is over: the platform decides
                response = await self._answer(invocation, stream)
        except anyio.get_cancelled_exc_class() as exc:  # noqa: ASYNC103 - re-raised when it is a cancellation
            if _is_cancelled():
                await stream.abort()  # noqa: ASYNC102, ASYNC120 - it closes by force, at once
                raise
            error = exc  # raised by the handler itself, as awaiting a cancelled future does
        except Exception as exc:  # noqa: BLE001 - it is reported: nothing that a handler raises ends the loop
            error = exc
        except BaseException as exc:  # SystemExit, KeyboardInterrupt: told, then obeyed
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await self._finish(stream, context, None, exc)
            raise
        await self._finish(stream, context, response, error)

    async def _answer(self, invocation: Invocation, stream: _Stream) -> Response:
        response = await self._call(invocation)
        if isinstance(response, StreamingResponse):
            await _send_pieces(response, stream)
        elif isinstance(response, PushedResponse):
            await response.write(stream)
            if not stream.started:
                raise UsageError("the response was written without starting its stream")
        elif not isinstance(response, BufferedResponse):
            raise UsageError(f"a layer or service returned {type(response).__name__}, which is no response")
        return response

    async def _finish(
        self, stream: _Stream, context: LambdaContext, response: Response | None, error: BaseException | None
    ) -> None:
        """Give the answer or the error to the platform; when it takes neither, the next poll tells how bad that is."""
        diagnostic = None if error is None else diagnose(error)
        if error is not None:
            _log.error("the invocation %s failed", context.request_id, exc_info=error)
        try:
            if stream.started:
                outcome = await stream.finish(diagnostic)
            elif diagnostic is not None:
                outcome = await self._client.fail(context, diagnostic)
            else:
                assert isinstance(response, BufferedResponse)
                outcome = await self._client.respond(context, response.body, response.content_type)
        except UsageError as usage:  # a content type that cannot stand in a header
            await self._fail(context, diagnose(usage))
        except RuntimeApiError as refused:
            _log.error("the answer to the invocation %s is lost: %s", context.request_id, refused)
        else:
            _tell(outcome, context)

    async def _fail(self, context: LambdaContext, error: Diagnostic) -> None:
        try:
            _tell(await self._client.fail(context, error), context)
        except RuntimeApiError as refused:
            _log.error("the error of the invocation %s is lost: %s", context.request_id, refused)


async def _send_pieces(response: StreamingResponse, stream: _Stream) -> None:
    """Send the pieces as they come, and close their source on every way out.

    Without a prelude the stream starts with its first piece, so that an error before it is an ordinary one.
    """
    body = response.body
    try:
        if response.prelude is not None:
            await stream.start(response.prelude)
        async for piece in body:
            if not stream.started:
                await stream.start(content_type=response.content_type)
            await stream.send(piece)
        if not stream.started:
            await stream.start(content_type=response.content_type)
    finally:
        await _close(body)  # noqa: ASYNC102 - it is shielded; what the generator does is the handler's


async def _close(body: AsyncIterable[bytes]) -> None:
    if isinstance(body, AsyncGenerator):
        with anyio.CancelScope(shield=True):
            await body.aclose()


def _timed_out(context: LambdaContext) -> FunctionError:
    return FunctionError(
        f"the handler had not answered shortly before the deadline of this invocation ({context.deadline}); give the "
        "function a longer time-out, or the handler less to do",
        error_type="Function.Timeout",
    )


def _is_cancelled() -> bool:
    """Whether this task is told to end, by a scope around it or by the event loop."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another event loop runs
        return False
    return task is not None and task.cancelling() > 0


def _tell(outcome: Outcome, context: LambdaContext) -> None:
    if outcome is Outcome.TOO_LARGE:
        _log.warning(
            "the answer to the invocation %s was larger than the platform takes (6 MiB); the invoker was told",
            context.request_id,
        )
    elif outcome is Outcome.LATE:
        _log.warning("the answer to the invocation %s came too late: the platform had given up", context.request_id)


def _export_trace(trace_id: str | None) -> None:
    """Put the trace header where AWS's own SDKs look for it."""
    if trace_id is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    else:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id


def _bind_structlog(context: LambdaContext) -> Callable[[], None] | None:
    """Bind the invocation to structlog's context, when the program uses structlog; returns what undoes it."""
    contextvars: Any = sys.modules.get("structlog.contextvars")
    if contextvars is None:
        return None
    fields = {"request_id": context.request_id, "trace_id": context.trace_id, "tenant_id": context.tenant_id}
    tokens = contextvars.bind_contextvars(**{name: value for name, value in fields.items() if value is not None})
    return lambda: contextvars.reset_contextvars(**tokens)
