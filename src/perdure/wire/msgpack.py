"""Messages as MessagePack: the journal on disk, and frames between a perdure engine and a perdure endpoint.

msgspec does the work. A message is an array: its type code, then its attributes in their order, those at the end left
out by nobody and forgiven when missing, so that a journal written before an attribute was appended is still read.
Unlike protobuf it tells an absent value from a default, and it does not know the numbers of fields.

Only perdure writes this format, so numbers are not cut to their width, and an unknown enum member is an error.
"""

from __future__ import annotations

import functools
import operator
from typing import Final

import msgspec

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire.messages import MESSAGES, Message

__all__ = ["decode", "encode"]

_encoder: Final = msgspec.msgpack.Encoder()


@functools.cache
def _decoder() -> msgspec.msgpack.Decoder[Message]:
    # Made at first use: msgspec compiles the union of all messages, which takes some milliseconds.
    return msgspec.msgpack.Decoder(functools.reduce(operator.or_, MESSAGES.values()))


def encode(message: Message) -> bytes:
    """One message as MessagePack.

    Raises:
        UsageError: a number needs more than 64 bits, text holds half a surrogate pair, or an await point is nested
            deeper than the stack is.
    """
    try:
        return _encoder.encode(message)
    except (OverflowError, UnicodeEncodeError, RecursionError) as error:
        raise UsageError(f"a {type(message).__name__} cannot be written: {error}") from error


def decode(data: bytes) -> Message:
    """The message that `encode` wrote.

    Raises:
        ProtocolError: the bytes are not one message.
    """
    try:
        return _decoder().decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"{len(data)} bytes are not a message in MessagePack: {error}") from error
