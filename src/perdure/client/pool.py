"""A small pool of connections to one origin: the general HTTP/1.1 client that the edges share.

Rules of repetition, in one place:

- *Connecting* is tried a bounded number of times; nothing has been sent yet.
- A request that never left in full is repeated once, on a new connection. A server that reads requests whole cannot
  have acted upon it.
- A request that may have arrived is repeated once only when the caller says that this is harmless (`repeatable=True`:
  reads, and requests with an idempotency key). The usual cause is a kept-alive connection that the server closed in the
  very moment of its reuse, or a server that was restarted.
- Nothing else is repeated, and no status is: what a status means is the caller's business.

Requests get connections first come, first served. A cancelled request costs its connection and nothing else.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

import anyio
import h11

from perdure.client.connection import (
    ConnectError,
    HttpConnection,
    HttpError,
    Origin,
    Response,
    ResponseError,
    open_connection,
    request_head,
    trusting_context,
)
from perdure.exceptions import UsageError

__all__ = ["ConnectionPool"]

CONNECT_DELAYS: Final = (0.1, 0.3, 1.0)
"""Seconds between tries to connect: enough for a server that is just being restarted."""


class ConnectionPool:
    """Requests to one origin over at most `limit` connections at a time.

    Args:
        url: the origin, and optionally a path that every target is put under.
        limit: requests in flight at a time; further ones wait their turn.
        connect_timeout: seconds for one try to connect, TLS included.
        connect_delays: seconds to wait between tries to connect; one try more than there are delays.
        idle_timeout: seconds after which an unused connection is not used again.
        max_response_size: bytes that the body of a response may have.
        ssl_context: for https; without it the default one of the standard library.

    Raises:
        UsageError: when the URL is none that requests can be sent to.
    """

    def __init__(
        self,
        url: str,
        *,
        limit: int = 10,
        connect_timeout: float = 10.0,
        connect_delays: Sequence[float] = CONNECT_DELAYS,
        idle_timeout: float = 30.0,
        max_response_size: int = 64 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if limit < 1:
            raise UsageError(f"limit={limit}: at least one connection is needed")
        self.origin: Origin
        self.prefix: str
        self.origin, self.prefix = Origin.parse(url)
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._connect_delays = tuple(connect_delays)
        self._idle_timeout = idle_timeout
        self._max_response_size = max_response_size
        self._ssl_context = (ssl_context or trusting_context()) if self.origin.scheme == "https" else None
        self._slots: anyio.Semaphore | None = None
        self._idle: list[tuple[HttpConnection, float]] = []  # the one used last is last; with the time it became idle

    async def __aenter__(self) -> Self:
        if self._slots is not None:
            raise UsageError("this is open already; open another one instead of entering it twice")
        self._slots = anyio.Semaphore(self._limit)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._slots = None
        while self._idle:
            connection, _ = self._idle.pop()
            await connection.aclose()

    async def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        repeatable: bool = False,
    ) -> Response:
        """Send a request and return its response, whatever its status.

        Args:
            method: the HTTP method.
            target: path and query, percent-encoded, beginning with a slash.
            headers: pairs of name and value; framing and `host` are added.
            body: the whole body.
            repeatable: whether the request may be sent again although it may have arrived.

        Raises:
            ConnectError: when no connection could be made.
            DisconnectedError: when the peer went away before it had answered.
            ResponseError: when the peer's answer is no HTTP response or is too large.
            UsageError: when the request cannot be sent as HTTP, or outside `async with`.
        """
        slots = self._slots
        if slots is None:
            raise UsageError("the client is not open; use it inside its `async with` block")
        head = request_head(self.origin, method, self.prefix + target, headers, len(body))
        async with slots:
            if self._slots is not slots:
                raise UsageError("the client was closed while this request waited for a connection")
            connection = await self._take()
            try:
                return await self._exchange(connection, head, body)
            except ResponseError:
                raise
            except HttpError as exc:
                if exc.complete and not repeatable:
                    raise
            return await self._exchange(await self._connect(), head, body)

    async def _exchange(self, connection: HttpConnection, head: h11.Request, body: bytes) -> Response:
        response = await connection.exchange(head, body)
        if self._slots is None:
            await connection.aclose()  # the pool was closed meanwhile
        elif connection.reusable:
            self._idle.append((connection, anyio.current_time()))
        else:
            await connection.aclose()
        return response

    async def _take(self) -> HttpConnection:
        """The connection used last that is still good, else a new one; old ones are closed on the way."""
        oldest = anyio.current_time() - self._idle_timeout
        while self._idle and self._idle[0][1] < oldest:
            connection, _ = self._idle.pop(0)
            await connection.aclose()
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.reusable:
                return connection
            await connection.aclose()
        return await self._connect()

    async def _connect(self) -> HttpConnection:
        for delay in self._connect_delays:
            try:
                return await self._connect_once()
            except ConnectError as exc:
                if isinstance(exc.__cause__, ssl.SSLError):
                    raise  # waiting mends no certificate
                await anyio.sleep(delay)
        return await self._connect_once()

    async def _connect_once(self) -> HttpConnection:
        try:
            with anyio.fail_after(self._connect_timeout):
                return await open_connection(
                    self.origin, ssl_context=self._ssl_context, max_response_size=self._max_response_size
                )
        except TimeoutError as exc:
            raise ConnectError(f"cannot connect to {self.origin}: no answer within {self._connect_timeout} s") from exc
