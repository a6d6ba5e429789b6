"""What the wire modules claim about restate-server, asked of a real one: manifests, signatures, ids.

The endpoint is a bare HTTP/1.1 server that records what it is sent, made of nothing but the modules under test.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from perdure.exceptions import IdentityError
from perdure.handlers.ed25519 import ed25519_verifier
from perdure.testing import RestateServer
from perdure.wire.identity import KEY_PREFIX, IdentityVerifier
from perdure.wire.ids import format_invocation_id, parse_invocation_id
from perdure.wire.manifest import (
    EndpointManifest,
    HandlerManifest,
    HandlerType,
    InputPayload,
    OnMaxAttempts,
    OutputPayload,
    ProtocolMode,
    ServiceManifest,
    ServiceType,
    content_type,
    encode,
    negotiate,
)
from tests.wire.test_identity import base58

PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(b"the seed of a key used for tests")
PEM = PRIVATE_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
PUBLIC_KEY = KEY_PREFIX + base58(PRIVATE_KEY.public_key().public_bytes_raw())

pytestmark = pytest.mark.restate(identity_key=PEM, one_attempt=True)

BASE = "/some/base"
VERIFIER = IdentityVerifier([PUBLIC_KEY], verify=ed25519_verifier())


class Request(NamedTuple):
    """What the server sent, and when."""

    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    time: float

    def header(self, name: str) -> str:
        (value,) = (value.decode() for key, value in self.headers if key.lower() == name.encode())
        return value

    def verify(self, path: str | None = None) -> None:
        VERIFIER.verify(self.headers, self.path if path is None else path, now=self.time)


class Endpoint(ThreadingHTTPServer):
    """Answers discoveries with `manifest` in `version` (the negotiated one when `None`) and invocations with 500."""

    manifest: EndpointManifest
    version: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{BASE}"

    def last(self, end: str) -> Request:
        return [request for request in self.requests if request.path.endswith(end)][-1]


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_GET(self) -> None:
        request = self.record(b"")
        version = self.server.version or negotiate(request.header("accept"))
        self.answer(200, content_type(version), encode(self.server.manifest, version))

    def do_POST(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.record(body)
        self.answer(500, "text/plain", b"this endpoint only listens")

    def record(self, body: bytes) -> Request:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        request = Request(self.path, headers, body, time.time())
        self.server.requests.append(request)
        return request

    def answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Write nothing: what was requested is recorded."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


OPTIONS: dict[str, Any] = {
    "documentation": "Counts.",
    "metadata": {"team": "numbers"},
    "inactivity_timeout": 61_000,
    "abort_timeout": 62_000,
    "journal_retention": 63_000,
    "idempotency_retention": 64_000,
    "enable_lazy_state": True,
    "retry_policy_initial_interval": 65,
    "retry_policy_max_interval": 66_000,
    "retry_policy_max_attempts": 1,
    "retry_policy_exponentiation_factor": 3.0,
    "retry_policy_on_max_attempts": OnMaxAttempts.KILL,
}


def manifest(name: str) -> EndpointManifest:
    """An object `name`, a service `name`_s and a workflow `name`_w that use every field."""
    add = HandlerManifest(
        "add",
        HandlerType.EXCLUSIVE,
        InputPayload(required=True, content_type="application/json", json_schema={"type": "integer"}),
        OutputPayload("application/json", set_content_type_if_empty=True, json_schema=True),
        ingress_private=False,
        **OPTIONS,
    )
    get = HandlerManifest("get", HandlerType.SHARED, InputPayload(), OutputPayload())
    run = HandlerManifest("run", HandlerType.WORKFLOW, workflow_completion_retention=67_000)
    return EndpointManifest(
        ProtocolMode.REQUEST_RESPONSE,
        5,
        7,
        (
            ServiceManifest(name, ServiceType.VIRTUAL_OBJECT, (add, get), ingress_private=False, **OPTIONS),
            ServiceManifest(f"{name}_s", ServiceType.SERVICE, (HandlerManifest("do"),), ingress_private=True),
            ServiceManifest(f"{name}_w", ServiceType.WORKFLOW, (run,)),
        ),
    )


@pytest.fixture
def registered(endpoint: Endpoint, restate_server: RestateServer, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Services as the server understood them, by name; a parameter is the manifest version."""
    endpoint.version = getattr(request, "param", None)
    endpoint.manifest = manifest("Wire")
    answer = restate_server.register(endpoint.url, use_http_11=True)
    return {service["name"]: service for service in answer["services"]}


@pytest.mark.parametrize("registered", [1, 2, 3, 4, None], indirect=True)
def test_server_takes_the_manifest_of_every_version(registered: dict[str, Any]) -> None:
    assert {name: service["ty"] for name, service in registered.items()} == {
        "Wire": "VirtualObject",
        "Wire_s": "Service",
        "Wire_w": "Workflow",
    }
    assert {handler["name"]: handler["ty"] for handler in registered["Wire"]["handlers"]} == {
        "add": "Exclusive",
        "get": "Shared",
    }


def test_server_accepts_the_newest_version_and_reads_all_of_it(registered: dict[str, Any], endpoint: Endpoint) -> None:
    assert negotiate(endpoint.last("/discover").header("accept")) == 4
    for level in (registered["Wire"], next(h for h in registered["Wire"]["handlers"] if h["name"] == "add")):
        assert level["public"] is True
        assert (level["documentation"], level["metadata"]) == ("Counts.", {"team": "numbers"})
        assert (level["abort_timeout"], level["journal_retention"]) == ("1m 2s", "1m 3s")
        assert (level["idempotency_retention"], level["enable_lazy_state"]) == ("1m 4s", True)
        assert level["retry_policy"] == {
            "initial_interval": "65ms",
            "max_interval": "1m 6s",
            "max_attempts": 1,
            "exponentiation_factor": 3.0,
            "on_max_attempts": "Kill",
        }
    assert registered["Wire_s"]["public"] is False


def test_discovery_of_the_server_is_signed(registered: dict[str, Any], endpoint: Endpoint) -> None:
    assert registered
    discovery = endpoint.last("/discover")
    discovery.verify()
    with pytest.raises(IdentityError, match="the token is for '/discover'"):
        discovery.verify("/invoke/Wire/add")


@pytest.fixture
def invocation(registered: dict[str, Any], endpoint: Endpoint, restate_server: RestateServer) -> Request:
    assert registered
    restate_server.call("/Wire/%D0%BA%D0%BB%D1%8E%D1%87/add", b"1")
    return endpoint.last("/invoke/Wire/add")


def test_invocation_of_the_server_is_signed(invocation: Request) -> None:
    assert invocation.path == f"{BASE}/invoke/Wire/add"
    invocation.verify()
    with pytest.raises(IdentityError, match="the token is for '/invoke/Wire/add'"):
        invocation.verify(f"{BASE}/invoke/Wire/get")


def test_text_of_an_invocation_id_is_that_of_its_bytes(invocation: Request) -> None:
    """The header has the text; the bytes are the first field of the start message, behind the header of its frame."""
    text = invocation.header("x-restate-invocation-id")
    assert invocation.body[8:10] == b"\x0a\x18"
    raw = invocation.body[10:34]
    assert format_invocation_id(raw) == text
    assert parse_invocation_id(text) == raw
