"""What carries an attempt: a pair of methods, receive and send, as bytes or as message objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from perdure.wire.messages import Message

__all__ = ["ByteTransport", "Disconnected", "MessageTransport"]


class Disconnected(Exception):  # noqa: N818 - not an error of anybody: the peer is gone
    """The peer is gone: nothing can be sent or received any more."""


class ByteTransport(Protocol):
    """A stream of bytes, as a pair of methods.

    `receive` returns `None` once at the end of the input; called again, it waits until the peer is gone and raises
    `Disconnected`. `send` gets one whole turn at a time, never empty.
    """

    async def receive(self) -> bytes | None:
        """The next bytes."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand over bytes."""
        ...


class MessageTransport(Protocol):
    """The same with messages as objects, for a runtime in the same process."""

    async def receive(self) -> Sequence[Message] | None:
        """The next messages."""
        ...

    async def send(self, messages: Sequence[Message]) -> None:
        """Hand over messages."""
        ...
