"""Messages as protobuf, as the Restate runtime speaks it.

`encode` and `decode` look up the functions that `perdure.wire.compiler` made for the class of the message, and turn
what goes wrong in them into the two errors a caller meets: `UsageError` for a message that cannot be written, and
`ProtocolError` for bytes that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire import readers, writers
from perdure.wire.messages import Message

__all__ = ["decode", "encode", "malformed", "source", "unencodable"]

S = TypeVar("S", bound=msgspec.Struct)

_ENCODERS: Final[dict[type[msgspec.Struct], Callable[[Any], bytes]]] = {}


def encode(message: msgspec.Struct) -> bytes:
    """The payload of a message or the bytes of a part, without a frame.

    Raises:
        UsageError: a number is out of range, text holds half a surrogate pair, or an await point is nested too deep.
    """
    cls = type(message)
    try:
        function = _ENCODERS[cls]
    except KeyError:
        function = _ENCODERS[cls] = writers.writer(cls).function
    try:
        return function(message)
    except (OverflowError, UnicodeEncodeError) as error:
        raise unencodable(message, error) from error


def decode(cls: type[S], payload: bytes, flags: int = 0) -> S:
    """Read a message of a known class from a whole payload.

    Args:
        cls: the class, `MESSAGES[type_code]` for a message with a frame.
        payload: the payload of the frame, or the bytes of a part.
        flags: the flags of the frame header.

    Raises:
        ProtocolError: the payload is not what the class describes.
    """
    extra = flags if issubclass(cls, Message) else 1  # a part is told how deep it is nested
    try:
        message: S = readers.reader(cls).function(payload, 0, len(payload), extra)
    except (IndexError, UnicodeDecodeError, ProtocolError) as error:
        raise malformed(cls, len(payload), error) from error
    return message


def source(cls: type[msgspec.Struct]) -> str:
    """The code that reads and writes messages of this class, for whoever wants to see it."""
    return f"{writers.writer(cls).source}\n\n{readers.reader(cls).source}"


def unencodable(message: msgspec.Struct, error: OverflowError | UnicodeEncodeError) -> UsageError:
    """The error for a message that protobuf cannot express."""
    reason = f"{error.object!r} is not valid Unicode text" if isinstance(error, UnicodeEncodeError) else error
    return UsageError(f"a {type(message).__name__} cannot be sent: {reason}")


def malformed(
    cls: type[msgspec.Struct], size: int, error: IndexError | UnicodeDecodeError | ProtocolError
) -> ProtocolError:
    """The error for bytes that are not a message of this class."""
    if isinstance(error, UnicodeDecodeError):
        reason = f"text is not UTF-8 ({error})"
    elif isinstance(error, IndexError):
        reason = "it ends in the middle of a field"
    else:
        reason = str(error)
    return ProtocolError(f"the peer sent a malformed {cls.__name__} of {size} bytes: {reason}")
