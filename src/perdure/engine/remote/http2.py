"""The client's side of one HTTP/2 connection without TLS negotiation of its own, for long two-way streams.

One task reads, one writes; exchanges only put frames into h2's buffer and wake the writer, so a cancelled exchange
never leaves half a frame on the wire. No exchange can freeze the others:

* the connection's window is given back at once, each stream's only as its exchange takes bytes out: one that is not
  read holds up itself, and the bound on memory is `STREAM_WINDOW` a stream;
* an exchange whose peer gives no window waits alone; all wait only while the peer reads nothing from the socket.

A GOAWAY without an error lets what runs go on; the connection takes nothing new and is closed behind the last.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from perdure.client.connection import LOST, Headers, abandon
from perdure.engine.remote.errors import RemoteError
from perdure.engine.remote.exchange import Head, RemoteExchange

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Http2Connection"]

STREAM_WINDOW: Final = 1024 * 1024
"""Bytes that a peer may send on a stream ahead of its exchange."""
CONNECTION_WINDOW: Final = 2**31 - 1
MAX_FRAME: Final = 64 * 1024
MAX_HEADERS: Final = 64 * 1024
FRAME_LENGTH: Final = 3
"""Bytes of the length that a frame begins with."""
READ_SIZE: Final = 64 * 1024
MOST_QUEUED: Final = 1024 * 1024
"""Bytes that wait for the socket, until exchanges wait as well."""
MOST_STREAMS: Final = 1000
"""Exchanges on one connection, whatever the peer allows."""
MOST_LINGERING: Final = 100
"""Released exchanges whose peer has not ended its side; the oldest is reset when there are more."""
GOODBYE_SECONDS: Final = 1.0
"""How long a peer that broke the protocol may take to be told so."""
PRIVATE_USE: Final = 2**31 - 2
"""Stream ids end here (RFC 9113, section 5.1.1)."""
_GIVE_BACK: Final = 8 * 1024 * 1024
"""Bytes of the connection's window that are given back in one frame."""

_log: Final = logging.getLogger("perdure.engine.remote")


class _H2(h2.connection.H2Connection):
    """h2 ends all streams at any GOAWAY; without an error those up to the last one it names go on (RFC 9113, 6.8)."""

    def __init__(self) -> None:
        super().__init__(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.local_settings: h2.settings.Settings = h2.settings.Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
            },
        )
        # Initial values are not "changes", so h2 does not apply them where it keeps copies.
        self.max_inbound_frame_size: int = MAX_FRAME
        self.decoder.max_header_list_size = MAX_HEADERS

    def receive_data(self, data: Buffer) -> list[h2.events.Event]:
        """Take bytes. A frame that announces to be too large is refused at its first bytes; h2 waits for all of it."""
        found = super().receive_data(data)
        begun: bytearray = self.incoming_buffer._data  # noqa: SLF001 - what h2 keeps of a frame that is not complete
        if len(begun) >= FRAME_LENGTH and int.from_bytes(begun[:FRAME_LENGTH], "big") > MAX_FRAME:
            raise h2.exceptions.FrameTooLargeError("a frame announces more bytes than are allowed")
        return found

    def clear_outbound_data_buffer(self) -> None:
        """Keep it."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[h2.events.Event]]:
        frames, found = super()._receive_goaway_frame(frame)
        if frame.error_code == ErrorCodes.NO_ERROR:
            self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return frames, found


class Http2Connection:
    """One connection; `run` is its task.

    Args:
        stream: connected, and quiet so far.
        peer: its address, for messages.

    Attributes:
        ready: set when the peer has said hello, or is gone.
        failure: why nothing can be asked any more.
        idle_since: when the last exchange ended, on the loop's clock.
    """

    def __init__(self, stream: anyio.abc.ByteStream, peer: str) -> None:
        self._stream = stream
        self._peer = peer
        self._h2 = _H2()
        self._exchanges: dict[int, _Http2Exchange] = {}
        self._lingering: dict[int, None] = {}
        self._wake = anyio.Event()
        self._flushed = anyio.Event()
        self._queued = 0
        self._received = 0
        self._greeted = False
        self._retired = False
        self._scope = anyio.CancelScope()
        self.ready: anyio.Event = anyio.Event()
        self.failure: RemoteError | None = None
        self.idle_since: float = anyio.current_time()

    @property
    def has_room(self) -> bool:
        """Whether one more exchange may be opened."""
        if self.failure is not None or self._retired or not self._greeted:
            return False
        if self._h2.highest_outbound_stream_id >= PRIVATE_USE:
            return False
        most = min(self._h2.remote_settings.max_concurrent_streams, MOST_STREAMS)
        return self._h2.open_outbound_streams < most

    @property
    def busy(self) -> bool:
        """Whether any exchange runs."""
        return bool(self._exchanges)

    def close(self) -> None:
        """End the connection; exchanges that run break off."""
        self._scope.cancel()

    # --- its task --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until either side closes."""
        reason = "the connection was closed on this side"
        try:
            with self._scope:
                self._h2.initiate_connection()
                self._h2.increment_flow_control_window(CONNECTION_WINDOW - self._h2.inbound_flow_control_window)
                self.flush()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    reason = await self._read()
                    tasks.cancel_scope.cancel()
        finally:
            self._fail(reason)
            await abandon(self._stream)  # noqa: ASYNC102 - it closes by force, at once

    async def _read(self) -> str:
        """Take what comes until there is no more; returns why."""
        while True:
            try:
                data = await self._stream.receive(READ_SIZE)
            except anyio.EndOfStream:
                return "it closed the connection"
            except LOST as error:
                return f"the connection was lost ({error or type(error).__name__})"
            if not self._greeted and data.startswith(b"HTTP/1."):
                return "it speaks HTTP/1.1 only (META0014): register it with `use_http_11`"
            try:
                found = self._h2.receive_data(data)
            except h2.exceptions.ProtocolError as error:
                await self._say_goodbye()
                return f"it broke the HTTP/2 protocol: {error or type(error).__name__}"
            except Exception as error:  # noqa: BLE001 - told, and it ends this connection only
                _log.exception("h2 failed on what %s sent", self._peer)
                return f"what it sent cannot be read as HTTP/2: {error}"
            for event in found:
                self._take(event)
            self.flush()
            if self.failure is not None:
                return self.failure.message
            if self._retired and not self._exchanges:
                return "it asked to close the connection"

    async def _say_goodbye(self) -> None:
        """Let the writer hand the peer the GOAWAY that says what it did wrong."""
        self._flushed = anyio.Event()
        self.flush()
        with anyio.move_on_after(GOODBYE_SECONDS):
            await self._flushed.wait()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while data := self._h2.data_to_send():
                full, self._queued = self._queued >= MOST_QUEUED, 0
                try:
                    await self._stream.send(data)
                except LOST:
                    self._flushed.set()
                    return  # the reader finds out, and may still find what was sent first
                if full:
                    self._tell_all()
            self._flushed.set()

    def flush(self) -> None:
        """Something is to be sent."""
        self._wake.set()

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            self.failure = RemoteError(f"[RT0010] {self._peer}: {reason}", infrastructure=not self._greeted)
        self.ready.set()
        for exchange in list(self._exchanges.values()):
            exchange.fail(self.failure)
        self._exchanges.clear()

    # --- what the peer does ----------------------------------------------------------------------------------------

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self._data(event)
            case h2.events.ResponseReceived() | h2.events.StreamEnded() | h2.events.StreamReset():
                self._answer(event)
            case h2.events.WindowUpdated() if event.stream_id:
                if (exchange := self._exchanges.get(event.stream_id)) is not None:
                    exchange.changed()
            case h2.events.WindowUpdated():
                self._tell_all()
            case h2.events.RemoteSettingsChanged():
                self._greeted = True
                self.ready.set()
                self._tell_all()
            case h2.events.ConnectionTerminated():
                self._terminated(event)
            case _:
                pass  # pings, priorities, acknowledgements, hints: h2 has answered what wants an answer

    def _answer(self, event: h2.events.ResponseReceived | h2.events.StreamEnded | h2.events.StreamReset) -> None:
        number = event.stream_id
        if not isinstance(event, h2.events.ResponseReceived):
            self._lingering.pop(number, None)
        exchange = self._exchanges.get(number)
        if exchange is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            exchange.begin(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            exchange.end_of_answer()
        else:
            exchange.reset_by_peer(event.error_code)

    def _tell_all(self) -> None:
        for exchange in self._exchanges.values():
            exchange.changed()

    def _data(self, event: h2.events.DataReceived) -> None:
        size = event.flow_controlled_length or 0
        self._received += size
        if self._received >= _GIVE_BACK:
            self._h2.increment_flow_control_window(self._received)
            self._received = 0
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.data(event.data or b"", size)
        elif event.stream_id in self._lingering and event.data:
            _log.warning(
                "%s sent %d bytes behind the last message of an attempt; they change nothing",
                self._peer,
                len(event.data),
            )
            self._reset(event.stream_id)

    def _terminated(self, event: h2.events.ConnectionTerminated) -> None:
        if event.error_code != ErrorCodes.NO_ERROR:
            said = (event.additional_data or b"").decode("utf-8", "replace")
            self._fail(f"it ended the connection with error {event.error_code!r} {said}".rstrip())
            return
        self._retired = True
        last = event.last_stream_id or 0
        for number, exchange in list(self._exchanges.items()):
            if number > last:
                del self._exchanges[number]
                exchange.fail(
                    RemoteError(f"[RT0010] {self._peer}: it is closing, and took no request", infrastructure=True)
                )

    # --- what exchanges do -----------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], scheme: str, authority: str
    ) -> RemoteExchange:
        """Open an exchange; only while there is room.

        Raises:
            RemoteError: there is none any more.
        """
        if self.failure is not None:
            raise self.failure
        number = self._h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":authority", authority), (":scheme", scheme), (":path", path)]
        try:
            self._h2.send_headers(number, [*pseudo, *headers])
        except h2.exceptions.ProtocolError as error:
            raise RemoteError(f"[RT0010] {self._peer}: {error}", infrastructure=True) from error
        exchange = self._exchanges[number] = _Http2Exchange(self, number)
        self.flush()
        return exchange

    def room(self, number: int) -> int:
        """Bytes that may be sent on a stream now.

        Raises:
            RemoteError: nothing can be sent on it any more.
        """
        if self.failure is not None:
            raise self.failure
        try:
            window = self._h2.local_flow_control_window(number)
        except h2.exceptions.ProtocolError as error:
            raise RemoteError(f"{self._peer}: it takes nothing more ({error})") from error
        return 0 if self._queued >= MOST_QUEUED else max(0, min(window, self._h2.max_outbound_frame_size))

    def put(self, number: int, data: bytes | memoryview, *, end: bool = False) -> None:
        """Send a piece that fits, or the end.

        Raises:
            RemoteError: nothing can be sent on the stream any more.
        """
        if self.failure is not None:
            raise self.failure
        try:
            self._h2.send_data(number, bytes(data), end_stream=end)
        except h2.exceptions.ProtocolError as error:
            raise RemoteError(f"{self._peer}: it takes nothing more ({error})") from error
        self._queued += len(data)
        self.flush()

    def give_back(self, number: int, size: int) -> None:
        """Bytes of a stream were taken out: open its window again."""
        with contextlib.suppress(h2.exceptions.ProtocolError):  # it is closed, and needs no window
            self._h2.increment_flow_control_window(size, number)
            self.flush()

    def leave(self, number: int, *, ended: bool, broken: bool) -> None:
        """An exchange is done with its stream."""
        self._exchanges.pop(number, None)
        if broken:
            self._reset(number)
        elif not ended:
            self._lingering[number] = None
            if len(self._lingering) > MOST_LINGERING:
                self._reset(next(iter(self._lingering)))
        if not self._exchanges:
            self.idle_since = anyio.current_time()
            if self._retired:
                self.close()

    def _reset(self, number: int) -> None:
        self._lingering.pop(number, None)
        with contextlib.suppress(h2.exceptions.ProtocolError):  # it is closed already
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self.flush()


class _Http2Exchange:
    """One stream; see `perdure.engine.remote.exchange`."""

    def __init__(self, connection: Http2Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._head: Head | None = None
        self._inbox: deque[bytes] = deque()
        self._held = 0
        self._answered = False
        self._sent = False
        self._left = False
        self._error: RemoteError | None = None
        self._changed = anyio.Event()

    # --- from the connection ---------------------------------------------------------------------------------------

    def changed(self) -> None:
        """There is something to look at again."""
        self._changed.set()

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The answer begins."""
        fields = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers]
        status = next((value for name, value in fields if name == ":status"), "")
        if not status.isdecimal():
            self.fail(RemoteError(f"the answer has the status {status!r}, which is none"))
            return
        self._head = Head(int(status), Headers((name, value) for name, value in fields if not name.startswith(":")))
        self.changed()

    def data(self, data: bytes, size: int) -> None:
        """A piece of the answer."""
        if data:
            self._inbox.append(data)
        self._held += size
        self.changed()

    def end_of_answer(self) -> None:
        """The answer has ended."""
        self._answered = True
        self.changed()

    def reset_by_peer(self, code: ErrorCodes | int | None) -> None:
        """The peer has broken the stream off; without an error, behind a whole answer, it only wants no more input."""
        if self._answered:
            self._sent = True
            self.changed()
            return
        name = code.name if isinstance(code, ErrorCodes) else code
        refused = code == ErrorCodes.REFUSED_STREAM
        self.fail(RemoteError(f"[RT0010] the endpoint reset the stream ({name})", infrastructure=refused))

    def fail(self, error: RemoteError) -> None:
        """Nothing more will come."""
        if self._error is None and not self._answered:
            self._error = error
        self._sent = True
        self.changed()

    # --- for whoever asks ------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        view = memoryview(data)
        while view:
            if self._error is not None:
                raise self._error
            if self._sent:
                raise RemoteError("the endpoint takes nothing more")
            room = self._connection.room(self._number)
            if not room:
                await self._wait()
                continue
            self._connection.put(self._number, view[:room])
            view = view[room:]

    async def _wait(self) -> None:
        """Wait for anything to change; who sends and who receives share the event, and both look at everything."""
        changed = self._changed
        if changed.is_set():
            changed = self._changed = anyio.Event()
        await changed.wait()

    async def end(self) -> None:
        """End the request."""
        if not self._sent:
            self._sent = True
            self._connection.put(self._number, b"", end=True)

    async def head(self) -> Head:
        """Wait for the beginning of the answer."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            if self._answered:
                raise RemoteError("the endpoint ended the stream without an answer")
            await self._wait()
        return self._head

    async def receive(self) -> bytes | None:
        """The next piece of the answer's body; `None` at its end."""
        while not self._inbox:
            if self._error is not None:
                raise self._error
            if self._answered:
                return None
            await self._wait()
        data = b"".join(self._inbox)
        self._inbox.clear()
        size, self._held = self._held, 0
        if not self._answered:
            self._connection.give_back(self._number, size)
        return data

    async def release(self) -> None:
        """End the request, and let the stream go."""
        if self._left:
            return
        self._left = True
        broken = self._error is not None
        if not self._sent and not broken:
            self._sent = True
            try:
                self._connection.put(self._number, b"", end=True)
            except RemoteError:
                broken = True
        self._connection.leave(self._number, ended=self._answered, broken=broken)

    async def abandon(self) -> None:
        """Break the stream off."""
        if not self._left:
            self._left = True
            over = self._answered and self._sent
            self._connection.leave(self._number, ended=over, broken=not over)
