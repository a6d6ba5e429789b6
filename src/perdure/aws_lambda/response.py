"""What an invocation is answered with: at once, or as a stream.

A stream has two forms. `StreamingResponse` is given the pieces and sends them; `PushedResponse` is called with the
stream and writes to it, which suits code that is written as a writer (an ASGI application is). Both run in the
invocation's own task, and both wait until the platform has taken what was sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

__all__ = [
    "HTTP_INTEGRATION",
    "JSON",
    "OCTET_STREAM",
    "BufferedResponse",
    "MetadataPrelude",
    "PushedResponse",
    "Response",
    "ResponseStream",
    "StreamingResponse",
]

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
HTTP_INTEGRATION: Final = "application/vnd.awslambda.http-integration-response"
"""The content type that tells function URLs and API Gateway that a prelude comes first."""


class BufferedResponse(msgspec.Struct, frozen=True):
    """An answer that is sent at once; the platform takes 6 MiB."""

    body: bytes
    content_type: str = JSON


class MetadataPrelude(msgspec.Struct, frozen=True):
    """Status, headers and cookies of an HTTP answer that is streamed.

    Attributes:
        status_code: the HTTP status.
        headers: one value each.
        cookies: values of `set-cookie`.
        multi_value_headers: headers with several values; API Gateway's REST APIs read them.
    """

    status_code: int = 200
    headers: Mapping[str, str] = {}
    cookies: Sequence[str] = ()
    multi_value_headers: Mapping[str, Sequence[str]] = {}

    def encode(self) -> bytes:
        """The JSON that goes before the eight NUL bytes and the body."""
        fields: dict[str, object] = {"statusCode": self.status_code, "headers": self.headers, "cookies": self.cookies}
        if self.multi_value_headers:
            fields["multiValueHeaders"] = self.multi_value_headers
        return msgspec.json.encode(fields)


class StreamingResponse(msgspec.Struct, frozen=True):
    """An answer whose pieces are sent as they come.

    When `body` raises, the caller gets what was sent and the error, in trailers.

    Attributes:
        body: the pieces.
        prelude: makes it an HTTP answer, for function URLs and API Gateway; without one the bytes are the answer.
        content_type: what the bytes are; with a prelude its headers tell.
    """

    body: AsyncIterable[bytes]
    prelude: MetadataPrelude | None = None
    content_type: str = OCTET_STREAM


class ResponseStream(Protocol):
    """A stream that an answer is written to."""

    @property
    def started(self) -> bool:
        """Whether the platform was told that an answer begins; from then on an error travels in trailers."""
        ...

    async def start(self, prelude: MetadataPrelude | None = None, *, content_type: str = OCTET_STREAM) -> None:
        """Begin the answer, once.

        Args:
            prelude: makes it an HTTP answer.
            content_type: what the bytes are, when there is no prelude.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Send a piece; empty data sends nothing."""
        ...


class PushedResponse(msgspec.Struct, frozen=True):
    """An answer that is written to the stream by `write`, which the runtime awaits in the invocation's own task.

    What `write` raises before it started the stream is reported like any error of a handler; what it raises later
    reaches the caller in trailers, behind what was sent.
    """

    write: Callable[[ResponseStream], Awaitable[None]]


Response: TypeAlias = BufferedResponse | StreamingResponse | PushedResponse
"""What services and layers return."""
