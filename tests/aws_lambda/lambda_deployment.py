"""The conformance endpoint as a function: restate-server, Lambda's Invoke API, the Runtime API, and our runtime.

The server invokes the function by its ARN; the strict Runtime API of these tests plays Lambda between the two. Requests
are signed, and the endpoint checks the signature.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from anyio.from_thread import start_blocking_portal

from perdure.testing import RestateServer
from perdure.testing.child_process import ChildProcess
from tests.aws_lambda.runtime_server import RuntimeServer, runtime_server
from tests.conformance.deployment import PEM, PUBLIC_KEY, RETRIES, Configuration, Deployment

__all__ = ["ARN", "FunctionProcess", "deploy_function", "register"]

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:conformance:1"
ROOT = Path(__file__).parents[2]


class FunctionProcess:
    """A process that serves the function.

    Args:
        platform: its Runtime API.
        handler: what it serves.
        backend: its event loop.
        folder: for its log.
        env: more environment variables.
    """

    def __init__(
        self, platform: RuntimeServer, handler: str, backend: str, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        settings = {
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": platform.address,
            "AWS_LAMBDA_FUNCTION_NAME": "conformance",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_MAX_CONCURRENCY": "32",
            "LAMBDA_TASK_ROOT": str(ROOT),
            **(env or {}),
        }
        command = [sys.executable, "-m", "perdure.aws_lambda", handler, "--backend", backend]
        self.process = ChildProcess(command, log=folder / "function.log", env=settings, cwd=ROOT)

    def logs(self) -> str:
        return self.process.text()


def register(server: RestateServer, arn: str) -> dict[str, Any]:
    """Register a function with a server; it discovers it now."""
    deployment: dict[str, Any] = json.loads(server._admin("POST", "/deployments", {"arn": arn, "force": True}))
    return deployment


@contextmanager
def deploy_function(
    handler: str, backend: Literal["asyncio", "trio"], config: Mapping[str, Any] | None = None
) -> Iterator[tuple[Deployment, FunctionProcess, RuntimeServer]]:
    """Start all of it, and end it behind the block."""
    with (
        tempfile.TemporaryDirectory(prefix="perdure-function-") as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(runtime_server()) as platform,
    ):
        env = {
            "AWS_ENDPOINT_URL_LAMBDA": platform.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        signing = {"E2E_REQUEST_SIGNING": PUBLIC_KEY, "CONFORMANCE_PROBE": "some value"}
        function = FunctionProcess(platform, handler, backend, Path(folder), signing)
        try:
            with RestateServer(identity_key=PEM, config={**RETRIES, **(config or {})}, env=env) as server:
                register(server, ARN)
                configuration = Configuration({"identity_key": PEM}, use_http_11=True)
                endpoint: Any = function  # conformance tests ask it for its log only
                yield Deployment([server], endpoint, configuration, backend), function, platform
        finally:
            function.process.end()
