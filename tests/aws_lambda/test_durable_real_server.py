"""The conformance services as a function on Lambda: the same claims, in request/response mode, invoked by ARN.

The ordinary suite checks some of them on one event loop; ``PERDURE_CONFORMANCE=full`` (the nox session `conformance`)
all of them on both.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from perdure.testing.loopback import exchange
from tests.aws_lambda.lambda_deployment import ARN, FunctionProcess, deploy_function
from tests.aws_lambda.runtime_server import RuntimeServer
from tests.conformance.deployment import Backend, Deployment

pytestmark = pytest.mark.real_server

Parts = tuple[Deployment, FunctionProcess, RuntimeServer]

FULL = os.environ.get("PERDURE_CONFORMANCE") == "full"
BACKENDS: list[Backend] = ["asyncio", "trio"] if FULL else ["trio"]
ALWAYS = ("failing_service", "store_services", "waiting_services")
FURTHER = (
    "command_interpreter",
    "ending_services",
    "load",
    "non_deterministic_service",
    "object_interpreter",
    "payloads",
    "probe_service",
    "proxy_service",
)


def claims(module: str) -> Iterator[tuple[str, Any]]:
    """The tests of a conformance module that hold in request/response mode; what differs is the fixture."""
    for name, test in vars(import_module(f"tests.conformance.test_{module}")).items():
        if name.startswith("test_"):
            chosen = [mark.args for mark in getattr(test, "pytestmark", []) if mark.name == "configurations"]
            if not chosen or "http11" in chosen[0]:
                yield name, test


for _module in (*ALWAYS, *(FURTHER if FULL else ())):
    globals().update(claims(_module))


@pytest.fixture(scope="module", params=BACKENDS)
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    with deploy_function("tests.conformance.app:app", request.param) as deployed:
        deployed[0].server.wait_until_callable("/TestUtilsService/echo", b'"up"')
        yield deployed


@pytest.fixture
def deployment(parts: Parts) -> Deployment:
    return parts[0]


@pytest.fixture
def key() -> str:
    return f"key/ä {uuid.uuid4()}"


def test_the_server_knows_the_deployment_as_a_function(deployment: Deployment) -> None:
    listed = json.loads(exchange("GET", f"{deployment.server.admin_url}/deployments").body)["deployments"]
    (found,) = [each for each in listed if each.get("arn") == ARN]
    assert found["compression"] == "Zstd"


def test_a_request_that_is_not_signed_is_refused(parts: Parts) -> None:
    event: dict[str, Any] = {"path": "/discover", "httpMethod": "GET", "headers": {}, "body": ""}
    url = f"{parts[2].address}/2015-03-31/functions/x/invocations"
    answer = json.loads(exchange("POST", url, body=json.dumps(event).encode()).body)
    assert answer["statusCode"] == 401
    assert b"signed" in base64.b64decode(answer["body"]).lower()


def test_large_values_are_compressed_both_ways(parts: Parts) -> None:
    deployment, _, platform = parts
    large = "perdure " * 640_000  # 5 MiB: more than the platform takes in base64
    before = len(platform.answers)
    assert deployment.call("TestUtilsService/echo", large) == large
    sizes = [len(answer.body) for answer in list(platform.answers.values())[before:]]
    assert max(sizes) < 100_000
