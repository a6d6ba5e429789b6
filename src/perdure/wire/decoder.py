"""Bytes to messages, whatever the sizes of the pieces in which they come.

Used like h11's `Connection`: put bytes in, take messages out until there are none::

    decoder.receive_data(chunk)
    for message in decoder.messages():
        ...

Operations and their cost:

* `receive_data` keeps a reference to the chunk. Nothing is copied.
* `next_message` reads a frame in place when all of it lies in the chunk at hand, which is so for many small frames in
  one chunk and for one frame per chunk. A frame that continues in later chunks is joined with them once, after its last
  byte has arrived. So a byte is copied at most twice before it is read (to complete a header, to complete a frame), and
  n bytes cost O(n): one frame of 20 MB in pieces of 1 KB as well as 100,000 frames in one piece.

The length of a payload and its type are checked as soon as the header is there. A stream that makes no sense is refused
with `ProtocolError` and stays refused: behind a byte that is wrong nothing is right.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire import readers
from perdure.wire.frames import HEADER_SIZE
from perdure.wire.messages import MESSAGES, Message
from perdure.wire.protobuf import malformed

__all__ = ["DEFAULT_MAX_MESSAGE_SIZE", "Decoder"]

DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
"""Bytes: twice the 32 MiB that restate-server accepts by default, since start messages carry a whole state."""

# Looked up once: this is the hot path. Decoders by type code, so that a frame costs one look-up.
_DECODERS: Final[dict[int, Callable[..., Any]]] = {}
_unpack_header: Final = struct.Struct(">HHI").unpack_from
_concatenate: Final = b"".join


class Decoder:
    """Takes the bytes of one direction of a stream and gives its messages.

    Args:
        max_message_size: the longest payload that is accepted, in bytes.
    """

    __slots__ = ("_chunk", "_ended", "_error", "_later", "_later_size", "_max_message_size", "_pos")

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        self._max_message_size = max_message_size
        # The chunk being read, how far it is read, and what came after it.
        self._chunk = b""
        self._pos = 0
        self._later: list[bytes] = []
        self._later_size = 0
        self._ended = False
        self._error: str | None = None

    @property
    def buffered(self) -> int:
        """Bytes received that no message given out contains. When there is no next message: of an incomplete frame."""
        return len(self._chunk) - self._pos + self._later_size

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the stream, split anywhere. No bytes mean nothing; the end is told by `receive_eof`.

        Raises:
            ProtocolError: the stream was refused before.
            UsageError: its end was told before.
        """
        if self._error is not None:
            raise ProtocolError(self._error)
        if self._ended:
            raise UsageError("receive_data() was called after receive_eof(); a stream needs a Decoder of its own")
        if not isinstance(data, bytes):
            data = bytes(data)  # what is cut out of it must not change later
        if self._pos == len(self._chunk) and not self._later:
            self._chunk = data
            self._pos = 0
        elif data:
            self._later.append(data)
            self._later_size += len(data)

    def receive_eof(self) -> None:
        """Take the end of the stream. If it cuts a frame, asking for the message behind the last whole one raises."""
        self._ended = True

    def next_message(self) -> Message | None:
        """The next message, or `None` when its bytes are not all here.

        Raises:
            ProtocolError: the bytes make no sense, a payload is too long, or the stream ended inside a frame. Every
                later call raises the same.
        """
        pos = self._pos
        chunk = self._chunk
        body = pos + HEADER_SIZE
        if body > len(chunk):
            # A refused stream has no bytes left, so only who finds none need ask.
            if self._error is not None:
                raise ProtocolError(self._error)
            if pos == len(chunk) and not self._later:
                return None
            if not self._gather(HEADER_SIZE):
                self._check_end("the header of a message", HEADER_SIZE)
                return None
            pos, chunk, body = 0, self._chunk, HEADER_SIZE
        code, flags, length = _unpack_header(chunk, pos)
        if length > self._max_message_size:
            raise self._too_long(code, length)
        try:
            decode = _DECODERS[code]
        except KeyError:
            decode = self._find_decoder(code, length)
        end = body + length
        if end > len(chunk):
            if not self._gather(HEADER_SIZE + length):
                self._check_end(MESSAGES[code].__name__, HEADER_SIZE + length)
                return None
            chunk, body, end = self._chunk, HEADER_SIZE, HEADER_SIZE + length
        try:
            message: Message = decode(chunk, body, end, flags)
        except (IndexError, UnicodeDecodeError, ProtocolError) as error:
            raise self._refuse(str(malformed(MESSAGES[code], length, error))) from error
        self._pos = end
        return message

    def messages(self) -> Iterator[Message]:
        """All messages whose bytes are here. More bytes may come while one iterates.

        Raises:
            ProtocolError: as `next_message`, after the messages in front of the fault.
        """
        while (message := self.next_message()) is not None:
            yield message

    def _gather(self, needed: int) -> bool:
        """Have the next `needed` bytes in one piece, if they are here."""
        if self.buffered < needed:
            return False
        self._chunk = _concatenate((memoryview(self._chunk)[self._pos :], *self._later))
        self._pos = 0
        self._later = []
        self._later_size = 0
        return True

    def _check_end(self, what: str, needed: int) -> None:
        """There is no whole frame, but a part of one. That is fine unless the stream has ended."""
        if self._ended:
            raise self._refuse(
                f"the stream ended inside {what}: {self.buffered} of {needed} bytes came, {needed - self.buffered} are "
                f"missing; the peer, or something between it and here, broke the connection"
            )

    def _find_decoder(self, code: int, length: int) -> Callable[..., Any]:
        cls = MESSAGES.get(code)
        if cls is None:
            raise self._refuse(
                f"the peer sent a message of the unknown type 0x{code:04X} ({length} bytes); either it speaks a newer "
                f"version of the service protocol, or these bytes are something else"
            )
        decode = _DECODERS[code] = readers.reader(cls).function
        return decode

    def _too_long(self, code: int, length: int) -> ProtocolError:
        cls = MESSAGES.get(code)
        name = "message of an unknown type" if cls is None else cls.__name__
        return self._refuse(
            f"the peer sent a {name} (0x{code:04X}) of {length} bytes, and the limit is {self._max_message_size}; "
            f"raise max_message_size, or send less in one message"
        )

    def _refuse(self, reason: str) -> ProtocolError:
        """Remember the fault, and drop the bytes that nobody will read."""
        self._error = reason
        self._chunk = b""
        self._pos = 0
        self._later = []
        self._later_size = 0
        return ProtocolError(reason)
