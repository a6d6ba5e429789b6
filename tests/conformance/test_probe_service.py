"""TestUtilsService on a real server: payloads, headers, steps, signals to other invocations."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conformance.deployment import CallFailedError, Deployment

TEXTS = ["", "plain", 'quoted "\\" \n\t\x00\x7f', "ß ü \U0001f600  "]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_is_echoed(deployment: Deployment, text: str) -> None:
    assert deployment.call("TestUtilsService/echo", text) == text


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_is_echoed_in_upper_case(deployment: Deployment, text: str) -> None:
    assert deployment.call("TestUtilsService/uppercaseEcho", text) == text.upper()


def test_headers_come_with_lower_case_names(deployment: Deployment) -> None:
    headers = deployment.call("TestUtilsService/echoHeaders", headers={"X-Some-Header": "A value", "x-other": "b"})
    assert headers["x-some-header"] == "A value"
    assert headers["x-other"] == "b"
    assert all(name == name.lower() for name in headers)


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "application/json", "text/plain; charset=latin-1", "image/x-whatever", None],
)
@pytest.mark.parametrize("data", [b"\x00\xff{", bytes(range(256)) * 40, b"null"], ids=["short", "10 KiB", "null"])
def test_raw_bytes_are_echoed_whatever_their_type(
    deployment: Deployment, content_type: str | None, data: bytes
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = deployment.server.call("/TestUtilsService/rawEcho", data, headers=headers)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_no_bytes_at_all_are_echoed(deployment: Deployment) -> None:
    answer = deployment.server.call("/TestUtilsService/rawEcho")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_executed_steps_are_counted_in_one_attempt(deployment: Deployment, steps: int) -> None:
    executed = deployment.call("TestUtilsService/countExecutedSideEffects", steps)
    # Where every wait ends the attempt, the last one only replays.
    assert executed == (0 if deployment.configuration.always_suspends else steps)


def test_a_hundred_steps_do_not_take_long(deployment: Deployment) -> None:
    begun = time.monotonic()
    deployment.call("TestUtilsService/countExecutedSideEffects", 100)
    assert time.monotonic() - begun < 20


def wait_for_signal(deployment: Deployment, key: str, *kinds: dict[str, Any]) -> str:
    """Start an invocation that waits for a signal or something else."""
    commands = [{"type": "awaitAny", "commands": [{"type": "createSignal", "signalName": "go"}, *kinds]}]
    return deployment.send("VirtualObjectCommandInterpreter/interpretCommands", {"commands": commands}, key=key)


@pytest.mark.parametrize("value", ["", "a value", 'quoted "'])
def test_a_signal_is_resolved(deployment: Deployment, key: str, value: str) -> None:
    id = wait_for_signal(deployment, key)
    signal = {"invocationId": id, "signalName": "go", "value": value}
    assert deployment.call("TestUtilsService/resolveSignal", signal) is None
    assert deployment.attach(id) == value


def test_a_signal_is_rejected(deployment: Deployment, key: str) -> None:
    id = wait_for_signal(deployment, key)
    signal = {"invocationId": id, "signalName": "go", "reason": "no reason"}
    assert deployment.call("TestUtilsService/rejectSignal", signal) is None
    with pytest.raises(CallFailedError) as failed:
        deployment.attach(id)
    assert (failed.value.status, failed.value.message) == (500, "no reason")


def test_a_signal_of_another_name_wakes_nobody(deployment: Deployment, key: str) -> None:
    id = wait_for_signal(deployment, key)
    deployment.call("TestUtilsService/resolveSignal", {"invocationId": id, "signalName": "other", "value": "1"})
    deployment.call("TestUtilsService/resolveSignal", {"invocationId": id, "signalName": "go", "value": "2"})
    assert deployment.attach(id) == "2"


def test_an_invocation_is_cancelled_from_a_handler(deployment: Deployment, key: str) -> None:
    id = wait_for_signal(deployment, key)
    assert deployment.call("TestUtilsService/cancelInvocation", id) is None
    with pytest.raises(CallFailedError) as failed:
        deployment.attach(id)
    assert failed.value.status == 409


def test_sleeps_run_side_by_side(deployment: Deployment) -> None:
    begun = time.monotonic()
    assert deployment.call("TestUtilsService/sleepConcurrently", [300] * 10) is None
    assert 0.3 <= time.monotonic() - begun < 2.5
    assert deployment.call("TestUtilsService/sleepConcurrently", []) is None
