"""One HTTP request of a program or a browser, as ASGI has it: read whole, answered at once.

Everything is open to pages of any origin, as on restate-server: the engine listens on the loopback interface unless it
is told otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import msgspec

__all__ = ["Answer", "AsgiRequest", "Gone", "TooLarge", "answer_json", "serve_lifespan"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_VISIBLE: Final = b"x-restate-id, x-restate-error-source, idempotency-expires, location"


class Gone(Exception):  # noqa: N818 - nobody's error: the peer does not wait any more
    """The peer went away before the request was complete."""


class TooLarge(Exception):  # noqa: N818 - an answer on its way up
    """The body is longer than is taken."""


class Answer(msgspec.Struct, frozen=True):
    """What is answered."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def answer_json(status: int, value: object, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """An answer in JSON."""
    return Answer(status, msgspec.json.encode(value), (("content-type", "application/json"), *headers))


class AsgiRequest:
    """One request.

    Attributes:
        method: `GET`, `POST`.
        path: as it was sent, percent-encoded, without the path that an application is mounted below.
        query: as it was sent, without the question mark.
        headers: names in lower case, in their order; text is latin-1.
    """

    __slots__ = ("_receive", "_send", "headers", "method", "path", "query")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        raw: bytes | None = scope.get("raw_path")
        path = raw.decode("latin-1").partition("?")[0] if raw else scope["path"]
        self.path: str = path.removeprefix(scope.get("root_path") or "")
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers: list[tuple[str, str]] = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ]

    def header(self, name: str) -> str | None:
        """The first header of a name."""
        for each, value in self.headers:
            if each == name:
                return value
        return None

    async def body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it has more than `limit` bytes.
            Gone: the peer went away.
        """
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise TooLarge
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces) if len(pieces) > 1 else piece

    async def until_gone(self) -> None:
        """Wait until the peer is gone; only after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, answer: Answer) -> None:
        """Answer, with whatever lets pages of other origins read it."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        headers.append((b"content-length", str(len(answer.body)).encode("ascii")))
        origin = self.header("origin")
        if origin is not None:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", _VISIBLE),
                (b"vary", b"origin"),
            ]
        await self._tell({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._tell({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _tell(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            return  # the peer is gone, says the specification of ASGI from version 2.4

    async def preflight(self) -> None:
        """Answer a browser that asks whether it may ask."""
        wanted = self.header("access-control-request-headers") or "*"
        allowed = (("access-control-allow-methods", "GET, POST, PATCH, PUT, DELETE"),)
        await self.answer(Answer(200, b"", (*allowed, ("access-control-allow-headers", wanted))))


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer a server's lifespan events; whoever opened the engine closes it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
