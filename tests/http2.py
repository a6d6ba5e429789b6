"""A raw HTTP/2 client for tests: what a peer can do on a connection, well-behaved or not.

It speaks HTTP/2 through the h2 library and owns its socket, so a test decides which frame leaves when, sees each frame
that comes, and can send bytes that no library would. There is no task behind it: every wait reads from the socket until
what it waits for is there, or fails after `PATIENCE` seconds.

::

    async with connect(port) as client:
        stream = client.request("/echo")
        client.send(stream, b"hello", end=True)
        answer = await client.answer(stream)
        assert answer.body == b"hello"
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import anyio
import anyio.abc
import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

__all__ = ["Answer", "Connection", "Frame", "connect"]

PATIENCE: Final = 20.0
"""Seconds that any one wait may take."""

HEADER: Final = 9
DATA: Final = 0
"""The type of DATA frames."""
PING: Final = 6
"""The type of PING frames."""
ACK: Final = 1
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Frame(NamedTuple):
    """The header of a frame that the server sent."""

    kind: int
    flags: int
    stream_id: int
    length: int


@dataclass
class Answer:
    """What has come back on a stream so far."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hints: list[dict[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    reset: int | None = None
    """The error code, when the server reset the stream."""

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.ended or self.reset is not None


class _ClientConnection(h2.connection.H2Connection):
    """h2 ends all streams at any GOAWAY; those up to the last one it names go on (RFC 9113, 6.8)."""

    def clear_outbound_data_buffer(self) -> None:
        """Keep it."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[h2.events.Event]]:
        frames, found = super()._receive_goaway_frame(frame)
        self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return frames, found


def _without_pongs(data: bytes) -> tuple[bytes, bytes]:
    """Part frames into answers to PING and all others; the others come first."""
    kept, pongs = data[: len(PREFACE)] if data.startswith(PREFACE) else b"", b""
    rest = data[len(kept) :]
    while rest:
        size = HEADER + int.from_bytes(rest[:3], "big")
        if (rest[3], rest[4]) == (PING, ACK):
            pongs += rest[:size]
        else:
            kept += rest[:size]
        rest = rest[size:]
    return kept, pongs


class Connection:
    """One connection to a server on the loopback interface.

    Attributes:
        h2: the library's state, for what the methods below do not offer.
        frames: the header of every frame received.
        goaways: the last stream id of every GOAWAY received, with its error code.
        closed: the server has closed the connection.
        answer_pings: turn it off to be a peer that has not read the server's PING yet.
        credit: give the server's window back as its data comes; turn it off to be a peer that does not read.
    """

    def __init__(self, stream: anyio.abc.SocketStream, port: int) -> None:
        self.h2 = _ClientConnection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.frames: list[Frame] = []
        self.goaways: list[tuple[int, int]] = []
        self.pongs: list[bytes] = []
        self.closed = False
        self.credit = True
        self.answer_pings = True
        self._held = b""
        self._socket = stream
        self._port = port
        self._answers: dict[int, Answer] = {}
        self._unparsed = b""

    # What leaves; nothing does before the next wait or `flush`

    def request(
        self, path: str, *, method: str = "POST", headers: Iterable[tuple[str, str]] = (), end: bool = False
    ) -> int:
        """Open a stream; returns its id."""
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":authority", f"127.0.0.1:{self._port}")]
        if method != "CONNECT":
            pseudo += [(":scheme", "http"), (":path", path)]
        self.h2.send_headers(stream_id, [*pseudo, *headers], end_stream=end)
        self._answers[stream_id] = Answer()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False, pad: int | None = None) -> None:
        """Send one DATA frame; its size must fit the window."""
        self.h2.send_data(stream_id, data, end_stream=end, pad_length=pad)

    def end(self, stream_id: int) -> None:
        """End our side of a stream with an empty DATA frame."""
        self.h2.end_stream(stream_id)

    def send_trailers(self, stream_id: int, headers: Iterable[tuple[str, str]]) -> None:
        """End our side of a stream with trailers."""
        self.h2.send_headers(stream_id, list(headers), end_stream=True)

    def reset(self, stream_id: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Reset a stream."""
        self.h2.reset_stream(stream_id, code)

    async def flush(self) -> None:
        """Send what is waiting to be sent."""
        data = self._held + self.h2.data_to_send()
        self._held = b""
        if not self.answer_pings:
            data, self._held = _without_pongs(data)
        await self.send_raw(data)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        if data:
            await self._socket.send(data)

    def goaway(self) -> bytes:
        """A GOAWAY without an error, as bytes: h2's own would end all streams."""
        return GoAwayFrame(0, last_stream_id=0, error_code=ErrorCodes.NO_ERROR).serialize()

    # What comes

    def so_far(self, stream_id: int) -> Answer:
        """What has come on a stream."""
        return self._answers[stream_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Send what waits, then read until something is true.

        Raises:
            EOFError: the server closed the connection first.
            TimeoutError: it did not come true in time.
        """
        with anyio.fail_after(PATIENCE):
            await self.flush()
            while not condition():
                if self.closed:
                    raise EOFError("the server closed the connection")
                await self._read()

    async def answer(self, stream_id: int) -> Answer:
        """The whole answer of a stream, or what came before it was reset."""
        answer = self._answers[stream_id]
        await self.until(lambda: answer.over)
        return answer

    async def body_of(self, stream_id: int, size: int) -> bytes:
        """The first bytes of an answer's body, at least so many."""
        answer = self._answers[stream_id]
        await self.until(lambda: len(answer.body) >= size)
        return bytes(answer.body)

    async def status_of(self, stream_id: int) -> int:
        """The status of an answer."""
        answer = self._answers[stream_id]
        await self.until(lambda: answer.status is not None)
        assert answer.status is not None
        return answer.status

    async def settled(self) -> None:
        """Wait until the server has taken all that was sent so far: it answers a PING sent behind it."""
        payload = len(self.pongs).to_bytes(8, "big")
        self.h2.ping(payload)
        await self.until(lambda: payload in self.pongs)

    async def eof(self) -> None:
        """Wait until the server has closed the connection."""
        with anyio.fail_after(PATIENCE):
            await self.flush()
            while not self.closed:
                await self._read()

    async def drained(self) -> None:
        """Wait until the server has closed the connection, whatever it says before."""
        with anyio.fail_after(PATIENCE):
            try:
                while await self._socket.receive():
                    pass
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.closed = True

    async def _read(self) -> None:
        try:
            data = await self._socket.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.closed = True
            return
        self._note_frames(data)
        for event in self.h2.receive_data(data):
            self._take(event)
        with suppress(anyio.BrokenResourceError):  # the server is gone; what it sent is still read
            await self.flush()  # acknowledgements, windows

    def _note_frames(self, data: bytes) -> None:
        self._unparsed += data
        while len(self._unparsed) >= HEADER:
            length = int.from_bytes(self._unparsed[:3], "big")
            if len(self._unparsed) < HEADER + length:
                break
            stream_id = int.from_bytes(self._unparsed[5:9], "big") & 0x7FFFFFFF
            self.frames.append(Frame(self._unparsed[3], self._unparsed[4], stream_id, length))
            self._unparsed = self._unparsed[HEADER + length :]

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                answer = self._answers[event.stream_id]
                answer.headers = {str(name): str(value) for name, value in event.headers}
                answer.status = int(answer.headers.pop(":status"))
            case h2.events.InformationalResponseReceived():
                hint = {str(name): str(value) for name, value in event.headers}
                self._answers[event.stream_id].hints.append(hint)
            case h2.events.DataReceived():
                self._answers[event.stream_id].body += event.data
                if self.credit and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self._answers[event.stream_id].trailers = {str(name): str(value) for name, value in event.headers}
            case h2.events.StreamEnded():
                self._answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self._answers[event.stream_id].reset = int(event.error_code or 0)
            case h2.events.ConnectionTerminated():
                self.goaways.append((event.last_stream_id or 0, int(event.error_code or 0)))
            case h2.events.PingAckReceived():
                self.pongs.append(event.ping_data)
            case _:
                pass


@asynccontextmanager
async def connect(port: int, *, hello: bool = True) -> AsyncIterator[Connection]:
    """A connection to the server on a port of 127.0.0.1; it is closed at the end of the block.

    Args:
        port: where the server listens.
        hello: begin with the preface and SETTINGS; without it the first bytes are the test's.
    """
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        connection = Connection(stream, port)
        if hello:
            connection.h2.initiate_connection()
            await connection.flush()
        yield connection
