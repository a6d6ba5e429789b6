"""An accepted socket as a stream of bytes on trio: imported only where trio runs."""

from __future__ import annotations

import socket
from contextlib import suppress

import trio

__all__ = ["TrioStream"]


class TrioStream:
    """A `ByteStream` on trio.

    Args:
        connected: a connected, non-blocking socket, which the stream owns from now on.
        read_size: bytes asked for in one read.
        close_timeout: seconds that a peer gets to take what is still buffered.
    """

    def __init__(self, connected: socket.socket, *, read_size: int, close_timeout: float) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._unsent = memoryview(b"")
        self._read_size = read_size
        self._close_timeout = close_timeout

    async def receive(self) -> bytes:
        """Bytes as they come; none at the end."""
        try:
            return bytes(await self._stream.receive_some(self._read_size))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def send(self, data: bytes) -> None:
        """Hand over all of the data, after what a cancelled `send` had left."""
        # Not `send_all`: it does not say how much it has sent when it is cancelled.
        self._unsent = memoryview(bytes(self._unsent) + data if self._unsent else data)
        while self._unsent:
            try:
                sent = await self._stream.socket.send(self._unsent)
            except trio.ClosedResourceError as error:
                raise ConnectionResetError("the connection is closed") from error
            self._unsent = self._unsent[sent:]

    async def aclose(self) -> None:
        """End our side after what was sent, wait a moment for the peer to end its own, and close."""
        with trio.move_on_after(self._close_timeout, shield=True):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the peer was faster
                await self._stream.send_eof()
                while await self.receive():
                    pass
        await trio.aclose_forcefully(self._stream)
