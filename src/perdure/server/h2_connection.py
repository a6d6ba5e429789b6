"""h2's connection with our settings, and without the ways in which it treats a connection too hard or too softly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from perdure.server.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["NO_LIMIT", "H2Connection"]

NO_LIMIT: Final = 2**31 - 1

FRAME_LENGTH: Final = 3
"""Bytes of the length that a frame begins with."""


class _Settings(h2.settings.Settings):
    """Tells the peer a limit of streams and enforces none: h2 ends the connection where it should refuse a stream."""

    @property
    def max_concurrent_streams(self) -> int:
        return NO_LIMIT

    @max_concurrent_streams.setter
    def max_concurrent_streams(self, value: int) -> None:
        self[SettingCodes.MAX_CONCURRENT_STREAMS] = value


class H2Connection(h2.connection.H2Connection):
    """The server's side of an HTTP/2 connection, without I/O.

    Args:
        settings: windows and limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.MAX_CLOSED_STREAMS = settings.remembered_streams
        super().__init__(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.local_settings: h2.settings.Settings = _Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: settings.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window,
                SettingCodes.MAX_FRAME_SIZE: settings.max_frame,
                SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_headers,
            },
        )
        # Initial values are not "changes", so h2 does not apply them where it keeps copies.
        self.max_inbound_frame_size: int = settings.max_frame
        self.decoder.max_header_list_size = settings.max_headers

    def receive_data(self, data: Buffer) -> list[h2.events.Event]:
        """Take bytes from the peer.

        A frame that announces to be too large is refused at its first bytes; h2 would wait for all of it, 16 MiB.

        Raises:
            ProtocolError: the peer breaks the protocol; a GOAWAY that says so is ready to be sent.
        """
        found = super().receive_data(data)
        begun: bytearray = self.incoming_buffer._data  # noqa: SLF001 - what h2 keeps of a frame that is not complete
        if len(begun) >= FRAME_LENGTH and int.from_bytes(begun[:FRAME_LENGTH], "big") > self.max_inbound_frame_size:
            self._terminate_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise h2.exceptions.FrameTooLargeError("a frame announces more bytes than are allowed")
        return found

    def clear_outbound_data_buffer(self) -> None:
        """Keep it: h2 calls this at a GOAWAY, after which requests in flight are still answered."""

    def goaway(self, last_stream: int) -> bytes:
        """A GOAWAY without an error; h2's own `close_connection` would end all streams with it."""
        return GoAwayFrame(0, last_stream_id=last_stream, error_code=ErrorCodes.NO_ERROR).serialize()

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[h2.events.Event]]:
        # A client's GOAWAY says that it opens no more streams (RFC 9113, 6.8). h2 closes the connection on it.
        frames, found = super()._receive_goaway_frame(frame)
        if frame.error_code == ErrorCodes.NO_ERROR:
            self.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN
        return frames, found
