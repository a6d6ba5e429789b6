"""Proxy on a real server: calls and sends of targets known by name only, with payloads as they are."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.conformance.deployment import NOTHING, CallFailedError, Deployment
from tests.processes import wait_for


def request(target: str, payload: Any = NOTHING, *, key: str | None = None, **options: Any) -> dict[str, Any]:
    """A request for the proxy to call `Service/handler` with JSON, or with the bytes given."""
    service, handler = target.split("/")
    data = b"" if payload is NOTHING else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    described = {"serviceName": service, "handlerName": handler, "message": list(data), **options}
    return described if key is None else {**described, "virtualObjectKey": key}


def test_a_service_is_called(deployment: Deployment) -> None:
    answer = deployment.call("Proxy/call", request("TestUtilsService/echo", "ü"))
    assert bytes(answer) == b'"\xc3\xbc"'


def test_an_object_is_called(deployment: Deployment, key: str) -> None:
    answer = deployment.call("Proxy/call", request("Counter/add", 5, key=key))
    assert json.loads(bytes(answer)) == {"oldValue": 0, "newValue": 5}


@pytest.mark.parametrize("data", [b"", b" \n{ ", bytes(range(256))], ids=["nothing", "no JSON", "every byte"])
def test_payloads_are_bytes_as_they_are(deployment: Deployment, data: bytes) -> None:
    assert bytes(deployment.call("Proxy/call", request("TestUtilsService/rawEcho", data))) == data


def test_members_that_are_null_count_as_absent(deployment: Deployment) -> None:
    absent = dict.fromkeys(["virtualObjectKey", "delayMillis", "idempotencyKey", "scope", "limitKey"])
    answer = deployment.call("Proxy/call", {**request("TestUtilsService/echo", "x"), **absent, "unknown": {}})
    assert bytes(answer) == b'"x"'


def test_an_error_of_the_target_is_the_error_of_the_call(deployment: Deployment, key: str) -> None:
    failure = {"errorMessage": "it is so", "metadata": {"a": "b"}}
    with pytest.raises(CallFailedError) as failed:
        deployment.call("Proxy/call", request("Failing/terminallyFailingCall", failure, key=key))
    assert (failed.value.status, failed.value.message) == (500, "it is so")
    assert failed.value.body["metadata"] == {"a": "b"}


def test_a_call_with_an_idempotency_key_is_made_once(deployment: Deployment, key: str) -> None:
    call = request("Counter/add", 2, key=key, idempotencyKey=f"once {key}")
    answers = [json.loads(bytes(deployment.call("Proxy/call", call))) for _ in range(3)]
    assert answers == [{"oldValue": 0, "newValue": 2}] * 3
    assert deployment.call("Counter/get", key=key) == 2


def test_a_send_gives_the_id_of_the_invocation(deployment: Deployment, key: str) -> None:
    id = deployment.call("Proxy/oneWayCall", request("Counter/add", 2, key=key))
    row = deployment.server.wait_for_status(id, "completed")
    assert row["target"] == f"Counter/{key}/add"
    assert deployment.call("Counter/get", key=key) == 2


def test_a_send_with_an_idempotency_key_is_made_once(deployment: Deployment, key: str) -> None:
    send = request("Counter/add", 2, key=key, idempotencyKey=f"once {key}")
    ids = {deployment.call("Proxy/oneWayCall", send) for _ in range(3)}
    assert len(ids) == 1
    assert deployment.attach(ids.pop()) == {"oldValue": 0, "newValue": 2}
    assert deployment.call("Counter/get", key=key) == 2


def test_a_delayed_send_starts_later(deployment: Deployment, key: str) -> None:
    begun = time.monotonic()
    id = deployment.call("Proxy/oneWayCall", request("Counter/add", 2, key=key, delayMillis=400))
    assert deployment.server.wait_for_status(id, "scheduled", "completed")["status"] == "scheduled"
    wait_for(lambda: deployment.call("Counter/get", key=key) == 2)
    assert time.monotonic() - begun >= 0.4


def test_many_calls_are_started_before_any_is_awaited(deployment: Deployment, key: str) -> None:
    def each(number: int, **how: bool) -> dict[str, Any]:
        return {"proxyRequest": request("ListObject/append", f"{number}", key=key), **how}

    calls = [
        each(0, oneWayCall=True, awaitAtTheEnd=False),
        each(1, oneWayCall=False, awaitAtTheEnd=True),
        each(2, oneWayCall=False, awaitAtTheEnd=False),
        each(3, oneWayCall=True, awaitAtTheEnd=True),
        each(4, oneWayCall=False, awaitAtTheEnd=True),
    ]
    assert deployment.call("Proxy/manyCalls", calls) is None
    # The awaited calls have ended, and one key takes its invocations in the order in which they were made.
    assert deployment.call("ListObject/get", key=key) == ["0", "1", "2", "3", "4"]


def test_many_calls_wait_for_each_other_no_longer_than_the_slowest(deployment: Deployment) -> None:
    slow = request("ServiceInterpreterHelper/echoLater", {"sleep": 300, "parameter": "x"})
    calls = [{"proxyRequest": slow, "oneWayCall": False, "awaitAtTheEnd": True}] * 10
    begun = time.monotonic()
    deployment.call("Proxy/manyCalls", calls)
    assert 0.3 <= time.monotonic() - begun < 3.0


def test_no_calls_are_many_calls_too(deployment: Deployment) -> None:
    assert deployment.call("Proxy/manyCalls", []) is None


@pytest.mark.configurations("scopes")
def test_calls_are_made_in_a_scope(deployment: Deployment, key: str) -> None:
    echo = "TestUtilsService/echo"
    call = request(echo, "x", scope="scope-a", limitKey="tenant/a")
    assert bytes(deployment.call("Proxy/call", call)) == b'"x"'
    send = request(echo, "y", scope="scope-a", limitKey="tenant/a", idempotencyKey=f"once {key}")
    ids = {deployment.call("Proxy/oneWayCall", send) for _ in range(2)}
    assert len(ids) == 1
    row = deployment.server.wait_for_status(ids.pop(), "completed")
    assert (row["scope"], row["limit_key"]) == ("scope-a", "tenant/a")


@pytest.mark.noisy
@pytest.mark.configurations("default")
def test_a_scope_needs_version_7(deployment: Deployment, key: str) -> None:
    id = deployment.send("Proxy/call", request("Counter/add", 3, key=key, scope="scope-a"))
    row = deployment.server.wait_for_status(id, "backing-off")
    assert "scope" in row["last_failure"]
    assert "7" in row["last_failure"]
    deployment.server.kill(id)
