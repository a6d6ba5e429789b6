"""One address of an endpoint and the connections to it.

`http://` speaks HTTP/2 with prior knowledge unless it is told that the endpoint knows HTTP/1.1 only; `https://` leaves
it to the TLS handshake (ALPN). Over HTTP/2 exchanges share connections up to what the peer allows, over HTTP/1.1 each
has one of its own. A connection that was idle for `IDLE_SECONDS` is closed when the next one is asked for.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Final

import anyio
import anyio.abc
from anyio.streams.tls import TLSAttribute

from perdure.client.connection import ConnectError, Origin, open_stream
from perdure.engine.remote.errors import RemoteError
from perdure.engine.remote.exchange import RemoteExchange
from perdure.engine.remote.http1 import Http1Connection
from perdure.engine.remote.http2 import Http2Connection
from perdure.engine.remote.identity import RequestSigner

__all__ = ["RemoteEndpoint"]

IDLE_SECONDS: Final = 300.0
_CLUSTER: Final = ("x-restate-cluster-name", "perdure")


class RemoteEndpoint:
    """An endpoint at an address, and the connections to it.

    Args:
        uri: where it is, with the path below which it was mounted.
        home: where the tasks of connections run.
        headers: sent along with every request.
        http1: it knows HTTP/1.1 only; without effect for `https`.
        signer: signs requests.
        connect_timeout: seconds until a connection has to stand.
        ssl_context: whom to trust, for `https`; the system's authorities without it.

    Attributes:
        uri: as it was given.
        http_version: of the last answer: `HTTP/1.1` or `HTTP/2.0`.

    Raises:
        UsageError: the uri is none that requests can be sent to.
    """

    def __init__(
        self,
        uri: str,
        home: anyio.abc.TaskGroup,
        *,
        headers: Iterable[tuple[str, str]] = (),
        http1: bool = False,
        signer: RequestSigner | None = None,
        connect_timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.uri: str = uri
        self.http_version: str = "HTTP/1.1" if http1 else "HTTP/2.0"
        origin, base = Origin.parse(uri)
        self._origin: Origin = origin
        self._base: str = base
        self._home = home
        self._headers = [_CLUSTER, *((name.lower(), value) for name, value in headers)]
        self._http1 = http1
        self._signer = signer
        self._connect_timeout = connect_timeout
        self._ssl_context: ssl.SSLContext | None = (ssl_context or _context()) if origin.scheme == "https" else None
        self._shared: list[Http2Connection] = []
        self._single: list[Http1Connection] = []
        self._connecting: anyio.Lock = anyio.Lock()

    def __repr__(self) -> str:
        return f"<RemoteEndpoint {self.uri}>"

    async def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        *,
        length: int | None,
        key: str | None = None,
    ) -> RemoteExchange:
        """Begin an exchange.

        Args:
            method: of the request.
            target: its path below the one of the endpoint, as in `/invoke/Shop/checkout`.
            headers: besides those of the endpoint and the signature.
            length: bytes of the body, `None` when that is not known; only HTTP/1.1 wants it.
            key: of the object or workflow, for the signature.

        Raises:
            RemoteError: there is no connection.
        """
        fields = [*headers, *self._headers]
        if self._signer is not None:
            fields += self._signer.headers(target, key, time.time())
        path = self._base + target
        connection = await self._take()
        if isinstance(connection, Http2Connection):
            self.http_version = "HTTP/2.0"
            return connection.request(method, path, fields, self._origin.scheme, self._origin.authority)
        self.http_version = "HTTP/1.1"
        try:
            exchange = await connection.request(method, path, fields, self._origin.authority, length)
        except BaseException:
            await connection.aclose()  # noqa: ASYNC102 - it closes by force, at once
            raise
        self._single.append(connection)
        return exchange

    async def aclose(self) -> None:
        """Close every connection; what runs on them breaks off."""
        for shared in self._shared:
            shared.close()
        self._shared.clear()
        while self._single:
            await self._single.pop().aclose()

    # --- connections -----------------------------------------------------------------------------------------------

    async def _take(self) -> Http2Connection | Http1Connection:
        """A connection that takes one more request."""
        await self._drop_idle()
        found = self._find()
        if found is not None:
            return found
        if self._http1:
            return await self._connect()
        async with self._connecting:  # those who come together share what the first one opens
            found = self._find()
            return found if found is not None else await self._connect()

    def _find(self) -> Http2Connection | Http1Connection | None:
        for shared in self._shared:
            if shared.has_room:
                return shared
        for single in self._single:
            if single.reusable:
                self._single.remove(single)  # until its exchange has begun; the one that runs keeps it here again
                return single
        return None

    async def _drop_idle(self) -> None:
        oldest = anyio.current_time() - IDLE_SECONDS
        self._shared = [each for each in self._shared if each.failure is None]
        for shared in self._shared:
            if not shared.busy and shared.idle_since < oldest:
                shared.close()
        for single in list(self._single):
            if single.closed:
                self._single.remove(single)
            elif single.reusable and single.idle_since < oldest:
                self._single.remove(single)
                await single.aclose()

    async def _connect(self) -> Http2Connection | Http1Connection:
        peer = str(self._origin)
        try:
            with anyio.fail_after(self._connect_timeout):
                try:
                    stream = await open_stream(self._origin, self._ssl_context)
                except ConnectError as error:
                    raise RemoteError(f"[RT0010] {error.message}", infrastructure=True) from error
                if self._speaks_http1(stream):
                    return Http1Connection(stream, peer)
                connection = Http2Connection(stream, peer)
                self._home.start_soon(connection.run)
                try:
                    await connection.ready.wait()
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError as error:
            raise RemoteError(
                f"[RT0010] {peer} did not answer within {self._connect_timeout:g} s of connecting", infrastructure=True
            ) from error
        if connection.failure is not None:
            raise connection.failure
        self._shared.append(connection)
        return connection

    def _speaks_http1(self, stream: anyio.abc.ByteStream) -> bool:
        if self._ssl_context is None:
            return self._http1
        return stream.extra(TLSAttribute.alpn_protocol, None) != "h2"  # noqa: S610 - no Django here


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
