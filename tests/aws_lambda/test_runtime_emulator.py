"""The runtime under AWS's own emulator: what an invoker gets to see."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.aws_lambda.emulator import Emulator, emulator

FUNCTIONS = "tests.aws_lambda.rie_function"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One function for all tests that leave its process alive."""
    command = ["-m", "perdure.aws_lambda", f"{FUNCTIONS}.handle", "--backend", backend]
    env = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "2", "AWS_LAMBDA_LOG_FORMAT": "JSON"}
    with emulator(command, tmp_path_factory.mktemp("rie"), env) as found:
        yield found


@pytest.fixture
def mortal(backend: str, tmp_path: Path) -> Iterator[Emulator]:
    """A function whose process a test may end."""
    command = ["-m", "perdure.aws_lambda", f"{FUNCTIONS}.handle", "--backend", backend]
    with emulator(command, tmp_path, {"AWS_LAMBDA_FUNCTION_TIMEOUT": "1"}) as found:
        yield found


def test_the_result_reaches_the_invoker(running: Emulator) -> None:
    assert running.result({"do": "echo", "text": "Grüße"}) == {"do": "echo", "text": "Grüße"}


def test_the_context_says_what_the_platform_said(running: Emulator) -> None:
    client = base64.b64encode(b'{"client": {"app_title": "shop"}, "custom": {"a": 1}}').decode()
    trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"
    found = running.result({"do": "context"}, {"X-Amz-Client-Context": client, "X-Amzn-Trace-Id": trace})
    assert found["arn"] == "arn:aws:lambda:us-east-1:012345678912:function:test_function"
    assert 0 < found["left"] <= 2
    assert found["request_id"]
    assert found["trace_id"] == found["exported"]
    assert found["client"]["custom"] == {"a": 1}
    assert found["client"]["client"]["app_title"] == "shop"
    assert found["function"]["name"] == "test_function"
    assert found["function"]["version"] == "$LATEST"


def test_an_error_of_the_handler_has_type_message_and_stack(running: Emulator) -> None:
    found = running.result({"do": "fail"})
    assert found["errorType"] == "CustomerError"
    assert found["errorMessage"] == "no such customer"
    assert "rie_function.py" in found["stackTrace"][0]
    assert "in handle" in found["stackTrace"][0]
    assert found["requestId"]


def test_a_group_around_one_error_is_that_error(running: Emulator) -> None:
    found = running.result({"do": "group"})
    assert (found["errorType"], found["errorMessage"]) == ("CustomerError", "no such customer")


def test_a_result_that_is_no_json_is_an_error_and_the_loop_goes_on(running: Emulator) -> None:
    found = running.result({"do": "unwritable"})
    assert found["errorType"] == "Runtime.MarshalError"
    assert "object" in found["errorMessage"]
    assert running.result({"do": "echo"}) == {"do": "echo"}


def test_an_event_that_is_no_json_is_an_error_and_the_loop_goes_on(running: Emulator) -> None:
    found = msgspec.json.decode(running.invoke(b'{"do"').body)
    assert found["errorType"] == "Runtime.UnmarshalError"
    assert running.result({"do": "echo"}) == {"do": "echo"}


def test_the_largest_answer_that_the_platform_takes_arrives(running: Emulator) -> None:
    size = 6 * 1024 * 1024 + 100 - len('""')
    assert len(running.invoke({"do": "large", "size": size}).body) == size + 2


def test_a_larger_answer_is_reported_by_the_platform_and_the_loop_goes_on(running: Emulator) -> None:
    found = running.result({"do": "large", "size": 6 * 1024 * 1024 + 100 - len('""') + 1})
    assert found["errorType"] == "Function.ResponseSizeTooLarge"
    assert "was larger than the platform takes" in running.log()
    assert running.result({"do": "echo"}) == {"do": "echo"}


def test_a_handler_that_hangs_is_cancelled_before_the_deadline_and_its_process_lives(running: Emulator) -> None:
    before = running.result({"do": "context"})["pid"]
    found = running.result({"do": "hang"})
    assert found["errorType"] == "Function.Timeout"
    assert running.result({"do": "context"})["pid"] == before


def test_log_records_are_json_and_name_their_invocation(running: Emulator) -> None:
    request_id = running.result({"do": "context"})["request_id"]
    running.invoke({"do": "log"})
    lines = [msgspec.json.decode(line) for line in running.log().splitlines() if line.startswith('{"timestamp"')]
    found = next(line for line in reversed(lines) if line["logger"] == "shop")
    assert {"level": "ERROR", "message": "sold out", "item": "tea"}.items() <= found.items()
    assert found["requestId"]
    assert found["requestId"] != request_id


def test_a_handler_that_blocks_is_ended_by_the_platform_and_started_again(mortal: Emulator) -> None:
    assert b"Task timed out after 1.00 seconds" in mortal.invoke({"do": "block"}).body
    assert mortal.result({"do": "echo"}) == {"do": "echo"}


def test_a_process_that_ends_is_reported_by_the_platform(mortal: Emulator) -> None:
    assert mortal.result({"do": "exit"})["errorType"] == "Runtime.ExitError"


def test_a_handler_that_exits_is_reported_with_its_own_type_first(mortal: Emulator) -> None:
    assert mortal.result({"do": "raise exit"})["errorType"] == "SystemExit"


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        ("tests.aws_lambda.rie_function.nothing", "UsageError", "has no nothing"),
        ("tests.aws_lambda.no_such_module.handle", "UsageError", "there is no module"),
        ("tests.aws_lambda.rie_broken.handle", "ZeroDivisionError", "division by zero"),
        ("nodots", "UsageError", "write it like module.function"),
    ],
)
def test_what_fails_before_the_first_invocation_is_an_init_error(
    handler: str, error_type: str, message: str, tmp_path: Path
) -> None:
    with emulator(["-m", "perdure.aws_lambda"], tmp_path, {"_HANDLER": handler}) as found:
        answer = found.result({})
        assert answer["errorType"] == error_type
        assert message in answer["errorMessage"]


@pytest.fixture(scope="module", params=["typed", "plain"])
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, str]]:
    command = ["-m", "perdure.aws_lambda", f"{FUNCTIONS}.{request.param}"]
    with emulator(command, tmp_path_factory.mktemp("rie")) as found:
        yield found, request.param


def test_a_payload_is_read_as_its_annotation_says(reading: tuple[Emulator, str]) -> None:
    running, name = reading
    expected: dict[str, Any] = {"item": "tea", "count": 2 if name == "typed" else 1}
    assert running.result({"item": "tea", "count": 1}) == expected


def test_a_payload_that_does_not_fit_is_an_error_that_names_the_field(reading: tuple[Emulator, str]) -> None:
    running, _ = reading
    found = running.result({"item": "tea", "count": "many"})
    assert found["errorType"] == "Runtime.UnmarshalError"
    assert "`$.count`" in found["errorMessage"]


def test_the_shutdown_hook_runs_when_the_sandbox_ends(backend: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    env = {"PERDURE_TEST_MARK": str(mark), "PERDURE_TEST_BACKEND": backend}
    with emulator(["-m", FUNCTIONS], tmp_path, env) as found:
        assert found.result({"do": "echo"}) == {"do": "echo"}
        assert not mark.exists()
        found.process.end()
        deadline = time.monotonic() + 10
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert mark.read_text(encoding="utf-8") == "stopped"
