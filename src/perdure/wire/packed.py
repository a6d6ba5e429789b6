"""MessagePack between a perdure engine and a perdure endpoint: frames, content types, and how both find each other.

A frame is the length of what follows (u32, big-endian) and one message in MessagePack (`perdure.wire.msgpack`). It
stands in for the protobuf frames of the same version of the service protocol, message for message.

The engine asks for it at discovery: its ``Accept`` names `MANIFEST` besides the types that every endpoint knows. An
endpoint of perdure answers with that type, any other with one of its own, and then protobuf is spoken. restate-server
never asks, and the manifest says nothing about it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire import msgpack
from perdure.wire.decoder import DEFAULT_MAX_MESSAGE_SIZE
from perdure.wire.messages import Message
from perdure.wire.versions import ProtocolVersion

__all__ = ["MANIFEST", "PackedDecoder", "accepted", "content_type", "encode_packed", "version_of"]

MANIFEST: Final = "application/vnd.perdure.endpointmanifest.v4+json"
"""Content type of a manifest (version 4) whose endpoint speaks MessagePack as well."""

_PREFIX: Final = "application/vnd.perdure.invocation.v"
_SUFFIX: Final = "+msgpack"
_CONTENT_TYPES: Final = {version: f"{_PREFIX}{version.value}{_SUFFIX}" for version in ProtocolVersion}
_VERSIONS: Final = {text: version for version, text in _CONTENT_TYPES.items()}
_LENGTH: Final = struct.Struct(">I")


def accepted(accept_header: str | None) -> bool:
    """Tell whether a discovery request comes from somebody who speaks MessagePack."""
    if accept_header is None:
        return False
    return any(part.partition(";")[0].strip().lower() == MANIFEST for part in accept_header.split(","))


def content_type(version: ProtocolVersion) -> str:
    """The media type of a stream of packed frames."""
    return _CONTENT_TYPES[version]


def version_of(text: str) -> ProtocolVersion | None:
    """The version that a content type of packed frames names; `None` for every other type."""
    return _VERSIONS.get(text.partition(";")[0].strip().lower())


def encode_packed(messages: Iterable[Message]) -> bytes:
    """Messages as frames, one after the other.

    Raises:
        UsageError: a message cannot be written, or is longer than a frame can say.
    """
    pieces: list[bytes] = []
    for message in messages:
        payload = msgpack.encode(message)
        try:
            pieces.append(_LENGTH.pack(len(payload)))
        except struct.error as error:
            raise UsageError(f"a {type(message).__name__} of {len(payload)} bytes is too long to be sent") from error
        pieces.append(payload)
    return b"".join(pieces)


class PackedDecoder:
    """Takes the bytes of one direction of a stream, split anywhere, and gives its messages.

    The counterpart of `perdure.wire.decoder.Decoder`, which explains how it is used.

    Args:
        max_message_size: the longest message that is accepted, in bytes.
    """

    __slots__ = ("_ended", "_error", "_max_message_size", "_pieces", "_pos", "_size")

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        self._max_message_size = max_message_size
        self._pieces: list[bytes] = []
        self._pos = 0
        self._size = 0
        self._ended = False
        self._error: str | None = None

    @property
    def buffered(self) -> int:
        """Bytes received that no message given out contains."""
        return self._size

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream.

        Raises:
            ProtocolError: the stream was refused before.
        """
        if self._error is not None:
            raise ProtocolError(self._error)
        if data:
            self._pieces.append(data)
            self._size += len(data)

    def receive_eof(self) -> None:
        """Take the end of the stream. If it cuts a frame, asking for the message behind the last whole one raises."""
        self._ended = True

    def messages(self) -> Iterator[Message]:
        """All messages whose bytes are here.

        Raises:
            ProtocolError: the bytes make no sense, a message is too long, or the stream ended inside a frame; raised
                after the messages in front of the fault.
        """
        while (message := self.next_message()) is not None:
            yield message

    def next_message(self) -> Message | None:
        """The next message, or `None` when its bytes are not all here.

        Raises:
            ProtocolError: as `messages`. Every later call raises the same.
        """
        if self._error is not None:
            raise ProtocolError(self._error)
        head = self._peek(_LENGTH.size)
        if head is None:
            self._check_end()
            return None
        (length,) = _LENGTH.unpack(head)
        if length > self._max_message_size:
            raise self._refuse(f"the peer sent a message of {length} bytes, and the limit is {self._max_message_size}")
        frame = self._peek(_LENGTH.size + length)
        if frame is None:
            self._check_end()
            return None
        try:
            message = msgpack.decode(frame[_LENGTH.size :])
        except ProtocolError as error:
            raise self._refuse(str(error)) from error
        self._drop(len(frame))
        return message

    def _peek(self, size: int) -> bytes | None:
        """The next bytes, which stay; pieces are joined once, when enough of them are here."""
        if self._size < size:
            return None
        if len(self._pieces[0]) - self._pos < size:
            self._pieces[0] = self._pieces[0][self._pos :]
            self._pieces = [b"".join(self._pieces)]
            self._pos = 0
        return self._pieces[0][self._pos : self._pos + size]

    def _drop(self, size: int) -> None:
        self._size -= size
        self._pos += size
        if self._pos == len(self._pieces[0]):
            del self._pieces[0]
            self._pos = 0

    def _check_end(self) -> None:
        if self._ended and self._size:
            raise self._refuse(f"the stream ended inside a message, of which {self._size} bytes came")

    def _refuse(self, reason: str) -> ProtocolError:
        self._error = reason
        self._pieces = []
        self._pos = self._size = 0
        return ProtocolError(reason)
