"""What every handler accepts and refuses: absent inputs, null, unknown members, and what cannot be decoded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.deployment import NOTHING, CallFailedError, Deployment

pytestmark = pytest.mark.configurations("default", "http11", "serve")

INPUTLESS: dict[str, Any] = {
    "Counter/get": 0,
    "Counter/reset": None,
    "ListObject/get": [],
    "ListObject/clear": [],
    "MapObject/clearAll": [],
    "AwakeableHolder/hasAwakeable": False,
    "BlockAndWaitWorkflow/getState": None,
    "CancelTestRunner/verifyTest": False,
    "CancelTestBlockingService/isUnlocked": None,
    "KillTestSingleton/isUnlocked": None,
    "VirtualObjectCommandInterpreter/getResults": [],
    "ObjectInterpreterL0/counter": 0,
    "ObjectInterpreterL1/counter": 0,
    "ObjectInterpreterL2/counter": 0,
    "ServiceInterpreterHelper/ping": None,
}
SERVICES = {"Proxy", "TestUtilsService", "ServiceInterpreterHelper"}

UNKNOWN = {"some": {"unknown": ["member"]}}
PING = {"serviceName": "ServiceInterpreterHelper", "handlerName": "ping", "message": []}
RUN = {"type": "runReturns", "value": "v"}
TYPED: dict[str, tuple[Any, Any]] = {
    # an input that is understood although it has unknown members, and the answer
    "MapObject/set": ({"key": "a", "value": "b", **UNKNOWN}, None),
    "Proxy/call": (
        {"serviceName": "TestUtilsService", "handlerName": "echo", "message": list(b'"x"'), **UNKNOWN},
        list(b'"x"'),
    ),
    "Proxy/manyCalls": (
        [
            {
                "proxyRequest": {
                    "serviceName": "ServiceInterpreterHelper",
                    "handlerName": "ping",
                    "message": [],
                    **UNKNOWN,
                },
                "oneWayCall": False,
                "awaitAtTheEnd": True,
                **UNKNOWN,
            }
        ],
        None,
    ),
    "VirtualObjectCommandInterpreter/interpretCommands": (
        {
            "commands": [{"type": "awaitOne", "command": {**RUN, **UNKNOWN}, **UNKNOWN}],
            **UNKNOWN,
        },
        "v",
    ),
    "ObjectInterpreterL0/interpret": ({"commands": [{"kind": 1, "key": 1, **UNKNOWN}], **UNKNOWN}, None),
    "ServiceInterpreterHelper/echoLater": ({"sleep": 1, "parameter": "x", **UNKNOWN}, "x"),
}

UNREADABLE: dict[str, list[Any]] = {
    "Counter/add": ["5", None, [], {}],
    "Counter/addThenFail": ["text"],
    "ListObject/append": [5, None, {}],
    "MapObject/set": [{"key": "a"}, {"key": "a", "value": 1}, "a", []],
    "MapObject/get": [1, {}],
    "AwakeableHolder/hold": [1],
    "AwakeableHolder/unlock": [{}],
    "BlockAndWaitWorkflow/unblock": [1],
    "Failing/terminallyFailingCall": [{}, {"errorMessage": 1}, {"errorMessage": "a", "metadata": {"b": 1}}],
    "Failing/callTerminallyFailingCall": ["a"],
    "Failing/terminallyFailingSideEffect": ["a"],
    "Failing/sideEffectSucceedsAfterGivenAttempts": ["a"],
    "Failing/sideEffectFailsAfterGivenAttempts": ["a"],
    "CancelTestRunner/startTest": ["RUN", "sleep", 1],
    "CancelTestBlockingService/block": ["RUN"],
    "Proxy/call": [
        {},
        {"serviceName": "A", "handlerName": "b", "message": [256]},
        {"serviceName": "A", "handlerName": "b", "message": "x"},
    ],
    "Proxy/oneWayCall": [{**PING, "message": [-1]}],
    "Proxy/manyCalls": [{}, [{"oneWayCall": True}]],
    "TestUtilsService/echo": [1, None, ["a"]],
    "TestUtilsService/uppercaseEcho": [1],
    "TestUtilsService/countExecutedSideEffects": ["1", 1.5],
    "TestUtilsService/cancelInvocation": [1],
    "TestUtilsService/resolveSignal": [{"invocationId": "a"}],
    "TestUtilsService/rejectSignal": [{"invocationId": "a", "signalName": "b", "value": "c"}],
    "TestUtilsService/sleepConcurrently": [5, ["a"]],
    "VirtualObjectCommandInterpreter/interpretCommands": [
        {},
        {"commands": [{"type": "unknown"}]},
        {"commands": [{"type": "awaitOne", "command": {"type": "awaitOne"}}]},
        {"commands": [{"type": "awaitAny", "commands": []}]},
    ],
    "VirtualObjectCommandInterpreter/resolveAwakeable": [{"awakeableKey": "a"}],
    "VirtualObjectCommandInterpreter/rejectAwakeable": [{"awakeableKey": "a", "value": "v"}],
    "VirtualObjectCommandInterpreter/hasAwakeable": [1],
    "ObjectInterpreterL0/interpret": [{}, {"commands": [{"kind": 0}]}, {"commands": [{"kind": 1}]}],
    "ServiceInterpreterHelper/echo": [1],
    "ServiceInterpreterHelper/echoLater": [{"sleep": "a", "parameter": "b"}],
    "ServiceInterpreterHelper/incrementIndirectly": [{"layer": "0", "key": "a"}],
    "ServiceInterpreterHelper/resolveAwakeable": [1],
    "ServiceInterpreterHelper/rejectAwakeable": [1],
    "ServiceInterpreterHelper/incrementViaAwakeableDance": [{"interpreter": {"layer": 0}, "txPromiseId": "a"}],
}


def key_for(target: str, key: str) -> str | None:
    return None if target.partition("/")[0] in SERVICES else key


@pytest.mark.parametrize("payload", [NOTHING, None, {"not": "needed"}], ids=["nothing", "null", "object"])
@pytest.mark.parametrize("target", INPUTLESS)
def test_an_input_that_is_not_needed_is_tolerated(deployment: Deployment, key: str, target: str, payload: Any) -> None:
    assert deployment.call(target, payload, key=key_for(target, key)) == INPUTLESS[target]


def test_headers_are_echoed_whatever_the_input(deployment: Deployment) -> None:
    for payload in (NOTHING, None):
        assert deployment.call("TestUtilsService/echoHeaders", payload, headers={"x-a": "b"})["x-a"] == "b"


@pytest.mark.parametrize("target", TYPED)
def test_unknown_members_are_ignored(deployment: Deployment, key: str, target: str) -> None:
    payload, expected = TYPED[target]
    assert deployment.call(target, payload, key=key_for(target, key)) == expected


CASES = [(target, value) for target, values in UNREADABLE.items() for value in values]


@pytest.mark.parametrize(("target", "payload"), CASES, ids=[f"{target} {json.dumps(value)}" for target, value in CASES])
def test_an_input_that_cannot_be_read_is_a_terminal_error(
    deployment: Deployment, key: str, target: str, payload: Any
) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call(target, payload, key=key_for(target, key))
    assert failed.value.status == 400
    assert target in failed.value.message  # whose input it was


@pytest.mark.parametrize("body", [b"{", b"\xff", b'"\xff"', b'"a" "b"', b"nul"], ids=ascii)
def test_what_is_no_json_is_a_terminal_error(deployment: Deployment, body: bytes) -> None:
    answer = deployment.server.call("/TestUtilsService/echo", body)
    assert answer.status == 400
    assert "TestUtilsService/echo" in json.loads(answer.body)["message"]


def test_a_missing_input_that_is_needed_is_refused(deployment: Deployment) -> None:
    assert deployment.server.call("/TestUtilsService/echo").status == 400


def test_the_media_type_of_json_may_have_parameters(deployment: Deployment) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    assert deployment.server.call("/TestUtilsService/echo", b' "x" ', headers=headers).body == b'"x"'
