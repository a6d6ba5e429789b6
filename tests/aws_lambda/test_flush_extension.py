"""Internal extensions: a flush after each answer, in memory and on AWS's own emulator."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from perdure.aws_lambda.context import LambdaContext
from perdure.aws_lambda.extensions import FlushExtension, InvokeEvent, with_extensions
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import BufferedResponse, PushedResponse, Response, ResponseStream, StreamingResponse
from tests.aws_lambda.extensions_server import platform
from tests.aws_lambda.test_extensions import INVOKE

pytestmark = pytest.mark.anyio

ASKED = Invocation(b"{}", LambdaContext(request_id="r-1"))


class Exporter:
    """What is flushed."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.broken = False

    async def flush(self) -> None:
        self.order.append("flush")
        if self.broken:
            raise ConnectionError("no collector")


class Sink:
    """A stream that notes what is written."""

    def __init__(self, order: list[str]) -> None:
        self.started = False
        self.order = order

    async def start(self, prelude: Any = None, *, content_type: str = "") -> None:
        self.started = True

    async def send(self, data: bytes) -> None:
        self.order.append(data.decode())


async def invoked(exporter: Exporter, extension: FlushExtension, response: Response) -> None:
    """One invocation as the platform sees it: the extension is told, the handler answers, the stream is written."""

    async def handler(invocation: Invocation) -> Response:
        del invocation
        exporter.order.append("handler")
        return response

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extension._after_invocation, InvokeEvent(request_id="r-1"))
        await anyio.wait_all_tasks_blocked()
        answer = await extension.layer(handler)(ASKED)
        await anyio.wait_all_tasks_blocked()
        sink = Sink(exporter.order)
        if isinstance(answer, PushedResponse):
            await answer.write(sink)
        elif isinstance(answer, StreamingResponse):
            async for piece in answer.body:
                await sink.send(piece)


async def test_the_flush_follows_the_answer() -> None:
    exporter = Exporter()
    await invoked(exporter, FlushExtension(exporter.flush), BufferedResponse(b""))
    assert exporter.order == ["handler", "flush"]


async def test_the_flush_follows_the_last_byte_of_a_stream() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    exporter = Exporter()
    await invoked(exporter, FlushExtension(exporter.flush), StreamingResponse(body()))
    assert exporter.order == ["handler", "a", "b", "flush"]


async def test_the_flush_follows_a_stream_that_is_written() -> None:
    async def write(stream: ResponseStream) -> None:
        await stream.start()
        await stream.send(b"a")

    exporter = Exporter()
    await invoked(exporter, FlushExtension(exporter.flush), PushedResponse(write))
    assert exporter.order == ["handler", "a", "flush"]


async def test_the_flush_follows_a_handler_that_fails() -> None:
    exporter = Exporter()
    extension = FlushExtension(exporter.flush)

    async def handler(invocation: Invocation) -> Response:
        raise ZeroDivisionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extension._after_invocation, InvokeEvent(request_id="r-1"))
        with pytest.raises(ZeroDivisionError):
            await extension.layer(handler)(ASKED)
    assert exporter.order == ["flush"]


async def test_an_invocation_that_never_reaches_the_handler_ends_at_its_deadline() -> None:
    exporter = Exporter()
    extension = FlushExtension(exporter.flush)
    await extension._after_invocation(InvokeEvent(request_id="r-1", deadline_ms=int(time.time() * 1000)))
    assert exporter.order == ["flush"]


async def test_nothing_is_kept_of_an_invocation_that_is_done() -> None:
    exporter = Exporter()
    extension = FlushExtension(exporter.flush)
    await invoked(exporter, extension, BufferedResponse(b""))
    assert extension._done == {}


async def test_a_flush_that_fails_is_logged_and_the_function_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Exporter()
    exporter.broken = True
    await invoked(exporter, FlushExtension(exporter.flush), BufferedResponse(b""))
    assert "the flush failed" in caplog.text
    assert "no collector" in caplog.text


async def test_on_managed_instances_no_extension_asks_for_invocations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")
    exporter = Exporter()
    extension = FlushExtension(exporter.flush)
    assert extension.events == ()

    async def handler(invocation: Invocation) -> Response:
        del invocation
        return BufferedResponse(b"")

    assert extension.layer(handler) is handler


async def test_extensions_are_registered_at_init_and_flushed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter()

    async def handler(event: Any) -> dict[str, int]:
        del event
        exporter.order.append("handler")
        return {"a": 1}

    service = with_extensions(handler, FlushExtension(exporter.flush))
    async with platform() as found:
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", found.address)
        async with service.running():
            assert found.registered == ("perdure-flush", ["INVOKE"])
            found.give(**{**INVOKE, "deadlineMs": 0})
            assert await service.invoke(ASKED) == BufferedResponse(b'{"a":1}')
            while found.calls.count("GET /2020-01-01/extension/event/next") < 2:
                await anyio.wait_all_tasks_blocked()
            assert exporter.order == ["handler", "flush"]
    assert exporter.order == ["handler", "flush", "flush"]


async def test_what_fails_beside_extensions_comes_out_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(event: Any) -> None:
        del event

    async with platform() as found:
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", found.address)
        with pytest.raises(ZeroDivisionError):
            async with with_extensions(handler, FlushExtension(Exporter().flush)).running():
                raise ZeroDivisionError
