"""Answering a runtime: health, discovery and invocations, over any server.

What is said here holds for every shell: ASGI adds only how requests look (`perdure.asgi`).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from perdure.durable.driver import Driver, End
from perdure.durable.transport import Disconnected
from perdure.exceptions import IdentityError, PerdureError, ProtocolError
from perdure.handlers.attempt import run_attempt
from perdure.handlers.packed_transport import PackedTransport
from perdure.machine.invocation import Invocation
from perdure.wire import manifest, packed
from perdure.wire.identity import IdentityVerifier, request_target
from perdure.wire.manifest import LambdaCompression, ProtocolMode, UnacceptableManifestError
from perdure.wire.versions import SDK_VERSION, ProtocolVersion, parse_content_type

if TYPE_CHECKING:
    from perdure.handlers.environment import Environment
    from perdure.handlers.exchange import Exchange
    from perdure.handlers.registry import BoundHandler, Registry

__all__ = ["SERVER_HEADER", "Responder"]

_log: Final = logging.getLogger("perdure.endpoint")
_CONTENT_TYPE: Final = b"content-type"
_INVOKE_PARTS: Final = 3


SERVER_HEADER: Final = ("x-restate-server", f"perdure/{SDK_VERSION}")
"""The header that every answer carries: which SDK this is."""


class Responder:
    """Answers the requests of runtimes.

    Args:
        registry: what is offered.
        environment: shared by its attempts.
        identity: refuses requests that are not signed; `None` accepts all.
    """

    def __init__(self, registry: Registry, environment: Environment, identity: IdentityVerifier | None = None) -> None:
        self._registry = registry
        self._environment = environment
        self._identity = identity
        self._server = SERVER_HEADER
        self._answers = {
            version: (("content-type", version.content_type), SERVER_HEADER) for version in ProtocolVersion
        }
        self._packed_answers = {
            version: (("content-type", packed.content_type(version)), SERVER_HEADER) for version in ProtocolVersion
        }
        self._direct: dict[str, BoundHandler[Any]] = {}

    async def handle(
        self, exchange: Exchange, mode: ProtocolMode, *, lambda_compression: LambdaCompression | None = None
    ) -> None:
        """Answer one request.

        Args:
            exchange: the request.
            mode: `BIDI_STREAM` where request and answer flow at the same time; with `REQUEST_RESPONSE` the answer
                begins when the request has ended.
            lambda_compression: how bodies may be compressed, on AWS Lambda; discovery tells it.
        """
        # Straight on where nothing is to be found out: each coroutine between here and the handler costs its share.
        bound = self._direct.get(exchange.path) if self._identity is None else None
        try:
            if bound is not None:
                await self._invoke(exchange, mode, bound)
            else:
                await self._route(exchange, mode, lambda_compression)
        except Disconnected:
            return  # nobody waits for the answer

    async def _route(
        self, exchange: Exchange, mode: ProtocolMode, lambda_compression: LambdaCompression | None
    ) -> None:
        target = request_target(exchange.path)
        _, *parts = target.split("/")
        invokes = len(parts) == _INVOKE_PARTS and parts[0] == "invoke"
        if not invokes and target.rpartition("/")[2] == "health":
            await self._answer(exchange, 200, b'{"status":"ok"}', "application/json")
            return
        if self._identity is not None:
            try:
                self._identity.verify(exchange.headers, exchange.path, now=time.time())
            except IdentityError as error:
                _log.warning("refused a request to %s: %s", exchange.path, error)
                await self._refuse(exchange, 401, str(error))
                return
        if target == "/discover":
            await self._discover(exchange, mode, lambda_compression)
            return
        if invokes:
            await self._look_up(exchange, mode, parts[1], parts[2])
            return
        await self._refuse(
            exchange,
            404,
            f"nothing is at {exchange.path}: runtimes ask for /discover and /invoke/..., people for /health",
        )

    # --- discovery -------------------------------------------------------------------------------------------------

    async def _discover(
        self, exchange: Exchange, mode: ProtocolMode, lambda_compression: LambdaCompression | None
    ) -> None:
        if exchange.method != "GET":
            await self._refuse(exchange, 405, "discovery is a GET request")
            return
        accept = _header(exchange, b"accept")
        is_packed = packed.accepted(accept)
        try:
            version = manifest.MAX_VERSION if is_packed else manifest.negotiate(accept)
        except UnacceptableManifestError as error:
            await self._refuse(exchange, 415, str(error))
            return
        try:
            found = self._registry.manifest(mode, lambda_compression=lambda_compression)
            left_out = manifest.left_out(found, version)
        except PerdureError as error:
            _log.exception("the manifest cannot be made")
            await self._refuse(exchange, 500, str(error))
            return
        if left_out:
            _log.warning(
                "the runtime reads manifests of version %d at most, which cannot say %s: they have no effect there",
                version,
                ", ".join(left_out),
            )
        content_type = packed.MANIFEST if is_packed else manifest.content_type(version)
        await self._answer(exchange, 200, manifest.encode(found, version), content_type)

    # --- invocations -----------------------------------------------------------------------------------------------

    async def _look_up(self, exchange: Exchange, mode: ProtocolMode, service: str, handler: str) -> None:
        bound = self._registry.lookup(service, handler)
        if bound is None:
            what = "handler" if service in self._registry.services else "service"
            await self._refuse(
                exchange, 404, f"this endpoint has no {what} {service}/{handler}: register the deployment that has it"
            )
            return
        # Next time the path is not taken apart. Only as it is without a base path: those are as many as handlers.
        self._direct[f"/invoke/{service}/{handler}"] = bound
        await self._invoke(exchange, mode, bound)

    async def _invoke(self, exchange: Exchange, mode: ProtocolMode, bound: BoundHandler[Any]) -> None:
        if exchange.method != "POST":
            await self._refuse(exchange, 405, "an invocation is a POST request")
            return
        content_type = _header(exchange, _CONTENT_TYPE) or ""
        try:
            version = parse_content_type(content_type)
        except ProtocolError as error:
            of_perdure = packed.version_of(content_type)
            if of_perdure is None:
                await self._refuse(exchange, 415, str(error))
                return
            await exchange.respond(200, self._packed_answers[of_perdure])
            await self._run(exchange, mode, bound, of_perdure, is_packed=True)
            return
        await exchange.respond(200, self._answers[version])
        await self._run(exchange, mode, bound, version)

    async def _run(
        self,
        exchange: Exchange,
        mode: ProtocolMode,
        bound: BoundHandler[Any],
        version: ProtocolVersion,
        *,
        is_packed: bool = False,
    ) -> None:
        stream = _WholeRequest(exchange) if mode is ProtocolMode.REQUEST_RESPONSE else exchange
        transport = PackedTransport(stream) if is_packed else stream
        environment = self._environment
        driver = Driver(
            Invocation(version), transport, messages=is_packed, clock=environment.clock, home=environment.home
        )
        end = await run_attempt(bound, driver, environment)
        if end in {End.DISCONNECTED, End.CANCELLED}:
            return  # nobody listens any more, or the stream is broken off: no proper end for it
        # A whole request was read to its end before the handler began, whether or not the handler came to hear of it.
        if mode is ProtocolMode.BIDI_STREAM and not driver.machine.input_closed:
            await _until_closed(exchange)
        await exchange.finish()

    # --- answers ---------------------------------------------------------------------------------------------------

    async def _refuse(self, exchange: Exchange, status: int, message: str) -> None:
        body = msgspec.json.encode({"code": status, "message": message})
        await self._answer(exchange, status, body, "application/json")

    async def _answer(self, exchange: Exchange, status: int, body: bytes, content_type: str) -> None:
        headers = [("content-type", content_type), ("content-length", str(len(body))), self._server]
        await exchange.respond(status, headers)
        await exchange.send(body)
        # Behind the answer: a runtime that streams an invocation ends its side only when it has seen the status.
        await _until_closed(exchange)
        await exchange.finish()


class _WholeRequest:
    """An exchange whose request is read to its end before anything is answered."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._read = False

    async def receive(self) -> bytes | None:
        if self._read:
            return await self._exchange.receive()
        pieces: list[bytes] = []
        while (piece := await self._exchange.receive()) is not None:
            pieces.append(piece)
        self._read = True
        self._exchange = _AfterEnd(self._exchange)  # type: ignore[assignment]  # only receive and send are used
        return b"".join(pieces)

    async def send(self, data: bytes) -> None:
        await self._exchange.send(data)


class _AfterEnd:
    """An exchange that tells the end of its request once more: it was read before anybody asked for it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._told = False

    async def receive(self) -> bytes | None:
        if not self._told:
            self._told = True
            return None
        return await self._exchange.receive()

    async def send(self, data: bytes) -> None:
        await self._exchange.send(data)


async def _until_closed(exchange: Exchange) -> None:
    """Wait for the end of the request: servers mind input that arrives after the answer has ended."""
    try:
        while await exchange.receive() is not None:
            pass
    except Disconnected:
        return


def _header(exchange: Exchange, name: bytes) -> str | None:
    for key, value in exchange.headers:
        if key.lower() == name:
            return value.decode("latin-1")
    return None
