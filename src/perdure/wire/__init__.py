"""Layer 1: the Restate service protocol as bytes, without I/O.

Messages are frozen structs (`messages`), and their classes are the table of type codes and field numbers (`fields`).
Two codecs read that table: `protobuf` for what the Restate runtime speaks, compiled per class by `writers` and
`readers` (`compiler` says how and why, `varint` has the primitives), and `msgpack` for what only perdure reads.
`frames` puts headers in front of messages, `decoder` takes a stream apart again, `versions` knows which content type
means which version. Around the stream: `ids` of invocations and awakeables, the `manifest` of an endpoint, and the
`identity` of who asks. Nothing here opens a socket, reads a clock, or waits; bytes come in as arguments and go out as
results.

A name is imported when it is first used: whoever needs one module here does not load the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from perdure.wire.decoder import DEFAULT_MAX_MESSAGE_SIZE, Decoder
    from perdure.wire.frames import encode_frame, encode_frames
    from perdure.wire.messages import MESSAGES, Command, Control, Message, Notification
    from perdure.wire.versions import MAX_VERSION, MIN_VERSION, ProtocolVersion, parse_content_type

__all__ = [
    "DEFAULT_MAX_MESSAGE_SIZE",
    "MAX_VERSION",
    "MESSAGES",
    "MIN_VERSION",
    "Command",
    "Control",
    "Decoder",
    "Message",
    "Notification",
    "ProtocolVersion",
    "encode_frame",
    "encode_frames",
    "parse_content_type",
]

_HOMES: Final = {
    "decoder": "DEFAULT_MAX_MESSAGE_SIZE Decoder",
    "frames": "encode_frame encode_frames",
    "messages": "MESSAGES Command Control Message Notification",
    "versions": "MAX_VERSION MIN_VERSION ProtocolVersion parse_content_type",
}
_HOME_OF: Final = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take any name for one of this package

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, and keep it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value
