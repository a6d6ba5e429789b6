"""A stream of MessagePack frames as the transport of a driver that takes message objects."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.durable.transport import ByteTransport
from perdure.wire.messages import Message
from perdure.wire.packed import PackedDecoder, encode_packed

__all__ = ["PackedTransport"]


class PackedTransport:
    """Messages over a transport of bytes, as a perdure engine sends them.

    Args:
        transport: carries the bytes.
    """

    __slots__ = ("_decoder", "_transport")

    def __init__(self, transport: ByteTransport) -> None:
        self._transport = transport
        self._decoder = PackedDecoder()

    async def receive(self) -> Sequence[Message] | None:
        """The next messages; `None` at the end of the input.

        Raises:
            ProtocolError: the bytes are no messages.
        """
        while (piece := await self._transport.receive()) is not None:
            self._decoder.receive_data(piece)
            if messages := list(self._decoder.messages()):
                return messages
        self._decoder.receive_eof()
        self._decoder.next_message()  # raises when a message is cut
        return None

    async def send(self, messages: Sequence[Message]) -> None:
        """Hand over one turn."""
        await self._transport.send(encode_packed(messages))
