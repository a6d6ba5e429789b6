"""Requests over HTTP/1.1: one at a time on a connection, both directions flowing as far as the peer lets them."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Iterable
from typing import Final

import anyio
import anyio.abc
import h11
from anyio.abc import ByteStream, SocketAttribute

from perdure.client.connection import LOST, Headers, abandon
from perdure.engine.remote.errors import RemoteError
from perdure.engine.remote.exchange import Head

__all__ = ["Http1Connection", "Http1Exchange"]

READ_SIZE: Final = 64 * 1024
MAX_HEADERS: Final = 64 * 1024
LINGER_SECONDS: Final = 1.0
"""How long the end of an answer that has said all that matters is waited for, so that the connection can be reused."""

_log: Final = logging.getLogger("perdure.engine.remote")


class Http1Connection:
    """One connection and the state of HTTP/1.1 on it.

    Args:
        stream: connected, and quiet so far.
        peer: its address, for messages.

    Attributes:
        closed: whether it is of no more use.
        idle_since: when the last exchange ended, on the loop's clock.
    """

    def __init__(self, stream: ByteStream, peer: str) -> None:
        self.stream: ByteStream = stream
        self.peer: str = peer
        self.http: h11.Connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        self.closed: bool = False
        self.idle_since: float = anyio.current_time()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: the peer is quiet, as it should be between two of them."""
        if self.closed or self.http.states != {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}:
            return False
        raw: socket.socket = self.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no Django here
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        return not poll.poll(0)

    async def request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], host: str, length: int | None
    ) -> Http1Exchange:
        """Send the head of a request.

        Args:
            method: of the request.
            target: path, percent-encoded.
            headers: names and values; `host` and framing are added.
            host: the authority of the peer.
            length: bytes of the body; `None` when that is not known.

        Raises:
            RemoteError: the peer is gone, or a header cannot be written.
        """
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        fields = [("host", host), *headers]
        if length != 0 or method == "POST":
            fields.append(framing)
        try:
            head = self.http.send(h11.Request(method=method, target=target, headers=fields))
        except h11.LocalProtocolError as error:
            raise RemoteError(f"{self.peer}: {error}") from error
        exchange = Http1Exchange(self)
        await exchange.write(head or b"")
        return exchange

    async def aclose(self) -> None:
        """Close it at once, also while being cancelled."""
        if not self.closed:
            self.closed = True
            await abandon(self.stream)


class Http1Exchange:
    """One request and its answer; see `perdure.engine.remote.exchange`."""

    def __init__(self, connection: Http1Connection) -> None:
        self._connection = connection
        self._http = connection.http
        self._ended = False
        self._answered = False
        self._left = False

    async def write(self, data: bytes) -> None:
        """Bytes to the socket; a connection whose write was cut is of no more use."""
        try:
            await self._connection.stream.send(data)
        except LOST as error:
            raise RemoteError(f"[RT0010] {self._connection.peer} ended the connection") from error
        except BaseException:
            self._ended = True
            await self._connection.aclose()  # noqa: ASYNC102 - it closes by force, at once
            raise

    async def send(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        if self._ended:
            raise RemoteError("the endpoint takes nothing more")
        try:
            framed = self._http.send(h11.Data(data=data)) or b""
        except h11.LocalProtocolError as error:
            raise RemoteError(f"{self._connection.peer}: {error}") from error
        await self.write(framed)

    async def end(self) -> None:
        """End the request."""
        if self._ended:
            return
        self._ended = True
        try:
            framed = self._http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            raise RemoteError(f"{self._connection.peer}: {error}") from error
        if framed:
            await self.write(framed)

    async def head(self) -> Head:
        """Wait for the beginning of the answer."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                fields = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
                return Head(event.status_code, Headers(fields))

    async def receive(self) -> bytes | None:
        """The next piece of the answer's body; `None` at its end."""
        while not self._answered:
            event = await self._next()
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                self._answered = True
        return None

    async def _next(self) -> object:
        peer = self._connection.peer
        ended = False
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if ended:
                    raise RemoteError(f"[RT0010] {peer} ended the connection") from error
                raise RemoteError(f"[RT0010] {peer} does not answer with HTTP/1.1: {error}") from error
            if event is h11.NEED_DATA:
                try:
                    data = await self._connection.stream.receive(READ_SIZE)
                except anyio.EndOfStream:
                    data, ended = b"", True
                except LOST as error:
                    raise RemoteError(f"[RT0010] {peer} ended the connection by force") from error
                try:
                    self._http.receive_data(data)
                except h11.RemoteProtocolError as error:
                    raise RemoteError(f"[RT0010] {peer} ended the connection: {error}") from error
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise RemoteError(f"[RT0010] {peer} ended the connection")
            else:
                return event

    async def release(self) -> None:
        """End the request, and see whether the connection can be used again."""
        if self._left:
            return
        self._left = True
        try:
            with anyio.move_on_after(LINGER_SECONDS):
                await self.end()
                while (late := await self.receive()) is not None:
                    _log.warning(
                        "%s sent %d bytes behind the last message of an attempt; they change nothing",
                        self._connection.peer,
                        len(late),
                    )
        except RemoteError as error:
            _log.debug("%s: the end of an answer that was complete: %s", self._connection.peer, error)
        done = self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        if done and not self._connection.closed and not any(self._http.trailing_data):
            self._http.start_next_cycle()
            self._connection.idle_since = anyio.current_time()
        else:
            await self._connection.aclose()

    async def abandon(self) -> None:
        """Close the connection, if the exchange is not over."""
        if not self._left:
            self._left = True
            await self._connection.aclose()
