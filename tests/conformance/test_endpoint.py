"""The process of the endpoint: which services it serves, whom it trusts, what it speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from perdure.exceptions import UsageError
from perdure.testing import EndpointProcess
from perdure.testing.loopback import Answer, exchange
from tests.conformance.app import SERVICES, endpoint
from tests.conformance.conftest import BACKENDS
from tests.conformance.deployment import CONFIGURATIONS, PUBLIC_KEY, Configuration, Deployment, serve

DISCOVERY = {"accept": "application/vnd.restate.endpointmanifest.v4+json"}

OF_THE_CONTRACT = {
    "Counter": {"add", "addThenFail", "get", "reset"},
    "ListObject": {"append", "get", "clear"},
    "MapObject": {"set", "get", "clearAll"},
    "AwakeableHolder": {"hold", "hasAwakeable", "unlock"},
    "BlockAndWaitWorkflow": {"run", "unblock", "getState"},
    "Failing": {
        "terminallyFailingCall",
        "callTerminallyFailingCall",
        "failingCallWithEventualSuccess",
        "terminallyFailingSideEffect",
        "sideEffectSucceedsAfterGivenAttempts",
        "sideEffectFailsAfterGivenAttempts",
    },
    "NonDeterministic": {
        "eitherSleepOrCall",
        "callDifferentMethod",
        "backgroundInvokeWithDifferentTargets",
        "setDifferentKey",
    },
    "CancelTestRunner": {"startTest", "verifyTest"},
    "CancelTestBlockingService": {"block", "isUnlocked"},
    "KillTestRunner": {"startCallTree"},
    "KillTestSingleton": {"recursiveCall", "isUnlocked"},
    "Proxy": {"call", "oneWayCall", "manyCalls"},
    "TestUtilsService": {
        "echo",
        "uppercaseEcho",
        "echoHeaders",
        "rawEcho",
        "countExecutedSideEffects",
        "cancelInvocation",
        "resolveSignal",
        "rejectSignal",
        "sleepConcurrently",
    },
    "VirtualObjectCommandInterpreter": {
        "interpretCommands",
        "resolveAwakeable",
        "rejectAwakeable",
        "hasAwakeable",
        "getResults",
    },
    **{f"ObjectInterpreterL{layer}": {"counter", "interpret"} for layer in range(3)},
    "ServiceInterpreterHelper": {
        "ping",
        "echo",
        "echoLater",
        "terminalFailure",
        "incrementIndirectly",
        "resolveAwakeable",
        "rejectAwakeable",
        "incrementViaAwakeableDance",
    },
}
SHARED = {
    "Counter": {"get"},
    "BlockAndWaitWorkflow": {"unblock", "getState"},
    "VirtualObjectCommandInterpreter": {"resolveAwakeable", "rejectAwakeable", "hasAwakeable", "getResults"},
    **{f"ObjectInterpreterL{layer}": {"counter"} for layer in range(3)},
}


@contextmanager
def served(environment: Mapping[str, str], *, perdure_serve: bool = False) -> Iterator[EndpointProcess]:
    configuration = Configuration(CONFIGURATIONS["default"].server, environment, perdure_serve=perdure_serve)
    with serve(configuration, BACKENDS[perdure_serve]) as process:
        yield process


def discover(process: EndpointProcess) -> Answer:
    return exchange("GET", f"{process.url}/discover", headers=DISCOVERY)


@pytest.mark.parametrize("services", [None, "", "*"])
def test_everything_is_served_unless_something_is_asked_for(services: str | None) -> None:
    environment = {} if services is None else {"SERVICES": services}
    assert list(endpoint(environment).registry.services) == list(SERVICES)


def test_exactly_the_services_asked_for_are_served() -> None:
    assert list(endpoint({"SERVICES": "Proxy, Counter,"}).registry.services) == ["Proxy", "Counter"]


def test_a_service_that_does_not_exist_is_not_passed_over() -> None:
    with pytest.raises(UsageError, match=r"SERVICES names Conter; there are Counter, ListObject"):
        endpoint({"SERVICES": "Conter"})


def test_all_handlers_of_the_contract_are_there() -> None:
    handlers = {name: set(SERVICES[name].handlers) for name in OF_THE_CONTRACT}
    assert handlers == OF_THE_CONTRACT


def test_the_handlers_are_of_the_kinds_of_the_contract(deployment: Deployment) -> None:
    answer = exchange("GET", f"{deployment.server.admin_url}/services")
    services = {service["name"]: service for service in json.loads(answer.body)["services"]}
    for name, handlers in OF_THE_CONTRACT.items():
        assert {handler["name"] for handler in services[name]["handlers"]} == handlers
        shared = {handler["name"] for handler in services[name]["handlers"] if handler.get("ty") == "Shared"}
        assert shared == SHARED.get(name, set()), services[name]


@pytest.mark.parametrize("perdure_serve", [False, True], ids=["hypercorn", "perdure serve"])
def test_the_process_serves_what_its_environment_names(perdure_serve: bool) -> None:
    with served({"SERVICES": "Counter,TestUtilsService"}, perdure_serve=perdure_serve) as process:
        manifest = json.loads(discover(process).body)
    assert [service["name"] for service in manifest["services"]] == ["Counter", "TestUtilsService"]


@pytest.mark.parametrize("variable", ["E2E_REQUEST_SIGNING", "E2E_REQUEST_SIGNING_ENV"])
def test_requests_that_are_not_signed_are_refused(variable: str) -> None:
    with served({variable: PUBLIC_KEY}) as process:
        assert discover(process).status == 401
        invoke = exchange(
            "POST",
            f"{process.url}/invoke/Counter/get",
            body=b"",
            headers={"content-type": "application/vnd.restate.invocation.v6"},
        )
        assert invoke.status == 401
        assert exchange("GET", f"{process.url}/health").status == 200


@pytest.mark.noisy
def test_requests_need_no_signature_by_default(deployment: Deployment) -> None:
    signed = "identity_key" in deployment.configuration.server
    assert discover(deployment.endpoint).status == (401 if signed else 200)
    assert exchange("GET", f"{deployment.endpoint.url}/health").status == 200


def test_the_deployment_speaks_what_it_was_registered_with(deployment: Deployment) -> None:
    answer = exchange("GET", f"{deployment.server.admin_url}/deployments")
    (registered,) = json.loads(answer.body)["deployments"]
    if deployment.configuration.use_http_11:
        assert (registered["http_version"], registered["protocol_type"]) == ("HTTP/1.1", "RequestResponse")
    else:
        assert (registered["http_version"], registered["protocol_type"]) == ("HTTP/2.0", "BidiStream")
