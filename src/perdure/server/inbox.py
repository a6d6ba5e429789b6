"""What a peer has sent on one request and the application has not received yet.

hypercorn puts one message per DATA frame into a queue of ten and stops reading from the connection when it is full:
one application that does not read stops every other request on that connection. Here the frames of a body are joined in
one buffer, so that a thousand small ones cost no more than their bytes, and the reader of the connection never waits
for an application: over HTTP/2 the peer's window bounds the buffer, because it is only given back as `receive` takes
bytes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import anyio

__all__ = ["Inbox", "Message", "slow_down"]

Message = dict[str, Any]

FREE_REPEATS: Final = 16
"""How often an application is answered at once after its peer is gone."""

LONGEST_PAUSE: Final = 1.0
"""Seconds that one answer takes at most."""

PAUSE_STEP: Final = 0.001

MESSAGES: Final = 64
"""WebSocket messages that wait before the reader of their connection does."""


async def slow_down(repeats: int) -> None:
    """Hold up an application that goes on receiving from, or sending to, a peer that is gone.

    Both are answered without waiting for anything, so a loop around them would keep the event loop for itself, and all
    other requests would stop.

    Args:
        repeats: how often it has done so.
    """
    if repeats > FREE_REPEATS:
        await anyio.sleep(min(repeats * PAUSE_STEP, LONGEST_PAUSE))


class Inbox:
    """The receiving side of one request.

    Args:
        limit: bytes of body that may wait before `put` does. HTTP/2 uses `feed`, which never waits.
        consumed: told how many bytes of body went to the application, or will never go there.
    """

    __slots__ = (
        "_arrived",
        "_body",
        "_consumed",
        "_disconnected",
        "_end_told",
        "_ended",
        "_farewell",
        "_limit",
        "_messages",
        "_repeats",
        "_room",
    )

    def __init__(self, limit: int, consumed: Callable[[int], None] | None = None) -> None:
        self._limit = limit
        self._consumed = consumed
        self._body = bytearray()
        self._messages: deque[Message] = deque()
        self._farewell: Message = {"type": "http.disconnect"}
        self._ended = False
        self._end_told = False
        self._disconnected = False
        self._repeats = 0
        self._arrived: anyio.Event | None = None
        self._room: anyio.Event | None = None

    @property
    def unread(self) -> int:
        """Bytes of body that wait for the application."""
        return len(self._body)

    def feed(self, data: bytes) -> None:
        """Add a piece of the body."""
        self._body += data
        self._wake()

    def end(self) -> None:
        """The body is complete."""
        self._ended = True
        self._wake()

    def disconnect(self, *, drop: bool) -> None:
        """The peer is gone, or its answer is complete.

        Args:
            drop: forget what waits, because it is cut off: nobody can use half a body.
        """
        self._disconnected = True
        if drop:
            self.discard()
        self._wake()
        self._release()

    def discard(self) -> None:
        """Forget the bytes that wait; they count as consumed."""
        size = len(self._body)
        self._body.clear()
        if size and self._consumed is not None:
            self._consumed(size)

    async def put(self, message: Message) -> None:
        """Take a message from hypercorn; wait while too much waits already."""
        match message["type"]:
            case "http.request":
                self._body += message.get("body", b"")
                self._ended = not message.get("more_body", False)
            case "http.disconnect":
                self.disconnect(drop=not self._ended)
            case "websocket.disconnect":
                self._farewell = message
                self._disconnected = True
            case _:
                self._messages.append(message)
        self._wake()
        while not self._disconnected and (len(self._body) > self._limit or len(self._messages) > MESSAGES):
            self._room = self._room or anyio.Event()
            await self._room.wait()

    async def receive(self) -> Message:
        """The `receive` of ASGI.

        What is already here is returned without letting other tasks run first: applications ask inside cancelled scopes
        whether the peer is gone, and must get the answer there.
        """
        while True:
            if self._messages:
                self._release()
                return self._messages.popleft()
            if self._body or (self._ended and not self._end_told):
                body = bytes(self._body)
                self._body.clear()
                self._end_told = self._ended
                self._release()
                if body and self._consumed is not None:
                    self._consumed(len(body))
                return {"type": "http.request", "body": body, "more_body": not self._ended}
            if self._disconnected:
                self._repeats += 1
                await slow_down(self._repeats)
                return dict(self._farewell)
            self._arrived = self._arrived or anyio.Event()
            await self._arrived.wait()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def _release(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
