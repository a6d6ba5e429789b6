"""An accepted socket as a stream of bytes, on either loop.

anyio's own socket stream would do, but on asyncio it tells the selector to start and to stop watching the socket for
every read: two system calls more, a tenth of the cost of a small request. So each loop's own stream stands behind one
small interface.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol

import anyio

__all__ = ["ByteStream", "wrap_socket"]

READ_SIZE: Final = 2**16
"""Bytes asked for in one read."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a peer gets to take what is still buffered when its connection is closed, and to close its side.

A socket that is closed with bytes in it that nobody has read resets the connection, and the peer loses what it has not
read yet: the answer, or the reason. So our side is ended first, and what still comes is thrown away.
"""


class ByteStream(Protocol):
    """What a connection needs of its socket. One task reads and one writes at a time."""

    async def receive(self) -> bytes:
        """Bytes as they come, at least one; none when the peer has ended its side or is gone."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand over all of the data, and wait while the peer does not take it.

        A cancelled `send` loses nothing: the next one goes on where it stopped.

        Raises:
            OSError: the peer is gone.
        """

    async def aclose(self) -> None:
        """End our side after what was sent, wait a moment for the peer to end its own, and close."""


class _AsyncioStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        try:
            return await self._reader.read(READ_SIZE)
        except OSError:
            return b""

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the peer is gone")
        self._writer.write(data)
        await self._writer.drain()

    async def aclose(self) -> None:
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                if not self._writer.is_closing():
                    self._writer.write_eof()
                    while await self.receive():
                        pass
                self._writer.close()
                await self._writer.wait_closed()
            except OSError:
                pass  # the peer was faster
        self._writer.transport.abort()


async def wrap_socket(connected: socket.socket) -> ByteStream:
    """The stream of a connected, non-blocking socket, which it owns from now on.

    Raises:
        OSError: the peer was gone before anything was said.
    """
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        reader, writer = await asyncio.open_connection(sock=connected)
        return _AsyncioStream(reader, writer)
    from perdure.server.trio_stream import TrioStream  # noqa: PLC0415 - trio is imported only where it runs

    return TrioStream(connected, read_size=READ_SIZE, close_timeout=CLOSE_TIMEOUT)
