"""Log records, as the managed runtime writes them."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from perdure.aws_lambda import JsonFormatter, LambdaContext, LambdaFilter, LambdaProcessor, configure_logging
from perdure.aws_lambda.context import current_context
from perdure.aws_lambda.records import FramedHandler, TextFormatter


@pytest.fixture
def invocation() -> Iterator[LambdaContext]:
    context = LambdaContext(request_id="r-1", trace_id="t-1", tenant_id="blue")
    token = current_context.set(context)
    yield context
    current_context.reset(token)


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger without handlers, as a new process has it; pytest adds its own when a test begins."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def record(message: object, *args: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    found = logging.LogRecord("shop", logging.ERROR, "/var/task/app.py", 7, message, args, exc_info, "sell")
    found.__dict__.update(extra)
    LambdaFilter().filter(found)
    return found


def test_a_record_is_a_json_object_with_the_keys_of_the_managed_runtime(invocation: LambdaContext) -> None:
    found = msgspec.json.decode(JsonFormatter().format(record("sold %s", "out", item="tea")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("timestamp"))
    assert found == {
        "level": "ERROR",
        "message": "sold out",
        "logger": "shop",
        "requestId": "r-1",
        "tenantId": "blue",
        "item": "tea",
    }


def test_outside_of_an_invocation_there_is_no_request_id() -> None:
    assert "requestId" not in msgspec.json.decode(JsonFormatter().format(record("start")))


def test_an_error_is_told_by_type_message_stack_and_place() -> None:
    with pytest.raises(ValueError, match="no") as caught:
        int("no")
    found = msgspec.json.decode(JsonFormatter().format(record("failed", error=caught.value)))
    assert (found["errorType"], found["errorMessage"]) == ("ValueError", str(caught.value))
    assert found["location"] == "/var/task/app.py:sell:7"
    assert "in test_an_error_is_told" in found["stackTrace"][0]


def test_a_message_that_is_an_object_stays_one() -> None:
    assert msgspec.json.decode(JsonFormatter().format(record({"a": 1})))["message"] == {"a": 1}


def test_what_json_cannot_write_is_written_as_text() -> None:
    found = msgspec.json.decode(JsonFormatter().format(record("x", what=object())))
    assert found["what"].startswith("<object object")


def test_text_has_level_time_and_request_id(invocation: LambdaContext) -> None:
    line = TextFormatter().format(record("sold %s", "out"))
    assert re.fullmatch(r"\[ERROR\]\t\S+Z\tr-1\tsold out", line)


def test_text_of_an_error_has_its_traceback() -> None:
    with pytest.raises(ValueError, match="no") as caught:
        int("no")
    assert TextFormatter().format(record("failed", error=caught.value)).endswith(f"ValueError: {caught.value}")


def test_structlog_events_name_the_invocation(invocation: LambdaContext) -> None:
    found = LambdaProcessor()(None, "info", {"event": "sold", "tenant_id": "own"})
    assert found == {"event": "sold", "request_id": "r-1", "trace_id": "t-1", "tenant_id": "own"}


def test_structlog_events_outside_of_an_invocation_stay_as_they_are() -> None:
    assert LambdaProcessor()(None, "info", {"event": "sold"}) == {"event": "sold"}


@pytest.mark.parametrize(
    ("env", "level"),
    [
        ({}, logging.WARNING),
        ({"AWS_LAMBDA_LOG_FORMAT": "json"}, logging.INFO),
        ({"AWS_LAMBDA_LOG_LEVEL": "debug"}, logging.DEBUG),
        ({"AWS_LAMBDA_LOG_LEVEL": "TRACE"}, logging.DEBUG),
        ({"AWS_LAMBDA_LOG_LEVEL": "FATAL"}, logging.CRITICAL),
        ({"AWS_LAMBDA_LOG_LEVEL": "loud"}, logging.WARNING),
    ],
)
def test_the_level_is_what_the_settings_of_the_function_say(env: dict[str, str], level: int) -> None:
    with bare_root() as root:
        configure_logging(env, stream=io.StringIO())
        assert root.level == level


def test_the_format_is_what_the_settings_of_the_function_say() -> None:
    stream = io.StringIO()
    with bare_root():
        configure_logging({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, stream=stream)
        logging.getLogger("shop").info("sold")
    assert msgspec.json.decode(stream.getvalue())["message"] == "sold"


def test_a_program_that_configured_logging_is_left_alone() -> None:
    own = logging.NullHandler()
    with bare_root() as root:
        root.addHandler(own)
        configure_logging({})
        assert root.handlers == [own]


@pytest.mark.parametrize(("as_json", "kind"), [(False, 0xA55A0017), (True, 0xA55A0016)])
def test_the_descriptor_of_the_platform_gets_frames(as_json: bool, kind: int) -> None:
    reader, writer = os.pipe()
    try:
        env = {"_LAMBDA_TELEMETRY_LOG_FD": str(writer), "AWS_LAMBDA_LOG_FORMAT": "JSON" if as_json else ""}
        with bare_root():
            configure_logging(env)
            logging.getLogger("shop").error("zwei\nZeilen ß")
        frame = os.read(reader, 4096)
    finally:
        os.close(reader)
        os.close(writer)
    assert int.from_bytes(frame[:4], "big") == kind
    assert int.from_bytes(frame[4:8], "big") == len(frame) - 16
    assert int.from_bytes(frame[8:16], "big") > 1_600_000_000_000_000
    assert "Zeilen ß" in frame[16:].decode()


def test_a_descriptor_that_is_closed_does_not_fail_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    handler = FramedHandler(writer)
    handler.handle(record("lost"))
    assert "Bad file descriptor" in capsys.readouterr().err
    assert sys.stderr is not None
