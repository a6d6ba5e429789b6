"""Discovery says whose fault it is, with Restate's codes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

import perdure
from perdure import Service, VirtualObject, Workflow
from perdure.engine.offering import offered
from perdure.engine.remote.discovery import Discovered, discover, negotiated
from perdure.engine.remote.errors import DiscoveryError
from perdure.engine.remote.offering import offered_by
from perdure.testing.loopback import free_ports
from perdure.wire.manifest import EndpointManifest, ProtocolMode
from perdure.wire.versions import ProtocolVersion
from tests.engine.remote.hosting import endpoint_at
from tests.engine.remote.scripted import Scripted, http1_peer, scripted

pytestmark = pytest.mark.anyio

V3 = "application/vnd.restate.endpointmanifest.v3+json"
MANIFEST = {
    "protocolMode": "BIDI_STREAM",
    "minProtocolVersion": 5,
    "maxProtocolVersion": 6,
    "services": [{"name": "Shop", "ty": "SERVICE", "handlers": [{"name": "buy"}]}],
}


async def answer(
    body: object, *, content_type: str | None = V3, status: int = 200, headers: Sequence[tuple[str, str]] = ()
) -> tuple[Discovered, dict[str, str]]:
    seen: dict[str, str] = {}

    async def script(peer: Scripted) -> None:
        stream = await peer.request()
        seen.update(peer.headers[stream])
        given = [("content-type", content_type)] if content_type is not None else []
        peer.respond(stream, status, [*given, *headers])
        await peer.send(stream, body if isinstance(body, bytes) else msgspec.json.encode(body), end=True)
        await peer.drain()

    async with scripted(script) as url, endpoint_at(f"{url}/base", headers=[("X-Tok", "s3")]) as endpoint:
        try:
            outcome: Discovered | DiscoveryError = await discover(endpoint, delays=())
        except DiscoveryError as error:  # raised below: the groups that are open here would wrap it
            outcome = error
    if isinstance(outcome, DiscoveryError):
        raise outcome
    return outcome, seen


async def test_an_endpoint_of_any_sdk_is_asked_for_every_manifest() -> None:
    found, seen = await answer(MANIFEST, headers=[("x-restate-server", "restate-sdk-go/1.0")])
    assert found.sdk == "restate-sdk-go/1.0"
    assert not found.packed
    assert found.bidirectional
    assert found.http_version == "HTTP/2.0"
    assert seen[":path"] == "/base/discover"
    assert seen["x-tok"] == "s3"
    assert seen["x-restate-cluster-name"] == "perdure"
    for version in (1, 2, 3, 4):
        assert f"application/vnd.restate.endpointmanifest.v{version}+json" in seen["accept"]


@pytest.mark.parametrize(
    ("change", "content_type", "status", "code", "said"),
    [
        ({}, None, 200, "META0013", "no content type"),
        ({}, "application/json", 200, "META0013", "'application/json'"),
        ({"protocolMode": None}, V3, 200, "META0013", "protocolMode"),
        ({"minProtocolVersion": 7}, V3, 200, "META0013", "7 to 6"),
        ({"minProtocolVersion": 2, "maxProtocolVersion": 3}, V3, 200, "META0012", "update whichever side is older"),
        ({"future": 1}, V3, 200, None, "future"),
        ({"services": [{"name": "restateX", "ty": "SERVICE", "handlers": []}]}, V3, 200, "META0005", "reserved"),
        ({"services": MANIFEST["services"] * 2}, V3, 200, None, "twice"),  # type: ignore[operator]  # it is a list
        ({}, V3, 404, "META0003", "nothing at /discover"),
        ({}, V3, 403, "META0003", "with 403"),
        ({}, V3, 503, "META0003", "with 503"),
    ],
)
async def test_what_is_wrong_is_told_with_its_code(
    change: dict[str, object], content_type: str | None, status: int, code: str | None, said: str
) -> None:
    body = {name: value for name, value in (MANIFEST | change).items() if value is not None}
    with pytest.raises(DiscoveryError) as caught:
        await answer(body, content_type=content_type, status=status)
    assert caught.value.code == code
    assert said in str(caught.value)


async def test_an_endpoint_that_speaks_http1_only_is_told_from_one_that_is_not_there() -> None:
    async with http1_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url, endpoint_at(url) as endpoint:
        with pytest.raises(DiscoveryError, match="use_http_11") as caught:
            await discover(endpoint, delays=())
    assert caught.value.code == "META0014"


async def test_nobody_there_is_asked_again_and_then_told() -> None:
    (port,) = free_ports(1)
    async with endpoint_at(f"http://127.0.0.1:{port}") as endpoint:
        with pytest.raises(DiscoveryError, match="Is the endpoint running") as caught:
            await discover(endpoint, delays=(0.0,))
    assert caught.value.code == "META0003"


async def test_an_endpoint_that_comes_up_meanwhile_is_found() -> None:
    async def gone(peer: Scripted) -> None:
        await peer.request()

    async def there(peer: Scripted) -> None:
        stream = await peer.request()
        peer.respond(stream, 200, [("content-type", V3)])
        await peer.send(stream, msgspec.json.encode(MANIFEST), end=True)
        await peer.drain()

    async with scripted(gone, there) as url, endpoint_at(url) as endpoint:
        assert (await discover(endpoint, delays=(0.0,))).manifest.services[0].name == "Shop"


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [(5, 7, 7), (5, 6, 6), (1, 5, 5), (1, 99, 7), (1, 4, None), (8, 9, None)],
)
def test_the_newest_common_version_is_spoken(lowest: int, highest: int, expected: int | None) -> None:
    assert negotiated(lowest, highest) == (None if expected is None else ProtocolVersion(expected))


def test_a_manifest_offers_what_the_endpoint_itself_would() -> None:
    shop = Service("Shop", inactivity_timeout=3, retry=perdure.RetryPolicy(max_attempts=3))
    cart = VirtualObject("Cart", lazy_state=True)
    order = Workflow("Order")

    @shop.handler(ingress_private=True, journal_retention=5)
    async def buy(ctx: perdure.Context, item: str) -> int:
        raise NotImplementedError

    @cart.handler
    async def add(ctx: perdure.ObjectContext, item: str) -> None:
        raise NotImplementedError

    @cart.shared
    async def total(ctx: perdure.SharedObjectContext) -> int:
        raise NotImplementedError

    @order.main
    async def run(ctx: perdure.WorkflowContext) -> bytes:
        raise NotImplementedError

    endpoint = perdure.Endpoint(shop, cart, order)
    manifest = endpoint.registry.manifest(ProtocolMode.BIDI_STREAM)
    for found, own in zip(offered_by(manifest), offered(endpoint.registry), strict=True):
        assert (found.name, found.kind, set(found.handlers)) == (own.name, own.kind, set(own.handlers))
        for name, options in found.handlers.items():
            expected = own.handlers[name]
            for field in ("kind", "private", "lazy_state", "journal_retention", "inactivity_timeout", "retry"):
                assert getattr(options, field) == getattr(expected, field), (name, field)
            assert options.output_content_type == expected.output_content_type


@pytest.mark.parametrize(
    "service",
    [
        {"name": "S", "ty": "SERVICE", "handlers": [{"name": "a", "ty": "EXCLUSIVE"}]},
        {"name": "O", "ty": "VIRTUAL_OBJECT", "handlers": [{"name": "a", "ty": "WORKFLOW"}]},
        {"name": "W", "ty": "WORKFLOW", "handlers": [{"name": "a", "ty": "SHARED"}]},
        {"name": "W", "ty": "WORKFLOW", "handlers": [{"name": n, "ty": "WORKFLOW"} for n in "ab"]},
    ],
)
def test_types_that_do_not_go_together_are_refused(service: dict[str, object]) -> None:
    manifest = msgspec.convert(MANIFEST | {"services": [service]}, EndpointManifest)
    with pytest.raises(DiscoveryError) as caught:
        offered_by(manifest)
    assert caught.value.status == 400
