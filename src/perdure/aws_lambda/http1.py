"""One HTTP/1.1 connection to the platform: requests out, whole answers in, bodies that may be streamed with trailers.

It is a client of its own beside `perdure.client.connection`, because a function pays for every import when it starts,
and because this one has no TLS, no timeouts (an answer may take hours) and trailers.

A connection carries one exchange after another. Each either leaves it `reusable`, or closed.

The usual exchange is small: the request leaves in one piece and the answer arrives in one (`plain_answer`). h11 comes
in for everything else, and is imported then: a function that starts should not wait for it. Between two exchanges it is
idle, so it can be told late what was sent, and given what came.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute

from perdure.aws_lambda.failures import ConnectionLostError, RuntimeApiError
from perdure.aws_lambda.plain_answer import Http1Response, plain_answer
from perdure.exceptions import UsageError

if TYPE_CHECKING:
    from perdure.aws_lambda.h11_codec import H11Codec

__all__ = ["Address", "Http1Connection", "Http1Response", "Request", "Upload", "connect"]

READ_SIZE: Final = 64 * 1024
"""Bytes asked for in one read."""

ONE_SEND: Final = 64 * 1024
"""Bodies up to this many bytes leave before the first read; larger ones are sent while the answer is awaited."""

Headers = Sequence[tuple[bytes, bytes]]


class Address(msgspec.Struct, frozen=True):
    """Where the platform's API is.

    Attributes:
        host: a name or an address.
        port: the port.
        path: what every target is put under, without a slash at its end.
    """

    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """The value of the `host` header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Request(msgspec.Struct, frozen=True):
    """The head of a request.

    Attributes:
        method: the HTTP method.
        target: path and query, percent-encoded.
        fields: names and values, framing among them.
        head: the same as bytes.
    """

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    head: bytes

    @staticmethod
    def make(method: str, target: str, fields: Iterable[tuple[str, str]]) -> Request:
        """Check and write a head.

        Raises:
            UsageError: something in it cannot stand in an HTTP request.
        """
        fields = tuple(fields)
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields]]
        text = "".join(lines)
        if not (text.isascii() and text.isprintable()) or " " in target:
            raise UsageError(
                f"{method} {target!r} cannot be sent with {dict(fields)!r}: targets and headers carry visible ASCII, "
                "one line each"
            )
        return Request(method, target, fields, "\r\n".join([*lines, "", ""]).encode("ascii"))


async def connect(address: Address) -> Http1Connection:
    """Connect.

    Raises:
        ConnectionLostError: nobody listens there.
    """
    try:
        stream = await anyio.connect_tcp(address.host, address.port)
    except OSError as exc:
        raise ConnectionLostError(f"the API at {address.authority} cannot be reached: {exc}", sent=False) from exc
    raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no Django here
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Http1Connection(stream, raw, address)


class Http1Connection:
    """A connected stream and the state of HTTP/1.1 on it.

    Args:
        stream: the connected stream; the connection closes it.
        raw: the socket below it.
        address: whose stream this is.
    """

    def __init__(self, stream: ByteStream, raw: socket.socket, address: Address) -> None:
        self.address = address
        self._stream = stream
        self._raw = raw
        self._codec: H11Codec | None = None
        self._busy = False
        self._closed = False
        self._sent = False

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: both sides are done, and the peer has not gone away meanwhile.

        A socket that can be read between two exchanges brings an end of file, or bytes that nobody asked for.
        """
        if self._closed or self._busy:
            return False
        descriptor = self._raw.fileno()
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    async def exchange(self, request: Request, body: bytes = b"") -> Http1Response:
        """Send one request and read its answer; on every way out by exception the connection is closed.

        Raises:
            ConnectionLostError: the peer went away first.
            RuntimeApiError: what came is no HTTP answer.
        """
        self._sent = False
        self._busy = True
        try:
            if len(body) > ONE_SEND:
                return await self._exchange_large(request, body)
            response = await self._exchange_small(request, body)
        except BaseException:
            await self.aclose()  # noqa: ASYNC102, ASYNC120 - it closes by force, at once
            raise
        self._busy = False
        return response

    async def _exchange_small(self, request: Request, body: bytes) -> Http1Response:
        await self.push(request.head + body if body else request.head)
        self._sent = True
        data = await self._receive()
        if not data:
            raise self._lost()
        if (response := plain_answer(data)) is not None:
            return response
        codec = self._begun(request)
        if body:
            codec.data(body)
        codec.end()
        codec.feed(data)
        return await self._read(codec)

    async def _exchange_large(self, request: Request, body: bytes) -> Http1Response:
        """Read while sending: who refuses a large body answers before having read it."""
        codec = self._h11()
        outcome: Http1Response | RuntimeApiError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._upload, codec, request, body)
            try:
                outcome = await self._read(codec)
            except RuntimeApiError as exc:  # raised below: a task group would wrap it
                outcome = exc
            tasks.cancel_scope.cancel()
        if isinstance(outcome, RuntimeApiError):
            raise outcome
        assert outcome is not None
        return outcome

    async def _upload(self, codec: H11Codec, request: Request, body: bytes) -> None:
        view = memoryview(body)
        try:
            await self._stream.send(codec.begin(request.method, request.target, request.fields))
            for start in range(0, len(body), ONE_SEND):
                await self._stream.send(codec.data(bytes(view[start : start + ONE_SEND])))
        except anyio.BrokenResourceError:
            return  # the reader finds out, and may still find an answer that was sent first
        codec.end()
        self._sent = True

    async def open(self, request: Request) -> Upload:
        """Begin a request whose body follows in pieces; on every way out by exception the connection is closed.

        Raises:
            ConnectionLostError: the peer is gone.
        """
        self._sent = False
        self._busy = True
        codec = self._h11()
        try:
            await self.push(codec.begin(request.method, request.target, request.fields))
        except BaseException:
            await self.aclose()  # noqa: ASYNC102, ASYNC120 - it closes by force, at once
            raise
        return Upload(self, codec)

    async def push(self, data: bytes) -> None:
        """Send a part of a request.

        Raises:
            ConnectionLostError: the peer is gone.
        """
        try:
            await self._stream.send(data)
        except anyio.BrokenResourceError as exc:
            raise self._lost() from exc

    async def answer(self, codec: H11Codec, *, sent: bool) -> Http1Response:
        """Read the answer to a request that was sent in pieces; on every way out by exception the connection is closed.

        Raises:
            ConnectionLostError: the peer went away first.
            RuntimeApiError: what came is no HTTP answer.
        """
        self._sent = sent
        try:
            return await self._read(codec)
        except BaseException:
            await self.aclose()  # noqa: ASYNC102, ASYNC120 - it closes by force, at once
            raise

    async def _read(self, codec: H11Codec) -> Http1Response:
        from perdure.aws_lambda.h11_codec import CutOffError, NoAnswerError  # noqa: PLC0415 - see above

        try:
            while (response := codec.answer()) is None:
                codec.feed(await self._receive(answered=codec.answered))
        except NoAnswerError as exc:
            raise RuntimeApiError(
                f"what listens at {self.address.authority} did not answer with an HTTP/1.1 response: {exc}"
            ) from exc
        except CutOffError as exc:
            raise self._lost(answered=exc.answered) from exc
        if codec.next_cycle():
            self._busy = False
        else:
            await self.aclose()
        return response

    async def _receive(self, *, answered: bool = False) -> bytes:
        try:
            return await self._stream.receive(READ_SIZE)
        except anyio.EndOfStream:
            return b""
        except anyio.BrokenResourceError as exc:
            raise self._lost(answered=answered) from exc

    def _h11(self) -> H11Codec:
        if self._codec is None:
            from perdure.aws_lambda.h11_codec import H11Codec  # noqa: PLC0415 - see above

            self._codec = H11Codec()
        return self._codec

    def _begun(self, request: Request) -> H11Codec:
        codec = self._h11()
        codec.begin(request.method, request.target, request.fields)
        return codec

    def _lost(self, *, answered: bool = False) -> ConnectionLostError:
        when = "in the middle of its answer" if answered else "before it answered"
        return ConnectionLostError(
            f"the API at {self.address.authority} ended the connection {when}", sent=self._sent, answered=answered
        )

    async def aclose(self) -> None:
        """Close the connection at once. It may be called again, and while being cancelled."""
        if not self._closed:
            self._closed = True
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()


class Upload:
    """The body of a request, sent in pieces.

    Args:
        connection: on which the head was sent already.
        codec: of the connection.
    """

    def __init__(self, connection: Http1Connection, codec: H11Codec) -> None:
        self.connection = connection
        self._codec = codec
        self._refused = False

    async def send(self, data: bytes) -> None:
        """Send a piece, and wait until the connection has taken it; empty data sends nothing.

        When the peer stopped listening, the pieces go nowhere: `finish` tells what it answered.
        """
        if data and not self._refused:
            await self._push(self._codec.data(data))

    async def _push(self, data: bytes) -> None:
        try:
            await self.connection.push(data)
        except ConnectionLostError:
            self._refused = True

    async def finish(self, trailers: Headers = ()) -> Http1Response:
        """End the body, and read the answer.

        Args:
            trailers: fields behind the body, announced by a `trailer` header.

        Raises:
            ConnectionLostError: the peer went away without an answer.
            RuntimeApiError: what came is no HTTP answer.
        """
        if not self._refused:
            await self._push(self._codec.end(trailers))
        return await self.connection.answer(self._codec, sent=not self._refused)

    async def abort(self) -> None:
        """Break the connection off; the peer sees a truncated body."""
        await self.connection.aclose()
