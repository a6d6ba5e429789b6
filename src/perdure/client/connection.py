"""One HTTP/1.1 connection: requests out, whole responses in, nothing about Restate.

A connection carries one exchange after another. `exchange` either returns a whole `Response` and leaves the connection
ready for the next one (`reusable`), or raises and leaves it closed: there is no state in between, also when the caller
is cancelled half-way. Requests carry their body at once; responses are read whole, up to a limit.

The question that matters after a failure is whether the peer can have acted upon the request. `HttpError.complete`
answers it: `False` means that the request never left in full, so a server that reads requests whole cannot have acted;
`True` means that nobody knows.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from perdure.exceptions import PerdureError, UsageError

__all__ = [
    "ConnectError",
    "DisconnectedError",
    "Headers",
    "HttpConnection",
    "HttpError",
    "Origin",
    "Response",
    "ResponseError",
    "abandon",
    "open_connection",
    "open_stream",
    "request_head",
    "trusting_context",
]

READ_SIZE: Final = 64 * 1024
"""Bytes asked for in one read."""

ONE_SEND: Final = 64 * 1024
"""Bodies up to this many bytes leave before the first read; larger ones are sent while the answer is awaited."""

HEAD_SIZE: Final = 64 * 1024
"""Bytes that the head of a response may have."""

CONTINUE: Final = 100
INTERIM_LIMIT: Final = 100
"""Interim responses (100 Continue, 103 Early Hints) that may come before the real one."""

HOST: Final = re.compile(r"[a-z0-9._:%-]+")
"""A name or an address, as `urlsplit` gives it; names with other letters have an ASCII form."""

ASK_FIRST: Final = 1024 * 1024
"""Bytes from which on a body is announced first (RFC 9110 section 10.1.1): who refuses a body that is on its way resets
the connection, and the refusal is lost with it."""

PATIENCE_SECONDS: Final[float] = 1.0
"""How long an announced body waits for the peer's word; a peer that does not know the question gets the body then."""

LOST: Final = (anyio.BrokenResourceError, ssl.SSLError)
"""What a stream raises when its peer is gone, or no longer speaks TLS."""

KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A call may wait for days without a byte: probes (in seconds) tell a quiet peer from one that is gone."""


class HttpError(PerdureError):
    """An exchange had no response.

    Attributes:
        complete: whether the peer may have had the whole request, and so may have acted upon it.
    """

    def __init__(self, message: str, *, complete: bool) -> None:
        super().__init__(message)
        self.message = message
        self.complete = complete


class ConnectError(HttpError):
    """No connection could be made; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, complete=False)


class DisconnectedError(HttpError):
    """The peer ended the connection before it had answered in full."""


class ResponseError(HttpError):
    """The peer answered with something that is no HTTP response, or with one that is larger than the limit."""

    def __init__(self, message: str) -> None:
        super().__init__(message, complete=True)


@dataclass(frozen=True)
class Origin:
    """Where requests go: scheme (`http` or `https`), host and port."""

    scheme: str
    host: str
    port: int

    @staticmethod
    def parse(url: str) -> tuple[Origin, str]:
        """Split a URL into its origin and the path that every target is put under (without a trailing slash).

        Raises:
            UsageError: when this is no URL that requests can be sent to.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise UsageError(f"{url!r} is no URL: {exc}") from exc
        if parts.scheme not in {"http", "https"} or not host:
            raise UsageError(f"{url!r} is no URL to send requests to; write it like http://127.0.0.1:8080")
        if not HOST.fullmatch(host):
            raise UsageError(f"{host!r} is no host name; write a name with other letters in its ASCII form (xn--...)")
        if parts.username is not None or parts.query or parts.fragment:
            raise UsageError(
                f"the URL of {host} carries credentials, a query or a fragment; credentials belong into a header"
            )
        if port is None:
            port = 443 if parts.scheme == "https" else 80
        return Origin(parts.scheme, host, port), parts.path.rstrip("/")

    @property
    def authority(self) -> str:
        """The value of the `host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Headers(Mapping[str, str]):
    """Headers of a response: names in any case, a repeated name joined with `, ` as RFC 9110 section 5.3 says.

    Attributes:
        pairs: every header as it came, names in lower case.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple((name.lower(), value) for name, value in pairs)
        self._joined: dict[str, str] = {}
        for name, value in self.pairs:
            self._joined[name] = f"{self._joined[name]}, {value}" if name in self._joined else value

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"


@dataclass(frozen=True)
class Response:
    """An answer, read whole."""

    status: int
    headers: Headers
    body: bytes


def request_head(
    origin: Origin, method: str, target: str, headers: Iterable[tuple[str, str]], body_size: int
) -> h11.Request:
    """Check and build the head of a request; framing and `host` are added here.

    Raises:
        UsageError: when a name, a value or the target cannot stand in an HTTP request.
    """
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if framing := names & {"content-length", "transfer-encoding"}:
        raise UsageError(f"the header {framing.pop()} is set by the client; leave it out")
    if "host" not in names:
        fields.insert(0, ("host", origin.authority))
    if body_size or method not in {"GET", "HEAD", "DELETE", "OPTIONS"}:
        fields.append(("content-length", str(body_size)))
    if body_size >= ASK_FIRST and "expect" not in names:
        fields.append(("expect", "100-continue"))
    try:
        return h11.Request(method=method, target=target, headers=fields)
    except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
        raise UsageError(
            f"{method} {target!r} cannot be sent: {exc}; headers and targets carry visible ASCII, one line each"
        ) from exc


async def open_connection(
    origin: Origin, *, ssl_context: ssl.SSLContext | None = None, max_response_size: int
) -> HttpConnection:
    """Connect, with TLS when there is a context for it.

    Args:
        origin: where to.
        ssl_context: what to trust, for `https`.
        max_response_size: bytes that the body of a response may have.

    Raises:
        ConnectError: when the name does not resolve, nobody listens, or the peer's certificate is not trusted.
    """
    return HttpConnection(await open_stream(origin, ssl_context), origin, max_response_size=max_response_size)


async def open_stream(origin: Origin, ssl_context: ssl.SSLContext | None = None) -> ByteStream:
    """Connect, and say nothing yet; see `open_connection`.

    Raises:
        ConnectError: when the name does not resolve, nobody listens, or the peer's certificate is not trusted.
    """
    try:
        socket_stream = await anyio.connect_tcp(origin.host, origin.port)
    except OSError as exc:
        raise ConnectError(f"cannot connect to {origin}: {_reason(exc)}") from exc
    _probe_when_quiet(_raw_socket(socket_stream))
    if ssl_context is None:
        return socket_stream
    try:
        return await TLSStream.wrap(socket_stream, hostname=origin.host, ssl_context=ssl_context)
    except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
        await abandon(socket_stream)  # noqa: ASYNC120 - it closes by force, at once
        raise ConnectError(f"no TLS with {origin}: {exc or 'it ended the connection in the handshake'}") from exc
    except BaseException:
        await abandon(socket_stream)  # noqa: ASYNC102 - it closes by force, at once
        raise


def _reason(exc: BaseException) -> str:
    """The system's words, which the two event loops wrap in words of their own; one each when a name has addresses."""
    match exc:
        case OSError(__cause__=OSError() | ExceptionGroup() as cause):
            return _reason(cause)
        case ExceptionGroup(exceptions=leaves):
            return "; ".join(dict.fromkeys(_reason(leaf) for leaf in leaves))
        case OSError(errno=int(number)) if not isinstance(exc, socket.gaierror):
            return os.strerror(number)
        case _:
            return str(exc)


def trusting_context() -> ssl.SSLContext:
    """What the system trusts; reading that takes tens of milliseconds, so it is done once per pool."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _raw_socket(stream: ByteStream) -> socket.socket:
    raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no Django here
    return raw


def _probe_when_quiet(raw: socket.socket) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)


async def abandon(stream: ByteStream) -> None:
    """Close the socket under a stream at once, without TLS's goodbye, also while being cancelled."""
    with anyio.CancelScope(shield=True):
        await (stream.transport_stream if isinstance(stream, TLSStream) else stream).aclose()


class HttpConnection:
    """A connected stream and the state of HTTP/1.1 on it.

    Args:
        stream: the connected stream; the connection closes it.
        origin: whose stream this is, for messages.
        max_response_size: bytes that the body of a response may have.
    """

    def __init__(self, stream: ByteStream, origin: Origin, *, max_response_size: int) -> None:
        self._stream = stream
        self._origin = origin
        self._max_response_size = max_response_size
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_SIZE)
        self._sent_all = False
        self._go_ahead = anyio.Event()
        self._closed = False

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: both sides are done, and the peer is quiet as it should be.

        A socket that can be read between two exchanges brings an end of file or bytes that nobody asked for. Looking
        costs one `poll` and finds nearly every connection that the server closed while it was idle.
        """
        return not self._closed and self._http.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE} and self._quiet()

    def _quiet(self) -> bool:
        poll = select.poll()
        poll.register(_raw_socket(self._stream).fileno(), select.POLLIN)
        return not poll.poll(0)

    async def exchange(self, head: h11.Request, body: bytes) -> Response:
        """Send one request and read its response; on every way out by exception the connection is closed.

        Raises:
            DisconnectedError: when the peer went away first.
            ResponseError: when what came is no response, or is too large.
        """
        self._sent_all = False
        try:
            response = await self._exchange(head, body)
        except BaseException:
            await self.aclose()
            raise
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE} and not any(self._http.trailing_data):
            self._http.start_next_cycle()
        else:
            await self.aclose()
        return response

    async def _exchange(self, head: h11.Request, body: bytes) -> Response:
        opening = self._http.send(head) or b""
        if len(body) > ONE_SEND:
            return await self._exchange_large(opening, body)
        # Framed by content-length, so the end of the message adds no bytes.
        self._http.send(h11.Data(data=body))
        self._http.send(h11.EndOfMessage())
        try:
            await self._stream.send(opening + body)
        except LOST as exc:
            raise self._disconnected() from exc
        self._sent_all = True
        return await self._read_response()

    async def _exchange_large(self, opening: bytes, body: bytes) -> Response:
        """Read while sending: who refuses a large body answers before it has read it."""
        outcome: Response | HttpError | None = None
        self._go_ahead = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._upload, opening, body)
            try:
                outcome = await self._read_response()
            except HttpError as exc:  # raised below: a task group would wrap it
                outcome = exc
            tasks.cancel_scope.cancel()
        if isinstance(outcome, HttpError):
            raise outcome
        assert outcome is not None
        return outcome

    async def _upload(self, opening: bytes, body: bytes) -> None:
        try:
            await self._stream.send(opening)
            if self._http.client_is_waiting_for_100_continue:
                with anyio.move_on_after(PATIENCE_SECONDS):
                    await self._go_ahead.wait()
            for start in range(0, len(body), ONE_SEND):
                part = body[start : start + ONE_SEND]
                self._http.send(h11.Data(data=part))
                await self._stream.send(part)
        except LOST:
            return  # the reader finds out, and may still find an answer that was sent first
        self._http.send(h11.EndOfMessage())
        self._sent_all = True

    async def _read_response(self) -> Response:
        head: h11.Response | None = None
        body = bytearray()
        interim = 0
        while True:
            event = await self._next_event(started=head is not None)
            match event:
                case h11.InformationalResponse():
                    if event.status_code == CONTINUE:
                        self._go_ahead.set()
                    interim += 1
                    if interim > INTERIM_LIMIT:
                        raise ResponseError(f"{self._origin} sent more than {INTERIM_LIMIT} interim responses")
                case h11.Response():
                    head = event
                case h11.Data():
                    body += event.data
                    if len(body) > self._max_response_size:
                        raise ResponseError(
                            f"{self._origin} answered with more than {self._max_response_size} bytes, the limit set "
                            "on this side by max_response_size"
                        )
                case _:
                    assert isinstance(event, h11.EndOfMessage)
                    assert head is not None
                    headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
                    return Response(head.status_code, Headers(headers), bytes(body))

    async def _next_event(self, *, started: bool) -> object:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise ResponseError(f"{self._origin} did not answer with an HTTP/1.1 response: {exc}") from exc
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self._stream.receive(READ_SIZE)
            except anyio.EndOfStream:
                data = b""
            except LOST as exc:
                raise self._disconnected(cut_off=started) from exc
            try:
                self._http.receive_data(data)
                if not data:
                    # A response that ends with the connection ends here; every other one is cut off.
                    return self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise self._disconnected(cut_off=started) from exc

    def _disconnected(self, *, cut_off: bool = False) -> DisconnectedError:
        when = "in the middle of its answer" if cut_off else "before it answered"
        return DisconnectedError(f"{self._origin} ended the connection {when}", complete=self._sent_all)

    async def aclose(self) -> None:
        """Close the connection at once. It may be called again, and while being cancelled."""
        if not self._closed:
            self._closed = True
            await abandon(self._stream)
