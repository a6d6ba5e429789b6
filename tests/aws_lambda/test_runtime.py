"""The runtime, against a strict platform on a real socket."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
import structlog

from perdure.aws_lambda import (
    BufferedResponse,
    FunctionError,
    Invocation,
    LambdaEvent,
    LambdaService,
    MetadataPrelude,
    Next,
    PushedResponse,
    Response,
    ResponseStream,
    RuntimeApiClient,
    RuntimeApiError,
    StreamingResponse,
    current_context,
    run,
)
from perdure.exceptions import UsageError
from tests.aws_lambda.runtime_server import running, runtime_server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("function_env")]


async def echo(event: LambdaEvent[Any]) -> Any:
    return event.payload


# --- layers --------------------------------------------------------------------------------------------------------


async def test_the_last_layer_runs_first() -> None:
    seen: list[str] = []

    def layer(name: str, inner: Next) -> Next:
        async def call(invocation: Invocation) -> Response:
            seen.append(f"{name} {invocation.body.decode()}")
            return await inner(msgspec.structs.replace(invocation, body=b'"changed"'))

        return call

    async with running(echo, layers=[partial(layer, "inner"), partial(layer, "outer")]) as server:
        assert (await server.ask("tea")).json == "changed"
    assert seen == ['outer "tea"', 'inner "changed"']


async def test_a_layer_may_answer_by_itself() -> None:
    def cached(inner: Next) -> Next:
        async def call(invocation: Invocation) -> Response:
            return BufferedResponse(b"cached", "text/plain")

        return call

    async with running(echo, layers=[cached]) as server:
        answer = await server.ask("tea")
    assert (answer.body, answer.headers["content-type"]) == (b"cached", "text/plain")


async def test_a_layer_that_returns_no_response_is_told_so() -> None:
    def broken(inner: Next) -> Next:
        async def call(invocation: Invocation) -> Any:
            return b"bytes"

        return call

    async with running(echo, layers=[broken]) as server:
        assert "returned bytes, which is no response" in (await server.ask()).json["errorMessage"]


# --- streams -------------------------------------------------------------------------------------------------------


async def test_an_async_generator_is_a_stream() -> None:
    async def numbers(event: LambdaEvent[int]) -> AsyncIterator[bytes]:
        for number in range(event.payload):
            yield str(number).encode()

    async with running(numbers) as server:
        answer = await server.ask(3)
    assert answer.pieces == [b"0", b"1", b"2"]
    assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
    assert answer.trailers == {}


async def test_an_empty_stream_is_an_empty_answer() -> None:
    async def nothing(event: LambdaEvent[int]) -> AsyncIterator[bytes]:
        for _ in range(event.payload):
            yield b""

    async with running(nothing) as server:
        answer = await server.ask(0)
    assert (answer.kind, answer.body, answer.trailers) == ("response", b"", {})


async def test_a_stream_that_fails_ends_with_the_error_and_the_loop_goes_on() -> None:
    async def failing(event: LambdaEvent[Any]) -> AsyncIterator[bytes]:
        yield b"one"
        if event.payload == "fail":
            raise ValueError("midway")

    async with running(failing) as server:
        answer = await server.ask("fail")
        assert answer.body == b"one"
        assert answer.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
        error = msgspec.json.decode(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "midway")
        assert (await server.ask("fine")).trailers == {}


async def test_a_stream_that_fails_before_its_first_piece_is_an_ordinary_error() -> None:
    async def failing(event: LambdaEvent[Any]) -> AsyncIterator[bytes]:
        if event.payload is None:
            raise ValueError("at once")
        yield b""

    async with running(failing) as server:
        answer = await server.ask()
    assert (answer.kind, answer.json["errorMessage"]) == ("error", "at once")


async def test_a_stream_with_a_prelude_is_an_http_answer() -> None:
    async def page(event: LambdaEvent[Any]) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"hello"

        return StreamingResponse(body(), MetadataPrelude(404, multi_value_headers={"x": ["1", "2"]}))

    async with running(page) as server:
        answer = await server.ask()
    prelude, _, body = answer.body.partition(bytes(8))
    expected = {"statusCode": 404, "headers": {}, "cookies": [], "multiValueHeaders": {"x": ["1", "2"]}}
    assert msgspec.json.decode(prelude) == expected
    assert body == b"hello"
    assert answer.pieces[:2] == [prelude, bytes(8)]


async def test_the_source_of_a_stream_is_closed_when_the_platform_stops_listening() -> None:
    closed = anyio.Event()

    async def endless(event: LambdaEvent[Any]) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await anyio.lowlevel.checkpoint()
        finally:
            closed.set()

    deadline = {"Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 300)}
    async with running(endless) as server:
        answer = await server.ask(headers=deadline)
        with anyio.fail_after(5):
            await closed.wait()
    assert answer.trailers["lambda-runtime-function-error-type"] == "Function.Timeout"


async def test_a_pushed_response_writes_its_stream_itself() -> None:
    async def handler(event: LambdaEvent[Any]) -> PushedResponse:
        async def write(stream: ResponseStream) -> None:
            before = stream.started
            await stream.start(content_type="text/plain")
            assert (before, stream.started) == (False, True)
            await stream.send(b"one")
            if event.payload == "fail":
                raise ValueError("midway")

        return PushedResponse(write)

    async with running(handler) as server:
        answer = await server.ask()
        assert (answer.body, answer.headers["content-type"]) == (b"one", "text/plain")
        assert "lambda-runtime-function-error-type" in (await server.ask("fail")).trailers


@pytest.mark.parametrize(
    ("how", "message"),
    [("never", "without starting"), ("twice", "has begun already"), ("early", "has not begun"), ("text", "not str")],
)
async def test_a_pushed_response_that_misuses_its_stream_is_told_so(how: str, message: str) -> None:
    async def write(stream: Any) -> None:
        if how == "early":
            await stream.send(b"")
        if how in {"twice", "text"}:
            await stream.start()
        if how == "twice":
            await stream.start()
        if how == "text":
            await stream.send("text")

    async def handler(event: LambdaEvent[Any]) -> PushedResponse:
        return PushedResponse(write)

    async with running(handler) as server:
        answer = await server.ask()
    told = base64.b64decode(answer.trailers.get("lambda-runtime-function-error-body", "")) or answer.body
    assert message in msgspec.json.decode(told)["errorMessage"]


# --- errors --------------------------------------------------------------------------------------------------------


async def test_an_error_chooses_its_type() -> None:
    async def handler(event: LambdaEvent[Any]) -> None:
        raise FunctionError("sold out", error_type="Shop.SoldOut")

    async with running(handler) as server:
        answer = await server.ask()
    assert answer.json["errorType"] == "Shop.SoldOut"
    assert answer.headers["lambda-runtime-function-error-type"] == "Function.Shop.SoldOut"
    assert answer.json["requestId"] == "request-1"


async def test_a_cancellation_that_nobody_asked_for_is_an_error_of_the_handler() -> None:
    async def handler(event: LambdaEvent[Any]) -> None:
        raise asyncio.CancelledError

    async with running(handler) as server:
        if asyncio_runs():
            assert (await server.ask()).json["errorType"] == "CancelledError"
            assert (await server.ask()).json["errorType"] == "CancelledError"


def asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def test_a_late_answer_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(event: LambdaEvent[Any]) -> Any:
        if event.payload == "late":
            server.expire(event.context.request_id, "try-2")
        return event.payload

    async with running(handler) as server:
        server.give("late", {"Lambda-Runtime-Invocation-Id": "try-1"})
        assert (await server.ask("tea")).json == "tea"
        assert server.refused == [410]
    assert "came too late" in caplog.text


async def test_an_answer_that_is_lost_is_logged_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with running(echo) as server:
        server.before_answer.append(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
        server.give("lost")
        assert (await server.ask("tea")).json == "tea"
    assert "the answer to the invocation request-1 is lost: the platform was to take an answer" in caplog.text


async def test_an_invocation_whose_headers_cannot_be_read_fails_and_the_loop_goes_on() -> None:
    async with running(echo) as server:
        answer = await server.ask("tea", {"Lambda-Runtime-Client-Context": "["})
        assert answer.json["errorType"] == "Runtime.UnmarshalError"
        assert (await server.ask("tea")).json == "tea"


async def test_a_platform_that_vanishes_ends_the_runtime_with_an_error() -> None:
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.append(None)
        with pytest.raises(RuntimeApiError, match="ended the connection"):
            await run(echo, client=client)


# --- deadlines -----------------------------------------------------------------------------------------------------


def deadline(seconds: float) -> dict[str, str]:
    return {"Lambda-Runtime-Deadline-Ms": str(int((time.time() + seconds) * 1000))}


async def test_an_invocation_is_cancelled_before_its_deadline_and_may_clean_up() -> None:
    cleaned: list[float] = []

    async def handler(event: LambdaEvent[Any]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(event.context.remaining_time())

    async with running(handler, deadline_margin=0.2) as server:
        answer = await server.ask(headers=deadline(0.3))
    assert answer.json["errorType"] == "Function.Timeout"
    assert cleaned
    assert 0 < cleaned[0] <= 0.2


async def test_without_a_margin_the_platform_decides() -> None:
    async def handler(event: LambdaEvent[Any]) -> float:
        await anyio.sleep(0.1)
        return event.context.remaining_time()

    async with running(handler, deadline_margin=None) as server:
        assert (await server.ask(headers=deadline(0.05))).json == 0


async def test_a_deadline_that_is_over_already_cancels_nothing() -> None:
    async with running(echo) as server:
        assert (await server.ask("tea", deadline(-5))).json == "tea"


# --- concurrency ---------------------------------------------------------------------------------------------------


async def test_invocations_run_at_the_same_time_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "8")
    here = 0
    all_here = anyio.Event()

    async def handler(event: LambdaEvent[int]) -> list[object]:
        nonlocal here
        here += 1
        if here == 8:
            all_here.set()
        await all_here.wait()
        context = current_context.get()
        assert context is not None
        return [event.payload, context.request_id, context.tenant_id]

    async with running(handler) as server:
        with anyio.fail_after(10):
            ids = [server.give(number, {"Lambda-Runtime-Aws-Tenant-Id": f"t{number}"}) for number in range(8)]
            for number, request_id in enumerate(ids):
                assert (await server.answered(request_id)).json == [number, request_id, f"t{number}"]
        assert "_X_AMZN_TRACE_ID" not in os.environ


async def test_one_failed_poll_of_many_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.aws_lambda.poller.NEXT_DELAY_SECONDS", 0.001)
    async with running(echo, concurrency=2) as server:
        server.before_next.extend([b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"] * 4)
        assert (await server.ask("tea")).json == "tea"


async def test_polls_that_always_fail_end_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.aws_lambda.poller.NEXT_DELAY_SECONDS", 0.001)
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.extend([b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"] * 10)
        with pytest.raises(RuntimeApiError, match="answered 500"):
            await run(echo, client=client, concurrency=2)


async def test_plain_functions_run_in_threads_as_many_as_invocations() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def handler(event: LambdaEvent[Any]) -> bool:
        barrier.wait()
        assert current_context.get() is not None
        return threading.current_thread() is threading.main_thread()

    async with running(handler, concurrency=3) as server:
        ids = [server.give() for _ in range(3)]
        with anyio.fail_after(10):
            assert [(await server.answered(each)).json for each in ids] == [False] * 3


@pytest.mark.parametrize("text", ["0", "many", "-1"])
async def test_a_concurrency_that_is_no_number_is_an_init_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", text)
    await fails_to_start(echo, UsageError, "AWS_LAMBDA_MAX_CONCURRENCY")


# --- init ----------------------------------------------------------------------------------------------------------


async def fails_to_start(handler: Any, error: type[BaseException], message: str, **options: Any) -> None:
    """The runtime ends with an error, which was reported, and never polled."""
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with pytest.raises(error, match=message):
            await run(handler, client=client, **options)
        ((phase, report),) = server.reports
        assert phase == "init"
        assert report.json["errorType"] == error.__name__
        assert message in report.json["errorMessage"]
        assert server.polls == 0


async def test_a_function_that_is_no_handler_is_an_init_error() -> None:
    async def handler() -> None: ...

    await fails_to_start(handler, UsageError, "takes other arguments than a handler does")


async def test_a_missing_variable_is_an_init_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    await fails_to_start(echo, UsageError, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")


class Pool(LambdaService):
    def __init__(self, fail: bool = False) -> None:
        self.fail = fail
        self.log: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[object]:
        if self.fail:
            raise ConnectionError("the database is away")
        self.log.append("open")
        yield None
        self.log.append("closed")

    async def invoke(self, invocation: Invocation) -> Response:
        self.log.append("invoke")
        return BufferedResponse(invocation.body)


async def test_a_service_is_entered_before_the_first_invocation() -> None:
    service = Pool()
    async with running(service) as server:
        assert (await server.ask("tea")).json == "tea"
        assert service.log == ["open", "invoke"]


async def test_a_service_that_cannot_be_entered_is_an_init_error() -> None:
    await fails_to_start(Pool(fail=True), ConnectionError, "the database is away")


async def test_a_service_with_a_lifespan_makes_the_platform_announce_the_end() -> None:
    async with running(Pool()) as server:
        await server.ask("tea")
        assert server.extensions == ["perdure-shutdown"]


async def test_a_function_without_a_hook_registers_no_extension() -> None:
    async with running(echo) as server:
        await server.ask("tea")
        assert server.extensions == []


# --- context -------------------------------------------------------------------------------------------------------

TRACE = {"Lambda-Runtime-Trace-Id": "Root=1-5bef4de7;Sampled=1"}


async def test_the_trace_header_is_where_the_tools_of_aws_look_for_it() -> None:
    async def handler(event: LambdaEvent[Any]) -> str | None:
        return os.environ.get("_X_AMZN_TRACE_ID")

    async with running(handler) as server:
        assert (await server.ask(headers=TRACE)).json == "Root=1-5bef4de7;Sampled=1"
        assert (await server.ask()).json is None


async def test_structlog_names_the_invocation_in_every_event() -> None:
    async def handler(event: LambdaEvent[Any]) -> None:
        structlog.get_logger().info("sold")

    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        async with running(handler) as server:
            await server.ask(headers={**TRACE, "Lambda-Runtime-Aws-Tenant-Id": "blue"})
            await server.ask()
    assert {key: logs[0].get(key) for key in ("request_id", "trace_id", "tenant_id")} == {
        "request_id": "request-1",
        "trace_id": "Root=1-5bef4de7;Sampled=1",
        "tenant_id": "blue",
    }
    assert logs[1].get("request_id") == "request-2"
    assert "tenant_id" not in logs[1]


async def test_the_context_is_gone_between_invocations() -> None:
    async with running(echo) as server:
        await server.ask()
        assert current_context.get() is None


async def test_an_error_is_logged_inside_of_its_invocation() -> None:
    seen: list[str | None] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            context = current_context.get()
            seen.append(context.request_id if context else None)

    async def fail(event: LambdaEvent[Any]) -> None:
        raise ValueError("no")

    logger = logging.getLogger("perdure.aws_lambda")
    handler = Handler(logging.ERROR)
    logger.addHandler(handler)
    try:
        async with running(fail) as server:
            await server.ask()
    finally:
        logger.removeHandler(handler)
    assert seen == ["request-1"]


# --- imports -------------------------------------------------------------------------------------------------------

IMPORTED = """
import sys
import anyio
from perdure.aws_lambda import LambdaEvent, RuntimeApiClient, RuntimeApiError, run

async def handler(event: LambdaEvent) -> object:
    return event.payload

async def main() -> None:
    async with RuntimeApiClient("{address}") as client:
        try:
            await run(handler, client=client)
        except RuntimeApiError:
            pass

anyio.run(main)
print(sorted({{"structlog", "trio", "hypercorn", "h11", "h2", "pydantic"}} & set(sys.modules)))
"""


async def test_a_function_on_asyncio_never_loads_what_it_does_not_need() -> None:
    async with runtime_server() as server:
        server.give("tea")
        program = IMPORTED.format(address=server.address)
        process = await anyio.open_process([sys.executable, "-c", program], stderr=subprocess.PIPE)
        async with process:
            await server.until(polls=2)
            server.before_next.append(None)
            await server.end_connections()
            assert process.stdout is not None
            assert process.stderr is not None
            printed = b"".join([piece async for piece in process.stdout])
            errors = b"".join([piece async for piece in process.stderr])
    assert printed == b"[]\n", errors
