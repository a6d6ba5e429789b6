"""One HTTP/2 connection: frames in and out, many requests at once.

It takes the place of hypercorn's `H2Protocol` and keeps what lies on both sides of it: the h2 library below, and above
hypercorn's `HTTPStream`, which is the ASGI state of one request. hypercorn's class could not be repaired by overriding
parts of it, because each trap has its root in how it divides the work:

====================================  ==================================  ==============================================
what a peer does                      hypercorn 0.18                      here
====================================  ==================================  ==============================================
sends DATA after the answer ended     KeyError; on trio the process ends  dropped, its window given back; with much more
                                                                          of it the stream is reset (NO_ERROR)
opens more than 1000 streams at once  error in the priority tree; on      no priority tree (RFC 9113 has given it up);
                                      trio the process ends               the stream too many is refused on its own
opens more than the SETTINGS allow    h2 ends the connection              the same: refused on its own
sends to an application that does     the connection stands still         only that stream does, when its window is full
not read
sends its 1002nd request              GOAWAY, and all in flight is lost   nothing
sends RST_STREAM(NO_ERROR), trailers  disconnected; end of input          end of input
sends GOAWAY and goes on              disconnected                        requests in flight end
stops reading                         its own RST_STREAM and              they are still read; the answers that wait for
                                      WINDOW_UPDATE are not read either   it are bounded
application dies half-way             the stream stays open for ever      RST_STREAM(INTERNAL_ERROR)
====================================  ==================================  ==============================================

**Who does what.** `receive` takes bytes, in the connection's reader task, and never waits for an application.
`stream_send` takes what an application sends, in that application's task, into the stream's buffer; it waits only while
the buffer is full. `perdure.server.sender` makes frames of the buffers, in a task of its own.

**Windows.** The windows are larger than HTTP/2's 64 KiB and are given back as applications take bytes out, so what a
peer can make the server hold is bounded by them. See `Settings`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

import anyio
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.protocol import events
from hypercorn.protocol.h11 import H2CProtocolRequiredError
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.utils import filter_pseudo_headers

from perdure.server.applications import Applications
from perdure.server.h2_connection import NO_LIMIT, H2Connection
from perdure.server.http2_stream import Headers, Stream
from perdure.server.inbox import slow_down
from perdure.server.sender import Sender
from perdure.server.site import Site

__all__ = ["Http2"]

logger: Final = logging.getLogger("perdure.server")

LATE_DATA: Final = 256 * 1024
"""Bytes that a peer may still send on a stream that is answered, before it is told to stop."""

PING: Final = b"perdure."
"""Payload of the PING that tells when a peer has read the first GOAWAY."""

PING_TIMEOUT: Final = 1.0
"""Seconds to wait for its answer."""


def _method_and_path(headers: Headers) -> tuple[str, bytes]:
    method, path = "", b""
    for name, value in headers:
        if name == b":method":
            method = value.decode("ascii", "replace").upper()
        elif name == b":path":
            path = value
    return method, path


class Http2:
    """The server's side of one HTTP/2 connection.

    Args:
        site: what all connections share.
        applications: starts the application for each request.
        client: address and port of the peer.
        server: address and port it connected to.
    """

    def __init__(
        self, site: Site, applications: Applications, client: tuple[str, int] | None, server: tuple[str, int] | None
    ) -> None:
        self._site = site
        self._settings = site.settings
        self.applications = applications
        self._client = client
        self._server = server
        self._streams: dict[int, Stream] = {}
        self._late: dict[int, int] = {}
        """Answered streams whose peer has not ended its side: bytes that came since."""
        self._taken = 0
        """Bytes that applications took since the connection's window was last opened."""
        self._ping_answered = anyio.Event()
        self._empty = anyio.Event()
        self._empty.set()
        self._refusing = False
        self.idle_since: float | None = anyio.current_time()
        """When the last request ended, on the loop's clock; None while there are requests."""
        self._h2 = H2Connection(self._settings)
        self.sender: Sender = Sender(
            self._h2, self._settings.stream_buffer, output_ended=self._end_output, reset=self._reset
        )

    # The connection

    async def open(self, upgrade: H2CProtocolRequiredError | None = None) -> None:
        """Say hello.

        Args:
            upgrade: the HTTP/1.1 request that asked for HTTP/2; it becomes stream 1.
        """
        if upgrade is None:
            self._h2.initiate_connection()
        else:
            self._h2.initiate_upgrade_connection(upgrade.settings)
        self._h2.increment_flow_control_window(self._settings.connection_window - self._h2.inbound_flow_control_window)
        self.sender.collect()
        if upgrade is not None:
            await self._begin(1, upgrade.headers)
            self._end_input(1)

    async def receive(self, data: bytes) -> None:
        """Take bytes from the peer. Waits only while a peer that does not read has too much to read already."""
        try:
            found = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            logger.info("connection from %s closed: it broke the HTTP/2 protocol: %s", self._client, error)
            self.sender.close(broken=True)
            return
        for event in found:
            match event:
                case h2.events.DataReceived():
                    self._data(event)
                case h2.events.RequestReceived():
                    await self._begin(event.stream_id, event.headers)
                case h2.events.StreamEnded():
                    self._end_input(event.stream_id)
                case h2.events.StreamReset():
                    await self._reset_by_peer(event.stream_id, event.error_code)
                case _:
                    self._control(event)
        self.sender.collect()
        await self.sender.wait_until_below(self._settings.connection_buffer)

    def _control(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.WindowUpdated():
                self.sender.unblock(event.stream_id or 0)
            case h2.events.RemoteSettingsChanged():
                if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                    self.sender.unblock(0)
            case h2.events.PingAckReceived():
                if event.ping_data == PING:
                    self._ping_answered.set()
            case h2.events.ConnectionTerminated():
                # The peer opens no more streams. After an error it does not read either.
                self._refusing = True
                if event.error_code != ErrorCodes.NO_ERROR or not self._streams:
                    self.sender.close()
            case _:
                pass  # priorities, acknowledgements, trailers (the end of the stream is an event of its own)

    async def lose(self) -> None:
        """The peer is gone: tell every application."""
        self.sender.close()
        for stream in list(self._streams.values()):
            stream.input_ended = True
            self._end_output(stream)
            await stream.http.handle(events.StreamClosed(stream_id=stream.id))

    def cut(self) -> None:
        """The server ends before its requests do: say so."""
        for stream in list(self._streams.values()):
            self._reset(stream, ErrorCodes.CANCEL)
        self._say_goodbye(self._h2.highest_inbound_stream_id)

    async def leave(self) -> None:
        """End the connection in order; returns when the last request on it has ended and `write` is about to.

        The first GOAWAY refuses nothing: it asks the peer to open its next stream elsewhere. When the peer has read it
        (it answers a PING sent behind it) the second names the last stream that is served; so no request is lost
        between two ends of a wire (RFC 9113, 6.8).
        """
        if not self._refusing:
            self._say_goodbye(NO_LIMIT)
            try:
                self._h2.ping(PING)
            except h2.exceptions.ProtocolError:
                return  # the connection ends already
            self.sender.collect()
            with anyio.move_on_after(PING_TIMEOUT):
                await self._ping_answered.wait()
        self._refusing = True
        self._say_goodbye(self._h2.highest_inbound_stream_id)
        await self._empty.wait()
        self.sender.close()

    def _say_goodbye(self, last_stream: int) -> None:
        self.sender.collect()
        self.sender.add(self._h2.goaway(last_stream))

    # What the peer sends

    async def _begin(self, stream_id: int, headers: Headers) -> None:
        if self._refusing or len(self._streams) >= self._settings.max_streams:
            self._refuse(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        method, path = _method_and_path(headers)
        if method == "CONNECT":
            # WebSocket over HTTP/2 is not offered: no window of ours bounds its messages.
            self._refuse(stream_id, ErrorCodes.HTTP_1_1_REQUIRED)
            return
        stream = Stream(stream_id, self, NO_LIMIT)
        site = self._site
        stream.http = HTTPStream(
            site.app,
            site.config,
            site.context,
            stream.as_hypercorn(),
            False,  # no TLS
            self._client,
            self._server,
            self.stream_send,
            stream_id,
        )
        if not self._streams:
            self._empty = anyio.Event()
            self.idle_since = None
        self._streams[stream_id] = stream
        try:
            await stream.http.handle(
                events.Request(
                    stream_id=stream_id,
                    headers=filter_pseudo_headers(headers),
                    http_version="2",
                    method=method,
                    raw_path=path,
                    state=site.state,
                )
            )
        except UnicodeDecodeError:
            self._reset(stream, ErrorCodes.PROTOCOL_ERROR)  # a path that is no URL

    def _refuse(self, stream_id: int, code: ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):  # the stream is closed already
            self._h2.reset_stream(stream_id, code)
        self.sender.collect()

    def _data(self, event: h2.events.DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        data = event.data
        size = event.flow_controlled_length
        if stream is None or stream.complete or stream.output_ended:
            self._drop(event.stream_id, size)
            return
        if size > len(data):
            self.give_back(stream, size - len(data))  # padding
        if data:
            stream.inbox.feed(data)

    def _drop(self, stream_id: int, size: int) -> None:
        """Data of a stream that is answered. Other streams need the window it used."""
        self._give_back_connection(size)
        if stream_id not in self._late:
            return
        self._late[stream_id] += size
        if self._late[stream_id] > LATE_DATA:
            self._stop_peer(stream_id)

    def _stop_peer(self, stream_id: int) -> None:
        """Tell the peer that the rest of its request is not needed (RFC 9113, 8.1)."""
        del self._late[stream_id]
        self._refuse(stream_id, ErrorCodes.NO_ERROR)

    def _end_input(self, stream_id: int) -> None:
        self._late.pop(stream_id, None)
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.input_ended = True
            stream.inbox.end()

    async def _reset_by_peer(self, stream_id: int, error_code: int | None) -> None:
        self._late.pop(stream_id, None)
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.input_ended = True
        if error_code == ErrorCodes.NO_ERROR:
            stream.inbox.end()  # restate-server may end its side like this
        self._end_output(stream)
        await stream.http.handle(events.StreamClosed(stream_id=stream_id))

    # Windows

    def give_back(self, stream: Stream, size: int) -> None:
        """An application took bytes, or they are forgotten: let the peer send as many again.

        It is told a quarter window at a time.
        """
        self._give_back_connection(size)
        stream.taken += size
        if stream.taken >= self._settings.stream_window // 4 and not (stream.input_ended or stream.output_ended):
            self._open_window(stream.taken, stream.id)
            stream.taken = 0

    def _give_back_connection(self, size: int) -> None:
        self._taken += size
        if self._taken >= self._settings.connection_window // 4:
            self._open_window(self._taken, None)
            self._taken = 0

    def _open_window(self, size: int, stream_id: int | None) -> None:
        try:
            self._h2.increment_flow_control_window(size, stream_id)
        except (h2.exceptions.ProtocolError, KeyError):
            return  # the stream or the connection is closed: nobody waits for its window
        self.sender.collect()

    # What applications send

    async def stream_send(self, event: events.Event) -> None:
        """Take what an application sends (hypercorn's interface). Silent when the stream is gone, as ASGI has it."""
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        match event:
            case events.Body():
                if stream.output_ended:
                    stream.unheard += 1
                    await slow_down(stream.unheard)
                    return
                stream.outgoing += event.data
                self.sender.change(stream)
                while len(stream.outgoing) >= self._settings.stream_buffer and not stream.output_ended:
                    stream.room = stream.room or anyio.Event()
                    await stream.room.wait()
            case events.Response():
                stream.head = [
                    (b":status", b"%d" % event.status_code),
                    *event.headers,
                    *self._site.config.response_headers("h2"),
                ]
                self.sender.change(stream)
            case events.EndBody():
                stream.complete = True
                self.sender.change(stream)
            case events.StreamClosed():
                if not stream.complete:
                    self._reset(stream, ErrorCodes.INTERNAL_ERROR)
                await stream.http.handle(event)
            case events.Trailers():
                stream.trailers += event.headers
            case events.InformationalResponse() if stream.head is None:
                self.sender.send_headers(stream, [(b":status", b"%d" % event.status_code), *event.headers], end=False)
            case _:
                pass

    def app_ended(self, stream: Stream) -> None:
        """The application's task is over."""
        stream.app_running = False
        if not stream.complete:
            self._reset(stream, ErrorCodes.CANCEL)  # it was cancelled: nobody else leaves an answer open
        self._retire(stream)

    def _reset(self, stream: Stream, code: ErrorCodes) -> None:
        if stream.output_ended:
            return
        self._refuse(stream.id, code)
        stream.input_ended = True
        self._end_output(stream)

    def _end_output(self, stream: Stream) -> None:
        """Nothing more of this answer can be sent, or needs to be."""
        stream.output_ended = True
        stream.outgoing.clear()
        self.sender.forget(stream)
        stream.make_room()
        if not stream.input_ended:
            self._late[stream.id] = 0
            if len(self._late) > self._settings.lingering_streams:
                self._stop_peer(next(iter(self._late)))
        self._retire(stream)

    def _retire(self, stream: Stream) -> None:
        if stream.app_running or not stream.output_ended or self._streams.pop(stream.id, None) is None:
            return
        if not self._streams:
            self._empty.set()
            self.idle_since = anyio.current_time()
