"""What leaves on an HTTP/2 connection: frames made of the answers' buffers, one write for all of them.

Applications only fill buffers. `Sender.write`, in a task of its own, makes frames of all buffers that changed and gives
the socket one piece. So everything that happens in one turn of the event loop leaves in one system call, all that one
stream sent in that turn is one DATA frame, and its end is a flag on the last one: an empty DATA frame is sent only
where the end comes after everything else has left. (hypercorn makes a frame and a system call of each piece, and picks
the next stream from a heap that costs more with each open stream. restate-server budgets DATA frames: many small ones
exhaust a connection.)

Streams take turns, one frame each; one that meets a full window waits aside until the peer opens it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import h2.exceptions
from h2.errors import ErrorCodes

from perdure.server.h2_connection import H2Connection
from perdure.server.http2_stream import Headers, Stream

__all__ = ["Sender"]

logger: Final = logging.getLogger("perdure.server")

WRITE_SIZE: Final = 256 * 1024
"""Bytes of bodies that go into one write, so that a large answer does not hold up the others."""


class Sender:
    """The sending side of one connection.

    Args:
        connection: h2's state, which makes the frames.
        buffer_size: bytes of one answer that may wait before its application does.
        output_ended: told when the last frame of an answer is made.
        reset: told when an answer cannot be sent, because of what its application gave.
    """

    def __init__(
        self,
        connection: H2Connection,
        buffer_size: int,
        *,
        output_ended: Callable[[Stream], None],
        reset: Callable[[Stream, ErrorCodes], None],
    ) -> None:
        self._h2 = connection
        self._buffer_size = buffer_size
        self._output_ended = output_ended
        self._reset = reset
        self._changed: dict[int, Stream] = {}  # what may be sent, the longest waiting first
        self._blocked: dict[int, Stream] = {}  # what waits for the peer's window
        self._frames: list[bytes] = []
        self._frames_size = 0
        self._work = anyio.Event()
        self._written = anyio.Event()
        self._broken = False
        self.closing: bool = False
        """Nothing more will be said: `write` returns when all is sent."""

    def close(self, *, broken: bool = False) -> None:
        """Let `write` return when all that is due has left.

        Args:
            broken: h2 has ended the connection; answers cannot be sent any more.
        """
        self.closing = True
        self._broken = self._broken or broken
        self._work.set()

    def change(self, stream: Stream) -> None:
        """A stream may have something to send."""
        if not stream.output_ended and stream.id not in self._blocked:
            self._changed[stream.id] = stream
            self._work.set()

    def forget(self, stream: Stream) -> None:
        """A stream has nothing more to send."""
        self._changed.pop(stream.id, None)
        self._blocked.pop(stream.id, None)

    def unblock(self, stream_id: int) -> None:
        """The peer opened a window: of one stream, or of the connection (0)."""
        if stream_id == 0:
            self._changed.update(self._blocked)
            self._blocked.clear()
        elif (stream := self._blocked.pop(stream_id, None)) is not None:
            self._changed[stream_id] = stream
        if self._changed:
            self._work.set()

    def collect(self) -> None:
        """Take over the frames that h2 has made."""
        if frames := self._h2.data_to_send():
            self.add(frames)

    def add(self, frames: bytes) -> None:
        """Send frames that h2 did not make, after all it has made by now is collected."""
        self._frames.append(frames)
        self._frames_size += len(frames)
        self._work.set()

    async def wait_until_below(self, size: int) -> None:
        """Wait while more bytes than this wait for a peer that does not read."""
        while self._frames_size > size and not self.closing:
            self._written = anyio.Event()
            await self._written.wait()

    async def write(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what there is to send, whenever there is; returns after `close`, when all is sent.

        Args:
            send: hands bytes to the socket.

        Raises:
            OSError: the peer is gone.
        """
        while True:
            frames = self.take()
            if frames:
                await send(frames)
            elif self.closing:
                return
            else:
                self._work = anyio.Event()
                await self._work.wait()

    def take(self) -> bytes:
        """The frames to send now."""
        budget = WRITE_SIZE
        while self._changed and budget > 0 and not self._broken:
            stream = self._changed.pop(next(iter(self._changed)))
            try:
                budget -= self._advance(stream)
            except h2.exceptions.ProtocolError:
                logger.exception("an answer could not be sent")
                self._reset(stream, ErrorCodes.INTERNAL_ERROR)
        self.collect()
        frames = b"".join(self._frames)
        self._frames.clear()
        self._frames_size = 0
        self._written.set()
        return frames

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> bool:
        """Make a HEADERS frame; False when HTTP/2 does not allow these headers."""
        try:
            self._h2.send_headers(stream.id, headers, end_stream=end)
        except h2.exceptions.ProtocolError:
            logger.exception("the application sent headers that HTTP/2 does not allow")
            self._reset(stream, ErrorCodes.INTERNAL_ERROR)
            return False
        if end:
            self._output_ended(stream)
        return True

    def _advance(self, stream: Stream) -> int:
        """Make the next frames of one answer; returns the bytes of its body in them."""
        outgoing = stream.outgoing
        if stream.head is not None:
            head, stream.head = stream.head, None
            end = stream.complete and not outgoing and not stream.trailers
            if not self.send_headers(stream, head, end=end) or end:
                return 0
        size = 0
        if outgoing:
            room = min(self._h2.local_flow_control_window(stream.id), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._blocked[stream.id] = stream
                return 0
            data = bytes(outgoing[:room])
            del outgoing[:room]
            size = len(data)
            end = stream.complete and not outgoing and not stream.trailers
            self._h2.send_data(stream.id, data, end_stream=end)
            if end:
                self._output_ended(stream)
                return size
            if len(outgoing) < self._buffer_size // 2:
                stream.make_room()
            if outgoing:
                self._changed[stream.id] = stream
                return size
        if stream.complete:
            if stream.trailers:
                self.send_headers(stream, stream.trailers, end=True)
            else:
                self._h2.end_stream(stream.id)
                self._output_ended(stream)
        return size
