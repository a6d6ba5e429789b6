"""Discovery: what an endpoint says about itself, checked as restate-server checks it.

Errors carry Restate's codes:

========  ==============================================================================
META0003  nobody answers there, or not with success
META0005  a service or handler has a name that is not allowed
META0012  no version of the service protocol that both sides speak
META0013  the answer is no manifest: another content type, no protocol mode, a wrong range
META0014  the endpoint speaks HTTP/1.1 and was asked over HTTP/2
========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
import msgspec

from perdure.engine.remote.endpoint import RemoteEndpoint
from perdure.engine.remote.errors import DiscoveryError, RemoteError
from perdure.exceptions import UsageError
from perdure.wire import packed
from perdure.wire.manifest import MAX_VERSION as LAST_MANIFEST
from perdure.wire.manifest import MIN_VERSION as FIRST_MANIFEST
from perdure.wire.manifest import (
    EndpointManifest,
    ProtocolMode,
    content_type,
    validate_handler_name,
    validate_service_name,
)
from perdure.wire.versions import MAX_VERSION, MIN_VERSION, ProtocolVersion

__all__ = ["DELAYS", "Discovered", "discover", "negotiated"]

DELAYS: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds between tries while nobody answers, or the answer is that of a server in trouble."""

TIMEOUT: Final = 30.0
"""Seconds that one answer may take."""

LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a manifest."""

_MANIFESTS: Final = {content_type(version): version for version in range(FIRST_MANIFEST, LAST_MANIFEST + 1)}
_ACCEPT: Final = ", ".join([packed.MANIFEST, *_MANIFESTS])
_OK: Final = range(200, 300)
_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
_NOT_FOUND: Final = 404
_QUOTED: Final = 200


class Discovered(msgspec.Struct, frozen=True):
    """What an endpoint said.

    Attributes:
        manifest: the services.
        packed: whether it speaks MessagePack, so that both ends are perdure.
        sdk: what it calls itself (`x-restate-server`), such as `restate-sdk-python/1.3.0`.
        http_version: that it answered in: `HTTP/1.1` or `HTTP/2.0`.
    """

    manifest: EndpointManifest
    packed: bool
    sdk: str | None
    http_version: str

    @property
    def bidirectional(self) -> bool:
        """Whether completions can reach a handler while it runs."""
        return self.manifest.protocol_mode is ProtocolMode.BIDI_STREAM


async def discover(endpoint: RemoteEndpoint, *, delays: Sequence[float] = DELAYS) -> Discovered:
    """Ask an endpoint what it offers.

    Args:
        endpoint: where to ask.
        delays: seconds between tries.

    Raises:
        DiscoveryError: it cannot be used; the message says whose fault it is and what to do.
    """
    for delay in delays:
        try:
            return await _once(endpoint)
        except _Later:
            await anyio.sleep(delay)
    try:
        return await _once(endpoint)
    except _Later as later:
        raise later.error from later.__cause__


class _Later(Exception):  # noqa: N818 - not an error yet: the next try may work
    """This may get better by itself."""

    def __init__(self, error: DiscoveryError) -> None:
        super().__init__()
        self.error = error


async def _once(endpoint: RemoteEndpoint) -> Discovered:
    try:
        with anyio.fail_after(TIMEOUT):
            exchange = await endpoint.request("GET", "/discover", [("accept", _ACCEPT)], length=0)
            try:
                await exchange.end()
                head = await exchange.head()
                body = bytearray()
                while (piece := await exchange.receive()) is not None:
                    body += piece
                    if len(body) > LARGEST:
                        raise DiscoveryError(f"{endpoint.uri} answered discovery with more than {LARGEST} bytes")
                await exchange.release()
            finally:
                await exchange.abandon()  # noqa: ASYNC102 - it breaks off at once
    except RemoteError as error:
        if "META0014" in error.message:
            raise DiscoveryError(f"{endpoint.uri}: {error.message}", code="META0014") from error
        raise _Later(
            DiscoveryError(
                f"cannot discover {endpoint.uri}: {error.message}. Is the endpoint running, and is this its address as "
                "seen from here?",
                code="META0003",
            )
        ) from error
    except TimeoutError as error:
        raise _Later(
            DiscoveryError(f"{endpoint.uri} did not answer discovery within {TIMEOUT:g} s", code="META0003")
        ) from error
    if head.status not in _OK:
        raise _refused(endpoint, head.status, bytes(body))
    media_type = head.headers.get("content-type", "").strip()
    is_packed = media_type == packed.MANIFEST
    if not is_packed and media_type not in _MANIFESTS:
        said = f"content type {media_type!r}" if media_type else "no content type"
        raise DiscoveryError(
            f"{endpoint.uri} answered discovery with {said}, not with a manifest ({', '.join(_MANIFESTS)}): is there a "
            "Restate endpoint at this address, and is its SDK not too old or too new?",
            code="META0013",
        )
    found = Discovered(
        _manifest(endpoint, bytes(body)), is_packed, head.headers.get("x-restate-server"), endpoint.http_version
    )
    _check(endpoint, found.manifest)
    return found


def _refused(endpoint: RemoteEndpoint, status: int, body: bytes) -> Exception:
    said = body[:_QUOTED].decode("utf-8", "replace").strip()
    if status == _NOT_FOUND:
        return DiscoveryError(
            f"{endpoint.uri} has nothing at /discover (404): the address of a deployment is that of an endpoint, with "
            "the path below which it is mounted",
            code="META0003",
        )
    error = DiscoveryError(f"{endpoint.uri} answered discovery with {status}: {said or 'no reason'}", code="META0003")
    return _Later(error) if status in _LATER else error


def _manifest(endpoint: RemoteEndpoint, body: bytes) -> EndpointManifest:
    try:
        return msgspec.json.decode(body, type=EndpointManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        code = "META0013" if "protocolMode" in str(error) else None
        raise DiscoveryError(f"the manifest of {endpoint.uri} cannot be read: {error}", code=code) from error


def _check(endpoint: RemoteEndpoint, manifest: EndpointManifest) -> None:
    lowest, highest = manifest.min_protocol_version, manifest.max_protocol_version
    if lowest > highest:
        raise DiscoveryError(
            f"{endpoint.uri} says that it speaks protocol versions {lowest} to {highest}, which is no range",
            code="META0013",
        )
    if negotiated(lowest, highest) is None:
        raise DiscoveryError(
            f"{endpoint.uri} speaks versions {lowest} to {highest} of the service protocol, this engine "
            f"{MIN_VERSION.value} to {MAX_VERSION.value}: update whichever side is older",
            code="META0012",
        )
    seen: set[str] = set()
    for service in manifest.services:
        try:
            validate_service_name(service.name)
            for handler in service.handlers:
                validate_handler_name(handler.name)
        except UsageError as error:
            raise DiscoveryError(f"{endpoint.uri}: {error}", code="META0005", status=400) from error
        if service.name in seen:
            raise DiscoveryError(f"{endpoint.uri} offers the service {service.name} twice", status=400)
        seen.add(service.name)


def negotiated(lowest: int, highest: int) -> ProtocolVersion | None:
    """The newest version of the service protocol in a range that this engine speaks; `None` when there is none."""
    version = min(highest, MAX_VERSION.value)
    return ProtocolVersion(version) if version >= max(lowest, MIN_VERSION.value) else None
