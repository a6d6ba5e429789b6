"""Deployments in other processes: registered once, remembered in the engine's tables, and connected to when needed.

What discovery found about the connection is kept among the deployment's headers under names that begin with a colon,
as HTTP/2 names what is no header: `:http` (the version), `:frames` (`msgpack` when both ends are perdure), `:sdk`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import anyio.abc
import msgspec

from perdure.client.connection import Origin
from perdure.engine.events import Offered, RegisterDeployment
from perdure.engine.outputs import Refused
from perdure.engine.remote.channel import Destination
from perdure.engine.remote.discovery import discover, negotiated
from perdure.engine.remote.endpoint import RemoteEndpoint
from perdure.engine.remote.errors import DiscoveryError
from perdure.engine.remote.offering import offered_by
from perdure.engine.rows import Kind, PutDeployment
from perdure.exceptions import UsageError
from perdure.wire.ids import format_deployment_id, format_invocation_id
from perdure.wire.manifest import MAX_VERSION, encode
from perdure.wire.versions import ProtocolVersion

if TYPE_CHECKING:
    from perdure.engine.core import Core
    from perdure.engine.entities import InvocationEntity
    from perdure.engine.remote.identity import RequestSigner

__all__ = ["Registered", "Remote", "RemoteDeployments", "about", "headers_of"]

HTTP: Final = ":http"
FRAMES: Final = ":frames"
SDK: Final = ":sdk"
_MSGPACK: Final = "msgpack"
_HTTP1: Final = "HTTP/1.1"
_RANDOM_BYTES: Final = 10


class Remote(msgspec.Struct, frozen=True):
    """Where an attempt goes that is not for this process."""

    endpoint: RemoteEndpoint
    destination: Destination


class Registered(msgspec.Struct, frozen=True):
    """What became of a registration.

    Attributes:
        deployment: as it is known now.
        created: whether it is new, and not one that was known before.
    """

    deployment: PutDeployment
    created: bool


def about(row: PutDeployment, name: str) -> str | None:
    """What discovery found about the connection: `HTTP`, `FRAMES` or `SDK`."""
    return next((value for each, value in row.headers if each == name), None)


def headers_of(row: PutDeployment) -> list[tuple[str, str]]:
    """The headers that go along with every request."""
    return [(name, value) for name, value in row.headers if not name.startswith(":")]


class RemoteDeployments:
    """The endpoints that an engine knows, by the numbers of their deployments.

    Args:
        home: where the tasks of connections run.
        signer: signs requests.
    """

    def __init__(self, home: anyio.abc.TaskGroup, signer: RequestSigner | None = None) -> None:
        self._home = home
        self._signer = signer
        self._endpoints: dict[int, tuple[PutDeployment, RemoteEndpoint]] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        for _, endpoint in self._endpoints.values():
            await endpoint.aclose()
        self._endpoints.clear()

    # --- attempts --------------------------------------------------------------------------------------------------

    def remote(self, row: PutDeployment, invocation: InvocationEntity, protocol: int) -> Remote | None:
        """Where an attempt of an invocation goes; `None` when no version of the protocol is common to both.

        Args:
            row: the deployment; it has a uri.
            invocation: whose attempt it is.
            protocol: the version that it is pinned to; 0 leaves it to negotiation.
        """
        version = ProtocolVersion(protocol) if protocol else negotiated(row.min_protocol, row.max_protocol)
        if version is None:
            return None
        destination = Destination(
            service=invocation.service,
            handler=invocation.handler,
            key=None if invocation.kind is Kind.SERVICE else invocation.key,
            invocation_id=format_invocation_id(invocation.id),
            version=version,
            packed=about(row, FRAMES) == _MSGPACK,
            bidirectional=row.bidirectional,
        )
        return Remote(self._endpoint(row), destination)

    def _endpoint(self, row: PutDeployment) -> RemoteEndpoint:
        known = self._endpoints.get(row.deployment)
        if known is not None and known[0] == row:
            return known[1]
        assert row.uri is not None
        endpoint = RemoteEndpoint(
            row.uri,
            self._home,
            headers=headers_of(row),
            http1=about(row, HTTP) == _HTTP1,
            signer=self._signer,
        )
        self._endpoints[row.deployment] = (row, endpoint)
        return endpoint

    # --- registration ----------------------------------------------------------------------------------------------

    async def register(
        self,
        core: Core,
        uri: str,
        *,
        headers: Mapping[str, str] | None = None,
        http1: bool = False,
        force: bool = False,
        breaking: bool = False,
        dry_run: bool = False,
    ) -> Registered:
        """Ask an endpoint what it offers, and send new invocations of that to it from now on.

        An address that is known already is left as it is, without being asked, unless `force` says so: then it keeps
        its id, and everything else is replaced.

        Args:
            core: of the engine.
            uri: where the endpoint is.
            headers: sent along with every request.
            http1: it speaks HTTP/1.1 only.
            force: register it again.
            breaking: a service may become one of another type.
            dry_run: only look whether it would work.

        Raises:
            DiscoveryError: it does not; the message says why.
        """
        try:
            place = Origin.parse(uri)
        except UsageError as error:
            raise DiscoveryError(f"The request field 'uri' is invalid. Reason: {error}", status=400) from error
        known = next(
            (row for row in core.view.deployments() if row.uri is not None and _place(row.uri) == _authority(place)),
            None,
        )
        if known is not None and not force:
            return Registered(known, created=False)
        endpoint = RemoteEndpoint(uri, self._home, headers=(headers or {}).items(), http1=http1, signer=self._signer)
        try:
            found = await discover(endpoint)
        finally:
            await endpoint.aclose()  # noqa: ASYNC102 - it closes by force, at once
        services = offered_by(found.manifest)
        if not (force or breaking):
            _check_types(core, services)
        now = core.clock.milliseconds()
        notes = {HTTP: found.http_version, FRAMES: _MSGPACK if found.packed else "protobuf", SDK: found.sdk or ""}
        row = PutDeployment(
            deployment=known.deployment if known is not None else 0,
            id=known.id if known is not None else _fresh_id(),
            uri=uri,
            min_protocol=found.manifest.min_protocol_version,
            max_protocol=found.manifest.max_protocol_version,
            manifest=encode(found.manifest, MAX_VERSION),
            created_at=now,
            bidirectional=found.bidirectional,
            services=tuple(service.name for service in services),
            headers=(*(headers or {}).items(), *((name, value) for name, value in notes.items() if value)),
        )
        if not dry_run:
            answer = await core.ask(lambda waiter: RegisterDeployment(row, services, waiter))
            if isinstance(answer, Refused):
                raise DiscoveryError(answer.message, status=answer.code)
            row = next(each for each in core.view.deployments() if each.id == row.id)
        return Registered(row, created=known is None)


def _authority(place: tuple[Origin, str]) -> tuple[str, str]:
    """What makes two addresses the same: authority and path, and nothing else."""
    origin, path = place
    return origin.authority, path


def _place(uri: str) -> tuple[str, str]:
    return _authority(Origin.parse(uri))


def _fresh_id() -> str:
    return format_deployment_id(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(_RANDOM_BYTES))


def _check_types(core: Core, services: Sequence[Offered]) -> None:
    for service in services:
        known = core.view.service(service.name)
        if known is not None and known.kind is not service.kind:
            raise DiscoveryError(
                f"service {service.name} is known as {known.kind.name}, and the new deployment has it as "
                f"{service.kind.name}: invocations in work would not fit. Give it another name, or say `breaking`",
                code="META0006",
                status=409,
            )
