"""One accepted socket, from its first byte to its last.

Two task groups, one inside the other: the inner one holds what serves the socket (reader, writer, and the two that wait
for idleness and for the drain) and ends with it; the outer one holds the applications, which learn that their peer is
gone and end in their own time. Whatever goes wrong in here is logged with the peer's address and ends this connection
only: one bad peer never takes another one down.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import Final

import anyio
import anyio.abc
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.utils import parse_socket_addr

from perdure.server.applications import Applications
from perdure.server.byte_streams import ByteStream, wrap_socket
from perdure.server.http2 import Http2
from perdure.server.inbox import slow_down
from perdure.server.site import Site

__all__ = ["serve_connection"]

logger: Final = logging.getLogger("perdure.server")

LAST_WORDS: Final = 0.5
"""Seconds to tell a peer that its requests are cut, when the server ends before they do."""


async def serve_connection(site: Site, connected: socket.socket) -> None:
    """Serve one connection until it ends; raises nothing but the loop's cancellation.

    Args:
        site: what all connections share.
        connected: the accepted socket, non-blocking; it belongs to this function.
    """
    try:
        client = parse_socket_addr(connected.family, connected.getpeername())
        server = parse_socket_addr(connected.family, connected.getsockname())
        stream = await wrap_socket(connected)
    except OSError:
        connected.close()
        return  # the peer was gone before it said anything
    connection = _Connection(site, stream, client, server)
    try:
        await connection.run()
    except* Exception:
        logger.exception("the connection from %s failed; it is closed", client)
    finally:
        await connection.close()  # noqa: ASYNC102 - shields itself, for a bounded time


class _Connection:
    def __init__(
        self, site: Site, stream: ByteStream, client: tuple[str, int] | None, server: tuple[str, int] | None
    ) -> None:
        self._site = site
        self._stream = stream
        self._client = client
        self._server = server
        self._sending = anyio.Lock()
        self._unheard = 0
        self._idle_since: float | None = anyio.current_time()
        self._tasks: anyio.abc.TaskGroup
        self._http1: H11Protocol | None = None
        self._http2: Http2 | None = None

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            self._applications = Applications(
                self._site.application,
                tasks,
                self._site.drain,
                body_limit=self._site.settings.stream_window,
                abandon=self._abandon,
            )
            try:
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._leave_when_idle)
                    self._tasks.start_soon(self._leave_when_draining)
                    await self._read()
                    self._tasks.cancel_scope.cancel()
            except anyio.get_cancelled_exc_class():
                if self._http2 is not None:
                    self._http2.cut()
                raise
            finally:
                await self._lose()  # noqa: ASYNC102 - waits for nothing
            await self._stream.aclose()

    async def close(self) -> None:
        """Close the socket; where the server cuts it, say so first."""
        if self._http2 is not None:
            with anyio.move_on_after(LAST_WORDS, shield=True):
                with suppress(OSError):  # the peer is gone
                    await self._stream.send(self._http2.sender.take())
        await self._stream.aclose()

    # The socket

    async def _read(self) -> None:
        http1 = self._http1 = H11Protocol(
            self._site.app,
            self._site.config,
            self._site.context,
            self._applications.as_hypercorn(),
            self._site.state,
            False,  # no TLS
            self._client,
            self._server,
            self._take_event,
        )
        while data := await self._stream.receive():
            if self._http2 is not None:
                await self._http2.receive(data)
                continue
            try:
                await http1.handle(RawData(data))
            except H2ProtocolAssumedError as error:
                await self._speak_http2(error.data)
            except H2CProtocolRequiredError as error:
                await self._speak_http2(error.data, error)

    async def _speak_http2(self, data: bytes, upgrade: H2CProtocolRequiredError | None = None) -> None:
        self._http2 = Http2(self._site, self._applications, self._client, self._server)
        await self._http2.open(upgrade)
        self._tasks.start_soon(self._write, self._http2)
        if data:
            await self._http2.receive(data)

    async def _write(self, http2: Http2) -> None:
        with suppress(OSError):  # the peer is gone
            await http2.sender.write(self._stream.send)
        self._end()

    async def _take_event(self, event: Event) -> None:
        """What hypercorn's HTTP/1.1 class has to say."""
        match event:
            case RawData():
                async with self._sending:
                    try:
                        await self._stream.send(event.data)
                    except OSError:
                        self._unheard += 1
                        self._end()
                await slow_down(self._unheard)
            case Closed():
                self._end()
            case Updated():
                self._idle_since = anyio.current_time() if event.idle else None
            case _:
                pass

    # The end

    def _end(self) -> None:
        self._tasks.cancel_scope.cancel()

    def _abandon(self) -> None:
        if self._http2 is None:
            self._end()

    async def _lose(self) -> None:
        if self._http2 is not None:
            await self._http2.lose()
        elif self._http1 is not None:
            await self._http1.handle(Closed())

    async def _leave(self) -> None:
        if self._http2 is not None:
            await self._http2.leave()
        elif self._idle_since is not None:
            self._end()
        # An HTTP/1.1 connection with a request closes after its answer: hypercorn looks at `terminated`.

    async def _leave_when_draining(self) -> None:
        await self._site.drain.begun.wait()
        await self._leave()

    async def _leave_when_idle(self) -> None:
        timeout = self._site.settings.idle_timeout
        while True:
            since = self._idle_since if self._http2 is None else self._http2.idle_since
            left = timeout if since is None else since + timeout - anyio.current_time()
            if left <= 0:
                break
            await anyio.sleep(left)
        await self._leave()
