"""One request and its answer on an HTTP/2 connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, cast

import anyio
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import TaskGroup as HypercornTaskGroup

from perdure.server.applications import Applications, Finish, Scope
from perdure.server.inbox import Inbox, Message

__all__ = ["Headers", "Stream", "StreamOwner"]

Headers = list[tuple[bytes, bytes]]


class StreamOwner(Protocol):
    """What a stream tells its connection."""

    applications: Applications

    def give_back(self, stream: Stream, size: int) -> None:
        """The application took bytes of the request."""

    def app_ended(self, stream: Stream) -> None:
        """The application's task is over."""


class Stream:
    """The state of one request and its answer: data, which the connection changes.

    It is a stream of the connection until its application has ended *and* the answer has left (or cannot leave).

    Args:
        stream_id: of HTTP/2.
        owner: the connection.
        body_limit: bytes of the request that may wait; the peer's window is the real limit.

    Attributes:
        http: hypercorn's part, the ASGI state.
        inbox: the request's body, until the application takes it.
        app_running: the application's task has not ended.
        head: the headers of the answer, until they are sent.
        outgoing: the body of the answer, until it is sent.
        trailers: what follows the body.
        complete: the application has sent all of its answer.
        output_ended: all of it has left, or nothing more of it can.
        input_ended: the peer sends nothing more.
        room: set when `outgoing` is no longer full; an application waits for it.
        unheard: how often the application sent something after the answer could not be sent any more.
        taken: bytes that the application took since the peer's window was last opened.
    """

    __slots__ = (
        "_owner",
        "app_running",
        "complete",
        "head",
        "http",
        "id",
        "inbox",
        "input_ended",
        "outgoing",
        "output_ended",
        "room",
        "taken",
        "trailers",
        "unheard",
    )

    def __init__(self, stream_id: int, owner: StreamOwner, body_limit: int) -> None:
        self._owner = owner
        self.id: int = stream_id
        self.http: HTTPStream
        self.inbox: Inbox = Inbox(body_limit, partial(owner.give_back, self))
        self.app_running: bool = False
        self.head: Headers | None = None
        self.outgoing: bytearray = bytearray()
        self.trailers: Headers = []
        self.complete: bool = False
        self.output_ended: bool = False
        self.input_ended: bool = False
        self.room: anyio.Event | None = None
        self.unheard: int = 0
        self.taken: int = 0

    def as_hypercorn(self) -> HypercornTaskGroup:
        """This object as what starts applications for `HTTPStream`."""
        return cast("HypercornTaskGroup", self)

    async def spawn_app(
        self, app: object, config: object, scope: Scope, send: Finish
    ) -> Callable[[Message], Awaitable[None]]:
        """Start the application for this request (hypercorn's interface)."""
        del app, config  # the same for all requests
        self.app_running = True
        self._owner.applications.start(scope, self.inbox, send, partial(self._owner.app_ended, self))
        return self.inbox.put

    def make_room(self) -> None:
        """Let an application go on that waits because `outgoing` was full."""
        if self.room is not None:
            self.room.set()
            self.room = None
