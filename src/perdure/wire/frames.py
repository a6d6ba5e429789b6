"""Frames: what separates messages in a stream.

A frame is an 8-byte header and a payload. The header, big-endian::

    +-----------------+-----------------+---------------------------------+
    | type, 16 bits   | flags, 16 bits  | length of the payload, 32 bits  |
    +-----------------+-----------------+---------------------------------+

The type is the `type_code` of a message class. One flag is in use: 0x8000 of a `ProposeRunCompletionMessage` asks for
an ack (`Flag` in the table of messages). Flags that are not known are ignored.

Source: `src/service_protocol/header.rs` in restatedev/sdk-shared-core.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from perdure.wire import writers
from perdure.wire.messages import Message
from perdure.wire.protobuf import unencodable

__all__ = ["HEADER_SIZE", "FrameHeader", "encode_frame", "encode_frames", "parse_header"]

_HEADER: Final = struct.Struct(">HHI")

HEADER_SIZE: Final = _HEADER.size
"""Bytes in front of each payload."""

_ENCODERS: Final[dict[type[Message], Callable[[Any], bytes]]] = {}


class FrameHeader(NamedTuple):
    """The header of a frame."""

    type_code: int
    flags: int
    length: int
    """Bytes of payload that follow."""

    def encode(self) -> bytes:
        """The 8 bytes."""
        return _HEADER.pack(*self)


def parse_header(data: bytes, offset: int = 0) -> FrameHeader:
    """Read the header at `offset`, where at least `HEADER_SIZE` bytes must be."""
    return FrameHeader._make(_HEADER.unpack_from(data, offset))


def encode_frame(message: Message) -> bytes:
    """One message as it goes on the wire, header and payload.

    Raises:
        UsageError: protobuf or a frame cannot express the message; see `perdure.wire.protobuf.encode`.
    """
    # Header and payload come out of one compiled function: the header of a short payload is looked up, not packed.
    cls = type(message)
    try:
        function = _ENCODERS[cls]
    except KeyError:
        function = _ENCODERS[cls] = writers.frame_writer(cls).function
    try:
        return function(message)
    except (OverflowError, UnicodeEncodeError) as error:
        raise unencodable(message, error) from error


def encode_frames(messages: Iterable[Message]) -> bytes:
    """Messages one after the other, for one write.

    Raises:
        UsageError: as `encode_frame`.
    """
    return b"".join([encode_frame(message) for message in messages])
