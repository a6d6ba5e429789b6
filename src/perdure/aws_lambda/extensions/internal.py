"""Extensions in the process of the function: any, and the one that flushes after each invocation.

The platform freezes a sandbox as soon as the answer is given and everybody has asked for what comes next. What is still
in memory then, spans and metrics mostly, waits for the next invocation, or is lost. `FlushExtension` does not ask for
its next event before the flush is done, which delays the next invocation, and not the answer.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio

from perdure.aws_lambda.binding import service_fn
from perdure.aws_lambda.configuration import max_concurrency
from perdure.aws_lambda.extensions.extension import Extension, RegisteredExtension
from perdure.aws_lambda.extensions.registration import ExtensionEvent, InvokeEvent
from perdure.aws_lambda.failures import RuntimeApiError
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import PushedResponse, Response, ResponseStream, StreamingResponse
from perdure.aws_lambda.runtime_api import RuntimeApiClient
from perdure.aws_lambda.service import LambdaService, Next

__all__ = ["FlushExtension", "with_extensions"]

MANAGED_INSTANCES: Final = "lambda-managed-instances"

logger: Final = logging.getLogger("perdure.aws_lambda")


class FlushExtension(Extension):
    """Calls `flush` after each invocation, when its answer, streamed ones included, has been written.

    An error of the flush is logged; the function goes on. At the end of the sandbox `flush` is called once more. On
    managed instances it is called there alone: no extension is told of invocations, and nothing is frozen, so that
    whatever exports in the background does.

    Args:
        flush: sends what was gathered.
        name: of the extension.
        patience: seconds that one flush may take.
    """

    def __init__(
        self, flush: Callable[[], Awaitable[object]], *, name: str = "perdure-flush", patience: float = 10.0
    ) -> None:
        managed = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == MANAGED_INSTANCES
        super().__init__(self._after_invocation, name=name, events=() if managed else ("INVOKE",))
        self._flush = flush
        self._patience = patience
        self._done: dict[str, anyio.Event] = {}

    def layer(self, inner: Next) -> Next:
        """Notice when an invocation has been answered."""
        if not self.events:
            return inner

        async def call(invocation: Invocation) -> Response:
            done = self._of(invocation.context.request_id)
            streams = False
            try:
                response = await inner(invocation)
                streams = isinstance(response, (StreamingResponse, PushedResponse))
            finally:
                if not streams:
                    done.set()
            return _then(response, done.set)

        return call

    def _of(self, request_id: str) -> anyio.Event:
        return self._done.setdefault(request_id, anyio.Event())

    async def _after_invocation(self, event: ExtensionEvent) -> None:
        if isinstance(event, InvokeEvent):
            # The deadline is for invocations that never reach the layer: nothing of them needs a flush, but others do.
            left = math.inf if event.deadline is None else event.deadline_ms / 1000 - time.time()
            with anyio.move_on_after(max(0.0, left)):
                await self._of(event.request_id).wait()
            self._done.pop(event.request_id, None)
            await self.flush()

    async def flush(self) -> None:
        """Call the flush now."""
        try:
            with anyio.fail_after(self._patience):
                await self._flush()
        except Exception:
            logger.exception("the flush failed")


def _then(response: Response, done: Callable[[], None]) -> Response:
    """The response, with a call behind its last byte."""
    match response:
        case StreamingResponse():
            return StreamingResponse(_pieces(response.body, done), response.prelude, response.content_type)
        case PushedResponse():

            async def write(stream: ResponseStream) -> None:
                try:
                    await response.write(stream)
                finally:
                    done()

            return PushedResponse(write)
    return response


async def _pieces(body: AsyncIterable[bytes], done: Callable[[], None]) -> AsyncIterator[bytes]:
    try:
        async for piece in body:
            yield piece
    finally:
        done()
        if isinstance(body, AsyncGenerator):
            with anyio.CancelScope(shield=True):
                await body.aclose()


def with_extensions(handler: Any, *extensions: Extension) -> LambdaService:
    """Put extensions beside a handler, in its process: they are registered at init, before the first invocation.

    Args:
        handler: what `run` and `main` take: a function or a service.
        extensions: with events `()` or `("INVOKE",)`, since the platform offers an internal extension no others.
    """
    return _ExtendedService(service_fn(handler, threads=max_concurrency()), extensions)


class _ExtendedService(LambdaService):
    def __init__(self, inner: LambdaService, extensions: tuple[Extension, ...]) -> None:
        self._inner = inner
        self._extensions = extensions
        call: Next = inner.invoke
        for extension in extensions:
            if isinstance(extension, FlushExtension):
                call = extension.layer(call)
        self._call = call

    async def invoke(self, invocation: Invocation) -> Response:
        return await self._call(invocation)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[object]:
        """Run the service, and the extensions beside it."""
        failure: Exception | None = None
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._inner.running())
            client = await stack.enter_async_context(RuntimeApiClient())
            registered = [
                await stack.enter_async_context(extension.registered(client)) for extension in self._extensions
            ]
            async with anyio.create_task_group() as tasks:
                for each in registered:
                    tasks.start_soon(_attend, each)
                try:
                    yield None
                except Exception as error:  # noqa: BLE001 - raised below: the task group would wrap it
                    failure = error
                tasks.cancel_scope.cancel()
            for extension in self._extensions:
                if isinstance(extension, FlushExtension):
                    await extension.flush()
            if failure is not None:
                raise failure


async def _attend(extension: RegisteredExtension) -> None:
    try:
        await extension.run()
    except RuntimeApiError as error:  # the runtime loses the same platform, and says so
        logger.debug("the platform ended the wait of an extension: %s", error)
