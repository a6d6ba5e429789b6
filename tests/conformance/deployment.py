"""The conformance endpoint, served and registered with a private restate-server: one deployment per configuration."""

from __future__ import annotations

import itertools
import json
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Unpack

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from perdure.testing import EndpointProcess, RestateOptions, RestateServer, serve_in_subprocess
from perdure.testing.loopback import HOST, Answer, exchange, free_ports
from perdure.testing.restate_options import Setting
from perdure.wire.identity import KEY_PREFIX
from tests.wire.test_identity import base58

__all__ = ["CONFIGURATIONS", "NOTHING", "Backend", "CallFailedError", "Configuration", "Deployment", "deploy", "serve"]

Backend: TypeAlias = Literal["asyncio", "trio"]

ROOT: Final = Path(__file__).parents[2]
APP: Final = "tests.conformance.app:app"
NOTHING: Final[Any] = object()
"""No input: an empty body without a content type."""

PRIVATE_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"the seed of the conformance key.")
PEM: Final = PRIVATE_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
PUBLIC_KEY: Final = KEY_PREFIX + base58(PRIVATE_KEY.public_key().public_bytes_raw())
OTHER_PUBLIC_KEY: Final = KEY_PREFIX + base58(
    Ed25519PrivateKey.from_private_bytes(b"the seed of some server's key...").public_key().public_bytes_raw()
)


@dataclass(frozen=True)
class Configuration:
    """How server and endpoint are set up.

    Attributes:
        server: the options of the private server.
        nodes: how many servers form a cluster.
        environment: of the endpoint's process.
        use_http_11: whether the server speaks HTTP/1.1 to the endpoint.
        perdure_serve: whether `perdure serve` serves it instead of hypercorn's own command.
        special: whether only tests that ask for it run in it.
    """

    server: RestateOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    use_http_11: bool = False
    perdure_serve: bool = False
    special: bool = False

    @property
    def always_suspends(self) -> bool:
        """Whether every wait ends the attempt."""
        return self.use_http_11 or self.server.get("always_suspend", False)

    @property
    def scopes(self) -> bool:
        """Whether calls can be made in a scope."""
        return self.server.get("protocol_v7", False)


RETRIES: Final[Mapping[str, Setting]] = {"default-retry-policy.initial-interval": "50ms"}
"""The server's default is half a second, and doubles."""


def _options(**options: Unpack[RestateOptions]) -> RestateOptions:
    options["config"] = {**RETRIES, **options.get("config", {})}
    return options


CONFIGURATIONS: Final[Mapping[str, Configuration]] = {
    "default": Configuration(_options()),
    "suspending": Configuration(_options(always_suspend=True)),
    "lazy": Configuration(_options(lazy_state=True)),
    "single": Configuration(_options(partitions=1, config={"default-thread-pool-size": 1})),
    "signed": Configuration(_options(identity_key=PEM), {"E2E_REQUEST_SIGNING": f"{OTHER_PUBLIC_KEY},{PUBLIC_KEY}"}),
    "v7": Configuration(_options(protocol_v7=True)),
    "scopes": Configuration(_options(protocol_v7=True, config={"experimental-enable-vqueues": True})),
    "v7-suspending": Configuration(_options(protocol_v7=True, always_suspend=True, lazy_state=True)),
    "nodes": Configuration(_options(partitions=3), nodes=3),
    "http11": Configuration(_options(), use_http_11=True),
    "serve": Configuration(_options(), perdure_serve=True),
    "serve-suspending": Configuration(_options(always_suspend=True), perdure_serve=True),
    "one-attempt": Configuration(_options(always_suspend=True, one_attempt=True), special=True),
}


class CallFailedError(Exception):
    """The ingress answered a call with an error.

    Attributes:
        status: the HTTP status.
        body: the JSON object of the answer.
    """

    def __init__(self, path: str, answer: Answer) -> None:
        self.status = answer.status
        self.body: dict[str, Any] = json.loads(answer.body)
        super().__init__(f"{path} was answered with {self.status}: {self.body}")

    @property
    def message(self) -> str:
        """What went wrong."""
        message: str = self.body["message"]
        return message


class Deployment:
    """A server, the endpoint that is registered with it, and calls of its handlers.

    Attributes:
        server: the private restate-server; of a cluster, the first node. Calls go to all nodes in turn.
        endpoint: the process of the endpoint.
        configuration: how both are set up.
        backend: the endpoint's event loop.
    """

    def __init__(
        self,
        servers: Sequence[RestateServer],
        endpoint: EndpointProcess,
        configuration: Configuration,
        backend: Backend,
    ) -> None:
        self.server = servers[0]
        self._ingresses = itertools.cycle(servers)
        self.endpoint = endpoint
        self.configuration = configuration
        self.backend = backend

    def call(
        self,
        target: str,
        payload: Any = NOTHING,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """Call `Service/handler` with JSON and return what it answers: JSON, `None` for an empty body.

        Raises:
            CallFailedError: the answer is an error.
        """
        path = _path(target, key)
        body = b"" if payload is NOTHING else json.dumps(payload).encode()
        return _value(path, next(self._ingresses).call(path, body, headers=headers, timeout=timeout))

    def send(
        self,
        target: str,
        payload: Any = NOTHING,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: str | None = None,
    ) -> str:
        """Send to `Service/handler` and return the id of the invocation."""
        path = _path(target, key) + "/send" + (f"?delay={delay}" if delay else "")
        body = b"" if payload is NOTHING else json.dumps(payload).encode()
        id: str = _value(path, next(self._ingresses).call(path, body, headers=headers))["invocationId"]
        return id

    def attach(self, invocation_id: str, *, timeout: float = 30.0) -> Any:
        """Wait for the result of an invocation.

        Raises:
            CallFailedError: it failed.
        """
        path = f"/restate/invocation/{invocation_id}/attach"
        return _value(path, exchange("GET", next(self._ingresses).ingress_url + path, timeout=timeout))


def _path(target: str, key: str | None) -> str:
    service, handler = target.split("/")
    middle = "" if key is None else f"/{urllib.parse.quote(key, safe='')}"
    return f"/{service}{middle}/{handler}"


def _value(path: str, answer: Answer) -> Any:
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise CallFailedError(path, answer)
    return json.loads(answer.body) if answer.body else None


@contextmanager
def serve(configuration: Configuration, backend: Backend) -> Iterator[EndpointProcess]:
    """Serve the endpoint in a process of its own: by hypercorn's command, or by perdure's."""
    environment = {**configuration.environment, "CONFORMANCE_PROBE": "some value"}
    if not configuration.perdure_serve:
        with serve_in_subprocess(APP, backend, cwd=ROOT, env=environment) as endpoint:
            yield endpoint
        return
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "perdure.cli", "serve", APP, "--backend", backend]
    endpoint = EndpointProcess(command, port=port, cwd=ROOT, env={**environment, "PORT": str(port)})
    try:
        endpoint.start()
        yield endpoint
    finally:
        endpoint.stop()


def _node(index: int, ports: Sequence[int], options: RestateOptions) -> RestateServer:
    """One of several servers that form a cluster; all roles on each, every log on two of them."""
    addresses = json.dumps([f"http://{HOST}:{port}" for port in ports])
    config: dict[str, Setting] = {
        **options.get("config", {}),
        "cluster-name": "conformance",
        "node-name": f"node-{index}",
        "bind-port": ports[index],
        "auto-provision": index == 0,
        "default-replication": 2,
    }
    env = {
        "RESTATE_ROLES": '["admin", "worker", "metadata-server", "log-server", "http-ingress"]',
        "RESTATE_METADATA_CLIENT__ADDRESSES": addresses,
    }
    mine: RestateOptions = {**options, "config": config, "env": env}
    return RestateServer(**mine)


@contextmanager
def _servers(configuration: Configuration) -> Iterator[Sequence[RestateServer]]:
    if configuration.nodes == 1:
        with RestateServer(**configuration.server) as server:
            yield [server]
        return
    ports = free_ports(configuration.nodes)
    nodes = [_node(index, ports, configuration.server) for index in range(configuration.nodes)]
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.stop)
        with ThreadPoolExecutor() as threads:  # none is ready before there is a majority
            for started in [threads.submit(node.start) for node in nodes]:
                started.result()
        yield nodes


@contextmanager
def deploy(configuration: Configuration, backend: Backend) -> Iterator[Deployment]:
    """Start server and endpoint, register one with the other, and end both behind the block."""
    with _servers(configuration) as servers, serve(configuration, backend) as endpoint:
        servers[0].register(endpoint.url, use_http_11=configuration.use_http_11)
        for server in servers:
            server.wait_until_callable("/TestUtilsService/echo", b'"up"')
        yield Deployment(servers, endpoint, configuration, backend)
