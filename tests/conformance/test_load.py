"""Many invocations at once, and large payloads, on a real server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.deployment import Deployment
from tests.conformance.test_proxy_service import request

MIB = 1024 * 1024


def test_many_additions_to_few_counters(deployment: Deployment, key: str) -> None:
    with ThreadPoolExecutor(32) as threads:
        keys = [f"{key}-{number % 5}" for number in range(200)]
        answers = list(threads.map(lambda own: deployment.call("Counter/add", 1, key=own), keys))
    for number in range(5):
        seen = sorted(answer["newValue"] for own, answer in zip(keys, answers, strict=True) if own == f"{key}-{number}")
        assert seen == list(range(1, 41))


def test_one_invocation_makes_many_calls(deployment: Deployment, key: str) -> None:
    calls = [
        {"proxyRequest": request("Counter/add", 1, key=key), "oneWayCall": number % 4 == 0, "awaitAtTheEnd": True}
        for number in range(200)
    ]
    assert deployment.call("Proxy/manyCalls", calls) is None
    # The last call was awaited, and one key takes its invocations in order.
    assert deployment.call("Counter/get", key=key) == 200


def test_hundreds_of_invocations_wait_at_once(deployment: Deployment) -> None:
    later = {"sleep": 500, "parameter": "x"}
    ids = [deployment.send("ServiceInterpreterHelper/echoLater", later) for _ in range(300)]
    with ThreadPoolExecutor(32) as threads:
        assert set(threads.map(deployment.attach, ids)) == {"x"}


@pytest.mark.configurations("default", "serve")
def test_what_waits_is_not_disturbed_by_a_thousand_others(deployment: Deployment, key: str) -> None:
    id = deployment.send("ServiceInterpreterHelper/echoLater", {"sleep": 30_000, "parameter": "x"})
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: deployment.call("Counter/add", 1, key=f"{key}-{number % 9}"), range(1100)))
    row = deployment.server.invocation(id)
    assert row is not None
    assert (row["status"], row["retry_count"]) == ("running", 1)  # the first attempt still
    deployment.server.kill(id)


def test_eight_mebibytes_go_through(deployment: Deployment) -> None:
    data = bytes(range(256)) * (8 * MIB // 256)
    headers = {"content-type": "application/octet-stream"}
    answer = deployment.server.call("/TestUtilsService/rawEcho", data, headers=headers)
    assert answer.status == 200
    assert answer.body == data


def test_eight_mebibytes_go_through_a_step_and_the_state(deployment: Deployment, key: str) -> None:
    value = "x" * (8 * MIB)
    program = {"commands": [{"type": "awaitOne", "command": {"type": "runReturns", "value": value}}]}
    assert deployment.call("VirtualObjectCommandInterpreter/interpretCommands", program, key=key) == value
    assert deployment.call("VirtualObjectCommandInterpreter/getResults", key=key) == [value]


def test_two_mebibytes_go_through_a_call(deployment: Deployment) -> None:
    text = "x" * (2 * MIB)
    answer = deployment.call("Proxy/call", request("TestUtilsService/uppercaseEcho", text))
    assert json.loads(bytes(answer)) == text.upper()


def test_large_values_in_the_state(deployment: Deployment, key: str) -> None:
    value = "y" * (4 * MIB)
    for name in ("a", "b"):
        deployment.call("MapObject/set", {"key": name, "value": value}, key=key)
    assert deployment.call("MapObject/get", "b", key=key) == value
    assert len(deployment.call("MapObject/clearAll", key=key)) == 2
