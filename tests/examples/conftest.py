"""The examples, served by `perdure serve` on the loop of the test and registered with a private restate-server.

A module of tests names its example in `APP`, and in `READY` a handler that does no harm, as a path of the ingress.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from perdure import Client
from perdure.testing import EndpointProcess, RestateServer
from perdure.testing.loopback import free_ports

ROOT = Path(__file__).parents[2]

os.environ.setdefault("SECRET_KEY", "6b" * 32)  # the example with a codec needs one to be imported and to be served


@pytest.fixture(scope="module")
def port() -> int:
    """The same on both loops: for the server the second one is a restart of the first."""
    [port] = free_ports(1)
    return port


@pytest.fixture(scope="module")
def endpoint(
    request: pytest.FixtureRequest, anyio_backend: str, port: int, restate_server: RestateServer
) -> Iterator[EndpointProcess]:
    """The example of this module in a process of its own, ready to be called."""
    command = [sys.executable, "-m", "perdure.cli", "serve", request.module.APP]
    command += ["--backend", anyio_backend, "--port", str(port)]
    endpoint = EndpointProcess(command, port=port, cwd=ROOT)
    try:
        endpoint.start()
        restate_server.register(endpoint.url)
        path, payload = request.module.READY
        restate_server.wait_until_callable(path, payload)
        yield endpoint
    finally:
        endpoint.stop()


@pytest.fixture
async def client(endpoint: EndpointProcess, restate_server: RestateServer) -> AsyncIterator[Client]:
    """A client of the ingress."""
    del endpoint  # it must run
    async with Client(restate_server.ingress_url, timeout=30) as client:
        yield client


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return uuid4().hex
