"""Endpoint: services as an ASGI application.

Serve it with `perdure serve module:app`, or with any ASGI server that speaks HTTP/2 without TLS (hypercorn does). Over
HTTP/2 requests and answers flow at the same time; over HTTP/1.1 the answer begins when the request has ended.

It can be mounted below a path of another application: only the end of a path counts. Mounted applications get no
lifespan events, so whoever mounts one that has a `lifespan` enters `endpoint.running()` itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import anyio

from perdure.durable.transport import Disconnected
from perdure.exceptions import UsageError
from perdure.handlers.ed25519 import ed25519_verifier
from perdure.handlers.endpoint import Responder
from perdure.handlers.environment import Environment
from perdure.handlers.exchange import Exchange
from perdure.handlers.registry import Registry
from perdure.wire.identity import IdentityVerifier, VerifySignature
from perdure.wire.manifest import LambdaCompression, ProtocolMode

if TYPE_CHECKING:
    from collections.abc import Awaitable, MutableMapping

    from perdure.durable.clock import Clock
    from perdure.durable.codec import Codec
    from perdure.durable.holding import Patience
    from perdure.durable.serde import SerdeFactory
    from perdure.handlers.definitions import Definition
    from perdure.handlers.ed25519 import SignatureBackend
    from perdure.handlers.middleware import Middleware

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["Endpoint"]

_DRAIN: Final = "perdure.drain"
_BIDIRECTIONAL: Final = frozenset({"2", "3"})


class Endpoint:
    """Services, virtual objects and workflows as one ASGI application.

    Args:
        services: what it offers.
        lifespan: called with the endpoint, returns an async context manager that is entered once per process; what it
            yields is `ctx.app`.
        middleware: entered around attempts and executed steps, the first outermost.
        identity_keys: public keys (`publickeyv1_...`) of the servers that may call; without any, everybody may.
        signature_backend: what checks signatures: `"cryptography"`, `"pynacl"`, or a callable; the first that is
            installed when it is not given.
        serde: from annotations to serdes, in place of `serde_for`.
        codec: on top of every serde: encryption, compression.
        clock: where attempts read the time.
        patience: with branches that keep the turn in a plain await while others are ready.

    Raises:
        UsageError: two services have one name, types cannot be written, or a key cannot be read.
    """

    def __init__(
        self,
        *services: Definition,
        lifespan: Callable[[Endpoint], AbstractAsyncContextManager[Any]] | None = None,
        middleware: Sequence[Middleware] = (),
        identity_keys: Sequence[str] = (),
        signature_backend: SignatureBackend | VerifySignature | None = None,
        serde: SerdeFactory | None = None,
        codec: Codec | None = None,
        clock: Clock | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.registry: Registry = Registry(services, serde=serde, codec=codec)
        self.environment: Environment = Environment(
            self.registry, middleware=middleware, clock=clock, patience=patience
        )
        identity = (
            IdentityVerifier(identity_keys, verify=ed25519_verifier(signature_backend)) if identity_keys else None
        )
        self._responder = Responder(self.registry, self.environment, identity)
        self._lifespan = lifespan
        self._entered = lifespan is None

    def __repr__(self) -> str:
        return f"Endpoint({', '.join(self.registry.services)})"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Any]:
        """Enter the lifespan; yields what it yields.

        ASGI servers do this through their lifespan events. Programs that mount the endpoint, or call `handle`, do it
        themselves.
        """
        environment = self.environment
        async with AsyncExitStack() as stack:
            if self._lifespan is not None:
                environment.app = await stack.enter_async_context(self._lifespan(self))
            environment.home = await stack.enter_async_context(anyio.create_task_group())
            self._entered = True
            try:
                yield environment.app
            finally:
                self._entered = self._lifespan is None
                environment.home.cancel_scope.cancel()
                environment.home = None
                environment.app = None

    async def handle(
        self,
        exchange: Exchange,
        mode: ProtocolMode = ProtocolMode.BIDI_STREAM,
        *,
        lambda_compression: LambdaCompression | None = None,
    ) -> None:
        """Answer one request of any HTTP server.

        Args:
            exchange: the request, and the means to answer.
            mode: `BIDI_STREAM` where both directions flow at the same time, `REQUEST_RESPONSE` elsewhere.
            lambda_compression: how bodies may be compressed, on AWS Lambda; discovery tells it.

        Raises:
            UsageError: the endpoint has a lifespan that nobody entered.
        """
        if not self._entered:
            raise UsageError(
                "this endpoint has a lifespan, and nobody entered it: serve it with lifespan support, or enter "
                "`endpoint.running()` where it is mounted"
            )
        await self._responder.handle(exchange, mode, lambda_compression=lambda_compression)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        kind = scope["type"]
        if kind == "http":
            mode = (
                ProtocolMode.BIDI_STREAM
                if scope.get("http_version") in _BIDIRECTIONAL
                else ProtocolMode.REQUEST_RESPONSE
            )
            if self._entered:
                await self._responder.handle(_AsgiExchange(scope, receive, send), mode)
            else:
                await self.handle(_AsgiExchange(scope, receive, send), mode)  # it says what is missing
        elif kind == "lifespan":
            await self._serve_lifespan(scope, receive, send)
        else:
            raise UsageError(f"an endpoint answers HTTP requests, not {kind}")

    async def _suspend_when(self, draining: anyio.Event) -> None:
        """Hand back what runs when the server is about to end (`perdure.server` tells)."""
        await draining.wait()
        await self.environment.drain()

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        extension = (scope.get("extensions") or {}).get(_DRAIN)
        started = False
        try:
            async with self.running(), anyio.create_task_group() as tasks:
                if extension is not None:
                    tasks.start_soon(self._suspend_when, extension["draining"])
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
                tasks.cancel_scope.cancel()
        except Exception as error:
            what = "shutdown" if started else "startup"
            await send({"type": f"lifespan.{what}.failed", "message": f"{type(error).__name__}: {error}"})  # noqa: ASYNC120 - ASGI asks for it
            raise
        await send({"type": "lifespan.shutdown.complete"})


class _AsgiExchange:
    """An ASGI request as an exchange."""

    __slots__ = ("_disconnected", "_receive", "_send", "headers", "method", "path")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        self._disconnected = False

    async def receive(self) -> bytes | None:
        if self._disconnected:
            raise Disconnected
        return self._take(await self._receive())

    def _take(self, message: MutableMapping[str, Any]) -> bytes | None:
        if message["type"] == "http.disconnect":
            self._disconnected = True  # a server repeats this for ever, at once: it is asked no more
            raise Disconnected
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            return body
        if body:
            self._receive = _ended_after(self._receive)
            return body
        return None

    async def respond(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        await self._tell({"type": "http.response.start", "status": status, "headers": list(_encoded(tuple(headers)))})

    async def send(self, data: bytes) -> None:
        await self._tell({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        await self._tell({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, message: MutableMapping[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError as error:  # the peer is gone, says the specification of ASGI from version 2.4
            self._disconnected = True
            raise Disconnected from error


@lru_cache(maxsize=64)
def _encoded(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Headers as ASGI has them; those of every answer to an invocation are the same few."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def _ended_after(receive: Receive) -> Receive:
    """The last piece of a body came together with its end: tell the end by itself."""
    told = False

    async def next_message() -> MutableMapping[str, Any]:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return next_message
