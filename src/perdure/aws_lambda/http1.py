"""One HTTP/1.1 connection to the platform: requests out, whole answers in, bodies that may be streamed with trailers.

It is a client of its own beside `perdure.client.connection`, because a function pays for every import when it starts,
and because this one has no TLS, no timeouts (an answer may take hours) and trailers.

A connection carries one exchange after another. Each either leaves it `reusable`, or closed.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping, Sequence
from typing import Final

import anyio
import h11
import msgspec
from anyio.abc import ByteStream, SocketAttribute

from perdure.aws_lambda.failures import ConnectionLostError, RuntimeApiError

__all__ = ["Address", "Http1Connection", "Http1Response", "Upload", "connect"]

READ_SIZE: Final = 64 * 1024
"""Bytes asked for in one read."""

ONE_SEND: Final = 64 * 1024
"""Bodies up to this many bytes leave before the first read; larger ones are sent while the answer is awaited."""

HEAD_SIZE: Final = 1024 * 1024
"""Bytes that the head of an answer may have: the client context and the trace header travel in it."""

Headers = Sequence[tuple[bytes, bytes]]
_IDLE: Final = {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}
_DONE: Final = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
_END: Final = h11.EndOfMessage()


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


class Http1Response(msgspec.Struct, frozen=True):
    """An answer, read whole.

    Attributes:
        status: the HTTP status.
        headers: names in lower case; of a repeated one the last value.
        body: the whole body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


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
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_SIZE)
        self._closed = False
        self._sent = False

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: both sides are done, and the peer has not gone away meanwhile.

        A socket that can be read between two exchanges brings an end of file, or bytes that nobody asked for.
        """
        if self._closed or self._http.states != _IDLE:
            return False
        descriptor = self._raw.fileno()
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    async def exchange(self, head: h11.Request, body: bytes = b"") -> Http1Response:
        """Send one request and read its answer; on every way out by exception the connection is closed.

        Raises:
            ConnectionLostError: the peer went away first.
            RuntimeApiError: what came is no HTTP answer.
        """
        self._sent = False
        try:
            if len(body) > ONE_SEND:
                response = await self._exchange_large(head, body)
            else:
                response = await self._exchange_small(head, body)
        except BaseException:
            await self.aclose()  # noqa: ASYNC102, ASYNC120 - it closes by force, at once
            raise
        await self._start_next()
        return response

    async def _exchange_small(self, head: h11.Request, body: bytes) -> Http1Response:
        http = self._http
        data = http.send(head) or b""
        if body:
            data += http.send(h11.Data(data=body)) or b""
        http.send(_END)  # framed by content-length: it adds no bytes
        try:
            await self._stream.send(data)
        except anyio.BrokenResourceError as exc:
            raise self._lost() from exc
        self._sent = True
        return await self._read()

    async def _exchange_large(self, head: h11.Request, body: bytes) -> Http1Response:
        """Read while sending: who refuses a large body answers before having read it."""
        outcome: Http1Response | RuntimeApiError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._upload, head, body)
            try:
                outcome = await self._read()
            except RuntimeApiError as exc:  # raised below: a task group would wrap it
                outcome = exc
            tasks.cancel_scope.cancel()
        if isinstance(outcome, RuntimeApiError):
            raise outcome
        assert outcome is not None
        return outcome

    async def _upload(self, head: h11.Request, body: bytes) -> None:
        view = memoryview(body)
        try:
            await self._stream.send(self._http.send(head) or b"")
            for start in range(0, len(body), ONE_SEND):
                part = bytes(view[start : start + ONE_SEND])
                await self._stream.send(self._http.send(h11.Data(data=part)) or b"")
        except anyio.BrokenResourceError:
            return  # the reader finds out, and may still find an answer that was sent first
        self._http.send(_END)
        self._sent = True

    async def open(self, head: h11.Request) -> Upload:
        """Begin a request whose body follows in pieces; on every way out by exception the connection is closed.

        Raises:
            ConnectionLostError: the peer is gone.
        """
        self._sent = False
        await self._push(self._http.send(head) or b"")
        return Upload(self)

    # --- for Upload ----------------------------------------------------------------------------------------------

    async def push(self, event: h11.Data | h11.EndOfMessage) -> None:
        """Send a part of a body that is streamed."""
        await self._push(self._http.send(event) or b"")

    async def finish(self, trailers: Headers) -> Http1Response:
        """End a body that is streamed, and read the answer."""
        await self._push(self._http.send(h11.EndOfMessage(headers=list(trailers))) or b"")
        self._sent = True
        return await self.answer()

    async def answer(self) -> Http1Response:
        """Read the answer to what was sent."""
        try:
            response = await self._read()
        except BaseException:
            await self.aclose()  # noqa: ASYNC102, ASYNC120 - it closes by force, at once
            raise
        await self._start_next()
        return response

    async def _push(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except anyio.BrokenResourceError as exc:
            # Whoever refuses a body answers and then closes: the answer says more than the closed connection.
            raise self._lost() from exc
        except BaseException:
            await self.aclose()  # noqa: ASYNC102 - it closes by force, at once
            raise

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _read(self) -> Http1Response:
        head: h11.Response | None = None
        body: list[bytes] = []
        while True:
            event = await self._next_event(started=head is not None)
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode("ascii"): _text(value) for name, value in head.headers}
                return Http1Response(head.status_code, headers, body[0] if len(body) == 1 else b"".join(body))
            # else: an interim response, which says nothing

    async def _next_event(self, *, started: bool) -> object:
        http = self._http
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as exc:
                raise RuntimeApiError(
                    f"what listens at {self.address.authority} did not answer with an HTTP/1.1 response: {exc}"
                ) from exc
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self._stream.receive(READ_SIZE)
            except anyio.EndOfStream:
                data = b""
            except anyio.BrokenResourceError as exc:
                raise self._lost(answered=started) from exc
            try:
                http.receive_data(data)
                if not data:
                    # An answer that ends with the connection ends here; every other one is cut off.
                    return http.next_event()
            except h11.RemoteProtocolError as exc:
                raise self._lost(answered=started) from exc

    async def _start_next(self) -> None:
        if self._http.states == _DONE:
            self._http.start_next_cycle()
        else:
            await self.aclose()

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


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class Upload:
    """The body of a request, sent in pieces.

    Args:
        connection: on which the head was sent already.
    """

    def __init__(self, connection: Http1Connection) -> None:
        self.connection = connection
        self._refused = False

    async def send(self, data: bytes) -> None:
        """Send a piece, and wait until the connection has taken it; empty data sends nothing.

        When the peer stopped listening, the pieces go nowhere: `finish` tells what it answered.
        """
        if data and not self._refused:
            await self._push(h11.Data(data=data))

    async def _push(self, event: h11.Data) -> None:
        try:
            await self.connection.push(event)
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
            try:
                return await self.connection.finish(trailers)
            except ConnectionLostError as exc:
                if exc.answered or exc.sent:
                    raise
        return await self.connection.answer()

    async def abort(self) -> None:
        """Break the connection off; the peer sees a truncated body."""
        await self.connection.aclose()
